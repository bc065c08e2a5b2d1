// SPDX-License-Identifier: Apache-2.0

import type { Entry, EntryHolder } from "./entry.ts";

/**
 * Commands that wait to be sent: the highest priority first, and in order of arrival within one
 * priority. Settled ones stay until they are passed over, and never make up most of the queue.
 */
export class EntryQueue implements EntryHolder {
  #entries: Entry[] = [];
  #head = 0;
  #live = 0;
  #bytes = 0;

  /** Commands that still wait. */
  get length(): number {
    return this.#live;
  }

  /** Bytes of the commands that still wait. */
  get bytes(): number {
    return this.#bytes;
  }

  push(entry: Entry): void {
    entry.holder = this;
    this.#live++;
    this.#bytes += entry.size;
    const entries = this.#entries;
    if (entry.priority > 0) {
      let at = entries.length;
      while (at > this.#head && (entries[at - 1] as Entry).priority < entry.priority) at--;
      if (at < entries.length) {
        entries.splice(at, 0, entry);
        return;
      }
    }
    entries.push(entry);
  }

  /** The next command, which stays where it is. */
  peek(): Entry | undefined {
    const entries = this.#entries;
    while (this.#head < entries.length) {
      const entry = entries[this.#head] as Entry;
      if (!entry.isSettled) return entry;
      this.#head++;
    }
    this.#reset();
    return undefined;
  }

  /** Takes the command that `peek()` showed. */
  shift(): void {
    const entry = this.#entries[this.#head] as Entry;
    this.#head++;
    this.#live--;
    this.#bytes -= entry.size;
    if (this.#head === this.#entries.length) this.#reset();
  }

  /** Counts out a command that was settled while it waited. */
  abandon(entry: Entry): void {
    this.#live--;
    this.#bytes -= entry.size;
    const waiting = this.#entries.length - this.#head;
    if (waiting < MIN_COMPACT || waiting < 2 * this.#live) return;
    this.#entries = this.#entries.slice(this.#head).filter((other) => !other.isSettled);
    this.#head = 0;
  }

  /** The commands that still wait, in order. */
  waiting(): Entry[] {
    return this.#entries.slice(this.#head).filter((entry) => !entry.isSettled);
  }

  /** Takes all of them, in order. */
  takeAll(): Entry[] {
    const waiting = this.waiting();
    for (const entry of waiting) entry.holder = undefined;
    this.#live = 0;
    this.#bytes = 0;
    this.#reset();
    return waiting;
  }

  #reset(): void {
    this.#entries = [];
    this.#head = 0;
  }
}

// A queue shorter than this is not worth tidying.
const MIN_COMPACT = 64;

// SPDX-License-Identifier: Apache-2.0

import type { Clock, Timer } from "../async/clock.ts";

/** What a {@linkcode Pipe} needs to know about the link that it runs over. */
export interface PipeLink {
  readonly clock: Clock;
  /** How long the next message travels; 0 delivers it as soon as {@linkcode PipeLink.defer} does. */
  delayMs(): number;
  /** Runs a delivery after whatever runs now. */
  defer(deliver: () => void): void;
  /** Nothing arrives while the link is held; what was sent waits, as it does in a socket. */
  isHeld(): boolean;
}

/**
 * One direction of a stream in memory: a queue whose items arrive later, in order, never inside
 * the call that sent them.
 */
export class Pipe<T> {
  readonly #link: PipeLink;
  readonly #deliver: (item: T) => void;
  #queue: T[] = [];
  #head = 0;
  // When each queued item arrives; only kept up while some item has a delay.
  #dues: number[] = [];
  #lastDue = -Infinity;
  #isScheduled = false;
  #timer: Timer | undefined;

  constructor(link: PipeLink, deliver: (item: T) => void) {
    this.#link = link;
    this.#deliver = deliver;
  }

  /** Number of items on their way. */
  get length(): number {
    return this.#queue.length - this.#head;
  }

  push(item: T): void {
    const now = this.#link.clock.now();
    // An item never overtakes the one before it, whatever its own delay.
    this.#lastDue = Math.max(this.#lastDue, now + this.#link.delayMs());
    this.#queue.push(item);
    this.#dues.push(this.#lastDue);
    this.#schedule();
  }

  /** Delivers again after the link was held. */
  resume(): void {
    this.#schedule();
  }

  /** Loses everything that is on its way. */
  clear(): void {
    this.#queue = [];
    this.#dues = [];
    this.#head = 0;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#timer !== undefined || this.length === 0) return;
    const wait = (this.#dues[this.#head] ?? 0) - this.#link.clock.now();
    if (wait <= 0) {
      this.#isScheduled = true;
      this.#link.defer(this.#run);
    } else {
      this.#timer = this.#link.clock.timer(wait, this.#run);
    }
  }

  readonly #run = (): void => {
    this.#isScheduled = false;
    this.#timer = undefined;
    try {
      while (this.#head < this.#queue.length && !this.#link.isHeld()) {
        if ((this.#dues[this.#head] ?? 0) > this.#link.clock.now()) break;
        const item = this.#queue[this.#head] as T;
        this.#head++;
        if (this.#head === this.#queue.length) {
          this.#queue = [];
          this.#dues = [];
          this.#head = 0;
        }
        this.#deliver(item);
      }
    } finally {
      // Also after a receiver that threw: the rest of the stream still has to arrive.
      if (!this.#link.isHeld()) this.#schedule();
    }
  };
}

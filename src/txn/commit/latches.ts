// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "../../async/deadline.ts";
import { equalBytes } from "../../bytes/compare.ts";
import type { KeySet } from "../../bytes/key_map.ts";
import { shortKey } from "../../bytes/hex.ts";
import { WriteConflictError } from "../../txn_errors.ts";
import { physicalMsOf, type Timestamp } from "../../types.ts";

/** The latches that one commit holds. */
export interface LatchHold {
  /**
   * Lets the next ones go on. With the timestamp of the commit those that began before it fail; without
   * one nobody learns anything, because nothing was committed, or nobody knows. The first call counts.
   *
   * @param unwritten keys of which the commit has left nothing
   */
  release(commitTs?: Timestamp, unwritten?: KeySet): void;
}

/** Who wants latches. */
export interface LatchCall {
  /** When the transaction began. */
  readonly startTs: Timestamp;
  readonly deadline: Deadline;
  /** Shows keys in messages in full. */
  readonly revealKeys: boolean;
}

/**
 * Finds conflicts between the commits of this client before anything is sent: who comes to a key later
 * waits for who is there, and fails if that one was committed after his own start.
 *
 * It only ever spares work. What it does not know of, above all every other process, is found by the
 * stores all the same; so old knowledge may be forgotten at any time.
 */
export class Latches {
  readonly #mask: number;
  readonly #slots = new Map<number, Latch[]>();
  #releases = 0;
  #recycledMs = 0;

  /** @param slots rounded up to a power of two; each remembers a few keys */
  constructor(slots: number) {
    this.#mask = 2 ** Math.ceil(Math.log2(slots)) - 1;
  }

  /** How many keys are remembered or held. */
  get size(): number {
    let size = 0;
    for (const slot of this.#slots.values()) size += slot.length;
    return size;
  }

  /**
   * Takes the latches of keys, which are in order and differ, one after the other: that all do it in the
   * same order is why none of them wait for each other in a circle. Rejects with a
   * {@linkcode WriteConflictError} when a key was committed after the start.
   */
  async acquire(keys: readonly Uint8Array[], call: LatchCall): Promise<LatchHold> {
    const held: Latch[] = [];
    try {
      for (const key of keys) held.push(await this.#take(key, call));
    } catch (error) {
      for (const latch of held) this.#free(latch);
      throw error;
    }
    let isReleased = false;
    return {
      release: (commitTs, unwritten) => {
        if (isReleased) return;
        isReleased = true;
        for (const latch of held) {
          const isWritten = commitTs !== undefined && unwritten?.has(latch.key) !== true;
          if (isWritten && commitTs > latch.commitTs) latch.commitTs = commitTs;
          this.#free(latch);
        }
        if (commitTs !== undefined) this.#recycleAll(physicalMsOf(commitTs));
      },
    };
  }

  async #take(key: Uint8Array, call: LatchCall): Promise<Latch> {
    const latch = this.#latchOf(key, call);
    if (latch.commitTs > call.startTs) throw staleError(latch, call);
    if (!latch.isHeld) {
      latch.isHeld = true;
      return latch;
    }
    const waiter: Waiter = { ...call, state: "waiting", settle: () => {} };
    const turn = new Promise<void>((resolve) => waiter.settle = resolve);
    latch.waiters.push(waiter);
    try {
      await call.deadline.race(turn, "wait for another commit of this client");
    } catch (error) {
      if (waiter.state === "granted") this.#free(latch);
      else latch.waiters = latch.waiters.filter((other) => other !== waiter);
      throw error;
    }
    if (waiter.state === "stale") throw staleError(latch, call);
    return latch;
  }

  /** Gives a latch to the first that waits and is not too late; the others of those are told. */
  #free(latch: Latch): void {
    for (const waiter of latch.waiters) {
      if (latch.commitTs > waiter.startTs) settle(waiter, "stale");
    }
    latch.waiters = latch.waiters.filter(({ state }) => state === "waiting");
    const next = latch.waiters.shift();
    if (next !== undefined) return settle(next, "granted");
    latch.isHeld = false;
    if (latch.commitTs === 0n) this.#forget(latch);
  }

  #latchOf(key: Uint8Array, { startTs }: LatchCall): Latch {
    const number = hashOf(key) & this.#mask;
    const slot = this.#slots.get(number) ?? [];
    const found = slot.find((latch) => equalBytes(latch.key, key));
    if (found !== undefined) return found;
    const kept = slot.length < SLOT_LATCHES ? slot : this.#recycle(number, physicalMsOf(startTs));
    // What is still too much goes from the oldest on, but for what is in use.
    if (kept.length >= MAX_SLOT_LATCHES) {
      const oldest = kept.findIndex(isIdle);
      if (oldest >= 0) kept.splice(oldest, 1);
    }
    const latch: Latch = { key: key.slice(), number, commitTs: 0n, isHeld: false, waiters: [] };
    kept.push(latch);
    this.#slots.set(number, kept);
    return latch;
  }

  #forget(latch: Latch): void {
    const rest = (this.#slots.get(latch.number) ?? []).filter((other) => other !== latch);
    if (rest.length === 0) this.#slots.delete(latch.number);
    else this.#slots.set(latch.number, rest);
  }

  /** Forgets what was committed long before a point in the time of the cluster. */
  #recycle(number: number, nowMs: number): Latch[] {
    const rest = (this.#slots.get(number) ?? []).filter((latch) =>
      !isIdle(latch) || nowMs - physicalMsOf(latch.commitTs as Timestamp) < REMEMBER_MS
    );
    if (rest.length === 0) this.#slots.delete(number);
    else this.#slots.set(number, rest);
    return rest;
  }

  #recycleAll(nowMs: number): void {
    if (++this.#releases < RECYCLE_RELEASES && nowMs - this.#recycledMs < RECYCLE_MS) return;
    this.#releases = 0;
    this.#recycledMs = nowMs;
    for (const number of [...this.#slots.keys()]) this.#recycle(number, nowMs);
  }
}

interface Latch {
  readonly key: Uint8Array;
  /** The slot that it is in. */
  readonly number: number;
  /** The newest commit of the key that is known; 0 for none. */
  commitTs: bigint;
  isHeld: boolean;
  waiters: Waiter[];
}

interface Waiter extends LatchCall {
  state: "waiting" | "granted" | "stale";
  settle: () => void;
}

function settle(waiter: Waiter, state: "granted" | "stale"): void {
  waiter.state = state;
  waiter.settle();
}

function isIdle({ isHeld, waiters }: Latch): boolean {
  return !isHeld && waiters.length === 0;
}

function staleError({ key, commitTs }: Latch, { startTs, revealKeys }: LatchCall): WriteConflictError {
  const shown = shortKey(key, revealKeys);
  return new WriteConflictError(
    `Cannot commit: another transaction of this client has committed key ${shown} meanwhile`,
    {
      key,
      startTs,
      conflictTs: 0n as Timestamp,
      conflictCommitTs: commitTs as Timestamp,
      reason: "local-latch",
    },
  );
}

/** FNV-1a: short, and spreads keys that differ at their end. */
function hashOf(key: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of key) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Keys of a slot from which on old ones are looked for; client-go's `latchListCount`. */
const SLOT_LATCHES = 5;
/** Keys of a slot at most, but for those in use; client-go has no such bound. */
const MAX_SLOT_LATCHES = 16;
/** How long a commit is remembered: a transaction that began before it is likely over by then. */
const REMEMBER_MS = 120_000;
const RECYCLE_MS = 60_000;
const RECYCLE_RELEASES = 50_000;

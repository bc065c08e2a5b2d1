// SPDX-License-Identifier: Apache-2.0

import { type Clock, nextTurn, type Timer } from "../async/clock.ts";

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

/**
 * A clock that stands still until it is moved. Timers fire in order of their time, those of the
 * same time in the order in which they were made.
 */
export class ManualClock implements Clock {
  #now: number;
  #wallOffset: number;
  #order = 0;
  #pending: Pending[] = [];

  /**
   * Makes a clock that stands still.
   *
   * @param startMs where both the clock and the wall clock start
   */
  constructor(startMs: number = 1_000_000) {
    this.#now = startMs;
    this.#wallOffset = 0;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return Math.floor(this.#now + this.#wallOffset);
  }

  /** Moves the wall clock only, as a clock correction does. */
  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  timer(ms: number, callback: () => void): Timer {
    const entry: Pending = { at: this.#now + Math.max(0, ms), order: this.#order++, callback };
    const index = this.#pending.findIndex((other) => other.at > entry.at);
    if (index < 0) this.#pending.push(entry);
    else this.#pending.splice(index, 0, entry);
    return {
      cancel: (): void => {
        const found = this.#pending.indexOf(entry);
        if (found >= 0) this.#pending.splice(found, 1);
      },
    };
  }

  /** How many timers wait. */
  get pendingTimers(): number {
    return this.#pending.length;
  }

  /** When the next timer fires, or undefined when none waits. */
  get nextTimerAt(): number | undefined {
    return this.#pending[0]?.at;
  }

  /**
   * Moves the clock and fires what falls due, letting promises settle after every timer. A promise that
   * may fail meanwhile needs its handler before, as everywhere.
   */
  async advance(ms: number): Promise<void> {
    const target = this.#now + ms;
    await nextTurn();
    for (;;) {
      const next = this.#pending[0];
      if (next === undefined || next.at > target) break;
      this.#pending.shift();
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await nextTurn();
    }
    this.#now = Math.max(this.#now, target);
  }

  /**
   * Moves from timer to timer until the promise settles, and returns what it settles with. Rejects
   * when `limitMs` of this clock pass first, or when nothing is left that could move it.
   */
  async run<T>(promise: Promise<T>, limitMs: number = 600_000): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    const limit = this.#now + limitMs;
    for (;;) {
      await nextTurn();
      if (settled) return await promise;
      const next = this.#pending[0];
      if (next === undefined) throw new Error("Cannot run: the promise is pending and no timer is left");
      if (next.at > limit) throw new Error(`Cannot run: the promise is pending after ${limitMs} ms`);
      this.#pending.shift();
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
  }
}

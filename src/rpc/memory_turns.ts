// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../async/clock.ts";

/**
 * When deliveries of a network in memory run: in a microtask, which is fast and, on a clock of a
 * simulation, the same each time. But whoever calls in a loop would then never let a timer fire, so
 * on the system's clock the loop of the runtime gets a turn every few milliseconds.
 */
export class Turns {
  readonly #clock: Clock;
  #turnedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#turnedAt = clock.now();
  }

  /** Runs a delivery after whatever runs now. */
  defer(deliver: () => void): void {
    const clock = this.#clock;
    if (clock.turn === undefined || clock.now() - this.#turnedAt < LONGEST_MS) {
      queueMicrotask(deliver);
      return;
    }
    clock.turn(() => {
      this.#turnedAt = clock.now();
      deliver();
    });
  }
}

/** Below what a timer is late by anyway. */
const LONGEST_MS = 4;

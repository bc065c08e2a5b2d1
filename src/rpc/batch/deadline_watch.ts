// SPDX-License-Identifier: Apache-2.0

import type { Clock, Timer } from "../../async/clock.ts";

/**
 * One timer for the earliest of many deadlines. Most calls are answered long before theirs, so a
 * timer for each would be made and cancelled for nothing.
 */
export class DeadlineWatch {
  readonly #clock: Clock;
  readonly #expire: (now: number) => number;
  #timer: Timer | undefined;
  #at = Infinity;

  /** `expire` ends what is due and returns the earliest deadline that is left. */
  constructor(clock: Clock, expire: (now: number) => number) {
    this.#clock = clock;
    this.#expire = expire;
  }

  /** Wakes up at this time, or earlier if something is due before. */
  watch(at: number): void {
    if (at >= this.#at) return;
    this.#timer?.cancel();
    this.#at = at;
    this.#timer = this.#clock.timer(at - this.#clock.now(), this.#fire);
  }

  /** Nothing is left to wait for. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#at = Infinity;
  }

  readonly #fire = (): void => {
    this.#timer = undefined;
    this.#at = Infinity;
    this.watch(this.#expire(this.#clock.now()));
  };
}

// SPDX-License-Identifier: Apache-2.0

import type { Random } from "../async/clock.ts";

/** Numbers that depend on the seed only, the same in every runtime. */
export class SeededRandom implements Random {
  #state: number;

  /**
   * Begins the sequence of a seed.
   *
   * @param seed a whole number; only its lowest 32 bits count
   */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  // The mulberry32 generator: 32 bits of state, passes the usual batteries for its size.
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number in `[0, below)`. */
  int(below: number): number {
    return Math.floor(this.next() * below);
  }

  /** One element of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    const value = list[this.int(list.length)];
    if (value === undefined) throw new RangeError("Cannot pick: the list is empty");
    return value;
  }
}

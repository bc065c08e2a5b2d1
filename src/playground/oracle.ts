// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../async/clock.ts";

/** The last timestamp of a batch. */
export interface OracleTimestamp {
  readonly physical: bigint;
  readonly logical: bigint;
}

/** Timestamps of one millisecond; then PD goes on to the next. */
const LOGICAL_LIMIT = 1n << 18n;

/** The timestamps that the leader of PD hands out. */
export class Oracle {
  readonly #clock: Clock;
  #offsetMs = 0n;
  #stalledUntil = -Infinity;
  #physical = 0n;
  #logical = 0n;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes the next `count` timestamps and returns the largest; the others are right below it. */
  next(count: number): OracleTimestamp {
    const now = BigInt(this.#clock.wallNow()) + this.#offsetMs;
    if (now > this.#physical) {
      this.#physical = now;
      this.#logical = 0n;
    }
    const wanted = BigInt(count);
    if (this.#logical + wanted >= LOGICAL_LIMIT) {
      this.#physical += 1n;
      this.#logical = 0n;
    }
    this.#logical += wanted;
    return { physical: this.#physical, logical: this.#logical };
  }

  /** The largest timestamp so far, as one number. */
  current(): bigint {
    return (this.#physical << 18n) + this.#logical;
  }

  /** The physical part of the next timestamp. */
  physicalMs(): bigint {
    const now = BigInt(this.#clock.wallNow()) + this.#offsetMs;
    return now > this.#physical ? now : this.#physical;
  }

  /** How long a request has to wait before it is answered. */
  waitMs(): number {
    return Math.max(0, this.#stalledUntil - this.#clock.now());
  }

  /** Holds all answers back for this long. */
  stall(ms: number): void {
    this.#stalledUntil = this.#clock.now() + ms;
  }

  /**
   * Moves the physical part. A negative jump makes timestamps go back, which PD never does: it is
   * for clients that have to notice.
   */
  jump(ms: number): void {
    this.#offsetMs += BigInt(ms);
    if (ms < 0) {
      this.#physical += BigInt(ms);
      this.#logical = 0n;
    }
  }
}

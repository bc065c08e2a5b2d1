// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../../async/clock.ts";

/** `CACHE_ITEMS_REQUIRED_KEEP_TIME`. */
const KEEP_MS = 30_000;

/**
 * Which transactions a store has seen commit, for as long as a late copy of a prewrite may arrive:
 * of such a one the store must not believe that its keys need no checks.
 */
export class TxnStatusCache {
  readonly #clock: Clock;
  readonly #committed = new Map<bigint, { readonly commitTs: bigint; readonly at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(startTs: bigint, commitTs: bigint): void {
    const now = this.#clock.now();
    this.#committed.delete(startTs);
    this.#committed.set(startTs, { commitTs, at: now });
    for (const [oldest, { at }] of this.#committed) {
      if (now - at < KEEP_MS) break;
      this.#committed.delete(oldest);
    }
  }

  commitTs(startTs: bigint): bigint | undefined {
    return this.#committed.get(startTs)?.commitTs;
  }
}

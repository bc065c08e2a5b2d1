// SPDX-License-Identifier: Apache-2.0

import type { StoreMeta } from "./meta.ts";
import type { Slowness } from "./slow_score.ts";

/** Whether a store answers: `unknown` when the probe itself could not tell. */
export type Liveness = "reachable" | "unreachable" | "unknown";

/**
 * What is known of where a store is.
 *
 * - `unresolved`: only its id is known; ends with the first answer of PD.
 * - `resolved`: PD's answer is used; ends when a request shows that it may be outdated.
 * - `needs-check`: still used, and PD is being asked again; its answer ends it.
 * - `tombstone`: PD says that the store was removed; for good.
 */
export type StoreState = "unresolved" | "resolved" | "needs-check" | "tombstone";

const MOVES = {
  "unresolved": ["resolved", "tombstone"],
  "resolved": ["needs-check", "tombstone"],
  "needs-check": ["resolved", "tombstone"],
  "tombstone": [],
} as const satisfies Record<StoreState, readonly StoreState[]>;

/** One store. All regions that have a peer on it share this object. */
export class CachedStore {
  readonly id: bigint;
  #state: StoreState = "unresolved";
  #address = "";
  #labels: ReadonlyMap<string, string> = new Map();
  #busyUntilMs = 0;

  /**
   * Goes up when the store was found dead or removed: regions that were loaded before then do not
   * send to it until they are loaded again.
   */
  epoch = 0;
  liveness: Liveness = "reachable";
  /** Absent as long as nothing is known against it. */
  slowness: Slowness | undefined;

  constructor(id: bigint) {
    this.id = id;
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Empty when the store is not resolved, or PD does not know where it is. */
  get address(): string {
    return this.#address;
  }

  get labels(): ReadonlyMap<string, string> {
    return this.#labels;
  }

  /** Tells whether requests can be sent there at all. */
  get hasAddress(): boolean {
    return this.#address !== "" && this.#state !== "tombstone";
  }

  /** Moves to another state if the table allows it, and tells whether it did. */
  moveTo(state: StoreState): boolean {
    const allowed: readonly StoreState[] = MOVES[this.#state];
    if (!allowed.includes(state)) return false;
    this.#state = state;
    return true;
  }

  /** Takes what PD says over and tells whether the address is another one. The epoch stays. */
  update(meta: StoreMeta): boolean {
    const isMoved = this.#address !== "" && this.#address !== meta.address;
    this.#address = meta.address;
    this.#labels = meta.labels;
    return isMoved;
  }

  /** Tells whether each label that is wanted has the wanted value. */
  matches(wanted: ReadonlyMap<string, string>): boolean {
    for (const [key, value] of wanted) if (this.#labels.get(key) !== value) return false;
    return true;
  }

  /** Remembers for how long the store said it will be busy. */
  recordBusy(estimatedWaitMs: number, nowMs: number): void {
    this.#busyUntilMs = nowMs + estimatedWaitMs;
  }

  /** How long a request may have to wait there: the store's own estimate, less the time since. */
  estimatedWaitMs(nowMs: number): number {
    return Math.max(0, this.#busyUntilMs - nowMs);
  }
}

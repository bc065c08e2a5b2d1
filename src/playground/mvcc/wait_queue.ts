// SPDX-License-Identifier: Apache-2.0

import type { Timer } from "../../async/clock.ts";
import type { LockInfoInit } from "./mvcc_error.ts";
import type { LockKey, LockParameters, LockResult } from "./pessimistic_lock.ts";

/** What came of running a request again whose key became free. */
export type ResumeOutcome =
  | { readonly kind: "locked"; readonly result: LockResult }
  | { readonly kind: "blocked"; readonly lock: LockInfoInit };

/** A request that waits for a key. */
export interface WaitRequest {
  readonly storeId: bigint;
  readonly target: LockKey;
  readonly params: LockParameters;
  readonly resourceGroupTag: Uint8Array;
  readonly timeoutMs: number;
  /** Runs the request again, allowing conflicts. Only asked of requests of fair locking. */
  readonly resume: () => ResumeOutcome;
}

/** A request while it waits. */
export interface Waiter {
  readonly request: WaitRequest;
  readonly keyHash: bigint;
  readonly resolve: (result: LockResult) => void;
  readonly reject: (error: unknown) => void;
  /** The lock that stands in the way. */
  lock: LockInfoInit;
  /** When another transaction last took the lock; undefined if none did since it waits. */
  updatedAt: number | undefined;
  timer: Timer | undefined;
  /** How many requests of the old kind had been woken when this one came. */
  wakeUpIndex: number | undefined;
}

/** Who waits for one key, and what happened to it. */
export class WaitQueue {
  readonly #waiters: Waiter[] = [];
  /** How many requests of the old kind were woken so far. */
  #wakeUpIndex = 0;
  conflictStartTs = 0n;
  conflictCommitTs = 0n;
  /** Wakes those that should have been woken by a request that then did not take the key. */
  delayed: Timer | undefined;

  get isEmpty(): boolean {
    return this.#waiters.length === 0;
  }

  /** Oldest transaction first. */
  get waiters(): readonly Waiter[] {
    return this.#waiters;
  }

  push(waiter: Waiter): void {
    waiter.wakeUpIndex ??= this.#wakeUpIndex;
    const { startTs } = waiter.request.params;
    const index = this.#waiters.findIndex((other) => other.request.params.startTs > startTs);
    this.#waiters.splice(index < 0 ? this.#waiters.length : index, 0, waiter);
  }

  remove(waiter: Waiter): boolean {
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
    return index >= 0;
  }

  /** The next to be woken: one, or all that share when the first of them does. */
  pop(): Waiter[] {
    const first = this.#shift();
    if (first === undefined) return [];
    const group = [first];
    while (first.request.target.isShared && this.#waiters[0]?.request.target.isShared === true) {
      const next = this.#shift();
      if (next !== undefined) group.push(next);
    }
    return group;
  }

  /**
   * All of the old kind that came before the last one that was woken. A request of fair locking
   * among them ends the list: it will take the key and wake the rest when it gives it back.
   */
  popOverdue(): Waiter[] {
    const overdue: Waiter[] = [];
    for (let front = this.#waiters[0]; front !== undefined; front = this.#waiters[0]) {
      if ((front.wakeUpIndex ?? 0) >= this.#wakeUpIndex) break;
      this.#waiters.shift();
      overdue.push(front);
      if (front.request.params.allowsConflict) break;
    }
    return overdue;
  }

  #shift(): Waiter | undefined {
    const waiter = this.#waiters.shift();
    if (waiter !== undefined && !waiter.request.params.allowsConflict) this.#wakeUpIndex++;
    return waiter;
  }
}

// SPDX-License-Identifier: Apache-2.0
// Requests that wait for a lock (`src/storage/lock_manager/`, `src/server/lock_manager/`). This is
// the only part of the engine in which time passes.

import type { Clock } from "../../async/clock.ts";
import { farmFingerprint64 } from "../../bytes/farm_hash.ts";
import { KeyMap } from "../../bytes/key_map.ts";
import { WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import { encodeBytes } from "../../bytes/memcomparable.ts";
import { DetectTable, shown } from "./deadlock.ts";
import type { WaitEdge } from "./deadlock.ts";
import { rawKey } from "./lock_info.ts";
import type { LockInfoInit, WaitForEntryInit } from "./mvcc_error.ts";
import { MvccError } from "./mvcc_error.ts";
import type { ReleasedLock } from "./mvcc_txn.ts";
import type { LockResult } from "./pessimistic_lock.ts";
import type { Waiter, WaitRequest } from "./wait_queue.ts";
import { WaitQueue } from "./wait_queue.ts";

/** `pessimistic-txn.wait-for-lock-timeout`: the longest that one request waits, and how long edges live. */
export const WAIT_FOR_LOCK_TIMEOUT_MS = 1_000;

/** `pessimistic-txn.wake-up-delay-duration`. */
const WAKE_UP_DELAY_MS = 20;

/** What the waits need to know of the cluster. */
export interface LockWaitsOptions {
  readonly clock: Clock;
  /**
   * Names the store that looks for deadlocks (it leads the first region) and its term; undefined
   * while there is none, when nobody looks.
   */
  readonly detector: () => string | undefined;
}

/** All waiting requests of the cluster. A store only wakes requests that wait at itself. */
export class LockWaits {
  readonly #clock: Clock;
  readonly #detector: () => string | undefined;
  readonly #stores = new Map<bigint, KeyMap<WaitQueue>>();
  readonly #graph = new DetectTable(WAIT_FOR_LOCK_TIMEOUT_MS);
  #detectorName: string | undefined;

  constructor({ clock, detector }: LockWaitsOptions) {
    this.#clock = clock;
    this.#detector = detector;
  }

  /**
   * Waits until the request has its lock (fair locking), or should come again, or the time is up.
   * Rejects with what the client is to be told.
   */
  wait(request: WaitRequest, lock: LockInfoInit): Promise<LockResult> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        request,
        keyHash: farmFingerprint64(rawKey(request.target.key)),
        resolve,
        reject,
        lock,
        updatedAt: undefined,
        timer: undefined,
        wakeUpIndex: undefined,
      };
      this.#queueOf(request).push(waiter);
      waiter.timer = this.#clock.timer(Math.min(request.timeoutMs, WAIT_FOR_LOCK_TIMEOUT_MS), () => {
        const sinceMs = waiter.updatedAt === undefined
          ? 0
          : Math.max(1, this.#clock.now() - waiter.updatedAt);
        const info = { ...waiter.lock, durationToLastUpdateMs: BigInt(Math.floor(sinceMs)) };
        this.#finish(waiter, () => reject(new MvccError({ kind: "locked", lock: info })));
      }, { background: true });
      if (!request.params.isFirstLock) this.#detect(waiter);
    });
  }

  /** Tells waiters of a store that locks are gone. */
  onReleased(storeId: bigint, released: readonly ReleasedLock[]): void {
    const queues = this.#stores.get(storeId);
    if (queues === undefined || queues.size === 0) return;
    const resumed: Waiter[] = [];
    for (const { key, startTs, commitTs } of released) {
      const queue = queues.get(key);
      if (queue === undefined) continue;
      queue.conflictStartTs = startTs;
      queue.conflictCommitTs = commitTs;
      const woken = queue.pop();
      const old = woken.filter(({ request }) => !request.params.allowsConflict);
      if (old.length > 0 && !queue.isEmpty) this.#delay(queue, storeId, key);
      this.#dropIfEmpty(storeId, key, queue);
      for (const waiter of old) this.#wakeWithConflict(waiter, queue);
      resumed.push(...woken.filter(({ request }) => request.params.allowsConflict));
    }
    for (const waiter of resumed) this.#resume(waiter);
  }

  /** Tells waiters of a store that other transactions have taken keys. */
  onAcquired(storeId: bigint, locks: readonly LockInfoInit[]): void {
    const queues = this.#stores.get(storeId);
    if (queues === undefined || queues.size === 0) return;
    for (const lock of locks) {
      const queue = queues.get(encodeBytes(lock.key ?? new Uint8Array(0)));
      for (const waiter of [...queue?.waiters ?? []]) this.#onBlockerChanged(waiter, lock);
    }
  }

  /** Everything that waits at a store, as `GetLockWaitInfo` shows it. */
  entries(storeId: bigint): WaitForEntryInit[] {
    const entries: WaitForEntryInit[] = [];
    for (const queue of this.#stores.get(storeId)?.values() ?? []) {
      for (const waiter of queue.waiters) entries.push(shown(edgeOf(waiter, waiter.lock)));
    }
    return entries;
  }

  /** How many requests wait. */
  get size(): number {
    let size = 0;
    for (const queues of this.#stores.values()) {
      for (const queue of queues.values()) size += queue.waiters.length;
    }
    return size;
  }

  /** Forgets all waiting requests, for when the cluster stops. */
  clear(): void {
    for (const queues of this.#stores.values()) {
      for (const queue of queues.values()) {
        queue.delayed?.cancel();
        for (const { timer } of queue.waiters) timer?.cancel();
      }
    }
    this.#stores.clear();
    this.#graph.clear();
  }

  #queueOf({ storeId, target }: WaitRequest): WaitQueue {
    let queues = this.#stores.get(storeId);
    if (queues === undefined) {
      queues = new KeyMap();
      this.#stores.set(storeId, queues);
    }
    let queue = queues.get(target.key);
    if (queue === undefined) {
      queue = new WaitQueue();
      queues.set(target.key, queue);
    }
    return queue;
  }

  #dropIfEmpty(storeId: bigint, key: Uint8Array, queue: WaitQueue): void {
    if (!queue.isEmpty) return;
    queue.delayed?.cancel();
    this.#stores.get(storeId)?.delete(key);
  }

  /** Ends a wait: it is in no queue and no graph any more. */
  #finish(waiter: Waiter, settle: () => void): void {
    const { storeId, target } = waiter.request;
    waiter.timer?.cancel();
    const queue = this.#stores.get(storeId)?.get(target.key);
    if (queue?.remove(waiter) === true) this.#dropIfEmpty(storeId, target.key, queue);
    this.#forget(waiter, waiter.lock);
    settle();
  }

  #wakeWithConflict(waiter: Waiter, queue: WaitQueue): void {
    const { params, target } = waiter.request;
    const error = new MvccError({
      kind: "write-conflict",
      startTs: params.startTs,
      conflictStartTs: queue.conflictStartTs,
      conflictCommitTs: queue.conflictCommitTs,
      key: rawKey(target.key),
      primary: params.primary,
      reason: WriteConflict_Reason.PessimisticRetry,
    });
    this.#finish(waiter, () => waiter.reject(error));
  }

  #resume(waiter: Waiter): void {
    try {
      const outcome = waiter.request.resume();
      if (outcome.kind === "locked") return this.#finish(waiter, () => waiter.resolve(outcome.result));
      waiter.wakeUpIndex = undefined;
      this.#queueOf(waiter.request).push(waiter);
      this.#onBlockerChanged(waiter, outcome.lock);
    } catch (error) {
      this.#finish(waiter, () => waiter.reject(error));
    }
  }

  /**
   * The request that was woken may not come back for the key, so the others are woken a little
   * later too. Each further wake-up of the key puts that off.
   */
  #delay(queue: WaitQueue, storeId: bigint, key: Uint8Array): void {
    queue.delayed?.cancel();
    queue.delayed = this.#clock.timer(WAKE_UP_DELAY_MS, () => {
      queue.delayed = undefined;
      const overdue = queue.popOverdue();
      this.#dropIfEmpty(storeId, key, queue);
      for (const waiter of overdue) {
        if (waiter.request.params.allowsConflict) this.#resume(waiter);
        else this.#wakeWithConflict(waiter, queue);
      }
    }, { background: true });
  }

  #onBlockerChanged(waiter: Waiter, lock: LockInfoInit): void {
    const before = waiter.lock;
    waiter.updatedAt = this.#clock.now();
    const areBothShared = isSharedInfo(before) && isSharedInfo(lock);
    if (!areBothShared && before.lockVersion === lock.lockVersion) return;
    waiter.lock = lock;
    const { params } = waiter.request;
    if (params.isFirstLock || !params.allowsConflict) return;
    this.#forget(waiter, before);
    this.#detect(waiter);
  }

  #detect(waiter: Waiter): void {
    const name = this.#detector();
    if (name !== this.#detectorName) this.#graph.clear();
    this.#detectorName = name;
    if (name === undefined) return;
    for (const edge of edgesOf(waiter, waiter.lock)) {
      const found = this.#graph.detect(edge, this.#clock.now());
      if (found === undefined) continue;
      const error = new MvccError({
        kind: "deadlock",
        startTs: edge.txn,
        lockTs: edge.waitFor,
        lockKey: edge.key,
        keyHash: found.keyHash,
        waitChain: found.waitChain,
      });
      return this.#finish(waiter, () => waiter.reject(error));
    }
  }

  #forget(waiter: Waiter, lock: LockInfoInit): void {
    for (const { txn, waitFor, keyHash } of edgesOf(waiter, lock)) this.#graph.remove(txn, waitFor, keyHash);
  }
}

function isSharedInfo({ sharedLockInfos }: LockInfoInit): boolean {
  return sharedLockInfos !== undefined && sharedLockInfos.length > 0;
}

/** Who waits for whom: for all of them, when the lock is shared. */
function edgesOf(waiter: Waiter, lock: LockInfoInit): WaitEdge[] {
  return isSharedInfo(lock)
    ? (lock.sharedLockInfos ?? []).map((inner) => edgeOf(waiter, inner))
    : [edgeOf(waiter, lock)];
}

function edgeOf({ request, keyHash }: Waiter, lock: LockInfoInit): WaitEdge {
  return {
    txn: request.params.startTs,
    waitFor: lock.lockVersion ?? 0n,
    key: rawKey(request.target.key),
    keyHash,
    resourceGroupTag: request.resourceGroupTag,
  };
}

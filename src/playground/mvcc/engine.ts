// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../../async/clock.ts";
import type { SortedRange } from "../sorted_map.ts";
import { collectGarbage } from "./gc.ts";
import { LockWaits } from "./lock_waits.ts";
import { MaxTimestamp, MvccTxn } from "./mvcc_txn.ts";
import { losePessimisticLocks } from "./pessimistic_rollback.ts";
import { oldestLock } from "./scan_locks.ts";
import { Tables } from "./tables.ts";
import { TxnStatusCache } from "./txn_status_cache.ts";

/** What the engine needs to know of the cluster. */
export interface MvccEngineOptions {
  readonly clock: Clock;
  /** Takes the next timestamp of PD. */
  readonly nextTs: () => bigint;
  /** See {@linkcode LockWaits}. */
  readonly detector: () => string | undefined;
}

/** What makes the leader of a region another one. */
export interface Leadership {
  readonly id: bigint;
  readonly version: bigint;
  readonly term: bigint;
}

/** What only one store knows. */
interface StoreState {
  readonly maxTs: MaxTimestamp;
  readonly statuses: TxnStatusCache;
  /** For which leaderships of regions `maxTs` has been brought up to date. */
  readonly synced: Map<bigint, Leadership>;
}

/**
 * The transactional data of the cluster. All stores share it, since replicas never lag; what a
 * store only has in memory is kept apart for each.
 */
export class MvccEngine {
  readonly tables: Tables = new Tables();
  readonly waits: LockWaits;
  /** Regions that are being flashed back, with the start timestamp of that. */
  readonly flashbacks: Map<bigint, bigint> = new Map();
  readonly #clock: Clock;
  readonly #nextTs: () => bigint;
  readonly #stores = new Map<bigint, StoreState>();

  constructor({ clock, nextTs, detector }: MvccEngineOptions) {
    this.#clock = clock;
    this.#nextTs = nextTs;
    this.waits = new LockWaits({ clock, detector });
  }

  /** Starts a command of a store. */
  begin(storeId: bigint, startTs: bigint): MvccTxn {
    return new MvccTxn(this.tables, this.#storeOf(storeId).maxTs, startTs);
  }

  /** Writes what a command wants written, and wakes whoever waits for it. */
  apply(storeId: bigint, txn: MvccTxn): void {
    this.tables.apply(txn.changes);
    this.waits.onAcquired(storeId, txn.newLocks);
    this.waits.onReleased(storeId, txn.released);
  }

  /** Makes sure that nothing commits on the store at or below this timestamp without being locked now. */
  raiseMaxTs(storeId: bigint, ts: bigint): void {
    if (ts !== LATEST) this.#storeOf(storeId).maxTs.raise(ts);
  }

  /**
   * Brings the store up to date that has become leader: other stores have served reads before. Must
   * come before a commit timestamp is derived from what the store knows.
   */
  syncMaxTs(storeId: bigint, { id, version, term }: Leadership): void {
    const { synced, maxTs } = this.#storeOf(storeId);
    const last = synced.get(id);
    if (last !== undefined && last.version === version && last.term === term) return;
    synced.set(id, { id, version, term });
    maxTs.raise(this.#nextTs());
  }

  /** What the store knows of transactions that have ended. */
  statuses(storeId: bigint): TxnStatusCache {
    return this.#storeOf(storeId).statuses;
  }

  /** The largest timestamp at which a range can be read at any replica. */
  resolvedTs(range: SortedRange): bigint {
    const now = this.#nextTs();
    const oldest = oldestLock(this.tables, range);
    return oldest === undefined || oldest > now ? now : oldest - 1n;
  }

  /** Collects what no snapshot at or after the safe point sees. Returns how many versions went. */
  collectGarbage(range: SortedRange, safePoint: bigint): number {
    return collectGarbage(this.tables, range, safePoint);
  }

  /** Loses the pessimistic locks of a range, as when their leader dies. */
  losePessimisticLocks(range: SortedRange): void {
    losePessimisticLocks(this.tables, range);
  }

  #storeOf(storeId: bigint): StoreState {
    let state = this.#stores.get(storeId);
    if (state === undefined) {
      state = { maxTs: new MaxTimestamp(), statuses: new TxnStatusCache(this.#clock), synced: new Map() };
      this.#stores.set(storeId, state);
    }
    return state;
  }
}

const LATEST = 0xffff_ffff_ffff_ffffn;

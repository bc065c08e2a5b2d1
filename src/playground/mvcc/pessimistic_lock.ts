// SPDX-License-Identifier: Apache-2.0
// Locking keys before they are written (`actions/acquire_pessimistic_lock.rs` and
// `commands/acquire_pessimistic_lock.rs`).

import { WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import { checkNotExists } from "./constraint.ts";
import { lockInfoOf, rawKey } from "./lock_info.ts";
import type { LockInfoInit } from "./mvcc_error.ts";
import { mvccAbort, MvccError, otherAbort } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { Lock, SharedLocks, Version } from "./records.ts";
import { isBeforeGcFence, isShared, makeLock, MAX_TS, withSharedLock } from "./records.ts";
import { lastChangeAfter, latestPut, valueOf } from "./versions.ts";

/** What all keys of a request have in common. */
export interface LockParameters {
  readonly primary: Uint8Array;
  readonly startTs: bigint;
  readonly ttlMs: bigint;
  readonly forUpdateTs: bigint;
  readonly minCommitTs: bigint;
  readonly returnsValues: boolean;
  readonly checksExistence: boolean;
  readonly locksOnlyIfExists: boolean;
  /** Locks a key even if it was written after `forUpdateTs`, and says so (fair locking). */
  readonly allowsConflict: boolean;
  /** The transaction has no lock yet, so it cannot be part of a deadlock. */
  readonly isFirstLock: boolean;
}

/** A key to lock. */
export interface LockKey {
  readonly key: Uint8Array;
  readonly shouldNotExist: boolean;
  readonly isShared: boolean;
}

/** What is told about a key that was locked. */
export type LockResult =
  | { readonly kind: "empty" }
  | { readonly kind: "value"; readonly value: Uint8Array | undefined }
  | { readonly kind: "existence"; readonly exists: boolean }
  | {
    readonly kind: "locked-with-conflict";
    readonly value: Uint8Array | undefined;
    readonly conflictTs: bigint;
  };

/** What came of a request. */
export type LockOutcome =
  | { readonly kind: "locked"; readonly results: readonly LockResult[] }
  /** Another transaction has one of the keys. Nothing was locked. */
  | { readonly kind: "blocked"; readonly key: LockKey; readonly lock: LockInfoInit }
  /** Shared locks were told to let nobody join; that is to be written, and the client has to come again. */
  | { readonly kind: "shrunk"; readonly lock: LockInfoInit };

/** Locks all keys, or none. */
export function lockKeys(txn: MvccTxn, keys: readonly LockKey[], params: LockParameters): LockOutcome {
  if (params.allowsConflict && keys.length > 1) {
    throw otherAbort(
      "multiple keys in a single request with allowed_lock_with_conflict set is not allowed",
    );
  }
  const results: LockResult[] = [];
  for (const key of keys) {
    try {
      results.push(lockKey(txn, key, params));
    } catch (error) {
      if (error instanceof NotShrinking) {
        const shared: SharedLocks = { ...error.shared, isShrinkOnly: true };
        txn.clear();
        txn.putLock(key.key, shared, false);
        return { kind: "shrunk", lock: lockInfoOf(key.key, shared) };
      }
      if (!(error instanceof MvccError) || error.fault.kind !== "locked") throw error;
      txn.clear();
      return { kind: "blocked", key, lock: error.fault.lock };
    }
  }
  return { kind: "locked", results };
}

/** Shared locks are in the way and still let others join. */
class NotShrinking extends Error {
  readonly shared: SharedLocks;

  constructor(shared: SharedLocks) {
    super("key is locked by shared locks without shrink-only flag");
    this.shared = shared;
  }
}

function lockKey(txn: MvccTxn, target: LockKey, params: LockParameters): LockResult {
  const { key, shouldNotExist } = target;
  const { startTs, forUpdateTs, returnsValues, checksExistence } = params;
  if (params.locksOnlyIfExists && !returnsValues) {
    throw mvccAbort("LockIfExistsFailed", { start_ts: startTs, key: rawKey(key) });
  }
  if (shouldNotExist || returnsValues || checksExistence) txn.maxTs.raise(forUpdateTs);
  const record = txn.tables.lock(key);
  if (record === undefined) return lockFreeKey(txn, target, params, undefined);
  if (!isShared(record)) {
    if (target.isShared || record.startTs !== startTs) throw locked(key, record);
    return lockOwnKey(txn, target, params, record);
  }
  if (!target.isShared) {
    if (!record.isShrinkOnly) throw new NotShrinking(record);
    throw locked(key, record);
  }
  const own = record.locks.get(startTs);
  if (own !== undefined) {
    if (forUpdateTs > own.forUpdateTs) {
      const lock: Lock = { ...newLock(params, forUpdateTs), lastChange: own.lastChange };
      txn.putLock(key, withSharedLock(record, lock), false);
    }
    return resultOf(params, undefined, undefined);
  }
  if (record.isShrinkOnly) throw locked(key, record);
  return lockFreeKey(txn, target, params, record);
}

interface Conflict {
  readonly startTs: bigint;
  readonly commitTs: bigint;
}

function lockFreeKey(
  txn: MvccTxn,
  target: LockKey,
  params: LockParameters,
  joined: SharedLocks | undefined,
): LockResult {
  const { tables } = txn;
  const { key } = target;
  const { startTs } = params;
  let { forUpdateTs } = params;
  let conflict: Conflict | undefined;
  let value: Uint8Array | undefined;
  const newest = tables.seek(key, MAX_TS);
  if (newest !== undefined) {
    const { commitTs, write } = newest;
    if (commitTs > forUpdateTs) {
      conflict = { startTs: write.startTs, commitTs };
      if (!params.allowsConflict) throw conflictError(params, key, conflict);
      forUpdateTs = commitTs;
    }
    checkRolledBack(txn, key, newest, startTs);
    try {
      checkNotExists(tables, key, newest, startTs, target.shouldNotExist);
    } catch (error) {
      // The client must look again at the newer version before it says that the key exists.
      throw conflict === undefined ? error : conflictError(params, key, conflict);
    }
    if (params.returnsValues || params.checksExistence || conflict !== undefined) {
      const put = newestValue(txn, key, newest, startTs);
      if (put !== undefined) value = valueOf(tables, key, put.write);
    }
  }
  const lock: Lock = {
    ...newLock(params, forUpdateTs),
    lastChange: newest === undefined ? { kind: "not-exists" } : lastChangeAfter(tables, key, newest),
    isLockedWithConflict: conflict !== undefined,
  };
  if (target.isShared) txn.putLock(key, withSharedLock(joined, lock), joined === undefined);
  else if (!params.locksOnlyIfExists || value !== undefined) txn.putLock(key, lock, true);
  else if (conflict !== undefined) throw conflictError(params, key, conflict);
  return resultOf(params, conflict?.commitTs, value);
}

function newestValue(txn: MvccTxn, key: Uint8Array, newest: Version, startTs: bigint): Version | undefined {
  const { kind } = newest.write;
  if (kind === "put") return isBeforeGcFence(newest.write, startTs) ? newest : undefined;
  return kind === "delete" ? undefined : latestPut(txn.tables, key, newest.commitTs - 1n, startTs);
}

/** A key that already has an exclusive lock of the transaction. */
function lockOwnKey(txn: MvccTxn, target: LockKey, params: LockParameters, own: Lock): LockResult {
  const { tables } = txn;
  const { key, shouldNotExist } = target;
  const { startTs } = params;
  let { forUpdateTs } = params;
  if (own.kind !== "pessimistic") {
    throw mvccAbort("LockTypeNotMatch", { start_ts: startTs, key: rawKey(key), pessimistic: false });
  }
  let conflictTs: bigint | undefined;
  if (params.allowsConflict && forUpdateTs < own.forUpdateTs) {
    forUpdateTs = own.forUpdateTs;
    conflictTs = forUpdateTs;
  }
  let value: Uint8Array | undefined;
  if (params.returnsValues || conflictTs !== undefined || params.checksExistence || shouldNotExist) {
    const version = latestPut(tables, key, forUpdateTs, startTs);
    if (version !== undefined) {
      try {
        checkNotExists(tables, key, version, startTs, shouldNotExist);
      } catch (error) {
        const { commitTs, write } = version;
        if (commitTs <= params.forUpdateTs) throw error;
        throw conflictError(params, key, { startTs: write.startTs, commitTs });
      }
      value = valueOf(tables, key, version.write);
    }
  }
  if (forUpdateTs > own.forUpdateTs) {
    txn.putLock(key, {
      ...newLock(params, forUpdateTs),
      lastChange: own.lastChange,
      isLockedWithConflict: own.isLockedWithConflict,
    }, false);
  }
  return resultOf(params, conflictTs, value);
}

/** Refuses a late request of a transaction that was rolled back on the key. */
function checkRolledBack({ tables }: MvccTxn, key: Uint8Array, newest: Version, startTs: bigint): void {
  const version = newest.commitTs > startTs ? tables.seek(key, startTs) : newest;
  if (version?.commitTs !== startTs) return;
  if (version.write.kind !== "rollback" && !version.write.hasOverlappedRollback) return;
  throw mvccAbort("PessimisticLockRolledBack", { start_ts: startTs, key: rawKey(key) });
}

function newLock({ primary, startTs, ttlMs, minCommitTs }: LockParameters, forUpdateTs: bigint): Lock {
  return makeLock({ kind: "pessimistic", primary, startTs, ttlMs, forUpdateTs, minCommitTs });
}

function resultOf(
  { returnsValues, checksExistence }: LockParameters,
  conflictTs: bigint | undefined,
  value: Uint8Array | undefined,
): LockResult {
  if (conflictTs !== undefined) return { kind: "locked-with-conflict", value, conflictTs };
  if (returnsValues) return { kind: "value", value };
  return checksExistence ? { kind: "existence", exists: value !== undefined } : { kind: "empty" };
}

function locked(key: Uint8Array, record: Lock | SharedLocks): MvccError {
  return new MvccError({ kind: "locked", lock: lockInfoOf(key, record) });
}

function conflictError({ startTs, primary }: LockParameters, key: Uint8Array, conflict: Conflict): MvccError {
  return new MvccError({
    kind: "write-conflict",
    startTs,
    conflictStartTs: conflict.startTs,
    conflictCommitTs: conflict.commitTs,
    key: rawKey(key),
    primary,
    reason: WriteConflict_Reason.PessimisticRetry,
  });
}

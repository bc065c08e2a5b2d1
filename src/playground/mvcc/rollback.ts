// SPDX-License-Identifier: Apache-2.0
// Rolling a transaction back on one key (`actions/check_txn_status.rs` and `actions/cleanup.rs`).

import { isPrimary, lockInfoOf, rawKey } from "./lock_info.ts";
import { MvccError, otherAbort } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { Lock, SharedLocks, Write } from "./records.ts";
import { isProtectedRollback, isShared, makeRollback, physicalOf, withoutSharedLock } from "./records.ts";
import type { CommitRecord } from "./versions.ts";
import { commitRecordOf } from "./versions.ts";

/** How a transaction has ended on a key that has no lock of it. */
export type EndStatus =
  | { readonly kind: "committed"; readonly commitTs: bigint }
  | { readonly kind: "rolled-back" }
  /** It was not known, and is rolled back from now on. */
  | { readonly kind: "lock-not-exist" }
  /** It is not known, and nothing was done about it. */
  | { readonly kind: "do-nothing" };

/** What to do about a transaction of which a key shows nothing. */
export type MissingLockAction = "rollback" | "protected-rollback" | "error";

/** Takes the lock away and leaves a record of the rollback. Whoever calls has seen the lock. */
export function rollbackLock(txn: MvccTxn, key: Uint8Array, lock: Lock, collapses: boolean): void {
  const record = commitRecordOf(txn.tables, key, txn.startTs);
  assertNotCommitted(record, key, txn.startTs);
  if (record.kind === "none") {
    if (lock.kind === "put" && lock.shortValue === undefined) txn.deleteValue(key, lock.startTs);
    // The rollback of a primary decides about the transaction, so it must not be lost.
    const isProtected = isPrimary(key, lock.primary) || lock.generation > 0n;
    putRollback(txn, key, isProtected, record);
    if (collapses) collapseRollback(txn, key);
  }
  txn.unlock(key);
}

/** The same for one of the shared locks on a key. */
export function rollbackSharedLock(
  txn: MvccTxn,
  key: Uint8Array,
  shared: SharedLocks,
  collapses: boolean,
): void {
  if (!shared.locks.has(txn.startTs)) return;
  const record = commitRecordOf(txn.tables, key, txn.startTs);
  assertNotCommitted(record, key, txn.startTs);
  if (record.kind === "none") {
    putRollback(txn, key, false, record);
    if (collapses) collapseRollback(txn, key);
  }
  txn.putSharedLocks(key, withoutSharedLock(shared, txn.startTs));
}

/**
 * Rolls the transaction back on a key, whether it has its lock or not.
 *
 * @param currentTs 0 to do it even before the lock has expired
 */
export function cleanup(txn: MvccTxn, key: Uint8Array, currentTs: bigint, isProtected: boolean): void {
  const { startTs } = txn;
  const record = txn.lock(key);
  if (record !== undefined && isShared(record)) {
    const own = record.locks.get(startTs);
    if (own !== undefined) {
      checkExpired(key, own, record, currentTs);
      return rollbackSharedLock(txn, key, record, !isProtected);
    }
  } else if (record?.startTs === startTs) {
    checkExpired(key, record, record, currentTs);
    return rollbackLock(txn, key, record, !isProtected);
  }
  const other = record === undefined || isShared(record) ? undefined : record;
  const action = isProtected ? "protected-rollback" : "rollback";
  const status = endWithoutLock(txn, key, { other, action, isResolvingPessimisticLock: false });
  if (status.kind === "committed") {
    throw new MvccError({ kind: "committed", startTs, commitTs: status.commitTs, key: rawKey(key) });
  }
}

function checkExpired(key: Uint8Array, lock: Lock, record: Lock | SharedLocks, currentTs: bigint): void {
  if (currentTs === 0n || physicalOf(lock.startTs) + lock.ttlMs < physicalOf(currentTs)) return;
  throw new MvccError({ kind: "locked", lock: lockInfoOf(key, record) });
}

/** Finds out how the transaction ended on a key without its lock, and ends it if need be. */
export function endWithoutLock(
  txn: MvccTxn,
  key: Uint8Array,
  { other, action, isResolvingPessimisticLock }: {
    /** The lock of another transaction on the key. */
    readonly other: Lock | undefined;
    readonly action: MissingLockAction;
    readonly isResolvingPessimisticLock: boolean;
  },
): EndStatus {
  const { startTs } = txn;
  const record = commitRecordOf(txn.tables, key, startTs);
  if (record.kind !== "none") return endOf(record);
  if (action === "error") throw new MvccError({ kind: "txn-not-found", startTs, key: rawKey(key) });
  if (isResolvingPessimisticLock) return { kind: "do-nothing" };
  const isProtected = action === "protected-rollback";
  if (!isProtected) collapseRollback(txn, key);
  if (other !== undefined && record.overlapped === undefined) {
    markRollbackOnLock(txn, key, other, isProtected);
  }
  putRollback(txn, key, isProtected, record);
  return { kind: "lock-not-exist" };
}

/** How a transaction ended that has a record of it. */
export function endOf(record: Exclude<CommitRecord, { readonly kind: "none" }>): EndStatus {
  return record.kind === "own" && record.write.kind !== "rollback"
    ? { kind: "committed", commitTs: record.commitTs }
    : { kind: "rolled-back" };
}

/**
 * Tells the lock of an async commit that another transaction was rolled back under it. If it then
 * commits at just that timestamp, its record would otherwise hide the rollback.
 */
export function markRollbackOnLock(
  txn: MvccTxn,
  key: Uint8Array,
  lock: Lock,
  isProtected: boolean,
): void {
  if (!isProtected || txn.startTs < lock.minCommitTs || !lock.usesAsyncCommit) return;
  txn.putLock(key, { ...lock, rollbackTs: [...lock.rollbackTs, txn.startTs] }, false);
}

/** Writes the record of the rollback, inside another transaction's if that one has its place. */
export function putRollback(
  txn: MvccTxn,
  key: Uint8Array,
  isProtected: boolean,
  { overlapped }: Extract<CommitRecord, { readonly kind: "none" }>,
): void {
  if (overlapped === undefined) {
    txn.putWrite(key, txn.startTs, makeRollback(txn.startTs, isProtected));
  } else if (isProtected) {
    const { write, gcFence } = overlapped;
    const marked: Write = { ...write, hasOverlappedRollback: true, gcFence };
    txn.putWrite(key, txn.startTs, marked);
  }
}

/** Forgets the rollback before this one, unless it is protected: only the last one is needed. */
export function collapseRollback(txn: MvccTxn, key: Uint8Array): void {
  const before = txn.tables.seek(key, txn.startTs);
  if (before === undefined || before.write.kind !== "rollback" || isProtectedRollback(before.write)) return;
  txn.deleteWrite(key, before.commitTs);
}

/** TiKV panics when a transaction is committed on a key that still has its lock. */
function assertNotCommitted(record: CommitRecord, key: Uint8Array, startTs: bigint): void {
  if (record.kind !== "own" || record.write.kind === "rollback") return;
  throw otherAbort(`txn record found but not expected: ${startTs} on [${[...rawKey(key)].join(", ")}]`);
}

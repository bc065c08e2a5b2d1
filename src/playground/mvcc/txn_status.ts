// SPDX-License-Identifier: Apache-2.0
// Asking a primary about its transaction, and keeping it alive (`commands/check_txn_status.rs`,
// `commands/txn_heart_beat.rs`).

import { isPrimary, lockInfoOf, rawKey } from "./lock_info.ts";
import { MvccError } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { Lock } from "./records.ts";
import { isShared, MAX_TS, physicalOf } from "./records.ts";
import type { EndStatus } from "./rollback.ts";
import { endOf, endWithoutLock, rollbackLock } from "./rollback.ts";
import { commitRecordOf } from "./versions.ts";

/** What the primary says. */
export type TxnStatus =
  | EndStatus
  | { readonly kind: "alive"; readonly lock: Lock; readonly isMinCommitTsPushed: boolean }
  /** It had expired and was rolled back by this question. */
  | { readonly kind: "expired" }
  /** Its pessimistic lock had expired and was taken away; the transaction itself may go on. */
  | { readonly kind: "pessimistic-rolled-back" };

/** How the question is asked. */
export interface StatusRequest {
  readonly callerStartTs: bigint;
  readonly currentTs: bigint;
  readonly rollsBackIfMissing: boolean;
  /** Takes an async commit for a plain one. */
  readonly forcesSyncCommit: boolean;
  readonly isResolvingPessimisticLock: boolean;
  readonly verifiesPrimary: boolean;
}

/** Tells how the transaction `txn.startTs` is doing by its primary, and ends it when it has expired. */
export function checkTxnStatus(txn: MvccTxn, key: Uint8Array, request: StatusRequest): TxnStatus {
  const { currentTs, callerStartTs } = request;
  txn.maxTs.raise(txn.startTs);
  if (currentTs !== MAX_TS) txn.maxTs.raise(currentTs);
  if (callerStartTs !== MAX_TS) txn.maxTs.raise(callerStartTs);
  const record = txn.tables.lock(key);
  if (record !== undefined && isShared(record)) {
    throw new MvccError({ kind: "primary-mismatch", lock: lockInfoOf(key, record) });
  }
  if (record?.startTs === txn.startTs) return statusOfLock(txn, key, record, request);
  return endWithoutLock(txn, key, {
    other: record,
    action: request.rollsBackIfMissing ? "protected-rollback" : "error",
    isResolvingPessimisticLock: request.isResolvingPessimisticLock,
  });
}

function statusOfLock(txn: MvccTxn, key: Uint8Array, lock: Lock, request: StatusRequest): TxnStatus {
  if (request.verifiesPrimary && !isPrimary(key, lock.primary)) return mismatch(txn, key, lock, request);
  if (lock.usesAsyncCommit && !request.forcesSyncCommit) {
    return { kind: "alive", lock, isMinCommitTsPushed: false };
  }
  const { callerStartTs, currentTs } = request;
  const isExpired = physicalOf(lock.startTs) + lock.ttlMs < physicalOf(currentTs);
  if (lock.kind === "pessimistic") {
    if (lock.isLockedWithConflict) {
      // Such a lock may have been made by a late request of a transaction that is over.
      const record = commitRecordOf(txn.tables, key, txn.startTs);
      if (record.kind !== "none") {
        txn.unlock(key);
        return endOf(record);
      }
    }
    if (isExpired && request.isResolvingPessimisticLock) {
      txn.unlock(key);
      return { kind: "pessimistic-rolled-back" };
    }
  }
  if (isExpired) {
    rollbackLock(txn, key, lock, true);
    return { kind: "expired" };
  }
  let shown = lock;
  if (lock.minCommitTs !== 0n && callerStartTs !== MAX_TS && callerStartTs >= lock.minCommitTs) {
    // The reader may go on as if the transaction was not there: it will commit later.
    const minCommitTs = callerStartTs + 1n < currentTs ? currentTs : callerStartTs + 1n;
    shown = { ...lock, minCommitTs };
    txn.putLock(key, shown, false);
  }
  const isMinCommitTsPushed = callerStartTs === MAX_TS ||
    (callerStartTs !== 0n && shown.minCommitTs > callerStartTs);
  return { kind: "alive", lock: shown, isMinCommitTsPushed };
}

/** The question came to a key that is not the primary, or not any more. */
function mismatch(txn: MvccTxn, key: Uint8Array, lock: Lock, request: StatusRequest): TxnStatus {
  if (request.isResolvingPessimisticLock || lock.kind !== "pessimistic") {
    throw new MvccError({ kind: "primary-mismatch", lock: lockInfoOf(key, lock) });
  }
  const status = endWithoutLock(txn, key, {
    other: undefined,
    action: request.rollsBackIfMissing ? "protected-rollback" : "error",
    isResolvingPessimisticLock: false,
  });
  txn.unlock(key);
  return status;
}

/** Makes the primary live longer. Returns its lock. */
export function heartBeat(
  txn: MvccTxn,
  key: Uint8Array,
  adviseTtlMs: bigint,
  minCommitTs: bigint,
): Lock {
  const record = txn.tables.lock(key);
  if (record !== undefined && isShared(record) && record.locks.has(txn.startTs)) {
    throw new MvccError({ kind: "primary-mismatch", lock: lockInfoOf(key, record) });
  }
  if (record === undefined || isShared(record) || record.startTs !== txn.startTs) {
    throw new MvccError({ kind: "txn-not-found", startTs: txn.startTs, key: rawKey(key) });
  }
  let lock = record;
  if (lock.ttlMs < adviseTtlMs) lock = { ...lock, ttlMs: adviseTtlMs };
  // Only pipelined transactions live long enough for readers to need this.
  const isPipelined = !lock.usesAsyncCommit && lock.generation > 0n;
  if (isPipelined && minCommitTs > 0n && lock.minCommitTs < minCommitTs) lock = { ...lock, minCommitTs };
  if (lock !== record) txn.putLock(key, lock, false);
  return lock;
}

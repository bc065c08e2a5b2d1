// SPDX-License-Identifier: Apache-2.0
// Asking secondaries whether an async commit is complete (`commands/check_secondary_locks.rs`).

import { lockInfoOf } from "./lock_info.ts";
import type { LockInfoInit } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { Lock } from "./records.ts";
import { isShared } from "./records.ts";
import type { EndStatus } from "./rollback.ts";
import { collapseRollback, endOf, markRollbackOnLock, putRollback } from "./rollback.ts";
import type { CommitRecord } from "./versions.ts";
import { commitRecordOf } from "./versions.ts";

/** All keys are locked, or one of them tells how the transaction ended. */
export type SecondaryStatus =
  | { readonly kind: "locked"; readonly locks: readonly LockInfoInit[] }
  | { readonly kind: "committed"; readonly commitTs: bigint }
  | { readonly kind: "rolled-back" };

/** Looks at the keys until one is not locked. A key that shows nothing of the transaction rolls it back. */
export function checkSecondaryLocks(txn: MvccTxn, keys: readonly Uint8Array[]): SecondaryStatus {
  txn.maxTs.raise(txn.startTs);
  const locks: LockInfoInit[] = [];
  for (const key of keys) {
    const record = txn.tables.lock(key);
    const exclusive = record === undefined || isShared(record) ? undefined : record;
    const own = exclusive?.startTs === txn.startTs ? exclusive : undefined;
    if (own !== undefined && own.kind !== "pessimistic") {
      locks.push(lockInfoOf(key, own));
      continue;
    }
    if (own !== undefined) txn.unlock(key);
    const status = endOfKey(txn, key, own === undefined ? exclusive : undefined);
    return status.kind === "committed" ? status : { kind: "rolled-back" };
  }
  return { kind: "locked", locks };
}

function endOfKey(txn: MvccTxn, key: Uint8Array, other: Lock | undefined): EndStatus {
  const record: CommitRecord = commitRecordOf(txn.tables, key, txn.startTs);
  if (record.kind !== "none") return endOf(record);
  if (other !== undefined) markRollbackOnLock(txn, key, other, true);
  putRollback(txn, key, true, record);
  collapseRollback(txn, key);
  return { kind: "rolled-back" };
}

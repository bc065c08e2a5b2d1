// SPDX-License-Identifier: Apache-2.0
// Giving pessimistic locks up (`commands/pessimistic_rollback*.rs`). Nothing is recorded: the
// transaction may lock the key again.

import type { SortedRange } from "../sorted_map.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import { isShared, lockOf, withoutSharedLock } from "./records.ts";
import type { Tables } from "./tables.ts";

/** Takes the pessimistic locks of the transaction away that are not newer than `forUpdateTs`. */
export function rollbackPessimistic(txn: MvccTxn, keys: readonly Uint8Array[], forUpdateTs: bigint): void {
  for (const key of keys) {
    const record = txn.tables.lock(key);
    const lock = lockOf(record, txn.startTs);
    if (record === undefined || lock?.kind !== "pessimistic" || lock.forUpdateTs > forUpdateTs) continue;
    txn.putSharedLocks(key, isShared(record) ? withoutSharedLock(record, txn.startTs) : undefined);
  }
}

/** The same for all keys of a range. */
export function rollbackPessimisticRange(txn: MvccTxn, range: SortedRange, forUpdateTs: bigint): void {
  const keys = [...txn.tables.locks.ascending(range)].map(({ key }) => key);
  rollbackPessimistic(txn, keys, forUpdateTs);
}

/**
 * Loses the pessimistic locks of a range, as when their leader dies: they are kept in its memory
 * only. Transactions that had them find out at prewrite.
 */
export function losePessimisticLocks(tables: Tables, range: SortedRange): void {
  const keys = [...tables.locks.ascending(range)].flatMap(({ key, value }) =>
    !isShared(value) && value.kind === "pessimistic" ? [key] : []
  );
  tables.apply(keys.map((key) => ({ column: "lock", key, lock: undefined })));
}

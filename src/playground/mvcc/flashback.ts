// SPDX-License-Identifier: Apache-2.0
// Bringing a range back to an older version (`actions/flashback_to_version.rs`). The preparation
// locks the first key that will change, so that nothing is committed below; the second step writes
// the old values again and commits that key last.

import { equalBytes } from "../../bytes/compare.ts";
import type { SortedRange } from "../sorted_map.ts";
import { rawKey } from "./lock_info.ts";
import { invalidTso, MvccError } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { Write } from "./records.ts";
import { isShared, lockOf, makeLock, makeWrite, MAX_TS, writeOfLock } from "./records.ts";
import { rollbackLock, rollbackSharedLock } from "./rollback.ts";
import { latestPut, valueOf } from "./versions.ts";

/** A flashback of a range. */
export interface FlashbackRequest {
  readonly range: SortedRange;
  /** What the data shall be like again. */
  readonly version: bigint;
  readonly startTs: bigint;
}

/** Rolls back all locks of the range and locks the first key that will change. */
export function prepareFlashback(txn: MvccTxn, { range, version, startTs }: FlashbackRequest): void {
  for (const { key, value: record } of txn.tables.locks.ascending(range)) {
    const starts = isShared(record) ? [...record.locks.keys()] : [record.startTs];
    for (const lockTs of starts) {
      if (lockTs === startTs) continue;
      txn.startTs = lockTs;
      const current = txn.lock(key);
      if (current === undefined) continue;
      if (isShared(current)) rollbackSharedLock(txn, key, current, true);
      else rollbackLock(txn, key, current, true);
    }
  }
  txn.startTs = startTs;
  const first = firstChangedKey(txn, range, version);
  if (first === undefined || txn.lock(first) !== undefined) return;
  const old = latestPut(txn.tables, first, version);
  if (old !== undefined && old.write.shortValue === undefined) {
    txn.putValue(first, startTs, valueOf(txn.tables, first, old.write));
  }
  txn.putLock(
    first,
    makeLock({
      kind: old === undefined ? "delete" : "put",
      primary: first,
      startTs,
      ttlMs: 0n,
      shortValue: old?.write.shortValue,
      txnSize: 1n,
    }),
    false,
  );
}

/** Writes the old version of every key that changed since. Returns false when it was not prepared. */
export function finishFlashback(
  txn: MvccTxn,
  { range, version, startTs }: FlashbackRequest,
  commitTs: bigint,
): boolean {
  if (commitTs <= startTs) throw invalidTso(startTs, commitTs);
  const { tables } = txn;
  const first = firstChangedKey(txn, range, version);
  if (first === undefined) return true;
  const lock = lockOf(tables.lock(first), startTs);
  if (lock === undefined) {
    const newest = tables.seek(first, commitTs);
    return tables.lock(first) === undefined && newest?.commitTs === commitTs &&
      newest.write.startTs === startTs;
  }
  for (const key of tables.versionedKeys(range)) {
    if (equalBytes(key, first)) continue;
    const latest = latestChange(txn, key);
    if (latest === undefined || latest <= version || latest >= commitTs) continue;
    txn.putWrite(key, commitTs, writeAgain(txn, key, version, startTs));
  }
  if (lock.kind === "pessimistic") {
    throw new MvccError({ kind: "lock-not-found", startTs, commitTs, key: rawKey(first), mvcc: undefined });
  }
  txn.putWrite(first, commitTs, writeOfLock(lock));
  txn.unlock(first, commitTs);
  return true;
}

function writeAgain(txn: MvccTxn, key: Uint8Array, version: bigint, startTs: bigint): Write {
  const old = latestPut(txn.tables, key, version);
  if (old === undefined) return makeWrite({ kind: "delete", startTs });
  if (old.write.shortValue === undefined) txn.putValue(key, startTs, valueOf(txn.tables, key, old.write));
  return makeWrite({ kind: "put", startTs, shortValue: old.write.shortValue });
}

function firstChangedKey(txn: MvccTxn, range: SortedRange, version: bigint): Uint8Array | undefined {
  for (const key of txn.tables.versionedKeys(range)) {
    const latest = latestChange(txn, key);
    if (latest !== undefined && latest > version) return key;
  }
  return undefined;
}

/** When the data of a key last changed. */
function latestChange({ tables }: MvccTxn, key: Uint8Array): bigint | undefined {
  let version = tables.seek(key, MAX_TS);
  while (version !== undefined && version.write.kind !== "put" && version.write.kind !== "delete") {
    version = version.commitTs === 0n ? undefined : tables.seek(key, version.commitTs - 1n);
  }
  return version?.commitTs;
}

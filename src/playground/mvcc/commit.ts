// SPDX-License-Identifier: Apache-2.0
// Committing (`actions/commit.rs`) and the commands that commit or roll back what others left
// (`commands/resolve_lock*.rs`, `commands/rollback.rs`).

import type { SortedRange } from "../sorted_map.ts";
import { isPrimary, mvccInfoOf, rawKey } from "./lock_info.ts";
import { invalidTso, MvccError } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import { isShared, lockOf, withoutSharedLock, writeOfLock } from "./records.ts";
import { cleanup } from "./rollback.ts";
import { commitRecordOf } from "./versions.ts";

/** Which keys the client says it commits; only used for what is told about an error. */
export type CommitRole = "primary" | "secondary" | undefined;

/** Commits some keys of a transaction. */
export function commitKeys(
  txn: MvccTxn,
  keys: readonly Uint8Array[],
  commitTs: bigint,
  role: CommitRole,
): void {
  if (commitTs <= txn.startTs) throw invalidTso(txn.startTs, commitTs);
  for (const key of keys) commitKey(txn, key, commitTs, role);
}

/** Rolls some keys of a transaction back. */
export function rollbackKeys(txn: MvccTxn, keys: readonly Uint8Array[]): void {
  for (const key of keys) cleanup(txn, key, 0n, false);
}

/** Commits (`commitTs` > 0) or rolls back the keys of one transaction. */
export function resolveKeys(txn: MvccTxn, keys: readonly Uint8Array[], commitTs: bigint): void {
  if (commitTs === 0n) return rollbackKeys(txn, keys);
  for (const key of keys) commitKey(txn, key, commitTs, undefined);
}

/**
 * Commits or rolls back every lock of some transactions in a range.
 *
 * @param ends commit timestamps by start timestamp; 0 rolls back
 * @returns the transactions of which it committed something
 */
export function resolveRange(
  txn: MvccTxn,
  range: SortedRange,
  ends: ReadonlyMap<bigint, bigint>,
): ReadonlyMap<bigint, bigint> {
  const committed = new Map<bigint, bigint>();
  for (const { key, value: record } of txn.tables.locks.ascending(range)) {
    const locks = isShared(record) ? [...record.locks.values()] : [record];
    for (const lock of locks) {
      const commitTs = ends.get(lock.startTs);
      if (commitTs === undefined) continue;
      txn.startTs = lock.startTs;
      if (commitTs === 0n) {
        cleanup(txn, key, 0n, false);
      } else if (commitTs > lock.startTs) {
        commitKey(txn, key, commitTs, undefined);
        committed.set(lock.startTs, commitTs);
      } else {
        throw invalidTso(lock.startTs, commitTs);
      }
    }
  }
  return committed;
}

function commitKey(txn: MvccTxn, key: Uint8Array, commitTs: bigint, role: CommitRole): void {
  const { startTs, tables } = txn;
  const record = txn.lock(key);
  const lock = lockOf(record, startTs);
  if (record === undefined || lock === undefined) return checkCommitted(txn, key, commitTs, role);
  if (commitTs < lock.minCommitTs) {
    throw new MvccError({
      kind: "commit-ts-expired",
      startTs,
      commitTs,
      key: rawKey(key),
      minCommitTs: lock.minCommitTs,
      mvcc: isPrimary(key, lock.primary) ? undefined : mvccInfoOf(tables, key),
    });
  }
  const rest = isShared(record) ? withoutSharedLock(record, startTs) : undefined;
  if (lock.kind === "pessimistic") return txn.putSharedLocks(key, rest);
  const write = writeOfLock(lock);
  const hidesRollback = lock.rollbackTs.includes(commitTs);
  txn.putWrite(key, commitTs, hidesRollback ? { ...write, hasOverlappedRollback: true } : write);
  txn.putSharedLocks(key, rest, commitTs);
}

/** A commit of a key without lock is right when the key is committed already. */
function checkCommitted(txn: MvccTxn, key: Uint8Array, commitTs: bigint, role: CommitRole): void {
  const { startTs, tables } = txn;
  const record = commitRecordOf(tables, key, startTs);
  if (record.kind === "own" && record.write.kind !== "rollback") return;
  throw new MvccError({
    kind: "lock-not-found",
    startTs,
    commitTs,
    key: rawKey(key),
    mvcc: role === "secondary" ? mvccInfoOf(tables, key) : undefined,
  });
}

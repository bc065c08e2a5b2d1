// SPDX-License-Identifier: Apache-2.0
// Which locks stand in the way of a reader (`check_ts_conflict` in `components/txn_types`). There
// are no locks that are only in memory here: a command of the engine is one step, so a reader finds
// all of a prewrite or nothing.

import { WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { lockInfoOf, rawKey } from "./lock_info.ts";
import { MvccError } from "./mvcc_error.ts";
import type { LockRecord } from "./records.ts";
import { isShared, MAX_TS } from "./records.ts";

/** How much a reader wants to be kept from (`IsolationLevel`). */
export type Isolation = "snapshot" | "read-committed" | "read-committed-check-ts";

/** What a reader sees and which locks it knows about. */
export interface ReadView {
  readonly ts: bigint;
  readonly isolation: Isolation;
  /** Start timestamps of transactions that are rolled back, or that commit after `ts`. */
  readonly bypass: ReadonlySet<bigint>;
  /** Start timestamps of transactions that have committed at or before `ts`. */
  readonly access: ReadonlySet<bigint>;
}

/** Throws when the lock stands in the way of the reader. */
export function checkLock(key: Uint8Array, record: LockRecord, view: ReadView): void {
  const { ts, isolation, bypass } = view;
  if (isolation === "read-committed" || isShared(record)) return;
  if (record.kind === "lock" || record.kind === "pessimistic") return;
  if (isolation === "read-committed-check-ts") {
    if (bypass.has(record.startTs)) return;
    throw new MvccError({
      kind: "write-conflict",
      startTs: ts,
      conflictStartTs: record.startTs,
      conflictCommitTs: 0n,
      key: rawKey(key),
      primary: record.primary,
      reason: WriteConflict_Reason.RcCheckTs,
    });
  }
  if (record.startTs > ts || record.minCommitTs > ts || bypass.has(record.startTs)) return;
  // A read of the latest data may be ordered before a commit that has not got its timestamp yet.
  // The primary decides that; an async commit may already have decided.
  const isUndecidedPrimary = equalBytes(rawKey(key), record.primary) && !record.usesAsyncCommit &&
    !record.usesOnePc;
  if (ts === MAX_TS && isUndecidedPrimary) return;
  throw new MvccError({ kind: "locked", lock: lockInfoOf(key, record) });
}

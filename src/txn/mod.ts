// SPDX-License-Identifier: Apache-2.0

/**
 * Transactions alone: the types of `client.transaction()`, `client.begin()` and `client.snapshot()`,
 * for programs that use nothing else. A client is made with `connect` of the main entry.
 *
 * @example A function over whatever reads, and one that also writes
 * ```ts
 * import assert from "node:assert/strict";
 * import type { Reader, Transaction } from "@tikv/client/txn";
 *
 * async function nameOf(kv: Reader, id: string): Promise<string | undefined> {
 *   const value = await kv.get(`user/${id}`);
 *   return value === undefined ? undefined : new TextDecoder().decode(value);
 * }
 *
 * async function rename(txn: Transaction, id: string, name: string): Promise<void> {
 *   if (await nameOf(txn, id) !== name) txn.put(`user/${id}`, name);
 * }
 *
 * await client.transaction((txn) => rename(txn, "1", "Ada"));
 * assert.equal(await nameOf(await client.snapshot(), "1"), "Ada");
 * ```
 *
 * @module
 */

export type { TransactionOptions } from "./begin.ts";
export type { BeginOptions, CommitInfo, CommitWaitOptions, PlannedWrite } from "./begin_options.ts";
export type { BackgroundTask } from "./commit/committer_background.ts";
export type { ContextOptions } from "./context_options.ts";
export type { CommitLag, CommitPath } from "./commit/committer_run.ts";
export type { Locks, ResolvedLocks, ResolveLocksOptions } from "./client_locks.ts";
export type { ResolvingLock } from "./locks/lock_registry.ts";
export { ReadDetails } from "./snapshot/read_details.ts";
export type { PoolTally, ReplicaTally, RequestTally, ScanTally, TimeTally } from "./snapshot/read_details.ts";
export type { ReplicaRead, ReplicaReadOptions } from "./snapshot/read_route.ts";
export type { Reader, ReadScanOptions } from "./snapshot/reader.ts";
export type { Snapshot, VersionedValue } from "./snapshot/snapshot.ts";
export type { IsolationLevel, SnapshotOptions, SnapshotScanOptions } from "./snapshot/snapshot_options.ts";
export { TransactionDetails } from "./transaction_details.ts";
export type {
  SlowestRequest,
  StepTally,
  TransactionStep,
  WriteTally,
  WriteTime,
} from "./transaction_details.ts";
export type { TransactionStateName } from "./state.ts";
export type {
  InsertOptions,
  LockOptions,
  ReadLockOptions,
  Savepoint,
  StatementOptions,
  Transaction,
} from "./transaction_api.ts";
export type { CommitResult } from "./transaction_core.ts";
export type {
  ByteKeys,
  ByteValues,
  KeyIn,
  KeyOut,
  RawRange,
  ValueIn,
  ValueOut,
  ViewCodecs,
} from "../codec/coding.ts";
export type { ResourceTagger, TaggedRequest } from "../rpc/context.ts";
export type { ScanResult } from "../plan/scan_result.ts";

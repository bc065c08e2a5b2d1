// SPDX-License-Identifier: Apache-2.0

/**
 * A client of TiKV in TypeScript, for Deno, Bun and Node.
 *
 * {@linkcode connect} makes a {@linkcode Client} of the addresses of PD, or of a cluster in this
 * process. `client.transaction()` runs a body in a transaction, and again when others were in its way;
 * `client.snapshot()` reads one moment; `client.raw` reads and writes without transactions. Keys and
 * values are bytes and strings, or typed through views with codecs. Everything that fails rejects with a {@linkcode TikvError}, whose `kind`
 * says what happened and whose `retry` says what may be done about it.
 *
 * @example Connect, write and read
 * ```ts
 * import assert from "node:assert/strict";
 * import { codec, connect } from "@tikv/client";
 *
 * await using client = await connect("http://127.0.0.1:2379");
 * const codecs = { key: codec.utf8, value: codec.json<{ age: number }>() };
 * await client.transaction(async (txn) => {
 *   const users = txn.sub("user/", codecs);
 *   if (!await users.has("ada")) users.put("ada", { age: 36 });
 * });
 * const users = (await client.snapshot()).sub("user/", codecs);
 * assert.deepEqual(await users.get("ada"), { age: 36 });
 * for await (const { key, value } of users.scan({ prefix: "a" })) console.log(key, value.age);
 * ```
 *
 * @module
 */

import * as codec from "./src/codec/mod.ts";

// What users need. `codec` has all codecs; see the entry `./codec`.
export { codec };
export { connect } from "./src/client.ts";
export type { Client, ConnectOptions, EmbeddedCluster } from "./src/client.ts";
export type { Health, Liveness, StoreHealth, WarmUp, WarmUpOptions } from "./src/client/health.ts";
export type {
  ApiVersion,
  ClientOptions,
  DialTarget,
  ResolveAddress,
  TlsMaterial,
  TlsOptions,
} from "./src/client_options.ts";
export { TikvError, TimeoutError, UndeterminedError } from "./src/errors.ts";
export type {
  AnyTikvError,
  ErrorContext,
  ErrorKind,
  RetryAdvice,
  RetryCause,
  TikvErrorOptions,
  UndeterminedErrorOptions,
  WriteFate,
} from "./src/errors.ts";
export {
  AssertionFailedError,
  DeadlockError,
  KeyExistsError,
  LockWaitTimeoutError,
  SnapshotTooOldError,
  TxnAbortedError,
  WriteConflictError,
} from "./src/txn_errors.ts";
export type {
  AssertionFailedErrorOptions,
  DeadlockErrorOptions,
  DeadlockWait,
  KeyExistsErrorOptions,
  LockWaitTimeoutErrorOptions,
  SnapshotTooOldErrorOptions,
  TxnAbortedErrorOptions,
  WriteConflictErrorOptions,
  WriteConflictReason,
} from "./src/txn_errors.ts";
export type {
  AtomicRaw,
  BatchScanOptions,
  ByteKeys,
  ByteValues,
  CoprocessorRange,
  CoprocessorReply,
  CoprocessorRequest,
  KeyIn,
  KeyOut,
  PrefixIn,
  PutEntry,
  PutOptions,
  Raw,
  RawChecksum,
  RawRange,
  RawView,
  ScanOptions,
  ScanResult,
  Swap,
  SwapResult,
  ValueIn,
  ValueOut,
  ViewCodecs,
  ViewOptions,
} from "./src/raw/mod.ts";
export { ReadDetails, TransactionDetails } from "./src/txn/mod.ts";
export type {
  BackgroundTask,
  BeginOptions,
  CommitInfo,
  CommitLag,
  CommitPath,
  CommitResult,
  CommitWaitOptions,
  ContextOptions,
  InsertOptions,
  IsolationLevel,
  LockOptions,
  PlannedWrite,
  PoolTally,
  Reader,
  ReadLockOptions,
  ReadScanOptions,
  ReplicaRead,
  ReplicaReadOptions,
  ReplicaTally,
  RequestTally,
  ResolvedLocks,
  ResolveLocksOptions,
  ResolvingLock,
  ResourceTagger,
  Savepoint,
  ScanTally,
  SlowestRequest,
  Snapshot,
  SnapshotOptions,
  SnapshotScanOptions,
  StatementOptions,
  StepTally,
  TaggedRequest,
  TimeTally,
  Transaction,
  TransactionOptions,
  TransactionStateName,
  TransactionStep,
  VersionedValue,
  WriteTally,
  WriteTime,
} from "./src/txn/mod.ts";
export type { CallOptions, Entry, RegionId, StoreId, Timestamp } from "./src/types.ts";
export { logicalOf, physicalMsOf, timestampOf } from "./src/types.ts";
export { VERSION } from "./src/version.ts";

// What authors of libraries on top need.
export { compareBytes } from "./src/bytes/compare.ts";
export { keyAfter, prefixEnd } from "./src/bytes/key_range.ts";
export type { BoundsInput, KeyRange, PrefixInput, RangeInput } from "./src/bytes/key_range.ts";
export { KeyMap, KeySet } from "./src/bytes/key_map.ts";
export type { KeyArgument, ReadonlyKeyMap } from "./src/bytes/key_map.ts";
export type { KeyInput } from "./src/bytes/utf8.ts";
export type { BoundOf, Codec, KeyCodec, PrefixKeyCodec, PrefixOf, ValueOf } from "./src/codec/mod.ts";
export type { ClientEvent, Observer } from "./src/observe/events.ts";
export type { InterceptedCall, Interceptor } from "./src/observe/interceptor.ts";
export type { LoggerLike } from "./src/observe/logger.ts";
export type { SpanLike, SpanValue, TracerLike } from "./src/observe/tracer.ts";
export type { Pd } from "./src/pd/mod.ts";
export type { Command, CommandName, Plan, PlanStart } from "./src/plan/mod.ts";
export { Kv } from "./src/plan/mod.ts";
export type { Clock, Environment, Random, Timer } from "./src/async/clock.ts";
export type { Transport } from "./src/rpc/transport.ts";

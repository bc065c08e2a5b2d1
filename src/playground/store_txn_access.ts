// SPDX-License-Identifier: Apache-2.0
// What all transactional commands of a store have in common: checks, keys, errors.

import type {
  DescMessage,
  DescMethodUnary,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import { DiskFullOpt, IsolationLevel } from "../../gen/kvrpcpb_pb.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import { StorageError } from "./api_version.ts";
import type { Isolation, ReadView } from "./mvcc/lock_check.ts";
import type { KeyErrorInit } from "./mvcc/mvcc_error.ts";
import { keyErrorOf, MvccError } from "./mvcc/mvcc_error.ts";
import type { MvccTxn } from "./mvcc/mvcc_txn.ts";
import { MAX_TS } from "./mvcc/records.ts";
import { checkEntrySize, checkKeyInRegion, checkRegion, RegionRefusal } from "./region_check.ts";
import type { Region } from "./regions.ts";
import { peerOn } from "./regions.ts";
import { admitReplicaRead, safeTsOf } from "./replicas.ts";
import { CallStatus } from "./service_table.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { contextOf, storeCommand } from "./store_command.ts";

/** A command that found its region. */
export interface RegionScope extends StoreScope {
  readonly region: Region;
  readonly context: Context | undefined;
}

/** Ties a method to the function that runs it; what that throws becomes a key error of the answer. */
export function txnCommand<I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  batchCase: string | undefined,
  run: (scope: StoreScope, request: MessageShape<I>) => MessageShape<O> | Promise<MessageShape<O>>,
): StoreCommand {
  const refuse = (error: unknown): MessageShape<O> => refusal(method.output, error) as MessageShape<O>;
  return storeCommand(method, batchCase, (scope, request) => {
    try {
      const reply = run(scope, request);
      return reply instanceof Promise ? reply.catch(refuse) : reply;
    } catch (error) {
      return refuse(error);
    }
  });
}

/** As {@linkcode txnCommand}, for what a replica may answer: it may have to catch up before. */
export function readCommand<
  I extends DescMessage,
  O extends DescMessage,
>(
  method: DescMethodUnary<I, O>,
  batchCase: string | undefined,
  { tsOf, run }: {
    readonly tsOf: (request: MessageShape<I>) => bigint;
    readonly run: (scope: StoreScope, request: MessageShape<I>) => MessageShape<O>;
  },
): StoreCommand {
  return txnCommand(method, batchCase, (scope, request) => {
    const { cluster, storeId } = scope;
    const context = contextOf(request);
    if (context?.replicaRead !== true) return run(scope, request);
    const region = checkRegion(cluster, storeId, context, { isWrite: false });
    const waiting = admitReplicaRead(cluster, { region, storeId, context, ts: tsOf(request) });
    return waiting === undefined ? run(scope, request) : waiting.then(() => run(scope, request));
  });
}

/** Keys as the engine has them. */
export function encodeKeys(keys: readonly Uint8Array[]): Uint8Array[] {
  return keys.map((key) => encodeBytes(key));
}

/** Finds the region of a command that reads at `ts`, and refuses keys that are not in it. */
export function openForRead(
  scope: StoreScope,
  context: Context | undefined,
  ts: bigint,
): RegionScope {
  const { cluster, storeId } = scope;
  const region = checkRegion(cluster, storeId, context, { isWrite: false });
  checkFlashback(scope, region, ts);
  if (context?.staleRead === true) {
    checkResolved(scope, region, ts);
  } else {
    // A replica asks the leader whether it may read, and so the leader gets to know of the read.
    const leaderId = region.leader?.storeId ?? storeId;
    for (const id of new Set([storeId, leaderId])) cluster.mvcc.raiseMaxTs(id, ts);
    cluster.mvcc.syncMaxTs(leaderId, region);
  }
  return { ...scope, region, context };
}

/** Finds the region of a command that writes, and refuses keys that are not in it. */
export function openForWrite(
  scope: StoreScope,
  context: Context | undefined,
  keys: readonly Uint8Array[],
): RegionScope {
  // Whether the disk is full matters only once there is something to write.
  const region = checkRegion(scope.cluster, scope.storeId, context, { isWrite: false });
  checkFlashback(scope, region, 0n);
  for (const key of keys) checkKeyInRegion(region, key);
  // A real store does that in the background as soon as it leads; here with the first request.
  scope.cluster.mvcc.syncMaxTs(scope.storeId, region);
  return { ...scope, region, context };
}

/** How the changes of a command are written. */
export interface FinishOptions {
  /** Written in as many entries of the raft log as it takes. */
  readonly isSplit?: boolean | undefined;
  /** Kept in the memory of the leader. */
  readonly isInMemory?: boolean | undefined;
}

/** Writes the changes of a command. */
export function finish(scope: RegionScope, txn: MvccTxn, options: FinishOptions = {}): void {
  const { cluster, storeId, region, context } = scope;
  if (txn.changes.length === 0) return;
  if (options.isInMemory !== true) {
    if (options.isSplit !== true) checkEntrySize(cluster, region, txn.sizeBytes());
    const isForced = context?.diskFullOpt === DiskFullOpt.AllowedOnAlreadyFull;
    if (!isForced) checkRegion(cluster, storeId, context, { isWrite: true });
  }
  cluster.mvcc.apply(storeId, txn);
}

/** What a reader sees. */
export function viewOf(context: Context | undefined, ts: bigint): ReadView {
  return {
    ts,
    isolation: ISOLATIONS[context?.isolationLevel ?? IsolationLevel.SI] ?? "snapshot",
    bypass: new Set(context?.resolvedLocks),
    access: new Set(context?.committedLocks),
  };
}

const ISOLATIONS: Readonly<Record<number, Isolation>> = {
  [IsolationLevel.SI]: "snapshot",
  [IsolationLevel.RC]: "read-committed",
  [IsolationLevel.RCCheckTS]: "read-committed-check-ts",
};

/** Refuses keys that a command of this version must not touch, and keys that are too long. */
export function checkTxnKeys(
  { cluster }: StoreScope,
  command: string,
  context: Context | undefined,
  keys: readonly Uint8Array[],
): void {
  cluster.rules.checkKeys(command, "txn", context?.apiVersion ?? 0, keys);
}

/** Refuses keys that are too long to be written. Their encoded form counts. */
export function checkKeySizes({ cluster: { limits } }: StoreScope, keys: readonly Uint8Array[]): void {
  for (const { length } of keys) {
    if (length <= limits.maxKeyBytes) continue;
    throw new StorageError(
      `max key size exceeded, size: ${length}, limit: ${limits.maxKeyBytes}`,
      `KeyTooLarge { size: ${length}, limit: ${limits.maxKeyBytes} }`,
    );
  }
}

/** What TiKV panics at; no client sends it. */
export function malformed(text: string): CallStatus {
  return new CallStatus(GRPC.INTERNAL, text);
}

/** While a region is flashed back, only what is older than that may be read. */
export function checkFlashback({ cluster }: StoreScope, region: Region, readTs: bigint): void {
  const startTs = cluster.mvcc.flashbacks.get(region.id);
  if (startTs === undefined || (readTs !== 0n && readTs < startTs)) return;
  throw new RegionRefusal({
    message: `region ${region.id} is in the flashback progress with start_ts ${startTs}`,
    FlashbackInProgress: { regionId: region.id, flashbackStartTs: startTs },
  });
}

/** A replica refuses a stale read of what it need not have. Its leader answers as for any other read. */
function checkResolved({ cluster, storeId }: StoreScope, region: Region, ts: bigint): void {
  if (region.leader?.storeId === storeId) return;
  const safeTs = safeTsOf(cluster, region, storeId);
  if (ts <= safeTs && ts !== MAX_TS) return;
  throw new RegionRefusal({
    message: `region ${region.id} is not ready, safe_ts ${safeTs}, requested ts ${ts}`,
    dataIsNotReady: { regionId: region.id, peerId: peerOn(region, storeId)?.id ?? 0n, safeTs },
  });
}

/** The answer that carries an error in whatever place the message has for one. */
function refusal(output: DescMessage, error: unknown): Message {
  if (!(error instanceof MvccError) && !(error instanceof StorageError)) throw error;
  const keyError: KeyErrorInit = error instanceof MvccError
    ? keyErrorOf(error.fault)
    : { abort: error.debug };
  const fields = new Map(output.fields.map((field) => [field.name, field]));
  if (fields.has("errors")) return build(output, { errors: [keyError] });
  if (fields.get("error")?.fieldKind !== "message") return build(output, { error: error.message });
  // Old clients look for the error in the first pair.
  const isOldForm = output.name === "ScanResponse" || output.name === "BatchGetResponse";
  return build(output, { error: keyError, ...(isOldForm ? { pairs: [{ error: keyError }] } : {}) });
}

function build(output: DescMessage, fields: Readonly<Record<string, unknown>>): Message {
  return create(output, fields as MessageInitShape<DescMessage>);
}

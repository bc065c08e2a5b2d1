// SPDX-License-Identifier: Apache-2.0
// The context that goes with every request to a region, in two parts: what is fixed for a peer of a
// region is encoded once and kept by the caller, what differs between attempts is put behind it.

import { concatBytes, EMPTY } from "../bytes/concat.ts";
import { Writer } from "../bytes/writer.ts";

/** What a peer does in its group; the wire's numbers are those of `metapb.PeerRole`. */
export type PeerRoleName = "voter" | "learner" | "incoming-voter" | "demoting-voter";

/** The peer of a region that a request is meant for. */
export interface ContextPeer {
  readonly id: bigint;
  readonly storeId: bigint;
  readonly role: PeerRoleName;
  readonly isWitness?: boolean | undefined;
}

/** What is the same for all requests to one peer of one version of a region. */
export interface RegionContext {
  readonly regionId: bigint;
  readonly confVer: bigint;
  readonly version: bigint;
  readonly peer: ContextPeer;
  /** `kvrpcpb.APIVersion`: 0 is V1, 1 is V1 with TTL, 2 is V2. */
  readonly apiVersion: number;
  /** 0 is a keyspace too, so absent is not the same. */
  readonly keyspaceId?: number | undefined;
  readonly keyspaceName?: string | undefined;
  readonly clusterId?: bigint | undefined;
}

/** A request that is about to be sent, as whoever tags it sees it. */
export interface TaggedRequest {
  /** Name of the RPC, such as `"KvGet"`. */
  readonly method: string;
  /** The body of the request. Treat it as read-only. */
  readonly request: unknown;
}

/** Makes the tag that a store counts a request under. */
export type ResourceTagger = (request: TaggedRequest) => Uint8Array | undefined;

/** What may differ between two requests; a field that is absent has its default. */
export interface ContextFields {
  /** `kvrpcpb.CommandPri`: 0 normal, 1 low, 2 high. */
  readonly priority?: number | undefined;
  /** `kvrpcpb.IsolationLevel`. */
  readonly isolationLevel?: number | undefined;
  readonly notFillCache?: boolean | undefined;
  readonly syncLog?: boolean | undefined;
  readonly recordTimeStat?: boolean | undefined;
  readonly recordScanStat?: boolean | undefined;
  readonly replicaRead?: boolean | undefined;
  readonly resolvedLocks?: readonly bigint[] | undefined;
  readonly maxExecutionDurationMs?: number | undefined;
  readonly taskId?: bigint | undefined;
  readonly staleRead?: boolean | undefined;
  /** A function is asked when the request is made; see `region/send.ts`. */
  readonly resourceGroupTag?: Uint8Array | ResourceTagger | undefined;
  /** `kvrpcpb.DiskFullOpt`. */
  readonly diskFullOpt?: number | undefined;
  /** True from the second time that the same request is sent, for whatever reason. */
  readonly isRetryRequest?: boolean | undefined;
  readonly committedLocks?: readonly bigint[] | undefined;
  readonly requestSource?: string | undefined;
  readonly txnSource?: bigint | undefined;
  readonly busyThresholdMs?: number | undefined;
  /** Name of the resource group, and its priority in the store's queue. */
  readonly resourceGroup?: string | undefined;
  readonly overridePriority?: number | undefined;
  /** `kvrpcpb.RequestOrigin`. */
  readonly requestOrigin?: number | undefined;
  readonly bucketsVersion?: bigint | undefined;
  readonly traceId?: Uint8Array | undefined;
  readonly traceControlFlags?: bigint | undefined;
}

/** Encodes the part that is worth keeping for as long as the region and its peer are current. */
export function encodeRegionContext(region: RegionContext): Uint8Array {
  const writer = new Writer(128);
  put64(writer, 1, region.regionId);
  const epoch = writer.tag(2, BYTES).fork();
  put64(writer, 1, region.confVer);
  put64(writer, 2, region.version);
  writer.join(epoch);
  const peer = writer.tag(3, BYTES).fork();
  put64(writer, 1, region.peer.id);
  put64(writer, 2, region.peer.storeId);
  put32(writer, 3, PEER_ROLES[region.peer.role]);
  putFlag(writer, 4, region.peer.isWitness);
  writer.join(peer);
  put32(writer, 21, region.apiVersion);
  putText(writer, 31, region.keyspaceName);
  if (region.keyspaceId !== undefined) writer.tag(32, VARINT).varint(region.keyspaceId);
  put64(writer, 35, region.clusterId);
  return writer.finish();
}

/** The context of one request: the kept part, and behind it what this request adds. */
export function encodeContext(region: RegionContext | Uint8Array, fields?: ContextFields): Uint8Array {
  const kept = region instanceof Uint8Array ? region : encodeRegionContext(region);
  if (fields === undefined) return kept;
  const added = encodeFields(fields);
  return added.length === 0 ? kept : concatBytes(kept, added);
}

/** Encodes the fields that differ between requests; equal fields give equal bytes. */
export function encodeFields(fields: ContextFields): Uint8Array {
  const writer = ADDED;
  writer.reset();
  put32(writer, 6, fields.priority);
  put32(writer, 7, fields.isolationLevel);
  putFlag(writer, 8, fields.notFillCache);
  putFlag(writer, 9, fields.syncLog);
  putFlag(writer, 10, fields.recordTimeStat);
  putFlag(writer, 11, fields.recordScanStat);
  putFlag(writer, 12, fields.replicaRead);
  putPacked(writer, 13, fields.resolvedLocks);
  put32(writer, 14, fields.maxExecutionDurationMs);
  put64(writer, 16, fields.taskId);
  putFlag(writer, 17, fields.staleRead);
  const { resourceGroupTag: tag } = fields;
  if (typeof tag !== "function") putBytes(writer, 18, tag);
  put32(writer, 19, fields.diskFullOpt);
  putFlag(writer, 20, fields.isRetryRequest);
  putPacked(writer, 22, fields.committedLocks);
  putText(writer, 24, fields.requestSource);
  put64(writer, 25, fields.txnSource);
  put32(writer, 27, fields.busyThresholdMs);
  putResourceControl(writer, fields);
  put32(writer, 29, fields.requestOrigin);
  put64(writer, 33, fields.bucketsVersion);
  putBytes(writer, 36, fields.traceId);
  put64(writer, 37, fields.traceControlFlags);
  return writer.length === 0 ? EMPTY : writer.finish();
}

function putResourceControl(writer: Writer, { resourceGroup, overridePriority }: ContextFields): void {
  if (resourceGroup === undefined && overridePriority === undefined) return;
  const mark = writer.tag(28, BYTES).fork();
  putText(writer, 1, resourceGroup);
  put32(writer, 3, overridePriority);
  writer.join(mark);
}

function put32(writer: Writer, field: number, value: number | undefined): void {
  if (value !== undefined && value !== 0) writer.tag(field, VARINT).varint(value);
}

function put64(writer: Writer, field: number, value: bigint | undefined): void {
  if (value !== undefined && value !== 0n) writer.tag(field, VARINT).varint64(value);
}

function putFlag(writer: Writer, field: number, flag: boolean | undefined): void {
  if (flag === true) writer.tag(field, VARINT).varint(1);
}

function putText(writer: Writer, field: number, text: string | undefined): void {
  if (text !== undefined && text !== "") writer.tag(field, BYTES).string(text);
}

function putBytes(writer: Writer, field: number, bytes: Uint8Array | undefined): void {
  if (bytes !== undefined && bytes.length > 0) writer.tag(field, BYTES).bytes(bytes);
}

function putPacked(writer: Writer, field: number, list: readonly bigint[] | undefined): void {
  if (list === undefined || list.length === 0) return;
  const mark = writer.tag(field, BYTES).fork(list.length * 9);
  for (const value of list) writer.varint64(value);
  writer.join(mark);
}

// Memory that the added parts are cut from; nothing is read back from it.
const ADDED = new Writer(4 * 1024);

const VARINT = 0;
const BYTES = 2;

const PEER_ROLES: Readonly<Record<PeerRoleName, number>> = {
  "voter": 0,
  "learner": 1,
  "incoming-voter": 2,
  "demoting-voter": 3,
};

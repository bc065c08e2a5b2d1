// SPDX-License-Identifier: Apache-2.0
// What goes into each request to a store and what comes back, as types.

import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type * as coprocessor from "../../gen/coprocessor_pb.ts";
import type * as kvrpc from "../../gen/kvrpcpb_pb.ts";
import type * as tikv from "../../gen/tikvpb_pb.ts";
import type { Reader } from "../bytes/reader.ts";
import type * as hot from "./batch/messages.ts";

/** One kind of request to a store. */
export interface Command<I, O> {
  /** The RPC's own name, as in errors, events and interceptors: the last part of the path. */
  readonly name: CommandName;
  /** Where it goes when it is sent alone; empty for what exists in batches only. */
  readonly path: string;
  /** Number of its field in a batch; undefined when it cannot be batched. */
  readonly batchTag: number | undefined;
  /** False for requests to a store as a whole, whose messages have no context. */
  readonly hasContext: boolean;
  /** It changes something, so a lost answer leaves open whether it did. */
  readonly isWrite: boolean;
  /** After a lost answer, sending it again ends in the same state with the same answer. */
  readonly isIdempotent: boolean;
  /** The message without its context (field 1), which is put in front when it is sent. */
  encode(body: I): Uint8Array;
  /** Copies what it keeps of the bytes. */
  decode(bytes: Uint8Array): O;
  /** Decodes in place from `reader.pos` to `reader.end`; there for the hot commands only. */
  readonly decodeFrom?: ((reader: Reader) => O) | undefined;
}

/** What goes out and what comes back. */
export interface Pair<I, O> {
  readonly body: I;
  readonly reply: O;
}

/** A generated request as its caller writes it, without the context, which is encoded apart. */
export type Init<D extends DescMessage> = Omit<MessageInitShape<D>, "$typeName" | "$unknown" | "context">;
/** A request and its reply in generated code. */
export type Generated<I extends DescMessage, O extends DescMessage> = Pair<Init<I>, MessageShape<O>>;

/** Body and reply of each command. */
export interface CommandTypes {
  KvGet: Pair<hot.GetBody, hot.GetReply>;
  KvScan: Pair<hot.ScanBody, hot.ScanReply>;
  KvPrewrite: Pair<hot.PrewriteBody, hot.PrewriteReply>;
  KvCommit: Pair<hot.CommitBody, hot.CommitReply>;
  KvCleanup: Generated<typeof kvrpc.CleanupRequestSchema, typeof kvrpc.CleanupResponseSchema>;
  KvBatchGet: Pair<hot.BatchGetBody, hot.BatchGetReply>;
  KvBatchRollback: Generated<
    typeof kvrpc.BatchRollbackRequestSchema,
    typeof kvrpc.BatchRollbackResponseSchema
  >;
  KvScanLock: Generated<typeof kvrpc.ScanLockRequestSchema, typeof kvrpc.ScanLockResponseSchema>;
  KvResolveLock: Generated<typeof kvrpc.ResolveLockRequestSchema, typeof kvrpc.ResolveLockResponseSchema>;
  KvGC: Generated<typeof kvrpc.GCRequestSchema, typeof kvrpc.GCResponseSchema>;
  KvDeleteRange: Generated<typeof kvrpc.DeleteRangeRequestSchema, typeof kvrpc.DeleteRangeResponseSchema>;
  KvPessimisticLock: Pair<hot.PessimisticLockBody, hot.PessimisticLockReply>;
  KVPessimisticRollback: Generated<
    typeof kvrpc.PessimisticRollbackRequestSchema,
    typeof kvrpc.PessimisticRollbackResponseSchema
  >;
  KvCheckTxnStatus: Generated<
    typeof kvrpc.CheckTxnStatusRequestSchema,
    typeof kvrpc.CheckTxnStatusResponseSchema
  >;
  KvCheckSecondaryLocks: Generated<
    typeof kvrpc.CheckSecondaryLocksRequestSchema,
    typeof kvrpc.CheckSecondaryLocksResponseSchema
  >;
  KvTxnHeartBeat: Generated<typeof kvrpc.TxnHeartBeatRequestSchema, typeof kvrpc.TxnHeartBeatResponseSchema>;
  KvFlashbackToVersion: Generated<
    typeof kvrpc.FlashbackToVersionRequestSchema,
    typeof kvrpc.FlashbackToVersionResponseSchema
  >;
  KvPrepareFlashbackToVersion: Generated<
    typeof kvrpc.PrepareFlashbackToVersionRequestSchema,
    typeof kvrpc.PrepareFlashbackToVersionResponseSchema
  >;
  KvFlush: Generated<typeof kvrpc.FlushRequestSchema, typeof kvrpc.FlushResponseSchema>;
  KvBufferBatchGet: Generated<
    typeof kvrpc.BufferBatchGetRequestSchema,
    typeof kvrpc.BufferBatchGetResponseSchema
  >;
  RawGet: Pair<hot.RawGetBody, hot.RawGetReply>;
  RawBatchGet: Pair<hot.RawBatchGetBody, hot.RawBatchGetReply>;
  RawPut: Pair<hot.RawPutBody, hot.RawReply>;
  RawBatchPut: Pair<hot.RawBatchPutBody, hot.RawReply>;
  RawDelete: Pair<hot.RawDeleteBody, hot.RawReply>;
  RawBatchDelete: Pair<hot.RawBatchDeleteBody, hot.RawReply>;
  RawScan: Pair<hot.RawScanBody, hot.RawScanReply>;
  RawBatchScan: Generated<typeof kvrpc.RawBatchScanRequestSchema, typeof kvrpc.RawBatchScanResponseSchema>;
  RawCoprocessor: Generated<
    typeof kvrpc.RawCoprocessorRequestSchema,
    typeof kvrpc.RawCoprocessorResponseSchema
  >;
  RawDeleteRange: Generated<
    typeof kvrpc.RawDeleteRangeRequestSchema,
    typeof kvrpc.RawDeleteRangeResponseSchema
  >;
  RawGetKeyTTL: Generated<typeof kvrpc.RawGetKeyTTLRequestSchema, typeof kvrpc.RawGetKeyTTLResponseSchema>;
  RawCompareAndSwap: Generated<typeof kvrpc.RawCASRequestSchema, typeof kvrpc.RawCASResponseSchema>;
  RawChecksum: Generated<typeof kvrpc.RawChecksumRequestSchema, typeof kvrpc.RawChecksumResponseSchema>;
  Coprocessor: Generated<typeof coprocessor.RequestSchema, typeof coprocessor.ResponseSchema>;
  UnsafeDestroyRange: Generated<
    typeof kvrpc.UnsafeDestroyRangeRequestSchema,
    typeof kvrpc.UnsafeDestroyRangeResponseSchema
  >;
  RegisterLockObserver: Generated<
    typeof kvrpc.RegisterLockObserverRequestSchema,
    typeof kvrpc.RegisterLockObserverResponseSchema
  >;
  CheckLockObserver: Generated<
    typeof kvrpc.CheckLockObserverRequestSchema,
    typeof kvrpc.CheckLockObserverResponseSchema
  >;
  RemoveLockObserver: Generated<
    typeof kvrpc.RemoveLockObserverRequestSchema,
    typeof kvrpc.RemoveLockObserverResponseSchema
  >;
  PhysicalScanLock: Generated<
    typeof kvrpc.PhysicalScanLockRequestSchema,
    typeof kvrpc.PhysicalScanLockResponseSchema
  >;
  GetStoreSafeTS: Generated<typeof kvrpc.StoreSafeTSRequestSchema, typeof kvrpc.StoreSafeTSResponseSchema>;
  GetLockWaitInfo: Generated<
    typeof kvrpc.GetLockWaitInfoRequestSchema,
    typeof kvrpc.GetLockWaitInfoResponseSchema
  >;
  MvccGetByKey: Generated<typeof kvrpc.MvccGetByKeyRequestSchema, typeof kvrpc.MvccGetByKeyResponseSchema>;
  MvccGetByStartTs: Generated<
    typeof kvrpc.MvccGetByStartTsRequestSchema,
    typeof kvrpc.MvccGetByStartTsResponseSchema
  >;
  SplitRegion: Generated<typeof kvrpc.SplitRegionRequestSchema, typeof kvrpc.SplitRegionResponseSchema>;
  Compact: Generated<typeof kvrpc.CompactRequestSchema, typeof kvrpc.CompactResponseSchema>;
  GetHealthFeedback: Generated<
    typeof kvrpc.GetHealthFeedbackRequestSchema,
    typeof kvrpc.GetHealthFeedbackResponseSchema
  >;
  BroadcastTxnStatus: Generated<
    typeof kvrpc.BroadcastTxnStatusRequestSchema,
    typeof kvrpc.BroadcastTxnStatusResponseSchema
  >;
  Empty: Generated<typeof tikv.BatchCommandsEmptyRequestSchema, typeof tikv.BatchCommandsEmptyResponseSchema>;
}

/** Name of a request to a store. */
export type CommandName = keyof CommandTypes;

/** Body of a request, without its context. */
export type BodyOf<C extends CommandName> = CommandTypes[C]["body"];

/** The answer to a request. */
export type ReplyOf<C extends CommandName> = CommandTypes[C]["reply"];

/** All requests by name. */
export type Commands = { readonly [C in CommandName]: Command<BodyOf<C>, ReplyOf<C>> };

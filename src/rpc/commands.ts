// SPDX-License-Identifier: Apache-2.0
// Every request that a store takes, as data: where it goes, how it is encoded, what it may do.

import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as coprocessor from "../../gen/coprocessor_pb.ts";
import * as kvrpc from "../../gen/kvrpcpb_pb.ts";
import * as tikv from "../../gen/tikvpb_pb.ts";
import { copyBytes } from "../bytes/concat.ts";
import type { HandCodec } from "./batch/wire_fields.ts";
import * as raw from "./batch/wire_raw.ts";
import * as txn from "./batch/wire_txn.ts";
import type { BodyOf, Command, CommandName, Commands, ReplyOf } from "./command_types.ts";

export type { BodyOf, Command, CommandName, Commands, CommandTypes, ReplyOf } from "./command_types.ts";

/** What the command may do, and where it stands in a batch. */
interface Traits {
  /** Number of its field in `BatchCommandsRequest.Request`; absent: it is always sent alone. */
  readonly tag?: number;
  readonly isWrite?: boolean;
  /** Sent twice it does not end as sent once. */
  readonly isRepeatable?: boolean;
}

/**
 * A command whose messages are read and written by the generated code. The body is encoded without
 * its context: that is field 1, so its bytes can be put in front.
 */
function generated<C extends CommandName>(
  name: C,
  [request, reply]: readonly [DescMessage, DescMessage],
  traits: Traits,
): Command<BodyOf<C>, ReplyOf<C>> {
  return {
    ...facts(name, traits),
    hasContext: request.fields.some(({ localName, number }) => localName === "context" && number === 1),
    encode: (body) => toBinary(request, create(request, body as MessageInitShape<DescMessage>)),
    // The generated code keeps views of what it reads.
    decode: (bytes) => fromBinary(reply, copyBytes(bytes)) as ReplyOf<C>,
  };
}

/** A command whose messages are read and written by hand. */
function byHand<C extends CommandName>(
  name: C,
  codec: HandCodec<BodyOf<C>, ReplyOf<C>>,
  traits: Traits,
): Command<BodyOf<C>, ReplyOf<C>> {
  return { ...facts(name, traits), hasContext: true, ...codec };
}

function facts<C extends CommandName>(
  name: C,
  { tag, isWrite = false, isRepeatable = true }: Traits,
): Pick<Command<unknown, unknown>, "name" | "path" | "batchTag" | "isWrite" | "isIdempotent"> {
  const path = name === "Empty" ? "" : `/tikvpb.Tikv/${name}`;
  return { name, path, batchTag: tag, isWrite, isIdempotent: isRepeatable };
}

const WRITE = true;

/** The requests by name. What can be batched has a tag. */
export const COMMANDS: Commands = {
  KvGet: byHand("KvGet", txn.get, { tag: 1 }),
  KvScan: byHand("KvScan", txn.scan, { tag: 2 }),
  KvPrewrite: byHand("KvPrewrite", txn.prewrite, { tag: 3, isWrite: WRITE }),
  KvCommit: byHand("KvCommit", txn.commit, { tag: 4, isWrite: WRITE }),
  KvCleanup: generated("KvCleanup", [kvrpc.CleanupRequestSchema, kvrpc.CleanupResponseSchema], {
    tag: 6,
    isWrite: WRITE,
  }),
  KvBatchGet: byHand("KvBatchGet", txn.batchGet, { tag: 7 }),
  KvBatchRollback: generated(
    "KvBatchRollback",
    [kvrpc.BatchRollbackRequestSchema, kvrpc.BatchRollbackResponseSchema],
    { tag: 8, isWrite: WRITE },
  ),
  KvScanLock: generated("KvScanLock", [kvrpc.ScanLockRequestSchema, kvrpc.ScanLockResponseSchema], {
    tag: 9,
  }),
  KvResolveLock: generated(
    "KvResolveLock",
    [kvrpc.ResolveLockRequestSchema, kvrpc.ResolveLockResponseSchema],
    { tag: 10, isWrite: WRITE },
  ),
  KvGC: generated("KvGC", [kvrpc.GCRequestSchema, kvrpc.GCResponseSchema], { tag: 11, isWrite: WRITE }),
  KvDeleteRange: generated(
    "KvDeleteRange",
    [kvrpc.DeleteRangeRequestSchema, kvrpc.DeleteRangeResponseSchema],
    { tag: 12, isWrite: WRITE },
  ),
  KvPessimisticLock: byHand("KvPessimisticLock", txn.pessimisticLock, { tag: 23, isWrite: WRITE }),
  KVPessimisticRollback: generated(
    "KVPessimisticRollback",
    [kvrpc.PessimisticRollbackRequestSchema, kvrpc.PessimisticRollbackResponseSchema],
    { tag: 24, isWrite: WRITE },
  ),
  // Both of the checks can roll back what they look at.
  KvCheckTxnStatus: generated(
    "KvCheckTxnStatus",
    [kvrpc.CheckTxnStatusRequestSchema, kvrpc.CheckTxnStatusResponseSchema],
    { tag: 25, isWrite: WRITE },
  ),
  KvCheckSecondaryLocks: generated(
    "KvCheckSecondaryLocks",
    [kvrpc.CheckSecondaryLocksRequestSchema, kvrpc.CheckSecondaryLocksResponseSchema],
    { tag: 33, isWrite: WRITE },
  ),
  KvTxnHeartBeat: generated(
    "KvTxnHeartBeat",
    [kvrpc.TxnHeartBeatRequestSchema, kvrpc.TxnHeartBeatResponseSchema],
    { tag: 26, isWrite: WRITE },
  ),
  KvFlashbackToVersion: generated(
    "KvFlashbackToVersion",
    [kvrpc.FlashbackToVersionRequestSchema, kvrpc.FlashbackToVersionResponseSchema],
    { tag: 35, isWrite: WRITE },
  ),
  KvPrepareFlashbackToVersion: generated(
    "KvPrepareFlashbackToVersion",
    [kvrpc.PrepareFlashbackToVersionRequestSchema, kvrpc.PrepareFlashbackToVersionResponseSchema],
    { tag: 36, isWrite: WRITE },
  ),
  KvFlush: generated("KvFlush", [kvrpc.FlushRequestSchema, kvrpc.FlushResponseSchema], {
    tag: 37,
    isWrite: WRITE,
  }),
  KvBufferBatchGet: generated(
    "KvBufferBatchGet",
    [kvrpc.BufferBatchGetRequestSchema, kvrpc.BufferBatchGetResponseSchema],
    { tag: 38 },
  ),
  RawGet: byHand("RawGet", raw.rawGet, { tag: 13 }),
  RawBatchGet: byHand("RawBatchGet", raw.rawBatchGet, { tag: 14 }),
  RawPut: byHand("RawPut", raw.rawPut, { tag: 15, isWrite: WRITE }),
  RawBatchPut: byHand("RawBatchPut", raw.rawBatchPut, { tag: 16, isWrite: WRITE }),
  RawDelete: byHand("RawDelete", raw.rawDelete, { tag: 17, isWrite: WRITE }),
  RawBatchDelete: byHand("RawBatchDelete", raw.rawBatchDelete, { tag: 18, isWrite: WRITE }),
  RawScan: byHand("RawScan", raw.rawScan, { tag: 19 }),
  RawBatchScan: generated(
    "RawBatchScan",
    [kvrpc.RawBatchScanRequestSchema, kvrpc.RawBatchScanResponseSchema],
    { tag: 21 },
  ),
  RawCoprocessor: generated(
    "RawCoprocessor",
    [kvrpc.RawCoprocessorRequestSchema, kvrpc.RawCoprocessorResponseSchema],
    // What a plugin of the store does is its own business.
    { tag: 34, isWrite: WRITE, isRepeatable: false },
  ),
  RawDeleteRange: generated(
    "RawDeleteRange",
    [kvrpc.RawDeleteRangeRequestSchema, kvrpc.RawDeleteRangeResponseSchema],
    { tag: 20, isWrite: WRITE },
  ),
  RawGetKeyTTL: generated(
    "RawGetKeyTTL",
    [kvrpc.RawGetKeyTTLRequestSchema, kvrpc.RawGetKeyTTLResponseSchema],
    {},
  ),
  RawCompareAndSwap: generated("RawCompareAndSwap", [kvrpc.RawCASRequestSchema, kvrpc.RawCASResponseSchema], {
    isWrite: WRITE,
    // The second one finds the first one's value and answers "not equal".
    isRepeatable: false,
  }),
  RawChecksum: generated(
    "RawChecksum",
    [kvrpc.RawChecksumRequestSchema, kvrpc.RawChecksumResponseSchema],
    {},
  ),
  Coprocessor: generated("Coprocessor", [coprocessor.RequestSchema, coprocessor.ResponseSchema], { tag: 22 }),
  UnsafeDestroyRange: generated(
    "UnsafeDestroyRange",
    [kvrpc.UnsafeDestroyRangeRequestSchema, kvrpc.UnsafeDestroyRangeResponseSchema],
    { isWrite: WRITE },
  ),
  RegisterLockObserver: generated(
    "RegisterLockObserver",
    [kvrpc.RegisterLockObserverRequestSchema, kvrpc.RegisterLockObserverResponseSchema],
    { isWrite: WRITE },
  ),
  CheckLockObserver: generated(
    "CheckLockObserver",
    [kvrpc.CheckLockObserverRequestSchema, kvrpc.CheckLockObserverResponseSchema],
    {},
  ),
  RemoveLockObserver: generated(
    "RemoveLockObserver",
    [kvrpc.RemoveLockObserverRequestSchema, kvrpc.RemoveLockObserverResponseSchema],
    { isWrite: WRITE },
  ),
  PhysicalScanLock: generated(
    "PhysicalScanLock",
    [kvrpc.PhysicalScanLockRequestSchema, kvrpc.PhysicalScanLockResponseSchema],
    {},
  ),
  GetStoreSafeTS: generated(
    "GetStoreSafeTS",
    [kvrpc.StoreSafeTSRequestSchema, kvrpc.StoreSafeTSResponseSchema],
    {},
  ),
  GetLockWaitInfo: generated(
    "GetLockWaitInfo",
    [kvrpc.GetLockWaitInfoRequestSchema, kvrpc.GetLockWaitInfoResponseSchema],
    {},
  ),
  MvccGetByKey: generated(
    "MvccGetByKey",
    [kvrpc.MvccGetByKeyRequestSchema, kvrpc.MvccGetByKeyResponseSchema],
    {},
  ),
  MvccGetByStartTs: generated(
    "MvccGetByStartTs",
    [kvrpc.MvccGetByStartTsRequestSchema, kvrpc.MvccGetByStartTsResponseSchema],
    {},
  ),
  SplitRegion: generated("SplitRegion", [kvrpc.SplitRegionRequestSchema, kvrpc.SplitRegionResponseSchema], {
    isWrite: WRITE,
  }),
  Compact: generated("Compact", [kvrpc.CompactRequestSchema, kvrpc.CompactResponseSchema], {
    isWrite: WRITE,
  }),
  GetHealthFeedback: generated(
    "GetHealthFeedback",
    [kvrpc.GetHealthFeedbackRequestSchema, kvrpc.GetHealthFeedbackResponseSchema],
    { tag: 39 },
  ),
  BroadcastTxnStatus: generated(
    "BroadcastTxnStatus",
    [kvrpc.BroadcastTxnStatusRequestSchema, kvrpc.BroadcastTxnStatusResponseSchema],
    { tag: 40, isWrite: WRITE },
  ),
  Empty: generated("Empty", [tikv.BatchCommandsEmptyRequestSchema, tikv.BatchCommandsEmptyResponseSchema], {
    tag: 255,
  }),
};

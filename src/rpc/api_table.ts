// SPDX-License-Identifier: Apache-2.0
// Where each request has keys, and each reply: one row with both directions for every command.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  KeyRangeSchema,
  StoreBatchTaskSchema,
  type VersionedKeyRange,
  VersionedKeyRangeSchema,
} from "../../gen/coprocessor_pb.ts";
import { EMPTY } from "../bytes/concat.ts";
import type { ApiKeyCodec } from "../codec/keyspace.ts";
import {
  decodeCopRange,
  decodeKeyError,
  decodeLock,
  decodeMvcc,
  decodeOwnLocks,
  decodeOwnWaits,
  decodePairs,
  decodeRegion,
  decodeRegionError,
  decodeRegions,
  encodeBounds,
  encodeCopRange,
  encodeEach,
  encodeKeys,
  encodeReversedBounds,
} from "./api_fields.ts";
import type { BodyOf, CommandName, ReplyOf } from "./command_types.ts";

/** How the keys of a command are translated. A reply's region error is not the row's business. */
export interface ApiRow<C extends CommandName> {
  readonly request: (body: BodyOf<C>, keys: ApiKeyCodec) => BodyOf<C>;
  readonly reply: (reply: ReplyOf<C>, keys: ApiKeyCodec) => ReplyOf<C>;
}

/** The rows. A command without a row, or with one direction only, does not compile. */
export type ApiTable = { readonly [C in CommandName]: ApiRow<C> };

export const API_TABLE: ApiTable = {
  RawGet: { request: oneKey, reply: same },
  RawBatchGet: {
    request: manyKeys,
    reply: (reply, keys) => ({ ...reply, pairs: decodePairs(reply.pairs, keys) }),
  },
  RawPut: { request: oneKey, reply: same },
  RawBatchPut: {
    request: (body, keys) => ({ ...body, pairs: encodeEach(body.pairs, keys) }),
    reply: same,
  },
  RawDelete: { request: oneKey, reply: same },
  RawBatchDelete: { request: manyKeys, reply: same },
  RawDeleteRange: { request: encodeBounds, reply: same },
  RawScan: {
    request: scanBounds,
    reply: (reply, keys) => ({ ...reply, kvs: decodePairs(reply.kvs, keys) }),
  },
  RawBatchScan: {
    request: (body, keys) => ({
      ...body,
      ranges: (body.ranges ?? []).map((range) =>
        body.reverse === true ? encodeReversedBounds(range, keys) : encodeBounds(range, keys)
      ),
    }),
    reply: (reply, keys) => ({ ...reply, kvs: decodePairs(reply.kvs, keys) }),
  },
  RawGetKeyTTL: { request: oneKey, reply: same },
  RawCompareAndSwap: { request: oneKey, reply: same },
  RawChecksum: { request: manyRanges, reply: same },
  RawCoprocessor: { request: manyRanges, reply: same },

  KvGet: { request: oneKey, reply: oneError },
  KvBatchGet: { request: manyKeys, reply: pairsAndError },
  KvScan: { request: scanBounds, reply: pairsAndError },
  KvBufferBatchGet: { request: manyKeys, reply: pairsAndError },
  KvPrewrite: {
    request: (body, keys) => ({
      ...body,
      mutations: encodeEach(body.mutations, keys),
      primaryLock: keys.encodeKey(body.primaryLock),
      ...(body.secondaries === undefined ? {} : { secondaries: encodeKeys(body.secondaries, keys) }),
    }),
    reply: manyErrors,
  },
  KvCommit: {
    request: (body, keys) => ({
      ...body,
      keys: encodeKeys(body.keys, keys),
      ...(isSet(body.primaryKey) ? { primaryKey: keys.encodeKey(body.primaryKey) } : {}),
    }),
    reply: oneError,
  },
  KvCleanup: { request: oneKey, reply: oneError },
  KvBatchRollback: { request: manyKeys, reply: oneError },
  KvPessimisticLock: {
    request: (body, keys) => ({
      ...body,
      mutations: encodeEach(body.mutations, keys),
      primaryLock: keys.encodeKey(body.primaryLock),
    }),
    reply: manyErrors,
  },
  KVPessimisticRollback: { request: manyKeys, reply: manyErrors },
  KvTxnHeartBeat: {
    request: (body, keys) => ({ ...body, primaryLock: keys.encodeKey(body.primaryLock ?? EMPTY) }),
    reply: oneError,
  },
  KvCheckTxnStatus: {
    request: (body, keys) => ({ ...body, primaryKey: keys.encodeKey(body.primaryKey ?? EMPTY) }),
    reply: (reply, keys) => ({
      ...oneError(reply, keys),
      ...(reply.lockInfo === undefined ? {} : { lockInfo: decodeLock(reply.lockInfo, keys) }),
    }),
  },
  KvCheckSecondaryLocks: { request: manyKeys, reply: locksAndError },
  KvScanLock: { request: encodeBounds, reply: locksAndError },
  KvResolveLock: { request: manyKeys, reply: oneError },
  KvFlush: {
    request: (body, keys) => ({
      ...body,
      mutations: encodeEach(body.mutations ?? [], keys),
      ...(isSet(body.primaryKey) ? { primaryKey: keys.encodeKey(body.primaryKey) } : {}),
    }),
    reply: manyErrors,
  },
  KvGC: { request: same, reply: oneError },
  KvDeleteRange: { request: encodeBounds, reply: same },
  KvFlashbackToVersion: { request: encodeBounds, reply: same },
  KvPrepareFlashbackToVersion: { request: encodeBounds, reply: same },

  Coprocessor: {
    request: (body, keys) => ({
      ...body,
      ranges: (body.ranges ?? []).map((range) => encodeCopRange(create(KeyRangeSchema, range), keys)),
      versionedRanges: (body.versionedRanges ?? []).map((range) => encodeVersioned(range, keys)),
      tasks: (body.tasks ?? []).map((one) => {
        const task = create(StoreBatchTaskSchema, one);
        return {
          ...task,
          ranges: task.ranges.map((range) => encodeCopRange(range, keys)),
          versionedRanges: task.versionedRanges.map((range) => encodeVersioned(range, keys)),
        };
      }),
    }),
    // client-go leaves the answers to batched tasks as they are.
    reply: (reply, keys) => ({
      ...reply,
      ...(reply.locked === undefined ? {} : { locked: decodeLock(reply.locked, keys) }),
      ...(reply.range === undefined ? {} : { range: decodeCopRange(reply.range, keys) }),
      batchResponses: reply.batchResponses.map((one) => ({
        ...one,
        ...(one.locked === undefined ? {} : { locked: decodeLock(one.locked, keys) }),
        ...(one.regionError === undefined ? {} : { regionError: decodeRegionError(one.regionError, keys) }),
      })),
    }),
  },
  SplitRegion: {
    request: (body, keys) => ({
      ...body,
      splitKeys: encodeKeys(body.splitKeys ?? [], keys),
      ...(isSet(body.splitKey) ? { splitKey: keys.encodeKey(body.splitKey) } : {}),
    }),
    reply: (reply, keys) => {
      const { left, right, ...rest } = reply;
      const [newLeft, newRight] = [left, right].map((one) => one && decodeRegion(one, keys));
      return {
        ...rest,
        ...(newLeft === undefined ? {} : { left: newLeft }),
        ...(newRight === undefined ? {} : { right: newRight }),
        regions: decodeRegions(reply.regions, keys),
        errors: reply.errors.map((error) => decodeKeyError(error, keys)),
      };
    },
  },
  UnsafeDestroyRange: { request: encodeBounds, reply: same },
  MvccGetByKey: {
    request: oneKey,
    reply: (reply, keys) => ({
      ...reply,
      ...(reply.info === undefined ? {} : { info: decodeMvcc(reply.info, keys) }),
    }),
  },
  MvccGetByStartTs: {
    request: same,
    reply: (reply, keys) => ({
      ...reply,
      key: keys.decodeKey(reply.key),
      ...(reply.info === undefined ? {} : { info: decodeMvcc(reply.info, keys) }),
    }),
  },

  // These ask a store about all that it has, of every keyspace: what is not ours is left out.
  PhysicalScanLock: {
    // It has no end.
    request: (body, keys) => ({ ...body, startKey: keys.encodeKey(body.startKey ?? EMPTY) }),
    reply: (reply, keys) => ({ ...reply, locks: decodeOwnLocks(reply.locks, keys) }),
  },
  CheckLockObserver: {
    request: same,
    reply: (reply, keys) => ({ ...reply, locks: decodeOwnLocks(reply.locks, keys) }),
  },
  GetLockWaitInfo: {
    request: same,
    reply: (reply, keys) => ({ ...reply, entries: decodeOwnWaits(reply.entries, keys) }),
  },
  GetStoreSafeTS: {
    request: (body, keys) => ({
      ...body,
      ...(body.keyRange === undefined ? {} : { keyRange: encodeBounds(body.keyRange, keys) }),
    }),
    reply: same,
  },

  // No keys in these.
  RegisterLockObserver: { request: same, reply: same },
  RemoveLockObserver: { request: same, reply: same },
  GetHealthFeedback: { request: same, reply: same },
  BroadcastTxnStatus: { request: same, reply: same },
  Empty: { request: same, reply: same },
  // Its start is a position that an earlier answer gave, in the keys of the store.
  Compact: { request: same, reply: same },
};

type VersionedInit = MessageInitShape<typeof VersionedKeyRangeSchema>;

function same<T>(value: T): T {
  return value;
}

function oneKey<B extends { readonly key?: Uint8Array | undefined }>(body: B, keys: ApiKeyCodec): B {
  return { ...body, key: keys.encodeKey(body.key ?? EMPTY) };
}

function manyKeys<B extends { readonly keys?: readonly Uint8Array[] | undefined }>(
  body: B,
  keys: ApiKeyCodec,
): B {
  return { ...body, keys: encodeKeys(body.keys ?? [], keys) };
}

function manyRanges<
  R extends { readonly startKey?: Uint8Array | undefined; readonly endKey?: Uint8Array | undefined },
  B extends { readonly ranges?: readonly R[] | undefined },
>(body: B, keys: ApiKeyCodec): B {
  return { ...body, ranges: (body.ranges ?? []).map((range) => encodeBounds(range, keys)) };
}

function scanBounds<
  B extends {
    readonly startKey: Uint8Array;
    readonly endKey?: Uint8Array | undefined;
    readonly reverse?: boolean | undefined;
  },
>(body: B, keys: ApiKeyCodec): B {
  return body.reverse === true ? encodeReversedBounds(body, keys) : encodeBounds(body, keys);
}

function encodeVersioned(init: VersionedInit, keys: ApiKeyCodec): VersionedKeyRange {
  const one = create(VersionedKeyRangeSchema, init);
  return one.range === undefined ? one : { ...one, range: encodeCopRange(one.range, keys) };
}

function oneError<R extends { error?: Parameters<typeof decodeKeyError>[0] | undefined }>(
  reply: R,
  keys: ApiKeyCodec,
): R {
  return reply.error === undefined ? reply : { ...reply, error: decodeKeyError(reply.error, keys) };
}

function manyErrors<R extends { errors: Parameters<typeof decodeKeyError>[0][] }>(
  reply: R,
  keys: ApiKeyCodec,
): R {
  if (reply.errors.length === 0) return reply;
  return { ...reply, errors: reply.errors.map((error) => decodeKeyError(error, keys)) };
}

function locksAndError<
  R extends {
    error?: Parameters<typeof decodeKeyError>[0] | undefined;
    locks: Parameters<typeof decodeLock>[0][];
  },
>(reply: R, keys: ApiKeyCodec): R {
  return { ...oneError(reply, keys), locks: reply.locks.map((lock) => decodeLock(lock, keys)) };
}

function pairsAndError<
  P extends Parameters<typeof decodePairs>[0][number],
  R extends { error?: Parameters<typeof decodeKeyError>[0] | undefined; pairs: P[] },
>(reply: R, keys: ApiKeyCodec): R {
  return { ...oneError(reply, keys), pairs: decodePairs(reply.pairs, keys) };
}

function isSet(key: Uint8Array | undefined): key is Uint8Array {
  return key !== undefined && key.length > 0;
}

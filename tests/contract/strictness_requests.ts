// SPDX-License-Identifier: Apache-2.0
// Each request of a store that names a region and keys, as data, for the tables of what is refused.

import { Op } from "../../gen/kvrpcpb_pb.ts";
import { concatBytes } from "../../src/bytes/concat.ts";

/** Whose keys a request has. */
export type RequestMode = "raw" | "txn";

/** A request about one key. */
export interface RequestOfKey {
  readonly name: string;
  readonly mode: RequestMode;
  /** Its name in a batch; absent when it goes alone only. */
  readonly batchCase?: string;
  /** Its keys must be in the region, or all of it is refused. */
  readonly isBoundToRegion?: boolean;
  /** It goes to whoever leads the region on the store: TiKV asks neither for the store nor the peer. */
  readonly ignoresPeer?: boolean;
  /** It writes a value of any size. */
  readonly isSized?: boolean;
  /** The API version and the mode of its keys are checked. */
  readonly isOfVersion?: boolean;
  /** Keys above the limit are refused. */
  readonly limitsKeys?: boolean;
  readonly body: (key: Uint8Array, value: Uint8Array) => object;
}

/** The key that follows at once. */
function after(key: Uint8Array): Uint8Array {
  return concatBytes(key, new Uint8Array([0]));
}

function rangeOf(key: Uint8Array): { readonly startKey: Uint8Array; readonly endKey: Uint8Array } {
  return { startKey: key, endKey: after(key) };
}

/** A raw request; those in batches have the same name there. */
function raw(
  name: string,
  traits: Omit<RequestOfKey, "name" | "mode" | "batchCase" | "body"> & { readonly isAlone?: boolean },
  body: RequestOfKey["body"],
): RequestOfKey {
  const { isAlone = false, ...rest } = traits;
  const batchCase = isAlone ? {} : { batchCase: name };
  return { name, mode: "raw", isOfVersion: true, ...rest, ...batchCase, body };
}

/** A request of a transaction; in batches they are called without the prefix. */
function txn(
  name: string,
  traits: Omit<RequestOfKey, "name" | "mode" | "batchCase" | "body"> & { readonly isAlone?: boolean },
  body: RequestOfKey["body"],
): RequestOfKey {
  const { isAlone = false, ...rest } = traits;
  const batchCase = isAlone ? {} : { batchCase: name.slice(2) };
  return { name, mode: "txn", ...rest, ...batchCase, body };
}

const START_TS = 10n;
const POINT = { isBoundToRegion: true } as const;
const WRITE = { ...POINT, limitsKeys: true } as const;

/** Every request with a key. */
export const REQUESTS: readonly RequestOfKey[] = [
  raw("RawGet", POINT, (key) => ({ key })),
  raw("RawBatchGet", {}, (key) => ({ keys: [key] })),
  raw("RawPut", { ...WRITE, isSized: true }, (key, value) => ({ key, value })),
  raw("RawBatchPut", { ...WRITE, isSized: true }, (key, value) => ({ pairs: [{ key, value }] })),
  raw("RawDelete", WRITE, (key) => ({ key })),
  raw("RawBatchDelete", WRITE, (key) => ({ keys: [key] })),
  raw("RawDeleteRange", WRITE, rangeOf),
  raw("RawScan", {}, (key) => ({ ...rangeOf(key), limit: 1 })),
  raw("RawBatchScan", {}, (key) => ({ ranges: [rangeOf(key)], eachLimit: 1 })),
  raw("RawChecksum", { isAlone: true }, (key) => ({ ranges: [rangeOf(key)] })),
  raw(
    "RawCompareAndSwap",
    { ...POINT, isAlone: true, isSized: true },
    (key, value) => ({ key, value, previousNotExist: true }),
  ),
  raw("SplitRegion", { ...POINT, isAlone: true, isOfVersion: false, ignoresPeer: true }, (key) => ({
    splitKeys: [key],
    isRawKv: true,
  })),

  txn("KvGet", { ...POINT, isOfVersion: true }, (key) => ({ key, version: START_TS })),
  txn("KvBatchGet", { isOfVersion: true }, (key) => ({ keys: [key], version: START_TS })),
  txn("KvScan", { isOfVersion: true }, (key) => ({ ...rangeOf(key), limit: 1, version: START_TS })),
  txn("KvScanLock", {}, (key) => ({ ...rangeOf(key), limit: 1, maxVersion: START_TS })),
  txn("KvPrewrite", { ...WRITE, isOfVersion: true, isSized: true }, (key, value) => ({
    mutations: [{ op: Op.Put, key, value }],
    primaryLock: key,
    startVersion: START_TS,
    lockTtl: 100n,
  })),
  txn("KvPessimisticLock", { ...WRITE, isOfVersion: true }, (key) => ({
    mutations: [{ op: Op.PessimisticLock, key }],
    primaryLock: key,
    startVersion: START_TS,
    forUpdateTs: START_TS,
    lockTtl: 100n,
  })),
  {
    ...txn("KVPessimisticRollback", POINT, (key) => ({
      keys: [key],
      startVersion: START_TS,
      forUpdateTs: START_TS,
    })),
    batchCase: "PessimisticRollback",
  },
  txn("KvTxnHeartBeat", POINT, (key) => ({ primaryLock: key, startVersion: START_TS, adviseLockTtl: 1n })),
  txn("KvCheckTxnStatus", POINT, (key) => ({ primaryKey: key, lockTs: START_TS, currentTs: START_TS })),
  txn("KvCheckSecondaryLocks", POINT, (key) => ({ keys: [key], startVersion: START_TS })),
  txn("KvCommit", POINT, (key) => ({ keys: [key], startVersion: START_TS, commitVersion: START_TS + 1n })),
  txn("KvCleanup", POINT, (key) => ({ key, startVersion: START_TS })),
  txn("KvBatchRollback", POINT, (key) => ({ keys: [key], startVersion: START_TS })),
  txn("KvResolveLock", POINT, (key) => ({ keys: [key], startVersion: START_TS })),
  txn("KvFlush", { ...WRITE, isOfVersion: true, isSized: true }, (key, value) => ({
    mutations: [{ op: Op.Put, key, value }],
    primaryKey: key,
    startTs: START_TS,
    generation: 1n,
    lockTtl: 100n,
  })),
  txn("KvBufferBatchGet", { isOfVersion: true }, (key) => ({ keys: [key], version: START_TS })),
  txn("KvDeleteRange", { isOfVersion: true }, rangeOf),
  txn("MvccGetByKey", { ...POINT, isAlone: true }, (key) => ({ key })),
  txn("MvccGetByStartTs", { isAlone: true }, () => ({ startTs: START_TS })),
];

// SPDX-License-Identifier: Apache-2.0
// The messages with keys in them that several requests and replies share. All functions return
// new objects: what they are given may be sent or read again.

import type { KeyRange as CopRange } from "../../gen/coprocessor_pb.ts";
import type { WaitForEntry } from "../../gen/deadlock_pb.ts";
import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { KeyError, LockInfo, MvccInfo, MvccLock, WriteConflict } from "../../gen/kvrpcpb_pb.ts";
import type { Region } from "../../gen/metapb_pb.ts";
import { EMPTY } from "../bytes/concat.ts";
import type { ApiKeyCodec } from "../codec/keyspace.ts";
import { TikvError } from "../errors.ts";

/** The keys with the prefix of the keyspace. */
export function encodeKeys(list: readonly Uint8Array[], keys: ApiKeyCodec): Uint8Array[] {
  return list.map((key) => keys.encodeKey(key));
}

/** The keys without the prefix of the keyspace. */
export function decodeKeys(list: readonly Uint8Array[], keys: ApiKeyCodec): Uint8Array[] {
  return list.map((key) => keys.decodeKey(key));
}

/** Encodes the bounds of something with `startKey` and `endKey`; unbounded ends with the keyspace. */
export function encodeBounds<
  B extends { readonly startKey?: Uint8Array | undefined; readonly endKey?: Uint8Array | undefined },
>(body: B, keys: ApiKeyCodec): B {
  const { start, end } = keys.encodeRange({ start: body.startKey ?? EMPTY, end: body.endKey ?? EMPTY });
  return { ...body, startKey: start, endKey: end };
}

/** As {@linkcode encodeBounds} for a reverse scan, which names its upper bound first. */
export function encodeReversedBounds<
  B extends { readonly startKey?: Uint8Array | undefined; readonly endKey?: Uint8Array | undefined },
>(body: B, keys: ApiKeyCodec): B {
  const { start, end } = keys.encodeRange({ start: body.endKey ?? EMPTY, end: body.startKey ?? EMPTY });
  return { ...body, startKey: end, endKey: start };
}

/** Encodes a range of a coprocessor request, which has other names for its bounds. */
export function encodeCopRange(range: CopRange, keys: ApiKeyCodec): CopRange {
  return { ...range, ...keys.encodeRange(range) };
}

/** Decodes a range of a coprocessor reply; empty when all of it is outside the keyspace. */
export function decodeCopRange(range: CopRange, keys: ApiKeyCodec): CopRange {
  return { ...range, ...(keys.decodeRange(range) ?? { start: EMPTY, end: EMPTY }) };
}

/** Encodes the keys of things with a `key`. */
export function encodeEach<T extends { readonly key?: Uint8Array | undefined }>(
  list: readonly T[],
  keys: ApiKeyCodec,
): T[] {
  return list.map((item) => ({ ...item, key: keys.encodeKey(item.key ?? EMPTY) }));
}

/** Decodes the pairs of a reply and the errors in them. */
export function decodePairs<P extends { key: Uint8Array; error?: KeyError | undefined }>(
  pairs: readonly P[],
  keys: ApiKeyCodec,
): P[] {
  return pairs.map((pair) =>
    pair.error === undefined
      ? { ...pair, key: keys.decodeKey(pair.key) }
      : { ...pair, key: keys.decodeKey(pair.key), error: decodeKeyError(pair.error, keys) }
  );
}

/** Decodes a lock, and the locks that share its key. */
export function decodeLock(lock: LockInfo, keys: ApiKeyCodec): LockInfo {
  return {
    ...lock,
    key: keys.decodeKey(lock.key),
    primaryLock: keys.decodeKey(lock.primaryLock),
    secondaries: decodeKeys(lock.secondaries, keys),
    sharedLockInfos: lock.sharedLockInfos.map((shared) => decodeLock(shared, keys)),
  };
}

/** Decodes locks of all keyspaces of a store and leaves those of others out. */
export function decodeOwnLocks(locks: readonly LockInfo[], keys: ApiKeyCodec): LockInfo[] {
  return locks.filter((lock) => isOwn(lock.key, keys)).map((lock) => decodeLock(lock, keys));
}

/** Decodes the waits of all keyspaces of a store and leaves those of others out. */
export function decodeOwnWaits(entries: readonly WaitForEntry[], keys: ApiKeyCodec): WaitForEntry[] {
  return entries.filter((entry) => isOwn(entry.key, keys)).map((entry) => decodeWait(entry, keys));
}

/** Decodes what a key error tells of keys. */
export function decodeKeyError(error: KeyError, keys: ApiKeyCodec): KeyError {
  const decoded: KeyError = { ...error };
  if (error.locked !== undefined) decoded.locked = decodeLock(error.locked, keys);
  if (error.conflict !== undefined) decoded.conflict = decodeConflict(error.conflict, keys);
  if (error.alreadyExist !== undefined) decoded.alreadyExist = withKey(error.alreadyExist, keys);
  if (error.commitTsExpired !== undefined) decoded.commitTsExpired = withKey(error.commitTsExpired, keys);
  if (error.assertionFailed !== undefined) decoded.assertionFailed = withKey(error.assertionFailed, keys);
  if (error.txnLockNotFound !== undefined) decoded.txnLockNotFound = withKey(error.txnLockNotFound, keys);
  if (error.txnNotFound !== undefined) {
    decoded.txnNotFound = { ...error.txnNotFound, primaryKey: keys.decodeKey(error.txnNotFound.primaryKey) };
  }
  if (error.deadlock !== undefined) {
    decoded.deadlock = {
      ...error.deadlock,
      lockKey: keys.decodeKey(error.deadlock.lockKey),
      deadlockKey: keys.decodeKey(error.deadlock.deadlockKey),
      waitChain: error.deadlock.waitChain.map((entry) => decodeWait(entry, keys)),
    };
  }
  const lockInfo = error.primaryMismatch?.lockInfo;
  if (error.primaryMismatch !== undefined && lockInfo !== undefined) {
    decoded.primaryMismatch = { ...error.primaryMismatch, lockInfo: decodeLock(lockInfo, keys) };
  }
  if (error.debugInfo !== undefined) {
    decoded.debugInfo = {
      ...error.debugInfo,
      mvccInfo: error.debugInfo.mvccInfo.map((info) => ({
        ...info,
        key: keys.decodeKey(info.key),
        ...(info.mvcc === undefined ? {} : { mvcc: decodeMvcc(info.mvcc, keys) }),
      })),
    };
  }
  return decoded;
}

/** Decodes the versions of a key; the lock names other keys. */
export function decodeMvcc(info: MvccInfo, keys: ApiKeyCodec): MvccInfo {
  return info.lock === undefined ? info : { ...info, lock: decodeMvccLock(info.lock, keys) };
}

/**
 * Decodes an error of a region. Regions outside the keyspace are left out and others end with it:
 * they are cached, and no key of another keyspace may be found in them.
 */
export function decodeRegionError(error: RegionError, keys: ApiKeyCodec): RegionError {
  const decoded: RegionError = { ...error };
  if (error.epochNotMatch !== undefined) {
    decoded.epochNotMatch = {
      ...error.epochNotMatch,
      currentRegions: decodeRegions(error.epochNotMatch.currentRegions, keys),
    };
  }
  if (error.keyNotInRegion !== undefined) {
    const { key, startKey, endKey } = error.keyNotInRegion;
    const range = keys.decodeRegionRange({ start: startKey, end: endKey });
    decoded.keyNotInRegion = {
      ...error.keyNotInRegion,
      key: isOwn(key, keys) ? keys.decodeKey(key) : key,
      startKey: range?.start ?? EMPTY,
      endKey: range?.end ?? EMPTY,
    };
  }
  if (error.bucketVersionNotMatch !== undefined) {
    decoded.bucketVersionNotMatch = {
      ...error.bucketVersionNotMatch,
      keys: keys.decodeBucketKeys(error.bucketVersionNotMatch.keys),
    };
  }
  return decoded;
}

/** Decodes regions; those outside the keyspace are left out. */
export function decodeRegions(regions: readonly Region[], keys: ApiKeyCodec): Region[] {
  return regions.flatMap((region) => decodeRegion(region, keys) ?? []);
}

/** Decodes a region; undefined when all of it is outside the keyspace. */
export function decodeRegion(region: Region, keys: ApiKeyCodec): Region | undefined {
  const range = keys.decodeRegionRange({ start: region.startKey, end: region.endKey });
  return range === undefined ? undefined : { ...region, startKey: range.start, endKey: range.end };
}

function decodeMvccLock(lock: MvccLock, keys: ApiKeyCodec): MvccLock {
  return { ...lock, primary: keys.decodeKey(lock.primary), secondaries: decodeKeys(lock.secondaries, keys) };
}

function decodeConflict(conflict: WriteConflict, keys: ApiKeyCodec): WriteConflict {
  return { ...conflict, key: keys.decodeKey(conflict.key), primary: keys.decodeKey(conflict.primary) };
}

function decodeWait(entry: WaitForEntry, keys: ApiKeyCodec): WaitForEntry {
  return withKey(entry, keys);
}

function withKey<T extends { key: Uint8Array }>(message: T, keys: ApiKeyCodec): T {
  return { ...message, key: keys.decodeKey(message.key) };
}

function isOwn(key: Uint8Array, keys: ApiKeyCodec): boolean {
  try {
    keys.decodeKey(key);
    return true;
  } catch (error) {
    if (TikvError.is(error)) return false;
    throw error;
  }
}

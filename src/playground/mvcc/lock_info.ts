// SPDX-License-Identifier: Apache-2.0
// Locks and versions as the protocol shows them.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MvccInfoSchema, MvccLockSchema, MvccWriteSchema } from "../../../gen/kvrpcpb_pb.ts";
import { Op } from "../../../gen/kvrpcpb_pb.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { decodeBytes } from "../../bytes/memcomparable.ts";
import type { LockInfoInit } from "./mvcc_error.ts";
import type { LastChange, Lock, LockKind, LockRecord, Version, WriteKind } from "./records.ts";
import { isShared } from "./records.ts";
import type { Tables } from "./tables.ts";

const LOCK_OPS: Readonly<Record<LockKind, Op>> = {
  put: Op.Put,
  delete: Op.Del,
  lock: Op.Lock,
  pessimistic: Op.PessimisticLock,
};

const WRITE_OPS: Readonly<Record<WriteKind, Op>> = {
  put: Op.Put,
  delete: Op.Del,
  lock: Op.Lock,
  rollback: Op.Rollback,
};

/** A key as clients know it. */
export function rawKey(encoded: Uint8Array): Uint8Array {
  return decodeBytes(encoded);
}

/** Whether an encoded key is the primary of a transaction. */
export function isPrimary(encoded: Uint8Array, primary: Uint8Array): boolean {
  return equalBytes(rawKey(encoded), primary);
}

/** A lock record for an answer. Shared locks are wrapped in one that has no start timestamp. */
export function lockInfoOf(key: Uint8Array, record: LockRecord): LockInfoInit {
  if (!isShared(record)) return ownLockInfo(rawKey(key), record);
  const raw = rawKey(key);
  return {
    lockType: Op.SharedLock,
    key: raw,
    sharedLockInfos: [...record.locks.values()].map((lock) => ownLockInfo(raw, lock)),
  };
}

function ownLockInfo(key: Uint8Array, lock: Lock): LockInfoInit {
  return {
    key,
    primaryLock: lock.primary,
    lockVersion: lock.startTs,
    lockTtl: lock.ttlMs,
    txnSize: lock.txnSize,
    lockType: LOCK_OPS[lock.kind],
    lockForUpdateTs: lock.forUpdateTs,
    useAsyncCommit: lock.usesAsyncCommit,
    minCommitTs: lock.minCommitTs,
    secondaries: [...lock.secondaries],
  };
}

/** Everything about one key, for debugging (`MvccInfo::into_proto`). */
export function mvccInfoOf(tables: Tables, key: Uint8Array): MessageInitShape<typeof MvccInfoSchema> {
  const record = tables.lock(key);
  const lock = record !== undefined && isShared(record) ? [...record.locks.values()][0] : record;
  return {
    ...(lock === undefined ? {} : { lock: mvccLock(lock) }),
    writes: [...tables.versions(key)].reverse().map(mvccWrite),
    values: tables.values(key).map(([startTs, value]) => ({ startTs, value })),
  };
}

/** TiKV shows only these fields of a lock. */
function mvccLock(lock: Lock): MessageInitShape<typeof MvccLockSchema> {
  return {
    type: LOCK_OPS[lock.kind],
    startTs: lock.startTs,
    primary: lock.primary,
    ...(lock.shortValue === undefined ? {} : { shortValue: lock.shortValue }),
    ...lastChangeFields(lock.lastChange),
  };
}

/** TiKV shows the last change of a write only when it is unknown, which is to say, as zeros. */
function mvccWrite({ commitTs, write }: Version): MessageInitShape<typeof MvccWriteSchema> {
  return {
    type: WRITE_OPS[write.kind],
    startTs: write.startTs,
    commitTs,
    ...(write.shortValue === undefined ? {} : { shortValue: write.shortValue }),
    hasOverlappedRollback: write.hasOverlappedRollback,
    ...(write.gcFence === undefined ? {} : { hasGcFence: true, gcFence: write.gcFence }),
  };
}

function lastChangeFields(
  change: LastChange | undefined,
): { lastChangeTs?: bigint; versionsToLastChange?: bigint } {
  if (change === undefined) return {};
  return change.kind === "exists"
    ? { lastChangeTs: change.ts, versionsToLastChange: change.versions }
    : { versionsToLastChange: 1n };
}

// SPDX-License-Identifier: Apache-2.0
// What is stored for a transaction: the records of TiKV's three columns (`components/txn_types`).
// Records never change: every change makes a new one.

/** The largest timestamp; a read at it sees the latest data. */
export const MAX_TS = 0xffff_ffff_ffff_ffffn;

/** Values up to this many bytes are kept inside the lock and the write record. */
export const SHORT_VALUE_MAX_BYTES = 255;

/** Milliseconds since 1970 of a timestamp. */
export function physicalOf(ts: bigint): bigint {
  return ts >> 18n;
}

/** Where the last version is that changed data, for records that changed none. */
export type LastChange =
  | { readonly kind: "exists"; readonly ts: bigint; readonly versions: bigint }
  | { readonly kind: "not-exists" };

/** What a lock will become, or that it only keeps others away. */
export type LockKind = "put" | "delete" | "lock" | "pessimistic";

/** The lock of one transaction on one key. */
export interface Lock {
  readonly kind: LockKind;
  /** As clients know it, not encoded. */
  readonly primary: Uint8Array;
  readonly startTs: bigint;
  readonly ttlMs: bigint;
  readonly shortValue: Uint8Array | undefined;
  /** Not 0 for locks of pessimistic transactions. */
  readonly forUpdateTs: bigint;
  readonly txnSize: bigint;
  readonly minCommitTs: bigint;
  readonly usesAsyncCommit: boolean;
  readonly usesOnePc: boolean;
  /** The other keys of an async commit; only the primary has them. */
  readonly secondaries: readonly Uint8Array[];
  /** Transactions that were rolled back under this lock, which a write record at that timestamp must show. */
  readonly rollbackTs: readonly bigint[];
  readonly lastChange: LastChange | undefined;
  readonly txnSource: bigint;
  readonly isLockedWithConflict: boolean;
  /** The flush of a pipelined transaction that wrote it; 0 for others. */
  readonly generation: bigint;
}

/** Locks of several transactions that only forbid writing, by start timestamp. */
export interface SharedLocks {
  /** A writer waits, so no transaction may join. */
  readonly isShrinkOnly: boolean;
  readonly locks: ReadonlyMap<bigint, Lock>;
}

/** What the lock column has under a key. */
export type LockRecord = Lock | SharedLocks;

/** What a transaction did to a key. */
export type WriteKind = "put" | "delete" | "lock" | "rollback";

/** A record of the write column; its commit timestamp is the version. */
export interface Write {
  readonly kind: WriteKind;
  readonly startTs: bigint;
  readonly shortValue: Uint8Array | undefined;
  /** A rollback of the transaction that started at the commit timestamp of this record. */
  readonly hasOverlappedRollback: boolean;
  /** The version that followed when the overlapped rollback was written; 0 when none did. */
  readonly gcFence: bigint | undefined;
  readonly lastChange: LastChange | undefined;
  readonly txnSource: bigint;
}

/** A version of a key. */
export interface Version {
  readonly commitTs: bigint;
  readonly write: Write;
}

/** The mark of a rollback that no later one may collapse. */
const PROTECTED: Uint8Array = new Uint8Array([0x70]);

export function isShared(record: LockRecord): record is SharedLocks {
  return "locks" in record;
}

/** A lock with the defaults of what is not named. */
export function makeLock(
  fields: Pick<Lock, "kind" | "primary" | "startTs" | "ttlMs"> & Partial<Lock>,
): Lock {
  return {
    shortValue: undefined,
    forUpdateTs: 0n,
    txnSize: 0n,
    minCommitTs: 0n,
    usesAsyncCommit: false,
    usesOnePc: false,
    secondaries: [],
    rollbackTs: [],
    lastChange: undefined,
    txnSource: 0n,
    isLockedWithConflict: false,
    generation: 0n,
    ...fields,
  };
}

/** A write record with the defaults of what is not named. */
export function makeWrite(fields: Pick<Write, "kind" | "startTs"> & Partial<Write>): Write {
  return {
    shortValue: undefined,
    hasOverlappedRollback: false,
    gcFence: undefined,
    lastChange: undefined,
    txnSource: 0n,
    ...fields,
  };
}

export function makeRollback(startTs: bigint, isProtected: boolean): Write {
  return makeWrite({ kind: "rollback", startTs, shortValue: isProtected ? PROTECTED : undefined });
}

export function isProtectedRollback(write: Write): boolean {
  return write.kind === "rollback" && write.shortValue !== undefined;
}

/** The write record that a lock becomes. Must not be asked of a pessimistic lock. */
export function writeOfLock(lock: Lock): Write {
  if (lock.kind === "pessimistic") throw new RangeError("Cannot commit a pessimistic lock");
  return makeWrite({
    kind: lock.kind,
    startTs: lock.startTs,
    shortValue: lock.shortValue,
    lastChange: lock.lastChange,
    txnSource: lock.txnSource,
  });
}

/** Whether a reader at `readTs` may still take the record for the latest version (`gc_fence`). */
export function isBeforeGcFence({ gcFence }: Write, readTs: bigint): boolean {
  return gcFence === undefined || gcFence === 0n || gcFence > readTs;
}

/** The lock of a transaction in a record, shared or not. */
export function lockOf(record: LockRecord | undefined, startTs: bigint): Lock | undefined {
  if (record === undefined) return undefined;
  if (isShared(record)) return record.locks.get(startTs);
  return record.startTs === startTs ? record : undefined;
}

/** Shared locks with one lock more, or another in the place of the old one. */
export function withSharedLock(shared: SharedLocks | undefined, lock: Lock): SharedLocks {
  const locks = new Map(shared?.locks ?? []);
  locks.set(lock.startTs, lock);
  return { isShrinkOnly: shared?.isShrinkOnly ?? false, locks };
}

/** Shared locks without that of one transaction; undefined when none is left. */
export function withoutSharedLock(shared: SharedLocks, startTs: bigint): SharedLocks | undefined {
  const locks = new Map(shared.locks);
  locks.delete(startTs);
  return locks.size === 0 ? undefined : { ...shared, locks };
}

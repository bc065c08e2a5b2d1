// SPDX-License-Identifier: Apache-2.0

import { KeyMap } from "../../bytes/key_map.ts";
import type { LockInfoInit } from "./mvcc_error.ts";
import { lockInfoOf } from "./lock_info.ts";
import type { Lock, LockRecord, SharedLocks, Write } from "./records.ts";
import type { Change, Tables } from "./tables.ts";

/** A lock that is gone; waiters of the key may go on. */
export interface ReleasedLock {
  readonly key: Uint8Array;
  readonly startTs: bigint;
  /** 0 when it was rolled back. */
  readonly commitTs: bigint;
}

/** The largest timestamp at which a store has read, as far as commits must stay above it. */
export class MaxTimestamp {
  #value = 0n;

  get value(): bigint {
    return this.#value;
  }

  raise(ts: bigint): void {
    if (ts > this.#value) this.#value = ts;
  }
}

/** A lock of a one-phase commit, which only becomes a lock when the commit falls back. */
export interface OnePcLock {
  readonly key: Uint8Array;
  readonly lock: Lock;
  readonly hadPessimisticLock: boolean;
}

/** About what an entry of the raft log needs besides key and value. */
const CHANGE_OVERHEAD_BYTES = 24;
const LOCK_OVERHEAD_BYTES = 64;

/**
 * The changes of one command. It reads the tables as they are and collects what is to be written,
 * so that a command that fails half-way writes nothing.
 */
export class MvccTxn {
  readonly tables: Tables;
  readonly maxTs: MaxTimestamp;
  /** Whose command it is. Commands over locks of many transactions set it for each. */
  startTs: bigint;
  #changes: Change[] = [];
  /** The last change of the lock column by key. */
  #pendingLocks = new KeyMap<{ readonly lock: LockRecord | undefined }>();
  #onePcLocks: OnePcLock[] = [];
  #newLocks: LockInfoInit[] = [];
  #released: ReleasedLock[] = [];

  constructor(tables: Tables, maxTs: MaxTimestamp, startTs: bigint) {
    this.tables = tables;
    this.maxTs = maxTs;
    this.startTs = startTs;
  }

  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** Locks on keys that had none of this transaction before. */
  get newLocks(): readonly LockInfoInit[] {
    return this.#newLocks;
  }

  get released(): readonly ReleasedLock[] {
    return this.#released;
  }

  /** The lock column as it will be after the changes so far. */
  lock(key: Uint8Array): LockRecord | undefined {
    const pending = this.#pendingLocks.get(key);
    return pending === undefined ? this.tables.lock(key) : pending.lock;
  }

  putLock(key: Uint8Array, lock: LockRecord, isNew: boolean): void {
    if (isNew) this.#newLocks.push(lockInfoOf(key, lock));
    this.#setLock(key, lock);
  }

  /** Writes what is left of shared locks; the key is free when that is nothing. */
  putSharedLocks(key: Uint8Array, shared: SharedLocks | undefined, commitTs: bigint = 0n): void {
    if (shared === undefined) this.unlock(key, commitTs);
    else this.putLock(key, shared, false);
  }

  unlock(key: Uint8Array, commitTs: bigint = 0n): void {
    this.#released.push({ key, startTs: this.startTs, commitTs });
    this.#setLock(key, undefined);
  }

  putWrite(key: Uint8Array, commitTs: bigint, write: Write): void {
    this.#changes.push({ column: "write", key, commitTs, write });
  }

  deleteWrite(key: Uint8Array, commitTs: bigint): void {
    this.#changes.push({ column: "write", key, commitTs, write: undefined });
  }

  putValue(key: Uint8Array, startTs: bigint, value: Uint8Array): void {
    this.#changes.push({ column: "default", key, startTs, value });
  }

  deleteValue(key: Uint8Array, startTs: bigint): void {
    this.#changes.push({ column: "default", key, startTs, value: undefined });
  }

  putOnePcLock(lock: OnePcLock): void {
    this.#onePcLocks.push(lock);
  }

  /** Takes the locks of a one-phase commit out, to commit them or to write them as locks. */
  takeOnePcLocks(): readonly OnePcLock[] {
    const locks = this.#onePcLocks;
    this.#onePcLocks = [];
    return locks;
  }

  /** Forgets everything that was to be written. */
  clear(): void {
    this.#changes = [];
    this.#pendingLocks = new KeyMap();
    this.#onePcLocks = [];
    this.#newLocks = [];
    this.#released = [];
  }

  /** About how large the entry of the raft log is. */
  sizeBytes(): number {
    let bytes = 0;
    for (const change of this.#changes) {
      bytes += change.key.length + CHANGE_OVERHEAD_BYTES;
      if (change.column === "default") bytes += change.value?.length ?? 0;
      else if (change.column === "write") bytes += change.write?.shortValue?.length ?? 0;
      else if (change.lock !== undefined) bytes += lockBytes(change.lock);
    }
    return bytes;
  }

  #setLock(key: Uint8Array, lock: LockRecord | undefined): void {
    this.#pendingLocks.set(key, { lock });
    this.#changes.push({ column: "lock", key, lock });
  }
}

function lockBytes(record: LockRecord): number {
  if ("locks" in record) {
    let bytes = 0;
    for (const lock of record.locks.values()) bytes += lockBytes(lock);
    return bytes;
  }
  let bytes = LOCK_OVERHEAD_BYTES + record.primary.length + (record.shortValue?.length ?? 0);
  for (const key of record.secondaries) bytes += key.length;
  return bytes;
}

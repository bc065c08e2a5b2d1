// SPDX-License-Identifier: Apache-2.0
// The errors of transactions that carry data. Keys are on them, but not among what is printed.

import { TikvError, type TikvErrorOptions } from "./errors.ts";
import type { Timestamp } from "./types.ts";

/**
 * Which check found another transaction in the way; the words are those of the protocol. `local-latch`
 * was found by this client, before anything was sent; see `localLatches`.
 */
export type WriteConflictReason =
  | "unknown"
  | "optimistic"
  | "pessimistic-retry"
  | "self-rolled-back"
  | "read-committed-check-ts"
  | "lazy-uniqueness-check"
  | "not-locked-key-conflict"
  | "local-latch";

/** Options of a new {@linkcode WriteConflictError}. */
export interface WriteConflictErrorOptions extends TikvErrorOptions {
  /** The key on which they met. */
  readonly key: Uint8Array;
  /** When the own transaction, or its statement, began. */
  readonly startTs: Timestamp;
  /** When the other transaction began; 0 when that is not known. */
  readonly conflictTs: Timestamp;
  /** When the other transaction was committed; 0 when it is not, or that is not known. */
  readonly conflictCommitTs: Timestamp;
  /** Which check found it. */
  readonly reason: WriteConflictReason;
}

/** Another transaction has written, or is about to write, what this one read or writes. */
export class WriteConflictError extends TikvError<"write-conflict"> {
  /** The key on which they met. */
  declare readonly key: Uint8Array;
  /** When the own transaction, or its statement, began. */
  readonly startTs: Timestamp;
  /** When the other transaction began; 0 when that is not known. */
  readonly conflictTs: Timestamp;
  /** When the other transaction was committed; 0 when it is not, or that is not known. */
  readonly conflictCommitTs: Timestamp;
  /** Which check found it. */
  readonly reason: WriteConflictReason;

  /** Makes the error of a conflict. */
  constructor(message: string, options: WriteConflictErrorOptions) {
    super("write-conflict", message, options);
    this.name = "WriteConflictError";
    this.startTs = options.startTs;
    this.conflictTs = options.conflictTs;
    this.conflictCommitTs = options.conflictCommitTs;
    this.reason = options.reason;
    hide(this, "key", options.key);
  }
}

/** One transaction that waits for another. */
export interface DeadlockWait {
  /** When the one that waits began. */
  readonly startTs: Timestamp;
  /** When the one that is waited for began. */
  readonly waitsForTs: Timestamp;
  /** The key that it waits for. */
  readonly key: Uint8Array;
  /** The resource group tag of the request that waits. */
  readonly resourceGroupTag: Uint8Array;
}

/** Options of a new {@linkcode DeadlockError}. */
export interface DeadlockErrorOptions extends TikvErrorOptions {
  /** The key that could not be locked. */
  readonly key: Uint8Array;
  /** When the transaction began that has the key. */
  readonly lockTs: Timestamp;
  /** The key whose lock closes the circle; empty when that is not known. */
  readonly deadlockKey: Uint8Array;
  /** Hash of that key as stores compute it. */
  readonly deadlockKeyHash: bigint;
  /** Who waits for whom, from the one that has the key. */
  readonly waitChain: readonly DeadlockWait[];
}

/** Transactions wait for each other in a circle, and this one was chosen to give way. */
export class DeadlockError extends TikvError<"deadlock"> {
  /** The key that could not be locked. */
  declare readonly key: Uint8Array;
  /** When the transaction began that has the key. */
  readonly lockTs: Timestamp;
  /** The key whose lock closes the circle; empty when that is not known. */
  declare readonly deadlockKey: Uint8Array;
  /** Hash of that key as stores compute it. */
  readonly deadlockKeyHash: bigint;
  /** Who waits for whom, from the one that has the key. */
  declare readonly waitChain: readonly DeadlockWait[];

  /** Makes the error of a circle. */
  constructor(message: string, options: DeadlockErrorOptions) {
    super("deadlock", message, options);
    this.name = "DeadlockError";
    this.lockTs = options.lockTs;
    this.deadlockKeyHash = options.deadlockKeyHash;
    hide(this, "key", options.key);
    hide(this, "deadlockKey", options.deadlockKey);
    hide(this, "waitChain", options.waitChain);
  }
}

/** Options of a new {@linkcode KeyExistsError}. */
export interface KeyExistsErrorOptions extends TikvErrorOptions {
  /** The key that is there. */
  readonly key: Uint8Array;
  /** What was to be written; absent when that is not known, or nothing was. */
  readonly value?: Uint8Array | undefined;
}

/** A key that was to be inserted is there already. */
export class KeyExistsError extends TikvError<"key-exists"> {
  /** The key that is there. */
  declare readonly key: Uint8Array;
  /** What was to be written; undefined when that is not known, or nothing was. */
  declare readonly value: Uint8Array | undefined;

  /** Makes the error of a key that is there. */
  constructor(message: string, options: KeyExistsErrorOptions) {
    super("key-exists", message, options);
    this.name = "KeyExistsError";
    hide(this, "key", options.key);
    hide(this, "value", options.value);
  }
}

/** Options of a new {@linkcode LockWaitTimeoutError}. */
export interface LockWaitTimeoutErrorOptions extends TikvErrorOptions {
  /** The key that could not be locked. */
  readonly key: Uint8Array;
  /** When the transaction began that has the key. */
  readonly lockTs: Timestamp;
}

/** A lock was not free within the time that the caller gave for it. */
export class LockWaitTimeoutError extends TikvError<"lock-wait-timeout"> {
  /** The key that could not be locked. */
  declare readonly key: Uint8Array;
  /** When the transaction began that has the key. */
  readonly lockTs: Timestamp;

  /** Makes the error of a lock that was not free. */
  constructor(message: string, options: LockWaitTimeoutErrorOptions) {
    super("lock-wait-timeout", message, options);
    this.name = "LockWaitTimeoutError";
    this.lockTs = options.lockTs;
    hide(this, "key", options.key);
  }
}

/** Options of a new {@linkcode AssertionFailedError}. */
export interface AssertionFailedErrorOptions extends TikvErrorOptions {
  /** The key that is not as it was said to be. */
  readonly key: Uint8Array;
  /** When the transaction began. */
  readonly startTs: Timestamp;
  /** What was said of the key. */
  readonly assertion: "exists" | "not-exists" | "none";
  /** When the transaction began that wrote the key; 0 if it does not exist. */
  readonly existingStartTs: Timestamp;
  /** When that one was committed; 0 if the key does not exist. */
  readonly existingCommitTs: Timestamp;
}

/** A key is not as the transaction said it would be. */
export class AssertionFailedError extends TikvError<"assertion-failed"> {
  /** The key that is not as it was said to be. */
  declare readonly key: Uint8Array;
  /** When the transaction began. */
  readonly startTs: Timestamp;
  /** What was said of the key. */
  readonly assertion: "exists" | "not-exists" | "none";
  /** When the transaction began that wrote the key; 0 if it does not exist. */
  readonly existingStartTs: Timestamp;
  /** When that one was committed; 0 if the key does not exist. */
  readonly existingCommitTs: Timestamp;

  /** Makes the error of an assertion that does not hold. */
  constructor(message: string, options: AssertionFailedErrorOptions) {
    super("assertion-failed", message, options);
    this.name = "AssertionFailedError";
    this.startTs = options.startTs;
    this.assertion = options.assertion;
    this.existingStartTs = options.existingStartTs;
    this.existingCommitTs = options.existingCommitTs;
    hide(this, "key", options.key);
  }
}

/** Options of a new {@linkcode TxnAbortedError}. */
export interface TxnAbortedErrorOptions extends TikvErrorOptions {
  /** When the transaction began; undefined when the answer does not tell. */
  readonly startTs?: Timestamp | undefined;
}

/** The transaction cannot be committed any more: somebody rolled it back, or a lock of it is gone. */
export class TxnAbortedError extends TikvError<"txn-aborted"> {
  /** When the transaction began; undefined when the answer does not tell. */
  readonly startTs: Timestamp | undefined;

  /** Makes the error of a transaction that is over. */
  constructor(message: string, options: TxnAbortedErrorOptions = {}) {
    super("txn-aborted", message, options);
    this.name = "TxnAbortedError";
    this.startTs = options.startTs;
  }
}

/** Options of a new {@linkcode SnapshotTooOldError}. */
export interface SnapshotTooOldErrorOptions extends TikvErrorOptions {
  /** The timestamp that was read at. */
  readonly ts: Timestamp;
  /** Data from before this may be gone. */
  readonly safePoint: Timestamp;
}

/** What was read may have been collected as garbage: the timestamp is before the safe point. */
export class SnapshotTooOldError extends TikvError<"snapshot-too-old"> {
  /** The timestamp that was read at. */
  readonly ts: Timestamp;
  /** Data from before this may be gone. */
  readonly safePoint: Timestamp;

  /** Makes the error of a read that came too late. */
  constructor(message: string, options: SnapshotTooOldErrorOptions) {
    super("snapshot-too-old", message, options);
    this.name = "SnapshotTooOldError";
    this.ts = options.ts;
    this.safePoint = options.safePoint;
  }
}

// Keys are the user's: whoever logs the error does not log them.
function hide<T extends object, N extends keyof T>(error: T, name: N, value: T[N]): void {
  Object.defineProperty(error, name, { value, enumerable: false });
}

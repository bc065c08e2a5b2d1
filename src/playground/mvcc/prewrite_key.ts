// SPDX-License-Identifier: Apache-2.0
// Prewriting one key (`src/storage/txn/actions/prewrite.rs`).

import { WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import { checkAssertion } from "./assertion.ts";
import { checkNotExists } from "./constraint.ts";
import { lockInfoOf, rawKey } from "./lock_info.ts";
import { mvccAbort, MvccError, otherAbort } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { PrewriteMutation, PrewriteProperties } from "./prewrite_types.ts";
import { isPessimistic } from "./prewrite_types.ts";
import type { LastChange, Lock, SharedLocks, Version } from "./records.ts";
import { isShared, makeLock, MAX_TS, SHORT_VALUE_MAX_BYTES, withSharedLock } from "./records.ts";
import { lastChangeAfter } from "./versions.ts";

/** What a prewrite of a key depends on. */
export interface PrewriteContext {
  readonly txn: MvccTxn;
  readonly props: PrewriteProperties;
  /** Of the lock, when it is to be an async commit's; only the primary gets a list that is not empty. */
  readonly secondaries: readonly Uint8Array[] | undefined;
  /** The flush it is part of; 0 for a prewrite. */
  readonly generation: bigint;
}

/** What is known of the lock that is to be written. */
interface Draft {
  ttlMs: bigint;
  minCommitTs: bigint;
  lastChange: LastChange | undefined;
}

type LockStatus =
  | { readonly kind: "none" }
  /** Already prewritten; `minCommitTs` is 0 when it is no async commit's. */
  | { readonly kind: "locked"; readonly minCommitTs: bigint }
  | { readonly kind: "pessimistic"; readonly forUpdateTs: bigint };

const NONE: LockStatus = { kind: "none" };

/**
 * Checks the key and adds its lock to the changes.
 *
 * @returns the smallest timestamp to commit at; 0 when that is not for the store to say
 */
export function prewriteKey(context: PrewriteContext, mutation: PrewriteMutation): bigint {
  const { txn, props, generation } = context;
  const { op, key } = mutation;
  const draft: Draft = { ttlMs: props.lockTtlMs, minCommitTs: props.minCommitTs, lastChange: undefined };
  if (op === "check-not-exists" && isPessimistic(props)) {
    throw otherAbort("cannot handle checkNotExists in pessimistic prewrite");
  }
  if (op === "insert" || op === "check-not-exists") txn.maxTs.raise(props.startTs);

  const record = txn.tables.lock(key);
  let shared: SharedLocks | undefined;
  let status = NONE;
  let isAmended = false;
  if (record === undefined) {
    if (mutation.action === "pessimistic-check") {
      if (op === "shared-lock") throw lockLost(props, key, "LockMissingAmendFail");
      amendLostLock(context, mutation, draft);
      isAmended = true;
    }
  } else if (isShared(record)) {
    shared = record;
    status = checkOwnLock(context, mutation, draft, sharedLockOf(context, mutation, record));
  } else {
    if (op === "shared-lock") throw new MvccError({ kind: "locked", lock: lockInfoOf(key, record) });
    status = checkOwnLock(context, mutation, draft, record);
  }
  if (generation === 0n && status.kind === "locked") return status.minCommitTs;

  const skipsChecks = skipsConstraintCheck(props, mutation);
  const newest = skipsChecks ? undefined : checkNewerVersions(context, mutation, draft);
  // A key that an earlier flush has written was checked then.
  if (!isAmended && !(generation > 0n && status.kind === "locked")) {
    checkAssertion(txn, props, mutation, {
      newest,
      isLoaded: !skipsChecks,
      checkNewer: () => {
        if (skipsChecks) checkNewerVersions(context, mutation, draft);
      },
    });
  }
  if (op === "check-not-exists") {
    if (props.commit.kind === "2pc") return 0n;
    return max(props.minCommitTs, props.startTs + 1n);
  }
  const isNew = mutation.action !== "pessimistic-check" || isAmended;
  return writeLock(context, mutation, { draft, status, shared, isNew });
}

/** The lock of this transaction among shared ones, or the error for not having it. */
function sharedLockOf({ props }: PrewriteContext, { op, key }: PrewriteMutation, record: SharedLocks): Lock {
  const own = record.locks.get(props.startTs);
  if (own !== undefined && op !== "shared-lock") {
    throw otherAbort("use Op::SharedLock to prewrite on a shared lock");
  }
  if (own !== undefined) return own;
  if (op === "shared-lock") throw lockLost(props, key, "LockMissingAmendFail");
  throw new MvccError({ kind: "locked", lock: lockInfoOf(key, record) });
}

function checkOwnLock(
  { props, generation }: PrewriteContext,
  mutation: PrewriteMutation,
  draft: Draft,
  lock: Lock,
): LockStatus {
  const { key, op } = mutation;
  if (lock.startTs !== props.startTs) {
    if (mutation.action === "pessimistic-check") throw lockLost(props, key, "LockTsMismatch");
    const info = lockInfoOf(key, lock);
    // Tells the client that it need not wait: a pessimistic transaction that gets this far holds all
    // locks that it needs, so this one is a leftover.
    throw new MvccError({ kind: "locked", lock: isPessimistic(props) ? { ...info, lockTtl: 0n } : info });
  }
  draft.lastChange = lock.lastChange;
  if (lock.kind === "pessimistic") {
    if (!isPessimistic(props)) {
      throw mvccAbort("LockTypeNotMatch", {
        start_ts: props.startTs,
        key: rawKey(key),
        pessimistic: true,
      });
    }
    const expected = mutation.expectedForUpdateTs;
    if (expected !== undefined && lock.forUpdateTs !== expected) {
      throw lockLost(props, key, "LockForUpdateTsMismatch");
    }
    draft.ttlMs = max(draft.ttlMs, lock.ttlMs);
    draft.minCommitTs = max(draft.minCommitTs, lock.minCommitTs);
    return { kind: "pessimistic", forUpdateTs: lock.forUpdateTs };
  }
  if (generation > 0n && lock.generation >= generation) throw new FlushedLater();
  if (lock.generation > 0n && (op === "insert" || op === "check-not-exists") && lock.kind === "put") {
    throw new MvccError({ kind: "already-exists", key: rawKey(key), existingStartTs: lock.startTs });
  }
  return { kind: "locked", minCommitTs: lock.usesAsyncCommit ? lock.minCommitTs : 0n };
}

/** A later flush of the same transaction has already written the key, so this one has nothing to do. */
export class FlushedLater extends Error {}

/** Looks at what was committed since the transaction started. Returns the newest version. */
function checkNewerVersions(
  { txn, props }: PrewriteContext,
  mutation: PrewriteMutation,
  draft: Draft,
): Version | undefined {
  const { tables } = txn;
  const { key } = mutation;
  const { startTs } = props;
  let seekTs = MAX_TS;
  for (;;) {
    const version = tables.seek(key, seekTs);
    if (version === undefined) break;
    const { commitTs, write } = version;
    if (commitTs === startTs && (write.kind === "rollback" || write.hasOverlappedRollback)) {
      throw conflict(props, key, version, WriteConflict_Reason.SelfRolledBack);
    }
    if (seekTs === MAX_TS) draft.lastChange = lastChangeAfter(tables, key, version);
    if (props.mode.kind === "optimistic") {
      if (commitTs > startTs) throw conflict(props, key, version, WriteConflict_Reason.Optimistic);
    } else {
      if (mutation.action === "constraint-check" && commitTs > startTs) {
        throw conflict(props, key, version, WriteConflict_Reason.LazyUniquenessCheck);
      }
      if (commitTs > props.mode.forUpdateTs) {
        if (write.kind === "rollback") {
          seekTs = commitTs - 1n;
          continue;
        }
        throw lockLost(props, key, "NonLockKeyConflict");
      }
    }
    checkNotExists(
      tables,
      key,
      version,
      startTs,
      mutation.op === "insert" || mutation.op === "check-not-exists",
    );
    return version;
  }
  if (seekTs === MAX_TS) draft.lastChange = { kind: "not-exists" };
  return undefined;
}

/** A pessimistic lock may be lost with its leader; it is as good as there if nothing was written since. */
function amendLostLock({ txn, props }: PrewriteContext, mutation: PrewriteMutation, draft: Draft): void {
  const newest = txn.tables.seek(mutation.key, MAX_TS);
  if (newest !== undefined && newest.commitTs >= props.startTs) {
    throw lockLost(props, mutation.key, "LockMissingAmendFail");
  }
  draft.lastChange = newest === undefined
    ? { kind: "not-exists" }
    : lastChangeAfter(txn.tables, mutation.key, newest);
  checkAssertion(txn, props, mutation, { newest, isLoaded: true, checkNewer: () => {} });
}

interface LockWrite {
  readonly draft: Draft;
  readonly status: LockStatus;
  readonly shared: SharedLocks | undefined;
  readonly isNew: boolean;
}

function writeLock(context: PrewriteContext, mutation: PrewriteMutation, write: LockWrite): bigint {
  const { txn, props, secondaries, generation } = context;
  const { key, op, value } = mutation;
  const { draft, status } = write;
  const isShort = value !== undefined && value.length <= SHORT_VALUE_MAX_BYTES;
  if (value !== undefined && !isShort) txn.putValue(key, props.startTs, value);
  const requested = props.mode.kind === "pessimistic" ? props.mode.forUpdateTs : 0n;
  const kind = op === "delete"
    ? "delete" as const
    : op === "put" || op === "insert"
    ? "put" as const
    : "lock" as const;
  let lock = makeLock({
    kind,
    primary: props.primary,
    startTs: props.startTs,
    ttlMs: draft.ttlMs,
    shortValue: isShort ? value : undefined,
    forUpdateTs: status.kind === "pessimistic" ? max(requested, status.forUpdateTs) : requested,
    txnSize: props.txnSize,
    minCommitTs: draft.minCommitTs,
    lastChange: kind === "lock" ? draft.lastChange : undefined,
    txnSource: props.txnSource,
    generation,
  });
  let triesOnePc = props.commit.kind === "1pc";
  let minCommitTs = 0n;
  let tooLarge: MvccError | undefined;
  if (secondaries !== undefined || triesOnePc) {
    minCommitTs = max(lock.minCommitTs, max(max(txn.maxTs.value, props.startTs), requested) + 1n);
    const maxCommitTs = props.commit.kind === "2pc" ? 0n : props.commit.maxCommitTs;
    if (maxCommitTs !== 0n && minCommitTs > maxCommitTs) {
      // The lock is written all the same, as one of a plain two-phase commit.
      tooLarge = new MvccError({ kind: "commit-ts-too-large", minCommitTs });
      triesOnePc = false;
    } else {
      lock = {
        ...lock,
        minCommitTs,
        usesAsyncCommit: secondaries !== undefined,
        usesOnePc: secondaries === undefined,
        secondaries: secondaries ?? [],
      };
    }
  }
  if (write.shared !== undefined) putShared(context, write.shared, { key, lock, triesOnePc });
  else if (triesOnePc) txn.putOnePcLock({ key, lock, hadPessimisticLock: status.kind === "pessimistic" });
  else txn.putLock(key, lock, write.isNew);
  if (tooLarge !== undefined) throw tooLarge;
  return minCommitTs;
}

function putShared(
  { txn, generation }: PrewriteContext,
  shared: SharedLocks,
  { key, lock, triesOnePc }: { readonly key: Uint8Array; readonly lock: Lock; readonly triesOnePc: boolean },
): void {
  if (generation > 0n) {
    throw otherAbort(`shared lock prewrite does not support non-zero generation, generation: ${generation}`);
  }
  if (triesOnePc) throw otherAbort("shared lock prewrite is incompatible with one-phase commit");
  if (lock.usesAsyncCommit) {
    throw otherAbort("shared lock prewrite cannot use async-commit, falling back to 2PC");
  }
  txn.putLock(key, withSharedLock(shared, lock), false);
}

/** Whether the versions of the key need not be looked at. */
function skipsConstraintCheck({ mode, isRetry }: PrewriteProperties, { action }: PrewriteMutation): boolean {
  if (mode.kind === "optimistic") return mode.skipsConstraintCheck;
  if (action === "pessimistic-check") return true;
  return action === "skip" && !isRetry;
}

function conflict(
  { startTs, primary }: PrewriteProperties,
  key: Uint8Array,
  { commitTs, write }: Version,
  reason: WriteConflict_Reason,
): MvccError {
  return new MvccError({
    kind: "write-conflict",
    startTs,
    conflictStartTs: write.startTs,
    conflictCommitTs: commitTs,
    key: rawKey(key),
    primary,
    reason,
  });
}

function lockLost({ startTs }: PrewriteProperties, key: Uint8Array, reason: string): MvccError {
  return new MvccError({ kind: "pessimistic-lock-not-found", startTs, key: rawKey(key), reason });
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

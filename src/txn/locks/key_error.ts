// SPDX-License-Identifier: Apache-2.0
// What stores answer about a key when they did not do what was asked: one table, error → kind.

import { Assertion, type KeyError, type LockInfo, WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import { shortKey } from "../../bytes/hex.ts";
import { type ErrorContext, type ErrorKind, TikvError } from "../../errors.ts";
import {
  AssertionFailedError,
  type AssertionFailedErrorOptions,
  DeadlockError,
  KeyExistsError,
  TxnAbortedError,
  WriteConflictError,
  type WriteConflictReason,
} from "../../txn_errors.ts";
import type { Timestamp } from "../../types.ts";
import { singleLocksOf } from "./lock.ts";

/** What is known besides the error. */
export interface KeyErrorFacts {
  /** The RPC that was answered, such as `"KvPrewrite"`. */
  readonly method: string;
  /** Shows keys and texts of stores in messages; `revealKeys` of the settings. */
  readonly revealKeys: boolean;
}

/** The locks that an error tells of; none when it tells of something else. */
export function locksInError({ locked }: KeyError): readonly LockInfo[] {
  return locked === undefined ? [] : singleLocksOf(locked);
}

/**
 * The error that a caller gets for one of a key. Locks are waited for or resolved before: one that
 * gets here was not expected.
 */
export function keyErrorOf(error: KeyError, facts: KeyErrorFacts): TikvError {
  for (const row of ROWS) {
    const made = row(error, facts);
    if (made !== undefined) return made;
  }
  return new TikvError("protocol", `Cannot use the reply to ${facts.method}: its error says nothing`, {
    context: contextOf(facts),
  });
}

type Row = (error: KeyError, facts: KeyErrorFacts) => TikvError | undefined;

/**
 * In this order, because texts come along with fields that say more: a conflict has its text in
 * `retryable` as well (`extract_key_error` in `src/storage/errors.rs` of TiKV).
 */
const ROWS: readonly Row[] = [
  conflictOf,
  existingOf,
  deadlockOf,
  assertionOf,
  (error, facts) => {
    const { commitTsExpired: one } = error;
    if (one === undefined) return undefined;
    const seen = `${at(one.attemptedCommitTs)} is before ${at(one.minCommitTs)}, when it was read last`;
    return aborted(facts, one.startTs, `its commit timestamp ${seen}`);
  },
  ({ commitTsTooLarge: one }, facts) =>
    one && aborted(facts, undefined, `its commit timestamp ${at(one.commitTs)} would be too large`),
  ({ txnNotFound: one }, facts) =>
    one && aborted(facts, one.startTs, `its primary key ${shown(one.primaryKey, facts)} has nothing of it`),
  ({ txnLockNotFound: one }, facts) =>
    one && aborted(facts, undefined, `its lock of key ${shown(one.key, facts)} is gone`),
  ({ primaryMismatch: one }, facts) =>
    one && broken(facts, "the key that was asked is not the primary of the transaction"),
  ({ locked: one }, facts) =>
    one && broken(facts, `key ${shown(one.key, facts)} is locked by transaction ${one.lockVersion}`),
  ({ retryable }, facts) =>
    retryable === "" ? undefined : aborted(facts, undefined, textOf(retryable, facts)),
  ({ abort }, facts) => abort === "" ? undefined : abortOf(abort, facts),
];

function conflictOf({ conflict: one }: KeyError, facts: KeyErrorFacts): TikvError | undefined {
  if (one === undefined) return undefined;
  const reason = REASONS[one.reason] ?? "unknown";
  const other = one.conflictCommitTs === 0n
    ? `transaction ${at(one.conflictTs)}`
    : `a transaction that was committed at ${at(one.conflictCommitTs)}`;
  const message = `Cannot do ${facts.method}: ${other} was at key ${shown(one.key, facts)} (${reason})`;
  return new WriteConflictError(message, {
    key: one.key,
    startTs: one.startTs as Timestamp,
    conflictTs: one.conflictTs as Timestamp,
    conflictCommitTs: one.conflictCommitTs as Timestamp,
    reason,
    context: contextOf(facts),
  });
}

function existingOf({ alreadyExist: one }: KeyError, facts: KeyErrorFacts): TikvError | undefined {
  if (one === undefined) return undefined;
  return new KeyExistsError(`Cannot insert key ${shown(one.key, facts)}: it exists already`, {
    key: one.key,
    context: contextOf(facts),
  });
}

function deadlockOf({ deadlock: one }: KeyError, facts: KeyErrorFacts): TikvError | undefined {
  if (one === undefined) return undefined;
  const seen = `transaction ${at(one.lockTs)} has it and waits for this one`;
  return new DeadlockError(`Cannot lock key ${shown(one.lockKey, facts)}: ${seen}`, {
    key: one.lockKey,
    lockTs: one.lockTs as Timestamp,
    deadlockKey: one.deadlockKey,
    deadlockKeyHash: one.deadlockKeyHash,
    waitChain: one.waitChain.map(({ txn, waitForTxn, key, resourceGroupTag }) => ({
      startTs: txn as Timestamp,
      waitsForTs: waitForTxn as Timestamp,
      key,
      resourceGroupTag,
    })),
    context: contextOf(facts),
  });
}

function assertionOf({ assertionFailed: one }: KeyError, facts: KeyErrorFacts): TikvError | undefined {
  if (one === undefined) return undefined;
  const assertion = ASSERTIONS[one.assertion] ?? "none";
  const message = `Cannot do ${facts.method}: key ${shown(one.key, facts)} is not as asserted (${assertion})`;
  return new AssertionFailedError(message, {
    key: one.key,
    startTs: one.startTs as Timestamp,
    assertion,
    existingStartTs: one.existingStartTs as Timestamp,
    existingCommitTs: one.existingCommitTs as Timestamp,
    context: contextOf(facts),
  });
}

/** What TiKV has no field for comes as the debug form of its error: these can be told apart. */
function abortOf(text: string, facts: KeyErrorFacts): TikvError {
  const seen = textOf(text, facts);
  const known = KNOWN_ABORTS.find(({ name }) => text.includes(name));
  if (known === undefined) {
    return new TikvError("server", `Cannot do ${facts.method}: the store answered "${seen}"`, {
      context: contextOf(facts),
    });
  }
  if (known.kind === "txn-aborted") return aborted(facts, undefined, known.hint);
  return new TikvError(
    known.kind,
    `Cannot do ${facts.method}: ${known.hint} (the store answered "${seen}")`,
    {
      context: contextOf(facts),
    },
  );
}

function aborted(facts: KeyErrorFacts, startTs: bigint | undefined, seen: string): TikvError {
  const whose = startTs === undefined ? "the transaction" : `transaction ${at(startTs)}`;
  return new TxnAbortedError(`Cannot do ${facts.method}: ${whose} cannot be committed, ${seen}`, {
    startTs: startTs as Timestamp | undefined,
    context: contextOf(facts),
  });
}

function broken(facts: KeyErrorFacts, seen: string): TikvError {
  return new TikvError("protocol", `Cannot use the reply to ${facts.method}: ${seen}`, {
    context: contextOf(facts),
  });
}

/** Texts of stores have keys in them, in forms that differ between versions: their names are shown. */
function textOf(text: string, { revealKeys }: KeyErrorFacts): string {
  if (revealKeys) return text;
  const end = text.search(/[{["]/);
  return end < 0 ? text : `${text.slice(0, end).trimEnd()} ...`;
}

function shown(key: Uint8Array, { revealKeys }: KeyErrorFacts): string {
  return shortKey(key, revealKeys);
}

function at(ts: bigint): string {
  return String(ts);
}

function contextOf({ method }: KeyErrorFacts): ErrorContext {
  return { method };
}

interface KnownAbort {
  readonly name: string;
  readonly kind: ErrorKind;
  readonly hint: string;
}

const KNOWN_ABORTS: readonly KnownAbort[] = [
  {
    name: "PessimisticLockNotFound",
    kind: "txn-aborted",
    hint: "a lock that it had taken is gone, as when the leader of its region was lost",
  },
  {
    name: "KeyTooLarge",
    kind: "too-large",
    hint: 'set "maxKeyBytes" to what "storage.max-key-size" says, to find out before sending',
  },
  {
    name: "ApiVersionNotMatched",
    kind: "unsupported",
    hint: 'the stores use another API version: set "apiVersion" to what "storage.api-version" says',
  },
  {
    name: "InvalidKeyMode",
    kind: "unsupported",
    hint:
      'the key is not one of a keyspace for transactions: set "apiVersion" to what "storage.api-version" says',
  },
];

const REASONS: Readonly<Record<number, WriteConflictReason>> = {
  [WriteConflict_Reason.Unknown]: "unknown",
  [WriteConflict_Reason.Optimistic]: "optimistic",
  [WriteConflict_Reason.PessimisticRetry]: "pessimistic-retry",
  [WriteConflict_Reason.SelfRolledBack]: "self-rolled-back",
  [WriteConflict_Reason.RcCheckTs]: "read-committed-check-ts",
  [WriteConflict_Reason.LazyUniquenessCheck]: "lazy-uniqueness-check",
  [WriteConflict_Reason.NotLockedKeyConflict]: "not-locked-key-conflict",
};

const ASSERTIONS: Readonly<Record<number, AssertionFailedErrorOptions["assertion"]>> = {
  [Assertion.None]: "none",
  [Assertion.Exist]: "exists",
  [Assertion.NotExist]: "not-exists",
};

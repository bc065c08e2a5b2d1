// SPDX-License-Identifier: Apache-2.0
// What to do about a lock, as data: from what its primary says to a step, and from how the
// transaction ended to what a reader may do with it.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import { isPessimisticLock, isPrimaryLock } from "./lock.ts";
import type { PrimaryAnswer, TxnStatus } from "./txn_status.ts";

/** What is found about a lock and its primary. */
export type LockCase =
  | "missing, expired"
  | "missing, pessimistic"
  | "missing, prewritten"
  | "mismatch, pessimistic"
  | "mismatch, prewritten"
  | "alive"
  | "alive, async commit, expired"
  | "over, pessimistic"
  | "released, prewritten"
  | "committed"
  | "rolled-back";

/**
 * What is done:
 *
 * - `wait`: until the primary's time is up, or less if the owner is done earlier.
 * - `wait-own`: the same by the lock's own time; the owner may be about to lock its primary.
 * - `ask-again`: after a short wait; the prewrite of the primary may still be on its way.
 * - `ask-to-roll-back`: the question leaves a record, so that the primary cannot be written any more.
 * - `recover`: the other keys of an async commit decide.
 * - `resolve`: the lock is made what its transaction is, a write or nothing.
 * - `release`: the pessimistic lock is taken away; its transaction is left alone.
 * - `fail`: TiKV does not answer so.
 */
export type LockStep =
  | "wait"
  | "wait-own"
  | "ask-again"
  | "ask-to-roll-back"
  | "recover"
  | "resolve"
  | "release"
  | "fail";

/** The table. */
export const LOCK_STEPS = {
  // Before its time is up it must not be rolled back: the primary may come last.
  "missing, expired": "ask-to-roll-back",
  "missing, pessimistic": "wait-own",
  "missing, prewritten": "ask-again",
  // A pessimistic transaction may have chosen another primary after this lock.
  "mismatch, pessimistic": "release",
  "mismatch, prewritten": "fail",
  "alive": "wait",
  "alive, async commit, expired": "recover",
  // Whatever became of the transaction, this lock was none of its writes.
  "over, pessimistic": "release",
  // A prewritten lock with such a primary would be rolled back without anybody knowing why.
  "released, prewritten": "fail",
  "committed": "resolve",
  "rolled-back": "resolve",
} as const satisfies Readonly<Record<LockCase, LockStep>>;

/** What the case depends on besides the lock and the answer. */
export interface CaseFacts {
  /** By the timestamps of the cluster, the lock's own time is up. */
  readonly isLockExpired: boolean;
  /** By the same, the time that the primary tells is up. */
  readonly isPrimaryExpired: boolean;
  /** The primary was told to take an async commit for a plain one. */
  readonly isSyncForced: boolean;
}

/** Names what was found. */
export function caseOf(lock: LockInfo, answer: PrimaryAnswer, facts: CaseFacts): LockCase {
  const isPessimistic = isPessimisticLock(lock);
  switch (answer.state) {
    case "missing":
      if (facts.isLockExpired) return "missing, expired";
      return isPessimistic ? "missing, pessimistic" : "missing, prewritten";
    case "mismatch":
      return isPessimistic ? "mismatch, pessimistic" : "mismatch, prewritten";
    case "alive": {
      const isRecoverable = answer.asyncPrimary !== undefined && !facts.isSyncForced;
      return isRecoverable && facts.isPrimaryExpired ? "alive, async commit, expired" : "alive";
    }
    case "released":
      return isPessimistic ? "over, pessimistic" : "released, prewritten";
    case "committed":
    case "rolled-back":
      return isPessimistic ? "over, pessimistic" : answer.state;
  }
}

/**
 * What a reader at a timestamp may do about a transaction: look past its locks, look through them
 * at what they are about to write, try again, or wait.
 */
export type ReadVerdict = "ignore" | "read-through" | "retry" | "wait";

/** Judges for a read at `readTs`. */
export function verdictOf(status: TxnStatus, readTs: bigint): ReadVerdict {
  switch (status.state) {
    case "alive":
      return status.isMinCommitTsPushed ? "ignore" : "wait";
    case "rolled-back":
      return "ignore";
    case "committed":
      return status.commitTs <= readTs ? "read-through" : "ignore";
    case "released":
      return "retry";
  }
}

/** How locks are resolved: one by one, all of their transaction in a region, or not at all. */
export type ResolveMode = "keys" | "region" | "nothing";

/**
 * Small transactions are resolved by their keys. Of large ones all locks of the region are, which
 * makes the store look at every key of it.
 */
export function resolveModeOf(lock: LockInfo, isLite: boolean): ResolveMode {
  if (!isLite && lock.txnSize >= LITE_THRESHOLD) return "region";
  // The question has resolved the lock of the primary.
  return isPrimaryLock(lock) ? "nothing" : "keys";
}

/**
 * Milliseconds until a lock's time is up, by the timestamps of the cluster; 0 or less when it is.
 * As strict as TiKV: at the last millisecond it still lives.
 */
export function remainingMs(startTs: bigint, ttlMs: number, now: bigint): number {
  return Number((startTs >> 18n) - (now >> 18n)) + ttlMs + 1;
}

/** client-go's `ResolveLockLiteThreshold`. */
const LITE_THRESHOLD = 512n;

// SPDX-License-Identifier: Apache-2.0
// What the primary key of a transaction says about it.

import { Action, type KeyError, type LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { TikvError, type WriteFate } from "../../errors.ts";
import type { Timestamp } from "../../types.ts";

/** It may still be committed. Ended by its commit, its rollback, or by its time to live. */
export interface AliveStatus {
  readonly state: "alive";
  /** Of the primary, counted from the start of the transaction. */
  readonly ttlMs: number;
  /** It will be committed after the timestamp that the question was asked for. */
  readonly isMinCommitTsPushed: boolean;
  /** The primary's lock if the transaction is an async commit: its other keys then decide with it. */
  readonly asyncPrimary: LockInfo | undefined;
}

/** Its writes are visible from a timestamp on. Final. */
export interface CommittedStatus {
  readonly state: "committed";
  readonly commitTs: bigint;
}

/** None of its writes will ever be visible. Final. */
export interface RolledBackStatus {
  readonly state: "rolled-back";
}

/**
 * The key has no pessimistic lock of it any more. That says nothing of the transaction, which may
 * have another primary by now and be committed there.
 */
export interface ReleasedStatus {
  readonly state: "released";
}

/** What is true of a transaction for ever. */
export type FinalStatus = CommittedStatus | RolledBackStatus;

/** What a primary says of its transaction. */
export type TxnStatus = AliveStatus | FinalStatus | ReleasedStatus;

/**
 * The answer of a primary: what it says, `missing` when it has never heard of the transaction, or
 * `mismatch` when the transaction calls another key its primary.
 */
export type PrimaryAnswer = TxnStatus | { readonly state: "missing" } | { readonly state: "mismatch" };

/** The fields of an answer to `CheckTxnStatus` that tell of the transaction. */
export interface StatusReply {
  readonly error?: KeyError | undefined;
  readonly lockTtl: bigint;
  readonly commitVersion: bigint;
  readonly action: Action;
  readonly lockInfo?: LockInfo | undefined;
}

/** Reads an answer of `CheckTxnStatus`; undefined when it is an error that says nothing of the transaction. */
export function answerOf(reply: StatusReply): PrimaryAnswer | undefined {
  const { error, lockTtl, commitVersion, action, lockInfo } = reply;
  if (error !== undefined) {
    if (error.txnNotFound !== undefined) return { state: "missing" };
    return error.primaryMismatch === undefined ? undefined : { state: "mismatch" };
  }
  if (lockTtl !== 0n || lockInfo !== undefined) {
    return {
      state: "alive",
      ttlMs: Number(lockTtl),
      isMinCommitTsPushed: action === Action.MinCommitTSPushed,
      asyncPrimary: lockInfo?.useAsyncCommit === true ? lockInfo : undefined,
    };
  }
  if (commitVersion !== 0n) return { state: "committed", commitTs: commitVersion };
  return { state: ENDED_BY[action] ?? "released" };
}

/** What an action means when the primary is not locked and not committed. */
const ENDED_BY: Readonly<Record<number, "rolled-back" | "released">> = {
  [Action.NoAction]: "rolled-back",
  [Action.TTLExpireRollback]: "rolled-back",
  [Action.LockNotExistRollback]: "rolled-back",
  // Only the lock is gone: the transaction has no record of it.
  [Action.TTLExpirePessimisticRollback]: "released",
  [Action.LockNotExistDoNothing]: "released",
};

/** What is remembered of a transaction that is over. */
export interface KnownStatus {
  readonly status: FinalStatus;
  /** Keys of an async commit that may still be locked, the primary among them. */
  readonly lockedKeys: readonly Uint8Array[];
}

/**
 * Transactions that are over, so that their primary is asked once. What is not final is never kept;
 * the least recently used go first.
 */
export class TxnStatusCache {
  readonly #limit: number;
  readonly #known = new Map<bigint, KnownStatus>();

  constructor(limit: number = MAX_KNOWN) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#known.size;
  }

  get(startTs: bigint): KnownStatus | undefined {
    const known = this.#known.get(startTs);
    if (known === undefined) return undefined;
    this.#known.delete(startTs);
    this.#known.set(startTs, known);
    return known;
  }

  /**
   * Remembers how a transaction ended. Two answers that contradict each other are a `protocol`
   * error: data is lost or invented somewhere, and going on would spread it.
   */
  add(startTs: bigint, status: FinalStatus, lockedKeys: readonly Uint8Array[] = []): void {
    const before = this.#known.get(startTs);
    if (before !== undefined) {
      if (!isSame(before.status, status)) {
        const seen = `it was ${textOf(before.status)} before and is ${textOf(status)} now`;
        throw new TikvError("protocol", `Cannot tell how transaction ${startTs} ended: ${seen}`);
      }
      return;
    }
    this.#known.set(startTs, { status, lockedKeys });
    if (this.#known.size <= this.#limit) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      break;
    }
  }

  /** Notes that none of its keys is locked any more. */
  settle(startTs: bigint): void {
    const known = this.#known.get(startTs);
    if (known !== undefined) this.#known.set(startTs, { status: known.status, lockedKeys: [] });
  }
}

/** Tells whether the status is one that stays. */
export function isFinal(status: PrimaryAnswer): status is FinalStatus {
  return status.state === "committed" || status.state === "rolled-back";
}

/** The same as callers are told it. */
export function fateOf(end: FinalStatus): WriteFate {
  return end.state === "committed"
    ? { state: "committed", commitTs: end.commitTs as Timestamp }
    : { state: "rolled-back" };
}

/** All keys of an async commit, each once. */
export function keysOfAsyncCommit(primary: Uint8Array, secondaries: readonly Uint8Array[]): Uint8Array[] {
  return [primary, ...secondaries.filter((key) => !equalBytes(key, primary))];
}

function isSame(a: FinalStatus, b: FinalStatus): boolean {
  if (a.state === "rolled-back" || b.state === "rolled-back") return a.state === b.state;
  return a.commitTs === b.commitTs;
}

function textOf(status: FinalStatus): string {
  return status.state === "committed" ? `committed at ${status.commitTs}` : "rolled back";
}

/** client-go's `ResolvedCacheSize`. */
const MAX_KNOWN = 2048;

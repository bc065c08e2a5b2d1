// SPDX-License-Identifier: Apache-2.0

import type { AssertionLevel, LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import type { ReadonlyKeyMap } from "../../bytes/key_map.ts";
import { type TikvError, UndeterminedError, type WriteFate } from "../../errors.ts";
import type { ContextFields } from "../../rpc/context.ts";
import type { CallOptions, Timestamp } from "../../types.ts";
import type { BackgroundTask } from "./committer_background.ts";
import { COMMIT_LIMITS, type CommitLimits } from "./commit_limits.ts";
import type { LockRegistry } from "../locks/lock_registry.ts";
import type { LockCaller } from "../locks/lock_resolver.ts";
import type { MinCommitTs } from "./min_commit_ts.ts";
import type { TxnSession } from "../txn_session.ts";

/** What a commit does to one key. */
export interface CommitMutation {
  readonly op: "put" | "insert" | "delete" | "lock" | "shared-lock" | "check-not-exists";
  readonly key: Uint8Array;
  /** Of a put and an insert, until it is prewritten. */
  value?: Uint8Array | undefined;
  readonly assertion: "none" | "exists" | "not-exists";
  /** In a pessimistic transaction: that its lock is still there, what a lock would have, or nothing. */
  readonly check: "none" | "lock" | "constraint";
}

/** How a transaction was committed: `none` when it had nothing to write. */
export type CommitPath = "none" | "1pc" | "async" | "2pc";

/** Gets locks of other transactions out of the way. */
export interface LockBreaker {
  /** Who waits for which locks. */
  readonly waits: Pick<LockRegistry, "watch">;
  /**
   * Resolves what can be resolved.
   *
   * @returns how long the first of the others lives on, in milliseconds; 0 to try again at once
   */
  breakLocks(
    locks: readonly LockInfo[],
    caller: LockCaller,
    operation: Operation,
  ): Promise<number>;
}

/** A commit timestamp has to be above `untilTs`; it is waited for at most `timeoutMs`. */
export interface CommitWait {
  readonly untilTs: Timestamp;
  readonly timeoutMs: number;
}

/** How long a commit waited until the cluster was far enough. */
export interface CommitLag {
  /** The first timestamp that was too early. */
  readonly firstTs: Timestamp;
  /** Timestamps that were asked for after that one. */
  readonly retries: number;
  /** Time that was waited, in milliseconds. */
  readonly waitedMs: number;
}

/** What is the same for all requests of a transaction. */
export interface TxnIdentity {
  readonly session: TxnSession;
  readonly locks: LockBreaker;
  readonly startTs: Timestamp;
  /** When it began, on the clock. */
  readonly beganAt: number;
  /** Of all requests but those that write. */
  readonly context: ContextFields | undefined;
  /** Of requests that write its data: with what changes how they are written. */
  readonly writeContext: ContextFields | undefined;
  /** Shared with whatever keeps it alive. */
  readonly minCommitTs: MinCommitTs;
  /** Hears of work that goes on after the call that started it. */
  readonly onBackground?: ((task: BackgroundTask) => void) | undefined;
  /** Finds out, later, what became of it. */
  readonly askFate: (primary: Uint8Array, options?: CallOptions) => Promise<WriteFate>;
}

/** What is committed, and how. */
export interface CommitterOptions {
  readonly txn: TxnIdentity;
  /** In the order of their keys; not empty. */
  readonly mutations: readonly CommitMutation[];
  readonly primary: Uint8Array;
  readonly isPessimistic: boolean;
  /** The largest for-update timestamp of its locks; 0 in an optimistic transaction. */
  readonly forUpdateTs: bigint;
  /** What for-update timestamp the locks must still have that fair locking took. */
  readonly constraints?: ReadonlyKeyMap<bigint> | undefined;
  readonly canUseAsyncCommit: boolean;
  readonly canUseOnePc: boolean;
  /** What is wrong by what its own locks have told. It may be that they were lost: the prewrite knows better. */
  readonly stashedError?: TikvError | undefined;
  readonly assertionLevel: AssertionLevel;
  readonly isCausal: boolean;
  readonly commitWait?: CommitWait | undefined;
  /** Locks in the way are a write conflict at once, and are not resolved. */
  readonly failsOnLock: boolean;
  /** Refuses a commit timestamp; with it neither async commit nor 1PC are used. */
  readonly acceptsCommitTs?: ((commitTs: Timestamp) => boolean) | undefined;
  /** Throws when what the transaction relies on does not hold at a moment at which it is to be committed. */
  readonly checkSchema?: ((ts: Timestamp) => void | PromiseLike<void>) | undefined;
  /** Begins to keep the primary alive; called when it was prewritten and more is to come. */
  readonly keepAlive: () => void;
}

/** One commit on its way: what it still may do, and what it has found out. */
export class CommitRun {
  readonly options: CommitterOptions;
  readonly limits: CommitLimits;
  /** Of all keys and values. */
  readonly sizeBytes: number;
  /**
   * For stores, what makes a prewrite a pessimistic one. A check of a constraint is one of those also in
   * a transaction that has no lock yet.
   */
  readonly forUpdateTs: bigint;
  triesOnePc: boolean;
  usesAsyncCommit: boolean;
  /** Keys for which no prewrite has gone out so far. */
  unsentKeys: number;
  /** The most that a store may choose by itself; 0 for no limit. */
  maxCommitTs = 0n;
  /** When a store committed it in one phase; 0 when none did. */
  onePcCommitTs = 0n;
  /**
   * A request that may commit in one phase was lost before its region turned out to have split.
   * Without an answer to what followed it, nobody knows whether the transaction is committed.
   */
  hasOnePcDoubt = false;
  /** Says less than any other failure, which may be the reason for it. */
  assertionError: TikvError | undefined;
  /** How long its timestamp was waited for. */
  lag: CommitLag | undefined;
  /** The error that says that nobody knows how it ended, once there is one. */
  doubt: UndeterminedError | undefined;

  constructor(options: CommitterOptions) {
    const { txn, mutations, isPessimistic } = options;
    this.options = options;
    this.limits = { ...COMMIT_LIMITS, ...txn.session.limits };
    this.sizeBytes = mutations.reduce((sum, mutation) => sum + sizeOfMutation(mutation), 0);
    this.unsentKeys = mutations.length;
    this.triesOnePc = options.canUseOnePc;
    this.usesAsyncCommit = options.canUseAsyncCommit;
    const hasChecks = isPessimistic && mutations.some(({ check }) => check === "constraint");
    this.forUpdateTs = options.forUpdateTs === 0n && hasChecks ? txn.startTs : options.forUpdateTs;
    txn.minCommitTs.beginCommit();
    this.raiseMinCommitTs((this.forUpdateTs > txn.startTs ? this.forUpdateTs : txn.startTs) + 1n);
  }

  /** How it is being committed, as far as is known. */
  get path(): Exclude<CommitPath, "none"> {
    if (this.triesOnePc || this.onePcCommitTs !== 0n) return "1pc";
    return this.usesAsyncCommit ? "async" : "2pc";
  }

  /** Its commit is decided by the prewrite, so a lost prewrite may have committed it. */
  get isDecidedByPrewrite(): boolean {
    return this.triesOnePc || this.usesAsyncCommit || this.hasOnePcDoubt;
  }

  /** A prewrite has gone out. */
  get hasSent(): boolean {
    return this.unsentKeys < this.options.mutations.length;
  }

  /** Time since the transaction began, in milliseconds. */
  get elapsedMs(): number {
    return elapsedMsOf(this.options.txn);
  }

  /** The least that the transaction may be committed at. */
  get minCommitTs(): bigint {
    return this.options.txn.minCommitTs.value;
  }

  /** Frees the values: a commit names keys only, and may go on in the background for a while. */
  discardValues(): void {
    for (const mutation of this.options.mutations) mutation.value = undefined;
  }

  raiseMinCommitTs(ts: bigint): void {
    this.options.txn.minCommitTs.raise(ts, "commit");
  }

  /** Goes on with two phases. Locks that an async commit has written are committed like others. */
  fallBack(): void {
    this.triesOnePc = false;
    this.usesAsyncCommit = false;
  }

  /** What the caller gets when the answer that decides was lost. */
  undetermined(cause: unknown): UndeterminedError {
    const { txn, primary } = this.options;
    const seen = cause instanceof Error ? `: ${cause.message}` : "";
    return this.doubt ??= new UndeterminedError(`Cannot tell whether the transaction was committed${seen}`, {
      cause: cause instanceof UndeterminedError ? cause.cause ?? cause : cause,
      startTs: txn.startTs,
      primary,
      resolve: (options) => txn.askFate(primary, options),
    });
  }
}

/** Time since a transaction began, in milliseconds. */
export function elapsedMsOf({ session, beganAt }: Pick<TxnIdentity, "session" | "beganAt">): number {
  return Math.max(0, Math.ceil(session.settings.environment.clock.now() - beganAt));
}

/** Bytes of a mutation as it counts for the size of requests. */
export function sizeOfMutation({ key, value }: CommitMutation): number {
  return key.length + (value?.length ?? 0);
}

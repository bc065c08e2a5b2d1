// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import { TxnAbortedError } from "../txn_errors.ts";
import { physicalMsOf, type Timestamp, timestampOf } from "../types.ts";
import { commitInBackground, commitPrimary } from "./commit.ts";
import { cleanUp, releaseInBackground } from "./committer_cleanup.ts";
import { type CommitPath, CommitRun, type CommitterOptions } from "./committer_run.ts";
import { commitTimestamp } from "./committer_timestamp.ts";
import { prewriteAll } from "./prewrite.ts";

/** How a commit went. */
export interface CommitOutcome {
  readonly commitTs: Timestamp;
  readonly path: CommitPath;
  /** It was begun as an async commit, and could not be ended as one. */
  readonly hasAsyncFallback: boolean;
  /** It was begun as a commit in one phase, and could not be ended as one. */
  readonly hasOnePcFallback: boolean;
}

/**
 * Commits a transaction: in one phase, as an async commit, or in two phases, whatever the options
 * and the cluster allow.
 *
 * It resolves when the transaction is committed for everybody; secondaries may still have to be
 * told. It rejects with an `UndeterminedError` when nobody knows, and with any other error when it
 * is not committed and never will be; locks are then being taken away.
 */
export async function commitTransaction(
  options: CommitterOptions,
  operation: Operation,
): Promise<CommitOutcome> {
  const run = new CommitRun(options);
  let hasBegun = false;
  try {
    if (run.isDecidedByPrewrite) await prepareDecision(run, operation);
    operation.deadline.throwIfOver("commit");
    hasBegun = true;
    await prewriteAll(run, operation);
    return outcomeOf(run, ...await decide(run, operation));
  } catch (error) {
    if (TikvError.is(error) && error.kind === "undetermined") throw error;
    if (hasBegun) cleanUp(run);
    else if (options.isPessimistic) releaseInBackground(options.txn, locksOf(options));
    throw error;
  }
}

/** What has to be certain before a prewrite that may be the commit: it cannot be taken back. */
async function prepareDecision(run: CommitRun, operation: Operation): Promise<void> {
  const { txn, isCausal, commitWait } = run.options;
  let ageMs = run.elapsedMs;
  if (!isCausal || commitWait !== undefined) {
    const now = await commitTimestamp(run, operation);
    // Whoever began before this call must not see the transaction as one of their past.
    run.raiseMinCommitTs(now + 1n);
    ageMs = physicalMsOf(now) - physicalMsOf(txn.startTs);
  }
  assertAge(ageMs);
  run.maxCommitTs = txn.startTs + timestampOf(BigInt(run.elapsedMs + SAFE_WINDOW_MS), 0n);
}

/** After the prewrite: the timestamp of the commit, and how it was reached. */
async function decide(run: CommitRun, operation: Operation): Promise<[Timestamp, CommitPath]> {
  const { txn, mutations, acceptsCommitTs } = run.options;
  // What was only checked has no lock.
  const keys = mutations.filter(({ op }) => op !== "check-not-exists").map(({ key }) => key);
  if (run.triesOnePc) return [run.onePcCommitTs as Timestamp, "1pc"];
  if (run.usesAsyncCommit) {
    const commitTs = run.minCommitTs as Timestamp;
    commitInBackground(run, { keys, commitTs });
    return [commitTs, "async"];
  }
  const commitTs = await commitTimestamp(run, operation);
  assertAge(physicalMsOf(commitTs) - physicalMsOf(txn.startTs));
  if (acceptsCommitTs?.(commitTs) === false) {
    throw new TxnAbortedError("Cannot commit: the caller refused the timestamp of the commit", {
      startTs: txn.startTs,
    });
  }
  const rest = await commitPrimary(run, { keys, commitTs }, operation);
  commitInBackground(run, rest);
  return [rest.commitTs, "2pc"];
}

function outcomeOf(run: CommitRun, commitTs: Timestamp, path: CommitPath): CommitOutcome {
  const { canUseAsyncCommit, canUseOnePc } = run.options;
  return {
    commitTs,
    path,
    hasAsyncFallback: canUseAsyncCommit && path === "2pc",
    hasOnePcFallback: canUseOnePc && path !== "1pc",
  };
}

function locksOf({ mutations, forUpdateTs }: CommitterOptions): {
  readonly keys: readonly Uint8Array[];
  readonly forUpdateTs: bigint;
} {
  return { keys: mutations.map(({ key }) => key), forUpdateTs };
}

function assertAge(ageMs: number): void {
  if (ageMs <= MAX_AGE_MS) return;
  throw new TxnAbortedError(
    `Cannot commit: the transaction is ${ageMs} ms old, at most ${MAX_AGE_MS} are allowed`,
  );
}

/** client-go's `MaxTxnTimeUse`. */
const MAX_AGE_MS = 24 * 3_600_000;
/** How far ahead a store may choose the timestamp; client-go's `SafeWindow`. */
const SAFE_WINDOW_MS = 2_000;

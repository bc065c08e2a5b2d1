// SPDX-License-Identifier: Apache-2.0
// The timestamp of a commit: where it comes from, and what may be against it.

import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import { TxnAbortedError } from "../../txn_errors.ts";
import { physicalMsOf, type Timestamp, timestampOf } from "../../types.ts";
import type { CommitRun } from "./committer_run.ts";

/**
 * What has to be certain before a prewrite, because a prewrite that decides cannot be taken back: that
 * the transaction is not too old, and what it may be committed at.
 */
export async function prepareTimestamps(run: CommitRun, operation: Operation): Promise<void> {
  const { txn, isCausal, commitWait, checkSchema } = run.options;
  if (run.isDecidedByPrewrite && (!isCausal || commitWait !== undefined)) {
    // Whoever began before this call must not see the transaction as one of their past.
    run.raiseMinCommitTs(await timestampAfterWait(run, operation) + 1n);
  }
  const { latest = txn.startTs } = txn.session.oracle;
  assertAge(run, latest);
  if (!run.isDecidedByPrewrite) return;
  const now = txn.startTs + timestampOf(BigInt(run.elapsedMs), 0n);
  await checkSchema?.(now as Timestamp);
  run.maxCommitTs = now + timestampOf(BigInt(run.limits.safeWindowMs), 0n);
}

/** A timestamp to commit at, after everything is prewritten. Throws if it must not be committed at it. */
export async function timestampForCommit(run: CommitRun, operation: Operation): Promise<Timestamp> {
  const { acceptsCommitTs, checkSchema, txn } = run.options;
  const commitTs = await timestampAfterWait(run, operation);
  await checkSchema?.(commitTs);
  assertAge(run, commitTs);
  if (acceptsCommitTs?.(commitTs) === false) {
    throw new TxnAbortedError("Cannot commit: the caller refused the timestamp of the commit", {
      startTs: txn.startTs,
    });
  }
  return commitTs;
}

/**
 * A new timestamp. When it has to be above one that another cluster gave out, it is waited for, unless
 * that is further ahead than the caller wants to wait.
 */
async function timestampAfterWait(run: CommitRun, operation: Operation): Promise<Timestamp> {
  const { txn, commitWait } = run.options;
  const { oracle } = txn.session;
  const first = await oracle.timestamp(operation);
  if (commitWait === undefined || first > commitWait.untilTs) return first;
  const { untilTs, timeoutMs } = commitWait;
  let lagMs = physicalMsOf(untilTs) - physicalMsOf(first);
  if (timeoutMs <= 0 || lagMs > timeoutMs) throw lagError(lagMs);
  const part = operation.fork({ deadline: operation.deadline.within(timeoutMs) });
  try {
    for (let retries = 1;; retries++) {
      // The last wait ends right before the time is over.
      const maxMs = Math.max(1, Math.min(lagMs + 1, part.deadline.remainingMs() - 1));
      await part.backoffs.wait("commitTSLag", lagError(lagMs), { maxMs });
      const next = await oracle.timestamp(part);
      run.lag = { firstTs: first, retries, waitedMs: part.backoffs.totalWaitMs };
      if (next > untilTs) return next;
      lagMs = physicalMsOf(untilTs) - physicalMsOf(next);
    }
  } finally {
    operation.join(part);
  }
}

function lagError(lagMs: number): TikvError<"timeout"> {
  return new TikvError(
    "timeout",
    `Cannot commit: timestamps of the cluster are ${lagMs} ms behind the one that was to be waited for`,
  );
}

function assertAge({ options, elapsedMs }: CommitRun, now: Timestamp): void {
  const { startTs } = options.txn;
  const ageMs = Math.max(physicalMsOf(now) - physicalMsOf(startTs), elapsedMs);
  if (ageMs < MAX_AGE_MS) return;
  throw new TxnAbortedError(
    `Cannot commit: the transaction is ${ageMs} ms old, it has to be younger than ${MAX_AGE_MS} ms`,
    { startTs },
  );
}

/** client-go's `MaxTxnTimeUse`. */
const MAX_AGE_MS = 24 * 3_600_000;

// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import { sendToKey } from "../../plan/dispatch.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import type { Timestamp } from "../../types.ts";
import { commitInBackground, commitPrimary } from "./commit.ts";
import { cleanUp } from "./committer_cleanup.ts";
import type { CommitPath, CommitRun } from "./committer_run.ts";
import { prepareTimestamps, timestampForCommit } from "./committer_timestamp.ts";
import { prewriteAll } from "./prewrite.ts";

/** How a commit went. */
export interface CommitOutcome {
  readonly commitTs: Timestamp;
  readonly path: Exclude<CommitPath, "none">;
}

/**
 * Commits a transaction: in one phase, as an async commit, or in two phases, whatever the options
 * and the cluster allow.
 *
 * It resolves when the transaction is committed for everybody; secondaries may still have to be
 * told. It rejects with an `UndeterminedError` when nobody knows, and with any other error when it
 * is not committed and never will be; locks are then being taken away.
 */
export async function commitTransaction(run: CommitRun, operation: Operation): Promise<CommitOutcome> {
  const { options } = run;
  tellIfLarge(run);
  try {
    await prepareTimestamps(run, operation);
    operation.deadline.throwIfOver("commit");
    await prewriteAll(run, operation);
    run.discardValues();
    if (options.stashedError !== undefined) throw options.stashedError;
    return await decide(run, operation);
  } catch (error) {
    if (error === run.doubt) throw error;
    cleanUp(run);
    throw await reasonOf(run, error, operation);
  }
}

/** After the prewrite: the timestamp of the commit, and how it was reached. */
async function decide(run: CommitRun, operation: Operation): Promise<CommitOutcome> {
  // What was only checked has no lock.
  const mutations = run.options.mutations.filter(({ op }) => op !== "check-not-exists");
  const keys = mutations.map(({ key }) => key);
  if (run.triesOnePc) return { commitTs: run.onePcCommitTs as Timestamp, path: "1pc" };
  if (run.usesAsyncCommit) {
    const commitTs = run.minCommitTs as Timestamp;
    commitInBackground(run, { keys, commitTs });
    return { commitTs, path: "async" };
  }
  if (run.hasOnePcDoubt) {
    run.onePcCommitTs = await onePcCommitTs(run, operation);
    if (run.onePcCommitTs !== 0n) return { commitTs: run.onePcCommitTs as Timestamp, path: "1pc" };
    run.hasOnePcDoubt = false;
  }
  const commitTs = await timestampForCommit(run, operation);
  // With nothing but checks there is nothing that could be committed.
  if (keys.length === 0) return { commitTs, path: "2pc" };
  const rest = await commitPrimary(run, { keys, commitTs }, operation);
  commitInBackground(run, rest);
  return { commitTs: rest.commitTs, path: "2pc" };
}

/**
 * When a request that was lost had committed in one phase; 0 when it had not. A store takes further
 * prewrites of such a transaction, and commits of it, as done already, and does not say when that was.
 */
async function onePcCommitTs(run: CommitRun, operation: Operation): Promise<bigint> {
  const { txn, primary } = run.options;
  const { session, startTs, context } = txn;
  const request = session.routing.sender.request(COMMANDS.KvCheckTxnStatus, {
    primaryKey: primary,
    lockTs: startTs,
    // Only a question: no lock is too old at this time, and no reader asks.
    callerStartTs: 0n,
    currentTs: 0n,
    rollbackIfNotExist: false,
    verifyIsPrimary: true,
  }, { context });
  const part = operation.fork({ keepsDoubt: true });
  try {
    return (await sendToKey(session.routing, primary, { request, operation: part })).commitVersion;
  } catch (error) {
    throw run.undetermined(error);
  } finally {
    operation.join(part);
  }
}

/** Something may be not as asserted because what the assertion relies on has changed. */
async function reasonOf(run: CommitRun, error: unknown, operation: Operation): Promise<unknown> {
  const { checkSchema, txn } = run.options;
  if (checkSchema === undefined || !TikvError.is(error) || error.kind !== "assertion-failed") return error;
  let now: Timestamp;
  try {
    now = await txn.session.oracle.timestamp(operation);
  } catch {
    // What is known says more than that a second look at it was not possible.
    return error;
  }
  try {
    await checkSchema(now);
    return error;
  } catch (reason) {
    return reason;
  }
}

/** The sizes from which on client-go writes a line about it. */
function tellIfLarge({ options, sizeBytes }: CommitRun): void {
  const { txn, mutations: { length: keys } } = options;
  if (keys <= LARGE_KEYS && sizeBytes <= LARGE_BYTES) return;
  txn.session.settings.observe({ type: "large-commit", startTs: txn.startTs, keys, sizeBytes });
}

const LARGE_KEYS = 10_000;
const LARGE_BYTES = 4 * 1024 * 1024;

// SPDX-License-Identifier: Apache-2.0
// The second phase: the primary decides, the secondaries follow in the background.

import type { KeyError } from "../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { TikvError } from "../errors.ts";
import { runParts } from "../plan/run.ts";
import { cutByBytes, type ItemsPart, shardItems } from "../plan/shard.ts";
import { STALE } from "../region/stale.ts";
import { COMMANDS } from "../rpc/commands.ts";
import { physicalMsOf, type Timestamp } from "../types.ts";
import type { CommitRun } from "./committer_run.ts";
import { writeErrorOf } from "./committer_errors.ts";
import { startInBackground } from "./committer_background.ts";
import { commitTimestamp } from "./committer_timestamp.ts";
import { commitBody } from "./requests.ts";

/** What is committed. */
export interface CommitWork {
  /** All keys with a lock, in order. */
  readonly keys: readonly Uint8Array[];
  readonly commitTs: Timestamp;
}

/**
 * Commits the primary, with the keys that share its request, and returns the timestamp of the
 * commit and the keys that are left. Rejects with an `UndeterminedError` when the answer was lost;
 * after any other error it is certain that the transaction is not committed.
 */
export async function commitPrimary(
  run: CommitRun,
  { keys, commitTs }: CommitWork,
  operation: Operation,
): Promise<CommitWork> {
  const part = operation.fork({ keepsDoubt: true });
  try {
    return await decide(run, { keys, commitTs }, part);
  } catch (error) {
    if (part.isMaybeExecuted) throw run.undetermined(error);
    throw error;
  } finally {
    operation.join(part);
  }
}

async function decide(run: CommitRun, work: CommitWork, operation: Operation): Promise<CommitWork> {
  const { session, context } = run.options.txn;
  const { sender } = session.routing;
  let { keys: candidates, commitTs } = work;
  let isRetry = false;
  for (;;) {
    operation.deadline.throwIfOver("commit the primary");
    const parts = await partsOf(run, candidates, operation);
    const part = parts.find(({ items }) => items.some((key) => isPrimary(run, key)));
    if (part === undefined) throw new TikvError("protocol", "Cannot commit: the primary has no region");
    candidates = part.items;
    const body = commitBody(run, { keys: candidates, commitTs, role: "primary" });
    const request = sender.request(COMMANDS.KvCommit, body, { context, isRetry });
    const reply = await sender.send(part.region, request, operation);
    isRetry = true;
    if (reply === STALE) continue;
    if (reply.error === undefined) {
      const done = new Set(candidates);
      return { keys: work.keys.filter((key) => !done.has(key)), commitTs };
    }
    commitTs = await laterTimestamp(run, reply.error, operation);
  }
}

/**
 * A reader has moved the least timestamp of the primary beyond ours: another one is needed. Any
 * other error is the end of the transaction.
 */
async function laterTimestamp(run: CommitRun, error: KeyError, operation: Operation): Promise<Timestamp> {
  const { txn } = run.options;
  const { commitTsExpired } = error;
  if (commitTsExpired === undefined || !isPrimary(run, commitTsExpired.key)) {
    throw writeErrorOf(error, { txn, method: "KvCommit" });
  }
  const { minCommitTs, attemptedCommitTs } = commitTsExpired;
  const aheadMs = physicalMsOf(minCommitTs as Timestamp) - physicalMsOf(attemptedCommitTs as Timestamp);
  // No reader is that far ahead: the lock or the answer is broken (client-go, `commit.go`).
  if (aheadMs > MAX_AHEAD_MS) {
    throw new TikvError(
      "protocol",
      `Cannot commit: the primary wants a timestamp that is ${aheadMs} ms ahead of the present one`,
    );
  }
  return await commitTimestamp(run, operation);
}

/**
 * Commits keys in the background. The transaction is committed, so nothing that fails here is an
 * error for anybody: whoever meets a lock that is left commits it.
 */
export function commitInBackground(run: CommitRun, { keys, commitTs }: CommitWork): void {
  if (keys.length === 0) return;
  const { txn } = run.options;
  const { sender, concurrency } = txn.session.routing;
  startInBackground(txn, { name: "txn.commitSecondaries", budgetMs: SECONDARIES_MS }, async (operation) => {
    const parts = await partsOf(run, keys, operation);
    await runParts(parts, async ({ region, items }, ofPart) => {
      const role = items.some((key) => isPrimary(run, key)) ? "primary" : "secondary";
      const body = commitBody(run, { keys: items, commitTs, role });
      const request = sender.request(COMMANDS.KvCommit, body, { context: txn.context });
      const reply = await sender.send(region, request, ofPart);
      if (reply === STALE) return await partsOf(run, items, ofPart);
      if (reply.error !== undefined) throw writeErrorOf(reply.error, { txn, method: "KvCommit" });
      return undefined;
    }, { operation, concurrency });
  });
}

function partsOf(
  run: CommitRun,
  keys: readonly Uint8Array[],
  operation: Operation,
): Promise<ItemsPart<Uint8Array>[]> {
  const { regions } = run.options.txn.session.routing;
  return shardItems(keys, { regions, operation, keyOf: (key) => key, cut: cutKeys });
}

function cutKeys(keys: readonly Uint8Array[]): readonly (readonly Uint8Array[])[] {
  return cutByBytes(keys, (key) => key.length, BATCH_BYTES);
}

function isPrimary(run: CommitRun, key: Uint8Array): boolean {
  return equalBytes(key, run.options.primary);
}

/** client-go's `TxnCommitBatchSize`. */
const BATCH_BYTES = 16 * 1024;
/** client-go's `CommitSecondaryMaxBackoff`. */
const SECONDARIES_MS = 41_000;
const MAX_AHEAD_MS = 3_600_000;

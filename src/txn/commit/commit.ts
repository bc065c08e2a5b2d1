// SPDX-License-Identifier: Apache-2.0
// The second phase: the primary decides, the secondaries follow in the background.

import type { KeyError } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { TikvError } from "../../errors.ts";
import { STALE } from "../../region/stale.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import { physicalMsOf, type Timestamp } from "../../types.ts";
import type { CommitRun } from "./committer_run.ts";
import { writeErrorOf } from "./committer_errors.ts";
import { startInBackground } from "./committer_background.ts";
import { sendKeys, sendPrimary } from "./committer_keys.ts";
import { repeating } from "../locks/lock_calls.ts";
import { timestampForCommit } from "./committer_timestamp.ts";
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
  const { txn, primary } = run.options;
  const { sender } = txn.session.routing;
  let { commitTs } = work;
  let isRetry = false;
  const keys = await sendPrimary(txn, { keys: work.keys, primary }, {
    operation,
    send: async ({ region, items }) => {
      for (;;) {
        operation.deadline.throwIfOver("commit the primary");
        const body = commitBody(run, { keys: items, commitTs, role: "primary" });
        const request = sender.request(COMMANDS.KvCommit, body, { context: txn.writeContext, isRetry });
        const reply = await sender.send(region, request, operation);
        isRetry = true;
        if (reply === STALE) return STALE;
        if (reply.error === undefined) return undefined;
        commitTs = await laterTimestamp(run, reply.error, operation);
      }
    },
  });
  return { keys, commitTs };
}

/**
 * A reader has moved the least timestamp of the primary beyond ours: another one is needed. Any
 * other error is the end of the transaction.
 */
async function laterTimestamp(run: CommitRun, error: KeyError, operation: Operation): Promise<Timestamp> {
  const { txn, primary } = run.options;
  const { commitTsExpired } = error;
  if (commitTsExpired === undefined || !equalBytes(commitTsExpired.key, primary)) {
    throw writeErrorOf(error, { txn, method: "KvCommit" });
  }
  const { minCommitTs, attemptedCommitTs } = commitTsExpired;
  // No reader is that far ahead: the lock or the answer is broken (client-go, `commit.go`).
  if (minCommitTs - attemptedCommitTs > MAX_AHEAD) {
    const aheadMs = physicalMsOf((minCommitTs - attemptedCommitTs) as Timestamp);
    throw new TikvError(
      "protocol",
      `Cannot commit: the primary wants a timestamp that is ${aheadMs} ms ahead of the present one`,
    );
  }
  return await timestampForCommit(run, operation);
}

/**
 * Commits keys in the background. The transaction is committed, so nothing that fails here is an
 * error for anybody: whoever meets a lock that is left commits it.
 */
export function commitInBackground(run: CommitRun, { keys, commitTs }: CommitWork): void {
  if (keys.length === 0) return;
  const { txn, primary } = run.options;
  const sender = repeating(txn.session.routing.sender);
  startInBackground(txn, { kind: "commit", budgetMs: SECONDARIES_MS }, async (operation) => {
    await sendKeys(txn, keys, {
      operation,
      send: async ({ region, items }, ofPart) => {
        const role = items.some((key) => equalBytes(key, primary)) ? "primary" : "secondary";
        const body = commitBody(run, { keys: items, commitTs, role });
        const request = sender.request(COMMANDS.KvCommit, body, { context: txn.writeContext });
        const reply = await sender.send(region, request, ofPart);
        if (reply === STALE) return STALE;
        // Never another timestamp: there is one for all keys.
        if (reply.error !== undefined) throw writeErrorOf(reply.error, { txn, method: "KvCommit" });
        return undefined;
      },
    });
  });
}

/** client-go's `CommitSecondaryMaxBackoff`. */
const SECONDARIES_MS = 41_000;
/** An hour, as the difference of two timestamps. */
const MAX_AHEAD = 3_600_000n << 18n;

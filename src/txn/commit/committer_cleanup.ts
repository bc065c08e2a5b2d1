// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../../async/operation.ts";
import { STALE } from "../../region/stale.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import type { CommitRun, TxnIdentity } from "./committer_run.ts";
import { writeErrorOf } from "./committer_errors.ts";
import { startInBackground } from "./committer_background.ts";
import { type SendKeys, sendKeys, sendPrimary } from "./committer_keys.ts";
import { repeating } from "../locks/lock_calls.ts";

/**
 * Takes the locks of a commit that has failed away, in the background. Never after an
 * `UndeterminedError`: those locks may be committed.
 */
export function cleanUp(run: CommitRun): void {
  const { txn, forUpdateTs, mutations, primary } = run.options;
  if (run.triesOnePc || !run.hasSent) {
    // Nothing was written but what the transaction had locked before.
    const locked = mutations.filter(({ check }) => check === "lock");
    void releaseInBackground(txn, { keys: locked.map(({ key }) => key), forUpdateTs });
    return;
  }
  const keys = mutations.map(({ key }) => key);
  startInBackground(txn, { kind: "clean-up", budgetMs: CLEANUP_MS }, async (operation) => {
    const sender = repeating(txn.session.routing.sender);
    const send: SendKeys = async ({ region, items }, ofPart) => {
      const body = { startVersion: txn.startTs, keys: [...items] };
      const request = sender.request(COMMANDS.KvBatchRollback, body, { context: txn.context });
      const reply = await sender.send(region, request, ofPart);
      if (reply === STALE) return STALE;
      if (reply.error !== undefined) throw writeErrorOf(reply.error, { txn, method: "KvBatchRollback" });
      return undefined;
    };
    // The primary first: a secondary that is gone while the primary can still be committed would
    // leave half a transaction.
    const rest = await sendPrimary(txn, { keys, primary }, { operation, send });
    await sendKeys(txn, rest, { operation, send });
  });
}

/** Pessimistic locks that are given back: those that were taken at or before `forUpdateTs`. */
export interface Release {
  readonly keys: readonly Uint8Array[];
  readonly forUpdateTs: bigint;
}

/**
 * Gives pessimistic locks back without making anybody wait for it; not even a caller that has given
 * up keeps it from that. The promise resolves when it is over, however it ended.
 */
export function releaseInBackground(txn: TxnIdentity, release: Release): Promise<void> {
  if (release.keys.length === 0) return Promise.resolve();
  return startInBackground(
    txn,
    { kind: "release", budgetMs: CLEANUP_MS },
    (operation) => releaseLocks(txn, release, operation),
  );
}

/** Gives pessimistic locks back. */
export async function releaseLocks(
  txn: TxnIdentity,
  { keys, forUpdateTs }: Release,
  operation: Operation,
): Promise<void> {
  const part = operation.fork({ keepsDoubt: true });
  const sender = repeating(txn.session.routing.sender);
  try {
    await sendKeys(txn, keys, {
      operation: part,
      send: async ({ region, items }, ofPart) => {
        const body = { startVersion: txn.startTs, forUpdateTs, keys: [...items] };
        const request = sender.request(COMMANDS.KVPessimisticRollback, body, { context: txn.context });
        const reply = await sender.send(region, request, ofPart);
        if (reply === STALE) return STALE;
        const [error] = reply.errors;
        if (error !== undefined) throw writeErrorOf(error, { txn, method: "KVPessimisticRollback" });
        return undefined;
      },
    });
  } finally {
    operation.join(part);
  }
}

/** client-go's `cleanupMaxBackoff`. */
const CLEANUP_MS = 20_000;

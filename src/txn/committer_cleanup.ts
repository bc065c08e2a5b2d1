// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { runParts } from "../plan/run.ts";
import { cutByBytes, type ItemsPart, shardItems } from "../plan/shard.ts";
import { STALE } from "../region/stale.ts";
import { COMMANDS } from "../rpc/commands.ts";
import type { CommitRun, TxnIdentity } from "./committer_run.ts";
import { writeErrorOf } from "./committer_errors.ts";
import { startInBackground } from "./committer_background.ts";

/**
 * Takes the locks of a commit that has failed away, in the background. Never after an
 * `UndeterminedError`: those locks may be committed.
 */
export function cleanUp(run: CommitRun): void {
  const { txn, isPessimistic, forUpdateTs, mutations, primary } = run.options;
  const keys = mutations.map(({ key }) => key);
  if (run.triesOnePc) {
    // Nothing was written but what the transaction had locked before.
    if (isPessimistic) releaseInBackground(txn, { keys, forUpdateTs });
    return;
  }
  startInBackground(txn, { name: "txn.cleanUp", budgetMs: CLEANUP_MS }, async (operation) => {
    // The primary first: a secondary that is gone while the primary can still be committed would
    // leave half a transaction.
    await rollBack(txn, [primary], operation);
    await rollBack(txn, keys.filter((key) => !equalBytes(key, primary)), operation);
  });
}

async function rollBack(txn: TxnIdentity, keys: readonly Uint8Array[], operation: Operation): Promise<void> {
  await sendKeys(txn, { keys, operation }, async ({ region, items }, ofPart) => {
    const { sender } = txn.session.routing;
    const body = { startVersion: txn.startTs, keys: [...items] };
    const request = sender.request(COMMANDS.KvBatchRollback, body, { context: txn.context });
    const reply = await sender.send(region, request, ofPart);
    if (reply === STALE) return STALE;
    if (reply.error !== undefined) throw writeErrorOf(reply.error, { txn, method: "KvBatchRollback" });
    return undefined;
  });
}

/** Pessimistic locks that are given back: those that were taken at or before `forUpdateTs`. */
export interface Release {
  readonly keys: readonly Uint8Array[];
  readonly forUpdateTs: bigint;
}

/** Gives pessimistic locks back without making anybody wait for it. */
export function releaseInBackground(txn: TxnIdentity, release: Release): void {
  if (release.keys.length === 0) return;
  startInBackground(
    txn,
    { name: "txn.releaseLocks", budgetMs: CLEANUP_MS },
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
  await sendKeys(txn, { keys, operation: part }, async ({ region, items }, ofPart) => {
    const { sender } = txn.session.routing;
    const body = { startVersion: txn.startTs, forUpdateTs, keys: [...items] };
    const request = sender.request(COMMANDS.KVPessimisticRollback, body, { context: txn.context });
    const reply = await sender.send(region, request, ofPart);
    if (reply === STALE) return STALE;
    const [error] = reply.errors;
    if (error !== undefined) throw writeErrorOf(error, { txn, method: "KVPessimisticRollback" });
    return undefined;
  });
  operation.join(part);
}

async function sendKeys(
  txn: TxnIdentity,
  { keys, operation }: { readonly keys: readonly Uint8Array[]; readonly operation: Operation },
  send: (part: ItemsPart<Uint8Array>, operation: Operation) => Promise<typeof STALE | undefined>,
): Promise<void> {
  const { regions, concurrency } = txn.session.routing;
  const partsOf = (some: readonly Uint8Array[], ofPart: Operation): Promise<ItemsPart<Uint8Array>[]> =>
    shardItems(some, { regions, operation: ofPart, keyOf: (key) => key, cut: cutKeys });
  await runParts(await partsOf(keys, operation), async (part, ofPart) => {
    const reply = await send(part, ofPart);
    return reply === STALE ? await partsOf(part.items, ofPart) : undefined;
  }, { operation, concurrency });
}

function cutKeys(keys: readonly Uint8Array[]): readonly (readonly Uint8Array[])[] {
  return cutByBytes(keys, (key) => key.length, BATCH_BYTES);
}

/** client-go's `TxnCommitBatchSize`. */
const BATCH_BYTES = 16 * 1024;
/** client-go's `cleanupMaxBackoff`. */
const CLEANUP_MS = 20_000;

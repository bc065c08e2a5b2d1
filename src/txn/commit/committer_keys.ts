// SPDX-License-Identifier: Apache-2.0
// Requests of the committer that name keys only: where they go, and in what order.

import type { Operation } from "../../async/operation.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { TikvError } from "../../errors.ts";
import { type PartWork, runParts } from "../../plan/run.ts";
import { cutByBytes, type ItemsPart, shardItems } from "../../plan/shard.ts";
import { STALE, type Stale } from "../../region/stale.ts";
import { COMMIT_LIMITS } from "./commit_limits.ts";
import type { TxnIdentity } from "./committer_run.ts";

/** Some keys of one region, in one request. */
export type KeysPart = ItemsPart<Uint8Array>;

/** Sends one request; `STALE` when the region has to be looked up again. */
export type SendKeys = (part: KeysPart, operation: Operation) => Promise<Stale | undefined>;

/** Cuts keys by region and size. */
export function keyParts(
  { session }: Pick<TxnIdentity, "session">,
  keys: readonly Uint8Array[],
  operation: Operation,
): Promise<KeysPart[]> {
  const { regions } = session.routing;
  const batchBytes = session.limits?.batchBytes ?? COMMIT_LIMITS.batchBytes;
  return shardItems(keys, {
    regions,
    operation,
    keyOf: (key) => key,
    cut: (some) => cutByBytes(some, (key) => key.length, batchBytes),
  });
}

/**
 * Sends keys everywhere. Unlike elsewhere the first failure does not end the rest: each key that is
 * done is one that nobody has to wait for. The first error is thrown when all have been tried.
 */
export async function sendKeys(
  txn: Pick<TxnIdentity, "session">,
  keys: readonly Uint8Array[],
  { operation, send }: { readonly operation: Operation; readonly send: SendKeys },
): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  const work: PartWork<KeysPart> = async (part, ofPart) => {
    try {
      const reply = await send(part, ofPart);
      return reply === STALE ? await keyParts(txn, part.items, ofPart) : undefined;
    } catch (error) {
      // When the whole is over, so are the others.
      if (operation.deadline.isOver()) throw error;
      failure ??= { error };
      return undefined;
    }
  };
  const { concurrency } = txn.session.routing;
  await runParts(await keyParts(txn, keys, operation), work, { operation, concurrency });
  if (failure !== undefined) throw failure.error;
}

/** Sends the request that has the primary, alone. Returns the keys that were not in it. */
export async function sendPrimary(
  txn: Pick<TxnIdentity, "session">,
  { keys, primary }: { readonly keys: readonly Uint8Array[]; readonly primary: Uint8Array },
  { operation, send }: { readonly operation: Operation; readonly send: SendKeys },
): Promise<readonly Uint8Array[]> {
  let candidates = keys;
  for (;;) {
    operation.deadline.throwIfOver("send the primary");
    const parts = await keyParts(txn, candidates, operation);
    const part = parts.find(({ items }) => items.some((key) => equalBytes(key, primary)));
    if (part === undefined) throw new TikvError("protocol", "Cannot send the primary: no region has it");
    candidates = part.items;
    if (await send(part, operation) === STALE) continue;
    const done = new Set(candidates);
    return keys.filter((key) => !done.has(key));
  }
}

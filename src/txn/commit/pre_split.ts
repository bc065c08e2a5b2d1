// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../../async/operation.ts";
import { shardItems } from "../../plan/shard.ts";
import { type CommitMutation, type CommitRun, sizeOfMutation } from "./committer_run.ts";

/**
 * Splits the regions that a huge transaction writes very much to, so that the load is not on one store.
 * It may help and is not needed: what fails is told to the observer, and takes a share of the time.
 */
export async function preSplit(run: CommitRun, operation: Operation): Promise<void> {
  const { session } = run.options.txn;
  const { splitter, settings } = session;
  const { mutations } = run.options;
  if (splitter === undefined || mutations.length < run.limits.preSplitKeys) return;
  const { regions } = session.routing;
  const groups = await shardItems(mutations, {
    regions,
    operation,
    keyOf: ({ key }) => key,
    cut: (ofRegion) => [ofRegion],
  });
  const keys = groups.flatMap(({ items }) =>
    items.length < run.limits.preSplitKeys ? [] : splitKeysOf(run, items)
  );
  if (keys.length === 0) return;
  const timeoutMs = Math.min(MAX_SPLIT_MS, operation.deadline.remainingMs() * SHARE);
  const part = operation.fork({ deadline: operation.deadline.within(timeoutMs), keepsDoubt: true });
  try {
    await splitter.split(keys, part);
  } catch (cause) {
    operation.deadline.throwIfOver("split regions before a huge transaction");
    const message = "Cannot split regions before a huge transaction: it is written to those that there are";
    settings.observe({ type: "warning", message, cause });
  } finally {
    operation.join(part);
  }
}

/** Keys between which there are about as many bytes as a region should get at a time. */
function splitKeysOf({ limits }: CommitRun, mutations: readonly CommitMutation[]): Uint8Array[] {
  const keys: Uint8Array[] = [];
  let bytes = 0;
  for (const mutation of mutations) {
    bytes += sizeOfMutation(mutation);
    if (bytes < limits.preSplitBytes) continue;
    bytes = 0;
    keys.push(mutation.key);
  }
  return keys;
}

/** client-go's `splitRegionBackoff` at its most. */
const MAX_SPLIT_MS = 120_000;
/** Of the time that is left; the rest is for the commit. */
const SHARE = 0.25;

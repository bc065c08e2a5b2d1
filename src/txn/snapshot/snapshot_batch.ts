// SPDX-License-Identifier: Apache-2.0
// Many keys at one timestamp, each asked for until no lock is in the way.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { KeySet } from "../../bytes/key_map.ts";
import { runParts } from "../../plan/run.ts";
import { cutByCount, type ItemsPart, shardItems } from "../../plan/shard.ts";
import { STALE } from "../../region/stale.ts";
import type { BatchGetReply } from "../../rpc/batch/messages.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import { locksInError } from "../locks/key_error.ts";
import type { Versioned } from "./snapshot_cache.ts";
import { versionedOf } from "./snapshot_get.ts";
import { LockedRead } from "./snapshot_locks.ts";
import type { ReadFacts, SnapshotReads } from "./snapshot_reads.ts";

/** Keys that are read by one request. */
interface ReadPart extends ItemsPart<Uint8Array> {
  /** They were asked for before, of a region that has changed since. */
  readonly isRetry: boolean;
}

interface BatchRead extends ReadFacts {
  /** Takes what is found; keys that do not exist are left out. */
  readonly found: { set(key: Uint8Array, value: Versioned): unknown };
}

/** Reads keys of any regions, several requests at a time. */
export async function batchGetFromStores(
  reads: SnapshotReads,
  keys: readonly Uint8Array[],
  read: BatchRead,
  operation: Operation,
): Promise<void> {
  const parts = await partsOf(reads, keys, { operation, isRetry: operation.attempts > 0 });
  await runParts(parts, (part, ofPart) => readPart(reads, part, { read, operation: ofPart }), {
    operation,
    concurrency: reads.parts.session.routing.concurrency,
  });
}

async function partsOf(
  reads: SnapshotReads,
  keys: readonly Uint8Array[],
  { operation, isRetry }: { readonly operation: Operation; readonly isRetry: boolean },
): Promise<ReadPart[]> {
  const { regions } = reads.parts.session.routing;
  const parts = await shardItems(keys, {
    regions,
    operation,
    keyOf: (key) => key,
    cut: (items) => cutByCount(items, KEYS_PER_REQUEST),
  });
  return parts.map((part) => ({ ...part, isRetry }));
}

/** Reads the keys of one request until none of them is locked. */
async function readPart(
  reads: SnapshotReads,
  { region, items, isRetry }: ReadPart,
  { read, operation }: { readonly read: BatchRead; readonly operation: Operation },
): Promise<ReadPart[] | undefined> {
  const { sender } = reads.parts.session.routing;
  const { needsCommitTs = false, hasMetLock = false } = read;
  let pending: readonly Uint8Array[] = items;
  let locked: LockedRead | undefined;
  try {
    for (;;) {
      const turn = {
        isFirst: !isRetry && locked === undefined,
        keys: pending.length,
        hasMetLock: hasMetLock || locked !== undefined,
      };
      const request = sender.request(COMMANDS.KvBatchGet, {
        keys: pending,
        version: reads.ts,
        needCommitTs: needsCommitTs,
      }, reads.requestOptions(turn));
      const reply = await reads.counted(
        "KvBatchGet",
        operation,
        () => sender.send(region, request, operation),
      );
      if (reply === STALE) return await partsOf(reads, pending, { operation, isRetry: true });
      const { locks, lockedKeys } = takeReply(reads, reply, read);
      if (locks.length === 0) return undefined;
      // An error of the whole answer means that the pairs are not all: everything is asked again.
      if (reply.error === undefined) pending = pending.filter((key) => lockedKeys.has(key));
      locked ??= new LockedRead(reads, { known: reads.known, isLite: false, needsCleanUp: needsCommitTs });
      await locked.settle(locks, operation);
    }
  } finally {
    locked?.done();
  }
}

/** Keeps the values of an answer, and tells what stood in the way of the others. */
function takeReply(
  reads: SnapshotReads,
  { error, pairs }: BatchGetReply,
  { found, needsCommitTs = false }: BatchRead,
): { readonly locks: readonly LockInfo[]; readonly lockedKeys: KeySet } {
  const lockedKeys = new KeySet();
  if (error !== undefined) {
    const locks = locksInError(error);
    if (locks.length === 0) throw reads.errorOf("KvBatchGet", error);
    return { locks, lockedKeys };
  }
  const locks: LockInfo[] = [];
  for (const pair of pairs) {
    if (pair.error === undefined) {
      // No value is empty.
      if (pair.value.length > 0) found.set(pair.key, versionedOf(pair, needsCommitTs));
      continue;
    }
    const ofPair = locksInError(pair.error);
    const { locked } = pair.error;
    if (locked === undefined || ofPair.length === 0) throw reads.errorOf("KvBatchGet", pair.error);
    lockedKeys.add(locked.key);
    locks.push(...ofPair);
  }
  return { locks, lockedKeys };
}

/** client-go's `batchGetSize`. */
const KEYS_PER_REQUEST = 5120;

// SPDX-License-Identifier: Apache-2.0
// What of a transaction has to be committed, and how that may be done.

import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { ALL_KEYS } from "../bytes/key_range.ts";
import { TikvError } from "../errors.ts";
import type { CommitMutation } from "./committer_run.ts";
import { sizeOfMutation } from "./committer_run.ts";
import { hasFlag, KEY_FLAG } from "./key_flags.ts";
import type { BufferEntry } from "./buffer.ts";
import type { LockTarget } from "./pessimistic_request.ts";
import type { TransactionCore } from "./transaction_core.ts";

/** What is committed. */
export interface CommitPlan {
  /** In the order of their keys; not empty. */
  readonly mutations: readonly CommitMutation[];
  readonly primary: Uint8Array;
  readonly sizeBytes: number;
  readonly canUseAsyncCommit: boolean;
  readonly canUseOnePc: boolean;
}

/**
 * Plans the commit; undefined when there is nothing to commit. A pessimistic transaction locks here
 * what it has written without a lock: as of its start, so that whoever wrote in between is noticed.
 */
export async function planOf(core: TransactionCore, operation: Operation): Promise<CommitPlan | undefined> {
  const { isPessimistic } = core.settings;
  if (isPessimistic) {
    if (!hasWrites(core)) return undefined;
    await lockMissing(core, operation);
  }
  const mutations: CommitMutation[] = [];
  for (const entry of core.buffer.entries(ALL_KEYS, { lockOnly: true })) {
    const mutation = mutationOf(core, entry);
    if (mutation !== undefined) mutations.push(mutation);
  }
  if (mutations.length === 0) return undefined;
  const sizeBytes = mutations.reduce((sum, mutation) => sum + sizeOfMutation(mutation), 0);
  const { commit, acceptsCommitTs } = core.settings;
  const isShared = mutations.some(({ op }) => op === "shared-lock");
  const isDecidable = !isShared && acceptsCommitTs === undefined;
  const keyBytes = mutations.reduce((sum, { key }) => sum + key.length, 0);
  const isSmall = mutations.length <= ASYNC_MAX_KEYS && keyBytes <= ASYNC_MAX_KEY_BYTES;
  return {
    mutations,
    primary: primaryOf(core, mutations),
    sizeBytes,
    canUseAsyncCommit: isDecidable && isSmall && (commit === "auto" || commit === "async"),
    canUseOnePc: isDecidable && (commit === "auto" || commit === "1pc"),
  };
}

function hasWrites({ buffer }: TransactionCore): boolean {
  return !buffer.entries().next().done;
}

async function lockMissing(core: TransactionCore, operation: Operation): Promise<void> {
  const { buffer, locks, txn } = core;
  const targets: LockTarget[] = [];
  for (const { key, flags } of buffer.entries()) {
    if (locks.heldLock(key) !== undefined) continue;
    targets.push({ key, shouldNotExist: hasFlag(flags, KEY_FLAG.presumeNotExists) });
  }
  const locked = await locks.lock(targets, {
    forUpdateTs: txn.startTs,
    waitMs: Infinity,
    returnsValues: false,
    checksExistence: true,
    locksOnlyIfExists: false,
    isShared: false,
  }, operation);
  for (const { target } of locked) buffer.updateFlags(target.key, ["locked"]);
}

/** The row of the key in the table of what a buffered write becomes; undefined for nothing. */
function mutationOf(core: TransactionCore, { key, flags, write }: BufferEntry): CommitMutation | undefined {
  const { isPessimistic } = core.settings;
  const held = core.locks.heldLock(key);
  const isLocked = isPessimistic ? held !== undefined : hasFlag(flags, KEY_FLAG.locked);
  const isPresumed = hasFlag(flags, KEY_FLAG.presumeNotExists);
  const common = {
    key,
    assertion: assertionOf(flags),
    check: isPessimistic && held !== undefined ? "lock" : "none",
  } as const;
  const lock = { ...common, op: held?.isShared === true ? "shared-lock" : "lock" } as const;
  switch (write.kind) {
    case "value":
      return { ...common, op: isPresumed ? "insert" : "put", value: write.value };
    case "lock-only":
      return isLocked ? lock : undefined;
    case "tombstone":
      // What was inserted here is gone again: that it may be is all there is to find out.
      if (isPresumed && !isPessimistic) return { ...common, op: "check-not-exists" };
      if (!hasFlag(flags, KEY_FLAG.newlyInserted)) return { ...common, op: "delete" };
      return isLocked ? lock : undefined;
  }
}

function assertionOf(flags: number): CommitMutation["assertion"] {
  const exists = hasFlag(flags, KEY_FLAG.assertExist);
  const isAbsent = hasFlag(flags, KEY_FLAG.assertNotExist);
  if (exists === isAbsent) return "none";
  return exists ? "exists" : "not-exists";
}

function primaryOf({ locks }: TransactionCore, mutations: readonly CommitMutation[]): Uint8Array {
  // A key without a lock of its own would look like a transaction that was never there.
  const first = mutations.find(({ op }) => op !== "check-not-exists" && op !== "shared-lock") ?? mutations[0];
  const primary = locks.primary ?? first?.key;
  if (primary === undefined || !mutations.some(({ key }) => equalBytes(key, primary))) {
    throw new TikvError("misuse", "Cannot commit: the primary of the transaction is not among its keys");
  }
  return primary;
}

/** client-go's `AsyncCommit.KeysLimit` and `TotalKeySizeLimit`. */
const ASYNC_MAX_KEYS = 256;
const ASYNC_MAX_KEY_BYTES = 4 * 1024;

// SPDX-License-Identifier: Apache-2.0
// What of a transaction has to be committed, and how that may be done.

import { AssertionLevel } from "../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { copyBytes } from "../bytes/concat.ts";
import { shortKey } from "../bytes/hex.ts";
import { KeySet } from "../bytes/key_map.ts";
import { ALL_KEYS } from "../bytes/key_range.ts";
import { TikvError } from "../errors.ts";
import { AssertionFailedError, KeyExistsError } from "../txn_errors.ts";
import type { Timestamp } from "../types.ts";
import type { BufferEntry } from "./buffer/pending_write.ts";
import { COMMIT_LIMITS } from "./commit/commit_limits.ts";
import type { CommitMutation } from "./commit/committer_run.ts";
import { hasFlag, KEY_FLAG } from "./buffer/key_flags.ts";
import { assertionOf, checkOf, type MutationFacts, opOf } from "./commit/mutation.ts";
import type { LockTarget } from "./pessimistic/pessimistic_request.ts";
import type { TransactionCore } from "./transaction_core.ts";

/** What is committed. */
export interface CommitPlan {
  /** In the order of their keys; not empty. */
  readonly mutations: readonly CommitMutation[];
  readonly primary: Uint8Array;
  readonly canUseAsyncCommit: boolean;
  readonly canUseOnePc: boolean;
  /** What is wrong by what its own locks have told. */
  readonly stashedError: TikvError | undefined;
}

/**
 * Plans the commit; undefined when there is nothing to commit. A pessimistic transaction locks here
 * what it has written without a lock: as of its reads, so that whoever wrote in between is noticed.
 */
export async function planOf(core: TransactionCore, operation: Operation): Promise<CommitPlan | undefined> {
  const { isPessimistic } = core.settings;
  if (isPessimistic && !hasWrites(core)) {
    // What is written shows whether the locks are still there; here it is all there is to know.
    core.locks.assertKept();
    return undefined;
  }
  const filtered = filteredKeys(core);
  if (isPessimistic) await lockMissing(core, { filtered, operation });
  const mutations: CommitMutation[] = [];
  let stashedError: TikvError | undefined;
  for (const entry of core.buffer.entries(ALL_KEYS, { lockOnly: true })) {
    const mutation = mutationOf(core, entry, filtered);
    if (mutation === undefined) continue;
    assertAllowed(core, mutation);
    mutations.push(mutation);
    stashedError ??= contradictionOf(core, mutation);
  }
  if (mutations.length === 0) return undefined;
  const { commit, acceptsCommitTs } = core.settings;
  const isShared = mutations.some(({ op }) => op === "shared-lock");
  // A transaction of which something seems to be wrong must not be committed before that is found out.
  const isDecidable = !isShared && acceptsCommitTs === undefined && stashedError === undefined;
  return {
    mutations,
    primary: primaryOf(core, mutations),
    canUseAsyncCommit: isDecidable && isSmall(core, mutations) && (commit === "auto" || commit === "async"),
    canUseOnePc: isDecidable && (commit === "auto" || commit === "1pc"),
    stashedError,
  };
}

function hasWrites({ buffer }: TransactionCore): boolean {
  return !buffer.entries().next().done;
}

/** Keys whose write the caller does not want committed. Each is asked for once. */
function filteredKeys(core: TransactionCore): KeySet | undefined {
  const { filter } = core.settings;
  if (filter === undefined) return undefined;
  const filtered = new KeySet();
  for (const { key, flags, write } of core.buffer.entries()) {
    const isKept = filter({
      key: copyBytes(key),
      value: write.kind === "value" ? copyBytes(write.value) : undefined,
      isInsert: hasFlag(flags, KEY_FLAG.presumeNotExists),
      isLocked: lockOf(core, key, flags) !== "none",
    });
    if (!isKept) filtered.add(key);
  }
  return filtered;
}

interface MissingLocks {
  readonly filtered: KeySet | undefined;
  readonly operation: Operation;
}

async function lockMissing(core: TransactionCore, { filtered, operation }: MissingLocks): Promise<void> {
  const { buffer, locks } = core;
  const targets: LockTarget[] = [];
  for (const entry of buffer.entries()) {
    const facts = factsOf(core, entry, filtered);
    const shouldNotExist = hasFlag(entry.flags, KEY_FLAG.presumeNotExists);
    // What is not written needs no lock, and what the prewrite checks has none. An insert that was
    // deleted again still has to find out that it was allowed to be one.
    const isOwed = opOf(facts) !== undefined || (shouldNotExist && !facts.isFiltered);
    if (facts.lock !== "none" || !isOwed || checkOf(facts) !== "none") continue;
    targets.push({ key: entry.key, shouldNotExist });
  }
  await locks.lock(targets, {
    forUpdateTs: core.readTs,
    waitMs: Infinity,
    returnsValues: false,
    checksExistence: true,
    locksOnlyIfExists: false,
    isShared: false,
    // Whoever wrote in between is to be noticed.
    isFair: false,
  }, operation);
}

function factsOf(
  core: TransactionCore,
  { key, flags, write }: BufferEntry,
  filtered: KeySet | undefined,
): MutationFacts {
  return {
    isPessimistic: core.settings.isPessimistic,
    flags,
    write,
    lock: lockOf(core, key, flags),
    isFiltered: filtered?.has(key) === true,
  };
}

function lockOf({ settings, locks }: TransactionCore, key: Uint8Array, flags: number): MutationFacts["lock"] {
  // In an optimistic transaction it is a wish that the commit grants.
  if (!settings.isPessimistic) return hasFlag(flags, KEY_FLAG.locked) ? "exclusive" : "none";
  const held = locks.heldLock(key);
  if (held === undefined) return "none";
  return held.isShared ? "shared" : "exclusive";
}

function mutationOf(
  core: TransactionCore,
  entry: BufferEntry,
  filtered: KeySet | undefined,
): CommitMutation | undefined {
  const facts = factsOf(core, entry, filtered);
  const op = opOf(facts);
  if (op === undefined) return undefined;
  const { key, flags, write } = entry;
  return {
    op,
    key,
    value: (op === "put" || op === "insert") && write.kind === "value" ? write.value : undefined,
    assertion: core.settings.assertionLevel === AssertionLevel.Off ? "none" : assertionOf(flags),
    check: checkOf(facts),
  };
}

/**
 * Refuses what would have been refused at once, had its lock been there already: stores do not check
 * again what a lock has checked.
 */
function assertAllowed({ locks, txn }: TransactionCore, { op, key }: CommitMutation): void {
  if (op !== "shared-lock") locks.assertExclusive(key);
  if (op !== "insert" || locks.heldLock(key)?.exists !== true) return;
  const shown = shortKey(key, txn.session.settings.revealKeys);
  throw new KeyExistsError(`Cannot insert key ${shown}: it exists already`, { key });
}

/** Whether what a lock told of its key is not what is asserted of it. */
function contradictionOf(
  { locks, txn }: TransactionCore,
  { key, assertion }: CommitMutation,
): TikvError | undefined {
  if (assertion === "none") return undefined;
  const exists = locks.heldLock(key)?.exists;
  if (exists === undefined || exists === (assertion === "exists")) return undefined;
  const shown = shortKey(key, txn.session.settings.revealKeys);
  return new AssertionFailedError(
    `Cannot commit: key ${shown} was not as asserted (${assertion}) when it was locked`,
    {
      key,
      startTs: txn.startTs,
      assertion,
      existingStartTs: 0n as Timestamp,
      existingCommitTs: 0n as Timestamp,
    },
  );
}

/** A key without a lock of its own would look like a transaction that was never there. */
function primaryOf({ locks }: TransactionCore, mutations: readonly CommitMutation[]): Uint8Array {
  const { primary } = locks;
  const chosen = primary === undefined
    ? mutations.find(({ op }) => op !== "check-not-exists" && op !== "shared-lock")
    : mutations.find(({ key }) => equalBytes(key, primary));
  if (chosen !== undefined && chosen.op !== "shared-lock") return chosen.key;
  const [first] = mutations;
  const hasShared = mutations.some(({ op }) => op === "shared-lock");
  if (primary === undefined && first !== undefined && !hasShared) return first.key;
  const seen = chosen !== undefined || primary === undefined
    ? "a key that is locked in share mode cannot be its primary"
    : "its primary is not among its keys";
  throw new TikvError("misuse", `Cannot commit the transaction: ${seen}`);
}

function isSmall({ txn }: TransactionCore, mutations: readonly CommitMutation[]): boolean {
  const { asyncMaxKeys, asyncMaxKeyBytes } = { ...COMMIT_LIMITS, ...txn.session.limits };
  const keyBytes = mutations.reduce((sum, { key }) => sum + key.length, 0);
  return mutations.length <= asyncMaxKeys && keyBytes <= asyncMaxKeyBytes;
}

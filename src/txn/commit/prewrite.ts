// SPDX-License-Identifier: Apache-2.0
// The first phase: every key is checked and locked; with 1PC and async commit that decides.

import type { Operation } from "../../async/operation.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { TikvError } from "../../errors.ts";
import { runParts } from "../../plan/run.ts";
import { cutByBytes, shardItems } from "../../plan/shard.ts";
import type { Region } from "../../region/region.ts";
import { STALE, type Stale } from "../../region/stale.ts";
import type { PrewriteReply } from "../../rpc/batch/messages.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import { TxnAbortedError } from "../../txn_errors.ts";
import { lockWaitError } from "./committer_errors.ts";
import { type CommitMutation, type CommitRun, sizeOfMutation } from "./committer_run.ts";
import type { LockWatch } from "../locks/lock_registry.ts";
import { preSplit } from "./pre_split.ts";
import { judge } from "./prewrite_errors.ts";
import { MAX_TXN_SIZE, prewriteBody } from "./requests.ts";

/** Some keys of one region, in one request. */
export interface PrewritePart {
  readonly region: Region;
  readonly mutations: readonly CommitMutation[];
  /** Keys that the transaction has in the region, as far as that is known. */
  readonly txnSize: bigint;
  /** A request with these keys has gone out. */
  isSent: boolean;
  /** One has, and may have been executed. */
  isRetry: boolean;
  /** A request with these keys was lost that may have committed the transaction. */
  readonly isInDoubt: boolean;
}

/**
 * Prewrites all keys. Rejects with an `UndeterminedError` when an answer was lost that may have
 * committed the transaction; after any other error it is certain that it is not committed.
 */
export async function prewriteAll(run: CommitRun, operation: Operation): Promise<void> {
  const { session } = run.options.txn;
  const whole = operation.fork({ keepsDoubt: true });
  try {
    await preSplit(run, whole);
    const parts = await partsOf(run, { mutations: run.options.mutations, origin: undefined }, whole);
    await runParts(parts, (part, ofPart) => prewritePart(run, part, ofPart), {
      operation: whole,
      concurrency: session.routing.concurrency,
    });
  } catch (error) {
    if (run.doubt !== undefined) throw run.doubt;
    // With a key that is not as asserted it is not committed, whatever became of the others.
    const { assertionError } = run;
    if (assertionError !== undefined) throw isUndetermined(error) ? assertionError : error;
    // Nor is it with a key that nobody has been asked to lock.
    if (whole.isMaybeExecuted && run.isDecidedByPrewrite && run.unsentKeys === 0) {
      throw run.undetermined(error);
    }
    if (!isUndetermined(error)) throw error;
    const { startTs } = run.options.txn;
    throw new TxnAbortedError("Cannot commit: a store does not know what became of a prewrite", {
      startTs,
      cause: error,
    });
  } finally {
    operation.join(whole);
  }
  if (run.assertionError !== undefined) throw run.assertionError;
}

interface PartsSource {
  readonly mutations: readonly CommitMutation[];
  /** The part that these were in when its region turned out to be another. */
  readonly origin: PrewritePart | undefined;
}

/** Cuts mutations by region and size. More than one part cannot commit in one phase. */
async function partsOf(
  run: CommitRun,
  { mutations, origin }: PartsSource,
  operation: Operation,
): Promise<PrewritePart[]> {
  const { regions } = run.options.txn.session.routing;
  const groups = await shardItems(mutations, { regions, operation, keyOf: ({ key }) => key, cut: whole });
  const parts = groups.flatMap(({ region, items }) => {
    const pieces = cutByBytes(items, sizeOfMutation, run.limits.batchBytes);
    const isSame = origin !== undefined && groups.length === 1 && pieces.length === 1;
    // Nobody knows any more how many keys are where: no reader may clean up key by key then.
    const txnSize = isSame ? origin.txnSize : origin === undefined ? BigInt(items.length) : MAX_TXN_SIZE;
    return pieces.map((piece): PrewritePart => ({
      region,
      mutations: piece,
      txnSize,
      isSent: origin?.isSent ?? false,
      isRetry: origin?.isRetry ?? false,
      isInDoubt: operation.isMaybeExecuted,
    }));
  });
  if (parts.length > 1 && run.triesOnePc) {
    run.triesOnePc = false;
    if (operation.isMaybeExecuted) run.hasOnePcDoubt = true;
  }
  const at = parts.findIndex((part) => hasPrimary(run, part));
  const [first] = at > 0 ? parts.splice(at, 1) : [];
  return first === undefined ? parts : [first, ...parts];
}

async function prewritePart(
  run: CommitRun,
  part: PrewritePart,
  operation: Operation,
): Promise<PrewritePart[] | undefined> {
  const { locks, startTs, context } = run.options.txn;
  if (part.isInDoubt) operation.isMaybeExecuted = true;
  let watch: LockWatch | undefined;
  try {
    for (;;) {
      operation.deadline.throwIfOver("prewrite");
      const reply = await send(run, part, operation);
      if (reply === STALE) {
        const parts = await partsOf(run, { mutations: part.mutations, origin: part }, operation);
        // Several parts carry the doubt themselves: an answer to one of them ends it.
        if (parts.length > 1) operation.isMaybeExecuted = false;
        return parts;
      }
      if (reply.errors.length === 0) {
        onPrewritten(run, part, reply);
        return undefined;
      }
      const { failure, assertion, locks: found, isSettled } = judge(run, reply.errors);
      // A request that was lost may still be on its way, and not meet what this one has met.
      operation.isMaybeExecuted = operation.hadDoubt && !isSettled;
      if (failure !== undefined) throw failure;
      if (assertion !== undefined) run.assertionError ??= assertion;
      const [blocker] = found;
      if (blocker === undefined) return undefined;
      watch ??= locks.waits.watch(startTs);
      watch.update(found);
      const waitMs = await locks.breakLocks(found, { startTs, context, releasesRegion: true }, operation);
      if (waitMs > 0) {
        const cause = lockWaitError(run.options.txn, blocker, "it is held");
        await operation.backoffs.wait("txnLock", cause, { regionId: part.region.id, maxMs: waitMs });
      }
    }
  } finally {
    watch?.done();
  }
}

async function send(
  run: CommitRun,
  part: PrewritePart,
  operation: Operation,
): Promise<PrewriteReply | Stale> {
  const { session, writeContext: context } = run.options.txn;
  const { sender } = session.routing;
  const body = prewriteBody(run, part, hasPrimary(run, part));
  const request = sender.request(COMMANDS.KvPrewrite, body, { context, isRetry: part.isRetry });
  const attempts = operation.attempts;
  try {
    return await sender.send(part.region, request, operation);
  } catch (error) {
    if (!isUndetermined(error) || run.isDecidedByPrewrite) throw error;
    // Whether this one was written decides nothing: it is written again, as the same.
    operation.isMaybeExecuted = false;
    await operation.backoffs.wait("regionMiss", error, { regionId: part.region.id });
    return STALE;
  } finally {
    if (operation.attempts > attempts && !part.isSent) {
      part.isSent = true;
      run.unsentKeys -= part.mutations.length;
    }
    // The store may have done it before: it is to take what it finds of this transaction as its own.
    if (operation.attempts > attempts + 1 || operation.hadDoubt) part.isRetry = true;
  }
}

function onPrewritten(run: CommitRun, part: PrewritePart, reply: PrewriteReply): void {
  if (run.triesOnePc) {
    if (reply.onePcCommitTs !== 0n) {
      run.onePcCommitTs = reply.onePcCommitTs;
      return;
    }
    // Locks were written that are none of an async commit.
    run.fallBack();
    if (reply.minCommitTs !== 0n) {
      throw new TikvError("protocol", "Cannot use the prewrite: it has fallen back and has a timestamp");
    }
  } else if (reply.onePcCommitTs !== 0n) {
    // Whatever that store has done cannot be taken back.
    throw run.undetermined(
      new TikvError("protocol", "Cannot use the prewrite: it was committed in one phase unasked"),
    );
  } else if (run.usesAsyncCommit) {
    // Nothing is to be concluded from a lock that is no async commit's.
    if (reply.minCommitTs === 0n) run.fallBack();
    else run.raiseMinCommitTs(reply.minCommitTs);
  }
  const { isPessimistic, keepAlive } = run.options;
  // A small transaction is over before its locks are.
  if ((isPessimistic || run.sizeBytes > run.limits.keepAliveBytes) && hasPrimary(run, part)) keepAlive();
}

function isUndetermined(error: unknown): boolean {
  return TikvError.is(error) && error.kind === "undetermined";
}

function hasPrimary(run: CommitRun, { mutations }: PrewritePart): boolean {
  return mutations.some(({ key }) => equalBytes(key, run.options.primary));
}

function whole<T>(items: readonly T[]): readonly (readonly T[])[] {
  return [items];
}

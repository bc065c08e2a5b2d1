// SPDX-License-Identifier: Apache-2.0
// The first phase: every key is checked and locked; with 1PC and async commit that decides.

import type { KeyError, LockInfo } from "../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { TikvError } from "../errors.ts";
import { runParts } from "../plan/run.ts";
import { cutByBytes, shardItems } from "../plan/shard.ts";
import type { Region } from "../region/region.ts";
import { STALE, type Stale } from "../region/stale.ts";
import type { PrewriteReply } from "../rpc/batch/messages.ts";
import { COMMANDS } from "../rpc/commands.ts";
import { conflictWithLock, lockWaitError, writeErrorOf } from "./committer_errors.ts";
import { singleLocksOf } from "./lock.ts";
import { type CommitMutation, type CommitRun, sizeOfMutation } from "./committer_run.ts";
import { MAX_TXN_SIZE, prewriteBody } from "./requests.ts";

/** Some keys of one region, in one request. */
export interface PrewritePart {
  readonly region: Region;
  readonly mutations: readonly CommitMutation[];
  /** Keys that the transaction has in the region, as far as that is known. */
  readonly txnSize: bigint;
  /** A request with these keys was sent before. */
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
    const parts = await partsOf(run, { mutations: run.options.mutations, origin: undefined }, whole);
    await runParts(parts, (part, ofPart) => prewritePart(run, part, ofPart), {
      operation: whole,
      concurrency: session.routing.concurrency,
    });
  } catch (error) {
    if (whole.isMaybeExecuted && run.isDecidedByPrewrite) throw run.undetermined(error);
    throw error;
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
    const pieces = cutByBytes(items, sizeOfMutation, BATCH_BYTES);
    const isSame = origin !== undefined && groups.length === 1 && pieces.length === 1;
    // Nobody knows any more how many keys are where: no reader may clean up key by key then.
    const txnSize = isSame ? origin.txnSize : origin === undefined ? BigInt(items.length) : MAX_TXN_SIZE;
    return pieces.map((piece): PrewritePart => ({
      region,
      mutations: piece,
      txnSize,
      isRetry: origin !== undefined,
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
  for (;;) {
    operation.deadline.throwIfOver("prewrite");
    const reply = await send(run, part, operation);
    if (reply === STALE) {
      const parts = await partsOf(run, { mutations: part.mutations, origin: part }, operation);
      // Several parts carry the doubt themselves: an answer to one of them ends it.
      if (parts.length > 1) operation.isMaybeExecuted = false;
      return parts;
    }
    const found = locksIn(run, reply.errors);
    if (found.length === 0) {
      if (reply.errors.length === 0) onPrewritten(run, part, reply);
      return undefined;
    }
    const waitMs = await locks.breakLocks(found, { startTs, context, releasesRegion: true }, operation);
    if (waitMs > 0) {
      const [blocker] = found as [LockInfo];
      const cause = lockWaitError(run.options.txn, blocker, "it is held");
      await operation.backoffs.wait("txnLock", cause, {
        regionId: part.region.id,
        maxMs: waitMs,
      });
    }
  }
}

async function send(
  run: CommitRun,
  part: PrewritePart,
  operation: Operation,
): Promise<PrewriteReply | Stale> {
  const { session, context } = run.options.txn;
  const { sender } = session.routing;
  const body = prewriteBody(run, part, hasPrimary(run, part));
  const request = sender.request(COMMANDS.KvPrewrite, body, { context, isRetry: part.isRetry });
  const attempts = operation.attempts;
  try {
    return await sender.send(part.region, request, operation);
  } catch (error) {
    if (!TikvError.is(error) || error.kind !== "undetermined" || run.isDecidedByPrewrite) throw error;
    // Whether this one was written decides nothing: it is written again, as the same.
    operation.isMaybeExecuted = false;
    await operation.backoffs.wait("regionMiss", error, { regionId: part.region.id });
    return STALE;
  } finally {
    // The store may have done it before: it is to take what it finds of this transaction as its own.
    if (operation.attempts > attempts + 1) part.isRetry = true;
  }
}

function onPrewritten(run: CommitRun, part: PrewritePart, reply: PrewriteReply): void {
  if (run.triesOnePc) {
    if (reply.onePcCommitTs !== 0n) {
      run.onePcCommitTs = reply.onePcCommitTs;
      return;
    }
    if (reply.minCommitTs !== 0n) {
      throw new TikvError("protocol", "Cannot use the prewrite: it has fallen back and has a timestamp");
    }
    run.fallBack();
  } else if (reply.onePcCommitTs !== 0n) {
    throw new TikvError("protocol", "Cannot use the prewrite: it was committed in one phase unasked");
  } else if (run.usesAsyncCommit) {
    // Nothing is to be concluded from a lock that is no async commit's.
    if (reply.minCommitTs === 0n) run.fallBack();
    else run.raiseMinCommitTs(reply.minCommitTs);
  }
  if (hasPrimary(run, part)) run.options.keepAlive();
}

/** The locks that are in the way. Everything else that went wrong is thrown. */
function locksIn(run: CommitRun, errors: readonly KeyError[]): LockInfo[] {
  const { txn, isPessimistic, failsOnLock } = run.options;
  const locks: LockInfo[] = [];
  for (const error of errors) {
    if (error.locked === undefined) {
      const failure = writeErrorOf(error, { txn, method: "KvPrewrite" });
      if (failure.kind !== "assertion-failed") throw failure;
      run.assertionError ??= failure;
      continue;
    }
    for (const lock of singleLocksOf(error.locked)) {
      // Whoever began later will not be waited for: this transaction would find its write anyway.
      if (failsOnLock || (!isPessimistic && lock.lockVersion > txn.startTs)) {
        throw conflictWithLock(txn, lock);
      }
      locks.push(lock);
    }
  }
  return locks;
}

function hasPrimary(run: CommitRun, { mutations }: PrewritePart): boolean {
  return mutations.some(({ key }) => equalBytes(key, run.options.primary));
}

function whole<T>(items: readonly T[]): readonly (readonly T[])[] {
  return [items];
}

/** client-go's `TxnCommitBatchSize`. */
const BATCH_BYTES = 16 * 1024;

// SPDX-License-Identifier: Apache-2.0
// Requests for pessimistic locks: sent until they are answered, waiting where they may.

import type { KeyError, LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import { PessimisticLockKeyResultType } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { shortKey } from "../../bytes/hex.ts";
import { TikvError } from "../../errors.ts";
import { runParts } from "../../plan/run.ts";
import { cutByBytes, shardItems } from "../../plan/shard.ts";
import type { Region } from "../../region/region.ts";
import { STALE } from "../../region/stale.ts";
import type { PessimisticLockReply } from "../../rpc/batch/messages.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import type { TxnIdentity } from "../commit/committer_run.ts";
import { lockWaitError, writeErrorOf } from "../commit/committer_errors.ts";
import { singleLocksOf } from "../locks/lock.ts";
import type { LockWatch } from "../locks/lock_registry.ts";
import { lockBody } from "../commit/requests.ts";

/** What a lock call wants. */
export interface LockWishes {
  /** Versions after it are a write conflict; absent: now, and again if somebody was faster. */
  readonly forUpdateTs?: bigint | undefined;
  /** How long locks of others are waited for; 0: not at all, `Infinity`: as long as the call lasts. */
  readonly waitMs: number;
  readonly returnsValues: boolean;
  readonly checksExistence: boolean;
  readonly locksOnlyIfExists: boolean;
  readonly isShared: boolean;
  /** A single key is locked even if it was written meanwhile, as soon as its holder lets go of it. */
  readonly isFair: boolean;
}

/** A key to lock. */
export interface LockTarget {
  readonly key: Uint8Array;
  /** It must not exist: an insert. */
  readonly shouldNotExist: boolean;
}

/** What was found out about a key when it was locked. */
export interface LockedKey {
  readonly target: LockTarget;
  /** Undefined when it was not asked for. */
  readonly exists: boolean | undefined;
  /** The newest value, when it was asked for and there is one. */
  readonly value: Uint8Array | undefined;
  /** A version that is newer than the request, in spite of which it was locked; 0 if none. */
  readonly conflictTs: bigint;
  /** The for-update timestamp that the lock has: that of the request, or that of the newer version. */
  readonly forUpdateTs: bigint;
  /** It was locked in line, so that no other request may have taken the lock instead. */
  readonly isFair: boolean;
}

/** What all requests of one lock call have in common. */
export interface LockCall {
  readonly txn: TxnIdentity;
  readonly primary: Uint8Array;
  readonly forUpdateTs: bigint;
  /** Point on the clock after which a lock of somebody else is not waited for; `undefined`: never wait. */
  readonly waitUntil: number | undefined;
  readonly returnsValues: boolean;
  readonly checksExistence: boolean;
  readonly locksOnlyIfExists: boolean;
  readonly isShared: boolean;
  /** The transaction has no lock yet, so it cannot be part of a deadlock. */
  readonly isFirstLock: boolean;
  /** Locks the key even if it was written meanwhile, and says so (fair locking). */
  readonly allowsConflict: boolean;
  /** Takes what was locked. */
  readonly take: (locked: LockedKey) => void;
}

/** Keys of one region. */
export interface LockPart {
  readonly region: Region;
  readonly targets: readonly LockTarget[];
  isRetry: boolean;
}

/** Sends the requests of a lock call, the one with the primary first. */
export async function sendLocks(
  call: LockCall,
  targets: readonly LockTarget[],
  operation: Operation,
): Promise<void> {
  const { concurrency } = call.txn.session.routing;
  const parts = await lockPartsOf(call, targets, { operation, isRetry: false });
  const at = parts.findIndex((part) => part.targets.some(({ key }) => equalBytes(key, call.primary)));
  // A lock whose primary does not exist would be taken for one that is over.
  const [first] = at < 0 ? [] : parts.splice(at, 1);
  for (const some of first === undefined ? [parts] : [[first], parts]) {
    await runParts(some, (part, ofPart) => lockPart(call, part, ofPart), { operation, concurrency });
  }
}

/** Cuts keys by region and size. */
async function lockPartsOf(
  call: LockCall,
  targets: readonly LockTarget[],
  { operation, isRetry }: { readonly operation: Operation; readonly isRetry: boolean },
): Promise<LockPart[]> {
  const { regions } = call.txn.session.routing;
  const parts = await shardItems(targets, {
    regions,
    operation,
    keyOf: ({ key }) => key,
    cut: (items) => cutByBytes(items, ({ key }) => key.length, BATCH_BYTES),
  });
  return parts.map(({ region, items }) => ({ region, targets: items, isRetry }));
}

/** What was in the way of a part. */
interface MetLocks {
  /** Transactions whose locks were. */
  readonly startTs: Set<bigint>;
  /** The lock that was last. */
  blocker: LockInfo | undefined;
  readonly watch: LockWatch;
}

/** Locks the keys of a part. Returns the parts that take its place when its region has changed. */
async function lockPart(
  call: LockCall,
  part: LockPart,
  operation: Operation,
): Promise<LockPart[] | undefined> {
  const met: MetLocks = {
    startTs: new Set(),
    blocker: undefined,
    watch: call.txn.locks.waits.watch(call.txn.startTs),
  };
  try {
    return await lockUntilDone(call, { part, met }, operation);
  } catch (error) {
    const { blocker } = met;
    const { deadline } = operation;
    if (blocker === undefined || !deadline.isOver() || deadline.isAborted) throw error;
    // Not what the last request was told is what it waited for.
    const shown = shortKey(blocker.key, call.txn.session.settings.revealKeys);
    throw deadline.timeoutError(`lock key ${shown}, which transaction ${blocker.lockVersion} has`, error);
  } finally {
    met.watch.done();
  }
}

async function lockUntilDone(
  call: LockCall,
  { part, met }: { readonly part: LockPart; readonly met: MetLocks },
  operation: Operation,
): Promise<LockPart[] | undefined> {
  const { session, context } = call.txn;
  const { sender } = session.routing;
  for (;;) {
    operation.deadline.throwIfOver("lock keys");
    const body = lockBody(call, part, waitMsOf(call, operation));
    const request = sender.request(COMMANDS.KvPessimisticLock, body, { context, isRetry: part.isRetry });
    const attempts = operation.attempts;
    const reply = await sender.send(part.region, request, operation);
    if (reply === STALE) return await lockPartsOf(call, part.targets, { operation, isRetry: true });
    if (operation.attempts > attempts + 1) part.isRetry = true;
    if (reply.errors.length === 0 && !hasFailed(reply)) {
      takeReply(call, part, reply);
      return undefined;
    }
    await getPast(call, { part, met, errors: reply.errors }, operation);
  }
}

function hasFailed({ results }: PessimisticLockReply): boolean {
  return results.some(({ type }) => type === PessimisticLockKeyResultType.LockResultFailed);
}

function takeReply(call: LockCall, { targets }: LockPart, reply: PessimisticLockReply): void {
  const { returnsValues, checksExistence, forUpdateTs } = call;
  // A store that does not know of fair locking answers as if it had not been asked for.
  const isFair = call.allowsConflict && reply.results.length > 0;
  targets.forEach((target, index) => {
    if (isFair) {
      const result = reply.results[index];
      if (result === undefined) throw shortReply(targets.length, reply.results.length);
      const { type, existence, value, lockedWithConflictTs } = result;
      const isConflict = type === PessimisticLockKeyResultType.LockResultLockedWithConflict;
      // A conflict always tells of the newer version, whatever was asked for.
      const isKnown = isConflict || returnsValues || checksExistence;
      call.take({
        target,
        exists: isKnown ? existence : undefined,
        value: existence && (isConflict || returnsValues) ? value : undefined,
        conflictTs: isConflict ? lockedWithConflictTs : 0n,
        forUpdateTs: isConflict ? lockedWithConflictTs : forUpdateTs,
        isFair,
      });
      return;
    }
    const isKnown = returnsValues || checksExistence;
    const isMissing = isKnown ? reply.notFounds[index] : undefined;
    if (isKnown && isMissing === undefined) throw shortReply(targets.length, reply.notFounds.length);
    const value = returnsValues && isMissing === false ? reply.values[index] : undefined;
    const exists = isMissing === undefined ? undefined : !isMissing;
    call.take({ target, exists, value, conflictTs: 0n, forUpdateTs, isFair });
  });
}

function shortReply(asked: number, answered: number): TikvError<"protocol"> {
  return new TikvError(
    "protocol",
    `Cannot use the locks: ${asked} were asked for, ${answered} were answered`,
  );
}

/** Does what lets the next attempt go on, or throws. */
async function getPast(
  call: LockCall,
  { part, met, errors }: {
    readonly part: LockPart;
    readonly met: MetLocks;
    readonly errors: readonly KeyError[];
  },
  operation: Operation,
): Promise<void> {
  const { txn, waitUntil } = call;
  const { clock } = txn.session.settings.environment;
  const locks: LockInfo[] = [];
  for (const error of errors) {
    if (error.locked === undefined) throw writeErrorOf(error, { txn, method: "KvPessimisticLock" });
    locks.push(...singleLocksOf(error.locked));
  }
  // Who has just changed a lock is at work: neither the primary has to be asked nor anybody waited
  // for longer than the store has done already.
  const idle = locks.filter(({ durationToLastUpdateMs: ms }) => ms === 0n || ms >= ACTIVE_MS);
  // A store tells of one lock at a time, after a second of waiting for it: whoever left one has
  // perhaps left them all.
  const resolvesRegion = idle.some(({ lockVersion }) => met.startTs.has(lockVersion));
  for (const { lockVersion } of idle) met.startTs.add(lockVersion);
  met.blocker = locks[0];
  met.watch.update(locks);
  const aliveMs = idle.length === 0 ? undefined : await txn.locks.breakLocks(
    idle,
    { startTs: 0n, context: txn.context, releasesRegion: true, resolvesRegion },
    operation,
  );
  if (aliveMs === 0) return;
  const [blocker] = locks;
  if (blocker === undefined) throw new TikvError("protocol", "Cannot lock keys: the store did not say why");
  if (waitUntil === undefined) throw lockWaitError(txn, blocker, "it was not to be waited for");
  if (clock.now() >= waitUntil) throw lockWaitError(txn, blocker, "it was held for longer than allowed");
  if (aliveMs === undefined) {
    await operation.backoffs.wait("txnLockFast", lockWaitError(txn, blocker, "its holder is at work"), {
      regionId: part.region.id,
      maxMs: ACTIVE_WAIT_MS,
    });
  }
}

/** What goes on the wire: how long the store lets the request wait; negative for not at all. */
function waitMsOf({ txn, waitUntil }: LockCall, { deadline }: Operation): bigint {
  const { clock } = txn.session.settings.environment;
  if (waitUntil === undefined) return -1n;
  const restMs = Math.ceil(Math.min(waitUntil - clock.now(), deadline.remainingMs(), STORE_WAIT_MS));
  // 0 would be "as long as the store likes".
  return restMs <= 0 ? -1n : BigInt(restMs);
}

const BATCH_BYTES = 16 * 1024;
/** client-go's `skipResolveThresholdMs`. */
const ACTIVE_MS = 300n;
const ACTIVE_WAIT_MS = 50;
/** A store waits 1 s at most, whatever it is told (`wait-for-lock-timeout`); then it is asked again. */
const STORE_WAIT_MS = 1_000;

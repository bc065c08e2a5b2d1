// SPDX-License-Identifier: Apache-2.0
// The bodies of the requests that lock and commit, made of what a transaction knows.

import {
  Assertion,
  CommitRole,
  Op,
  PessimisticLockWakeUpMode,
  PrewriteRequest_PessimisticAction,
} from "../../../gen/kvrpcpb_pb.ts";
import { equalBytes } from "../../bytes/compare.ts";
import type {
  CommitBody,
  ForUpdateTsConstraintBody,
  MutationBody,
  PessimisticLockBody,
  PrewriteBody,
} from "../../rpc/batch/messages.ts";
import { physicalMsOf, type Timestamp } from "../../types.ts";
import { type CommitMutation, type CommitRun, elapsedMsOf } from "./committer_run.ts";
import { MANAGED_LOCK_TTL_MS } from "./heartbeat.ts";
import type { LockCall, LockPart } from "../pessimistic/pessimistic_request.ts";
import type { PrewritePart } from "./prewrite.ts";

/** Stands for "nobody knows how many keys there are". */
export const MAX_TXN_SIZE = 0xffff_ffff_ffff_ffffn;

/** How long a lock lives that nobody keeps alive, in milliseconds (client-go's `txnLockTTL`). */
export function lockTtlMs(sizeBytes: number, elapsedMs: number): number {
  if (sizeBytes < SIZED_TTL_BYTES) return DEFAULT_TTL_MS + elapsedMs;
  const ttlMs = Math.floor(TTL_FACTOR * Math.sqrt(sizeBytes / (1024 * 1024)));
  return Math.min(MAX_TTL_MS, Math.max(DEFAULT_TTL_MS, ttlMs)) + elapsedMs;
}

/** A prewrite of some keys. The one with the primary names all others, if that is to decide. */
export function prewriteBody(run: CommitRun, part: PrewritePart, hasPrimary: boolean): PrewriteBody {
  const { options } = run;
  const { txn, primary, isPessimistic, assertionLevel } = options;
  const { mutations } = part;
  const { usesAsyncCommit, triesOnePc } = run;
  return {
    mutations: mutations.map(mutationBody),
    primaryLock: primary,
    startVersion: txn.startTs,
    lockTtl: prewriteTtl(run),
    ...(isPessimistic ? { pessimisticActions: mutations.map(({ check }) => ACTIONS[check]) } : {}),
    txnSize: part.txnSize,
    forUpdateTs: isPessimistic ? run.forUpdateTs : 0n,
    minCommitTs: run.minCommitTs,
    maxCommitTs: usesAsyncCommit || triesOnePc ? run.maxCommitTs : 0n,
    useAsyncCommit: usesAsyncCommit,
    tryOnePc: triesOnePc,
    secondaries: usesAsyncCommit && hasPrimary ? secondariesOf(run) : undefined,
    assertionLevel,
    forUpdateTsConstraints: constraintsOf(run, mutations),
  };
}

function prewriteTtl(run: CommitRun): bigint {
  const { txn, isPessimistic } = run.options;
  const ttlMs = lockTtlMs(run.sizeBytes, run.elapsedMs);
  if (!isPessimistic || !run.usesAsyncCommit) return BigInt(ttlMs);
  // Nobody may resolve the lock before the last moment that it could be committed at.
  const windowMs = physicalMsOf(run.maxCommitTs as Timestamp) - physicalMsOf(txn.startTs) + 1;
  return BigInt(Math.max(ttlMs, windowMs));
}

/** What was only checked leaves no lock: whoever recovers the transaction must not look for one. */
function secondariesOf({ options }: CommitRun): Uint8Array[] {
  return options.mutations
    .filter(({ op, key }) => op !== "check-not-exists" && !equalBytes(key, options.primary))
    .map(({ key }) => key);
}

function constraintsOf(
  { options }: CommitRun,
  mutations: readonly CommitMutation[],
): ForUpdateTsConstraintBody[] | undefined {
  const { constraints } = options;
  if (constraints === undefined || constraints.size === 0) return undefined;
  return mutations.flatMap(({ key }, index) => {
    const expectedForUpdateTs = constraints.get(key);
    return expectedForUpdateTs === undefined ? [] : [{ index, expectedForUpdateTs }];
  });
}

function mutationBody({ op, key, value, assertion }: CommitMutation): MutationBody {
  return { op: OPS[op], key, value, assertion: ASSERTIONS[assertion] };
}

/** A commit of keys of one region. */
export function commitBody(
  run: CommitRun,
  { keys, commitTs, role }: {
    readonly keys: readonly Uint8Array[];
    readonly commitTs: Timestamp;
    readonly role: "primary" | "secondary";
  },
): CommitBody {
  const { txn, primary } = run.options;
  return {
    startVersion: txn.startTs,
    keys,
    commitVersion: commitTs,
    commitRole: role === "primary" ? CommitRole.Primary : CommitRole.Secondary,
    primaryKey: primary,
    useAsyncCommit: run.usesAsyncCommit,
  };
}

/** A request for pessimistic locks. `waitMs` below 0 is not to wait. */
export function lockBody(call: LockCall, { targets }: LockPart, waitMs: bigint): PessimisticLockBody {
  const { txn, forUpdateTs, isShared } = call;
  return {
    mutations: targets.map(({ key, shouldNotExist }) => ({
      op: isShared ? Op.SharedPessimisticLock : Op.PessimisticLock,
      key,
      assertion: shouldNotExist ? Assertion.NotExist : Assertion.None,
    })),
    primaryLock: call.primary,
    startVersion: txn.startTs,
    // Measured from the start of the transaction, as all lives of locks are.
    lockTtl: BigInt(elapsedMsOf(txn) + MANAGED_LOCK_TTL_MS),
    forUpdateTs,
    isFirstLock: call.isFirstLock,
    waitTimeout: waitMs,
    returnValues: call.returnsValues,
    checkExistence: call.checksExistence,
    lockOnlyIfExists: call.locksOnlyIfExists,
    minCommitTs: forUpdateTs + 1n,
    wakeUpMode: call.allowsConflict
      ? PessimisticLockWakeUpMode.WakeUpModeForceLock
      : PessimisticLockWakeUpMode.WakeUpModeNormal,
  };
}

const OPS = {
  "put": Op.Put,
  "insert": Op.Insert,
  "delete": Op.Del,
  "lock": Op.Lock,
  "shared-lock": Op.SharedLock,
  "check-not-exists": Op.CheckNotExists,
} as const satisfies Record<CommitMutation["op"], Op>;

const ASSERTIONS = {
  "none": Assertion.None,
  "exists": Assertion.Exist,
  "not-exists": Assertion.NotExist,
} as const satisfies Record<CommitMutation["assertion"], Assertion>;

const ACTIONS = {
  "none": PrewriteRequest_PessimisticAction.SKIP_PESSIMISTIC_CHECK,
  "lock": PrewriteRequest_PessimisticAction.DO_PESSIMISTIC_CHECK,
  "constraint": PrewriteRequest_PessimisticAction.DO_CONSTRAINT_CHECK,
} as const satisfies Record<CommitMutation["check"], PrewriteRequest_PessimisticAction>;

const DEFAULT_TTL_MS = 3_000;
const MAX_TTL_MS = 20_000;
const TTL_FACTOR = 6_000;
const SIZED_TTL_BYTES = 16 * 1024;

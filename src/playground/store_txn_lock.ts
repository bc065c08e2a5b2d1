// SPDX-License-Identifier: Apache-2.0
// The transactional commands about locks: taking them, giving them up, asking about them.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type {
  CheckTxnStatusResponse,
  PessimisticLockKeyResultSchema,
  PessimisticLockRequest,
  PessimisticLockResponse,
} from "../../gen/kvrpcpb_pb.ts";
import {
  Action,
  Assertion,
  CheckSecondaryLocksResponseSchema,
  CheckTxnStatusResponseSchema,
  GetLockWaitInfoResponseSchema,
  Op,
  PessimisticLockKeyResultType,
  PessimisticLockResponseSchema,
  PessimisticLockWakeUpMode,
  PessimisticRollbackResponseSchema,
  TxnHeartBeatResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { copyBytes } from "../bytes/concat.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { lockInfoOf } from "./mvcc/lock_info.ts";
import { WAIT_FOR_LOCK_TIMEOUT_MS } from "./mvcc/lock_waits.ts";
import type { LockInfoInit } from "./mvcc/mvcc_error.ts";
import { keyErrorOf, MvccError } from "./mvcc/mvcc_error.ts";
import type { LockKey, LockParameters, LockResult } from "./mvcc/pessimistic_lock.ts";
import { lockKeys } from "./mvcc/pessimistic_lock.ts";
import { rollbackPessimistic, rollbackPessimisticRange } from "./mvcc/pessimistic_rollback.ts";
import { checkSecondaryLocks } from "./mvcc/secondary_locks.ts";
import type { TxnStatus } from "./mvcc/txn_status.ts";
import { checkTxnStatus, heartBeat } from "./mvcc/txn_status.ts";
import type { ResumeOutcome } from "./mvcc/wait_queue.ts";
import { RegionRefusal } from "./region_check.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import {
  checkKeySizes,
  checkTxnKeys,
  encodeKeys,
  finish,
  malformed,
  openForWrite,
  txnCommand,
} from "./store_txn_access.ts";

/** The transactional commands about locks. */
export const TXN_LOCKS: readonly StoreCommand[] = [
  txnCommand(Tikv.method.kvPessimisticLock, "PessimisticLock", (scope, request) => {
    const { context, startVersion, waitTimeout } = request;
    const { mvcc } = scope.cluster;
    const params = parametersOf(request);
    const targets = targetsOf(request);
    const keys = targets.map(({ key }) => key);
    checkTxnKeys(scope, "acquire_pessimistic_lock", context, keys);
    checkKeySizes(scope, keys);
    const region = openForWrite(scope, context, keys);
    const txn = mvcc.begin(scope.storeId, startVersion);
    const outcome = lockKeys(txn, targets, params);
    finish(region, txn, { isInMemory: true });
    if (outcome.kind === "locked") return lockReply(params, outcome.results);
    if (outcome.kind === "shrunk") throw locked(outcome.lock);
    // Negative: not at all; 0: as long as the store likes.
    if (waitTimeout < 0n) return failedReply(params, locked(outcome.lock));
    const timeoutMs = waitTimeout === 0n ? WAIT_FOR_LOCK_TIMEOUT_MS : Number(waitTimeout);
    const target = outcome.key;
    const resume = () => resumeLock(scope, request, target, params);
    return mvcc.waits.wait({
      storeId: scope.storeId,
      target,
      params,
      timeoutMs,
      resourceGroupTag: context?.resourceGroupTag ?? new Uint8Array(0),
      resume,
    }, outcome.lock).then(
      (result) => lockReply(params, [result]),
      (error: unknown) => failedReply(params, error),
    );
  }),

  txnCommand(Tikv.method.kVPessimisticRollback, "PessimisticRollback", (scope, request) => {
    const { context, startVersion, forUpdateTs } = request;
    const keys = encodeKeys(request.keys);
    const target = openForWrite(scope, context, keys);
    const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
    if (keys.length > 0) rollbackPessimistic(txn, keys, forUpdateTs);
    else rollbackPessimisticRange(txn, target.region, forUpdateTs);
    finish(target, txn, { isInMemory: true });
    return create(PessimisticRollbackResponseSchema);
  }),

  txnCommand(Tikv.method.kvTxnHeartBeat, "TxnHeartBeat", (scope, request) => {
    const { context, primaryLock, startVersion, adviseLockTtl, minCommitTs } = request;
    const key = encodeBytes(primaryLock);
    const target = openForWrite(scope, context, [key]);
    const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
    const lock = heartBeat(txn, key, adviseLockTtl, minCommitTs);
    finish(target, txn);
    return create(TxnHeartBeatResponseSchema, { lockTtl: lock.ttlMs });
  }),

  txnCommand(Tikv.method.kvCheckTxnStatus, "CheckTxnStatus", (scope, request) => {
    const key = encodeBytes(request.primaryKey);
    const target = openForWrite(scope, request.context, [key]);
    const txn = scope.cluster.mvcc.begin(scope.storeId, request.lockTs);
    const status = checkTxnStatus(txn, key, {
      callerStartTs: request.callerStartTs,
      currentTs: request.currentTs,
      rollsBackIfMissing: request.rollbackIfNotExist,
      forcesSyncCommit: request.forceSyncCommit,
      isResolvingPessimisticLock: request.resolvingPessimisticLock,
      verifiesPrimary: request.verifyIsPrimary,
    });
    finish(target, txn);
    if (status.kind === "committed") {
      scope.cluster.mvcc.statuses(scope.storeId).add(request.lockTs, status.commitTs);
    }
    return statusReply(status);
  }),

  txnCommand(Tikv.method.kvCheckSecondaryLocks, "CheckSecondaryLocks", (scope, request) => {
    const { context, startVersion } = request;
    const keys = encodeKeys(request.keys);
    const target = openForWrite(scope, context, keys);
    const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
    const status = checkSecondaryLocks(txn, keys);
    finish(target, txn);
    switch (status.kind) {
      case "locked":
        return create(CheckSecondaryLocksResponseSchema, { locks: [...status.locks] });
      case "committed":
        scope.cluster.mvcc.statuses(scope.storeId).add(startVersion, status.commitTs);
        return create(CheckSecondaryLocksResponseSchema, { commitTs: status.commitTs });
      case "rolled-back":
        return create(CheckSecondaryLocksResponseSchema);
    }
  }),

  txnCommand(
    Tikv.method.getLockWaitInfo,
    undefined,
    ({ cluster, storeId }) =>
      create(GetLockWaitInfoResponseSchema, { entries: cluster.mvcc.waits.entries(storeId) }),
  ),
];

/** Runs a waiting request of fair locking again, whose key has become free. */
function resumeLock(
  scope: StoreScope,
  { context, startVersion }: PessimisticLockRequest,
  target: LockKey,
  params: LockParameters,
): ResumeOutcome {
  const region = openForWrite(scope, context, [target.key]);
  const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
  const outcome = lockKeys(txn, [target], params);
  // A waiter does not keep others from sharing: the client has to come again for that.
  if (outcome.kind === "shrunk") throw locked(outcome.lock);
  if (outcome.kind === "blocked") {
    if ((outcome.lock.sharedLockInfos ?? []).length > 0) throw locked(outcome.lock);
    return { kind: "blocked", lock: outcome.lock };
  }
  finish(region, txn, { isInMemory: true });
  return { kind: "locked", result: outcome.results[0] ?? { kind: "empty" } };
}

function parametersOf(request: PessimisticLockRequest): LockParameters {
  return {
    primary: copyBytes(request.primaryLock),
    startTs: request.startVersion,
    ttlMs: request.lockTtl,
    forUpdateTs: request.forUpdateTs,
    minCommitTs: request.minCommitTs,
    returnsValues: request.returnValues,
    checksExistence: request.checkExistence,
    locksOnlyIfExists: request.lockOnlyIfExists,
    allowsConflict: request.wakeUpMode === PessimisticLockWakeUpMode.WakeUpModeForceLock,
    isFirstLock: request.isFirstLock,
  };
}

function targetsOf({ mutations }: PessimisticLockRequest): LockKey[] {
  return mutations.map(({ op, key, assertion }) => {
    if (op !== Op.PessimisticLock && op !== Op.SharedPessimisticLock) {
      throw malformed("mismatch Op in pessimistic lock mutations");
    }
    return {
      key: encodeBytes(key),
      shouldNotExist: assertion === Assertion.NotExist,
      isShared: op === Op.SharedPessimisticLock,
    };
  });
}

function locked(lock: LockInfoInit): MvccError {
  return new MvccError({ kind: "locked", lock });
}

/** Requests of fair locking are answered key by key, others in lists that are as long as the keys. */
function lockReply(params: LockParameters, results: readonly LockResult[]): PessimisticLockResponse {
  if (params.allowsConflict) {
    return create(PessimisticLockResponseSchema, { results: results.map(resultMessage) });
  }
  const reply = create(PessimisticLockResponseSchema);
  for (const result of results) {
    if (result.kind === "value") {
      reply.values.push(result.value ?? new Uint8Array(0));
      reply.notFounds.push(result.value === undefined);
    } else if (result.kind === "existence") {
      reply.notFounds.push(!result.exists);
    }
  }
  return reply;
}

function resultMessage(result: LockResult): MessageInitShape<typeof PessimisticLockKeyResultSchema> {
  const type = PessimisticLockKeyResultType.LockResultNormal;
  switch (result.kind) {
    case "empty":
      return { type };
    case "value":
      return { type, existence: result.value !== undefined, ...(result.value && { value: result.value }) };
    case "existence":
      return { type, existence: result.exists };
    case "locked-with-conflict":
      return {
        type: PessimisticLockKeyResultType.LockResultLockedWithConflict,
        existence: result.value !== undefined,
        ...(result.value && { value: result.value }),
        lockedWithConflictTs: result.conflictTs,
      };
  }
}

/** The error of a request that waited. In fair locking it stands beside a result. */
function failedReply({ allowsConflict }: LockParameters, error: unknown): PessimisticLockResponse {
  if (!allowsConflict) throw error;
  const results = [{ type: PessimisticLockKeyResultType.LockResultFailed }];
  if (error instanceof RegionRefusal) {
    return create(PessimisticLockResponseSchema, { results, regionError: error.error });
  }
  if (!(error instanceof MvccError)) throw error;
  return create(PessimisticLockResponseSchema, { results, errors: [keyErrorOf(error.fault)] });
}

function statusReply(status: TxnStatus): CheckTxnStatusResponse {
  switch (status.kind) {
    case "committed":
      return create(CheckTxnStatusResponseSchema, { commitVersion: status.commitTs });
    case "alive": {
      const { lock, isMinCommitTsPushed } = status;
      // Shown under the key that it calls its primary.
      const lockInfo = lockInfoOf(encodeBytes(lock.primary), lock);
      const action = isMinCommitTsPushed ? Action.MinCommitTSPushed : Action.NoAction;
      return create(CheckTxnStatusResponseSchema, { action, lockTtl: lock.ttlMs, lockInfo });
    }
    default:
      return create(CheckTxnStatusResponseSchema, { action: ACTIONS[status.kind] });
  }
}

const ACTIONS: Readonly<Record<Exclude<TxnStatus["kind"], "committed" | "alive">, Action>> = {
  "rolled-back": Action.NoAction,
  "expired": Action.TTLExpireRollback,
  "lock-not-exist": Action.LockNotExistRollback,
  "pessimistic-rolled-back": Action.TTLExpirePessimisticRollback,
  "do-nothing": Action.LockNotExistDoNothing,
};

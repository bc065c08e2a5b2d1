// SPDX-License-Identifier: Apache-2.0
// The transactional commands that write and commit data.

import { create } from "@bufbuild/protobuf";
import type { Mutation, PrewriteRequest } from "../../gen/kvrpcpb_pb.ts";
import {
  Assertion,
  AssertionLevel,
  BatchRollbackResponseSchema,
  CleanupResponseSchema,
  CommitResponseSchema,
  CommitRole,
  FlushResponseSchema,
  Op,
  PrewriteRequest_PessimisticAction,
  PrewriteResponseSchema,
  ResolveLockResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { copyBytes } from "../bytes/concat.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { commitKeys, resolveKeys, resolveRange, rollbackKeys } from "./mvcc/commit.ts";
import { keyErrorOf, MvccError } from "./mvcc/mvcc_error.ts";
import { flush, prewrite } from "./mvcc/prewrite.ts";
import type {
  AssertionKind,
  CommitPlan,
  PessimisticAction,
  PrewriteMutation,
  PrewriteOp,
  PrewriteProperties,
  TxnMode,
} from "./mvcc/prewrite_types.ts";
import { cleanup } from "./mvcc/rollback.ts";
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

/** The transactional commands that write and commit data. */
export const TXN_WRITES: readonly StoreCommand[] = [
  txnCommand(Tikv.method.kvPrewrite, "Prewrite", (scope, request) => {
    const { context, startVersion, useAsyncCommit } = request;
    const { mvcc } = scope.cluster;
    const isPessimistic = request.forUpdateTs !== 0n;
    const mutations = mutationsOf(request, isPessimistic);
    checkWriteKeys(scope, "prewrite", request, mutations);
    const target = openForWrite(scope, context, mutations.map(({ key }) => key));
    const statuses = mvcc.statuses(scope.storeId);
    const isLate = isPessimistic && statuses.commitTs(startVersion) !== undefined;
    const txn = mvcc.begin(scope.storeId, startVersion);
    const result = prewrite(txn, {
      props: propertiesOf(request, (context?.isRetryRequest ?? false) || isLate),
      mutations,
      secondaries: useAsyncCommit ? request.secondaries.map(copyBytes) : undefined,
    });
    finish(target, txn);
    if (result.onePcCommitTs !== 0n) statuses.add(startVersion, result.onePcCommitTs);
    return create(PrewriteResponseSchema, {
      errors: result.locks.map(keyErrorOf),
      minCommitTs: result.minCommitTs,
      onePcCommitTs: result.onePcCommitTs,
    });
  }),

  txnCommand(Tikv.method.kvFlush, "Flush", (scope, request) => {
    const { context, startTs, primaryKey, generation, lockTtl } = request;
    const mutations = request.mutations.map((mutation) => mutationOf(mutation, "skip"));
    checkWriteKeys(scope, "flush", request, mutations);
    const target = openForWrite(scope, context, mutations.map(({ key }) => key));
    const txn = scope.cluster.mvcc.begin(scope.storeId, startTs);
    const locks = flush(
      txn,
      {
        startTs,
        mode: { kind: "optimistic", skipsConstraintCheck: false },
        commit: { kind: "2pc" },
        primary: copyBytes(primaryKey),
        txnSize: 0xffff_ffff_ffff_ffffn,
        lockTtlMs: lockTtl,
        minCommitTs: startTs + 1n,
        isRetry: context?.isRetryRequest ?? false,
        assertionLevel: levelOf(request.assertionLevel),
        txnSource: context?.txnSource ?? 0n,
      },
      mutations,
      generation,
    );
    // Unlike a prewrite, a flush writes the locks that it could take.
    finish(target, txn);
    return create(FlushResponseSchema, { errors: locks.map(keyErrorOf) });
  }),

  txnCommand(Tikv.method.kvCommit, "Commit", (scope, request) => {
    const { context, startVersion, commitVersion, commitRole } = request;
    const keys = encodeKeys(request.keys);
    const target = openForWrite(scope, context, keys);
    const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
    commitKeys(txn, keys, commitVersion, roleOf(commitRole));
    finish(target, txn);
    scope.cluster.mvcc.statuses(scope.storeId).add(startVersion, commitVersion);
    return create(CommitResponseSchema, { commitVersion });
  }),

  txnCommand(Tikv.method.kvCleanup, "Cleanup", (scope, { context, key, startVersion, currentTs }) => {
    const encoded = encodeBytes(key);
    const target = openForWrite(scope, context, [encoded]);
    const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
    txn.maxTs.raise(startVersion);
    try {
      cleanup(txn, encoded, currentTs, true);
    } catch (error) {
      if (!(error instanceof MvccError) || error.fault.kind !== "committed") throw error;
      return create(CleanupResponseSchema, { commitVersion: error.fault.commitTs });
    }
    finish(target, txn);
    return create(CleanupResponseSchema);
  }),

  txnCommand(Tikv.method.kvBatchRollback, "BatchRollback", (scope, { context, keys, startVersion }) => {
    const encoded = encodeKeys(keys);
    const target = openForWrite(scope, context, encoded);
    const txn = scope.cluster.mvcc.begin(scope.storeId, startVersion);
    rollbackKeys(txn, encoded);
    finish(target, txn);
    return create(BatchRollbackResponseSchema);
  }),

  txnCommand(Tikv.method.kvResolveLock, "ResolveLock", (scope, request) => {
    const { context, startVersion, commitVersion } = request;
    const { mvcc } = scope.cluster;
    const statuses = mvcc.statuses(scope.storeId);
    const keys = encodeKeys(request.keys);
    const target = openForWrite(scope, context, keys);
    const txn = mvcc.begin(scope.storeId, startVersion);
    if (keys.length > 0) {
      if (startVersion === 0n) throw malformed("a resolution by keys needs a start timestamp");
      resolveKeys(txn, keys, commitVersion);
      finish(target, txn);
      if (commitVersion !== 0n) statuses.add(startVersion, commitVersion);
      return create(ResolveLockResponseSchema);
    }
    const ends = startVersion > 0n
      ? new Map([[startVersion, commitVersion]])
      : new Map(request.txnInfos.map((info) => [info.txn, info.status]));
    const committed = resolveRange(txn, target.region, ends);
    finish(target, txn, { isSplit: true });
    for (const [startTs, commitTs] of committed) statuses.add(startTs, commitTs);
    return create(ResolveLockResponseSchema);
  }),
];

const OPS: Readonly<Record<number, PrewriteOp>> = {
  [Op.Put]: "put",
  [Op.Del]: "delete",
  [Op.Lock]: "lock",
  [Op.SharedLock]: "shared-lock",
  [Op.Insert]: "insert",
  [Op.CheckNotExists]: "check-not-exists",
};

const ACTIONS: Readonly<Record<number, PessimisticAction>> = {
  [PrewriteRequest_PessimisticAction.SKIP_PESSIMISTIC_CHECK]: "skip",
  [PrewriteRequest_PessimisticAction.DO_PESSIMISTIC_CHECK]: "pessimistic-check",
  [PrewriteRequest_PessimisticAction.DO_CONSTRAINT_CHECK]: "constraint-check",
};

const ASSERTIONS: Readonly<Record<number, AssertionKind>> = {
  [Assertion.None]: "none",
  [Assertion.Exist]: "exist",
  [Assertion.NotExist]: "not-exist",
};

function mutationOf({ op, key, value, assertion }: Mutation, action: PessimisticAction): PrewriteMutation {
  const kind = OPS[op];
  if (kind === undefined) throw malformed("mismatch Op in prewrite mutations");
  return {
    op: kind,
    key: encodeBytes(key),
    // A copy: the request is part of a larger message, and may still be the client's.
    value: kind === "put" || kind === "insert" ? copyBytes(value) : undefined,
    assertion: ASSERTIONS[assertion] ?? "none",
    action,
  };
}

function mutationsOf(request: PrewriteRequest, isPessimistic: boolean): PrewriteMutation[] {
  if (!isPessimistic) return request.mutations.map((mutation) => mutationOf(mutation, "skip"));
  // TiKV pairs mutations with actions and drops what has no partner.
  const mutations = request.mutations.slice(0, request.pessimisticActions.length).map((mutation, index) =>
    mutationOf(mutation, ACTIONS[request.pessimisticActions[index] ?? 0] ?? "skip")
  );
  for (const { index, expectedForUpdateTs } of request.forUpdateTsConstraints) {
    const mutation = mutations[index];
    if (mutation === undefined) {
      const text =
        `prewrite request invalid: for_update_ts constraint set for index ${index} while ${mutations.length} mutations were given`;
      throw new MvccError({ kind: "abort", debug: `Error(Txn(Error(Other("${text}"))))` });
    }
    mutations[index] = { ...mutation, expectedForUpdateTs };
  }
  return mutations;
}

function propertiesOf(request: PrewriteRequest, isRetry: boolean): PrewriteProperties {
  const { maxCommitTs } = request;
  const mode: TxnMode = request.forUpdateTs === 0n
    ? { kind: "optimistic", skipsConstraintCheck: request.skipConstraintCheck }
    : { kind: "pessimistic", forUpdateTs: request.forUpdateTs };
  const commit: CommitPlan = request.tryOnePc
    ? { kind: "1pc", maxCommitTs }
    : request.useAsyncCommit
    ? { kind: "async", maxCommitTs }
    : { kind: "2pc" };
  return {
    startTs: request.startVersion,
    mode,
    commit,
    primary: copyBytes(request.primaryLock),
    txnSize: request.txnSize,
    lockTtlMs: request.lockTtl,
    minCommitTs: request.minCommitTs,
    isRetry,
    assertionLevel: levelOf(request.assertionLevel),
    txnSource: request.context?.txnSource ?? 0n,
  };
}

function levelOf(level: AssertionLevel): PrewriteProperties["assertionLevel"] {
  if (level === AssertionLevel.Off) return "off";
  return level === AssertionLevel.Strict ? "strict" : "fast";
}

function roleOf(role: CommitRole): "primary" | "secondary" | undefined {
  if (role === CommitRole.Primary) return "primary";
  return role === CommitRole.Secondary ? "secondary" : undefined;
}

function checkWriteKeys(
  scope: StoreScope,
  command: string,
  { context }: Pick<PrewriteRequest, "context">,
  mutations: readonly PrewriteMutation[],
): void {
  const keys = mutations.map(({ key }) => key);
  checkTxnKeys(scope, command, context, keys);
  checkKeySizes(scope, keys);
}

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Action, KeyErrorSchema, type LockInfo, LockInfoSchema, Op } from "../../../gen/kvrpcpb_pb.ts";
import { groupLocks, singleLocksOf } from "../../../src/txn/locks/lock.ts";
import {
  type CaseFacts,
  caseOf,
  LOCK_STEPS,
  type LockStep,
  remainingMs,
  resolveModeOf,
  verdictOf,
} from "../../../src/txn/locks/lock_decision.ts";
import { Secondaries } from "../../../src/txn/locks/lock_recovery.ts";
import {
  answerOf,
  keysOfAsyncCommit,
  type PrimaryAnswer,
  type TxnStatus,
  TxnStatusCache,
} from "../../../src/txn/locks/txn_status.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";
import { bytes, text } from "../raw/fake_store.ts";

function lock(init: MessageInitShape<typeof LockInfoSchema> = {}): LockInfo {
  return create(LockInfoSchema, {
    key: bytes("k"),
    primaryLock: bytes("p"),
    lockVersion: 100n,
    lockTtl: 3_000n,
    ...init,
  });
}

const PESSIMISTIC = lock({ lockType: Op.PessimisticLock });
const SHARED = lock({ lockType: Op.SharedPessimisticLock });
const PUT = lock({ lockType: Op.Put });
const ALIVE: TxnStatus = {
  state: "alive",
  ttlMs: 3_000,
  isMinCommitTsPushed: false,
  asyncPrimary: undefined,
};
const ASYNC: TxnStatus = { ...ALIVE, asyncPrimary: lock({ useAsyncCommit: true }) };
const FRESH: CaseFacts = { isLockExpired: false, isPrimaryExpired: false, isSyncForced: false };

test("[TXN-160] [TXN-162] [TXN-163] every row of the decision table leads to its step", () => {
  const rows: [LockInfo, PrimaryAnswer, Partial<CaseFacts>, LockStep][] = [
    [PUT, { state: "missing" }, {}, "ask-again"],
    [PESSIMISTIC, { state: "missing" }, {}, "wait-own"],
    [PUT, { state: "missing" }, { isLockExpired: true }, "ask-to-roll-back"],
    [PESSIMISTIC, { state: "missing" }, { isLockExpired: true }, "ask-to-roll-back"],
    [PESSIMISTIC, { state: "mismatch" }, {}, "release"],
    [SHARED, { state: "mismatch" }, {}, "release"],
    [PUT, { state: "mismatch" }, {}, "fail"],
    [PUT, ALIVE, {}, "wait"],
    [PUT, ALIVE, { isPrimaryExpired: true }, "wait"],
    [PESSIMISTIC, ALIVE, {}, "wait"],
    [PUT, ASYNC, {}, "wait"],
    [PUT, ASYNC, { isPrimaryExpired: true }, "recover"],
    [PESSIMISTIC, ASYNC, { isPrimaryExpired: true }, "recover"],
    [PUT, ASYNC, { isPrimaryExpired: true, isSyncForced: true }, "wait"],
    [PUT, { state: "committed", commitTs: 9n }, {}, "resolve"],
    [PUT, { state: "rolled-back" }, {}, "resolve"],
    [PESSIMISTIC, { state: "committed", commitTs: 9n }, {}, "release"],
    [PESSIMISTIC, { state: "rolled-back" }, {}, "release"],
    [PESSIMISTIC, { state: "released" }, {}, "release"],
    [PUT, { state: "released" }, {}, "fail"],
  ];
  for (const [one, answer, facts, step] of rows) {
    const found = caseOf(one, answer, { ...FRESH, ...facts });
    assert.equal(LOCK_STEPS[found], step, `${one.lockType} ${answer.state} ${JSON.stringify(facts)}`);
  }
});

test("[T-24] a primary that has nothing of a transaction is rolled back after the lock's time only", () => {
  for (const one of [PUT, PESSIMISTIC]) {
    assert.notEqual(LOCK_STEPS[caseOf(one, { state: "missing" }, FRESH)], "ask-to-roll-back");
  }
});

test("[T-22] [TXN-007] [ORA-006] a lock lives until its last millisecond is over, by the cluster's timestamps", () => {
  const startTs = 1_000n << 18n;
  const at = (ms: bigint): bigint => (ms << 18n) + 5n;
  assert.equal(remainingMs(startTs, 3_000, at(1_000n)), 3_001);
  assert.equal(remainingMs(startTs, 3_000, at(4_000n)), 1);
  assert.equal(remainingMs(startTs, 3_000, at(4_001n)), 0);
});

test("[TXN-149] [T-50] a reader looks past what comes after it, and through what came before", () => {
  const rows: [TxnStatus, bigint, string][] = [
    [ALIVE, 10n, "wait"],
    [{ ...ALIVE, isMinCommitTsPushed: true }, 10n, "ignore"],
    [{ state: "rolled-back" }, 10n, "ignore"],
    [{ state: "committed", commitTs: 10n }, 10n, "read-through"],
    [{ state: "committed", commitTs: 11n }, 10n, "ignore"],
    [{ state: "released" }, 10n, "retry"],
  ];
  for (const [status, readTs, verdict] of rows) {
    assert.equal(verdictOf(status, readTs), verdict, status.state);
  }
});

test("[TXN-163] [T-76] small transactions are resolved by key, large ones by region, primaries not again", () => {
  const primary = { key: bytes("p") };
  const modes = [
    resolveModeOf(lock({ txnSize: 511n }), false),
    resolveModeOf(lock({ txnSize: 512n }), false),
    resolveModeOf(lock({ txnSize: 0xffff_ffff_ffff_ffffn }), true),
    resolveModeOf(lock({ txnSize: 1n, ...primary }), false),
    resolveModeOf(lock({ txnSize: 512n, ...primary }), false),
  ];
  assert.deepEqual(modes, ["keys", "region", "keys", "nothing", "region"]);
});

test("[TXN-160] [T-26] answers of a primary: what is only released is no end of its transaction", () => {
  const reply = { lockTtl: 0n, commitVersion: 0n, action: Action.NoAction };
  const states = [
    answerOf({ ...reply, lockTtl: 5n }),
    // A time to live of 0 is one, as long as there is a lock.
    answerOf({ ...reply, lockInfo: lock() }),
    answerOf({ ...reply, commitVersion: 7n }),
    answerOf(reply),
    answerOf({ ...reply, action: Action.TTLExpireRollback }),
    answerOf({ ...reply, action: Action.LockNotExistRollback }),
    answerOf({ ...reply, action: Action.TTLExpirePessimisticRollback }),
    answerOf({ ...reply, action: Action.LockNotExistDoNothing }),
    answerOf({ ...reply, error: create(KeyErrorSchema, { txnNotFound: {} }) }),
    answerOf({ ...reply, error: create(KeyErrorSchema, { primaryMismatch: {} }) }),
    answerOf({ ...reply, error: create(KeyErrorSchema, { abort: "x" }) }),
  ].map((answer) => answer?.state);
  assert.deepEqual(states, [
    "alive",
    "alive",
    "committed",
    "rolled-back",
    "rolled-back",
    "rolled-back",
    "released",
    "released",
    "missing",
    "mismatch",
    undefined,
  ]);
});

test("[TXN-161] [T-29] [T-30] the cache keeps ends only, the keys of an async commit, and its bound", () => {
  const cache = new TxnStatusCache(2);
  cache.add(1n, { state: "committed", commitTs: 5n }, [bytes("a")]);
  cache.add(2n, { state: "rolled-back" });
  assert.deepEqual(cache.get(1n)?.lockedKeys.map(text), ["a"]);
  cache.add(3n, { state: "rolled-back" });
  assert.deepEqual([cache.size, cache.get(2n)], [2, undefined]);
  cache.settle(1n);
  assert.deepEqual(cache.get(1n), { status: { state: "committed", commitTs: 5n }, lockedKeys: [] });
  // The same again is fine, anything else is corruption.
  cache.add(1n, { state: "committed", commitTs: 5n });
  throwsKind(() => cache.add(1n, { state: "committed", commitTs: 6n }), "protocol");
  throwsKind(() => cache.add(1n, { state: "rolled-back" }), "protocol");
});

test("[TXN-165] secondaries decide together, in whatever order their answers come", () => {
  const primary = lock({ minCommitTs: 10n, useAsyncCommit: true });
  const held = (minCommitTs: bigint): LockInfo => lock({ useAsyncCommit: true, minCommitTs });
  const all = new Secondaries(primary);
  all.add({ locks: [held(12n), held(11n)], commitTs: 0n }, 2);
  assert.deepEqual(all.outcome(), { state: "committed", commitTs: 12n });
  const alone = new Secondaries(primary);
  assert.deepEqual(alone.outcome(), { state: "committed", commitTs: 10n });
  for (const isFirst of [true, false]) {
    const committed = new Secondaries(primary);
    const gone = { locks: [], commitTs: 15n };
    if (isFirst) committed.add(gone, 1);
    committed.add({ locks: [held(12n)], commitTs: 0n }, 1);
    if (!isFirst) committed.add(gone, 1);
    assert.deepEqual(committed.outcome(), { state: "committed", commitTs: 15n });
  }
  const rolledBack = new Secondaries(primary);
  rolledBack.add({ locks: [], commitTs: 0n }, 1);
  assert.deepEqual(rolledBack.outcome(), { state: "rolled-back" });
});

test("[T-28] one lock that is no async commit's makes the primary decide", () => {
  const secondaries = new Secondaries(lock({ minCommitTs: 10n, useAsyncCommit: true }));
  secondaries.add({ locks: [lock({ useAsyncCommit: true, minCommitTs: 12n })], commitTs: 0n }, 1);
  secondaries.add({ locks: [lock({ minCommitTs: 0n })], commitTs: 0n }, 1);
  assert.deepEqual(secondaries.outcome(), { state: "sync" });
});

test("[TXN-165] answers that contradict each other are a protocol error", () => {
  const primary = lock({ minCommitTs: 10n, useAsyncCommit: true });
  const twice = new Secondaries(primary);
  twice.add({ locks: [], commitTs: 15n }, 1);
  throwsKind(() => twice.add({ locks: [], commitTs: 16n }, 1), "protocol");
  const early = new Secondaries(primary);
  early.add({ locks: [], commitTs: 9n }, 1);
  throwsKind(() => early.outcome(), "protocol");
  const foreign = new Secondaries(primary);
  throwsKind(() => foreign.add({ locks: [lock({ lockVersion: 101n })], commitTs: 0n }, 1), "protocol");
});

test("[T-34] [TXN-171] shared locks are taken apart, and what one question answers is one group", () => {
  const wrapper = lock({ sharedLockInfos: [lock({ lockVersion: 1n }), lock({ lockVersion: 2n })] });
  assert.deepEqual(singleLocksOf(wrapper).map(({ lockVersion }) => lockVersion), [1n, 2n]);
  const groups = groupLocks([
    PUT,
    lock({ key: bytes("k2"), lockTtl: 9_000n }),
    PESSIMISTIC,
    lock({ primaryLock: bytes("other") }),
    lock({ lockTtl: 0n }),
    wrapper,
  ]);
  assert.deepEqual(groups.map(({ locks }) => locks.length), [2, 1, 1, 1, 1, 1]);
  assert.equal(groups[0]?.first.lockTtl, 9_000n);
});

test("[T-13] the keys of an async commit have the primary once", () => {
  const keys = keysOfAsyncCommit(bytes("p"), [bytes("a"), bytes("p"), bytes("b")]);
  assert.deepEqual(keys.map(text), ["p", "a", "b"]);
});

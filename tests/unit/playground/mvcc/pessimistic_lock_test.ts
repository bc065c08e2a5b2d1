// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PessimisticLockResponse } from "../../../../gen/kvrpcpb_pb.ts";
import { PessimisticLockKeyResultType, PessimisticLockWakeUpMode } from "../../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import { at, bytes, faultName, faults, Op, text, TxnBench } from "./txn_bench.ts";

const { method } = Tikv;
const FAIR = { wakeUpMode: PessimisticLockWakeUpMode.WakeUpModeForceLock };
const NOT_EXIST = 2;

interface Case {
  readonly name: string;
  readonly before: (bench: TxnBench) => Promise<unknown>;
  readonly fields?: Record<string, unknown>;
  readonly expect: string;
}

/** Locks of `k` for the transaction at 30 ms, with `for_update_ts` at 40 ms. */
const CASES: readonly Case[] = [
  { name: "a free key", before: async () => {}, expect: "ok" },
  { name: "a key that was written before", before: (b) => b.put({ k: "1" }, at(31), at(35)), expect: "ok" },
  {
    name: "a key that was written since",
    before: (b) => b.put({ k: "1" }, at(31), at(45)),
    expect: "conflict:PessimisticRetry",
  },
  { name: "another's lock", before: (b) => b.prewrite({ k: "1" }, at(20)), expect: "locked" },
  { name: "another's pessimistic lock", before: (b) => b.lock(["k"], at(20), at(20)), expect: "locked" },
  { name: "its own pessimistic lock", before: (b) => b.lock(["k"], at(30), at(30)), expect: "ok" },
  {
    name: "its own prewritten lock",
    before: (b) => b.prewrite({ k: "1" }, at(30)),
    expect: "abort:LockTypeNotMatch",
  },
  {
    name: "a key on which it was rolled back",
    before: (b) => b.rollback(["k"], at(30)),
    expect: "abort:PessimisticLockRolledBack",
  },
  {
    name: "a key on which it was rolled back before a newer version",
    before: async (b) => {
      await b.rollback(["k"], at(30));
      await b.put({ k: "1" }, at(31), at(35));
    },
    expect: "abort:PessimisticLockRolledBack",
  },
  {
    name: "a key that should not exist",
    before: (b) => b.put({ k: "1" }, at(31), at(35)),
    fields: { assertion: NOT_EXIST },
    expect: "exists",
  },
  {
    name: "its own key that should not exist",
    before: async (b) => {
      await b.put({ k: "1" }, at(20), at(25));
      await b.lock(["k"], at(30), at(30));
    },
    fields: { assertion: NOT_EXIST },
    expect: "exists",
  },
  {
    name: "only what exists, without the value",
    before: async () => {},
    fields: { lockOnlyIfExists: true },
    expect: "abort:LockIfExistsFailed",
  },
];

for (const { name, before, fields = {}, expect } of CASES) {
  test(`[TXN-111] a lock of ${name}: ${expect}`, async () => {
    await using bench = await TxnBench.start();
    await before(bench);
    assert.equal(faults(await bench.lock(["k"], at(30), at(40), fields)), expect);
  });
}

test("[TXN-111] a lock has what the request says, and another request renews it", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(30), at(40), { primaryLock: bytes("p"), lockTtl: 9n, minCommitTs: at(41) });
  const show = async () => {
    const [lock] = await bench.locks();
    return [
      lock?.lockType,
      text(lock?.primaryLock ?? bytes("")),
      lock?.lockForUpdateTs,
      lock?.lockTtl,
      lock?.minCommitTs,
    ];
  };
  assert.deepEqual(await show(), [Op.PessimisticLock, "p", at(40), 9n, at(41)]);
  await bench.lock(["k"], at(30), at(39), { lockTtl: 10n });
  assert.deepEqual(await show(), [Op.PessimisticLock, "p", at(40), 9n, at(41)]);
  await bench.lock(["k"], at(30), at(50), { primaryLock: bytes("q"), lockTtl: 10n });
  assert.deepEqual(await show(), [Op.PessimisticLock, "q", at(50), 10n, 0n]);
});

test("locks are all or none", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ b: "1" }, at(45), at(46));
  assert.equal(faults(await bench.lock(["a", "b"], at(30), at(40))), "conflict:PessimisticRetry");
  assert.deepEqual(await bench.locks(), []);
});

test("[TXN-114] values and existence come in the order of the keys", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ a: "1", c: "3" }, at(10), at(11));
  const values = await bench.lock(["a", "b", "c"], at(30), at(40), { returnValues: true });
  assert.deepEqual([values.values.map(text), values.notFounds], [["1", "", "3"], [false, true, false]]);
  const existence = await bench.lock(["a", "b"], at(30), at(40), { checkExistence: true });
  assert.deepEqual([existence.values, existence.notFounds], [[], [false, true]]);
  const nothing = await bench.lock(["a", "b"], at(30), at(40));
  assert.deepEqual([nothing.values, nothing.notFounds], [[], []]);
});

test("[TXN-115] a key that does not exist is not locked when only others are to be", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ a: "1" }, at(10), at(11));
  const reply = await bench.lock(["a", "b"], at(30), at(40), { returnValues: true, lockOnlyIfExists: true });
  assert.deepEqual(reply.notFounds, [false, true]);
  assert.deepEqual((await bench.locks()).map(({ key }) => text(key)), ["a"]);
});

function result({ results: [one], errors }: PessimisticLockResponse): unknown[] {
  const type = Object.entries(PessimisticLockKeyResultType).find(([, value]) => value === one?.type)?.[0];
  return [
    type,
    one?.existence,
    text(one?.value ?? bytes("")),
    (one?.lockedWithConflictTs ?? 0n) >> 18n,
    faults({ errors }),
  ];
}

test("[TXN-121] fair locking takes a key in spite of a newer version, and tells it", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "new" }, at(31), at(45));
  assert.deepEqual(result(await bench.lock(["k"], at(30), at(40), FAIR)), [
    "LockResultLockedWithConflict",
    true,
    "new",
    45n,
    "ok",
  ]);
  const [lock] = await bench.locks();
  assert.equal(lock?.lockForUpdateTs, at(45));
  // A copy of the request gets the same answer.
  assert.deepEqual(result(await bench.lock(["k"], at(30), at(40), FAIR)), [
    "LockResultLockedWithConflict",
    true,
    "new",
    45n,
    "ok",
  ]);
  assert.deepEqual(result(await bench.lock(["f"], at(30), at(40), FAIR)), [
    "LockResultNormal",
    false,
    "",
    0n,
    "ok",
  ]);
  const valued = await bench.lock(["g"], at(30), at(40), { ...FAIR, returnValues: true });
  assert.deepEqual(result(valued), ["LockResultNormal", false, "", 0n, "ok"]);
});

test("[TXN-121] fair locking answers a failure with a failed result and the error", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ k: "1" }, at(20));
  assert.deepEqual(result(await bench.lock(["k"], at(30), at(40), FAIR)), [
    "LockResultFailed",
    false,
    "",
    0n,
    "locked",
  ]);
  await bench.put({ e: "1" }, at(20), at(45));
  const exists = await bench.lock(["e"], at(30), at(40), { ...FAIR, assertion: NOT_EXIST });
  assert.deepEqual([exists.results.length, faults(exists)], [0, "conflict:PessimisticRetry"]);
  const two = await bench.lock(["x", "y"], at(30), at(40), FAIR);
  assert.match(faults(two), /^abort/);
});

test("[TXN-122] a lock of a conflict is gone when its transaction is over", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(30), at(40));
  await bench.lock(["k"], at(30), at(35), FAIR);
  const reply = await bench.status("k", at(30));
  assert.equal(reply.commitVersion, at(40));
  assert.deepEqual(await bench.locks(), []);
});

test("[TXN-118] a pessimistic rollback takes locks up to its timestamp, of keys or a region", async () => {
  await using bench = await TxnBench.start();
  await bench.cluster.split("m");
  const rollback = (key: string, keys: string[], forUpdateTs: bigint) =>
    bench.call(method.kVPessimisticRollback, key, {
      startVersion: at(30),
      forUpdateTs,
      keys: keys.map(bytes),
    });
  const left = async () => (await bench.locks()).map(({ key }) => text(key)).join("");
  await bench.lock(["a", "b", "c"], at(30), at(40));
  await bench.lock(["x"], at(30), at(40));
  await bench.lock(["o"], at(31), at(40));
  await bench.prewriteLocked({ c: "1" }, at(30), at(40));
  await rollback("a", ["a"], at(39));
  assert.equal(await left(), "abc");
  await rollback("a", ["a", "c"], at(40));
  assert.equal(await left(), "bc");
  await rollback("a", [], at(40));
  assert.equal(await left(), "c");
  assert.equal((await bench.call(method.kvScanLock, "x", { maxVersion: at(99) })).locks.length, 2);
});

test("[TXN-124] shared locks let others share, and keep a writer out until the last is gone", async () => {
  await using bench = await TxnBench.start();
  const share = { op: Op.SharedPessimisticLock, primaryLock: bytes("p") };
  assert.equal(faults(await bench.lock(["k"], at(10), at(10), share)), "ok");
  assert.equal(faults(await bench.lock(["k"], at(20), at(20), share)), "ok");
  const [wrapper] = await bench.locks();
  assert.deepEqual([wrapper?.lockType, wrapper?.lockVersion], [Op.SharedLock, 0n]);
  assert.deepEqual(wrapper?.sharedLockInfos.map(({ lockVersion }) => lockVersion), [at(10), at(20)]);
  assert.equal(await bench.get("k", at(50)), undefined);
  // The first writer closes the door; after that nobody may join.
  assert.equal(faults(await bench.lock(["k"], at(30), at(30))), "locked");
  assert.equal(faults(await bench.lock(["k"], at(40), at(40), share)), "locked");
  assert.equal(
    faults(await bench.prewriteLocked({ k: Op.SharedLock }, at(10), at(10), { primaryLock: bytes("p") })),
    "ok",
  );
  assert.equal(faultName((await bench.commit(["k"], at(10), at(60))).error), "ok");
  await bench.call(method.kVPessimisticRollback, "k", {
    startVersion: at(20),
    forUpdateTs: at(20),
    keys: [bytes("k")],
  });
  assert.deepEqual(await bench.locks(), []);
  assert.equal(await bench.writes("k"), "lock@10-60");
});

test("[TXN-124] shared and exclusive locks of a key exclude each other", async () => {
  await using bench = await TxnBench.start();
  const share = { op: Op.SharedPessimisticLock, primaryLock: bytes("p") };
  await bench.lock(["x"], at(10), at(10));
  assert.equal(faults(await bench.lock(["x"], at(20), at(20), share)), "locked");
  await bench.lock(["s"], at(10), at(10), share);
  assert.equal(faults(await bench.prewrite({ s: "1" }, at(20))), "locked");
  assert.match(faults(await bench.prewriteLocked({ s: "1" }, at(10), at(10))), /^abort/);
  const other = await bench.prewriteLocked({ s: Op.SharedLock }, at(20), at(20));
  assert.equal(faults(other), "abort:PessimisticLockNotFound");
  await bench.rollback(["s"], at(10));
  assert.deepEqual((await bench.locks()).map(({ key }) => text(key)), ["x"]);
});

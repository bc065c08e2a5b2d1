// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PessimisticLockResponse } from "../../../../gen/kvrpcpb_pb.ts";
import { PessimisticLockWakeUpMode } from "../../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import { farmFingerprint64 } from "../../../../src/bytes/farm_hash.ts";
import { at, bytes, faults, Op, text, TxnBench } from "./txn_bench.ts";

const { method } = Tikv;
const FAIR = { wakeUpMode: PessimisticLockWakeUpMode.WakeUpModeForceLock };
const WAITS = { waitTimeout: 500n };

/** A request that waits, and whether it still does. */
interface Pending {
  readonly reply: Promise<PessimisticLockResponse>;
  readonly isDone: () => boolean;
}

/** Starts a request and lets it reach the store. */
async function begin(bench: TxnBench, reply: Promise<PessimisticLockResponse>): Promise<Pending> {
  let isDone = false;
  const settled = reply.then((value) => {
    isDone = true;
    return value;
  });
  await bench.clock.advance(0);
  return { reply: settled, isDone: () => isDone };
}

async function waiting(
  bench: TxnBench,
  keys: string[],
  startMs: number,
  fields: Record<string, unknown> = {},
): Promise<Pending> {
  return await begin(bench, bench.lock(keys, at(startMs), at(startMs), { ...WAITS, ...fields }));
}

test("[TXN-113] a request waits as long as it says, at most a second, and a second for 0", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  for (const [waitTimeout, ms] of [[300n, 300], [5_000n, 1_000], [0n, 1_000]] as const) {
    const pending = await waiting(bench, ["k"], 20, { waitTimeout });
    await bench.clock.advance(ms - 1);
    assert.equal(pending.isDone(), false);
    await bench.clock.advance(1);
    const { errors: [error] } = await pending.reply;
    assert.deepEqual([error?.locked?.lockVersion, error?.locked?.durationToLastUpdateMs], [at(10), 0n]);
  }
  assert.equal(faults(await bench.lock(["k"], at(20), at(20), { waitTimeout: -1n })), "locked");
});

test("[TXN-117] a lock that changed hands while one waited says how long ago", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const first = await waiting(bench, ["k"], 20);
  const second = await waiting(bench, ["k"], 30);
  await bench.clock.advance(100);
  await bench.rollback(["k"], at(10));
  assert.equal(faults(await first.reply), "conflict:PessimisticRetry");
  await bench.lock(["k"], at(20), at(20));
  await bench.clock.advance(10);
  await bench.lock(["k"], at(20), at(50));
  // Woken a little after the first, in case that one does not come back.
  await bench.clock.advance(10);
  assert.equal(faults(await second.reply), "conflict:PessimisticRetry");
  const third = await waiting(bench, ["k"], 40);
  await bench.rollback(["k"], at(20));
  assert.equal(faults(await third.reply), "conflict:PessimisticRetry");
});

test("[TXN-117] a fair waiter that still waits tells the time since another took the lock", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const first = await waiting(bench, ["k"], 20, FAIR);
  const second = await waiting(bench, ["k"], 30, FAIR);
  await bench.clock.advance(100);
  await bench.rollback(["k"], at(10));
  assert.equal((await first.reply).results.length, 1);
  await bench.clock.advance(400);
  const { errors: [error] } = await second.reply;
  assert.deepEqual([error?.locked?.lockVersion, error?.locked?.durationToLastUpdateMs], [at(20), 400n]);
});

test("the oldest transaction is woken first, the others 20 ms later", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const [c, a, b] = [
    await waiting(bench, ["k"], 40),
    await waiting(bench, ["k"], 20),
    await waiting(bench, ["k"], 30),
  ];
  await bench.prewriteLocked({ k: "1" }, at(10), at(10));
  await bench.commit(["k"], at(10), at(50));
  const { errors: [error] } = await a.reply;
  assert.deepEqual(
    [error?.conflict?.startTs, error?.conflict?.conflictTs, error?.conflict?.conflictCommitTs],
    [at(20), at(10), at(50)],
  );
  await bench.clock.advance(19);
  assert.deepEqual([b.isDone(), c.isDone()], [false, false]);
  await bench.clock.advance(1);
  assert.deepEqual([faults(await b.reply), faults(await c.reply)], [
    "conflict:PessimisticRetry",
    "conflict:PessimisticRetry",
  ]);
  assert.equal(bench.clock.pendingTimers, 0);
});

test("each further wake-up puts the waking of the rest off", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const [, , c] = [
    await waiting(bench, ["k"], 20),
    await waiting(bench, ["k"], 30),
    await waiting(bench, ["k"], 40),
  ];
  await bench.rollback(["k"], at(10));
  await bench.clock.advance(15);
  await bench.lock(["k"], at(11), at(11));
  await bench.rollback(["k"], at(11));
  await bench.clock.advance(19);
  assert.equal(c.isDone(), false);
  await bench.clock.advance(1);
  assert.equal(c.isDone(), true);
});

test("[TXN-121] a fair waiter gets the lock itself, the next one waits on", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const first = await waiting(bench, ["k"], 20, { ...FAIR, returnValues: true });
  const second = await waiting(bench, ["k"], 30, FAIR);
  await bench.prewriteLocked({ k: "new" }, at(10), at(10));
  await bench.commit(["k"], at(10), at(50));
  const { results: [result] } = await first.reply;
  assert.deepEqual([result?.type, text(result?.value ?? bytes("")), result?.lockedWithConflictTs], [
    1,
    "new",
    at(50),
  ]);
  await bench.clock.advance(100);
  assert.equal(second.isDone(), false);
  await bench.call(method.kVPessimisticRollback, "k", {
    startVersion: at(20),
    forUpdateTs: at(50),
    keys: [bytes("k")],
  });
  assert.equal((await second.reply).results[0]?.lockedWithConflictTs, at(50));
});

test("[TXN-121] a fair waiter whose region has changed gets the region error beside its result", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const pending = await waiting(bench, ["k"], 20, FAIR);
  await bench.cluster.split("a");
  await bench.rollback(["k"], at(10));
  const reply = await pending.reply;
  assert.deepEqual([reply.results[0]?.type, reply.regionError?.epochNotMatch !== undefined], [2, true]);
});

test("a lock that is released at another store wakes nobody here", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const pending = await waiting(bench, ["k"], 20);
  await bench.cluster.moveLeader("k");
  await bench.rollback(["k"], at(10));
  await bench.clock.advance(499);
  assert.equal(pending.isDone(), false);
  await bench.clock.advance(1);
  assert.equal(faults(await pending.reply), "locked");
});

test("sharers wait and are woken together", async () => {
  await using bench = await TxnBench.start();
  const share = { op: Op.SharedPessimisticLock, primaryLock: bytes("p") };
  await bench.lock(["k"], at(10), at(10));
  const [a, b] = [await waiting(bench, ["k"], 20, share), await waiting(bench, ["k"], 30, share)];
  await bench.rollback(["k"], at(10));
  assert.deepEqual([faults(await a.reply), faults(await b.reply)], [
    "conflict:PessimisticRetry",
    "conflict:PessimisticRetry",
  ]);
});

test("[TXN-120] a circle over stores is found, with keys, hashes and tags of the whole chain", async () => {
  await using bench = await TxnBench.start();
  for (const key of ["b", "c"]) await bench.cluster.split(key);
  for (const [key, ms] of [["a", 10], ["b", 20], ["c", 30]] as const) await bench.lock([key], at(ms), at(ms));
  const wait = (key: string, ms: number) =>
    begin(
      bench,
      bench.call(method.kvPessimisticLock, key, {
        mutations: [{ op: Op.PessimisticLock, key: bytes(key) }],
        primaryLock: bytes("p"),
        startVersion: at(ms),
        forUpdateTs: at(ms),
        lockTtl: 3_000n,
        waitTimeout: 500n,
      }, { resourceGroupTag: bytes(`tag${ms}`) }),
    );
  const one = await wait("b", 10);
  const two = await wait("c", 20);
  const three = await wait("a", 30);
  const { errors: [error] } = await three.reply;
  const { deadlock } = error ?? {};
  assert.deepEqual(
    [deadlock?.lockTs, text(deadlock?.lockKey ?? bytes("")), deadlock?.deadlockKeyHash],
    [at(10), "a", farmFingerprint64(bytes("c"))],
  );
  assert.deepEqual(
    deadlock?.waitChain.map(({ txn, waitForTxn, key, keyHash, resourceGroupTag }) => [
      Number(txn >> 18n),
      Number(waitForTxn >> 18n),
      text(key),
      keyHash === farmFingerprint64(key),
      text(resourceGroupTag),
    ]),
    [[10, 20, "b", true, "tag10"], [20, 30, "c", true, "tag20"], [30, 10, "a", true, "tag30"]],
  );
  assert.deepEqual([one.isDone(), two.isDone()], [false, false]);
  await bench.clock.advance(500);
  assert.deepEqual([faults(await one.reply), faults(await two.reply)], ["locked", "locked"]);
});

test("[TXN-120] a first lock takes no part in the search, and edges go with the wait", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["a"], at(10), at(10));
  await bench.lock(["b"], at(20), at(20));
  const first = await waiting(bench, ["b"], 10);
  const second = await waiting(bench, ["a"], 20, { isFirstLock: true });
  assert.equal(second.isDone(), false);
  await bench.clock.advance(500);
  assert.deepEqual([faults(await first.reply), faults(await second.reply)], ["locked", "locked"]);
  const alone = await waiting(bench, ["a"], 20);
  assert.equal(alone.isDone(), false);
  await bench.clock.advance(500);
  assert.equal(faults(await alone.reply), "locked");
});

test("[TXN-120] nobody looks for circles while the first region has no leader", async () => {
  await using bench = await TxnBench.start();
  await bench.cluster.split("a");
  await bench.lock(["a"], at(10), at(10));
  await bench.lock(["b"], at(20), at(20));
  await bench.cluster.dropLeader("");
  const first = await waiting(bench, ["b"], 10);
  const second = await waiting(bench, ["a"], 20);
  assert.deepEqual([first.isDone(), second.isDone()], [false, false]);
  await bench.clock.advance(500);
  assert.equal(faults(await second.reply), "locked");
});

test("[TXN-188] a store lists what waits at it", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  await waiting(bench, ["k"], 20);
  const { entries } = await bench.call(method.getLockWaitInfo, "k", {});
  assert.deepEqual(entries.map(({ txn, waitForTxn, key }) => [txn, waitForTxn, text(key)]), [[
    at(20),
    at(10),
    "k",
  ]]);
  await bench.clock.advance(500);
  assert.deepEqual((await bench.call(method.getLockWaitInfo, "k", {})).entries, []);
});

test("a cluster that closes leaves no timer of a wait behind", async () => {
  const bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  void bench.lock(["k"], at(20), at(20), WAITS).catch(() => {});
  await bench.clock.advance(0);
  await bench.cluster.close();
  assert.equal(bench.clock.pendingTimers, 0);
});

test("who comes after a wake-up is not woken with those before", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const [, b] = [await waiting(bench, ["k"], 20), await waiting(bench, ["k"], 30)];
  await bench.rollback(["k"], at(10));
  await bench.lock(["k"], at(11), at(11));
  const late = await waiting(bench, ["k"], 40);
  await bench.clock.advance(20);
  assert.deepEqual([b.isDone(), late.isDone()], [true, false]);
  await bench.clock.advance(480);
  assert.equal(faults(await late.reply), "locked");
});

test("a fair waiter among the late ones takes the key, and those behind it wait for that", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  await waiting(bench, ["k"], 20);
  const fair = await waiting(bench, ["k"], 30, FAIR);
  const behind = await waiting(bench, ["k"], 40);
  await bench.rollback(["k"], at(10));
  await bench.clock.advance(20);
  assert.equal((await fair.reply).results[0]?.type, 0);
  await bench.clock.advance(100);
  assert.equal(behind.isDone(), false);
  await bench.rollback(["k"], at(30));
  assert.equal(faults(await behind.reply), "conflict:PessimisticRetry");
});

test("[TXN-120] a circle that closes when a lock changes hands is found", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  await bench.lock(["other"], at(30), at(30));
  const next = await waiting(bench, ["k"], 20, FAIR);
  const last = await waiting(bench, ["k"], 30, FAIR);
  await bench.rollback(["k"], at(10));
  assert.equal((await next.reply).results[0]?.type, 0);
  assert.equal(last.isDone(), false);
  const closing = await waiting(bench, ["other"], 20);
  assert.equal(faults(await closing.reply), "deadlock");
  await bench.clock.advance(500);
  assert.equal(faults(await last.reply), "locked");
});

// SPDX-License-Identifier: Apache-2.0
// Transactions that were left behind at every step, met by readers and writers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type LockInfo, LockInfoSchema, Op } from "../../../gen/kvrpcpb_pb.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { TikvError } from "../../../src/errors.ts";
import { fault } from "../../../src/playground/mod.ts";
import { text } from "../raw/fake_store.ts";
import { SnapshotWorld } from "./snapshot_world.ts";

function lockOf(key: string, primary: string, init: MessageInitShape<typeof LockInfoSchema>): LockInfo {
  return create(LockInfoSchema, {
    lockTtl: 3_000n,
    txnSize: 2n,
    ...init,
    key: utf8Encode(key),
    primaryLock: utf8Encode(primary),
  });
}

async function read(world: SnapshotWorld, key: string): Promise<string | undefined> {
  const value = await world.run((await world.snapshot()).get(key));
  return value === undefined ? undefined : text(value);
}

test("[TXN-163] [TXN-164] a reader reads through a committed transaction, which is cleaned up behind it", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs });
  await world.commit(["p"], startTs);
  world.takeCalls();
  assert.equal(await read(world, "s"), "s!");
  await world.clock.advance(0);
  assert.deepEqual(await world.lockedKeys(), []);
  const calls = world.takeCalls();
  assert.deepEqual([calls["KvGet"], calls["KvCheckTxnStatus"], calls["KvResolveLock"]], [2, 1, 1]);
});

test("[TXN-149] a reader looks past what was committed after its moment", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("s");
  const startTs = await world.ts();
  await world.prewrite(["p", "t"], { startTs });
  const snapshot = await world.snapshot();
  await world.commit(["p"], startTs);
  assert.equal(await world.run(snapshot.get("t")), undefined);
});

test("[T-22] [T-77] a live transaction is waited for by the cluster's time and its primary's, then rolled back", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("s");
  const startTs = await world.ts();
  await world.prewrite(["p"], { startTs, ttlMs: 5_000n });
  // The secondary's own time is long over when the primary's is not.
  await world.prewrite(["s"], { startTs, primary: "p", ttlMs: 1n, minCommitTs: startTs + 1n });
  const operation = world.operation();
  const lock = lockOf("s", "p", { lockVersion: startTs, lockTtl: 1n, lockType: Op.Put });
  const early = await world.run(world.locks.resolve([lock], { callerTs: 0n, mode: "write" }, operation));
  assert.ok(early.waitMs > 4_000 && early.waitMs <= 5_001, String(early.waitMs));
  assert.deepEqual(await world.lockedKeys(), ["p", "s"]);
  await world.clock.advance(5_300);
  const late = await world.run(world.locks.resolve([lock], { callerTs: 0n, mode: "write" }, operation));
  assert.equal(late.waitMs, 0);
  assert.deepEqual(await world.lockedKeys(), []);
});

test("[TXN-160] a reader pushes the commit of a live transaction behind it, and need not wait", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("s");
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, ttlMs: 60_000n });
  const before = world.clock.now();
  assert.equal(await read(world, "s"), "s!");
  assert.ok(world.clock.now() - before < 1_000);
  assert.deepEqual(await world.lockedKeys(), ["p", "s"]);
});

test("[TXN-162] [T-24] a primary that is not there is rolled back only when the lock's time is over", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["s"], { startTs, primary: "p", ttlMs: 2_000n });
  const operation = world.operation(500);
  const lock = lockOf("s", "p", { lockVersion: startTs, lockTtl: 2_000n });
  // Within its time it is asked again and again, and nothing is rolled back.
  await assert.rejects(
    world.run(world.locks.resolve([lock], { callerTs: 0n, mode: "write" }, operation)),
    (error) => TikvError.is(error) && error.kind === "timeout",
  );
  assert.deepEqual((await world.prewrite(["p"], { startTs, primary: "p" })).length, 0);
  const late = await world.ts();
  await world.prewrite(["x"], { startTs: late, primary: "y", ttlMs: 1_000n });
  await world.clock.advance(1_300);
  const gone = lockOf("x", "y", { lockVersion: late, lockTtl: 1_000n });
  await world.run(world.locks.resolve([gone], { callerTs: 0n, mode: "write" }, world.operation()));
  assert.deepEqual(await world.lockedKeys(), ["p", "s"]);
  // The rollback stays: the primary cannot come any more.
  assert.equal((await world.prewrite(["y"], { startTs: late, primary: "y" })).length, 1);
});

test("[TXN-162] [T-23] a time to live of 0 is resolved at once, and is the only one", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, ttlMs: 60_000n });
  const lock = lockOf("s", "p", { lockVersion: startTs, lockTtl: 0n });
  const result = await world.run(
    world.locks.resolve([lock], { callerTs: 0n, mode: "write" }, world.operation()),
  );
  assert.equal(result.waitMs, 0);
  assert.deepEqual(await world.lockedKeys(), []);
});

test("[TXN-165] [T-09] an async commit whose owner is gone is committed at the largest demand of its keys", async () => {
  await using world = await SnapshotWorld.start();
  await world.cluster.split("s");
  const startTs = await world.ts();
  const left = { startTs, primary: "p", secondaries: ["s", "t"], ttlMs: 1_000n };
  await world.prewrite(["p"], left);
  await world.prewrite(["s", "t"], { ...left, minCommitTs: startTs + 50n });
  await world.clock.advance(1_300);
  const snapshot = await world.snapshot();
  const found = await world.run(snapshot.batchGet(["p", "s", "t"]));
  assert.deepEqual([...found.values()].map(text), ["p!", "s!", "t!"]);
  await world.clock.advance(100);
  assert.deepEqual(await world.lockedKeys(), []);
  const versions = await world.run((await world.snapshot()).batchGetVersioned(["p", "s", "t"]));
  const commits = new Set([...versions.values()].map(({ commitTs }) => commitTs));
  assert.equal(commits.size, 1);
  assert.ok([...commits].every((ts) => ts >= startTs + 50n));
});

test("[TXN-165] an async commit that lacks a key is rolled back, on all keys", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, primary: "p", secondaries: ["s", "t"], ttlMs: 1_000n });
  await world.clock.advance(1_300);
  assert.equal(await read(world, "s"), undefined);
  await world.clock.advance(100);
  assert.deepEqual(await world.lockedKeys(), []);
  const late = await world.prewrite(["t"], { startTs, primary: "p", secondaries: [] });
  assert.equal(late.length, 1);
});

test("[T-28] an async commit with a lock that is none goes by its primary alone", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p"], { startTs, primary: "p", secondaries: ["s"], ttlMs: 1_000n });
  await world.prewrite(["s"], { startTs, primary: "p", ttlMs: 1_000n });
  await world.clock.advance(1_300);
  assert.equal(await read(world, "s"), undefined);
  await world.clock.advance(100);
  assert.equal(await read(world, "p"), undefined);
  assert.deepEqual(await world.lockedKeys(), []);
});

test("[TXN-161] [T-29] what is known of an async commit resolves all of its keys, also without a question", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s", "t"], { startTs, primary: "p", secondaries: ["s", "t"], ttlMs: 1_000n });
  await world.clock.advance(1_300);
  using _once = world.cluster.faults.add({ method: "KvResolveLock", times: 1 }, fault.dropRequest());
  assert.equal(await read(world, "s"), "s!");
  const lock = lockOf("t", "p", { lockVersion: startTs, useAsyncCommit: true });
  world.takeCalls();
  await world.run(world.locks.resolve([lock], { callerTs: 0n, mode: "write" }, world.operation()));
  assert.equal(world.takeCalls()["KvCheckTxnStatus"], undefined);
  assert.deepEqual(await world.lockedKeys(), []);
});

test("[TXN-167] [T-26] [T-27] an expired pessimistic lock is released, newer ones and the transaction stay", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.lockPessimistically(["p", "s"], { startTs, primary: "p", ttlMs: 1_000n });
  const newer = await world.ts();
  await world.lockPessimistically(["t"], { startTs, primary: "p", ttlMs: 1_000n, forUpdateTs: newer });
  await world.clock.advance(1_300);
  const lock = lockOf("s", "p", {
    lockVersion: startTs,
    lockTtl: 1_000n,
    lockType: Op.PessimisticLock,
    lockForUpdateTs: startTs,
  });
  const result = await world.run(world.locks.resolve([lock], {
    callerTs: 0n,
    mode: "write",
    releasesRegion: true,
  }, world.operation()));
  assert.equal(result.waitMs, 0);
  assert.deepEqual(await world.lockedKeys(), ["t"]);
  // It was not taken for a rollback of the transaction, which can go on with another primary.
  assert.deepEqual(await world.prewrite(["u"], { startTs, primary: "u" }), []);
});

test("[TXN-160] [T-25] a pessimistic lock that names the wrong primary is released, a write fails", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.lockPessimistically(["real"], { startTs, primary: "real", ttlMs: 60_000n });
  await world.lockPessimistically(["was"], { startTs, primary: "real", ttlMs: 60_000n });
  await world.lockPessimistically(["s"], { startTs, primary: "was", ttlMs: 60_000n });
  const lock = lockOf("s", "was", {
    lockVersion: startTs,
    lockTtl: 60_000n,
    lockType: Op.PessimisticLock,
    lockForUpdateTs: startTs,
  });
  await world.run(world.locks.resolve([lock], { callerTs: 0n, mode: "write" }, world.operation()));
  assert.deepEqual(await world.lockedKeys(), ["real", "was"]);
});

test("[TXN-163] [T-76] large transactions are resolved region by region, each once per call", async () => {
  await using world = await SnapshotWorld.start();
  await world.cluster.split("m");
  const startTs = await world.ts();
  const keys = ["a", "b", "c", "x", "y"];
  await world.prewrite(keys, { startTs, primary: "a", txnSize: 600n });
  await world.commit(["a"], startTs);
  world.takeCalls();
  const locks = ["b", "c", "x"].map((key) => lockOf(key, "a", { lockVersion: startTs, txnSize: 600n }));
  await world.run(world.locks.resolve(locks, { callerTs: 0n, mode: "write" }, world.operation()));
  assert.deepEqual(world.takeCalls(), { KvCheckTxnStatus: 1, KvResolveLock: 2 });
  assert.deepEqual(await world.lockedKeys(), []);
});

test("[TXN-164] [T-69] what goes on behind a reader outlives its abort", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs });
  await world.commit(["p"], startTs);
  const controller = new AbortController();
  const snapshot = await world.snapshot({ requestSource: "report", resourceGroup: "analysts" });
  using _slow = world.cluster.faults.add({ method: "KvResolveLock", times: 1 }, fault.delay(500));
  const value = await world.run(snapshot.get("s", { signal: controller.signal }));
  assert.equal(value === undefined ? "" : text(value), "s!");
  controller.abort(new Error("gone"));
  await world.clock.advance(2_000);
  assert.deepEqual(await world.lockedKeys(), []);
});

test("[TXN-170] endOf() waits for a live transaction, and rolls back one that its primary does not know", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p"], { startTs, ttlMs: 1_000n });
  const primary = utf8Encode("p");
  const end = await world.run(world.locks.endOf({ startTs, primary }, world.operation()));
  assert.deepEqual(end, { state: "rolled-back" });
  const other = await world.ts();
  await world.prewrite(["q"], { startTs: other });
  const commitTs = await world.commit(["q"], other);
  const found = await world.run(
    world.locks.endOf({ startTs: other, primary: utf8Encode("q") }, world.operation()),
  );
  assert.deepEqual(found, { state: "committed", commitTs });
  const never = await world.ts();
  await world.run(world.locks.endOf({ startTs: never, primary: utf8Encode("n") }, world.operation()));
  assert.equal((await world.prewrite(["n"], { startTs: never })).length, 1);
});

test("[TXN-168] [T-66] endAll() ends live transactions for garbage collection, pessimistic locks apart", async () => {
  await using world = await SnapshotWorld.start();
  const [two, async_, pess] = [await world.ts(), await world.ts(), await world.ts()];
  await world.prewrite(["a", "b"], { startTs: two, ttlMs: 60_000n });
  await world.prewrite(["c", "d"], { startTs: async_, secondaries: ["d"], ttlMs: 60_000n });
  await world.lockPessimistically(["e"], { startTs: pess, ttlMs: 60_000n });
  const region = await world.run(world.session.routing.regions.locate(utf8Encode("a"), world.operation()));
  const locks = [
    lockOf("a", "a", { lockVersion: two }),
    lockOf("b", "a", { lockVersion: two }),
    lockOf("d", "c", { lockVersion: async_, useAsyncCommit: true }),
    lockOf("e", "e", { lockVersion: pess, lockType: Op.PessimisticLock, lockForUpdateTs: pess }),
  ];
  assert.equal(await world.run(world.locks.endAll(locks, region, { operation: world.operation() })), true);
  assert.deepEqual(await world.lockedKeys(), []);
  assert.deepEqual([await read(world, "a"), await read(world, "c"), await read(world, "d")], [
    undefined,
    "c!",
    "d!",
  ]);
});

test("[TXN-169] who waits for which lock can be seen while it waits, and not after", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, secondaries: ["s"], ttlMs: 2_000n });
  const snapshot = await world.snapshot();
  const reading = snapshot.get("s");
  await world.clock.advance(200);
  assert.deepEqual(
    world.locks.waits.list().map(({ callerTs, lockTs, key, primary }) => [
      callerTs,
      lockTs,
      text(key),
      text(primary),
    ]),
    [[snapshot.ts, startTs, "s", "p"]],
  );
  await world.run(reading);
  assert.deepEqual(world.locks.waits.list(), []);
  assert.ok(world.events.some((event) => event.type === "lock" && event.action === "wait"));
});

test("[T-48] [TXN-141] at the latest timestamp only the first lock that is met can block", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("s");
  const first = await world.ts();
  await world.prewrite(["p", "s"], { startTs: first, secondaries: ["s"], ttlMs: 60_000n });
  const latest = await world.snapshot({ ts: "latest" });
  const reading = latest.get("s");
  await world.clock.advance(50);
  await world.commit(["p", "s"], first, await world.ts());
  await world.prewrite(["q", "s"], { startTs: await world.ts(), secondaries: ["s"], ttlMs: 60_000n });
  const before = world.clock.now();
  const value = await world.run(reading);
  assert.equal(value === undefined ? "" : text(value), "s!");
  assert.ok(world.clock.now() - before < 5_000);
});

test("[TXN-163] a resolver's own lost answer leaves no doubt at the reader", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, ttlMs: 60_000n, secondaries: ["s"] });
  using _lost = world.cluster.faults.add({ method: "KvCheckTxnStatus" }, fault.dropReply());
  const snapshot = await world.snapshot();
  await assert.rejects(
    world.run(snapshot.get("s", { timeoutMs: 3_000 })),
    (error) => TikvError.is(error) && error.kind !== "undetermined",
  );
});

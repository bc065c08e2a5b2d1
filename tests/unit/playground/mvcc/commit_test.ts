// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { CommitRole } from "../../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import { at, bytes, faultName, faults, Op, text, TxnBench } from "./txn_bench.ts";

const { method } = Tikv;

interface Case {
  readonly name: string;
  readonly before: (bench: TxnBench) => Promise<unknown>;
  readonly commitTs?: bigint;
  readonly expect: string;
  readonly writes: string;
}

/** A commit of `k` of the transaction at 10 ms. */
const COMMITS: readonly Case[] = [
  { name: "a lock", before: (b) => b.prewrite({ k: "1" }, at(10)), expect: "ok", writes: "put@10-20" },
  { name: "nothing", before: async () => {}, expect: "lock-not-found", writes: "" },
  {
    name: "another transaction's lock",
    before: (b) => b.prewrite({ k: "1" }, at(9)),
    expect: "lock-not-found",
    writes: "",
  },
  {
    name: "what is committed already",
    before: (b) => b.put({ k: "1" }, at(10), at(20)),
    expect: "ok",
    writes: "put@10-20",
  },
  {
    name: "what was rolled back",
    before: (b) => b.rollback(["k"], at(10)),
    expect: "lock-not-found",
    writes: "rollback@10-10",
  },
  {
    name: "a lock that must commit later",
    before: (b) => b.prewrite({ k: "1" }, at(10), { minCommitTs: at(21) }),
    expect: "commit-ts-expired",
    writes: "",
  },
  {
    name: "a pessimistic lock, which is given up",
    before: (b) => b.lock(["k"], at(10), at(10)),
    expect: "ok",
    writes: "",
  },
  {
    name: "a timestamp that is not after the start",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    commitTs: at(10),
    expect: "abort:InvalidTxnTso",
    writes: "",
  },
];

for (const { name, before, commitTs = at(20), expect, writes } of COMMITS) {
  test(`[TXN-079] a commit of ${name}: ${expect}`, async () => {
    await using bench = await TxnBench.start();
    await before(bench);
    const reply = await bench.commit(["k"], at(10), commitTs);
    assert.equal(faultName(reply.error), expect);
    assert.equal(reply.commitVersion, expect === "ok" ? commitTs : 0n);
    assert.equal(await bench.writes("k"), writes);
  });
}

test("[TXN-079] a refused commit timestamp comes back with the smallest that would do", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ p: "1", k: "1" }, at(10), { minCommitTs: at(21) });
  const { error } = await bench.commit(["p"], at(10), at(20));
  const expired = error?.commitTsExpired;
  assert.deepEqual(
    [expired?.startTs, expired?.attemptedCommitTs, expired?.minCommitTs, text(expired?.key ?? bytes(""))],
    [at(10), at(20), at(21), "p"],
  );
  assert.equal(error?.debugInfo, undefined);
  const secondary = await bench.commit(["k"], at(10), at(20));
  assert.equal(secondary.error?.debugInfo?.mvccInfo[0]?.mvcc?.lock?.startTs, at(10));
});

test("a missing lock of a secondary comes with what the store has of the key", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(1), at(2));
  const { error } = await bench.commit(["k"], at(10), at(20), { commitRole: CommitRole.Secondary });
  assert.equal(error?.debugInfo?.mvccInfo[0]?.mvcc?.writes[0]?.commitTs, at(2));
  assert.deepEqual(error?.debugInfo?.mvccInfo[0]?.mvcc?.values, []);
});

test("a commit of several keys is all or nothing", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ a: "1" }, at(10));
  assert.equal(faultName((await bench.commit(["a", "b"], at(10), at(20))).error), "lock-not-found");
  assert.equal(await bench.writes("a"), "");
});

test("a rollback is final, and is told apart from what it overlaps", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ k: "1" }, at(10));
  await bench.rollback(["k"], at(10));
  assert.equal(await bench.writes("k"), "rollback!@10-10");
  assert.equal(faultName((await bench.commit(["k"], at(10), at(20))).error), "lock-not-found");
  assert.equal(faults(await bench.prewrite({ k: "1" }, at(10))), "conflict:SelfRolledBack");
  await bench.rollback(["k"], at(10));
  await bench.put({ k: "2" }, at(20), at(30));
  assert.match(faultName((await bench.rollback(["k"], at(20))).error), /^abort:Committed/);
});

test("rollbacks of secondaries collapse, those of primaries stay", async () => {
  await using bench = await TxnBench.start();
  for (const start of [10, 20, 30]) {
    await bench.prewrite({ p: "1", k: "1" }, at(start));
    await bench.rollback(["p", "k"], at(start));
  }
  assert.equal(await bench.writes("k"), "rollback@30-30");
  assert.equal(await bench.writes("p"), "rollback!@30-30 rollback!@20-20 rollback!@10-10");
});

test("a protected rollback at another's commit timestamp becomes part of that record", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(10), at(20));
  await bench.call(method.kvCleanup, "k", { key: bytes("k"), startVersion: at(20) });
  assert.equal(await bench.writes("k"), "put@10-20+R");
  assert.equal(await bench.get("k", at(25)), "1");
  assert.equal(faults(await bench.prewrite({ k: "2" }, at(20))), "conflict:SelfRolledBack");
});

test("a rollback under the lock of an async commit shows when that commits at its timestamp", async () => {
  await using bench = await TxnBench.start({ stores: 1 });
  const { minCommitTs } = await bench.prewrite({ k: "1" }, at(10), { useAsyncCommit: true });
  await bench.call(method.kvCheckSecondaryLocks, "k", { keys: [bytes("k")], startVersion: minCommitTs + 5n });
  await bench.commit(["k"], at(10), minCommitTs + 5n);
  const { writes: [write] } = await bench.mvcc("k");
  assert.deepEqual([write?.type, write?.hasOverlappedRollback], [Op.Put, true]);
  assert.equal(faults(await bench.prewrite({ k: "2" }, minCommitTs + 5n)), "conflict:SelfRolledBack");
});

test("cleanup waits for the time to live, then rolls back, and tells what is committed", async () => {
  await using bench = await TxnBench.start();
  const cleanup = async (startVersion: bigint, currentTs: bigint) => {
    const reply = await bench.call(method.kvCleanup, "k", { key: bytes("k"), startVersion, currentTs });
    return reply.commitVersion === 0n ? faultName(reply.error) : reply.commitVersion;
  };
  await bench.prewrite({ k: "1" }, at(10), { lockTtl: 5n });
  assert.equal(await cleanup(at(10), at(15)), "locked");
  assert.equal(await cleanup(at(10), at(16)), "ok");
  assert.equal(await bench.writes("k"), "rollback!@10-10");
  await bench.put({ k: "2" }, at(20), at(30));
  assert.equal(await cleanup(at(20), 0n), at(30));
});

test("[TXN-163] a resolution by keys, of a region, and of many transactions at once", async () => {
  await using bench = await TxnBench.start();
  await bench.cluster.split("m");
  const resolve = async (key: string, fields: Record<string, unknown>) =>
    faultName((await bench.call(method.kvResolveLock, key, fields)).error);
  await bench.prewrite({ a: "1", b: "1", c: "1" }, at(10));
  await bench.prewrite({ x: "1" }, at(10));
  await bench.prewrite({ d: "2" }, at(20));
  await bench.prewrite({ e: "3" }, at(30));
  await bench.lock(["f"], at(10), at(10));
  assert.equal(await resolve("b", { startVersion: at(10), commitVersion: at(15), keys: [bytes("b")] }), "ok");
  assert.equal((await bench.locks()).length, 5);
  assert.equal(await resolve("a", { startVersion: at(10), commitVersion: at(15) }), "ok");
  assert.equal(await bench.scan("", { version: at(16) }), "a=1 b=1 c=1");
  assert.equal(await bench.get("x", at(16)), "<locked>");
  const txnInfos = [{ txn: at(20), status: 0n }, { txn: at(30), status: at(35) }];
  assert.equal(await resolve("a", { txnInfos }), "ok");
  assert.equal(await bench.writes("d"), "rollback!@20-20");
  assert.equal(await bench.writes("e"), "put@30-35");
  assert.equal(await bench.writes("f"), "");
});

test("long values are written beside the lock and go with a rollback", async () => {
  await using bench = await TxnBench.start();
  const long = "v".repeat(300);
  await bench.prewrite({ k: long }, at(10));
  assert.equal((await bench.mvcc("k")).values.length, 1);
  await bench.rollback(["k"], at(10));
  assert.deepEqual((await bench.mvcc("k")).values, []);
  await bench.put({ k: long }, at(20), at(21));
  assert.equal(await bench.get("k", at(30)), long);
  const { writes: [write] } = await bench.mvcc("k");
  assert.equal(write?.shortValue.length, 0);
});

test("[TXN-188] the record of a transaction is found by its start timestamp", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ a: "1" }, at(10), at(20));
  const find = (startTs: bigint) => bench.call(method.mvccGetByStartTs, "a", { startTs });
  const found = await find(at(10));
  assert.deepEqual([text(found.key), found.info?.writes[0]?.commitTs], ["a", at(20)]);
  const missing = await find(at(11));
  assert.deepEqual([missing.key.length, missing.info?.writes], [0, []]);
});

test("rollbacks of what never came collapse too, and those of flushed locks stay", async () => {
  await using bench = await TxnBench.start();
  await bench.rollback(["k"], at(10));
  await bench.rollback(["k"], at(20));
  assert.equal(await bench.writes("k"), "rollback@20-20");
  const mutations = ["p", "s"].map((key) => ({ op: Op.Put, key: bytes(key), value: bytes("1") }));
  await bench.call(method.kvFlush, "p", {
    mutations,
    primaryKey: bytes("p"),
    startTs: at(30),
    generation: 1n,
  });
  await bench.rollback(["s"], at(30));
  assert.equal(await bench.writes("s"), "rollback!@30-30");
});

test("a record with an overlapped rollback remembers the version that followed it", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(10), at(20));
  await bench.put({ k: "2" }, at(21), at(30));
  await bench.call(method.kvCleanup, "k", { key: bytes("k"), startVersion: at(20) });
  const { writes: [, older] } = await bench.mvcc("k");
  assert.deepEqual([older?.hasOverlappedRollback, older?.hasGcFence, older?.gcFence], [true, true, at(30)]);
});

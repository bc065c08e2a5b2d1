// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { IsolationLevel } from "../../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import { at, bytes, faultName, Op, text, TxnBench } from "./txn_bench.ts";

const { method } = Tikv;
const LATEST = 0xffff_ffff_ffff_ffffn;

/** Versions 1..3 of `a`, `b` deleted at 30, `c` with records that change nothing. */
async function filled(): Promise<TxnBench> {
  const bench = await TxnBench.start();
  await bench.put({ a: "a1", b: "b1", c: "c1" }, at(10), at(11));
  await bench.put({ a: "a2" }, at(20), at(21));
  await bench.put({ a: "a3", b: null, c: Op.Lock }, at(30), at(31));
  await bench.rollback(["c"], at(40));
  return bench;
}

test("[TXN-141] a get sees the newest version that is not after its timestamp", async () => {
  await using bench = await filled();
  const seen = async (key: string) =>
    (await Promise.all([at(10), at(11), at(25), at(31), LATEST].map((ts) => bench.get(key, ts)))).join();
  assert.equal(await seen("a"), ",a1,a2,a3,a3");
  assert.equal(await seen("b"), ",b1,b1,,");
  assert.equal(await seen("c"), ",c1,c1,c1,c1");
});

interface LockCase {
  readonly name: string;
  readonly before: (bench: TxnBench) => Promise<unknown>;
  readonly version?: bigint;
  readonly context?: Record<string, unknown>;
  readonly expect: string | undefined;
}

/** Reads of `k`, which has the value 0 from 5 ms, under a lock of the transaction at 10 ms. */
const LOCKS: readonly LockCase[] = [
  { name: "a put", before: (b) => b.prewrite({ k: "1" }, at(10)), expect: "<locked>" },
  { name: "a delete", before: (b) => b.prewrite({ k: null }, at(10)), expect: "<locked>" },
  { name: "a lock", before: (b) => b.prewrite({ k: Op.Lock }, at(10)), expect: "0" },
  { name: "a pessimistic lock", before: (b) => b.lock(["k"], at(10), at(10)), expect: "0" },
  {
    name: "a put that starts later",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    version: at(9),
    expect: "0",
  },
  {
    name: "a put that commits later",
    before: (b) => b.prewrite({ k: "1" }, at(10), { minCommitTs: at(21) }),
    expect: "0",
  },
  {
    name: "a put, at read committed",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    context: { isolationLevel: IsolationLevel.RC },
    expect: "0",
  },
  {
    name: "a put, at read committed with check",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    context: { isolationLevel: IsolationLevel.RCCheckTS },
    expect: "<conflict:RcCheckTs>",
  },
  {
    name: "a put that is known to be rolled back",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    context: { resolvedLocks: [at(10)] },
    expect: "0",
  },
  {
    name: "a put that is known to be committed",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    context: { committedLocks: [at(10)] },
    expect: "1",
  },
  {
    name: "a delete that is known to be committed",
    before: (b) => b.prewrite({ k: null }, at(10)),
    context: { committedLocks: [at(10)] },
    expect: undefined,
  },
  {
    name: "an undecided primary, read at last",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    version: LATEST,
    expect: "0",
  },
  {
    name: "a secondary, read at last",
    before: (b) => b.prewrite({ p: "1", k: "1" }, at(10)),
    version: LATEST,
    expect: "<locked>",
  },
  {
    name: "an async primary, read at last",
    before: (b) => b.prewrite({ k: "1" }, at(10), { useAsyncCommit: true }),
    version: LATEST,
    expect: "<locked>",
  },
];

for (const { name, before, version = at(2_000_000), context = {}, expect } of LOCKS) {
  test(`[TXN-149] a read under ${name}: ${expect}`, async () => {
    await using bench = await TxnBench.start();
    await bench.put({ k: "0" }, at(4), at(5));
    await before(bench);
    const at20 = name === "a put that commits later" ? at(20) : version;
    assert.equal(await bench.get("k", at20, context), expect);
  });
}

test("[TXN-148] a checked read refuses when there is something newer", async () => {
  await using bench = await filled();
  const context = { isolationLevel: IsolationLevel.RCCheckTS };
  assert.equal(await bench.get("a", at(25), context), "<conflict:RcCheckTs>");
  assert.equal(await bench.get("a", at(31), context), "a3");
});

test("[TXN-145] the commit timestamp is told on demand, and then not read through a lock", async () => {
  await using bench = await filled();
  const get = (needCommitTs: boolean, context = {}) =>
    bench.call(method.kvGet, "a", { key: bytes("a"), version: at(50), needCommitTs }, context);
  assert.equal((await get(true)).commitTs, at(31));
  assert.equal((await get(false)).commitTs, 0n);
  await bench.prewrite({ a: "a4" }, at(45));
  assert.equal(text((await get(false, { committedLocks: [at(45)] })).value), "a4");
  assert.equal(faultName((await get(true, { committedLocks: [at(45)] })).error), "locked");
  const batch = await bench.call(method.kvBatchGet, "c", {
    keys: [bytes("c")],
    version: at(50),
    needCommitTs: true,
  });
  assert.equal(batch.pairs[0]?.commitTs, at(11));
});

test("[TXN-142] a batch leaves missing keys out and puts a lock into its pair", async () => {
  await using bench = await filled();
  await bench.prewrite({ d: "d1" }, at(35));
  const reply = await bench.call(method.kvBatchGet, "a", {
    keys: ["d", "a", "b", "c"].map(bytes),
    version: at(50),
  });
  assert.deepEqual(reply.pairs.map(({ key, value, error }) => [text(key), text(value), faultName(error)]), [
    ["", "", "locked"],
    ["a", "a3", "ok"],
    ["c", "c1", "ok"],
  ]);
  assert.equal(reply.error, undefined);
  assert.equal(reply.execDetailsV2?.scanDetailV2?.processedVersions, 2n);
});

test("[TXN-146] scans go forward and back, stop at the limit, and count locks", async () => {
  await using bench = await filled();
  await bench.put({ d: "d1", e: "e1" }, at(12), at(13));
  const version = at(50);
  assert.equal(await bench.scan("", { version }), "a=a3 c=c1 d=d1 e=e1");
  assert.equal(await bench.scan("b", { version, endKey: bytes("e") }), "c=c1 d=d1");
  assert.equal(await bench.scan("", { version, limit: 2 }), "a=a3 c=c1");
  assert.equal(await bench.scan("", { version, limit: 0 }), "");
  assert.equal(await bench.scan("z", { version, reverse: true }), "e=e1 d=d1 c=c1 a=a3");
  assert.equal(await bench.scan("e", { version, reverse: true, endKey: bytes("c") }), "d=d1 c=c1");
  assert.equal(await bench.scan("", { version, reverse: true }), "");
  assert.equal(await bench.scan("", { version, keyOnly: true }), "a= c= d= e=");
  assert.equal(await bench.scan("", { version, sampleStep: 2 }), "a=a3 d=d1");
  await bench.prewrite({ b: "b2", d: "d2" }, at(45));
  assert.equal(await bench.scan("", { version, limit: 3 }), "a=a3 <locked> c=c1");
  assert.equal(await bench.scan("z", { version, reverse: true, limit: 2 }), "e=e1 <locked>");
  assert.equal(await bench.scan("", { version }, { committedLocks: [at(45)] }), "a=a3 b=b2 c=c1 d=d2 e=e1");
});

test("[TXN-146] a scan must stay in its region", async () => {
  await using bench = await filled();
  await bench.cluster.split("b");
  await bench.cluster.split("d");
  assert.equal(await bench.scan("b", { version: at(50) }), "c=c1");
  const outside = await bench.call(method.kvScan, "b", {
    startKey: bytes("b"),
    endKey: bytes("e"),
    limit: 9,
    version: at(50),
  });
  assert.match(outside.error?.abort ?? "", /InvalidReqRange/);
  assert.match(outside.pairs[0]?.error?.abort ?? "", /InvalidReqRange/);
  const foreign = await bench.call(method.kvScan, "b", { startKey: bytes("e"), limit: 9, version: at(50) });
  assert.ok(foreign.regionError?.keyNotInRegion !== undefined);
});

test("[TXN-183] locks up to a timestamp, in key order, up to a limit", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ b: "1", a: "1" }, at(10));
  await bench.lock(["c"], at(20), at(20));
  await bench.prewrite({ d: "1" }, at(30));
  const scan = async (fields: Record<string, unknown>) => {
    const { locks } = await bench.call(method.kvScanLock, "", { maxVersion: at(20), ...fields });
    return locks.map(({ key }) => text(key)).join("");
  };
  assert.equal(await scan({}), "abc");
  assert.equal(await scan({ limit: 2 }), "ab");
  assert.equal(await scan({ startKey: bytes("b"), endKey: bytes("c") }), "b");
  assert.equal(await scan({ maxVersion: at(9) }), "");
});

test("[TXN-094] nothing commits at or below a timestamp that has been read", async () => {
  for (const read of ["get", "scan", "batchGet", "scanLock", "checkTxnStatus", "lock"] as const) {
    await using bench = await TxnBench.start({ stores: 1 });
    await bench.prewrite({ s: "1" }, at(1), { useAsyncCommit: true });
    const ts = (BigInt(bench.clock.wallNow()) << 18n) + 1_000n;
    if (read === "get") await bench.get("x", ts);
    if (read === "scan") await bench.scan("x", { version: ts });
    if (read === "batchGet") await bench.call(method.kvBatchGet, "x", { keys: [], version: ts });
    if (read === "scanLock") await bench.locks(ts);
    if (read === "checkTxnStatus") {
      await bench.status("x", at(2), { callerStartTs: ts, rollbackIfNotExist: true });
    }
    if (read === "lock") await bench.lock(["x"], at(2), ts, { returnValues: true });
    const { minCommitTs } = await bench.prewrite({ k: "1" }, at(3), { useAsyncCommit: true });
    assert.equal(minCommitTs, ts + 1n, read);
  }
});

test("[TXN-150] a read at a replica counts for the leader, and a new leader knows of old reads", async () => {
  await using bench = await TxnBench.start();
  const region = bench.cluster.regionOf("k");
  const oracleTs = (BigInt(bench.clock.wallNow()) << 18n) + 1n;
  const follower = region.peers.find(({ id }) => id !== region.leader?.id);
  assert.ok(follower !== undefined);
  const { transport } = bench.cluster.connectOptions();
  const { contextFor, unary } = await import("../gen_client.ts");
  const address = bench.cluster.stores().find(({ id }) => id === follower.storeId)?.address ?? "";
  const context = contextFor(region, { replicaRead: true });
  Object.assign(context, {
    peer: { $typeName: "metapb.Peer", id: follower.id, storeId: follower.storeId, role: 0, isWitness: false },
  });
  await unary(transport, address, method.kvGet, { context, key: bytes("k"), version: oracleTs + 99n });
  const first = await bench.prewrite({ k: "1" }, at(3), { useAsyncCommit: true });
  assert.equal(first.minCommitTs, oracleTs + 100n);
  const third = region.peers.find(({ id }) => id !== region.leader?.id && id !== follower.id);
  await bench.cluster.moveLeader("k", third?.storeId);
  const second = await bench.prewrite({ l: "1" }, at(3), { useAsyncCommit: true });
  assert.ok(second.minCommitTs > oracleTs);
});

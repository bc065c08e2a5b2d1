// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { PD } from "../../../../gen/pdpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import { unary } from "../gen_client.ts";
import { at, bytes, faults, Op, TxnBench } from "./txn_bench.ts";

const { method } = Tikv;
const LATEST = 0xffff_ffff_ffff_ffffn;

async function advanceGc(bench: TxnBench, target: bigint): Promise<void> {
  const { transport, pd: [address = ""] } = bench.cluster.connectOptions();
  const header = { clusterId: bench.cluster.clusterId };
  await unary(transport, address, PD.method.advanceTxnSafePoint, { header, target });
  await unary(transport, address, PD.method.advanceGCSafePoint, { header, target });
}

test("[TXN-183] collecting keeps what snapshots at or after the safe point see", async () => {
  await using bench = await TxnBench.start();
  const long = "v".repeat(300);
  await bench.put({ k: long, d: "1" }, at(10), at(11));
  await bench.put({ k: Op.Lock }, at(12), at(13));
  await bench.put({ k: "2", d: null }, at(20), at(21));
  await bench.put({ k: "3" }, at(30), at(31));
  await bench.rollback(["k"], at(15));
  await advanceGc(bench, at(25));
  assert.equal(await bench.writes("k"), "put@30-31 put@20-21");
  assert.deepEqual((await bench.mvcc("k")).values, []);
  assert.equal(await bench.writes("d"), "");
  assert.equal(await bench.get("k", at(25)), "2");
  await advanceGc(bench, at(40));
  assert.equal(await bench.writes("k"), "put@30-31");
});

test("[TXN-181] a range is deleted with all versions and locks, or only announced", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ a: "1", b: "1", c: "1" }, at(10), at(11));
  await bench.prewrite({ b: "2" }, at(20));
  const remove = (startKey: string, endKey: string, notifyOnly = false) =>
    bench.call(method.kvDeleteRange, "", { startKey: bytes(startKey), endKey: bytes(endKey), notifyOnly });
  await remove("a", "c", true);
  assert.equal((await bench.locks()).length, 1);
  await remove("a", "c");
  assert.equal(await bench.scan("", { version: at(30) }), "c=1");
  assert.deepEqual(await bench.locks(), []);
  assert.ok((await remove("c", "a")).regionError !== undefined);
});

test("[TXN-182] an unsafe destruction does not care for regions", async () => {
  await using bench = await TxnBench.start();
  await bench.cluster.split("b");
  await bench.put({ a: "1" }, at(10), at(11));
  await bench.put({ b: "1", c: "1" }, at(10), at(11));
  await bench.call(method.unsafeDestroyRange, "a", { startKey: bytes("a"), endKey: bytes("c") });
  assert.equal(await bench.get("a", at(30)), undefined);
  assert.equal(await bench.scan("b", { version: at(30) }), "c=1");
  await assert.rejects(bench.call(method.unsafeDestroyRange, "a", { startKey: bytes("a") }), { code: 13 });
});

test("[TXN-187] a flashback brings old data back, and meanwhile only older data can be read", async () => {
  await using bench = await TxnBench.start();
  const long = "v".repeat(300);
  await bench.put({ a: "1", b: long }, at(10), at(11));
  await bench.put({ a: "2", b: "2", n: "new" }, at(20), at(21));
  await bench.put({ b: null }, at(22), at(23));
  await bench.prewrite({ x: "half" }, at(24));
  const request = { startKey: bytes(""), endKey: bytes(""), version: at(15), startTs: at(30) };
  const notPrepared = await bench.call(method.kvFlashbackToVersion, "", { ...request, commitTs: at(31) });
  assert.ok(notPrepared.regionError?.FlashbackNotPrepared !== undefined);
  const prepared = await bench.call(method.kvPrepareFlashbackToVersion, "", request);
  assert.deepEqual([prepared.regionError, prepared.error], [undefined, ""]);
  await bench.call(method.kvPrepareFlashbackToVersion, "", request);
  const refused = await bench.call(method.kvGet, "a", { key: bytes("a"), version: at(40) });
  assert.equal(refused.regionError?.FlashbackInProgress?.flashbackStartTs, at(30));
  assert.ok((await bench.prewrite({ z: "1" }, at(35))).regionError?.FlashbackInProgress !== undefined);
  assert.equal(await bench.get("a", at(12)), "1");
  const done = await bench.call(method.kvFlashbackToVersion, "", { ...request, commitTs: at(31) });
  assert.deepEqual([done.regionError, done.error], [undefined, ""]);
  assert.equal(await bench.scan("", { version: LATEST }), `a=1 b=${long}`);
  assert.equal(await bench.scan("", { version: at(29) }), "a=2 n=new");
  assert.deepEqual(await bench.locks(), []);
  assert.equal(await bench.writes("x"), "rollback!@24-24");
  assert.equal(faults(await bench.prewrite({ a: "3" }, at(40))), "ok");
});

test("the largest timestamp that any replica serves stays below the oldest lock", async () => {
  await using bench = await TxnBench.start();
  const safeTs = async () => (await bench.call(method.getStoreSafeTS, "", {})).safeTs;
  await bench.prewrite({ k: "1" }, at(50));
  await bench.lock(["p"], at(20), at(20));
  assert.equal(await safeTs(), at(50) - 1n);
  await bench.rollback(["k"], at(50));
  const free = await safeTs();
  assert.ok(free > at(100));
  // It never goes back: what is prewritten so late is committed later.
  await bench.prewrite({ k: "1" }, at(60));
  assert.ok(await safeTs() >= free);
});

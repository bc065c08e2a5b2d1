// SPDX-License-Identifier: Apache-2.0
// What stores check before a transactional command runs, and how it travels.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { BatchCommandsRequest_RequestSchema } from "../../../gen/tikvpb_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import { fault } from "../../../src/playground/mod.ts";
import { bytes, contextFor, leaderAddress, openStream, text } from "./gen_client.ts";
import { at, faultName, faults, Op, TxnBench } from "./mvcc/txn_bench.ts";

const { method } = Tikv;

test("every transactional command refuses a stale epoch and a follower", async () => {
  await using bench = await TxnBench.start();
  const region = bench.cluster.regionOf("k");
  const stale = contextFor(region);
  await bench.cluster.split("z");
  const requests = {
    kvGet: { key: bytes("k"), version: 1n },
    kvBatchGet: { keys: [bytes("k")], version: 1n },
    kvScan: { startKey: bytes("k"), limit: 1, version: 1n },
    kvScanLock: { maxVersion: 1n },
    kvBufferBatchGet: { keys: [bytes("k")], version: 1n },
    kvPrewrite: { mutations: [{ op: Op.Put, key: bytes("k") }], startVersion: 1n },
    kvFlush: { mutations: [{ op: Op.Put, key: bytes("k") }], startTs: 1n, generation: 1n },
    kvCommit: { keys: [bytes("k")], startVersion: 1n, commitVersion: 2n },
    kvCleanup: { key: bytes("k"), startVersion: 1n },
    kvBatchRollback: { keys: [bytes("k")], startVersion: 1n },
    kvResolveLock: { startVersion: 1n },
    kvPessimisticLock: { mutations: [{ op: Op.PessimisticLock, key: bytes("k") }], startVersion: 1n },
    kVPessimisticRollback: { startVersion: 1n },
    kvTxnHeartBeat: { primaryLock: bytes("k"), startVersion: 1n },
    kvCheckTxnStatus: { primaryKey: bytes("k"), lockTs: 1n },
    kvCheckSecondaryLocks: { keys: [bytes("k")], startVersion: 1n },
    kvDeleteRange: { startKey: bytes("k"), endKey: bytes("l") },
    kvPrepareFlashbackToVersion: { startKey: bytes("k"), startTs: 1n },
    kvFlashbackToVersion: { startKey: bytes("k"), startTs: 1n, commitTs: 2n },
    mvccGetByKey: { key: bytes("k") },
    mvccGetByStartTs: { startTs: 1n },
  } as const;
  const follower = region.peers.find(({ id }) => id !== region.leader?.id);
  for (const [name, request] of Object.entries(requests)) {
    const target = method[name as "kvGet"];
    const old = await bench.call(target, "k", { ...request, context: stale });
    assert.ok(old.regionError?.epochNotMatch !== undefined, name);
    const peer = {
      $typeName: "metapb.Peer",
      id: follower?.id ?? 0n,
      storeId: region.leader?.storeId ?? 0n,
      role: 0,
      isWitness: false,
    } as const;
    const wrong = await bench.call(target, "k", request, { peer });
    assert.ok(wrong.regionError?.mismatchPeerId !== undefined, name);
  }
});

test("a key of another region is a region error, in a batch get an error of its pair", async () => {
  await using bench = await TxnBench.start();
  await bench.cluster.split("m");
  const got = await bench.call(method.kvGet, "a", { key: bytes("z"), version: at(1) });
  assert.ok(got.regionError?.keyNotInRegion !== undefined);
  const written = await bench.call(method.kvPrewrite, "a", {
    mutations: ["a", "z"].map((key) => ({ op: Op.Put, key: bytes(key) })),
    startVersion: at(1),
  });
  assert.ok(written.regionError?.keyNotInRegion !== undefined);
  assert.deepEqual(await bench.locks(), []);
  const batch = await bench.call(method.kvBatchGet, "a", { keys: [bytes("z")], version: at(1) });
  assert.deepEqual([batch.regionError, faultName(batch.pairs[0]?.error).startsWith("abort")], [
    undefined,
    true,
  ]);
});

test("a write that is too large, or goes to a full disk, is refused as a whole", async () => {
  await using bench = await TxnBench.start({ limits: { maxEntryBytes: 1_000 } });
  const large = await bench.prewrite({ k: "v".repeat(2_000) }, at(1));
  assert.ok(large.regionError?.raftEntryTooLarge !== undefined);
  await bench.prewrite({ j: "1" }, at(1));
  const storeId = bench.cluster.regionOf("k").leader?.storeId ?? 0n;
  bench.cluster.fillDisk(storeId);
  assert.ok((await bench.prewrite({ k: "1" }, at(2))).regionError?.diskFull !== undefined);
  assert.ok((await bench.commit(["j"], at(1), at(3))).regionError?.diskFull !== undefined);
  // What changes nothing is not refused, and neither is who says that it must be.
  assert.equal(faults(await bench.prewrite({ j: "1" }, at(2))), "locked");
  assert.equal(faults(await bench.prewrite({ k: "1" }, at(2), {}, { diskFullOpt: 2 })), "ok");
});

test("a key that is too long is refused where it would be written", async () => {
  await using bench = await TxnBench.start({ limits: { maxKeyBytes: 100 } });
  const long = "k".repeat(120);
  assert.match(faults(await bench.prewrite({ [long]: "1" }, at(1))), /KeyTooLarge/);
  assert.match(faults(await bench.lock([long], at(1), at(1))), /KeyTooLarge/);
  assert.equal(await bench.get(long, at(1)), undefined);
});

test("API V2 takes keys of transactions under their prefix only, V1TTL none", async () => {
  await using v2 = await TxnBench.start({ apiVersion: "v2" });
  const region = v2.cluster.regionOf(new Uint8Array([0x78, 0, 0, 0]), { isEncoded: true });
  const request = { version: at(1) };
  const apiVersion = 2;
  const own = {
    ...request,
    key: bytes("x\0\0\0k"),
    context: contextFor(v2.cluster.regionOf("k"), { apiVersion }),
  };
  assert.equal((await v2.call(method.kvGet, "k", own)).notFound, true);
  const foreign = { ...request, key: bytes("r\0\0\0k"), context: contextFor(region, { apiVersion }) };
  assert.match((await v2.call(method.kvGet, "k", foreign)).error?.abort ?? "", /InvalidKeyMode/);
  const unversioned = { ...own, context: contextFor(v2.cluster.regionOf("k")) };
  assert.match((await v2.call(method.kvGet, "k", unversioned)).error?.abort ?? "", /InvalidKeyMode/);
  await using ttl = await TxnBench.start({ apiVersion: "v1ttl", mode: "raw" });
  assert.match(faults(await ttl.prewrite({ k: "1" }, at(1))), /ApiVersionNotMatched/);
});

test("malformed requests are told apart from refused ones", async () => {
  await using bench = await TxnBench.start();
  await assert.rejects(bench.prewrite({ k: Op.PessimisticLock }, at(1)), { code: 13 });
  await assert.rejects(bench.lock(["k"], at(1), at(1), { op: Op.Put }), { code: 13 });
  await assert.rejects(bench.call(method.kvResolveLock, "k", { keys: [bytes("k")] }), { code: 13 });
});

test("what a client does with its own buffers afterwards changes nothing", async () => {
  await using bench = await TxnBench.start();
  const value = bytes("1");
  const primaryLock = bytes("k");
  await bench.prewrite({}, at(1), { mutations: [{ op: Op.Put, key: bytes("k"), value }], primaryLock });
  value.fill(0);
  primaryLock.fill(0);
  await bench.commit(["k"], at(1), at(2));
  assert.equal(await bench.get("k", at(3)), "1");
});

type BatchRequest = MessageInitShape<typeof BatchCommandsRequest_RequestSchema>;

test("transactional commands run in a batch, and one that waits does not hold the others up", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const region = bench.cluster.regionOf("k");
  const context = contextFor(region);
  const { transport } = bench.cluster.connectOptions();
  const stream = openStream(transport, leaderAddress(bench.cluster, region), method.batchCommands);
  const locks = {
    context,
    mutations: [{ op: Op.PessimisticLock, key: bytes("k") }],
    startVersion: at(20),
    forUpdateTs: at(20),
    waitTimeout: 100n,
  };
  const requests = [
    { cmd: { case: "PessimisticLock", value: locks } },
    { cmd: { case: "Get", value: { context, key: bytes("k"), version: at(5) } } },
    { cmd: { case: "CheckTxnStatus", value: { context, primaryKey: bytes("z"), lockTs: at(1) } } },
  ] as unknown as BatchRequest[];
  stream.send({ requests, requestIds: [1n, 2n, 3n] });
  await bench.clock.advance(0);
  const seen = () =>
    stream.replies.flatMap(({ responses, requestIds }) =>
      responses.map(({ cmd }, i) => `${requestIds[i]}:${cmd.case}`)
    );
  assert.deepEqual(seen(), ["2:Get", "3:CheckTxnStatus"]);
  await bench.clock.advance(100);
  assert.deepEqual(seen(), ["2:Get", "3:CheckTxnStatus", "1:PessimisticLock"]);
  stream.wire.end();
});

test("faults hit transactional commands by the keys of their mutations", async () => {
  await using bench = await TxnBench.start();
  bench.cluster.faults.add({ method: "KvPrewrite", key: "b", times: 1 }, fault.serverIsBusy());
  assert.equal((await bench.prewrite({ a: "1" }, at(1))).regionError, undefined);
  assert.ok((await bench.prewrite({ b: "1" }, at(1))).regionError?.serverIsBusy !== undefined);
  assert.equal(text((await bench.locks())[0]?.key ?? bytes("")), "a");
});

test("a broadcast tells stores of a commit, so that they check late prewrites", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(10), at(20));
  const region = bench.cluster.regionOf("k");
  await bench.cluster.moveLeader("k");
  const fields = { forUpdateTs: at(10), pessimisticActions: [0] };
  await bench.call(method.broadcastTxnStatus, "k", { txnStatus: [{ startTs: at(10), commitTs: at(20) }] });
  const late = await bench.prewrite({ k: "1" }, at(10), { ...fields, useAsyncCommit: true });
  assert.deepEqual([faults(late), late.minCommitTs], ["ok", at(20)]);
  assert.deepEqual(await bench.locks(), []);
  assert.notEqual(bench.cluster.regionOf("k").leader?.storeId, region.leader?.storeId);
});

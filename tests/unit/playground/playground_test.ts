// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Health, HealthCheckResponse_ServingStatus } from "../../../gen/grpc/health/v1/health_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import { MemoryNetwork } from "../../../src/rpc/memory.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { bytes, contextFor, leaderAddress, openStream, text, unary } from "./gen_client.ts";

function start(stores: number): Promise<Playground> {
  return Playground.start({ stores, clock: new ManualClock() });
}

/** Reads a key from whoever leads its region; undefined stands for a missing one. */
async function get(cluster: Playground, key: string): Promise<string | undefined> {
  const region = cluster.regionOf(key);
  const { transport } = cluster.connectOptions();
  const request = { context: contextFor(region), key: bytes(key) };
  const reply = await unary(transport, leaderAddress(cluster, region), Tikv.method.rawGet, request);
  assert.equal(reply.regionError, undefined);
  return reply.notFound ? undefined : text(reply.value);
}

async function put(cluster: Playground, key: string): Promise<void> {
  const region = cluster.regionOf(key);
  const { transport } = cluster.connectOptions();
  const request = { context: contextFor(region), key: bytes(key), value: bytes(key) };
  await unary(transport, leaderAddress(cluster, region), Tikv.method.rawPut, request);
}

test("[TST-003] a playground starts with what its options say", async () => {
  await using cluster = await Playground.start({
    stores: 5,
    replicas: 3,
    pdMembers: 3,
    clock: new ManualClock(),
    splitKeys: ["b", "d"],
  });
  assert.deepEqual(cluster.pdAddresses, ["pd-1", "pd-2", "pd-3"].map((name) => `${name}.playground:2379`));
  assert.equal(cluster.stores().length, 5);
  assert.deepEqual(cluster.regions().map(({ peers }) => peers.length), [3, 3, 3]);
  assert.deepEqual(cluster.regions().map(({ leader }) => leader?.storeId), [1n, 2n, 3n]);
});

test("wrong options are refused before anything starts", async () => {
  for (
    const options of [
      { stores: 0 },
      { stores: 1.5 },
      { stores: 2, replicas: 3 },
      { pdMembers: 2 },
      { apiVersion: "v3" },
      { apiVersion: "v1", keyspaces: ["a"] },
      { apiVersion: "v1ttl", mode: "txn" },
    ]
  ) {
    await assert.rejects(Playground.start(options as Parameters<typeof Playground.start>[0]), RangeError);
  }
});

test("data survives splits, merges and moves of leaders", async () => {
  await using cluster = await start(3);
  for (const key of ["a", "k", "z"]) await put(cluster, key);
  await cluster.split("k");
  await cluster.split("k");
  assert.equal(cluster.regions().length, 2);
  await cluster.moveLeader("k");
  assert.equal(cluster.regionOf("k").leader?.storeId, 2n);
  await cluster.moveLeader(cluster.regionOf("k").id, 1n);
  assert.equal(cluster.regionOf("k").leader?.storeId, 1n);
  await cluster.merge("k");
  assert.equal(cluster.regions().length, 1);
  for (const key of ["a", "k", "z"]) assert.equal(await get(cluster, key), key);
});

test("merge() refuses a key at which no region begins", async () => {
  await using cluster = await start(1);
  await cluster.split("k");
  await assert.rejects(cluster.merge("m"), RangeError);
  await assert.rejects(cluster.moveLeader("k", 9n), RangeError);
});

test("[TST-002] a stopped store refuses connections, and its regions elect others", async () => {
  await using cluster = await start(3);
  await put(cluster, "k");
  const { transport } = cluster.connectOptions();
  const stream = openStream(transport, "store-1.playground:20160", Tikv.method.batchCommands);
  await cluster.stopStore(1n);
  assert.equal((await stream.closed).origin, "transport");
  assert.equal(cluster.regionOf("k").leader?.storeId, 2n);
  assert.equal(await get(cluster, "k"), "k");
  await assert.rejects(unary(transport, "store-1.playground:20160", Tikv.method.rawGet, {}), {
    origin: "transport",
  });
  await cluster.startStore(1n);
  const reply = await unary(transport, "store-1.playground:20160", Tikv.method.rawGet, {});
  assert.notEqual(reply.regionError?.storeNotMatch, undefined);
});

test("without another store a stopped one leaves no leader until it starts", async () => {
  await using cluster = await start(1);
  await put(cluster, "k");
  await cluster.stopStore(1n);
  assert.equal(cluster.regionOf("k").leader, undefined);
  await cluster.startStore(1n);
  assert.equal(await get(cluster, "k"), "k");
});

test("a store may stop without an election, with its peers reported as down", async () => {
  await using cluster = await start(3);
  await cluster.stopStore(1n, { electsLeaders: false, isReportedDown: true });
  assert.equal(cluster.regionOf("k").leader?.storeId, 1n);
  assert.equal(cluster.stores()[0]?.isReportedDown, true);
});

test("[RAW-024] a store that moves answers at its new address only", async () => {
  await using cluster = await start(1);
  await put(cluster, "k");
  await cluster.readdressStore(1n);
  assert.equal(cluster.stores()[0]?.address, "store-1-1.playground:20160");
  assert.equal(await get(cluster, "k"), "k");
  const { transport } = cluster.connectOptions();
  await assert.rejects(unary(transport, "store-1.playground:20160", Tikv.method.rawGet, {}), {
    origin: "transport",
  });
});

test("[RAW-024] stores are added with peers and removed for good", async () => {
  await using cluster = await start(1);
  await put(cluster, "k");
  await assert.rejects(cluster.removeStore(1n), RangeError);
  const id = await cluster.addStore();
  assert.deepEqual(cluster.regionOf("k").peers.map(({ storeId }) => storeId), [1n, id]);
  await cluster.removeStore(1n);
  assert.equal(await get(cluster, "k"), "k");
  assert.equal(cluster.regionOf("k").confVer, 3n);
  assert.equal(cluster.stores()[0]?.nodeState, "removed");
  await assert.rejects(cluster.startStore(1n), RangeError);
  const empty = await cluster.addStore({ isEmpty: true });
  assert.equal(cluster.regionOf("k").peers.some(({ storeId }) => storeId === empty), false);
});

test("[PD-009] stores and members of PD tell that they serve", async () => {
  await using cluster = await start(1);
  const { transport } = cluster.connectOptions();
  for (const address of ["store-1.playground:20160", "pd-1.playground:2379"]) {
    const { status } = await unary(transport, address, Health.method.check, {});
    assert.equal(status, HealthCheckResponse_ServingStatus.SERVING);
  }
});

test("[RPC-012] a store forwards calls and streams to the store that the metadata names", async () => {
  await using cluster = await start(3);
  const region = cluster.regionOf("k");
  const { transport } = cluster.connectOptions();
  const context = contextFor(region);
  const metadata = { "tikv-forwarded-host": leaderAddress(cluster, region) };
  const proxy = "store-3.playground:20160";
  const direct = await unary(transport, proxy, Tikv.method.rawGet, { context });
  assert.notEqual(direct.regionError?.storeNotMatch, undefined);
  const forwarded = await unary(transport, proxy, Tikv.method.rawGet, { context }, metadata);
  assert.equal(forwarded.regionError, undefined);
  const stream = openStream(transport, proxy, Tikv.method.batchCommands, metadata);
  stream.send({
    requests: [{ cmd: { case: "RawGet", value: { context, key: bytes("k") } } }],
    requestIds: [1n],
  });
  const cmd = (await stream.until(1))[0]?.responses[0]?.cmd;
  assert.equal(cmd?.case === "RawGet" && cmd.value.regionError === undefined, true);
  await cluster.stopStore(1n);
  await assert.rejects(unary(transport, proxy, Tikv.method.rawGet, { context }, metadata), { code: 14 });
});

test("calls are counted by method and place", async () => {
  await using cluster = await start(1);
  await put(cluster, "k");
  await get(cluster, "k");
  await get(cluster, "k");
  assert.equal(cluster.calls.get("RawGet"), 2);
  assert.equal(cluster.calls.get("RawGet", "store-1"), 2);
  assert.equal(cluster.calls.get("RawGet", "store-2"), 0);
  cluster.calls.clear();
  assert.equal(cluster.calls.get("RawPut"), 0);
});

test("the same seed makes the same cluster, on the network that it is given", async () => {
  const clock = new ManualClock();
  const environment = { clock, random: new SeededRandom(1) };
  const network = new MemoryNetwork(environment);
  const run = async () => {
    await using cluster = await Playground.start({
      stores: 3,
      environment,
      seed: 5,
      network,
      splitKeys: ["m"],
    });
    assert.equal(cluster.network, network);
    return cluster.regions();
  };
  assert.deepEqual(await run(), await run());
});

test("close() ends every call, stops every timer and may be called twice", async () => {
  const clock = new ManualClock();
  const cluster = await Playground.start({ clock });
  const { transport } = cluster.connectOptions();
  const stream = openStream(transport, "store-1.playground:20160", Tikv.method.batchCommands);
  stream.send({
    requests: [{ cmd: { case: "Empty", value: { testId: 1n, delayTime: 1_000n } } }],
    requestIds: [1n],
  });
  await clock.advance(1);
  assert.equal(clock.pendingTimers, 1);
  await Promise.all([cluster.close(), cluster.close()]);
  assert.equal((await stream.closed).origin, "transport");
  assert.equal(clock.pendingTimers, 0);
});

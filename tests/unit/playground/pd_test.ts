// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Keyspace as KeyspaceService, KeyspaceState } from "../../../gen/keyspacepb_pb.ts";
import { StoreState } from "../../../gen/metapb_pb.ts";
import { ErrorType, PD } from "../../../gen/pdpb_pb.ts";
import type { PlaygroundOptions } from "../../../src/playground/mod.ts";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import type { Metadata } from "../../../src/rpc/transport.ts";
import { bytes, openStream, text, unary } from "./gen_client.ts";

const { method } = PD;

interface Caller extends AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;
  /** Calls a member with the right cluster id in the header. */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request?: Record<string, unknown>,
    at?: { readonly member?: string; readonly metadata?: Metadata },
  ): Promise<MessageShape<O>>;
}

async function start(options: PlaygroundOptions = {}): Promise<Caller> {
  const clock = new ManualClock();
  const cluster = await Playground.start({ stores: 3, pdMembers: 3, mode: "raw", clock, ...options });
  const { transport } = cluster.connectOptions();
  return {
    cluster,
    clock,
    call: async (method, request = {}, at = {}) => {
      const init = { header: { clusterId: cluster.clusterId }, ...request } as unknown as MessageInitShape<
        typeof method.input
      >;
      const address = `${at.member ?? cluster.pdLeader}.playground:2379`;
      return await unary(transport, address, method, init, at.metadata);
    },
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

test("[PD-006] every member tells the same members and leader, without a cluster id", async () => {
  await using caller = await start();
  await caller.cluster.movePdLeader("pd-2");
  for (const member of ["pd-1", "pd-2", "pd-3"]) {
    const reply = await caller.call(method.getMembers, { header: undefined }, { member });
    assert.deepEqual(reply.members.map(({ clientUrls }) => clientUrls[0]), [
      "http://pd-1.playground:2379",
      "http://pd-2.playground:2379",
      "http://pd-3.playground:2379",
    ]);
    assert.equal(reply.leader?.name, "pd-2");
    assert.equal(reply.header?.clusterId, caller.cluster.clusterId);
  }
});

test("[PD-007] a wrong or missing cluster id is refused as PD does", async () => {
  await using caller = await start();
  for (const header of [{ clusterId: 5n }, undefined]) {
    await assert.rejects(caller.call(method.getRegion, { header }), {
      code: 9,
      message: new RegExp(
        `mismatch cluster id, need ${caller.cluster.clusterId} but got ${header?.clusterId ?? 0n}`,
      ),
    });
  }
});

test("[PD-012] a follower refuses, unless the caller allows it or names the leader to forward to", async () => {
  await using caller = await start();
  const at = { member: "pd-2" };
  await assert.rejects(caller.call(method.getRegion, {}, at), {
    code: 14,
    message: /not leader and follower/,
  });
  await assert.rejects(caller.call(method.getStore, { storeId: 1n }, at), {
    code: 14,
    message: /not leader$/,
  });
  const allowed = await caller.call(method.getRegion, {}, {
    ...at,
    metadata: { "pd-allow-follower-handle": "" },
  });
  assert.equal(allowed.region?.id, caller.cluster.regionOf("").id);
  const metadata = { "pd-forwarded-host": "http://pd-1.playground:2379" };
  assert.equal((await caller.call(method.getStore, { storeId: 1n }, { ...at, metadata })).store?.id, 1n);
});

test("a member that stops hands the leadership on, the last one leaves none", async () => {
  await using caller = await start();
  await caller.cluster.stopPd("pd-1");
  assert.equal(caller.cluster.pdLeader, "pd-2");
  await assert.rejects(caller.call(method.getMembers, {}, { member: "pd-1" }), { origin: "transport" });
  await caller.cluster.stopPd("pd-2");
  await caller.cluster.stopPd("pd-3");
  assert.equal(caller.cluster.pdLeader, undefined);
  await caller.cluster.startPd("pd-2");
  assert.equal((await caller.call(method.getMembers)).leader?.name, "pd-2");
});

test("[PD-050] regions are found by key, by the key after them, and by id", async () => {
  await using caller = await start({ splitKeys: ["b", "d"] });
  const at = await caller.call(method.getRegion, { regionKey: bytes("c") });
  assert.deepEqual([text(at.region?.startKey ?? bytes("")), text(at.region?.endKey ?? bytes(""))], [
    "b",
    "d",
  ]);
  assert.equal(at.leader?.storeId, caller.cluster.regionOf("c").leader?.storeId);
  const before = await caller.call(method.getPrevRegion, { regionKey: bytes("c") });
  assert.equal(before.region?.id, caller.cluster.regionOf("a").id);
  assert.equal((await caller.call(method.getPrevRegion, { regionKey: bytes("a") })).region, undefined);
  const byId = await caller.call(method.getRegionByID, { regionId: at.region?.id ?? 0n });
  assert.deepEqual(byId.region, at.region);
  const missing = await caller.call(method.getRegionByID, { regionId: 999n });
  assert.deepEqual([missing.region, missing.header?.error], [undefined, undefined]);
});

test("[PD-052] [PD-053] scans take ranges and limits; batch scans join ranges that touch", async () => {
  await using caller = await start({ splitKeys: ["b", "d", "f"] });
  const names = (list: readonly { region?: { startKey: Uint8Array } | undefined }[]) =>
    list.map(({ region }) => text(region?.startKey ?? bytes("?")));
  const scan = await caller.call(method.scanRegions, { startKey: bytes("c"), endKey: bytes("f"), limit: 9 });
  assert.deepEqual(names(scan.regions), ["b", "d"]);
  assert.equal(scan.leaders.length, 2);
  const batch = async (ranges: readonly (readonly [string, string])[], limit = 0) => {
    const list = ranges.map(([startKey, endKey]) => ({ startKey: bytes(startKey), endKey: bytes(endKey) }));
    return names((await caller.call(method.batchScanRegions, { ranges: list, limit })).regions);
  };
  assert.deepEqual(await batch([["a", "b"], ["e", "f"]]), ["", "d"]);
  assert.deepEqual(await batch([["b", "c"], ["c", "cc"], ["cd", ""]]), ["b", "d", "f"]);
  assert.deepEqual(await batch([["", ""]], 2), ["", "b"]);
});

test("[PD-051] a query stream maps keys to ids by position, and leaves unknown ids out", async () => {
  await using caller = await start({ splitKeys: ["b"] });
  const { transport } = caller.cluster.connectOptions();
  const stream = openStream(transport, "pd-1.playground:2379", method.queryRegion);
  const [left, right] = caller.cluster.regions().map(({ id }) => id);
  const header = { clusterId: caller.cluster.clusterId };
  stream.send({ header, keys: ["c", "a"].map(bytes), prevKeys: ["c", "a"].map(bytes), ids: [999n, 0n] });
  const [reply] = await stream.until(1);
  assert.deepEqual(reply?.keyIdMap, [right, left]);
  assert.deepEqual(reply?.prevKeyIdMap, [left, 0n]);
  assert.deepEqual(Object.keys(reply?.regionsById ?? {}).map(BigInt).sort(), [left, right].sort());
  stream.send({ header: { clusterId: 1n } });
  assert.equal((await stream.closed).code, 9);
});

test("PD goes on telling the last leader of a region that lost it", async () => {
  await using caller = await start();
  await caller.cluster.moveLeader("k", 3n);
  await caller.cluster.dropLeader("k");
  const { leader } = await caller.call(method.getRegion, { regionKey: bytes("k") });
  assert.equal(leader?.storeId, 3n);
});

test("while its regions are frozen PD tells old ones", async () => {
  await using caller = await start();
  caller.cluster.freezePdRegions(true);
  await caller.cluster.split("m");
  const seen = async () => (await caller.call(method.getRegion, { regionKey: bytes("x") })).region?.startKey;
  assert.deepEqual(await seen(), bytes(""));
  caller.cluster.freezePdRegions(false);
  assert.deepEqual(await seen(), bytes("m"));
});

test("[PD-057] SplitRegions tells the regions that begin at the keys, those that did before too", async () => {
  await using caller = await start();
  const first = await caller.call(method.splitRegions, { splitKeys: ["d", "b"].map(bytes) });
  assert.equal(first.finishedPercentage, 100n);
  assert.deepEqual(first.regionsId, ["d", "b"].map((key) => caller.cluster.regionOf(key).id));
  const again = await caller.call(method.splitAndScatterRegions, { splitKeys: ["b", "x"].map(bytes) });
  assert.deepEqual(again.regionsId, ["b", "x"].map((key) => caller.cluster.regionOf(key).id));
  assert.deepEqual([again.splitFinishedPercentage, again.scatterFinishedPercentage], [100n, 100n]);
});

test("[PD-056] [PD-058] scattering moves leaders, leaves an operator, and names what failed", async () => {
  await using caller = await start({ splitKeys: ["b", "d"] });
  const ids = caller.cluster.regions().map(({ id }) => id);
  const [id = 0n] = ids;
  const before = await caller.call(method.getOperator, { regionId: id });
  assert.equal(before.header?.error?.type, ErrorType.REGION_NOT_FOUND);
  const reply = await caller.call(method.scatterRegion, { regionsId: [...ids, 999n] });
  assert.deepEqual([reply.finishedPercentage, reply.failedRegionsId], [75n, [999n]]);
  assert.equal(text((await caller.call(method.getOperator, { regionId: id })).desc), "scatter-region");
  const leaders = caller.cluster.regions().map(({ leader }) => leader?.storeId);
  assert.equal(new Set(leaders).size, 3);
});

test("[PD-055] stores are shown with address and state; tombstones on demand; unknown ids by text", async () => {
  await using caller = await start();
  await caller.cluster.removeStore(2n);
  const removed = await caller.call(method.getStore, { storeId: 2n });
  assert.equal(removed.store?.state, StoreState.Tombstone);
  const all = async (excludeTombstoneStores: boolean) =>
    (await caller.call(method.getAllStores, { excludeTombstoneStores })).stores.map(({ id }) => id);
  assert.deepEqual(await all(true), [1n, 3n]);
  assert.deepEqual(await all(false), [1n, 2n, 3n]);
  const unknown = await caller.call(method.getStore, { storeId: 77n });
  assert.equal(unknown.header?.error?.message, "invalid store ID 77, not found");
  const { store } = await caller.call(method.getStore, { storeId: 1n });
  assert.equal(store?.address, "store-1.playground:20160");
});

test("[PD-032] timestamps: the answer is the last of the batch, all grow, also over the limit of a millisecond", async () => {
  await using caller = await start();
  const { transport } = caller.cluster.connectOptions();
  const stream = openStream(transport, "pd-1.playground:2379", method.tso);
  const ask = async (count: number) => {
    const known = stream.replies.length;
    stream.send({ header: { clusterId: caller.cluster.clusterId }, count });
    const reply = (await stream.until(known + 1))[known];
    assert.equal(reply?.count, count);
    return [reply?.timestamp?.physical ?? 0n, reply?.timestamp?.logical ?? 0n] as const;
  };
  const now = BigInt(caller.clock.wallNow());
  assert.deepEqual(await ask(3), [now, 3n]);
  assert.deepEqual(await ask(1), [now, 4n]);
  assert.deepEqual(await ask(200_000), [now, 200_004n]);
  assert.deepEqual(await ask(100_000), [now + 1n, 100_000n]);
  await caller.clock.advance(5);
  assert.deepEqual(await ask(1), [now + 5n, 1n]);
  caller.cluster.jumpTso(1_000);
  assert.deepEqual(await ask(1), [now + 1_005n, 1n]);
  caller.cluster.jumpTso(-2_000);
  assert.equal((await ask(1))[0] < now, true);
});

test("[PD-034] a stalled oracle answers late and in order", async () => {
  await using caller = await start();
  const { transport } = caller.cluster.connectOptions();
  const stream = openStream(transport, "pd-1.playground:2379", method.tso);
  caller.cluster.stallTso(100);
  const header = { clusterId: caller.cluster.clusterId };
  stream.send({ header, count: 1 });
  stream.send({ header, count: 2 });
  await caller.clock.advance(99);
  assert.equal(stream.replies.length, 0);
  await caller.clock.advance(1);
  stream.send({ header, count: 3 });
  assert.deepEqual((await stream.until(3)).map(({ count }) => count), [1, 2, 3]);
});

test("[PD-035] a follower ends a timestamp stream with a text that says who it is not", async () => {
  await using caller = await start();
  const { transport } = caller.cluster.connectOptions();
  const header = { clusterId: caller.cluster.clusterId };
  const stream = openStream(transport, "pd-1.playground:2379", method.tso);
  stream.send({ header, count: 1 });
  await stream.until(1);
  await caller.cluster.movePdLeader();
  stream.send({ header, count: 1 });
  const status = await stream.closed;
  assert.equal(status.code, 2);
  assert.match(status.message, /is not leader/);
  const forward = { "pd-forwarded-host": "http://pd-2.playground:2379" };
  const forwarded = openStream(transport, "pd-1.playground:2379", method.tso, forward);
  forwarded.send({ header, count: 1 });
  assert.equal((await forwarded.until(1)).length, 1);
});

test("movePdLeader() with an election leaves PD without a leader for that time", async () => {
  await using caller = await start();
  const moved = caller.cluster.movePdLeader("pd-3", { electionMs: 200 });
  assert.equal((await caller.call(method.getMembers, {}, { member: "pd-1" })).leader, undefined);
  await caller.clock.advance(200);
  await moved;
  assert.equal(caller.cluster.pdLeader, "pd-3");
});

test("[PD-079] [TXN-009] [ORA-010] the external timestamp only grows, up to the present", async () => {
  await using caller = await start();
  const set = async (timestamp: bigint) =>
    (await caller.call(method.setExternalTimestamp, { timestamp })).header?.error;
  assert.equal(await set(100n), undefined);
  assert.equal((await set(99n))?.type, ErrorType.INVALID_VALUE);
  assert.equal((await set(1n << 62n))?.type, ErrorType.INVALID_VALUE);
  assert.equal((await caller.call(method.getExternalTimestamp)).timestamp, 100n);
});

test("[KS-013] [PD-075] keyspaces by name and id; unknown names are ENTRY_NOT_FOUND; states follow PD's table", async () => {
  await using caller = await start({ apiVersion: "v2", keyspaces: ["orders"] });
  const keyspaces = KeyspaceService.method;
  const load = async (name: string) => await caller.call(keyspaces.loadKeyspace, { name });
  assert.deepEqual((await load("DEFAULT")).keyspace?.keyspace, { case: "id", value: 0 });
  assert.deepEqual((await load("orders")).keyspace?.keyspace, { case: "id", value: 1 });
  assert.equal((await load("nope")).header?.error?.type, ErrorType.ENTRY_NOT_FOUND);
  const set = async (id: number, state: KeyspaceState) => {
    const request = { keyspace: { case: "id", value: id }, state };
    return (await caller.call(keyspaces.updateKeyspaceState, request)).header?.error?.message;
  };
  assert.equal(await set(1, KeyspaceState.ARCHIVED), "keyspace 1 cannot go to state 2");
  assert.equal(await set(1, KeyspaceState.DISABLED), undefined);
  assert.equal(await set(1, KeyspaceState.ARCHIVED), undefined);
  assert.match(await set(0, KeyspaceState.DISABLED) ?? "", /protected/);
  const list = await caller.call(keyspaces.getAllKeyspaces, { startKeyspace: { case: "startId", value: 1 } });
  assert.deepEqual(list.keyspaces.map(({ name }) => name), ["orders"]);
});

test("[KS-005] a keyspace has regions of its own, at encoded bounds", async () => {
  await using caller = await start({ apiVersion: "v2", keyspaces: ["orders"] });
  const { region } = await caller.call(method.getRegion, {
    regionKey: caller.cluster.encodeKey("k", { keyspace: "orders" }),
  });
  const encoded = (first: number, id: number) => Uint8Array.from([first, 0, 0, id, 0, 0, 0, 0, 0xfb]);
  assert.deepEqual([region?.startKey, region?.endKey], [encoded(0x72, 1), encoded(0x72, 2)]);
});

test("ids are handed out once, shared with stores and regions", async () => {
  await using caller = await start();
  const first = await caller.call(method.allocID, { count: 3 });
  const second = await caller.call(method.allocID, { count: 1 });
  assert.equal(second.id, first.id + 1n);
  assert.equal(caller.cluster.regions().some(({ id }) => id >= first.id - 2n), false);
});

test("a method that PD does not have answers UNIMPLEMENTED with its name", async () => {
  await using caller = await start();
  await assert.rejects(caller.call(method.putStore), {
    code: 12,
    message: /unknown method PutStore for service pdpb.PD/,
  });
});

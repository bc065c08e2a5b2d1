// SPDX-License-Identifier: Apache-2.0
// One row per thing that a store refuses before it looks at data, asked through the wire.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Error as RegionError } from "../../../gen/errorpb_pb.ts";
import type { Context, RawGetResponse } from "../../../gen/kvrpcpb_pb.ts";
import { PeerSchema, RegionEpochSchema } from "../../../gen/metapb_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import { create } from "@bufbuild/protobuf";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import { bytes, contextFor, leaderAddress, unary } from "./gen_client.ts";

type Changes = Omit<Partial<Context>, "$typeName">;

async function withCluster(body: (cluster: Playground) => Promise<void>): Promise<void> {
  await using cluster = await Playground.start({ stores: 3, mode: "raw", clock: new ManualClock() });
  await body(cluster);
}

/** Reads "k" from the leader of its region as it was before, with changes to the Context. */
async function read(
  cluster: Playground,
  changes: Changes,
  at?: { address?: string; key?: string },
): Promise<RawGetResponse> {
  const region = cluster.regionOf("k");
  const { transport } = cluster.connectOptions();
  const address = at?.address ?? leaderAddress(cluster, region);
  const request = { context: contextFor(region, changes), key: bytes(at?.key ?? "k") };
  return await unary(transport, address, Tikv.method.rawGet, request);
}

async function refusal(
  cluster: Playground,
  changes: Changes,
  at?: { address?: string },
): Promise<RegionError> {
  const { regionError } = await read(cluster, changes, at);
  assert.ok(regionError !== undefined, "a region error was expected");
  return regionError;
}

test("a request for another store is refused with both ids", () =>
  withCluster(async (cluster) => {
    const peer = cluster.regionOf("k").peers.find(({ storeId }) => storeId === 2n);
    const error = await refusal(cluster, { peer: create(PeerSchema, { id: peer?.id ?? 0n, storeId: 2n }) });
    assert.deepEqual([error.storeNotMatch?.requestStoreId, error.storeNotMatch?.actualStoreId], [2n, 1n]);
    assert.equal(error.message, "to store id 2, mine 1");
  }));

test("a region that the store does not have is refused by its id", () =>
  withCluster(async (cluster) => {
    const error = await refusal(cluster, { regionId: 999n });
    assert.equal(error.regionNotFound?.regionId, 999n);
    const { id } = cluster.regionOf("k");
    await cluster.removePeer(id, 1n);
    await cluster.moveLeader(id, 2n);
    const request = {
      context: contextFor(cluster.regionOf("k"), { peer: create(PeerSchema, { storeId: 1n }) }),
    };
    const { transport } = cluster.connectOptions();
    const reply = await unary(transport, "store-1.playground:20160", Tikv.method.rawGet, request);
    assert.equal(reply.regionError?.regionNotFound?.regionId, id);
  }));

test("a peer id that is not the store's own is refused with both ids", () =>
  withCluster(async (cluster) => {
    const peer = cluster.regionOf("k").leader;
    const error = await refusal(cluster, { peer: create(PeerSchema, { id: 77n, storeId: 1n }) });
    assert.deepEqual([error.mismatchPeerId?.requestPeerId, error.mismatchPeerId?.storePeerId], [
      77n,
      peer?.id,
    ]);
  }));

test("a follower refuses with the leader as hint, and without hint while none is elected", () =>
  withCluster(async (cluster) => {
    const before = cluster.regionOf("k");
    const context = { peer: create(PeerSchema, { id: before.leader?.id ?? 0n, storeId: 1n }) };
    await cluster.moveLeader("k", 3n);
    const at = { address: "store-1.playground:20160" };
    const hinted = await refusal(cluster, context, at);
    assert.equal(hinted.notLeader?.regionId, before.id);
    assert.equal(hinted.notLeader?.leader?.storeId, 3n);
    const { transport } = cluster.connectOptions();
    await cluster.dropLeader("k");
    const request = { context: contextFor(before), key: bytes("k") };
    const { regionError } = await unary(transport, at.address, Tikv.method.rawGet, request);
    assert.equal(regionError?.notLeader?.regionId, before.id);
    assert.equal(regionError?.notLeader?.leader, undefined);
  }));

test("a follower answers a replica read", () =>
  withCluster(async (cluster) => {
    const follower = cluster.regionOf("k").peers.find(({ storeId }) => storeId === 2n);
    const peer = create(PeerSchema, { id: follower?.id ?? 0n, storeId: 2n });
    const at = { address: "store-2.playground:20160" };
    assert.equal((await read(cluster, { peer, replicaRead: true }, at)).regionError, undefined);
    assert.notEqual((await read(cluster, { peer }, at)).regionError?.notLeader, undefined);
  }));

test("a stale version is refused with the region and those split off since", () =>
  withCluster(async (cluster) => {
    const before = cluster.regionOf("k");
    await cluster.split("b");
    await cluster.split("d");
    const { transport } = cluster.connectOptions();
    const request = { context: contextFor(before), key: bytes("k") };
    const { regionError } = await unary(
      transport,
      leaderAddress(cluster, before),
      Tikv.method.rawGet,
      request,
    );
    const current = regionError?.epochNotMatch?.currentRegions ?? [];
    assert.deepEqual(current.map(({ id }) => id), [
      before.id,
      cluster.regionOf("c").id,
      cluster.regionOf("a").id,
    ]);
    assert.deepEqual(current[0]?.startKey, bytes("d"));
    assert.equal(
      regionError?.message,
      `EpochNotMatch current epoch of region ${before.id} is conf_ver: 1 version: 3, but you sent conf_ver: 1 version: 1`,
    );
  }));

test("regions that were split off from one that was split off are told as well", () =>
  withCluster(async (cluster) => {
    const before = cluster.regionOf("k");
    await cluster.split("f");
    await cluster.split("c");
    const { transport } = cluster.connectOptions();
    const request = { context: contextFor(before), key: bytes("k") };
    const { regionError } = await unary(
      transport,
      leaderAddress(cluster, before),
      Tikv.method.rawGet,
      request,
    );
    const current = regionError?.epochNotMatch?.currentRegions ?? [];
    assert.deepEqual(current.map(({ startKey }) => startKey), [bytes("f"), bytes("c"), bytes("")]);
  }));

test("an older split is not told again to a request that knows it", () =>
  withCluster(async (cluster) => {
    await cluster.split("b");
    const before = cluster.regionOf("k");
    await cluster.split("d");
    const { transport } = cluster.connectOptions();
    const request = { context: contextFor(before), key: bytes("k") };
    const { regionError } = await unary(
      transport,
      leaderAddress(cluster, before),
      Tikv.method.rawGet,
      request,
    );
    const current = regionError?.epochNotMatch?.currentRegions ?? [];
    assert.deepEqual(current.map(({ startKey }) => startKey), [bytes("d"), bytes("b")]);
  }));

test("a version from the future is refused with the region alone", () =>
  withCluster(async (cluster) => {
    await cluster.split("b");
    const error = await refusal(cluster, {
      regionEpoch: create(RegionEpochSchema, { confVer: 1n, version: 9n }),
    });
    assert.equal(error.epochNotMatch?.currentRegions.length, 1);
  }));

test("data requests are not checked for the peers of the region (conf_ver)", () =>
  withCluster(async (cluster) => {
    const { version } = cluster.regionOf("k");
    const reply = await read(cluster, { regionEpoch: create(RegionEpochSchema, { confVer: 99n, version }) });
    assert.equal(reply.regionError, undefined);
  }));

test("a request without an epoch is refused without a kind", () =>
  withCluster(async (cluster) => {
    const error = await refusal(cluster, { regionEpoch: undefined });
    assert.equal(error.message, `"missing epoch!"`);
    assert.equal(error.epochNotMatch, undefined);
  }));

test("a term that is two behind is a stale command, one behind is not", () =>
  withCluster(async (cluster) => {
    const { term } = cluster.regionOf("k");
    await cluster.moveLeader("k", 2n);
    assert.equal((await read(cluster, { term })).regionError, undefined);
    await cluster.moveLeader("k", 3n);
    assert.notEqual((await refusal(cluster, { term })).staleCommand, undefined);
  }));

test("a key outside the region is refused with the bounds of the region", () =>
  withCluster(async (cluster) => {
    await cluster.split("c");
    await cluster.split("p");
    const { regionError } = await read(cluster, {}, { key: "z" });
    const refused = regionError?.keyNotInRegion;
    assert.deepEqual([refused?.key, refused?.startKey, refused?.endKey], [
      bytes("z"),
      bytes("c"),
      bytes("p"),
    ]);
    assert.equal(refused?.regionId, cluster.regionOf("k").id);
  }));

test("the checks come in TiKV's order: store, region, peer, leader, epoch", () =>
  withCluster(async (cluster) => {
    const wrong = {
      regionEpoch: create(RegionEpochSchema, { confVer: 1n, version: 9n }),
      peer: create(PeerSchema, { id: 77n, storeId: 2n }),
      regionId: 999n,
    };
    const { regionId: _region, ...knownRegion } = wrong;
    const rightStore = { ...wrong, peer: create(PeerSchema, { id: 77n, storeId: 1n }) };
    assert.notEqual((await refusal(cluster, wrong)).storeNotMatch, undefined);
    assert.notEqual((await refusal(cluster, rightStore)).regionNotFound, undefined);
    const rightRegion = { ...knownRegion, peer: rightStore.peer };
    assert.notEqual((await refusal(cluster, rightRegion)).mismatchPeerId, undefined);
    const leader = cluster.regionOf("k").leader?.id ?? 0n;
    const rightPeer = { ...knownRegion, peer: create(PeerSchema, { id: leader, storeId: 1n }) };
    await cluster.dropLeader("k");
    const { transport } = cluster.connectOptions();
    const ask = async () => {
      const context = { regionId: cluster.regionOf("k").id, ...rightPeer };
      return (await unary(transport, "store-1.playground:20160", Tikv.method.rawGet, { context }))
        .regionError;
    };
    assert.notEqual((await ask())?.notLeader, undefined);
    await cluster.moveLeader("k", 1n);
    assert.notEqual((await ask())?.epochNotMatch, undefined);
  }));

test("another cluster's id is refused with INVALID_ARGUMENT, none is accepted", () =>
  withCluster(async (cluster) => {
    await assert.rejects(read(cluster, { clusterId: 1n }), {
      code: 3,
      message: /the cluster id of the request does not match the TiKV cluster/,
    });
    assert.equal((await read(cluster, { clusterId: cluster.clusterId })).regionError, undefined);
    assert.equal((await read(cluster, { clusterId: 0n })).regionError, undefined);
  }));

test("a full disk refuses writes and answers reads", () =>
  withCluster(async (cluster) => {
    cluster.fillDisk(1n);
    const region = cluster.regionOf("k");
    const { transport } = cluster.connectOptions();
    const request = { context: contextFor(region), key: bytes("k"), value: bytes("v") };
    const put = () => unary(transport, leaderAddress(cluster, region), Tikv.method.rawPut, request);
    assert.deepEqual((await put()).regionError?.diskFull?.storeId, [1n]);
    assert.equal((await read(cluster, {})).regionError, undefined);
    cluster.fillDisk(1n, false);
    assert.equal((await put()).regionError, undefined);
  }));

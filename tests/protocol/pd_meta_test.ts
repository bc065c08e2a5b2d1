// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { Deadline } from "../../src/async/deadline.ts";
import { compareBytes } from "../../src/bytes/compare.ts";
import { encodeBytes } from "../../src/bytes/memcomparable.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { v1Codec, v2Codec } from "../../src/codec/keyspace.ts";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import { pdSetup } from "../helpers/pd_setup.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const key = utf8Encode;
const EMPTY = new Uint8Array();

function region(id: bigint, start: Uint8Array, end: Uint8Array): Readonly<Record<string, unknown>> {
  return {
    region: {
      id,
      startKey: start,
      endKey: end,
      regionEpoch: { confVer: 3n, version: 4n },
      peers: [
        { id: id + 1n, storeId: 1n },
        { id: id + 2n, storeId: 2n, role: 1 },
        { id: id + 3n, storeId: 3n, role: 2, isWitness: true },
        { id: id + 4n, storeId: 4n, role: 3 },
      ],
    },
    leader: { id: id + 1n, storeId: 1n },
    downPeers: [{ peer: { id: id + 2n, storeId: 2n }, downSeconds: 60n }],
    pendingPeers: [{ id: id + 3n, storeId: 3n }],
  };
}

function splitRegions(borders: readonly string[]): Readonly<Record<string, unknown>>[] {
  const keys = ["", ...borders, ""].map(key);
  return keys.slice(1).map((end, index) => region(BigInt(index + 1) * 10n, keys[index] ?? EMPTY, end));
}

test("[PD-050] region() reads everything PD says about a region", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["GetRegion"] = () => ({
    ...region(10n, key("a"), key("m")),
    buckets: { version: 5n, keys: [key("a"), key("c")] },
  });
  assert.deepEqual(await clock.run(pd.region("b")), {
    id: 10n,
    confVer: 3n,
    version: 4n,
    start: key("a"),
    end: key("m"),
    peers: [
      { id: 11n, storeId: 1n, role: "voter", isWitness: false },
      { id: 12n, storeId: 2n, role: "learner", isWitness: false },
      { id: 13n, storeId: 3n, role: "incoming-voter", isWitness: true },
      { id: 14n, storeId: 4n, role: "demoting-voter", isWitness: false },
    ],
    leader: { id: 11n, storeId: 1n, role: "voter", isWitness: false },
    downPeers: [12n],
    pendingPeers: [13n],
    buckets: { version: 5n, keys: [key("a"), key("c")] },
  });
  await pd.close();
});

test("[PD-050] a region that PD does not have is undefined, and so is a leader that it does not know", async () => {
  const { clock, cluster, pd } = await pdSetup();
  for (const ask of [() => pd.region("b"), () => pd.previousRegion("b"), () => pd.regionById(3n)]) {
    assert.equal(await clock.run(ask()), undefined);
  }
  cluster.on["GetRegionByID"] = ({ request }) => ({ ...region(request.regionId, EMPTY, EMPTY), leader: {} });
  const found = await clock.run(pd.regionById(3n));
  assert.equal(found?.id, 3n);
  assert.equal(found?.leader, undefined);
  await pd.close();
});

test("[KS-012] keys go out and come back as the user knows them", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const rows = [
    [v1Codec("raw"), key("k"), key("k")],
    [v1Codec("txn"), key("k"), encodeBytes(key("k"))],
    [v2Codec("raw", 5), key("k"), encodeBytes(Uint8Array.of(0x72, 0, 0, 5, 0x6b))],
    [v2Codec("txn", 5), key("k"), encodeBytes(Uint8Array.of(0x78, 0, 0, 5, 0x6b))],
  ] as const;
  for (const [keys, user, wire] of rows) {
    const view = pd.with({ keys });
    for (const method of ["GetRegion", "GetPrevRegion"]) {
      cluster.on[method] = ({ request }) => {
        assert.deepEqual(request.regionKey, wire);
        return region(1n, wire, EMPTY);
      };
    }
    for (const found of [await clock.run(view.region(user)), await clock.run(view.previousRegion(user))]) {
      assert.deepEqual(found?.start, user);
      assert.deepEqual(found?.end, EMPTY);
    }
    const seen: Uint8Array[] = [];
    cluster.on["SplitRegions"] = ({ request }) => {
      seen.push(...request.splitKeys);
      return { finishedPercentage: 100n, regionsId: [9n] };
    };
    // Trap 39: client-go sends these as they are.
    cluster.on["SplitAndScatterRegions"] = ({ request }) => {
      seen.push(...request.splitKeys);
      return { splitFinishedPercentage: 50n, scatterFinishedPercentage: 20n, regionsId: [9n] };
    };
    assert.deepEqual(await clock.run(view.split([user])), { finishedPercentage: 100, regionIds: [9n] });
    const call = { deadline: Deadline.never(clock), scatter: true };
    const scattered = await clock.run(view.meta().splitRegions([user], call));
    assert.deepEqual(scattered, { finishedPercentage: 50, regionIds: [9n] });
    assert.deepEqual(seen, [wire, wire]);
  }
  await pd.close();
});

test("[KS-006] a region outside of the keyspace is undefined, one that reaches beyond it is clamped", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const view = pd.with({ keys: v2Codec("raw", 5) });
  cluster.on["GetRegionByID"] = () => region(1n, encodeBytes(Uint8Array.of(0x72, 0, 0, 6)), EMPTY);
  assert.equal(await clock.run(view.regionById(1n)), undefined);
  cluster.on["GetRegionByID"] = () => region(1n, EMPTY, encodeBytes(Uint8Array.of(0x72, 0, 0, 5, 1)));
  const found = await clock.run(view.regionById(1n));
  assert.deepEqual([found?.start, found?.end], [EMPTY, Uint8Array.of(1)]);
  await pd.close();
});

test("[KS-006] borders that cannot be read are an error that is not retried", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["GetRegion"] = () => region(1n, key("raw"), EMPTY);
  await rejectsKind(clock.run(pd.with({ keys: v2Codec("raw", 5) }).region("k")), "codec");
  // Trap 38: in API version 1 it is the sign of raw and transactional data side by side.
  const error = await rejectsKind(clock.run(pd.with({ keys: v1Codec("txn") }).region("k")), "mixed-mode");
  assert.equal(error.context.regionId, 1n);
  assert.equal(cluster.callsOf("GetRegion").length, 2);
  await pd.close();
});

test("[PD-052] regions() pages through a range, over gaps, and ends with its reader", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const all = splitRegions(["b", "d", "f", "h"]).filter((_, index) => index !== 2);
  cluster.on["ScanRegions"] = ({ request: { startKey, endKey, limit } }) => {
    const before = (a: Uint8Array, b: Uint8Array) => compareBytes(a, b) < 0;
    const hits = all.filter(({ region }) => {
      const { startKey: start, endKey: end } = region as { startKey: Uint8Array; endKey: Uint8Array };
      return (end.length === 0 || before(startKey, end)) && (endKey.length === 0 || before(start, endKey));
    });
    return { regions: hits.slice(0, limit) };
  };
  const ids = async (range: Parameters<typeof pd.regions>[0], pageSize: number) => {
    const found: bigint[] = [];
    for await (const { id } of pd.regions(range, { pageSize })) found.push(id);
    return found;
  };
  assert.deepEqual(await clock.run(ids({}, 2)), [10n, 20n, 40n, 50n]);
  assert.deepEqual(await clock.run(ids({ start: "c", end: "g" }, 1)), [20n, 40n]);
  assert.deepEqual(await clock.run(ids({ prefix: "e" }, 10)), []);
  cluster.calls.length = 0;
  for await (const _ of pd.regions({}, { pageSize: 1 })) break;
  assert.equal(cluster.callsOf("ScanRegions").length, 1);
  assert.throws(() => pd.regions({ start: "b", end: "a" }), RangeError);
  assert.throws(() => pd.regions({}, { pageSize: 0 }), RangeError);
  await pd.close();
});

test("[PD-053] batchScanRegions() asks once for all ranges", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["BatchScanRegions"] = () => ({ regions: splitRegions(["b", "d"]) });
  const call = { deadline: Deadline.after(clock, 1_000) };
  const ranges = [{ start: key("a"), end: key("b") }, { start: key("c"), end: key("c") }, {
    start: key("d"),
    end: EMPTY,
  }];
  const scan = { limit: 9, needBuckets: true, containAllKeyRange: true };
  const found = await clock.run(pd.meta().batchScanRegions(ranges, scan, call));
  assert.deepEqual(found.map(({ id }) => id), [10n, 20n, 30n]);
  const { request } = cluster.callsOf("BatchScanRegions")[0] ?? {};
  assert.equal(request.ranges.length, 2, "an empty range is not asked for");
  assert.deepEqual([request.limit, request.needBuckets, request.containAllKeyRange], [9, true, true]);
  assert.deepEqual(await pd.meta().batchScanRegions([], {}, call), []);
  await pd.close();
});

test("[PD-053] batchScanRegions() asks range by range where PD has no such call, and remembers it", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["BatchScanRegions"] = () => ({
    grpc: GRPC.UNIMPLEMENTED,
    text: "unknown method BatchScanRegions",
  });
  const [first, second, third] = splitRegions(["b", "d"]);
  cluster.on["ScanRegions"] = ({ request }) => ({
    regions: request.startKey[0] === 0x61 ? [first, second] : [second, third].slice(0, request.limit || 9),
  });
  const ranges = [{ start: key("a"), end: key("c") }, { start: key("cc"), end: EMPTY }];
  const call = { deadline: Deadline.never(clock) };
  for (const [limit, ids] of [[0, [10n, 20n, 30n]], [2, [10n, 20n]], [3, [10n, 20n]]] as const) {
    const found = await clock.run(pd.meta().batchScanRegions(ranges, { limit }, call));
    assert.deepEqual(found.map(({ id }) => id), ids);
  }
  assert.equal(cluster.callsOf("BatchScanRegions").length, 1, "also by another view of the same client");
  await pd.close();
});

test("[PD-055] store() and stores() leave out what was removed", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const stores = [
    {
      id: 1n,
      address: "s1:20160",
      version: "8.5.0",
      statusAddress: "s1:20180",
      labels: [{ key: "zone", value: "z1" }],
    },
    { id: 2n, address: "s2:20160", state: 1 },
    { id: 3n, address: "s3:20160", nodeState: 2 },
    { id: 4n, address: "s4:20160", state: 2 },
    { id: 5n, address: "s5:20160", nodeState: 3 },
  ];
  cluster.on["GetAllStores"] = () => ({ stores });
  const found = await clock.run(pd.stores());
  assert.deepEqual(found.map(({ id, state }) => [id, state]), [[1n, "up"], [2n, "offline"], [3n, "offline"]]);
  assert.equal(cluster.callsOf("GetAllStores")[0]?.request.excludeTombstoneStores, true);
  cluster.on["GetStore"] = ({ request }) => ({ store: stores[Number(request.storeId) - 1] });
  assert.deepEqual(await clock.run(pd.store(1n)), {
    id: 1n,
    address: "s1:20160",
    state: "up",
    labels: new Map([["zone", "z1"]]),
    version: "8.5.0",
    statusAddress: "s1:20180",
    peerAddress: "",
  });
  assert.equal(await clock.run(pd.store(4n)), undefined);
  assert.equal(await clock.run(pd.store(5n)), undefined);
  await pd.close();
});

test("[TRAP-48] a store that PD never had is undefined; any other unknown error is one", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["GetStore"] = () => ({ refuse: "UNKNOWN", text: "invalid store ID 5, not found" });
  assert.equal(await clock.run(pd.store(5n)), undefined);
  cluster.on["GetStore"] = () => ({ grpc: GRPC.UNKNOWN, text: "invalid store ID 5, not found" });
  assert.equal(await clock.run(pd.store(5n)), undefined);
  cluster.on["GetStore"] = () => ({ refuse: "STORE_TOMBSTONE" });
  assert.equal(await clock.run(pd.store(5n)), undefined);
  cluster.on["GetStore"] = () => ({ refuse: "UNKNOWN", text: "the disk was not found" });
  await rejectsKind(clock.run(pd.store(5n)), "server");
  await pd.close();
});

test("[PD-056] [PD-058] scatter() and operator() tell what PD does", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["ScatterRegion"] = () => ({ finishedPercentage: 50n, failedRegionsId: [3n] });
  assert.deepEqual(await clock.run(pd.scatter([2n, 3n], { group: "g" })), {
    finishedPercentage: 50,
    failedRegionIds: [3n],
  });
  const { request } = cluster.callsOf("ScatterRegion")[0] ?? {};
  assert.deepEqual([request.regionsId, request.group], [[2n, 3n], "g"]);
  assert.deepEqual(await clock.run(pd.scatter([])), { finishedPercentage: 100, failedRegionIds: [] });
  cluster.on["GetOperator"] = () => ({ desc: key("scatter-region"), kind: key("leader,region"), status: 4 });
  assert.deepEqual(await clock.run(pd.operator(2n)), {
    regionId: 2n,
    description: "scatter-region",
    kind: "leader,region",
    status: "running",
  });
  cluster.on["GetOperator"] = () => ({ refuse: "REGION_NOT_FOUND", text: "Not Found" });
  assert.equal(await clock.run(pd.operator(2n)), undefined);
  await pd.close();
});

test("[PD-075] [KS-013] keyspaces are found by name, by id and as a list", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const all = Array.from({ length: 250 }, (_, id) => ({
    // An old PD leaves out the id of the default keyspace.
    ...(id === 0 ? {} : { keyspace: { case: "id", value: id } }),
    name: id === 0 ? "DEFAULT" : `ks${id}`,
    state: id % 4,
    createdAt: 1_700_000_000n,
    config: { gc_management_type: "unified" },
  }));
  cluster.on["LoadKeyspace"] = ({ request }) => {
    const keyspace = all.find(({ name }) => name === request.name);
    return keyspace === undefined
      ? { refuse: "ENTRY_NOT_FOUND", text: "keyspace does not exist" }
      : { keyspace };
  };
  cluster.on["LoadKeyspaceByID"] = ({ request }) => {
    const keyspace = all[request.keyspace.value];
    return keyspace === undefined ? { refuse: "UNKNOWN", text: "keyspace does not exist" } : { keyspace };
  };
  cluster.on["GetAllKeyspaces"] = ({ request }) => {
    const from = request.startKeyspace.value;
    return { keyspaces: all.slice(from, from + request.limit) };
  };
  assert.deepEqual(await clock.run(pd.keyspaces.get("DEFAULT")), {
    id: 0,
    name: "DEFAULT",
    state: "enabled",
    createdAtSeconds: 1_700_000_000,
    stateChangedAtSeconds: 0,
    config: new Map([["gc_management_type", "unified"]]),
  });
  assert.equal((await clock.run(pd.keyspaces.getById(5)))?.name, "ks5");
  assert.equal(await clock.run(pd.keyspaces.getById(251)), undefined);
  cluster.on["LoadKeyspaceByID"] = () => ({
    grpc: GRPC.UNIMPLEMENTED,
    text: "unknown method LoadKeyspaceByID",
  });
  assert.equal((await clock.run(pd.keyspaces.getById(5)))?.name, "ks5");
  assert.equal(await clock.run(pd.keyspaces.getById(251)), undefined);
  assert.equal(cluster.callsOf("LoadKeyspaceByID").length, 3, "asked once after it was found missing");
  assert.equal(await clock.run(pd.keyspaces.get("nowhere")), undefined);
  assert.equal((await clock.run(pd.keyspaces.getEnabled("ks4"))).id, 4);
  for (
    const [name, state] of [["ks5", "disabled"], ["ks6", "archived"], ["ks7", "tombstone"], [
      "nowhere",
      "know",
    ]]
  ) {
    const error = await rejectsKind(clock.run(pd.keyspaces.getEnabled(name ?? "")), "keyspace-not-found");
    assert.match(error.message, new RegExp(state ?? ""));
  }
  const listed: number[] = [];
  const list = async () => {
    for await (const { id } of pd.keyspaces.list()) listed.push(id);
  };
  await list();
  assert.deepEqual(listed, all.map((_, id) => id));
  assert.equal(cluster.callsOf("GetAllKeyspaces").filter(({ request }) => request.limit > 1).length, 3);
  await pd.close();
});

test("[PD-057] split() scatters the regions that came of it, and none when none did", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["SplitRegions"] = () => ({ finishedPercentage: 100n, regionsId: [8n, 9n] });
  await clock.run(pd.split(["a", "b"], { scatter: true, group: "g" }));
  const { request } = cluster.callsOf("ScatterRegion")[0] ?? {};
  assert.deepEqual([request.regionsId, request.group], [[8n, 9n], "g"]);
  cluster.on["SplitRegions"] = () => ({ finishedPercentage: 100n });
  assert.deepEqual(await clock.run(pd.split(["a"], { scatter: true })), {
    finishedPercentage: 100,
    regionIds: [],
  });
  assert.equal(cluster.callsOf("ScatterRegion").length, 1);
  await pd.close();
});

test("[PD-075] setState() moves a keyspace to another state", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["UpdateKeyspaceState"] = ({ request }) => ({
    keyspace: { keyspace: request.keyspace, name: "ks", state: request.state },
  });
  assert.equal((await clock.run(pd.keyspaces.setState(3, "archived"))).state, "archived");
  cluster.on["UpdateKeyspaceState"] = () => ({ refuse: "ENTRY_NOT_FOUND" });
  await rejectsKind(clock.run(pd.keyspaces.setState(3, "archived")), "keyspace-not-found");
  await assert.rejects(pd.keyspaces.setState(3, "gone" as "archived"), RangeError);
  await assert.rejects(pd.keyspaces.getById(2 ** 24), RangeError);
  await pd.close();
});

test("[TRAP-37] a keyspace with an identity of API version 3 is unsupported", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["LoadKeyspace"] = () => ({
    keyspace: { keyspace: { case: "keyspaceIdentity", value: {} }, name: "v3" },
  });
  await rejectsKind(clock.run(pd.keyspaces.get("v3")), "unsupported");
  await pd.close();
});

test("[PD-079] [TXN-009] [ORA-010] the external timestamp is read and set", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const now = await clock.run(pd.timestamp());
  await clock.run(pd.setExternalTimestamp(now));
  assert.equal(cluster.callsOf("SetExternalTimestamp")[0]?.request.timestamp, now);
  cluster.on["GetExternalTimestamp"] = () => ({ timestamp: now });
  assert.equal(await clock.run(pd.externalTimestamp()), now);
  cluster.on["SetExternalTimestamp"] = () => ({
    refuse: "INVALID_VALUE",
    text: "external ts is larger than now",
  });
  await rejectsKind(clock.run(pd.setExternalTimestamp(now)), "misuse");
  await pd.close();
});

test("[PD-078] the global configuration is loaded and stored", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["LoadGlobalConfig"] = ({ request }) => {
    if (request.names.length === 0) {
      return {
        items: [{ name: "/global/config/a", payload: key("1") }, { name: "/global/config/b", value: "2" }],
        revision: 6n,
      };
    }
    return {
      items: [
        { name: "a", payload: key("1") },
        { name: "c", error: { type: 7, message: "not found" } },
      ],
    };
  };
  assert.deepEqual(await clock.run(pd.config.load("/global/config")), {
    items: [{ name: "a", value: key("1") }, { name: "b", value: key("2") }],
    revision: 6n,
  });
  const { items } = await clock.run(pd.config.load("/global/config", { names: ["a", "c"] }));
  assert.deepEqual(items, [{ name: "a", value: key("1") }]);
  await clock.run(pd.config.store("/global/config", [{ name: "a", value: key("3") }, { name: "b" }]));
  const { request } = cluster.callsOf("StoreGlobalConfig")[0] ?? {};
  assert.equal(request.configPath, "/global/config");
  assert.deepEqual(
    request.changes.map((change: { name: string; kind: number; payload: Uint8Array }) => [
      change.name,
      change.kind,
      change.payload,
    ]),
    [["a", 0, key("3")], ["b", 1, EMPTY]],
  );
  cluster.on["StoreGlobalConfig"] = () => ({ error: { type: 1, message: "no" } });
  await rejectsKind(clock.run(pd.config.store("/global/config", [])), "server");
  await pd.close();
});

test("[PD-014] clusterInfo() tells how PD is deployed, and that an old one does everything itself", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["GetClusterInfo"] = () => ({ serviceModes: [2], tsoUrls: ["http://tso:1"] });
  assert.deepEqual(await clock.run(pd.clusterInfo()), { serviceModes: ["api"], tsoUrls: ["http://tso:1"] });
  cluster.on["GetClusterInfo"] = () => ({ grpc: GRPC.UNIMPLEMENTED });
  assert.deepEqual(await clock.run(pd.clusterInfo()), { serviceModes: ["pd"], tsoUrls: [] });
  await pd.close();
});

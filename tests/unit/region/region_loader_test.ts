// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import type { Region } from "../../../src/region/region.ts";
import type { CachedStore } from "../../../src/region/store.ts";
import { hasGap } from "../../../src/region/region_loader.ts";
import { bytes, inWorld, peerMeta, regionMeta, storeMeta, World } from "./region_world.ts";

const unavailable = (error: unknown): boolean => TikvError.is(error) && error.kind === "region-unavailable";

describe("RegionLoader", () => {
  it(
    "[REG-002] leaves out peers that are down, on removed stores or on stores without an address",
    inWorld(async (world) => {
      const peers = [1n, 2n, 3n, 4n].map((storeId) => peerMeta(1n, storeId));
      world.meta.storeList.set(3n, { ...storeMeta(3n), address: "" });
      // Store 4 is unknown to PD, as a removed one is.
      world.meta.regions = [regionMeta(1n, "", "", { peers, downPeers: [11n], leader: 1 })];
      const found = await world.locate("k");
      assert.deepEqual(found.peers.map(({ storeId }) => storeId), [2n]);
      assert.equal(found.leader.storeId, 2n);
      assert.equal(found.mustExpire, true);
    }),
  );

  it(
    "[REG-002] leaves out witnesses, unless one leads",
    inWorld(async (world) => {
      const peers = [1n, 2n, 3n].map((storeId) => ({ ...peerMeta(1n, storeId), isWitness: storeId !== 2n }));
      world.meta.regions = [regionMeta(1n, "", "", { peers, leader: 2 })];
      const found = await world.locate("k");
      assert.deepEqual(found.peers.map(({ storeId }) => storeId), [2n, 3n]);
      assert.equal(found.leader.storeId, 3n);
    }),
  );

  it(
    "[REG-002] a leader that is left out is replaced by the first peer",
    inWorld(async (world) => {
      world.meta.regions = [regionMeta(1n, "", "", { downPeers: [11n] })];
      const found = await world.locate("k");
      assert.equal(found.leader.storeId, 2n);
      assert.equal(found.hasDownPeers, true);
    }),
  );

  it(
    "[REG-002] after a restart of the whole cluster peers that PD takes for down are tried",
    inWorld(async (world) => {
      world.meta.regions = [regionMeta(1n, "", "", { downPeers: [11n, 12n, 13n] })];
      assert.equal((await world.locate("k")).peers.length, 3);
    }),
  );

  it(
    "[REG-002] a region without any usable peer is an error, and does not spoil an answer of many",
    inWorld(async (world) => {
      const peers = [peerMeta(2n, 8n)];
      world.meta.regions = [
        regionMeta(1n, "", "c"),
        regionMeta(2n, "c", "e", { peers }),
        regionMeta(3n, "e", ""),
      ];
      const operation = world.operation(3_000);
      await assert.rejects(world.clock.run(world.regions.locate(bytes("d"), operation)), (error) => {
        return TikvError.is(error) && (error.kind === "connection" || unavailable(error));
      });
      const load = world.loader.byRanges([{ start: bytes(""), end: bytes("") }], 10, {
        signal: new AbortController().signal,
        leaderOnly: false,
      });
      const { regions, isComplete } = await world.clock.run(load);
      assert.deepEqual(regions.map(({ id }) => id), [1n, 3n]);
      assert.equal(isComplete, true);
    }),
  );

  it(
    "[REG-020] tells of each load with its reason and size",
    inWorld(async (world) => {
      await world.locate("k");
      assert.deepEqual(
        world.events.flatMap((event) => event.type === "region-load" ? [[event.reason, event.regions]] : []),
        [["key", 1]],
      );
    }),
  );

  it("[REG-012] hasGap() finds what an answer leaves out of ranges", () => {
    const range = (start: string, end: string) => ({ start: bytes(start), end: bytes(end) });
    const cases: [string, [string, string][], [string, string][], boolean][] = [
      ["all of it", [["", ""]], [["", "c"], ["c", ""]], false],
      ["nothing", [["a", "b"]], [], true],
      ["the start is missing", [["a", "d"]], [["b", ""]], true],
      ["the middle is missing", [["a", "z"]], [["", "c"], ["d", ""]], true],
      ["the end is missing", [["a", "z"]], [["", "c"], ["c", "x"]], true],
      ["two ranges in one region", [["a", "b"], ["c", "d"]], [["", "z"]], false],
      ["a gap between the ranges", [["a", "b"], ["x", "y"]], [["", "c"], ["w", "z"]], false],
      ["a point", [["b", "b\0"]], [["a", "c"]], false],
      ["unbounded in a bounded region", [["a", ""]], [["", "z"]], true],
    ];
    for (const [name, ranges, regions, expected] of cases) {
      const found = hasGap(ranges.map(([a, b]) => range(a, b)), regions.map(([a, b]) => range(a, b)));
      assert.equal(found, expected, name);
    }
  });
});

describe("Region", () => {
  async function withBuckets(...borders: string[]): Promise<Region> {
    const world = new World();
    const buckets = { version: 2n, keys: borders.map(bytes) };
    world.meta.regions = [
      regionMeta(1n, "", "b"),
      regionMeta(2n, "b", "y", { buckets }),
      regionMeta(3n, "y", ""),
    ];
    const found = await world.locate("m");
    await world.close();
    return found;
  }

  it("[REG-015] bucketOf() finds the bucket of a key, within the region", async () => {
    const found = await withBuckets("b", "f", "m", "y");
    const range = (start: string, end: string) => ({ start: bytes(start), end: bytes(end) });
    assert.deepEqual(found.bucketOf(bytes("b")), range("b", "f"));
    assert.deepEqual(found.bucketOf(bytes("g")), range("f", "m"));
    assert.deepEqual(found.bucketOf(bytes("m")), range("m", "y"));
    assert.deepEqual((await withBuckets("a", "m", "z")).bucketOf(bytes("c")), range("b", "m"));
    assert.deepEqual((await withBuckets("a", "m", "z")).bucketOf(bytes("x")), range("m", "y"));
    assert.deepEqual((await withBuckets()).bucketOf(bytes("x")), range("b", "y"));
  });

  it("[REG-015] updateBuckets() takes newer borders only", async () => {
    const found = await withBuckets("b", "y");
    assert.equal(found.updateBuckets({ version: 2n, keys: [] }), false);
    assert.equal(found.updateBuckets({ version: 3n, keys: [bytes("b"), bytes("k")] }), true);
    assert.equal(found.updateBuckets(undefined), false);
    assert.equal(found.buckets?.version, 3n);
  });

  it(
    "[REG-015] trap 18: refreshBuckets() asks by key, and only when a newer version is known",
    inWorld(async (world) => {
      const found = await world.locate("m");
      await world.regions.refreshBuckets(found, 0n, world.operation());
      assert.equal(world.meta.count("regionByKey"), 1);
      world.meta.regions = [
        regionMeta(1n, "", "", { buckets: { version: 5n, keys: [bytes(""), bytes("")] } }),
      ];
      const both = [1, 2].map(() => world.regions.refreshBuckets(found, 5n, world.operation()));
      await world.clock.run(Promise.all(both));
      assert.equal(found.buckets?.version, 5n);
      assert.equal(world.meta.count("regionByKey"), 2);
    }),
  );

  it(
    "[REG-016] updateLeader() switches to a peer, whose store counts as known, and tells of it once",
    inWorld(async (world) => {
      const found = await world.locate("m");
      const second = found.peers[1]?.store as CachedStore;
      second.epoch++;
      world.regions.updateLeader(found, 1);
      world.regions.updateLeader(found, 1);
      assert.equal(found.leader.storeId, 2n);
      assert.equal(found.leader.storeEpoch, found.leader.store.epoch);
      assert.deepEqual(world.events.filter(({ type }) => type === "region-leader"), [
        { type: "region-leader", regionId: 1n, storeId: 2n },
      ]);
    }),
  );
});

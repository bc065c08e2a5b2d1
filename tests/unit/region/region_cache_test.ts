// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import { bytes, inWorld, regionMeta, type World } from "./region_world.ts";

const kind = (wanted: string) => (error: unknown): boolean => TikvError.is(error) && error.kind === wanted;

function fail(wanted: "connection" | "codec" = "connection"): () => never {
  return () => {
    throw new TikvError(wanted, "scripted");
  };
}

/** Regions of two letters each: [a, c), [c, e) and so on, with one before and one behind. */
function split(world: World): void {
  world.meta.regions = [
    regionMeta(1n, "", "c"),
    regionMeta(2n, "c", "e"),
    regionMeta(3n, "e", "g"),
    regionMeta(4n, "g", ""),
  ];
}

describe("RegionCache.locate()", () => {
  it(
    "[REG-001] [REG-008] asks PD for what is missing, once, and then no more",
    inWorld(async (world) => {
      split(world);
      assert.equal(world.regions.peek(bytes("d")), undefined);
      const found = await world.locate("d");
      assert.equal(found.id, 2n);
      assert.equal(world.regions.peek(bytes("d")), found);
      assert.equal(world.regions.peek(bytes("c")), found);
      assert.equal(world.regions.peek(bytes("e")), undefined);
      assert.equal(await world.locate("c"), found);
      assert.equal(world.meta.count("regionByKey"), 1);
    }),
  );

  it(
    "[REG-009] shares one question among 1000 callers of one missing range",
    inWorld(async (world) => {
      let open = (): void => {};
      world.meta.gate = new Promise((resolve) => open = resolve);
      const all = Array.from(
        { length: 1_000 },
        (_, i) => world.regions.locate(bytes(`key-${i}`), world.operation()),
      );
      await world.clock.advance(10);
      assert.equal(world.meta.count("regionByKey"), 1, "all of them wait for the first");
      open();
      const found = await world.clock.run(Promise.all(all));
      assert.equal(new Set(found).size, 1);
      assert.equal(world.meta.count("regionByKey"), 1);
    }),
  );

  it(
    "[REG-009] asks for each region once when callers of several share a gap",
    inWorld(async (world) => {
      split(world);
      const keys = ["a", "d", "f", "h", "b", "c", "e", "g"];
      const all = keys.map((key) => world.regions.locate(bytes(key), world.operation()));
      const found = await world.clock.run(Promise.all(all));
      assert.deepEqual(found.map(({ id }) => id), [1n, 2n, 3n, 4n, 1n, 2n, 3n, 4n]);
      assert.equal(world.meta.count("regionByKey"), 4);
    }),
  );

  it(
    "[REG-009] retries what PD could not answer with a wait, from then on at its leader only",
    inWorld(async (world) => {
      world.meta.script.push(fail(), fail());
      const found = await world.locate("k");
      assert.equal(found.id, 1n);
      assert.deepEqual(
        world.meta.calls.filter(({ method }) => method === "regionByKey").map((c) => c.leaderOnly),
        [
          false,
          true,
          true,
        ],
      );
      assert.deepEqual(world.retries, ["pdRPC", "pdRPC"]);
    }),
  );

  it(
    "[REG-009] gives up at the deadline with what kept it waiting",
    inWorld(async (world) => {
      world.meta.script.push(...Array.from({ length: 50 }, () => fail()));
      const operation = world.operation(5_000);
      await assert.rejects(world.clock.run(world.regions.locate(bytes("k"), operation)), kind("connection"));
      assert.deepEqual(operation.backoffs.causes().map(({ reason }) => reason), ["pdRPC"]);
    }),
  );

  it(
    "[REG-009] [KS-006] borders that cannot be read end the call at once",
    inWorld(async (world) => {
      world.meta.script.push(fail("codec"));
      await assert.rejects(world.locate("k"), kind("codec"));
      assert.equal(world.meta.count("regionByKey"), 1);
      assert.deepEqual(world.retries, []);
    }),
  );

  it(
    "[REG-009] a region without peers ends the call at once",
    inWorld(async (world) => {
      world.meta.regions = [regionMeta(1n, "", "", { peers: [], leader: -1 })];
      await assert.rejects(world.locate("k"), kind("protocol"));
      assert.equal(world.meta.count("regionByKey"), 1);
    }),
  );

  it(
    "[REG-009] a region without a leader is used, from its first peer on",
    inWorld(async (world) => {
      world.meta.regions = [regionMeta(1n, "", "", { leader: -1 })];
      assert.equal((await world.locate("k")).leader.storeId, 1n);
    }),
  );

  it(
    "[REG-009] asks the leader of PD at once when a follower's answer misses the key or is outdated",
    inWorld(async (world) => {
      split(world);
      world.meta.script.push(() => regionMeta(3n, "e", "g"));
      assert.equal((await world.locate("d")).id, 2n);
      world.meta.regions[1] = regionMeta(2n, "c", "e", { version: 7n });
      world.regions.invalidate(await world.locate("d"), "other");
      assert.equal((await world.locate("d")).version, 7n);
      world.regions.invalidate(await world.locate("d"), "other");
      world.meta.script.push(() => regionMeta(2n, "c", "e", { version: 6n }));
      assert.equal((await world.locate("d")).version, 7n);
      assert.deepEqual(world.retries, []);
      assert.deepEqual(world.meta.calls.slice(-2).map((c) => c.leaderOnly), [false, true]);
    }),
  );

  it(
    "[REG-009] uses what the leader of PD says even if more was known",
    inWorld(async (world) => {
      world.meta.regions = [regionMeta(1n, "", "", { version: 9n })];
      world.regions.invalidate(await world.locate("k"), "other");
      world.meta.regions = [regionMeta(1n, "", "", { version: 8n })];
      assert.equal((await world.locate("k")).version, 8n);
      assert.equal(world.regions.peek(bytes("k")), undefined);
    }),
  );

  it(
    "[REG-009] trap 32: a caller that leaves takes nothing away from the others",
    inWorld(async (world) => {
      let open = (): void => {};
      world.meta.gate = new Promise((resolve) => open = resolve);
      const controller = new AbortController();
      const first = world.regions.locate(bytes("a"), world.operation(20_000, controller.signal));
      const second = world.regions.locate(bytes("b"), world.operation());
      first.catch(() => {});
      controller.abort("left");
      await assert.rejects(first, (reason) => reason === "left");
      open();
      assert.equal((await world.clock.run(second)).id, 1n);
      assert.equal(world.meta.count("regionByKey"), 1);
    }),
  );

  it(
    "[REG-006] a region to be loaded again serves on when that fails",
    inWorld(async (world) => {
      const found = await world.locate("k");
      found.reload = "on-access";
      assert.equal(world.regions.peek(bytes("k")), undefined);
      world.meta.script.push(fail());
      assert.equal(await world.locate("k"), found);
      assert.deepEqual(world.retries, []);
      found.reload = "on-access";
      const next = await world.locate("k");
      assert.notEqual(next, found);
      assert.equal(found.isValid, true, "who still uses it may go on");
      assert.equal(world.regions.peek(bytes("k")), next);
    }),
  );

  it(
    "a closed cache refuses to look up",
    inWorld(async (world) => {
      world.regions.close();
      await assert.rejects(world.locate("k"), kind("closed"));
    }),
  );
});

describe("RegionCache.locateByEnd()", () => {
  it(
    "[REG-009] trap 16: takes the region before the one that starts at the key",
    inWorld(async (world) => {
      split(world);
      const locate = (key: string) =>
        world.clock.run(world.regions.locateByEnd(bytes(key), world.operation()));
      assert.equal((await locate("e")).id, 2n);
      assert.equal(world.meta.count("previousRegion"), 1);
      assert.equal((await locate("f")).id, 3n);
      assert.equal(world.meta.count("previousRegion"), 1, "inside a region it is the region itself");
      assert.equal((await locate("d")).id, 2n);
      assert.equal((await locate("g")).id, 3n);
      assert.equal(world.meta.count("regionByKey"), 2, "both were cached by then");
    }),
  );

  it(
    "[REG-008] the empty key is the end of all keys",
    inWorld(async (world) => {
      split(world);
      const last = await world.clock.run(world.regions.locateByEnd(bytes(""), world.operation()));
      assert.equal(last.id, 4n);
      assert.equal(world.regions.peekByEnd(bytes("")), last);
    }),
  );
});

describe("RegionCache.locateById()", () => {
  it(
    "[REG-010] finds by id at the leader of PD, then in the cache",
    inWorld(async (world) => {
      split(world);
      const locate = (id: bigint) => world.clock.run(world.regions.locateById(id, world.operation()));
      const found = await locate(3n);
      assert.equal(found.id, 3n);
      assert.equal(await locate(3n), found);
      assert.deepEqual(world.meta.calls.filter(({ method }) => method === "regionById"), [
        { method: "regionById", leaderOnly: true },
      ]);
    }),
  );

  it(
    "[REG-010] an id that does not exist is not tried again",
    inWorld(async (world) => {
      const call = world.regions.locateById(77n, world.operation());
      await assert.rejects(world.clock.run(call), kind("region-unavailable"));
      assert.deepEqual(world.retries, []);
    }),
  );
});

describe("RegionCache.locateRange()", () => {
  const ids = async (world: World, start: string, end: string, limit?: number) => {
    const range = { start: bytes(start), end: bytes(end) };
    const options = limit === undefined ? {} : { limit };
    const found = await world.clock.run(world.regions.locateRange(range, world.operation(), options));
    return found.map(({ id }) => id);
  };

  it(
    "[REG-011] asks PD for the parts that are missing only, in one question",
    inWorld(async (world) => {
      split(world);
      await world.locate("d");
      assert.deepEqual(await ids(world, "", ""), [1n, 2n, 3n, 4n]);
      assert.equal(world.meta.count("batchScanRegions"), 1);
      assert.deepEqual(await ids(world, "d", "f"), [2n, 3n]);
      assert.equal(world.meta.count("batchScanRegions"), 1);
      assert.deepEqual(await ids(world, "c", "e"), [2n]);
      assert.deepEqual(await ids(world, "d", "d"), []);
    }),
  );

  it(
    "[REG-012] walks any number of regions in answers of 128",
    inWorld(async (world) => {
      const border = (i: number): string => i === 0 || i === 500 ? "" : String(i).padStart(4, "0");
      world.meta.regions = Array.from(
        { length: 500 },
        (_, i) => regionMeta(BigInt(i), border(i), border(i + 1)),
      );
      assert.equal((await ids(world, "", "")).length, 500);
      assert.equal(world.meta.count("batchScanRegions"), 4);
      assert.deepEqual(await ids(world, "0100", "", 3), [100n, 101n, 102n]);
    }),
  );

  it(
    "[REG-012] trap 17: trouble on the way to PD keeps its followers, gaps in the answer do not",
    inWorld(async (world) => {
      split(world);
      world.meta.script.push(fail(), () => [world.meta.regions[0], world.meta.regions[2]]);
      assert.deepEqual(await ids(world, "", "f"), [1n, 2n, 3n]);
      const scans = world.meta.calls.filter(({ method }) => method === "batchScanRegions");
      assert.deepEqual(scans.map((c) => c.leaderOnly), [false, false, true]);
      assert.deepEqual(world.retries, ["pdRPC", "pdRPC"]);
    }),
  );

  it(
    "[REG-012] an empty answer is asked of the leader, then region by region",
    inWorld(async (world) => {
      split(world);
      world.meta.script.push(() => [], () => []);
      assert.deepEqual(await ids(world, "d", "e"), [2n]);
      assert.equal(world.meta.count("regionByKey"), 1);
    }),
  );

  it(
    "[REG-012] many callers of one range share the question",
    inWorld(async (world) => {
      split(world);
      const range = { start: bytes(""), end: bytes("") };
      const all = Array.from({ length: 50 }, () => world.regions.locateRange(range, world.operation()));
      assert.ok((await world.clock.run(Promise.all(all))).every((found) => found.length === 4));
      assert.equal(world.meta.count("batchScanRegions"), 1);
    }),
  );
});

describe("RegionCache.groupKeys()", () => {
  it(
    "[REG-013] sorts unsorted and repeated keys by region with one question",
    inWorld(async (world) => {
      split(world);
      const keys = ["h", "a", "d", "h", "c", "a", "f"].map(bytes);
      const groups = await world.clock.run(world.regions.groupKeys(keys, world.operation()));
      assert.deepEqual(groups.map(({ region, indexes }) => [region.id, indexes]), [
        [4n, [0, 3]],
        [1n, [1, 5]],
        [2n, [2, 4]],
        [3n, [6]],
      ]);
      assert.equal(world.meta.count("batchScanRegions"), 1);
      await world.clock.run(world.regions.groupKeys(keys, world.operation()));
      assert.equal(world.meta.calls.length, 1 + 3, "one question for regions, one for each store");
    }),
  );

  it(
    "[REG-013] loads thousands of keys in few questions",
    inWorld(async (world) => {
      const border = (i: number): string => i === 0 || i === 100 ? "" : String(i * 50).padStart(4, "0");
      world.meta.regions = Array.from(
        { length: 100 },
        (_, i) => regionMeta(BigInt(i), border(i), border(i + 1)),
      );
      const keys = Array.from({ length: 5_000 }, (_, i) => bytes(String(i).padStart(4, "0")));
      const groups = await world.clock.run(world.regions.groupKeys(keys, world.operation()));
      assert.equal(groups.length, 100);
      assert.ok(groups.every(({ indexes }) => indexes.length === 50));
      assert.ok(world.meta.count("batchScanRegions") <= 2);
    }, { regionCacheBytes: 1 << 24 }),
  );

  it(
    "[REG-013] one missing key is looked up by itself, and none is no question",
    inWorld(async (world) => {
      split(world);
      assert.deepEqual(await world.regions.groupKeys([], world.operation()), []);
      const groups = await world.clock.run(world.regions.groupKeys([bytes("d")], world.operation()));
      assert.deepEqual(groups.map(({ region, indexes }) => [region.id, indexes]), [[2n, [0]]]);
      assert.equal(world.meta.count("batchScanRegions"), 0);
    }),
  );
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { bytes, inWorld, regionMeta, type World } from "./region_world.ts";

/** `count` regions of one number each, the first from the start, the last to the end. */
function many(world: World, count: number): void {
  const border = (i: number): string => i === 0 || i === count ? "" : String(i).padStart(4, "0");
  world.meta.regions = Array.from(
    { length: count },
    (_, i) => regionMeta(BigInt(i), border(i), border(i + 1)),
  );
}

const load = (world: World, i: number) => world.locate(String(i).padStart(4, "0") + "x");

describe("CachedRegions", () => {
  it(
    "[REG-005] a region that nobody asks for expires after 600 s and at most a tenth more",
    inWorld(async (world) => {
      many(world, 3);
      const found = await load(world, 1);
      assert.ok(
        found.expiresAt >= world.clock.now() + 600_000 && found.expiresAt <= world.clock.now() + 660_000,
      );
      await world.clock.advance(599_000);
      assert.equal(world.regions.size, 1);
      await world.clock.advance(62_000);
      assert.equal(world.regions.size, 0);
      assert.equal(world.regions.peek(bytes("0001x")), undefined);
    }),
  );

  it(
    "[REG-005] trap 14: access keeps a region alive, but not one with down peers",
    inWorld(async (world) => {
      many(world, 3);
      const good = await load(world, 1);
      world.meta.regions[2] = regionMeta(2n, "0002", "", { downPeers: [23n] });
      const bad = await load(world, 2);
      for (let minute = 0; minute < 30; minute++) {
        await world.clock.advance(60_000);
        world.regions.peek(bytes("0001x"));
        world.regions.peek(bytes("0002x"));
      }
      assert.equal(world.regions.peek(bytes("0001x")), good);
      assert.equal(world.regions.peek(bytes("0002x")), undefined);
      assert.equal(bad.hasDownPeers, true);
    }),
  );

  it(
    "[REG-007] an invalid region is not found, keeps its first reason and is told once",
    inWorld(async (world) => {
      const found = await world.locate("k");
      world.regions.invalidate(found, "region-not-found");
      world.regions.invalidate(found, "other");
      assert.equal(found.invalidReason, "region-not-found");
      assert.equal(world.regions.peek(bytes("k")), undefined);
      assert.deepEqual(world.invalidated, ["region-not-found"]);
      assert.notEqual(await world.locate("k"), found);
    }),
  );

  it(
    "[REG-004] the replacement of a region takes its buckets over; what it replaces is invalid",
    inWorld(async (world) => {
      const buckets = { version: 4n, keys: [bytes(""), bytes("m"), bytes("")] };
      world.meta.regions = [regionMeta(1n, "", "", { buckets })];
      const old = await world.locate("k");
      world.meta.regions = [regionMeta(1n, "", "", { version: 2n })];
      world.regions.invalidate(old, "other");
      const next = await world.locate("k");
      assert.deepEqual(next.buckets, buckets);
      assert.equal(old.isValid, false);
    }),
  );

  it(
    "[REG-004] begins with the next peer when PD still names the leader that was given up",
    inWorld(async (world) => {
      world.regions.invalidate(await world.locate("k"), "no-leader");
      assert.equal((await world.locate("k")).leader.storeId, 2n);
      world.regions.invalidate(await world.locate("k"), "no-leader");
      world.meta.regions = [regionMeta(1n, "", "", { leader: 2 })];
      assert.equal((await world.locate("k")).leader.storeId, 3n, "PD names another one: it is asked");
    }),
  );

  it(
    "[REG-017] the sweep drops what is invalid, 50 regions a second in key order",
    inWorld(async (world) => {
      many(world, 120);
      for (let i = 0; i < 120; i++) world.regions.invalidate(await load(world, i), "other");
      const left: number[] = [];
      for (let second = 0; second < 3; second++) {
        await world.clock.advance(1_000);
        left.push(world.regions.size);
      }
      assert.deepEqual(left, [70, 20, 0]);
      assert.equal(world.clock.pendingTimers, 1, "an empty cache has no timer; the stores have theirs");
    }),
  );

  it(
    "[REG-017] the sweep makes views expire that use a store which is gone",
    inWorld(async (world) => {
      const found = await world.locate("k");
      await world.clock.advance(1_000);
      assert.equal(found.mustExpire, false);
      found.leader.store.epoch++;
      await world.clock.advance(1_000);
      assert.equal(found.mustExpire, true);
    }),
  );

  it(
    "[REG-006] a delayed reload is due after the next sweep",
    inWorld(async (world) => {
      const found = await world.locate("k");
      found.reload = "delayed";
      assert.equal(world.regions.peek(bytes("k")), found);
      await world.clock.advance(1_000);
      assert.equal(world.regions.peek(bytes("k")), undefined);
      assert.notEqual(await world.locate("k"), found);
    }),
  );

  it(
    "keeps to its bytes: the least recently used regions go first",
    inWorld(async (world) => {
      many(world, 20);
      for (let i = 0; i < 4; i++) await load(world, i);
      const each = world.regions.sizeBytes / 4;
      assert.ok(each > 100);
      await load(world, 0);
      for (let i = 10; i < 14; i++) await load(world, i);
      assert.ok(world.regions.sizeBytes <= 8_000);
      assert.equal(world.regions.size, Math.floor(8_000 / each));
      assert.notEqual(world.regions.peek(bytes("0000x")), undefined, "used again: it stays");
      assert.equal(world.regions.peek(bytes("0001x")), undefined);
      assert.notEqual(world.regions.peek(bytes("0013x")), undefined);
      assert.ok(world.invalidated.every((reason) => reason === "evicted"));
    }, { regionCacheBytes: 8_000 }),
  );

  it(
    "clear() forgets all and stops the sweep",
    inWorld(async (world) => {
      many(world, 20);
      for (let i = 0; i < 20; i++) await load(world, i);
      world.regions.clear();
      assert.equal(world.regions.size, 0);
      assert.equal(world.regions.sizeBytes, 0);
      assert.equal(world.clock.pendingTimers, 1, "that of the stores");
    }),
  );
});

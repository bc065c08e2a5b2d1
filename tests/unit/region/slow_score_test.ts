// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Slowness } from "../../../src/region/slow_score.ts";
import { inWorld } from "./region_world.ts";
import { routeOf, send, TXN_GET } from "./sending.ts";

const TICK = 15_000;

/** Reads in each interval, and how long each took; tells after which intervals the store was slow. */
function watch(intervals: readonly (readonly [count: number, ms: number])[]): boolean[] {
  const slowness = new Slowness(0);
  return intervals.map(([count, ms], index) => {
    for (let i = 0; i < count; i++) slowness.record(ms, index * TICK + 1);
    return slowness.isSlow((index + 1) * TICK);
  });
}

describe("Slowness", () => {
  it("[REG-036] a store that answers fewer and fewer reads, each later, becomes slow", () => {
    const worse = [[1000, 10], [1000, 10], [500, 100], [300, 300], [200, 900]] as const;
    assert.deepEqual(watch(worse), [false, false, false, false, true]);
  });

  it("[REG-036] fewer reads alone, or longer ones alone, do not make it slow", () => {
    assert.deepEqual(watch([[1000, 10], [500, 10], [200, 10], [100, 10]]), Array(4).fill(false));
    assert.deepEqual(watch([[1000, 10], [1000, 100], [1000, 1000], [1000, 9000]]), Array(4).fill(false));
    // A tenth is noise.
    assert.deepEqual(
      watch(Array.from({ length: 30 }, (_, i) => [1000 - i * 9, 100 + i])),
      Array(30).fill(false),
    );
  });

  it("[REG-036] one read that took half a minute is enough, and it recovers with time", () => {
    const slowness = new Slowness(0);
    slowness.record(30_000, 1);
    assert.equal(slowness.isSlow(1), true);
    assert.equal(slowness.isSlow(10 * TICK), true, "at 80");
    assert.equal(slowness.isSlow(11 * TICK), false, "at 78");
  });

  it("[REG-036] reads that are fast again let it recover faster than silence", () => {
    const slowness = new Slowness(0);
    slowness.markSlow(0);
    // Ever more reads: three points each time, and not two.
    for (let tick = 0; tick < 8; tick++) {
      slowness.record(1, tick * TICK + 1);
      for (let i = 0; i < 10 * tick; i++) slowness.record(1, tick * TICK + 1);
    }
    assert.equal(slowness.isSlow(8 * TICK), false);
  });

  it("[REG-037] [REG-038] 80 of 100 is slow; others that come right after are not taken", () => {
    const slowness = new Slowness(0);
    slowness.report(79, 0);
    assert.equal(slowness.isSlow(1), false);
    slowness.report(80, 99);
    assert.equal(slowness.isSlow(99), false);
    slowness.report(80, 100);
    assert.equal(slowness.isSlow(100), true);
    slowness.report(1, 200);
    assert.equal(slowness.isSlow(200), false);
  });

  it("[REG-037] what the store said of itself fades when it says nothing more", () => {
    const slowness = new Slowness(0);
    slowness.report(100, 0);
    assert.equal(slowness.isSlow(60_000), true, "at 80");
    assert.equal(slowness.isSlow(62_000), false, "at 79");
    slowness.report(100, 62_000);
    assert.equal(slowness.isSlow(62_000 + 59_000), true, "the same score counts from when it was said last");
  });
});

describe("StoreCache.isSlow()", () => {
  it(
    "[REG-037] a slow store that said nothing for 15 s is asked, once in 15 s",
    inWorld(async (world) => {
      const { leader: { store } } = await world.locate("k");
      world.stores.onSlowScore(1n, 100);
      assert.equal(world.stores.isSlow(store), true);
      assert.deepEqual(world.questions, []);
      await world.clock.advance(TICK);
      assert.equal(world.stores.isSlow(store), true);
      assert.equal(world.stores.isSlow(store), true);
      assert.deepEqual(world.questions, [1n]);
      await world.clock.advance(0);
      assert.equal(world.stores.isSlow(store), false, "it is well again");
    }),
  );

  it(
    "[REG-037] a store that does not answer the question fades all the same; a dead one is not asked",
    inWorld(async (world) => {
      const { leader: { store } } = await world.locate("k");
      world.slowScore = () => Promise.reject(new Error("no answer"));
      world.stores.onSlowScore(1n, 100);
      for (let i = 0; i < 4; i++) {
        await world.clock.advance(TICK);
        assert.equal(world.stores.isSlow(store), true);
      }
      assert.deepEqual(world.questions, [1n, 1n, 1n, 1n]);
      await world.clock.advance(2_000);
      assert.equal(world.stores.isSlow(store), false);
      world.stores.onSlowScore(1n, 100);
      store.liveness = "unreachable";
      await world.clock.advance(TICK);
      assert.equal(world.stores.isSlow(store), true);
      assert.equal(world.questions.length, 4);
    }),
  );

  it(
    "[REG-037] stores that are well leave nothing behind",
    inWorld(async (world) => {
      const { leader: { store } } = await world.locate("k");
      world.stores.onSlowScore(1n, 1);
      world.stores.onSlowScore(77n, 100);
      await send(world, [], TXN_GET, undefined, { route: routeOf() });
      assert.equal(store.slowness, undefined);
    }),
  );

  it(
    "[REG-036] only reads that prefer the leader are timed",
    inWorld(async (world) => {
      const { leader: { store } } = await world.locate("k");
      for (const mode of ["mixed", "follower", "leader"] as const) {
        await send(world, [], TXN_GET, undefined, { route: routeOf({ mode }) });
      }
      assert.equal(store.slowness, undefined);
      await send(world, [], TXN_GET, undefined, { route: routeOf({ mode: "prefer-leader" }) });
      assert.notEqual(store.slowness, undefined);
    }),
  );
});

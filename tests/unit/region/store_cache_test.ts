// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import { CachedStore } from "../../../src/region/store.ts";
import { inWorld, storeMeta, type World } from "./region_world.ts";

const get = (world: World, id: bigint) => world.clock.run(world.stores.get(id, world.operation()));
const states = (world: World): string[] =>
  world.events.flatMap((event) =>
    event.type === "store" ? [`${event.storeId} ${event.state} ${event.address}`] : []
  );
const failOnce = (world: World, kind: "connection" | "tls" = "connection"): void => {
  world.meta.script.push(() => {
    throw new TikvError(kind, "scripted");
  });
};

describe("StoreCache", () => {
  it(
    "[REG-031] looks a store up when it is first needed, once for all who wait",
    inWorld(async (world) => {
      assert.equal(world.stores.peek(1n), undefined);
      const all = Array.from({ length: 100 }, () => world.stores.get(1n, world.operation()));
      const found = await world.clock.run(Promise.all(all));
      assert.equal(new Set(found).size, 1);
      assert.equal(world.meta.count("store"), 1);
      assert.equal(found[0]?.address, "store-1:20160");
      assert.equal(found[0]?.state, "resolved");
      assert.equal(world.stores.peek(1n), found[0]);
    }),
  );

  it(
    "[REG-031] waits and asks again when PD has no answer, and not when none can come",
    inWorld(async (world) => {
      failOnce(world);
      assert.equal((await get(world, 1n)).state, "resolved");
      assert.deepEqual(world.retries, ["pdRPC"]);
      failOnce(world, "tls");
      await assert.rejects(get(world, 2n), (error) => TikvError.is(error) && error.kind === "tls");
    }),
  );

  it(
    "[REG-031] trap 48: a store that PD does not have is a tombstone for good",
    inWorld(async (world) => {
      const gone = await get(world, 9n);
      assert.equal(gone.state, "tombstone");
      assert.equal(gone.hasAddress, false);
      world.meta.storeList.set(9n, storeMeta(9n));
      assert.equal(await get(world, 9n), gone);
      assert.equal(world.meta.count("store"), 1);
    }),
  );

  it(
    "[REG-031] a store without an address is asked for again the next time",
    inWorld(async (world) => {
      world.meta.storeList.set(1n, { ...storeMeta(1n), address: "" });
      assert.equal((await get(world, 1n)).hasAddress, false);
      world.meta.storeList.set(1n, storeMeta(1n));
      assert.equal((await get(world, 1n)).hasAddress, true);
    }),
  );

  it("[REG-030] moves between states as the table allows", () => {
    const store = new CachedStore(1n);
    assert.equal(store.moveTo("needs-check"), false);
    assert.equal(store.moveTo("resolved"), true);
    assert.equal(store.moveTo("needs-check"), true);
    assert.equal(store.moveTo("resolved"), true);
    assert.equal(store.moveTo("tombstone"), true);
    for (const state of ["unresolved", "resolved", "needs-check", "tombstone"] as const) {
      assert.equal(store.moveTo(state), false, state);
    }
  });

  it(
    "[REG-032] trap 51: takes a new address over at the next refresh, keeps the epoch, closes the old one",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.meta.storeList.set(1n, { ...storeMeta(1n, "new:1"), labels: new Map([["zone", "b"]]) });
      await world.clock.advance(15_000);
      assert.equal(store.address, "new:1");
      assert.equal(store.epoch, 0);
      assert.equal(store.labels.get("zone"), "b");
      assert.deepEqual(world.net.closed, [{ address: "store-1:20160", version: undefined }]);
      assert.deepEqual(states(world), ["1 moved new:1"]);
      assert.equal(world.meta.count("stores"), 1, "one question for all stores");
    }),
  );

  it(
    "[REG-032] learns of new stores, and of removed ones, whose regions become stale",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.meta.storeList.set(4n, storeMeta(4n));
      world.meta.storeList.delete(1n);
      await world.clock.advance(15_000);
      assert.equal(store.state, "tombstone");
      assert.equal(store.epoch, 1);
      assert.equal(world.stores.peek(4n)?.address, "store-4:20160");
      assert.deepEqual(states(world), ["1 removed store-1:20160"]);
      assert.deepEqual(world.net.closed.map(({ address }) => address), ["store-1:20160"]);
    }),
  );

  it(
    "[REG-032] a refresh that fails is told and tried again at the next one",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      failOnce(world);
      await world.clock.advance(15_000);
      assert.equal(world.events.filter(({ type }) => type === "warning").length, 1);
      world.meta.storeList.set(1n, storeMeta(1n, "new:1"));
      await world.clock.advance(15_000);
      assert.equal(store.address, "new:1");
    }),
  );

  it(
    "[REG-032] a store that needs a check is read at once",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.meta.storeList.set(1n, storeMeta(1n, "new:1"));
      world.stores.markNeedsCheck(store);
      assert.equal(store.state, "needs-check");
      await world.clock.advance(0);
      assert.equal(store.state, "resolved");
      assert.equal(store.address, "new:1");
    }),
  );

  it(
    "[REG-034] a store that answers the probe stays as it is",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      const alive = await world.clock.run(world.stores.onSendFailure(store, world.operation().deadline));
      assert.equal(alive, "reachable");
      assert.deepEqual(world.probes, ["store-1:20160"]);
      assert.equal(store.epoch, 0);
      assert.equal(store.state, "resolved");
      assert.deepEqual(states(world), []);
    }),
  );

  it(
    "[REG-034] one probe serves all requests that were lost together, and makes one new epoch",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.liveness.set(store.address, "unreachable");
      const lost = Array.from(
        { length: 100 },
        () => world.stores.onSendFailure(store, world.operation().deadline),
      );
      assert.deepEqual(new Set(await world.clock.run(Promise.all(lost))), new Set(["unreachable"]));
      assert.deepEqual(world.probes, ["store-1:20160"]);
      assert.equal(store.epoch, 1);
      assert.equal(store.liveness, "unreachable");
    }),
  );

  it(
    "[REG-034] without time for a probe every store counts as dead",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      await world.clock.run(world.stores.onSendFailure(store, world.operation().deadline));
      assert.deepEqual(world.probes, []);
      assert.equal(store.liveness, "unreachable");
    }, { storeLivenessTimeoutMs: 0 }),
  );

  it(
    "[REG-035] a dead store is probed every second until it answers; PD is asked where it is at every third probe",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.liveness.set(store.address, "unreachable");
      await world.clock.run(world.stores.onSendFailure(store, world.operation().deadline));
      assert.equal(world.meta.count("store"), 2, "at once, because something is wrong");
      await world.clock.advance(30_500);
      assert.equal(world.probes.length, 31);
      assert.equal(world.meta.count("store"), 2 + 1 + 10);
      world.liveness.set(store.address, "reachable");
      await world.clock.advance(1_000);
      assert.equal(store.liveness, "reachable");
      assert.equal(store.epoch, 1, "regions are loaded again all the same");
      await world.clock.advance(10_000);
      assert.equal(world.probes.length, 32);
      assert.deepEqual(states(world), ["1 unreachable store-1:20160", "1 reachable store-1:20160"]);
    }),
  );

  it(
    "[REG-035] a dead store that moved is probed at its new address at once",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.liveness.set(store.address, "unreachable");
      world.meta.storeList.set(1n, storeMeta(1n, "new:1"));
      await world.clock.run(world.stores.onSendFailure(store, world.operation().deadline));
      await world.clock.advance(100);
      assert.equal(store.liveness, "reachable");
      assert.deepEqual(world.probes, ["store-1:20160", "new:1"]);
    }),
  );

  it(
    "[REG-035] a removed store is not probed any more",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.liveness.set(store.address, "unreachable");
      world.meta.storeList.delete(1n);
      await world.clock.run(world.stores.onSendFailure(store, world.operation().deadline));
      await world.clock.advance(20_000);
      assert.equal(store.state, "tombstone");
      assert.equal(world.probes.length, 1);
    }),
  );

  it(
    "trap 52: close() ends refreshing and watching, also in the middle of a question",
    inWorld(async (world) => {
      const store = await get(world, 1n);
      world.liveness.set(store.address, "unreachable");
      await world.clock.run(world.stores.onSendFailure(store, world.operation().deadline));
      world.meta.gate = new Promise(() => {});
      await world.clock.advance(15_000);
      await world.stores.close();
      await world.stores.close();
      const asked = world.meta.calls.length;
      await world.clock.advance(100_000);
      assert.equal(world.meta.calls.length, asked);
      assert.equal(world.clock.pendingTimers, 0);
    }),
  );

  it(
    "[REG-042] matches() wants all labels",
    inWorld(async (world) => {
      world.meta.storeList.set(1n, { ...storeMeta(1n), labels: new Map([["zone", "a"], ["engine", "x"]]) });
      const store = await get(world, 1n);
      assert.equal(store.matches(new Map()), true);
      assert.equal(store.matches(new Map([["zone", "a"]])), true);
      assert.equal(store.matches(new Map([["zone", "a"], ["engine", "y"]])), false);
      assert.equal(store.matches(new Map([["host", "a"]])), false);
    }),
  );

  it("[REG-039] the estimated wait runs out with the time", () => {
    const store = new CachedStore(1n);
    assert.equal(store.estimatedWaitMs(0), 0);
    store.recordBusy(500, 1_000);
    assert.equal(store.estimatedWaitMs(1_200), 300);
    assert.equal(store.estimatedWaitMs(9_000), 0);
  });
});

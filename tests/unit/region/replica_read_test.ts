// SPDX-License-Identifier: Apache-2.0
// Reads that may go to other replicas than the leader: who is asked, and as what.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ReadRoute } from "../../../src/region/replica.ts";
import { STALE } from "../../../src/region/send.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import {
  failure,
  inWorld,
  peerMeta,
  regionError,
  regionMeta,
  storeMeta,
  type World,
} from "./region_world.ts";
import { type Any, notLeader, OK, PUT, routeOf, send, TXN_GET } from "./sending.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";

/** Each attempt as a store and what the request said of itself. */
function pathOf(world: World): string[] {
  return world.net.calls.map(({ storeId, context }) => {
    assert.ok(!(context.replicaRead && context.staleRead), "a read is of one kind");
    const kind = context.staleRead ? "stale" : context.replicaRead ? "replica" : "plain";
    return `${storeId} ${kind}${context.busyThresholdMs > 0 ? " busy" : ""}`;
  });
}

/** Prefers the stores in this order, by labels that only the first ones have. */
function near(id: bigint, route: Partial<ReadRoute> = {}): ReadRoute {
  return routeOf({ storeIds: new Set([id]), ...route });
}

const START = new ManualClock().now();
const behind = regionError({ dataIsNotReady: { regionId: 1n } });
const busy = regionError({ serverIsBusy: {} });
const busyFor = (estimatedWaitMs: number) => regionError({ serverIsBusy: { estimatedWaitMs } });
const timeout = failure("timeout");

describe("Replica reads", () => {
  it(
    "[REG-071] [TXN-150] a follower is asked as a replica, the leader as itself",
    inWorld(async (world) => {
      await send(world, [], TXN_GET, undefined, { route: routeOf({ mode: "follower" }) });
      await send(world, [], TXN_GET, undefined, { route: near(1n) });
      const [first, second] = pathOf(world);
      assert.match(first ?? "", /^[23] replica$/);
      assert.equal(second, "1 plain");
    }),
  );

  it(
    "[REG-071] [TXN-150] mixed reads spread over all replicas, follower reads over all but the leader",
    inWorld(async (world) => {
      for (const mode of ["mixed", "follower"] as const) {
        const seen = new Set<bigint | undefined>();
        for (let i = 0; i < 30; i++) {
          await send(world, [], TXN_GET, undefined, { route: routeOf({ mode }) });
          seen.add(world.net.calls.at(-1)?.storeId);
        }
        assert.deepEqual([...seen].sort(), mode === "mixed" ? [1n, 2n, 3n] : [2n, 3n]);
      }
    }),
  );

  it(
    "[REG-071] [TXN-150] a learner is preferred when learners are wanted, and others answer without one",
    inWorld(async (world) => {
      const learner = { ...peerMeta(1n, 3n), role: "learner" as const };
      world.meta.regions = [regionMeta(1n, "", "", { peers: [peerMeta(1n, 1n), peerMeta(1n, 2n), learner] })];
      const route = routeOf({ mode: "learner" });
      for (let i = 0; i < 5; i++) await send(world, [], TXN_GET, undefined, { route });
      assert.deepEqual(new Set(pathOf(world)), new Set(["3 replica"]));
      world.net.calls.length = 0;
      const { result } = await send(world, [failure()], TXN_GET, undefined, { route });
      assert.deepEqual(result, OK);
      assert.match(pathOf(world)[1] ?? "", /^(1 plain|2 replica)$/);
    }),
  );

  it(
    "[REG-071] [TXN-150] prefer-leader stays with the leader until its store is slow",
    inWorld(async (world) => {
      const route = routeOf({ mode: "prefer-leader" });
      for (let i = 0; i < 5; i++) await send(world, [], TXN_GET, undefined, { route });
      assert.deepEqual(new Set(pathOf(world)), new Set(["1 plain"]));
      world.stores.onSlowScore(1n, 80);
      world.net.calls.length = 0;
      await send(world, [], TXN_GET, undefined, { route });
      assert.match(pathOf(world)[0] ?? "", /^[23] replica$/);
      // All are slow: the leader it is.
      world.stores.onSlowScore(2n, 90);
      world.stores.onSlowScore(3n, 90);
      await send(world, [], TXN_GET, undefined, { route });
      assert.equal(pathOf(world)[1], "1 plain");
    }),
  );

  it(
    "[REG-038] [REG-071] all ways of reading leave a slow store for last",
    inWorld(async (world) => {
      await world.locate("k");
      world.stores.onSlowScore(2n, 80);
      for (const mode of ["mixed", "follower", "learner"] as const) {
        for (let i = 0; i < 10; i++) {
          await send(world, [], TXN_GET, undefined, { route: near(2n, { mode }) });
          assert.notEqual(world.net.calls.at(-1)?.storeId, 2n, mode);
        }
      }
      await send(world, [failure(), failure()], TXN_GET, undefined, { route: routeOf({ mode: "follower" }) });
      assert.equal(world.net.calls.at(-1)?.storeId, 2n);
    }),
  );

  it(
    "[REG-076] [REG-042] [TXN-152] labels are a preference: a match first, the leader among matches, then others",
    inWorld(async (world) => {
      const zones = ["a", "b", "b"];
      zones.forEach((zone, index) => {
        const id = BigInt(index + 1);
        world.meta.storeList.set(id, { ...storeMeta(id), labels: new Map([["zone", zone], ["rack", "1"]]) });
      });
      const labels = (zone: string) => ({ route: routeOf({ labels: new Map([["zone", zone]]) }) });
      await send(world, [], TXN_GET, undefined, labels("a"));
      await send(world, [], TXN_GET, undefined, labels("b"));
      assert.equal(pathOf(world)[0], "1 plain");
      assert.match(pathOf(world)[1] ?? "", /^[23] replica$/);
      world.net.calls.length = 0;
      await send(world, [failure(), failure()], TXN_GET, undefined, labels("b"));
      assert.deepEqual(pathOf(world).map((one) => one[0]).slice(0, 2).sort(), ["2", "3"]);
      assert.equal(pathOf(world)[2], "1 plain");
      world.net.calls.length = 0;
      await send(world, [], TXN_GET, undefined, labels("elsewhere"));
      assert.equal(pathOf(world)[0], "1 plain");
    }),
  );

  it(
    "[REG-077] writes and raw reads take no notice of where reads would like to go",
    inWorld(async (world) => {
      const scanLock = COMMANDS.KvScanLock as unknown as Any;
      for (const command of [PUT, COMMANDS.RawGet as unknown as Any, scanLock]) {
        await send(world, [], command, undefined, { route: near(2n, { isStale: true, busyThresholdMs: 5 }) });
      }
      assert.deepEqual(pathOf(world), ["1 plain", "1 plain", "1 plain"]);
    }),
  );

  it(
    "[REG-071] what goes along with a request to a peer is what this one is, whatever the one before was",
    inWorld(async (world) => {
      const ways = [
        near(2n),
        near(2n, { isStale: true }),
        near(2n),
        near(2n, { busyThresholdMs: 5 }),
        near(2n),
      ];
      for (const route of ways) await send(world, [], TXN_GET, undefined, { route });
      const region = await world.locate("k");
      world.regions.updateLeader(region, 1);
      await send(world, [], TXN_GET);
      await send(world, [], TXN_GET, undefined, { route: near(2n) });
      assert.deepEqual(pathOf(world), [
        "2 replica",
        "2 stale",
        "2 replica",
        "2 replica busy",
        "2 replica",
        "2 plain",
        "2 plain",
      ]);
    }),
  );

  it(
    "[REG-053] [REG-052] the source of a request tells who is asked how, and who was asked first",
    inWorld(async (world) => {
      const context = { requestSource: "report" };
      const sources = (): string[] => world.net.calls.splice(0).map((call) => call.context.requestSource);
      await send(world, [], TXN_GET, undefined, { context });
      await send(world, [failure()], PUT, undefined, { context });
      assert.deepEqual(sources(), ["leader_report", "leader_report", "retry_leader_leader_report"]);
      await send(world, [behind], TXN_GET, undefined, { context, route: near(2n, { isStale: true }) });
      assert.deepEqual(sources(), ["stale_follower_report", "retry_stale_follower_leader_report"]);
      await send(world, [failure()], TXN_GET, undefined, { context, route: routeOf({ mode: "follower" }) });
      assert.deepEqual(sources(), ["follower_report", "retry_follower_follower_report"]);
      await send(world, [], TXN_GET, undefined, { context: { priority: 1 }, route: near(2n) });
      assert.deepEqual(sources(), [""]);
    }),
  );

  it(
    "[REG-071] each replica is asked once; then the region is looked up again",
    inWorld(async (world) => {
      const unknown = regionError({ message: "something new" });
      const { result } = await send(world, [unknown, unknown, unknown], TXN_GET, undefined, {
        route: routeOf({ mode: "follower" }),
      });
      assert.equal(result, STALE);
      assert.deepEqual([...world.net.asked].sort(), [1n, 2n, 3n]);
      assert.equal(world.net.asked[2], 1n, "the leader comes last");
      assert.deepEqual(world.invalidated, ["other"]);
    }),
  );

  for (
    const [name, error, backoff] of [
      ["readIndexNotReady", regionError({ readIndexNotReady: { regionId: 1n } }), "regionScheduling"],
      [
        "regionNotInitialized",
        regionError({ regionNotInitialized: { regionId: 1n } }),
        "regionNotInitialized",
      ],
      ["serverIsBusy", busy, "tikvServerBusy"],
      ["tikvRPC", failure(), "tikvRPC"],
    ] as const
  ) {
    it(
      `[REG-074] [TXN-150] ${name}: the next replica is asked at once; the wait is due when all were`,
      inWorld(async (world) => {
        const route = routeOf({ mode: "follower" });
        const { result } = await send(world, [error], TXN_GET, undefined, { route });
        assert.deepEqual(result, OK);
        assert.equal(world.clock.now(), START);
        assert.deepEqual(world.retries, [name]);
        world.events.length = 0;
        assert.equal((await send(world, [error, error, error], TXN_GET, undefined, { route })).result, STALE);
        assert.ok(world.retries.some((one) => one === backoff), world.retries.join());
      }),
    );
  }

  it(
    "[REG-071] a dead store is passed over, and a region with a store that is back is loaded again later",
    inWorld(async (world) => {
      const route = near(2n);
      world.liveness.set("store-2:20160", "unreachable");
      const { region } = await send(world, [failure()], TXN_GET, undefined, { route });
      assert.equal(region.reload, "none");
      await send(world, [], TXN_GET, undefined, { route });
      assert.deepEqual(world.net.asked.filter((id) => id === 2n), [2n], "it is not asked again");
      world.liveness.set("store-2:20160", "reachable");
      await world.clock.advance(5_000);
      await send(world, [], TXN_GET, undefined, { route });
      assert.equal(region.reload, "delayed");
      // It counts as slow for some time after that.
      await world.clock.advance(200_000);
      await send(world, [], TXN_GET, undefined, { route });
      assert.equal(world.net.asked.at(-1), 2n);
    }),
  );

  it(
    "[REG-057] a follower that does not have the region sends the read to the leader, once",
    inWorld(async (world) => {
      const missing = regionError({ regionNotFound: { regionId: 1n } });
      const { result } = await send(world, [missing], TXN_GET, undefined, { route: near(2n) });
      assert.deepEqual(result, OK);
      assert.deepEqual(pathOf(world), ["2 replica", "1 plain"]);
      assert.deepEqual(world.invalidated, ["region-not-found"]);
    }),
  );

  it(
    "[REG-057] a flashback sends the read of a replica to the leader, without a threshold",
    inWorld(async (world) => {
      const flashback = regionError({ FlashbackInProgress: { regionId: 1n } });
      const { result } = await send(world, [flashback], TXN_GET, undefined, {
        route: near(2n, { busyThresholdMs: 10 }),
      });
      assert.deepEqual(result, OK);
      assert.deepEqual(pathOf(world), ["2 replica busy", "1 plain"]);
    }),
  );

  it(
    "[REG-057] a leader that is named by another answers the read as the leader",
    inWorld(async (world) => {
      const { region } = await send(world, [notLeader(3n)], TXN_GET, undefined, { route: near(1n) });
      assert.deepEqual(pathOf(world), ["1 plain", "3 plain"]);
      assert.equal(region.leader.storeId, 3n);
    }),
  );

  it(
    "[REG-057] [REG-072] reads that took too long everywhere leave the region as it is",
    inWorld(async (world) => {
      const route = routeOf({ mode: "follower" });
      const { region, result } = await send(world, [timeout, timeout, timeout], TXN_GET, undefined, {
        route,
      });
      assert.equal(result, STALE);
      assert.equal(region.isValid, true);
    }),
  );
});

describe("Stale reads", () => {
  it(
    "[REG-071] [TXN-151] trap 9: first any replica, then the leader as itself, then replicas that ask it",
    inWorld(async (world) => {
      const route = near(2n, { isStale: true });
      const unknown = regionError({ message: "something new" });
      await send(world, [behind, unknown, unknown], TXN_GET, undefined, { route });
      const path = pathOf(world);
      assert.deepEqual(path.slice(0, 2), ["2 stale", "1 plain"]);
      assert.deepEqual(path.slice(2).sort(), ["2 replica", "3 replica"].sort());
      assert.equal(world.retries.filter((one) => one === "dataIsNotReady").length, 1);
    }),
  );

  it(
    "[TXN-151] a replica that is behind costs no wait",
    inWorld(async (world) => {
      const { result } = await send(world, [behind], TXN_GET, undefined, {
        route: near(3n, { isStale: true }),
      });
      assert.deepEqual(result, OK);
      assert.deepEqual(pathOf(world), ["3 stale", "1 plain"]);
      assert.equal(world.clock.now(), START);
    }),
  );

  it(
    "[REG-071] [TXN-151] the leader is asked as for any other read, and not again",
    inWorld(async (world) => {
      const unknown = regionError({ message: "something new" });
      await send(world, [unknown, unknown, unknown], TXN_GET, undefined, {
        route: near(1n, { isStale: true }),
      });
      const path = pathOf(world);
      assert.equal(path[0], "1 plain");
      assert.deepEqual(path.slice(1).sort(), ["2 replica", "3 replica"]);
    }),
  );

  it(
    "[REG-071] [TXN-151] a leader that is dead, slow or busy is not needed: replicas go on by themselves",
    inWorld(async (world) => {
      const route = near(2n, { isStale: true });
      await send(world, [timeout, timeout], TXN_GET, undefined, { route });
      assert.deepEqual(pathOf(world), ["2 stale", "1 plain", "3 stale"]);
      world.net.calls.length = 0;
      const region = await world.locate("k");
      region.leader.store.liveness = "unreachable";
      await send(world, [behind], TXN_GET, undefined, { route });
      assert.deepEqual(pathOf(world), ["2 stale", "3 stale"]);
    }),
  );

  it(
    "[REG-071] a replica that is behind is asked twice, the leader once",
    inWorld(async (world) => {
      const { result } = await send(world, Array(9).fill(behind), TXN_GET, undefined, {
        route: routeOf({ isStale: true }),
      });
      assert.equal(result, STALE);
      const times = [1n, 2n, 3n].map((id) => world.net.asked.filter((asked) => asked === id).length);
      assert.deepEqual(times, [1, 2, 2]);
    }),
  );
});

describe("Reads that do not want to wait", () => {
  const route = routeOf({ mode: "leader", busyThresholdMs: 100 });

  it(
    "[TXN-152] [REG-039] [REG-070] a leader that is too busy sends the read to an idle replica, at once",
    inWorld(async (world) => {
      const { result } = await send(world, [busyFor(500)], TXN_GET, undefined, { route });
      assert.deepEqual(result, OK);
      assert.equal(pathOf(world)[0], "1 plain busy");
      assert.match(pathOf(world)[1] ?? "", /^[23] replica busy$/);
      assert.equal(world.clock.now(), START);
      // It is still known a moment later, and not any more when the time is over.
      await send(world, [], TXN_GET, undefined, { route });
      assert.match(pathOf(world)[2] ?? "", /^[23] replica busy$/);
      await world.clock.advance(450);
      await send(world, [], TXN_GET, undefined, { route });
      assert.equal(pathOf(world)[3], "1 plain busy");
    }),
  );

  it(
    "[TXN-152] [REG-070] when all are too busy the leader answers without the limit, and nothing is owed",
    inWorld(async (world) => {
      const { result } = await send(world, [busyFor(500), busyFor(300), busyFor(200)], TXN_GET, undefined, {
        route,
      });
      assert.deepEqual(result, OK);
      const path = pathOf(world);
      assert.deepEqual([path[0], path[3]], ["1 plain busy", "1 plain"]);
      assert.deepEqual(path.slice(1, 3).sort(), ["2 replica busy", "3 replica busy"]);
      assert.equal(world.clock.now(), START);
    }),
  );

  it(
    "[TXN-152] replica reads that find everybody too busy are answered without the limit",
    inWorld(async (world) => {
      const follower = routeOf({ mode: "follower", busyThresholdMs: 100 });
      const script = [busyFor(500), busyFor(300), busyFor(200)];
      const { result } = await send(world, script, TXN_GET, undefined, { route: follower });
      assert.deepEqual(result, OK);
      const path = pathOf(world);
      assert.equal(path.slice(0, 3).every((one) => one.endsWith("busy")), true);
      assert.match(path[3] ?? "", /^[23] replica$/);
      assert.equal(world.clock.now(), START);
    }),
  );

  it(
    "[REG-074] a store that is busy without saying for how long is another matter: it is waited for",
    inWorld(async (world) => {
      const { result } = await send(world, [busy], TXN_GET, undefined, { route });
      assert.deepEqual(result, OK);
      assert.deepEqual(world.retries, ["tikvServerBusy"]);
    }),
  );
});

// SPDX-License-Identifier: Apache-2.0
// Each row of the decision table, and what it leaves behind.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { BackoffName } from "../../../src/async/backoff.ts";
import type { ErrorKind } from "../../../src/errors.ts";
import type { Region } from "../../../src/region/region.ts";
import { classify, REGION_ERRORS, type RegionErrorName } from "../../../src/region/region_error.ts";
import type { ReadRoute } from "../../../src/region/replica.ts";
import { STALE, type Stale } from "../../../src/region/send.ts";
import {
  bytes,
  failure,
  inWorld,
  regionError,
  regionMeta,
  type StoreStep,
  wireRegion,
} from "./region_world.ts";
import {
  type Any,
  assertKind,
  notLeader,
  OK,
  PUT,
  request,
  routeOf,
  send,
  sendThrough,
  TXN_GET,
} from "./sending.ts";

/** What a row does to a request to the region of all keys, whose leader is on store 1. */
interface Expectation {
  readonly script: StoreStep[];
  readonly command?: Any;
  readonly route?: ReadRoute;
  readonly result: "answer" | "stale" | ErrorKind;
  /** The stores that are asked, when they are certain. */
  readonly asked?: bigint[];
  readonly retries: (BackoffName | RegionErrorName)[];
  readonly invalidated?: string[];
  readonly isMaybeExecuted?: boolean;
}

const ROWS: Record<RegionErrorName, Expectation> = {
  undeterminedWrite: {
    script: [regionError({ undeterminedResult: { message: "lost" } })],
    command: PUT,
    result: "undetermined",
    asked: [1n],
    retries: [],
  },
  undeterminedRead: {
    script: [regionError({ undeterminedResult: {} })],
    result: "stale",
    asked: [1n],
    retries: ["undeterminedRead", "regionMiss"],
  },
  notLeaderHinted: {
    script: [notLeader(3n)],
    result: "answer",
    asked: [1n, 3n],
    retries: ["notLeaderHinted"],
  },
  notLeaderHintUnreachable: {
    script: [(call) => {
      DEAD_HINT.liveness = "unreachable";
      return notLeader(2n)(call);
    }],
    result: "answer",
    asked: [1n, 3n],
    retries: ["notLeaderHintUnreachable"],
  },
  notLeaderHintUnknown: {
    script: [regionError({ notLeader: { leader: { id: 19n, storeId: 9n } } })],
    result: "stale",
    asked: [1n],
    retries: ["notLeaderHintUnknown", "regionMiss"],
    invalidated: ["store-not-found"],
  },
  notLeader: {
    script: [regionError({ notLeader: { regionId: 1n } })],
    result: "answer",
    retries: ["regionScheduling"],
  },
  diskFull: {
    script: [regionError({ diskFull: { storeId: [1n] } }), regionError({ diskFull: {} })],
    result: "answer",
    asked: [1n, 1n, 1n],
    retries: ["tikvDiskFull", "tikvDiskFull"],
  },
  recoveryInProgress: {
    script: [regionError({ RecoveryInProgress: { regionId: 1n } })],
    result: "stale",
    asked: [1n],
    retries: ["regionRecoveryInProgress", "regionMiss"],
    invalidated: ["other"],
  },
  isWitness: {
    script: [regionError({ isWitness: { regionId: 1n } })],
    result: "stale",
    asked: [1n],
    retries: ["isWitness", "regionMiss"],
    invalidated: ["other"],
  },
  flashbackOnReplica: {
    script: [failure("timeout"), regionError({ FlashbackInProgress: { regionId: 1n } })],
    command: TXN_GET,
    result: "answer",
    retries: ["deadlineExceeded", "flashbackOnReplica"],
  },
  flashbackInProgress: {
    script: [regionError({ FlashbackInProgress: { regionId: 1n } })],
    result: "region-unavailable",
    asked: [1n],
    retries: [],
  },
  flashbackNotPrepared: {
    script: [regionError({ FlashbackNotPrepared: { regionId: 1n } })],
    result: "server",
    asked: [1n],
    retries: [],
  },
  regionNotFoundOnReplica: {
    // Trap 6: the leader could not be asked, a follower does not know the region: the leader's
    // store lives after all, so it is asked once although the region was given up.
    script: [(call) => {
      DEAD_LEADER.liveness = "reachable";
      return regionError({ regionNotFound: { regionId: 1n } })(call);
    }],
    result: "answer",
    retries: ["regionNotFoundOnReplica"],
    invalidated: ["region-not-found"],
  },
  regionNotFound: {
    script: [regionError({ regionNotFound: { regionId: 1n } })],
    result: "stale",
    asked: [1n],
    retries: ["regionNotFound", "regionMiss"],
    invalidated: ["region-not-found"],
  },
  keyNotInRegion: {
    script: [regionError({ keyNotInRegion: { key: bytes("k") } })],
    result: "stale",
    asked: [1n],
    retries: ["keyNotInRegion", "regionMiss"],
    invalidated: ["other"],
  },
  epochNotMatchEmpty: {
    script: [regionError({ epochNotMatch: {} })],
    result: "stale",
    asked: [1n],
    retries: ["epochNotMatchEmpty", "regionMiss"],
    invalidated: ["epoch-not-match"],
  },
  epochNotMatchBehind: {
    script: [
      regionError({
        epochNotMatch: { currentRegions: [wireRegion(regionMeta(1n, "", "", { version: 0n }))] },
      }),
    ],
    result: "answer",
    asked: [1n, 1n],
    retries: ["regionMiss"],
  },
  epochNotMatch: {
    script: [
      regionError({
        epochNotMatch: { currentRegions: [wireRegion(regionMeta(1n, "", "m", { version: 2n }))] },
      }),
    ],
    result: "stale",
    asked: [1n],
    retries: ["epochNotMatch"],
    invalidated: ["epoch-not-match"],
  },
  bucketVersionNotMatch: {
    script: [regionError({ bucketVersionNotMatch: { version: 9n, keys: [bytes(""), bytes("")] } })],
    result: "stale",
    asked: [1n],
    retries: ["bucketVersionNotMatch", "regionMiss"],
  },
  serverIsBusyDeadline: {
    script: [regionError({ serverIsBusy: { reason: "deadline is exceeded" } })],
    command: TXN_GET,
    result: "answer",
    retries: ["serverIsBusyDeadline"],
  },
  serverIsBusyForRead: {
    script: [regionError({ serverIsBusy: { estimatedWaitMs: 700 } })],
    command: TXN_GET,
    route: routeOf({ mode: "leader", busyThresholdMs: 500 }),
    result: "answer",
    retries: ["serverIsBusyForRead"],
  },
  serverIsBusyEstimated: {
    script: [regionError({ serverIsBusy: { estimatedWaitMs: 700 } })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["tikvServerBusy"],
  },
  serverIsBusy: {
    script: [regionError({ serverIsBusy: { reason: "busy" } })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["tikvServerBusy"],
  },
  staleCommand: {
    script: [regionError({ staleCommand: {} })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["staleCommand"],
  },
  storeNotMatch: {
    script: [regionError({ storeNotMatch: { requestStoreId: 1n, actualStoreId: 4n } })],
    result: "stale",
    asked: [1n],
    retries: ["storeNotMatch", "regionMiss"],
    invalidated: ["store-not-found"],
  },
  raftEntryTooLarge: {
    script: [regionError({ raftEntryTooLarge: { regionId: 1n, entrySize: 9n } })],
    command: PUT,
    result: "too-large",
    asked: [1n],
    retries: [],
  },
  maxTimestampNotSynced: {
    script: [regionError({ maxTimestampNotSynced: {} })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["maxTsNotSynced"],
  },
  regionNotInitialized: {
    script: [regionError({ regionNotInitialized: { regionId: 1n } })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["regionNotInitialized"],
  },
  readIndexNotReady: {
    script: [regionError({ readIndexNotReady: { regionId: 1n } })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["regionScheduling"],
  },
  proposalInMergingMode: {
    script: [regionError({ proposalInMergingMode: { regionId: 1n } })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["regionScheduling"],
  },
  dataIsNotReady: {
    script: [regionError({ dataIsNotReady: { regionId: 1n } })],
    command: TXN_GET,
    route: routeOf({ isStale: true, storeIds: new Set([2n]) }),
    result: "answer",
    asked: [2n, 1n],
    retries: ["dataIsNotReady"],
  },
  deadlineExceeded: {
    script: [regionError({ message: "Deadline is exceeded" })],
    command: TXN_GET,
    result: "answer",
    retries: ["deadlineExceeded"],
  },
  mismatchPeerId: {
    script: [regionError({ mismatchPeerId: { requestPeerId: 11n, storePeerId: 17n } })],
    result: "stale",
    asked: [1n],
    retries: ["mismatchPeerId", "regionMiss"],
    invalidated: ["other"],
  },
  invalidMaxTsUpdate: {
    script: [regionError({ message: "invalid max_ts update: ..." })],
    result: "server",
    asked: [1n],
    retries: [],
  },
  unknown: {
    script: [regionError({ message: "something new" })],
    result: "answer",
    asked: [1n, 1n],
    retries: ["unknown", "regionScheduling"],
  },
};

// Stores that a step of the script changes: the world of a row sets them before it runs.
const DEAD_HINT = { liveness: "reachable" as "reachable" | "unreachable" };
const DEAD_LEADER = { liveness: "unreachable" as "reachable" | "unreachable" };

describe("Decision table (b), row by row", () => {
  for (const name of Object.keys(REGION_ERRORS) as RegionErrorName[]) {
    const row = ROWS[name];
    it(
      `[REG-057] ${name}: ${REGION_ERRORS[name].next}`,
      inWorld(async (world) => {
        const region = await world.locate("k");
        if (name === "notLeaderHintUnreachable") bind(region, 1, DEAD_HINT, "reachable");
        if (name === "regionNotFoundOnReplica") bind(region, 0, DEAD_LEADER, "unreachable");
        world.net.script.push(...row.script);
        const operation = world.operation();
        const result = await world.clock.run(
          world.sender.send(region, request(world, row.command, { route: row.route }), operation).catch((
            error: unknown,
          ) => error),
        );
        if (row.result === "answer") assert.deepEqual(result, OK);
        else if (row.result === "stale") assert.equal(result, STALE as Stale);
        else assertKind(result, row.result);
        if (row.asked !== undefined) assert.deepEqual(world.net.asked, row.asked);
        assert.deepEqual(world.retries, row.retries);
        assert.deepEqual(world.invalidated, row.invalidated ?? []);
        assert.equal(operation.isMaybeExecuted, row.result === "undetermined");
      }),
    );
  }

  it("each row is found by its own error, and none before it takes it", () => {
    const facts = {
      isWrite: false,
      isTimedRead: false,
      isReplicaRead: false,
      hasBusyThreshold: false,
      isLeaderUntried: false,
      hint: "none",
      epochs: "none",
    } as const;
    const empty = {} as Parameters<typeof classify>[0];
    assert.equal(classify({ ...empty, message: "x" }, facts), "unknown");
    assert.equal(classify({ ...empty, message: "Deadline is exceeded" }, facts), "unknown");
    assert.equal(
      classify({ ...empty, message: "Deadline is exceeded" }, { ...facts, isTimedRead: true }),
      "deadlineExceeded",
    );
  });
});

/** Makes a store's liveness follow a variable of the test. */
function bind(
  region: Region,
  index: number,
  to: { liveness: string },
  first: "reachable" | "unreachable",
): void {
  to.liveness = first;
  const store = region.peers[index]?.store;
  assert.ok(store !== undefined);
  Object.defineProperty(store, "liveness", { get: () => to.liveness, set: () => {}, configurable: true });
}

describe("What rows leave behind", () => {
  it(
    "[REG-016] notLeaderHinted makes the hinted peer the leader for later requests",
    inWorld(async (world) => {
      const { region } = await send(world, [notLeader(3n)]);
      assert.equal(region.leader.storeId, 3n);
      await send(world, []);
      assert.deepEqual(world.net.asked, [1n, 3n, 3n]);
    }),
  );

  it(
    "[REG-014] [BO-009] epochNotMatch caches what the store told, which leads there; buckets are inherited",
    inWorld(async (world) => {
      const buckets = { version: 3n, keys: [bytes(""), bytes("")] };
      world.meta.regions = [regionMeta(1n, "", "", { buckets, leader: 1 })];
      const halves = [regionMeta(1n, "", "m", { version: 2n }), regionMeta(2n, "m", "", { version: 2n })];
      const { result } = await send(world, [
        regionError({ epochNotMatch: { currentRegions: halves.map(wireRegion) } }),
      ]);
      assert.equal(result, STALE);
      const [left, right] = [world.regions.peek(bytes("a")), world.regions.peek(bytes("z"))];
      assert.deepEqual([left?.id, right?.id], [1n, 2n]);
      assert.deepEqual([left?.leader.storeId, right?.leader.storeId], [2n, 2n]);
      assert.deepEqual([left?.buckets, right?.buckets], [buckets, buckets]);
      assert.equal(world.meta.count("regionByKey"), 1, "PD was not asked again");
    }),
  );

  it(
    "[REG-014] epochNotMatch with the region itself in it does not give it up",
    inWorld(async (world) => {
      const { region, result } = await send(world, [
        regionError({ epochNotMatch: { currentRegions: [wireRegion(regionMeta(1n, "", ""))] } }),
      ]);
      assert.equal(result, STALE);
      assert.equal(region.isValid, true);
    }),
  );

  it(
    "[REG-015] bucketVersionNotMatch replaces the buckets",
    inWorld(async (world) => {
      const keys = [bytes(""), bytes("m"), bytes("")];
      const { region } = await send(world, [regionError({ bucketVersionNotMatch: { version: 9n, keys } })]);
      assert.deepEqual([region.buckets?.version, region.buckets?.keys], [9n, keys]);
      await send(world, []);
      assert.equal(world.net.calls.at(-1)?.context.bucketsVersion, 9n);
    }),
  );

  it(
    "storeNotMatch closes the connections to the address and reads the store again",
    inWorld(async (world) => {
      await send(world, [regionError({ storeNotMatch: {} })]);
      assert.deepEqual(world.net.closed, [{ address: "store-1:20160", version: undefined }]);
      assert.equal(world.meta.calls.filter(({ method }) => method === "store").length, 4);
    }),
  );

  it(
    "[REG-039] serverIsBusy with an estimate is remembered for the store",
    inWorld(async (world) => {
      const { region } = await send(world, [
        regionError({ serverIsBusy: { estimatedWaitMs: 60_000 } }),
      ]);
      assert.ok(region.leader.store.estimatedWaitMs(world.clock.now()) > 50_000);
    }),
  );

  it(
    "keyNotInRegion is told as a warning",
    inWorld(async (world) => {
      await send(world, [regionError({ keyNotInRegion: { key: bytes("k") } })]);
      assert.equal(world.events.filter(({ type }) => type === "warning").length, 1);
    }),
  );

  it(
    "[REG-073] trap 11: a follower that answers as a leader is the leader from then on",
    inWorld(async (world) => {
      const { region, result } = await send(world, [regionError({ notLeader: {} })]);
      assert.deepEqual(result, OK);
      assert.equal(region.leader.storeId, world.net.asked[1]);
      assert.notEqual(region.leader.storeId, 1n);
    }),
  );

  it(
    "[REG-075] [REG-074] trap 8: a leader that is busy twice without an estimate is checked at another peer",
    inWorld(async (world) => {
      const busy = regionError({ serverIsBusy: {} });
      const elsewhere: StoreStep = (call) => notLeader(call.storeId === 2n ? 3n : 2n)(call);
      const { region, result } = await send(world, [busy, busy, elsewhere]);
      assert.deepEqual(result, OK);
      assert.equal(new Set(world.net.asked).size, 3);
      assert.equal(region.leader.storeId, world.net.asked.at(-1));
      assert.deepEqual(world.retries, ["tikvServerBusy", "serverIsBusy", "notLeaderHinted"]);
    }),
  );

  it(
    "[REG-074] a wait that is owed is paid when the same replica is asked again",
    inWorld(async (world) => {
      const busy = regionError({ serverIsBusy: {} });
      const { result } = await send(world, [busy, busy, notLeader(1n)]);
      assert.deepEqual(result, OK);
      assert.deepEqual(world.net.asked.filter((id) => id === 1n).length, 3);
      assert.deepEqual(world.retries, [
        "tikvServerBusy",
        "serverIsBusy",
        "notLeaderHinted",
        "tikvServerBusy",
      ]);
    }),
  );

  it(
    "[REG-056] [REG-072] [REG-074] nobody left: the region is given up after the largest wait that is owed",
    inWorld(async (world) => {
      const denied = regionError({ notLeader: {} });
      const busy = regionError({ serverIsBusy: {} });
      const { result } = await send(world, [denied, busy, busy]);
      assert.equal(result, STALE);
      assert.deepEqual(world.retries, [
        "regionScheduling",
        "serverIsBusy",
        "serverIsBusy",
        "tikvServerBusy",
        "regionMiss",
      ]);
      assert.deepEqual(world.invalidated, ["no-leader"]);
    }),
  );

  it(
    "replicas that name each other as the leader are asked with waits, not as fast as they answer",
    inWorld(async (world) => {
      world.net.usual = (call) => notLeader(call.storeId === 1n ? 2n : 1n)(call);
      const operation = world.operation(2_000);
      const call = sendThrough(world, request(world), operation).catch((error: unknown) => error);
      assertKind(await world.clock.run(call), "region-unavailable");
      assert.ok(world.net.calls.length < 100, `${world.net.calls.length} requests in two seconds`);
    }),
  );

  it(
    "trap 2, trap 7: a store that is busy or full for ever ends the call at its deadline with a typed error",
    inWorld(async (world) => {
      for (const init of [{ serverIsBusy: { estimatedWaitMs: 1 } }, { diskFull: {} }]) {
        const start = world.clock.now();
        const { result } = await send(world, Array(100).fill(regionError(init)));
        assertKind(result, "server-busy");
        assert.ok(world.clock.now() - start <= 20_000);
        world.net.script.length = 0;
      }
    }),
  );

  it(
    "trap 4: an empty list of regions is waited for, a full one is not",
    inWorld(async (world) => {
      const currentRegions = [wireRegion(regionMeta(1n, "", "", { version: 2n }))];
      const start = world.clock.now();
      await send(world, [regionError({ epochNotMatch: { currentRegions } })]);
      assert.equal(world.clock.now(), start);
      await send(world, [regionError({ epochNotMatch: {} })]);
      assert.equal(world.clock.now(), start + 2);
    }),
  );
});

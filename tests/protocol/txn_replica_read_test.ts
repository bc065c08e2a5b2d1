// SPDX-License-Identifier: Apache-2.0
// Where the requests of a snapshot or a transaction are sent, by its options and by what it meets.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReadRoute } from "../../src/region/replica.ts";
import type { SnapshotOptions } from "../../src/txn/mod.ts";
import { checkBeginOptions } from "../../src/txn/begin_options.ts";
import { text } from "../unit/raw/fake_store.ts";
import { COMMITTED, FOUND, LOCK_TS, locked, NOTHING, pair, READ_TS, scene } from "./txn_scene.ts";

const SHARED = { isStale: false, labels: new Map(), storeIds: new Set(), busyThresholdMs: 0 };
const CLIENT = { labels: { zone: "a" } };
const ZONE = new Map([["zone", "a"]]);

/** The route of a read with these options. */
async function routeWith(options: SnapshotOptions, client = {}): Promise<ReadRoute | undefined> {
  const { snapshot, clock, regions } = scene(() => FOUND, client);
  const one = await clock.run(snapshot(options));
  await clock.run(one.get("k"));
  return regions.optionsOf[0]?.route;
}

test("[TXN-150] each way of reading goes along with the request; the leader needs no word", async () => {
  assert.equal(await routeWith({}), undefined);
  assert.equal(await routeWith({ replicaRead: "leader" }, CLIENT), undefined);
  for (const mode of ["follower", "mixed", "learner", "prefer-leader"] as const) {
    assert.deepEqual(await routeWith({ replicaRead: mode }, CLIENT), { ...SHARED, mode });
  }
});

test("[TXN-150] [TXN-152] [REG-076] the closest replicas are those with the labels of the client", async () => {
  const closest = { ...SHARED, mode: "mixed", labels: ZONE };
  assert.deepEqual(await routeWith({ replicaRead: "closest" }, CLIENT), closest);
  assert.deepEqual(
    await routeWith({ replicaRead: "closest", matchLabels: { zone: "b", rack: "1" } }, CLIENT),
    {
      ...closest,
      labels: new Map([["zone", "b"], ["rack", "1"]]),
    },
  );
  await assert.rejects(routeWith({ replicaRead: "closest" }), TypeError);
});

test("[TXN-152] labels, stores and the longest wait go along", async () => {
  const options = {
    replicaRead: "follower",
    matchLabels: { zone: "b" },
    matchStores: [4n, 5n],
    busyThresholdMs: 50,
  } as const;
  assert.deepEqual(await routeWith(options, CLIENT), {
    mode: "follower",
    isStale: false,
    labels: new Map([["zone", "b"]]),
    storeIds: new Set([4n, 5n]),
    busyThresholdMs: 50,
  });
  assert.deepEqual(await routeWith({ busyThresholdMs: 50 }), {
    ...SHARED,
    mode: "leader",
    busyThresholdMs: 50,
  });
});

test("[TXN-150] a function picks for each request by its keys", async () => {
  const asked: number[] = [];
  const replicaRead = (keys: number): "leader" | "closest" => {
    asked.push(keys);
    return keys > 1 ? "closest" : "leader";
  };
  const { snapshot, clock, regions } = scene(
    ({ method }) => method === "KvGet" ? FOUND : { ...NOTHING, pairs: [pair("a"), pair("b")] },
    CLIENT,
  );
  const one = await snapshot({ replicaRead, cacheBytes: 0 });
  await clock.run(one.get("k"));
  await clock.run(one.batchGet(["a", "b"]));
  await clock.run(one.scan({}, { batchSize: 7 }).toArray());
  assert.deepEqual(asked, [1, 2, 7]);
  assert.deepEqual(regions.optionsOf.map(({ route }) => route?.labels.get("zone")), [undefined, "a", "a"]);
});

test("[TXN-151] reads of the past are stale, and go to the closest replicas or to any", async () => {
  const stale = { ...SHARED, isStale: true };
  const mixed = { ...stale, mode: "mixed" };
  for (const past of [{ staleMs: 5_000 }, { maxStaleMs: 5_000 }, { ts: READ_TS, staleRead: true }]) {
    assert.deepEqual(await routeWith(past), mixed);
    assert.deepEqual(await routeWith(past, CLIENT), { ...mixed, labels: ZONE });
    assert.deepEqual(await routeWith({ ...past, replicaRead: "follower" }, CLIENT), {
      ...stale,
      mode: "follower",
    });
    // What is asked of the leader need not be asked as of a replica.
    assert.equal(await routeWith({ ...past, replicaRead: "leader" }), undefined);
    assert.equal(await routeWith({ ...past, staleRead: false }), undefined);
  }
});

test("[T-56] [TXN-151] a stale get that met a lock goes on at the leader, without a limit to its wait", async () => {
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus" || method === "KvResolveLock") return COMMITTED;
    return round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
  });
  const one = await snapshot({ staleRead: true, busyThresholdMs: 50, cacheBytes: 0 });
  await clock.run(one.get("k"));
  const routes = regions.optionsOfAll("KvGet").map(({ route }) => route);
  assert.deepEqual(routes.map((route) => route?.isStale), [true, undefined]);
  assert.equal(routes[1], undefined);
  // The next read begins anew.
  await clock.run(one.get("k"));
  assert.equal(regions.optionsOfAll("KvGet")[2]?.route?.isStale, true);
});

test("[T-56] [TXN-151] so do the keys of a stale batch that were locked, and no others", async () => {
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method !== "KvBatchGet") return COMMITTED;
    if (round === 1) return { ...NOTHING, pairs: [pair("a"), pair("", locked("b"))] };
    return { ...NOTHING, pairs: [pair("b")] };
  });
  const one = await snapshot({ staleRead: true });
  const found = await clock.run(one.batchGet(["a", "b"]));
  assert.deepEqual([...found.keys()].map(text), ["a", "b"]);
  const routes = regions.optionsOfAll("KvBatchGet").map(({ route }) => route?.isStale);
  assert.deepEqual(routes, [true, undefined]);
});

test("[T-56] [TXN-151] so do the locked keys of a stale scan, and a page that met one as a whole", async () => {
  for (const isWhole of [true, false]) {
    const { snapshot, clock, regions } = scene(({ method }, round) => {
      if (method === "KvBatchGet") return { ...NOTHING, pairs: [pair("b")] };
      if (method !== "KvScan") return COMMITTED;
      if (round > 1) return { ...NOTHING, pairs: [pair("a"), pair("b")] };
      return isWhole
        ? { ...NOTHING, error: locked("b"), pairs: [] }
        : { ...NOTHING, pairs: [pair("a"), pair("", locked("b"))] };
    });
    const one = await snapshot({ staleRead: true });
    const keys = await clock.run(one.scanKeys({}, { limit: 2 }).toArray());
    assert.deepEqual(keys.map(text), ["a", "b"]);
    const reads = regions.optionsOfAll(isWhole ? "KvScan" : "KvBatchGet");
    assert.equal(reads.at(-1)?.route, undefined);
    assert.equal(regions.optionsOfAll("KvScan")[0]?.route?.isStale, true);
  }
});

test("[TXN-150] a read of a replica that is not stale stays with replicas after a lock", async () => {
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method !== "KvGet") return COMMITTED;
    return round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
  });
  await clock.run((await snapshot({ replicaRead: "follower" })).get("k"));
  assert.deepEqual(regions.optionsOfAll("KvGet").map(({ route }) => route?.mode), ["follower", "follower"]);
});

test("[TXN-151] another moment of a stale snapshot is stale as well, but the latest is not of the past", async () => {
  const { snapshot, clock, regions } = scene(() => FOUND);
  const one = await snapshot({ staleRead: true });
  await clock.run(one.at(LOCK_TS).get("k"));
  assert.equal(regions.optionsOf[0]?.route?.isStale, true);
  assert.throws(() => one.at(0xffff_ffff_ffff_ffffn as typeof LOCK_TS), RangeError);
});

test("[TXN-150] [TXN-151] [TXN-152] what makes no sense is refused before anything is sent", async () => {
  const wrong: readonly [options: unknown, error: typeof TypeError | typeof RangeError][] = [
    [{ replicaRead: "nearest" }, RangeError],
    [{ replicaRead: 1 }, TypeError],
    [{ replicaRead: () => "nearest" }, RangeError],
    [{ replicaRead: () => "closest" }, TypeError],
    [{ replicaRead: "mixed", matchLabels: { zone: 1 } }, TypeError],
    [{ replicaRead: "mixed", matchLabels: ["zone"] }, TypeError],
    [{ replicaRead: "mixed", matchStores: [1] }, TypeError],
    [{ replicaRead: "mixed", matchStores: 1n }, TypeError],
    [{ matchLabels: { zone: "a" } }, TypeError],
    [{ matchStores: [1n] }, TypeError],
    [{ busyThresholdMs: -1 }, RangeError],
    [{ busyThresholdMs: 0x1_0000_0000 }, RangeError],
    [{ staleMs: 0 }, RangeError],
    [{ staleMs: 1.5 }, RangeError],
    [{ staleMs: "5" }, TypeError],
    [{ maxStaleMs: -1 }, RangeError],
    [{ staleMs: 5, maxStaleMs: 5 }, TypeError],
    [{ staleMs: 5, ts: READ_TS }, TypeError],
    [{ ts: "latest", staleRead: true }, TypeError],
    [{ ts: 0xffff_ffff_ffff_ffffn, staleRead: true }, TypeError],
    [{ ts: undefined, staleRead: true }, TypeError],
    [{ staleRead: "yes" }, TypeError],
  ];
  for (const [options, error] of wrong) {
    const { snapshot, clock, regions } = scene(() => FOUND);
    const reading = (async () => await (await snapshot(options as SnapshotOptions)).get("k"))();
    await assert.rejects(clock.run(reading), error, JSON.stringify(options, (_, v) => `${v}`));
    assert.equal(regions.sent.length, 0);
  }
});

test("[TXN-150] [TXN-152] a transaction reads like a snapshot, but never stale", () => {
  const own = { maxEntryBytes: 1, labels: ZONE };
  const request = { keys: 1, hasMetLock: true };
  assert.equal(checkBeginOptions({}, own).routes, undefined);
  const near = checkBeginOptions({ replicaRead: "closest", busyThresholdMs: 9 }, own).routes;
  const route = { ...SHARED, mode: "mixed", labels: ZONE, busyThresholdMs: 9 };
  assert.deepEqual(near?.of(request), route);
  assert.throws(() => checkBeginOptions({ replicaRead: "nearest" as "closest" }, own), RangeError);
});

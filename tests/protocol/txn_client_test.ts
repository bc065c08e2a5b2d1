// SPDX-License-Identifier: Apache-2.0
// What transactions get from their client: keys, timestamps, time limits, and an end.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type ClientEvent,
  connect,
  Kv,
  logicalOf,
  physicalMsOf,
  TikvError,
  type Timestamp,
  timestampOf,
} from "../../mod.ts";
import { Background } from "../../src/async/background.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { fault, Playground, type RegionErrorInit } from "../../src/playground/mod.ts";
import { ManualClock } from "../../src/testing/mod.ts";
import { startInBackground } from "../../src/txn/commit/committer_background.ts";
import { CommitWorld } from "../unit/txn/commit_world.ts";
import { startScene } from "./txn_call_scene.ts";

test("[TXN-001] transactions of two keyspaces do not see each other; one that is not there is told at once", async () => {
  await using scene = await startScene({}, { apiVersion: "v2" });
  const { cluster, run } = scene;
  cluster.createKeyspace("orders");
  const orders = await scene.open({ keyspace: "orders" });
  await run(scene.client.transaction((txn) => txn.put("k", "default")));
  await run(orders.transaction((txn) => txn.put("k", "orders")));
  assert.equal(await scene.valueOf("k"), "default");
  await run(orders.transaction(async (txn) => {
    assert.deepEqual(await txn.scan({}).toArray(), [{ key: utf8Encode("k"), value: utf8Encode("orders") }]);
    txn.delete("k");
  }));
  assert.equal(await scene.valueOf("k"), "default");
  await assert.rejects(run(connect(cluster, { keyspace: "nobody" })), { kind: "keyspace-not-found" });
});

test("[TXN-001] a client that fails half-way leaves nothing, and says why", async () => {
  const clock = new ManualClock();
  await using cluster = await Playground.start({ clock, mode: "txn", seed: 1 });
  const before = clock.pendingTimers;
  for (const wrong of [{ expectClusterId: 7n }, { keyspace: "nobody" }]) {
    await assert.rejects(clock.run(connect(cluster, wrong)), (error) => TikvError.is(error));
    assert.equal(clock.pendingTimers, before);
  }
});

test("[TXN-001] where there are no transactions every way in rejects, and none throws", async () => {
  const clock = new ManualClock();
  await using cluster = await Playground.start({ clock, apiVersion: "v1ttl", seed: 1 });
  await using client = await clock.run(connect(cluster));
  for (const start of [() => client.transaction(() => {}), () => client.begin(), () => client.snapshot()]) {
    await assert.rejects(clock.run<unknown>(start()), { kind: "unsupported" });
  }
  await clock.run(client.close());
});

test("[TXN-002] close() waits for what was committed to be so everywhere, and leaves no timer", async () => {
  const clock = new ManualClock();
  await using cluster = await Playground.start({ clock, mode: "txn", seed: 1, splitKeys: ["m"] });
  const idle = clock.pendingTimers;
  const client = await clock.run(connect(cluster));
  await clock.run(client.transaction((txn) => txn.put("a", "0")));
  using _slow = cluster.faults.add({ method: "KvCommit", skip: 1, times: 1 }, fault.delay(700));
  const open = await clock.run(client.begin({ mode: "pessimistic" }));
  await clock.run(open.lock(["held"]));
  await clock.run(client.transaction((txn) => (txn.put("a", "1"), txn.put("z", "1")), { commit: "2pc" }));
  const begin = clock.now();
  await clock.run(client.close());
  assert.ok(clock.now() - begin >= 600);
  assert.equal(clock.pendingTimers, idle);
  const other = await clock.run(connect(cluster));
  const plan = other.plan(Kv.kvScanLock, { maxVersion: 0x7fff_ffff_ffff_ffffn, limit: 10 });
  const locks = await clock.run(
    plan.toRegionsOf({}, ({ start, end }) => ({ startKey: start, endKey: end })).retryRegionErrors().run(),
  );
  assert.deepEqual(locks.flatMap((reply) => reply.locks), []);
  await clock.run(other.close());
});

test("[TXN-002] a commit that is under way when the client is closed ends, one way or the other", async () => {
  await using scene = await startScene();
  const { cluster, clock, run } = scene;
  for (const delayMs of [100, 10_000]) {
    const client = await scene.open();
    using _slow = cluster.faults.add({ method: "KvPrewrite" }, fault.delay(delayMs));
    const txn = await run(client.begin());
    txn.put(`k${delayMs}`, "v");
    const outcome = txn.commit().then(() => "committed", (error) => error.kind);
    await clock.advance(50);
    await run(client.close());
    const end = await run(outcome);
    assert.ok(["committed", "undetermined", "closed"].includes(end), end);
    _slow.remove();
    await clock.advance(30_000);
    const value = await scene.valueOf(`k${delayMs}`);
    if (end === "committed") assert.equal(value, "v");
    if (end === "closed") assert.equal(value, undefined);
  }
});

test("[TXN-003] work in the background is bounded: what is too much is left to others, and told", async () => {
  const events: ClientEvent[] = [];
  const clock = new ManualClock();
  const failures: string[] = [];
  const background = new Background((name) => failures.push(name));
  await using world = await CommitWorld.start();
  const session = {
    ...world.world.session,
    settings: { ...world.world.session.settings, observe: (event: ClientEvent) => void events.push(event) },
    background,
  };
  const told: unknown[] = [];
  const ends: (() => void)[] = [];
  const work = (): Promise<void> => new Promise((resolve) => ends.push(resolve));
  const start = (): Promise<void> =>
    startInBackground(
      { session, onBackground: (task) => told.push(task) },
      { kind: "commit", budgetMs: 1 },
      work,
    );
  for (let index = 0; index < 4_096; index++) void start();
  assert.equal(ends.length, 4_096);
  // Refused: it is over at once, nobody is told of a beginning, and the log has a line.
  await start();
  assert.equal(ends.length, 4_096);
  assert.equal(told.length, 4_096);
  assert.equal(events.filter(({ type }) => type === "warning").length, 1);
  for (const end of ends) end();
  await clock.advance(0);
  assert.equal(background.size, 0);
  await startInBackground(
    { session },
    { kind: "release", budgetMs: 1 },
    () => Promise.reject(new Error("no")),
  );
  await clock.advance(0);
  assert.deepEqual(failures, ["txn.releaseLocks"]);
});

test("[TXN-005] a transaction begins as soon as there is a timestamp again, within its time", async () => {
  await using scene = await startScene();
  const { client, cluster, clock, run } = scene;
  const before = await run(client.begin());
  cluster.stallTso(2_000);
  const begin = clock.now();
  const after = await run(client.begin());
  assert.ok(clock.now() - begin >= 1_900);
  assert.ok(after.startTs > before.startTs);
  await run(cluster.movePdLeader());
  assert.ok((await run(client.begin())).startTs > after.startTs);
  cluster.stallTso(60_000);
  const late = clock.now();
  await assert.rejects(run(client.begin({ timeoutMs: 1_000 })), (error) => TikvError.is(error));
  assert.ok(clock.now() - late <= 1_000);
  const controller = new AbortController();
  const reason = new Error("enough");
  const aborted = assert.rejects(
    run(client.begin({ signal: controller.signal })),
    (error) => error === reason,
  );
  controller.abort(reason);
  await aborted;
});

test("[TXN-006] timestamps are milliseconds and a counter, to the last bit, and back", () => {
  const ms = 1_790_000_000_123;
  const ts = timestampOf(BigInt(ms), 42n);
  assert.equal(ts, (BigInt(ms) << 18n) + 42n);
  assert.deepEqual([physicalMsOf(ts), logicalOf(ts)], [ms, 42]);
  assert.equal(logicalOf(timestampOf(1n, 0x3ffffn)), 262_143);
  assert.equal(new Date(physicalMsOf(ts)).getTime(), ms);
  // The start of what is at most an hour old.
  const oldest = timestampOf(BigInt(physicalMsOf(ts) - 3_600_000), 0n);
  assert.equal(physicalMsOf(ts) - physicalMsOf(oldest), 3_600_000);
  assert.ok(oldest < ts);
  assert.equal(physicalMsOf(0x7fff_ffff_ffff_ffffn as Timestamp), 35_184_372_088_831);
});

test("[TXN-004] a start timestamp of the caller's costs none, and reads that moment", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction((txn) => txn.put("k", "1")));
  const ts = await run(client.pd.timestamp());
  await run(client.transaction((txn) => txn.put("k", "2")));
  const old = await run(client.begin({ startTs: ts }));
  assert.equal(old.startTs, ts);
  assert.deepEqual(await run(old.get("k")), utf8Encode("1"));
  old.put("k", "3");
  await assert.rejects(run(old.commit()), { kind: "write-conflict" });
});

const PASSING: Readonly<Record<string, RegionErrorInit>> = {
  "epoch not match": { epochNotMatch: { currentRegions: [] } },
  "not leader": { notLeader: {} },
  "region not found": { regionNotFound: {} },
  "server is busy": { serverIsBusy: { reason: "test" } },
  "stale command": { staleCommand: {} },
  "max timestamp not synced": { maxTimestampNotSynced: {} },
  "read index not ready": { readIndexNotReady: {} },
  "proposal in merging": { proposalInMergingMode: {} },
  "region not initialized": { regionNotInitialized: {} },
  "recovery in progress": { RecoveryInProgress: {} },
  "disk full": { diskFull: {} },
};

/** After these the region is looked up again. */
const MOVED = new Set(["epoch not match", "region not found", "recovery in progress"]);

for (const [name, error] of Object.entries(PASSING)) {
  test(`[TXN-015] a write goes on after "${name}", in each phase, marked as a repetition`, async () => {
    await using world = await CommitWorld.start();
    for (const mode of ["optimistic", "pessimistic"] as const) {
      const txn = await world.writing([], { mode, commit: "2pc" });
      const isLocked = mode === "pessimistic";
      const requests = [...(isLocked ? ["PessimisticLock"] as const : []), "Prewrite", "Commit"] as const;
      for (const request of requests) world.fault(`Kv${request}`, { type: "region-error", error });
      if (isLocked) await world.run(txn.lock(["a"]));
      txn.put("a", mode);
      await world.run(txn.commit());
      assert.deepEqual(await world.read("a"), [mode]);
      for (const request of requests) {
        const [first, ...rest] = world.contexts(request).map(({ isRetryRequest }) => isRetryRequest);
        assert.equal(first, false);
        // Nothing was done before, so a prewrite that goes to a region that is found anew is a first one.
        const isMarked = request !== "Prewrite" || !MOVED.has(name);
        assert.deepEqual([...new Set(rest)], [isMarked], `${mode} ${request}`);
      }
    }
  });
}

const FINAL: Readonly<Record<string, RegionErrorInit>> = {
  "raft entry too large": { raftEntryTooLarge: { regionId: 1n, entrySize: 99n } },
  "flashback in progress": { FlashbackInProgress: { regionId: 1n, flashbackStartTs: 5n } },
};

for (const [name, error] of Object.entries(FINAL)) {
  test(`[TXN-015] "${name}" is an error at once: asking again cannot help`, async () => {
    await using world = await CommitWorld.start();
    const txn = await world.writing(["a"], { commit: "2pc" });
    const rule = world.fault({ method: "KvPrewrite" }, { type: "region-error", error });
    const begin = world.clock.now();
    await assert.rejects(
      world.run(txn.commit()),
      (thrown) => TikvError.is(thrown) && thrown.kind !== "timeout",
    );
    assert.equal(rule.hits, 1);
    assert.ok(world.clock.now() - begin < 100);
    assert.equal(txn.state, "rolled-back");
  });
}

test("[TXN-016] [TXN-019] a plan sends any command to the regions of transactional keys, at any timestamp", async () => {
  await using scene = await startScene({}, { splitKeys: ["m"] });
  const { client, run } = scene;
  await run(client.transaction((txn) => (txn.put("a", "1"), txn.put("z", "2"))));
  const version = await run(client.pd.timestamp());
  const scan = client.plan(Kv.kvScan, { version, limit: 10 });
  const replies = await run(
    scan.toRegionsOf({}, ({ start, end }) => ({ startKey: start, endKey: end })).retryRegionErrors().run(),
  );
  const pairs = replies.flatMap((reply) => reply.pairs.map(({ key }) => new TextDecoder().decode(key)))
    .sort();
  assert.deepEqual(pairs, ["a", "z"]);
  const regions = [];
  for await (const region of client.pd.regions({})) regions.push(region.id);
  assert.equal(regions.length, 2);
  assert.equal(client.clusterId, scene.cluster.clusterId);
});

test("[TXN-020] a request has a time of its own, which the store is told, and is sent again after it", async () => {
  await using world = await CommitWorld.start({ client: { attemptTimeoutMs: 700, timeoutMs: 10_000 } });
  const txn = await world.writing(["a"], { commit: "2pc" });
  world.fault("KvPrewrite", fault.dropRequest());
  const begin = world.clock.now();
  await world.run(txn.commit());
  assert.ok(world.clock.now() - begin >= 700 && world.clock.now() - begin < 5_000);
  const limits = world.contexts("Prewrite").map(({ maxExecutionDurationMs }) => maxExecutionDurationMs);
  assert.deepEqual(limits, [700n, 700n]);
});

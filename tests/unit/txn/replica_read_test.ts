// SPDX-License-Identifier: Apache-2.0
// Snapshots of a cluster whose replicas are behind, far away, busy or dead.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Client, connect, type ConnectOptions } from "../../../src/client.ts";
import { utf8Decode } from "../../../src/bytes/utf8.ts";
import { fault, Playground } from "../../../src/playground/mod.ts";
import { ManualClock, SeededRandom } from "../../../src/testing/mod.ts";
import { ReadDetails } from "../../../src/txn/mod.ts";
import type { ReplicaRead, Snapshot, SnapshotOptions } from "../../../src/txn/mod.ts";
import { physicalMsOf, type Timestamp } from "../../../src/types.ts";

/** A cluster on three stores, one in each zone, and a client of it. */
class World implements AsyncDisposable {
  readonly clock: ManualClock;
  readonly cluster: Playground;
  readonly client: Client;

  private constructor({ clock, cluster, client }: Pick<World, "clock" | "cluster" | "client">) {
    this.clock = clock;
    this.cluster = cluster;
    this.client = client;
  }

  static async start(options: ConnectOptions = {}): Promise<World> {
    const clock = new ManualClock();
    const cluster = await Playground.start({ stores: 3, mode: "txn", clock, seed: 1 });
    for (const [index, zone] of ["a", "b", "c"].entries()) cluster.labelStore(BigInt(index + 1), { zone });
    return new World({ clock, cluster, client: await clock.run(connect(cluster, options)) });
  }

  async put(key: string, value: string): Promise<void> {
    await this.clock.run(this.client.transaction((txn) => txn.put(key, value)));
  }

  async get(key: string, how: SnapshotOptions): Promise<string | undefined> {
    return await this.read(await this.clock.run(this.client.snapshot(how)), key);
  }

  async read(snapshot: Snapshot, key: string): Promise<string | undefined> {
    const value = await this.clock.run(snapshot.get(key));
    return value === undefined ? undefined : utf8Decode(value);
  }

  /** Gets at each store since the last time. */
  takeCounts(): number[] {
    const counts = [1, 2, 3].map((id) => this.cluster.calls.get("KvGet", `store-${id}`));
    this.cluster.calls.clear();
    return counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clock.run(this.client.close());
    await this.cluster.close();
  }
}

const ALL: readonly ReplicaRead[] = ["leader", "follower", "mixed", "learner", "prefer-leader", "closest"];

test("[TXN-150] all replicas show what was committed before", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  for (const [index, replicaRead] of ALL.entries()) {
    await world.put("k", `${index}`);
    assert.equal(await world.get("k", { replicaRead }), `${index}`, replicaRead);
  }
});

test("[TXN-150] [TXN-152] the closest replica answers everything", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  await world.put("k", "v");
  await world.cluster.moveLeader("k", 1n);
  await world.get("k", {});
  world.takeCounts();
  for (let i = 0; i < 5; i++) assert.equal(await world.get("k", { replicaRead: "closest" }), "v");
  assert.deepEqual(world.takeCounts(), [0, 0, 5]);
  const far = { replicaRead: "closest", matchLabels: { zone: "b" } } as const;
  assert.equal(await world.get("k", far), "v");
  assert.deepEqual(world.takeCounts(), [0, 1, 0]);
});

test("[TXN-150] batches and scans go to replicas as well, and so do reads of transactions", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  const { client, clock, cluster } = world;
  await world.put("a", "1");
  await world.put("b", "2");
  await cluster.moveLeader("a", 1n);
  await clock.run(client.warmUp());
  cluster.calls.clear();
  const near = await clock.run(client.snapshot({ replicaRead: "closest" }));
  assert.equal((await clock.run(near.batchGet(["a", "b"]))).size, 2);
  assert.equal((await clock.run(near.scan({}).toArray())).length, 2);
  await clock.run(client.transaction(async (txn) => {
    assert.equal(await txn.has("a"), true);
    assert.equal((await txn.scan({}).toArray()).length, 2);
    txn.put("c", "3");
  }, { replicaRead: "closest" }));
  for (const method of ["KvGet", "KvBatchGet", "KvScan"]) {
    assert.equal(cluster.calls.get(method, "store-3"), cluster.calls.get(method), method);
    assert.ok(cluster.calls.get(method) > 0, method);
  }
  assert.equal(await world.get("c", {}), "3");
});

test("[TXN-151] a stale read stays at a replica that has it all, and costs no timestamp", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  const { clock, cluster } = world;
  await world.put("k", "old");
  await world.get("k", {});
  await clock.advance(5_000);
  await world.put("k", "new");
  await cluster.moveLeader("k", 1n);
  await world.get("k", { staleMs: 3_000 });
  cluster.calls.clear();
  for (let i = 0; i < 5; i++) assert.equal(await world.get("k", { staleMs: 3_000 }), "old");
  assert.equal(cluster.calls.get("Tso"), 0);
  await clock.advance(2);
  assert.equal(await world.get("k", { staleMs: 1 }), "new");
  assert.deepEqual(world.takeCounts(), [0, 0, 6]);
});

test("[TXN-151] a replica that is behind sends stale reads to the leader, which has everything", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  const { clock, cluster } = world;
  await world.put("k", "old");
  await cluster.moveLeader("k", 1n);
  await clock.advance(1);
  cluster.lagStore(3n, Infinity);
  await clock.advance(5_000);
  await world.put("k", "new");
  await clock.advance(5_000);
  world.takeCounts();
  assert.equal(await world.get("k", { staleMs: 1_000 }), "new");
  assert.deepEqual(world.takeCounts(), [1, 0, 1]);
  // The newest that all near stores have, here the one of this zone, is before that.
  const near = await clock.run(world.client.snapshot({ maxStaleMs: 60_000 }));
  assert.equal(await world.read(near, "k"), "old");
  assert.deepEqual(world.takeCounts(), [0, 0, 1]);
});

test("[TXN-011] [TXN-151] maxStaleMs shows the newest that near replicas have, and no older than wanted", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  const { clock, cluster, client } = world;
  await world.put("k", "v");
  cluster.lagStore(3n, 2_000);
  await clock.advance(60_000);
  const ageOf = async (how: SnapshotOptions): Promise<number> => {
    const { ts } = await clock.run(client.snapshot(how));
    return physicalMsOf(await clock.run(client.pd.timestamp())) - physicalMsOf(ts);
  };
  assert.equal(await ageOf({ maxStaleMs: 10_000 }), 2_000);
  assert.equal(await ageOf({ maxStaleMs: 1_000 }), 1_000);
  assert.ok(await ageOf({ maxStaleMs: 10_000, matchLabels: { zone: "b" } }) < 100);
});

test("[REG-060] [REG-041] [TXN-154] details tell who answered, and which stale reads the first replica could", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  const { clock, cluster, client } = world;
  await world.put("k", "v");
  await cluster.moveLeader("k", 1n);
  await clock.advance(1_000);
  await world.get("k", {});
  const details = new ReadDetails();
  const other = new ReadDetails();
  await world.get("k", { replicaRead: "closest", details });
  await world.get("k", { staleMs: 500, details });
  assert.deepEqual(details.replicas, { leaders: 0, followers: 2, staleHits: 1, staleMisses: 0 });
  cluster.lagStore(3n, Infinity);
  await clock.advance(1_000);
  const snapshot = await clock.run(client.snapshot({ staleMs: 500, details }));
  assert.equal((await clock.run(snapshot.batchGet(["k"]))).size, 1);
  assert.equal((await clock.run(snapshot.scanKeys({}).toArray())).length, 1);
  assert.deepEqual(details.replicas, { leaders: 2, followers: 2, staleHits: 1, staleMisses: 2 });
  // Those that go to the leader anyway are not counted.
  await world.get("k", { details: other });
  assert.deepEqual(other.replicas, { leaders: 0, followers: 0, staleHits: 0, staleMisses: 0 });
  other.merge(details);
  assert.deepEqual(other.replicas, details.replicas);
});

test("[T-56] [TXN-151] a stale read that meets a lock is answered by the leader once it is resolved", async () => {
  await using world = await World.start({ labels: { zone: "c" } });
  const { clock, cluster, client } = world;
  await world.put("k", "old");
  await cluster.moveLeader("k", 1n);
  await world.get("k", {});
  // Its commit never comes to the stores.
  using _lost = cluster.faults.add({ method: "KvCommit" }, fault.dropRequest());
  const lost = clock.run(
    client.with({ timeoutMs: 500 }).transaction((txn) => txn.put("k", "new"), { commit: "2pc" }),
  );
  await assert.rejects(lost);
  await clock.advance(30_000);
  world.takeCounts();
  assert.equal(await world.get("k", { staleMs: 29_000 }), "old");
  assert.deepEqual(world.takeCounts(), [2, 0, 1]);
});

test("[TXN-151] a leader is not asked for a stale read: it would let others commit below it", async () => {
  await using world = await World.start({ labels: { zone: "a" } });
  const { clock, cluster, client } = world;
  await world.put("k", "old");
  await cluster.moveLeader("k", 1n);
  await world.get("k", {});
  const txn = await clock.run(client.begin({ commit: "1pc", causalConsistency: true }));
  txn.put("k", "new");
  await clock.advance(100);
  const past = await clock.run(client.snapshot({ staleMs: 1, cacheBytes: 0 }));
  assert.ok(past.ts > txn.startTs);
  world.takeCounts();
  assert.equal(await world.read(past, "k"), "old");
  assert.deepEqual(world.takeCounts(), [1, 0, 0]);
  const { commitTs = 0n } = await clock.run(txn.commit());
  assert.ok(commitTs > past.ts);
  assert.equal(await world.read(past, "k"), "old");
});

test("[TXN-152] a busy leader leaves reads to who has time, and answers when nobody has", async () => {
  await using world = await World.start();
  const { cluster } = world;
  await world.put("k", "v");
  await cluster.moveLeader("k", 1n);
  await world.get("k", {});
  cluster.setBusy(1n, 500);
  world.takeCounts();
  assert.equal(await world.get("k", { busyThresholdMs: 100 }), "v");
  const [first, second = 0, third = 0] = world.takeCounts();
  assert.deepEqual([first, second + third], [1, 1]);
  cluster.setBusy(2n, 500);
  cluster.setBusy(3n, 500);
  assert.equal(await world.get("k", { busyThresholdMs: 100 }), "v");
  assert.equal(await world.get("k", { busyThresholdMs: 100, replicaRead: "follower" }), "v");
});

test("[TXN-150] [REG-038] prefer-leader leaves a leader whose store says that it is slow, and comes back", async () => {
  await using world = await World.start();
  const { cluster, clock } = world;
  await world.put("k", "v");
  await cluster.moveLeader("k", 1n);
  const how = { replicaRead: "prefer-leader" } as const;
  await world.get("k", how);
  world.takeCounts();
  cluster.setSlowScore(1n, 100);
  await clock.advance(1_000);
  await world.get("k", {});
  world.takeCounts();
  await world.get("k", how);
  assert.equal(world.takeCounts()[0], 0);
  // It is asked after a while, and is well again.
  cluster.setSlowScore(1n, 1);
  await clock.advance(15_000);
  await world.get("k", how);
  await clock.advance(10);
  world.takeCounts();
  await world.get("k", how);
  assert.deepEqual(world.takeCounts(), [1, 0, 0]);
});

test("[TXN-150] [TXN-151] a leader that is down does not keep replicas from answering about the past", async () => {
  await using world = await World.start({ storeLivenessTimeoutMs: 100 });
  const { cluster, clock } = world;
  await world.put("k", "v");
  await cluster.moveLeader("k", 1n);
  await clock.advance(10);
  const past = await clock.run(world.client.snapshot({ staleMs: 1, cacheBytes: 0 }));
  await clock.run(past.get("k"));
  await cluster.stopStore(1n, { electsLeaders: false });
  for (let i = 0; i < 5; i++) assert.notEqual(await clock.run(past.get("k")), undefined);
});

test("[TXN-150] [TXN-151] whoever answers, a moment looks the same, while everything changes", async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    await using world = await World.start({ labels: { zone: "b" } });
    const { cluster, clock, client } = world;
    const random = new SeededRandom(seed);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random.next() * list.length)] as T;
    const keys = ["a", "f", "m", "t"];
    const change: readonly (() => Promise<void> | void)[] = [
      () => cluster.moveLeader(pick(keys), pick([1n, 2n, 3n])),
      () => cluster.split(pick(["d", "h", "p", "w"])),
      () => cluster.lagStore(pick([1n, 2n, 3n]), pick([0, 0, 100, 3_000])),
      () => cluster.setBusy(pick([1n, 2n, 3n]), pick([0, 200])),
      () => clock.advance(pick([1, 50, 700])),
    ];
    const show = async (
      ts: Timestamp,
      { staleMs, maxStaleMs, ...rest }: SnapshotOptions,
    ): Promise<string> => {
      const isPast = staleMs !== undefined || maxStaleMs !== undefined;
      const at = await clock.run(client.snapshot({ ...rest, ts, ...(isPast ? { staleRead: true } : {}) }));
      const found = await clock.run(at.batchGet(keys));
      return keys.map((key) => utf8Decode(found.get(key) ?? new Uint8Array())).join();
    };
    for (let round = 0; round < 60; round++) {
      await pick(change)();
      if (random.next() < 0.5) {
        await clock.run(client.transaction((txn) => {
          for (const key of keys) txn.put(key, `${round}`);
        }, { commit: pick(["auto", "2pc", "async"]), causalConsistency: random.next() < 0.5 }));
      }
      const how: SnapshotOptions = {
        replicaRead: pick(ALL),
        ...pick([{}, { staleMs: 1 }, { staleMs: 500 }, { maxStaleMs: 2_000 }, { busyThresholdMs: 100 }]),
      };
      const snapshot = await clock.run(client.snapshot(how));
      const seen = await show(snapshot.ts, how);
      // Again after more has changed, by whom a plain read asks.
      await pick(change)();
      assert.equal(await show(snapshot.ts, {}), seen, `seed ${seed}, round ${round}, ${JSON.stringify(how)}`);
      assert.ok(new Set(seen.split(",")).size === 1, `all of a transaction or nothing: ${seen}`);
    }
  }
});

// SPDX-License-Identifier: Apache-2.0
// Reads that other replicas than the leader answer, and reads of the past.

import assert from "node:assert/strict";
import {
  type Client,
  type ConnectOptions,
  physicalMsOf,
  type ReplicaRead,
  type SnapshotOptions,
  type Timestamp,
} from "../../mod.ts";
import { until } from "../helpers/until.ts";
import { type Backend, contract, type Scene } from "./backend.ts";
import { entriesOf, settle, splitAt, text, vanish, write } from "./txn_scene.ts";

const READS: ReadonlySet<string> = new Set(["KvGet", "KvBatchGet", "KvScan"]);
const WAYS: readonly ReplicaRead[] = ["leader", "follower", "mixed", "learner", "prefer-leader", "closest"];

/** A client that tells where its reads go. */
async function watched(scene: Scene, options: ConnectOptions = {}): Promise<{
  readonly client: Client;
  /** The stores that reads went to since the last time. */
  readonly takeStores: () => (bigint | undefined)[];
}> {
  const asked: (bigint | undefined)[] = [];
  const client = await scene.connect({
    ...options,
    interceptors: [(call, next) => {
      if (READS.has(call.method)) asked.push(call.store?.id);
      return next(call);
    }],
  });
  return { client, takeStores: () => asked.splice(0) };
}

/** Everything of the test at a moment, by get, batch get and scan, which have to agree. */
async function seenBy(
  client: Client,
  prefix: string,
  how: SnapshotOptions,
): Promise<{ readonly entries: Record<string, string>; readonly ts: Timestamp }> {
  const snapshot = await client.snapshot({ cacheBytes: 0, ...how });
  const view = snapshot.sub(prefix);
  const entries = entriesOf(await view.scan({}).toArray());
  const keys = Object.keys(entries);
  assert.deepEqual(entriesOf(await view.batchGet(keys)), entries);
  for (const key of keys) assert.equal(text(await view.get(key)), entries[key]);
  return { entries, ts: snapshot.ts };
}

async function leaderOf({ client, prefix }: Pick<Scene, "client" | "prefix">): Promise<bigint | undefined> {
  for await (const region of client.pd.regions({ prefix })) return region.leader?.storeId;
  return undefined;
}

/** Resolves when a moment is as long ago as this, by the time of the cluster. */
async function untilPast(client: Client, ts: Timestamp, ms: number): Promise<void> {
  await until(
    async () => physicalMsOf(await client.pd.timestamp()) - physicalMsOf(ts) > ms,
    "the moment has passed",
  );
}

/** Registers the tests of who answers reads. */
export function txnReplicasSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-150] every way of reading shows what was committed before, over all regions",
    { needs: ["split"], client: { labels: { zone: "elsewhere" } } },
    async (scene) => {
      await write(scene, { a: "0", m: "0", z: "0" });
      await splitAt(scene, "g", "p");
      for (const [index, replicaRead] of WAYS.entries()) {
        const entries = { a: `${index}`, m: `${index}`, z: `${index}` };
        await write(scene, entries);
        const seen = await seenBy(scene.client, scene.prefix, { replicaRead });
        assert.deepEqual(seen.entries, entries, replicaRead);
      }
    },
  );

  contract(
    backend,
    "[TXN-150] [TXN-152] a follower, or a certain store, answers when it is asked for",
    { needs: ["followers"] },
    async (scene) => {
      await write(scene, { a: "1" });
      const { client, takeStores } = await watched(scene);
      await seenBy(client, scene.prefix, {});
      const leader = await leaderOf({ client, prefix: scene.prefix });
      takeStores();
      await seenBy(client, scene.prefix, { replicaRead: "follower" });
      const followers = takeStores();
      assert.ok(
        followers.length > 0 && followers.every((id) => id !== leader),
        `${followers}, not ${leader}`,
      );
      const [follower] = followers;
      assert.ok(follower !== undefined);
      for (const id of [leader, follower]) {
        if (id === undefined) continue;
        await seenBy(client, scene.prefix, { replicaRead: "mixed", matchStores: [id] });
        assert.deepEqual(new Set(takeStores()), new Set([id]));
      }
    },
  );

  contract(
    backend,
    "[TXN-150] a transaction reads from followers what it has not written, and commits to leaders",
    { needs: ["followers"] },
    async (scene) => {
      await write(scene, { a: "1", b: "1" });
      for (const mode of ["optimistic", "pessimistic"] as const) {
        await scene.client.transaction(async (txn) => {
          const view = txn.sub(scene.prefix);
          assert.equal(text(await view.get("b")), "1");
          view.put("a", mode);
          if (mode === "pessimistic") assert.equal(text(await view.getForUpdate("b")), "1");
          assert.deepEqual(entriesOf(await view.scan({}).toArray()), { a: mode, b: "1" });
        }, { mode, replicaRead: "follower" });
        const { entries } = await seenBy(scene.client, scene.prefix, { replicaRead: "follower" });
        assert.deepEqual(entries, { a: mode, b: "1" });
      }
    },
  );

  contract(
    backend,
    "[TXN-149] [TXN-150] a replica that meets a lock is read again once its transaction is settled",
    { needs: ["followers"] },
    async (scene) => {
      await write(scene, { a: "1", b: "1" });
      await vanish(scene, { before: { KvCommit: 0 } }, async (client) => {
        await client.transaction((txn) => {
          const view = txn.sub(scene.prefix);
          view.put("a", "2");
          view.put("b", "2");
        }, { commit: "2pc" });
      });
      const { entries } = await seenBy(scene.client, scene.prefix, { replicaRead: "follower" });
      assert.deepEqual(entries, { a: "1", b: "1" });
      await settle(scene);
    },
  );

  contract(
    backend,
    "[TXN-151] a stale read shows what was there then, whoever answers",
    {},
    async (scene) => {
      await write(scene, { a: "old", b: "old" });
      const then = await scene.client.pd.timestamp();
      await write(scene, { a: "new", c: "new" });
      await untilPast(scene.client, then, 50);
      for (const replicaRead of WAYS) {
        if (replicaRead === "closest") continue;
        const { entries } = await seenBy(scene.client, scene.prefix, {
          ts: then,
          staleRead: true,
          replicaRead,
        });
        assert.deepEqual(entries, { a: "old", b: "old" }, replicaRead);
      }
    },
  );

  contract(
    backend,
    "[TXN-151] [TXN-009] staleMs is a moment of that long ago, and looks the same for ever",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      const before = await scene.client.pd.timestamp();
      await untilPast(scene.client, before, 300);
      const past = await seenBy(scene.client, scene.prefix, { staleMs: 200 });
      const after = await scene.client.pd.timestamp();
      // PD moves its time on in steps of 50 ms.
      assert.ok(physicalMsOf(after) - physicalMsOf(past.ts) >= 100);
      await write(scene, { a: "2" });
      const again = await seenBy(scene.client, scene.prefix, { ts: past.ts });
      assert.deepEqual(again.entries, past.entries);
      assert.deepEqual(past.entries, past.ts > before ? { a: "1" } : again.entries);
    },
  );

  contract(
    backend,
    "[TXN-011] [TXN-151] maxStaleMs is no longer ago than that, and never ahead",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      for (const maxStaleMs of [60_000, 100]) {
        const first = await scene.client.pd.timestamp();
        const past = await seenBy(scene.client, scene.prefix, { maxStaleMs });
        const last = await scene.client.pd.timestamp();
        // The oldest is by the clock of this client, which may be read a little later than that of PD.
        assert.ok(physicalMsOf(past.ts) >= physicalMsOf(first) - maxStaleMs - 1_000, `${past.ts}`);
        assert.ok(past.ts <= last);
        const again = await seenBy(scene.client, scene.prefix, { ts: past.ts });
        assert.deepEqual(again.entries, past.entries);
      }
    },
  );

  contract(
    backend,
    "[T-56] [TXN-151] a stale read over a lock shows what its transaction came to",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      await vanish(scene, { before: { KvCommit: 0 } }, async (client) => {
        await client.transaction((txn) => txn.sub(scene.prefix).put("a", "2"), { commit: "2pc" });
      });
      const then = await scene.client.pd.timestamp();
      await untilPast(scene.client, then, 50);
      const { entries } = await seenBy(scene.client, scene.prefix, { ts: then, staleRead: true });
      assert.deepEqual(entries, { a: "1" });
    },
  );

  contract(
    backend,
    "[TXN-150] [TXN-151] reads of replicas go on while leaders move and regions split",
    { needs: ["followers", "split", "leaders"] },
    async (scene) => {
      await write(scene, { a: "1", z: "1" });
      const then = await scene.client.pd.timestamp();
      await untilPast(scene.client, then, 50);
      for (const key of ["g", "m"]) {
        await splitAt(scene, key);
        await scene.control.moveLeader(`${scene.prefix}a`);
        for (const how of [{ replicaRead: "follower" }, { ts: then, staleRead: true }] as const) {
          const { entries } = await seenBy(scene.client, scene.prefix, how);
          assert.deepEqual(entries, { a: "1", z: "1" });
        }
      }
    },
  );
}

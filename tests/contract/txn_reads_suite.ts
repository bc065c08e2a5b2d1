// SPDX-License-Identifier: Apache-2.0
// What reads are told besides values, which of them pass locks, and whose keys they see.

import assert from "node:assert/strict";
import { KeyMap, ReadDetails, SnapshotTooOldError, type Timestamp, WriteConflictError } from "../../mod.ts";
import { type Backend, contract } from "./backend.ts";
import {
  advanceSafePoint,
  allOf,
  entriesOf,
  lockedKeys,
  now,
  splitAt,
  text,
  untilUnlocked,
  vanish,
  write,
} from "./txn_scene.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

/** Registers the tests of how snapshots read. */
export function txnReadsSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-145] getVersioned() tells when a value was committed",
    { needs: ["commit-ts", "split"] },
    async (scene) => {
      const commitTs = new Map<string, Timestamp | undefined>();
      for (const key of ["a", "m", "z"]) {
        const txn = await scene.client.begin();
        txn.sub(scene.prefix).put(key, key);
        commitTs.set(key, (await txn.commit()).commitTs);
      }
      await splitAt(scene, "m");
      const snapshot = await now(scene);
      const one = await snapshot.getVersioned("m");
      assert.deepEqual([text(one?.value), one?.commitTs], ["m", commitTs.get("m")]);
      assert.equal(await snapshot.getVersioned("x"), undefined);
      const many = await snapshot.batchGetVersioned(["z", "x", "a"]);
      assert.ok(many instanceof KeyMap || many.size === 2);
      assert.deepEqual(
        Array.from(many, ([key, found]) => [text(key), text(found.value), found.commitTs]),
        [["z", "z", commitTs.get("z")], ["a", "a", commitTs.get("a")]],
      );
      // What a transaction has read already is asked for again when that is missing.
      assert.equal(text(await snapshot.get("a")), "a");
      assert.equal((await snapshot.getVersioned("a"))?.commitTs, commitTs.get("a"));
    },
  );

  contract(
    backend,
    "[TXN-145] [T-58] where stores do not tell when a value was committed, asking for it says so",
    { needs: ["no-commit-ts"] },
    async (scene) => {
      await write(scene, { a: "1" });
      const snapshot = await now(scene);
      await rejectsKind(snapshot.getVersioned("a"), "unsupported");
      await rejectsKind(snapshot.batchGetVersioned(["a", "b"]), "unsupported");
      assert.equal(text(await snapshot.get("a")), "1");
    },
  );

  contract(
    backend,
    "[TXN-148] read-committed reads past locks, and can say that there is something newer",
    {},
    async (scene) => {
      await write(scene, { a: "1", b: "1" });
      await vanish(
        scene,
        { before: { KvCommit: 0 }, ttlMs: 60_000 },
        async (client) => {
          await client.transaction((txn) => txn.sub(scene.prefix).put("a", "2"), { commit: "2pc" });
        },
      );
      assert.deepEqual(await lockedKeys(scene), ["a"]);
      const committed = (await scene.client.snapshot({ isolation: "read-committed" })).sub(scene.prefix);
      assert.equal(text(await committed.get("a")), "1");
      assert.deepEqual(entriesOf(await committed.batchGet(["a", "b"])), { a: "1", b: "1" });
      assert.deepEqual(entriesOf(await committed.scan({}).toArray()), { a: "1", b: "1" });
      assert.deepEqual(await lockedKeys(scene), ["a"]);

      const before = await scene.client.snapshot({ isolation: "read-committed-check-ts" });
      const txn = await scene.client.begin();
      txn.sub(scene.prefix).put("b", "2");
      const { commitTs } = await txn.commit();
      const error = await rejectsKind(before.sub(scene.prefix).get("b"), "write-conflict");
      assert.ok(error instanceof WriteConflictError);
      assert.equal(error.reason, "read-committed-check-ts");
      assert.equal(error.conflictCommitTs, commitTs);
      const after = await scene.client.snapshot({ isolation: "read-committed-check-ts" });
      assert.equal(text(await after.sub(scene.prefix).get("b")), "2");
    },
  );

  contract(
    backend,
    "[TXN-149] [TXN-160] a reader does not wait for a transaction in two phases that goes on: it is pushed behind",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "1", z: "1" });
      const held: (() => void)[] = [];
      const slow = await scene.connect({
        interceptors: [async (call, next) => {
          if (call.method === "KvCommit") await new Promise<void>((resolve) => held.push(resolve));
          return await next(call);
        }],
      });
      const txn = await slow.begin({ commit: "2pc" });
      for (const key of ["a", "z"]) txn.sub(scene.prefix).put(key, "2");
      const committing = txn.commit();
      while (held.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const start = performance.now();
      const snapshot = await now(scene);
      assert.equal(text(await snapshot.get("a")), "1");
      assert.equal(text(await (await now(scene)).get("z")), "1");
      assert.deepEqual(entriesOf(await (await now(scene)).scan({}).toArray()), { a: "1", z: "1" });
      assert.ok(performance.now() - start < 2_000, "the readers have waited for the lock");
      const release = setInterval(() => held.splice(0).forEach((resolve) => resolve()), 5);
      const { commitTs } = await committing;
      assert.ok(commitTs !== undefined && commitTs > snapshot.ts, "it was committed in a reader's past");
      await untilUnlocked(scene);
      clearInterval(release);
      assert.deepEqual(entriesOf(await snapshot.scan({}).toArray()), { a: "1", z: "1" });
      assert.deepEqual(await allOf(scene), { a: "2", z: "2" });
    },
  );

  contract(
    backend,
    "[TXN-154] reads tell what they cost to who asks",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "1", z: "1" });
      await untilUnlocked(scene);
      await allOf(scene);
      const details = new ReadDetails();
      const snapshot = (await scene.client.snapshot({ details })).sub(scene.prefix);
      await snapshot.batchGet(["a", "z"]);
      await snapshot.get("x");
      await snapshot.get("a");
      const sent = Object.fromEntries([...details.requests].map(([name, { count }]) => [name, count]));
      assert.deepEqual(sent, { KvBatchGet: 2, KvGet: 1 });
    },
  );

  contract(
    backend,
    "[TXN-001] keyspaces are apart: keys, locks and conflicts",
    { needs: ["keyspaces"] },
    async (scene) => {
      await scene.control.createKeyspace("elsewhere");
      const other = { ...scene, client: await scene.connect({ keyspace: "elsewhere" }) };
      await write(scene, { a: "1", b: "1" });
      await write(other, { a: "other" });
      const mine = await scene.client.begin();
      const theirs = await other.client.begin({ mode: "pessimistic" });
      await theirs.sub(scene.prefix).lock(["a"]);
      mine.sub(scene.prefix).put("a", "2");
      theirs.sub(scene.prefix).put("a", "theirs");
      await Promise.all([mine.commit(), theirs.commit()]);
      assert.deepEqual(await allOf(scene), { a: "2", b: "1" });
      assert.deepEqual(await allOf(other), { a: "theirs" });
      const back = await (await now(other)).scanKeys({}, { reverse: true }).toArray();
      assert.deepEqual(back.map(text), ["a"]);
    },
  );

  contract(
    backend,
    "raw data and transactions have keys of their own where keys have prefixes",
    { needs: ["prefixes"] },
    async (scene) => {
      const client = await scene.connect({ mode: "mixed" });
      await client.raw.put(`${scene.prefix}a`, "raw");
      await write({ ...scene, client }, { a: "txn", b: "txn" });
      assert.equal(text(await client.raw.get(`${scene.prefix}a`)), "raw");
      assert.deepEqual((await client.raw.sub(scene.prefix).scanKeys({}).toArray()).map(text), ["a"]);
      assert.deepEqual(await allOf({ ...scene, client }), { a: "txn", b: "txn" });
      await client.raw.delete(`${scene.prefix}a`);
      assert.deepEqual(await allOf({ ...scene, client }), { a: "txn", b: "txn" });
    },
  );

  contract(
    backend,
    "raw data and transactions are kept apart by the client where keys have no prefixes",
    { needs: ["no-prefixes"] },
    async (scene) => {
      await write(scene, { a: "1" });
      await rejectsKind(scene.client.raw.get("a"), "unsupported");
      const raw = await scene.connect({ mode: "raw" });
      await rejectsKind(raw.transaction(() => {}), "unsupported");
      await rejectsKind(raw.begin(), "unsupported");
      await rejectsKind(raw.snapshot(), "unsupported");
    },
  );
}

/** Registers the test of collected garbage: comes last, because nobody can read the past after it. */
export function txnGarbageSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-012] [T-55] a snapshot before the safe point is too old, whatever its stores still have",
    { needs: ["gc"] },
    async (scene) => {
      await write(scene, { a: "1" });
      const old = (await scene.client.snapshot()).ts;
      await write(scene, { a: "2" });
      const safePoint = await scene.client.pd.timestamp();
      await advanceSafePoint(scene, safePoint);
      const client = await scene.connect();
      const snapshot = (await client.snapshot({ ts: old })).sub(scene.prefix);
      for (
        const read of [
          () => snapshot.get("a"),
          () => snapshot.batchGet(["a", "b"]),
          () => snapshot.scan({}).toArray(),
        ]
      ) {
        const error = await rejectsKind(read(), "snapshot-too-old");
        assert.ok(error instanceof SnapshotTooOldError);
        assert.equal(error.ts, old);
        assert.equal(error.safePoint, safePoint);
      }
      assert.equal(text(await (await now({ ...scene, client })).get("a")), "2");
    },
  );
}

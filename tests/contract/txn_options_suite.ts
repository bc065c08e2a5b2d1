// SPDX-License-Identifier: Apache-2.0
// What options change of a transaction, on any cluster.

import assert from "node:assert/strict";
import { physicalMsOf, type Timestamp, timestampOf, type Transaction } from "../../mod.ts";
import { type Backend, contract } from "./backend.ts";
import { allOf, lockedKeys, now, settle, splitAt, text, untilUnlocked, vanish, write } from "./txn_scene.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

/** Adds one to a number, with or without a lock. */
async function addOne(view: Transaction, key: string): Promise<void> {
  view.put(key, String(Number(text(await view.getForUpdate(key))) + 1));
}

/** Registers the tests of options. */
export function txnOptionsSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-038] [TXN-153] [TXN-155] what requests say of themselves changes nothing of what they do",
    {},
    async (scene) => {
      const common = {
        resourceGroupTag: new Uint8Array([1, 2]),
        requestSource: "contract",
      };
      for (const priority of ["low", "normal", "high"] as const) {
        for (const mode of ["optimistic", "pessimistic"] as const) {
          await scene.client.transaction(async (txn) => {
            const view = txn.sub(scene.prefix);
            await view.lock(["locked"]);
            view.put("a", `${priority} ${mode}`);
          }, { ...common, mode, priority, onFullDisk: "write-almost-full", txnSource: 1n, syncLog: true });
          const snapshot = await scene.client.snapshot({ ...common, priority, fillCache: false, taskId: 7n });
          const view = snapshot.sub(scene.prefix);
          assert.equal(text(await view.get("a")), `${priority} ${mode}`);
          assert.equal((await view.batchGet(["a", "b"])).size, 1);
          assert.equal((await view.scan({}).toArray()).length, 1);
        }
      }
    },
  );

  contract(
    backend,
    "[TXN-078] a commit can be made to come after a timestamp, if that is not far ahead",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      for (const [commit, keys] of [["1pc", ["a"]], ["async", ["a", "z"]], ["2pc", ["a", "z"]]] as const) {
        const present = await scene.client.pd.timestamp();
        const untilTs = timestampOf(BigInt(physicalMsOf(present)) + 200n, 0n);
        const txn = await scene.client.begin({ commit, commitWait: { untilTs } });
        for (const key of keys) txn.sub(scene.prefix).put(key, commit);
        const { commitTs, path } = await txn.commit();
        assert.equal(path, commit);
        assert.ok(commitTs !== undefined && commitTs > untilTs);
        const ahead = timestampOf(BigInt(physicalMsOf(commitTs)) + 60_000n, 0n);
        const late = await scene.client.begin({ commit, commitWait: { untilTs: ahead } });
        for (const key of keys) late.sub(scene.prefix).put(key, "late");
        await rejectsKind(late.commit(), "timeout");
        assert.equal(late.state, "rolled-back");
      }
      await settle(scene);
      assert.deepEqual(await allOf(scene), { a: "2pc", z: "2pc" });
    },
  );

  contract(
    backend,
    "[TXN-092] a causal commit comes after what its transaction has read, and saves a timestamp",
    {},
    async (scene) => {
      let before: Timestamp | undefined;
      for (let round = 0; round < 5; round++) {
        const txn = await scene.client.begin({ causalConsistency: true });
        const view = txn.sub(scene.prefix);
        const read = Number(text(await view.get("n")) ?? "0");
        assert.equal(read, round);
        view.put("n", String(read + 1));
        const { commitTs } = await txn.commit();
        assert.ok(commitTs !== undefined && commitTs > txn.startTs);
        assert.ok(before === undefined || commitTs > before);
        before = commitTs;
      }
    },
  );

  contract(
    backend,
    "[TXN-084] [TXN-085] a caller can refuse a commit by its timestamp, and nothing of it is left",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "1", z: "1" });
      const reason = new Error("the schema has changed");
      const refusals = [
        { acceptsCommitTs: () => false },
        {
          checkSchema: () => {
            throw reason;
          },
        },
      ];
      for (const options of refusals) {
        const asked: Timestamp[] = [];
        const txn = await scene.client.begin({
          ...options,
          ...("acceptsCommitTs" in options
            ? { acceptsCommitTs: (ts: Timestamp) => asked.push(ts) > 1 }
            : options),
        });
        for (const key of ["a", "z"]) txn.sub(scene.prefix).put(key, "2");
        if ("acceptsCommitTs" in options) {
          await rejectsKind(txn.commit(), "txn-aborted");
          assert.ok(asked.length === 1 && asked.every((ts) => ts > txn.startTs));
        } else {
          await assert.rejects(txn.commit(), (error) => error === reason);
        }
        assert.equal(txn.state, "rolled-back");
        await settle(scene);
        assert.deepEqual(await allOf(scene), { a: "1", z: "1" });
      }
    },
  );

  contract(
    backend,
    "[TXN-087] a lock in the way of a commit is a conflict at once, if that is wanted",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      await vanish(scene, { before: { KvCommit: 0 }, ttlMs: 60_000 }, async (client) => {
        await client.transaction((txn) => txn.sub(scene.prefix).put("a", "2"), { commit: "2pc" });
      });
      const start = performance.now();
      const txn = await scene.client.begin({ onLock: "conflict" });
      txn.sub(scene.prefix).put("a", "3");
      await rejectsKind(txn.commit(), "write-conflict");
      assert.ok(performance.now() - start < 3_000, "the lock was waited for");
      assert.deepEqual(await lockedKeys(scene), ["a"]);
    },
  );

  contract(
    backend,
    "[TXN-037] writes can be left out at the commit; their locks go with it",
    {},
    async (scene) => {
      for (const mode of ["optimistic", "pessimistic"] as const) {
        await scene.client.transaction(async (txn) => {
          const view = txn.sub(scene.prefix);
          await view.lock(["a", "b"]);
          for (const key of ["a", "b", "c"]) view.put(key, mode);
        }, { mode, filter: ({ key }) => !text(key)?.endsWith("b") });
        assert.deepEqual(await allOf(scene), { a: mode, c: mode });
        await untilUnlocked(scene);
      }
    },
  );

  contract(
    backend,
    "[TXN-051] [T-67] limits of a transaction refuse what is too much, and leave the rest as it was",
    {},
    async (scene) => {
      const txn = await scene.client.begin({ maxKeys: 2, maxEntryBytes: 1_000, maxTotalBytes: 1_500 });
      const view = txn.sub(scene.prefix);
      view.put("a", "1");
      assert.throws(() => view.put("b", "x".repeat(1_000)));
      view.put("b", "x".repeat(900));
      assert.throws(() => view.put("c", "1"));
      assert.throws(() => view.put("a", "x".repeat(900)));
      await txn.commit();
      assert.deepEqual(await allOf(scene), { a: "1", b: "x".repeat(900) });
    },
  );

  contract(
    backend,
    "transaction() goes over to locks after conflicts",
    {},
    async (scene) => {
      await write(scene, { n: "0" });
      const modes: string[] = [];
      await scene.client.transaction(async (txn) => {
        modes.push(txn.mode);
        const view = txn.sub(scene.prefix);
        const found = text(await view.getForUpdate("n"));
        if (txn.mode === "optimistic") await write(scene, { n: String(modes.length) });
        view.put("n", `${found}!`);
      }, { pessimisticAfter: 2 });
      assert.deepEqual(modes, ["optimistic", "optimistic", "pessimistic"]);
      assert.deepEqual(await allOf(scene), { n: "2!" });
    },
  );

  for (const fairLocking of [true, false]) {
    contract(
      backend,
      `[TXN-121] writers of one hot key lose no update, ${
        fairLocking ? "in the order they came" : "in any order"
      }`,
      {},
      async (scene) => {
        await write(scene, { n: "0" });
        const clients = [scene.client, await scene.connect(), await scene.connect()];
        const ends = clients.map(async (client) => {
          for (let round = 0; round < 5; round++) {
            await client.transaction((txn) => addOne(txn.sub(scene.prefix), "n"), {
              mode: "pessimistic",
              fairLocking,
              commit: "2pc",
            });
          }
        });
        await Promise.all(ends);
        assert.deepEqual(await allOf(scene), { n: "15" });
        await untilUnlocked(scene);
      },
    );
  }

  contract(
    backend,
    "a forgotten await fails the commit, and a body that does not end is ended with its time",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      const forgotten = scene.client.transaction((txn) => {
        const view = txn.sub(scene.prefix);
        view.put("a", "2");
        view.get("b").catch(() => {});
      });
      await rejectsKind(forgotten, "misuse");
      let kept: Transaction | undefined;
      const endless = scene.client.transaction(async (txn) => {
        kept = txn;
        await txn.sub(scene.prefix).lock(["a"]);
        await new Promise(() => {});
      }, { mode: "pessimistic", timeoutMs: 200 });
      await rejectsKind(endless, "timeout");
      await untilUnlocked(scene);
      assert.ok(kept !== undefined);
      await rejectsKind(kept.get("a"), "misuse");
      assert.deepEqual(await allOf(scene), { a: "1" });
      assert.equal(text(await (await now(scene)).get("a")), "1");
    },
  );
}

// SPDX-License-Identifier: Apache-2.0
// What transactions and snapshots promise, on any cluster.

import assert from "node:assert/strict";
import {
  AssertionFailedError,
  codec,
  type CommitInfo,
  KeyExistsError,
  type Reader,
  type Timestamp,
  WriteConflictError,
} from "../../mod.ts";
import { hasKind, rejectsKind } from "../helpers/has_kind.ts";
import { type Backend, contract } from "./backend.ts";
import {
  allOf,
  entriesOf,
  lockedKeys,
  namesOf,
  now,
  splitAt,
  text,
  untilUnlocked,
  write,
} from "./txn_scene.ts";

/** Registers the tests of reading, writing and committing. */
export function txnSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-004] [TXN-033] [TXN-070] what a transaction wrote is there for everybody when it is committed",
    {},
    async (scene) => {
      await using txn = await scene.client.begin();
      const view = txn.sub(scene.prefix);
      view.put("a", "1");
      view.put("b", new Uint8Array([0, 255, 1]));
      view.delete("absent");
      assert.deepEqual(await allOf(scene), {});
      const { commitTs, path } = await txn.commit();
      assert.ok(commitTs !== undefined && commitTs > txn.startTs);
      assert.notEqual(path, "none");
      const other = await scene.connect();
      const snapshot = await now({ ...scene, client: other });
      assert.equal(text(await snapshot.get("a")), "1");
      assert.deepEqual(await snapshot.get("b"), new Uint8Array([0, 255, 1]));
      assert.equal(await snapshot.get("absent"), undefined);
      assert.equal(await snapshot.has("b"), true);
      assert.equal(await snapshot.has("absent"), false);
      await scene.client.transaction((again) => again.sub(scene.prefix).delete("a"));
      assert.equal(await (await now(scene)).has("a"), false);
      await rejectsKind(view.get("a"), "misuse");
      assert.throws(() => view.put("a", "2"), hasKind("misuse"));
      await using empty = await scene.client.begin();
      assert.throws(() => empty.put("a", ""), RangeError);
    },
  );

  contract(
    backend,
    "[TXN-030] [TXN-031] [TXN-032] a transaction sees its own writes over the snapshot, across regions",
    { needs: ["split"] },
    async (scene) => {
      await write(scene, { a: "1", b: "2", c: "3", d: "4", e: "5" });
      await splitAt(scene, "b", "d");
      await using txn = await scene.client.begin();
      const view = txn.sub(scene.prefix);
      view.put("b", "own");
      view.delete("c");
      view.put("f", "new");
      assert.deepEqual(
        await Promise.all(["a", "b", "c", "f"].map(async (key) => text(await view.get(key)))),
        [
          "1",
          "own",
          undefined,
          "new",
        ],
      );
      const found = await view.batchGet(["f", "c", "b", "e", "x"]);
      assert.deepEqual(entriesOf(found), { f: "new", b: "own", e: "5" });
      const scanned = [["a", "1"], ["b", "own"], ["d", "4"], ["e", "5"], ["f", "new"]];
      const pairs = async (options: { reverse?: boolean; limit?: number; batchSize?: number }) =>
        (await view.scan({}, options).toArray()).map(({ key, value }) => [text(key), text(value)]);
      assert.deepEqual(await pairs({}), scanned);
      assert.deepEqual(await pairs({ batchSize: 1 }), scanned);
      assert.deepEqual(await pairs({ reverse: true }), scanned.toReversed());
      assert.deepEqual(
        await pairs({ reverse: true, limit: 2, batchSize: 1 }),
        scanned.slice(-2).toReversed(),
      );
      assert.deepEqual((await view.scanKeys({ start: "b", end: "e" }).toArray()).map(text), ["b", "d"]);
      assert.deepEqual(await allOf(scene), { a: "1", b: "2", c: "3", d: "4", e: "5" });
      await txn.commit();
      assert.deepEqual(await allOf(scene), Object.fromEntries(scanned));
    },
  );

  contract(
    backend,
    "[TXN-142] [TXN-146] [TXN-147] snapshots read keys and ranges over many regions",
    { needs: ["split"] },
    async (scene) => {
      const names = namesOf(200);
      await write(scene, Object.fromEntries(names.map((name) => [name, `${name}!`])));
      await splitAt(scene, "k050", "k100", "k101", "k150");
      const snapshot = await now(scene);
      const wanted = ["k199", "k000", "none", "k100", "k050"];
      const found = await snapshot.batchGet(wanted);
      assert.deepEqual(Array.from(found.keys(), text), wanted.filter((name) => name !== "none"));
      assert.deepEqual(entriesOf(found), {
        k199: "k199!",
        k000: "k000!",
        k100: "k100!",
        k050: "k050!",
      });
      assert.equal((await snapshot.batchGet(names)).size, 200);
      for (const batchSize of [undefined, 1, 7, 50, 1_000]) {
        const keys = (await snapshot.scanKeys({}, { batchSize }).toArray()).map(text);
        assert.deepEqual(keys, names, `pages of ${batchSize}`);
        const back = await snapshot.scan({}, { batchSize, reverse: true }).toArray();
        assert.deepEqual(entriesOf(back), Object.fromEntries(names.map((name) => [name, `${name}!`])));
        assert.deepEqual(back.map(({ key }) => text(key)), names.toReversed(), `pages of ${batchSize}`);
      }
      const some = async (range: Parameters<typeof snapshot.scanKeys>[0], options = {}) =>
        (await snapshot.scanKeys(range, options).toArray()).map(text);
      assert.deepEqual(await some({ prefix: "k10" }), names.slice(100, 110));
      assert.deepEqual(await some({ start: "k049", end: "k102" }), names.slice(49, 102));
      assert.deepEqual(await some({ end: "k003" }, { reverse: true }), names.slice(0, 3).toReversed());
      assert.deepEqual(await some({ start: "k098" }, { limit: 5, batchSize: 2 }), names.slice(98, 103));
      assert.deepEqual(await some({ start: "k2" }), []);
      assert.deepEqual(
        await some({ start: "b", end: "a" }).catch((error) => error instanceof RangeError),
        true,
      );
    },
  );

  contract(
    backend,
    "[TXN-140] a snapshot stays as it was, whatever is committed later",
    {},
    async (scene) => {
      await write(scene, { a: "1", b: "1" });
      const old = await now(scene);
      await using reader = await scene.client.begin();
      await write(scene, { a: "2", c: "2" });
      await scene.client.transaction((txn) => txn.sub(scene.prefix).delete("b"));
      const was = { a: "1", b: "1" };
      assert.deepEqual(entriesOf(await old.scan({}).toArray()), was);
      assert.deepEqual(entriesOf(await old.batchGet(["a", "b", "c"])), was);
      assert.equal(text(await old.get("a")), "1");
      assert.deepEqual(entriesOf(await reader.sub(scene.prefix).scan({}).toArray()), was);
      const again = (await scene.client.snapshot({ ts: old.ts })).sub(scene.prefix);
      assert.deepEqual(entriesOf(await again.scan({}, { batchSize: 1 }).toArray()), was);
      const later = await now(scene);
      assert.deepEqual(entriesOf(await later.at(reader.startTs).scan({}).toArray()), was);
      assert.deepEqual(entriesOf(await later.scan({}).toArray()), { a: "2", c: "2" });
      const latest = (await scene.client.snapshot({ ts: "latest" })).sub(scene.prefix);
      assert.equal(text(await latest.get("a")), "2");
      await write(scene, { a: "3" });
      assert.equal(text(await latest.get("a")), "3");
    },
  );

  contract(
    backend,
    "[TXN-140] [TXN-146] a snapshot stays as it was from its end to its start",
    { needs: ["reverse-snapshots"] },
    async (scene) => {
      await write(scene, { a: "1", b: "1", c: "1" });
      const old = await now(scene);
      await write(scene, { b: "2", d: "2" });
      await scene.client.transaction((txn) => txn.sub(scene.prefix).delete("c"));
      const back = await old.scan({}, { reverse: true }).toArray();
      assert.deepEqual(back.map(({ key, value }) => [text(key), text(value)]), [
        ["c", "1"],
        ["b", "1"],
        ["a", "1"],
      ]);
    },
  );

  contract(
    backend,
    "[TXN-076] [TXN-190] who commits second after both wrote a key has a conflict, and leaves nothing behind",
    { needs: ["split"] },
    async (scene) => {
      await write(scene, { a: "0", m: "0" });
      await splitAt(scene, "m");
      for (const commit of ["1pc", "async", "2pc"] as const) {
        const first = await scene.client.begin({ commit });
        const second = await scene.client.begin({ commit });
        for (const [txn, value] of [[first, "first"], [second, "second"]] as const) {
          txn.sub(scene.prefix).put("a", value);
          txn.sub(scene.prefix).put("m", value);
        }
        const { commitTs } = await first.commit();
        const error = await rejectsKind(second.commit(), "write-conflict");
        assert.ok(error instanceof WriteConflictError);
        assert.ok(["a", "m"].includes(text(error.key)?.slice(scene.prefix.length) ?? ""), text(error.key));
        assert.equal(error.startTs, second.startTs);
        assert.equal(error.conflictTs, first.startTs);
        assert.equal(error.conflictCommitTs, commitTs);
        assert.equal(error.reason, "optimistic");
        assert.equal(error.retry, "transaction");
        assert.equal(second.state, "rolled-back");
        assert.deepEqual(await allOf(scene), { a: "first", m: "first" });
        await untilUnlocked(scene);
      }
    },
  );

  for (const [commit, needs] of [["2pc", []], ["auto", ["memory-locks"]]] as const) {
    contract(
      backend,
      `[TXN-070] transaction() runs again after a conflict: no update is lost (${commit})`,
      { needs },
      async (scene) => {
        await write(scene, { n: "0" });
        let runs = 0;
        const others = [scene.client, await scene.connect(), await scene.connect()];
        // All have read the same before the first of them writes, so that they meet in any case.
        const toMeet = new Set(others);
        const { promise: haveMet, resolve: meet } = Promise.withResolvers<void>();
        const add = (client: typeof scene.client): Promise<string> =>
          client.transaction(async (txn) => {
            runs++;
            const view = txn.sub(scene.prefix);
            const next = String(Number(text(await view.get("n"))) + 1);
            toMeet.delete(client);
            if (toMeet.size === 0) meet();
            await haveMet;
            view.put("n", next);
            return next;
          }, { commit, maxAttempts: 1_000 });
        const results: string[] = [];
        await Promise.all(others.map(async (client) => {
          for (let round = 0; round < 8; round++) results.push(await add(client));
        }));
        assert.equal(text(await (await now(scene)).get("n")), "24");
        assert.equal(new Set(results).size, 24, "each saw another value");
        assert.ok(runs > 24, "the writers never met");
      },
    );
  }

  contract(
    backend,
    "[TXN-033] [TXN-076] insert() fails where there is a value, and with it the whole transaction",
    {},
    async (scene) => {
      await write(scene, { there: "1" });
      for (const commit of ["1pc", "async", "2pc"] as const) {
        const txn = await scene.client.begin({ commit });
        const view = txn.sub(scene.prefix);
        view.put("beside", "x");
        view.insert("there", "2");
        const error = await rejectsKind(txn.commit(), "key-exists");
        assert.ok(error instanceof KeyExistsError);
        assert.equal(text(error.key), `${scene.prefix}there`);
        assert.deepEqual(await allOf(scene), { there: "1" });
      }
      await scene.client.transaction((txn) => {
        const view = txn.sub(scene.prefix);
        view.insert("new", "2");
        assert.throws(() => view.insert("new", "3"), KeyExistsError);
        view.delete("there");
        view.insert("there", "again");
      });
      assert.deepEqual(await allOf(scene), { new: "2", there: "again" });
      await scene.client.transaction((txn) => txn.sub(scene.prefix).delete("new"));
      await scene.client.transaction((txn) => txn.sub(scene.prefix).insert("new", "3"));
      assert.deepEqual(await allOf(scene), { new: "3", there: "again" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-082] an insert that is deleted again still asks for the key not to be there",
    {},
    async (scene) => {
      await write(scene, { there: "1" });
      const run = (key: string): Promise<void> =>
        scene.client.transaction((txn) => {
          const view = txn.sub(scene.prefix);
          view.insert(key, "2");
          view.delete(key);
          view.put("beside", key);
        });
      await rejectsKind(run("there"), "key-exists");
      await run("absent");
      assert.deepEqual(await allOf(scene), { beside: "absent", there: "1" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-086] an assertion that does not hold fails the commit, with what is there",
    {},
    async (scene) => {
      await write(scene, { there: "1" });
      const written = (await now(scene)).ts;
      const cases = [["there", "assertNotExists"], ["absent", "assertExists"]] as const;
      for (const [key, assertion] of cases) {
        const txn = await scene.client.begin({ assertions: "strict" });
        const view = txn.sub(scene.prefix);
        view.put(key, "2");
        view[assertion](key);
        const error = await rejectsKind(txn.commit(), "assertion-failed");
        assert.ok(error instanceof AssertionFailedError);
        assert.equal(text(error.key), `${scene.prefix}${key}`);
        assert.equal(error.startTs, txn.startTs);
        assert.equal(error.assertion, key === "there" ? "not-exists" : "exists");
        const isThere = error.existingCommitTs > 0n && error.existingCommitTs <= written &&
          error.existingStartTs < error.existingCommitTs;
        assert.equal(isThere, key === "there");
      }
      await scene.client.transaction((txn) => {
        const view = txn.sub(scene.prefix);
        view.put("there", "2");
        view.assertExists("there");
        view.put("absent", "2");
        view.assertNotExists("absent");
      }, { assertions: "strict" });
      assert.deepEqual(await allOf(scene), { absent: "2", there: "2" });
    },
  );

  contract(
    backend,
    "[TXN-039] [TXN-090] [TXN-091] each way to commit is gone where it can be, and reported",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      const commitOf = async (
        commit: "auto" | "1pc" | "async" | "2pc",
        keys: readonly string[],
      ): Promise<readonly unknown[]> => {
        const told: CommitInfo[] = [];
        const txn = await scene.client.begin({ commit, onCommit: (info) => told.push(info) });
        const view = txn.sub(scene.prefix);
        for (const key of keys) view.put(key, `${commit} ${keys.length}`);
        const { commitTs, path } = await txn.commit();
        assert.ok(commitTs !== undefined && commitTs > txn.startTs);
        const [info, ...more] = told;
        assert.deepEqual(more, []);
        assert.deepEqual([info?.startTs, info?.commitTs, info?.path, info?.error], [
          txn.startTs,
          commitTs,
          path,
          undefined,
        ]);
        const at = (await scene.client.snapshot({ ts: commitTs })).sub(scene.prefix);
        assert.equal((await at.batchGet(keys)).size, keys.length);
        for (const [, value] of await at.batchGet(keys)) {
          assert.equal(text(value), `${commit} ${keys.length}`);
        }
        const before = at.at(commitTs - 1n as Timestamp);
        for (const [, value] of await before.batchGet(keys)) {
          assert.notEqual(text(value), `${commit} ${keys.length}`);
        }
        return [path, info?.hasOnePcFallback, info?.hasAsyncFallback];
      };
      const one = ["a", "b"];
      const two = ["a", "z"];
      assert.deepEqual(await commitOf("auto", one), ["1pc", false, false]);
      assert.deepEqual(await commitOf("1pc", one), ["1pc", false, false]);
      assert.deepEqual(await commitOf("async", one), ["async", false, false]);
      assert.deepEqual(await commitOf("2pc", one), ["2pc", false, false]);
      assert.deepEqual(await commitOf("auto", two), ["async", true, false]);
      assert.deepEqual(await commitOf("1pc", two), ["2pc", true, false]);
      assert.deepEqual(await commitOf("async", two), ["async", false, false]);
      assert.deepEqual(await commitOf("2pc", two), ["2pc", false, false]);
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-036] a transaction without writes commits at no cost, and a rolled back one leaves nothing",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      const reader = await scene.client.begin();
      assert.equal(text(await reader.sub(scene.prefix).get("a")), "1");
      assert.deepEqual(await reader.commit(), { commitTs: undefined, path: "none" });
      const dropped = await scene.client.begin();
      dropped.sub(scene.prefix).put("a", "2");
      await dropped.rollback();
      await rejectsKind(dropped.commit(), "misuse");
      {
        await using scoped = await scene.client.begin();
        scoped.sub(scene.prefix).put("a", "3");
      }
      const reason = new Error("no");
      const failing = scene.client.transaction((txn) => {
        txn.sub(scene.prefix).put("a", "4");
        throw reason;
      });
      await assert.rejects(failing, (error) => error === reason);
      assert.deepEqual(await allOf(scene), { a: "1" });
      assert.deepEqual(await lockedKeys(scene), []);
    },
  );

  contract(
    backend,
    "[TXN-071] [TXN-080] a transaction over many regions is committed as a whole",
    { needs: ["split"] },
    async (scene) => {
      const names = namesOf(1_500);
      await splitAt(scene, ...[100, 250, 500, 750, 751, 1_000, 1_400].map((i) => names[i] ?? ""));
      const value = "v".repeat(300);
      const txn = await scene.client.begin();
      const view = txn.sub(scene.prefix);
      for (const name of names) view.put(name, `${name}${value}`);
      assert.equal(txn.keyCount, 1_500);
      assert.equal((await txn.commit()).path, "2pc");
      const found = await (await now(scene)).scan({}).toArray();
      assert.deepEqual(found.map(({ key }) => text(key)), names);
      assert.ok(found.every(({ key, value: stored }) => text(stored) === `${text(key)}${value}`));
      await untilUnlocked(scene);
      await scene.client.transaction((again) => {
        for (const name of names) again.sub(scene.prefix).delete(name);
      });
      assert.deepEqual(await allOf(scene), {});
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "typed views of transactions and snapshots write and read the same",
    {},
    async (scene) => {
      const codecs = { key: codec.tuple<[string, bigint]>(), value: codec.json<{ n: number }>() };
      await scene.client.transaction((txn) => {
        const view = txn.sub(`${scene.prefix}t/`, codecs);
        for (const n of [1n, 2n, 10n]) view.put(["a", n], { n: Number(n) });
        view.put(["b", 1n], { n: 0 });
      });
      const sum = async (reader: Reader<typeof codecs.key, typeof codecs.value>): Promise<number> => {
        let total = 0;
        for await (const { value: { n } } of reader.scan({ prefix: ["a"] })) total += n;
        return total;
      };
      const snapshot = (await scene.client.snapshot()).sub(`${scene.prefix}t/`, codecs);
      assert.equal(await sum(snapshot), 13);
      assert.deepEqual(await snapshot.scanKeys({ prefix: ["a"] }, { reverse: true }).toArray(), [
        ["a", 10n],
        ["a", 2n],
        ["a", 1n],
      ]);
      const seen = await scene.client.transaction(async (txn) => {
        const view = txn.sub(`${scene.prefix}t/`, codecs);
        view.put(["a", 3n], { n: 100 });
        view.delete(["a", 10n]);
        return await sum(view);
      });
      assert.equal(seen, 103);
      assert.deepEqual((await snapshot.batchGet([["a", 2n], ["b", 1n], ["c", 1n]])).get(["b", 1n]), { n: 0 });
    },
  );
}

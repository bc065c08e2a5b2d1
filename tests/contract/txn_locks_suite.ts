// SPDX-License-Identifier: Apache-2.0
// What pessimistic transactions promise: who has a lock, who waits for it, and how long.

import assert from "node:assert/strict";
import { DeadlockError, KeyExistsError, LockWaitTimeoutError, type Transaction } from "../../mod.ts";
import { until } from "../helpers/until.ts";
import { type Backend, contract, type Scene } from "./backend.ts";
import {
  allOf,
  entriesOf,
  fasterEnvironment,
  lockedKeys,
  now,
  settle,
  splitAt,
  text,
  untilUnlocked,
  vanish,
  write,
} from "./txn_scene.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

/** Begins a pessimistic transaction on the keys of the test. */
async function lockingTxn({ client, prefix }: Pick<Scene, "client" | "prefix">): Promise<{
  readonly txn: Transaction;
  readonly view: Transaction;
}> {
  const txn = await client.begin({ mode: "pessimistic" });
  return { txn, view: txn.sub(prefix) };
}

/** Whether a promise is still pending after others had time to settle. */
async function isPending(promise: Promise<unknown>, ms = 60): Promise<boolean> {
  const late = Symbol();
  const first = await Promise.race([
    promise.then(() => undefined, () => undefined),
    new Promise((resolve) => setTimeout(() => resolve(late), ms)),
  ]);
  return first === late;
}

/** Registers the tests of locks. */
export function txnLocksSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-111] [TXN-114] getForUpdate() reads the newest value, and nobody writes it until the end",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      const { txn, view } = await lockingTxn(scene);
      await write(scene, { a: "2", b: "2" });
      assert.equal(text(await view.get("a")), "1");
      assert.equal(text(await view.getForUpdate("a")), "2");
      assert.equal(text(await view.getForUpdate("b")), "2");
      assert.equal(await view.getForUpdate("absent"), undefined);
      assert.deepEqual(await lockedKeys(scene), ["a", "absent", "b"]);
      // Reads do not wait for it.
      assert.deepEqual(await allOf(scene), { a: "2", b: "2" });
      const writing = write(scene, { a: "3" });
      assert.equal(await isPending(writing), true);
      view.put("a", "mine");
      await txn.commit();
      await writing;
      assert.deepEqual(await allOf(scene), { a: "3", b: "2" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-113] [T-32] a lock is waited for as long as was said, or not at all",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      const holder = await lockingTxn(scene);
      await holder.view.lock(["a"]);
      const waiter = await lockingTxn(scene);
      for (const waitMs of [0, 150]) {
        const start = performance.now();
        const error = await rejectsKind(waiter.view.getForUpdate("a", { waitMs }), "lock-wait-timeout");
        const elapsed = performance.now() - start;
        assert.ok(elapsed >= waitMs - 1, `${waitMs}: ${elapsed}`);
        // A store that is told to wait 0 waits a second.
        assert.ok(elapsed < waitMs + 800, `${waitMs}: ${elapsed}`);
        assert.ok(error instanceof LockWaitTimeoutError);
        assert.equal(text(error.key), `${scene.prefix}a`);
        assert.equal(error.lockTs, holder.txn.startTs);
      }
      // It goes on as if nothing had been asked.
      await waiter.view.lock(["b"]);
      assert.deepEqual(await lockedKeys(scene), ["a", "b"]);
      await Promise.all([holder.txn.rollback(), waiter.txn.rollback()]);
      assert.deepEqual(await lockedKeys(scene), []);
    },
  );

  contract(
    backend,
    "[TXN-117] [TXN-119] whoever waits gets the lock when it is free, with the newest value",
    {},
    async (scene) => {
      await write(scene, { a: "1", b: "1" });
      const first = await lockingTxn(scene);
      await first.view.lock(["a", "b"]);
      first.view.put("a", "2");
      const second = await lockingTxn(scene);
      const getting = second.view.getForUpdate("a");
      assert.equal(await isPending(getting), true);
      await first.txn.commit();
      assert.equal(text(await getting), "2");
      const third = await lockingTxn({ ...scene, client: await scene.connect() });
      const locking = third.view.batchGetForUpdate(["b", "a"], { waitMs: 10_000 });
      assert.equal(await isPending(locking), true);
      await second.txn.rollback();
      assert.deepEqual(entriesOf(await locking), { a: "2", b: "1" });
      await third.txn.rollback();
      assert.deepEqual(await lockedKeys(scene), []);
    },
  );

  contract(
    backend,
    "[TXN-118] [TXN-119] rollback, an error in the body and the end of a scope release locks",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      const { txn, view } = await lockingTxn(scene);
      await view.lock(["a", "z"]);
      assert.deepEqual(await lockedKeys(scene), ["a", "z"]);
      await txn.rollback();
      assert.deepEqual(await lockedKeys(scene), []);
      {
        await using scoped = await scene.client.begin({ mode: "pessimistic" });
        await scoped.sub(scene.prefix).lock(["a", "z"]);
      }
      assert.deepEqual(await lockedKeys(scene), []);
      const reason = new Error("no");
      const failing = scene.client.transaction(async (own) => {
        await own.sub(scene.prefix).lock(["z", "a"]);
        throw reason;
      }, { mode: "pessimistic" });
      await assert.rejects(failing, (error) => error === reason);
      assert.deepEqual(await lockedKeys(scene), []);
      const held = await lockingTxn(scene);
      await held.view.lock(["a", "z"]);
      assert.deepEqual(await held.txn.commit(), { commitTs: undefined, path: "none" });
      assert.deepEqual(await lockedKeys(scene), []);
    },
  );

  contract(
    backend,
    "[TXN-120] [T-36] of two that wait for each other one is told, with who waits for whom",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "1", z: "1" });
      const one = await lockingTxn(scene);
      const two = await lockingTxn({ ...scene, client: await scene.connect() });
      await one.view.lock(["a"]);
      await two.view.lock(["z"]);
      const waiting = one.view.getForUpdate("z");
      assert.equal(await isPending(waiting), true);
      const error = await rejectsKind(two.view.getForUpdate("a"), "deadlock");
      assert.ok(error instanceof DeadlockError);
      assert.equal(error.retry, "transaction");
      assert.equal(text(error.key), `${scene.prefix}a`);
      assert.equal(error.lockTs, one.txn.startTs);
      assert.ok(error.deadlockKeyHash > 0n);
      const chain = error.waitChain.map(({ startTs, waitsForTs, key }) => [startTs, waitsForTs, text(key)]);
      assert.deepEqual(chain, [
        [one.txn.startTs, two.txn.startTs, `${scene.prefix}z`],
        [two.txn.startTs, one.txn.startTs, `${scene.prefix}a`],
      ]);
      await two.txn.rollback();
      assert.equal(text(await waiting), "1");
      await one.txn.rollback();
      assert.deepEqual(await lockedKeys(scene), []);
    },
  );

  contract(
    backend,
    "[TXN-120] transaction() gets over deadlocks",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "0", z: "0" });
      let deadlocks = 0;
      const add = (keys: readonly string[]): Promise<void> =>
        scene.client.transaction(async (txn) => {
          const view = txn.sub(scene.prefix);
          for (const key of keys) {
            const found = await view.getForUpdate(key).catch((error) => {
              if (error instanceof DeadlockError) deadlocks++;
              throw error;
            });
            view.put(key, String(Number(text(found)) + 1));
            // The other one gets its first key meanwhile.
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
        }, { mode: "pessimistic", maxAttempts: 100 });
      await Promise.all([
        add(["a", "z"]),
        add(["z", "a"]),
        add(["a", "z"]),
        add(["z", "a"]),
      ]);
      assert.deepEqual(await allOf(scene), { a: "4", z: "4" });
      assert.ok(deadlocks > 0, "the writers never met");
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-115] onlyIfExists leaves a key without a value unlocked",
    {},
    async (scene) => {
      await write(scene, { there: "1" });
      const { txn, view } = await lockingTxn(scene);
      assert.equal(await view.getForUpdate("absent", { onlyIfExists: true }), undefined);
      assert.deepEqual(await lockedKeys(scene), []);
      assert.equal(text(await view.getForUpdate("there", { onlyIfExists: true })), "1");
      const many = await view.batchGetForUpdate(["other", "there"], { onlyIfExists: true });
      assert.deepEqual(entriesOf(many), { there: "1" });
      assert.deepEqual(await lockedKeys(scene), ["there"]);
      view.put("there", "2");
      view.put("absent", "2");
      await txn.commit();
      assert.deepEqual(await allOf(scene), { absent: "2", there: "2" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-114] hasForUpdate() and batchGetForUpdate() tell of what was locked, over own writes",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "1", y: "1", z: "1" });
      const { txn, view } = await lockingTxn(scene);
      view.put("a", "own");
      view.delete("y");
      assert.equal(await view.hasForUpdate("z"), true);
      assert.equal(await view.hasForUpdate("b"), false);
      const found = await view.batchGetForUpdate(["z", "y", "b", "a"]);
      assert.deepEqual(entriesOf(found), { z: "1", a: "own" });
      assert.deepEqual(await lockedKeys(scene), ["a", "b", "y", "z"]);
      await txn.commit();
      await untilUnlocked(scene);
      assert.deepEqual(await allOf(scene), { a: "own", z: "1" });
    },
  );

  contract(
    backend,
    "[TXN-112] [TXN-116] an insert is refused by the lock, and the transaction goes on",
    {},
    async (scene) => {
      await write(scene, { there: "1" });
      const { txn, view } = await lockingTxn(scene);
      await view.lock(["first"]);
      const place = view.savepoint();
      view.insert("there", "2");
      const error = await rejectsKind(view.lock(["there"]), "key-exists");
      assert.ok(error instanceof KeyExistsError);
      assert.equal(text(error.key), `${scene.prefix}there`);
      view.rollbackTo(place);
      assert.deepEqual(await lockedKeys(scene), ["first"]);
      await view.lock(["there"]);
      assert.throws(() => view.insert("there", "3"), KeyExistsError);
      view.insert("first", "1");
      await txn.commit();
      assert.deepEqual(await allOf(scene), { first: "1", there: "1" });
      const second = await lockingTxn(scene);
      second.view.insert("there", "4");
      await rejectsKind(second.txn.commit(), "key-exists");
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-070] [TXN-110] a pessimistic transaction commits in each way, and its bare locks with it",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      const run = async (
        commit: "1pc" | "async" | "2pc",
        keys: readonly string[],
        locked: string,
      ): Promise<string> => {
        const txn = await scene.client.begin({ mode: "pessimistic", commit });
        const view = txn.sub(scene.prefix);
        await view.lock([locked]);
        for (const key of keys) view.put(key, commit);
        const { path } = await txn.commit();
        assert.deepEqual(
          entriesOf(await (await now(scene)).batchGet(keys)),
          Object.fromEntries(
            keys.map((key) => [key, commit]),
          ),
        );
        await untilUnlocked(scene);
        return path;
      };
      assert.equal(await run("1pc", ["a"], "b"), "1pc");
      assert.equal(await run("1pc", ["a"], "z"), "2pc");
      assert.equal(await run("async", ["a", "y"], "z"), "async");
      assert.equal(await run("2pc", ["a", "y"], "z"), "2pc");
    },
  );

  contract(
    backend,
    "[TXN-110] what was written without a lock is locked at the commit as of the start",
    {},
    async (scene) => {
      await write(scene, { a: "1", b: "1" });
      const { txn, view } = await lockingTxn(scene);
      await view.lock(["b"]);
      view.put("a", "2");
      await write(scene, { a: "3" });
      await rejectsKind(txn.commit(), "write-conflict");
      assert.deepEqual(await allOf(scene), { a: "3", b: "1" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "write skew happens between plain reads, and not where keys are locked",
    {},
    async (scene) => {
      const leave = async (mode: "optimistic" | "pessimistic", locks: boolean): Promise<number> => {
        await write(scene, { ann: "on", bob: "on" });
        const both = [await scene.client.begin({ mode }), await scene.client.begin({ mode })];
        const ends = await Promise.allSettled(both.map(async (txn, index) => {
          const view = txn.sub(scene.prefix);
          const found = locks
            ? await view.batchGetForUpdate(["ann", "bob"])
            : await view.batchGet(["ann", "bob"]);
          const count = [...found.values()].filter((value) => text(value) === "on").length;
          if (count === 2) view.put(index === 0 ? "ann" : "bob", "off");
          await new Promise((resolve) => setTimeout(resolve, 20));
          await txn.commit();
        }));
        for (const end of ends) {
          if (end.status === "rejected") await rejectsKind(Promise.reject(end.reason), "write-conflict");
        }
        return Object.values(await allOf(scene)).filter((value) => value === "on").length;
      };
      assert.equal(await leave("optimistic", false), 0);
      assert.equal(await leave("optimistic", true), 1);
      assert.equal(await leave("pessimistic", false), 0);
      assert.equal(await leave("pessimistic", true), 1);
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-124] shared locks let each other in, and no writer",
    { needs: ["shared-locks"] },
    async (scene) => {
      await write(scene, { a: "1" });
      const holders = await Promise.all(["x", "y"].map(async (own) => {
        const holder = await lockingTxn(scene);
        await holder.view.lock([own]);
        await holder.view.lock(["a"], { shared: true, waitMs: 0 });
        return holder;
      }));
      const writer = await lockingTxn(scene);
      await rejectsKind(writer.view.lock(["a"], { waitMs: 0 }), "lock-wait-timeout");
      const getting = writer.view.getForUpdate("a");
      assert.equal(await isPending(getting), true);
      await holders[0]?.txn.rollback();
      assert.equal(await isPending(getting), true);
      holders[1]?.view.put("y", "1");
      await holders[1]?.txn.commit();
      assert.equal(text(await getting), "1");
      await writer.txn.rollback();
      await untilUnlocked(scene);
      assert.deepEqual(await allOf(scene), { a: "1", y: "1" });
    },
  );

  contract(
    backend,
    "[TXN-123] locks are kept alive as long as their transaction is, beyond their own time",
    {},
    async (scene) => {
      let beats = 0;
      const client = await scene.connect({
        // An hour a minute: heartbeats come sooner than the locks end, which end very soon.
        environment: fasterEnvironment(scene.cluster.options.environment, 40),
        interceptors: [(call, next) => {
          if (call.method === "KvTxnHeartBeat") beats++;
          if (call.method !== "KvPessimisticLock") return next(call);
          return next({ ...call, request: { ...call.request as object, lockTtl: 600n } });
        }],
      });
      const { txn, view } = await lockingTxn({ ...scene, client });
      await view.lock(["a", "b"]);
      const other = await lockingTxn(scene);
      await until(() => beats >= 3, "heartbeats are sent", 5_000);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await rejectsKind(other.view.lock(["b"], { waitMs: 0 }), "lock-wait-timeout");
      view.put("b", "1");
      await txn.commit();
      await other.txn.rollback();
      assert.deepEqual(await allOf(scene), { b: "1" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-167] locks of somebody who vanished are out of the way when their time is up",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m");
      await write(scene, { a: "1", z: "1" });
      await vanish(scene, { before: { KvTxnHeartBeat: 0, KvGet: 0 } }, async (client) => {
        const { view } = await lockingTxn({ ...scene, client });
        await view.lock(["a", "y", "z"]);
        await view.get("a");
      });
      assert.deepEqual(await lockedKeys(scene), ["a", "y", "z"]);
      const { txn, view } = await lockingTxn(scene);
      assert.equal(text(await view.getForUpdate("z", { waitMs: 5_000 })), "1");
      view.put("z", "2");
      await txn.commit();
      await write(scene, { a: "2" });
      assert.deepEqual(await allOf(scene), { a: "2", z: "2" });
      await write(scene, { y: "2" });
      await settle(scene);
    },
  );

  contract(
    backend,
    "[TXN-052] what a failed statement wrote is gone, and its locks are kept to the end",
    {},
    async (scene) => {
      const { txn, view } = await lockingTxn(scene);
      view.put("a", "1");
      const reason = new Error("no");
      const failing = view.statement(async () => {
        view.put("a", "2");
        view.put("b", "2");
        await view.lock(["b"]);
        throw reason;
      });
      await assert.rejects(failing, (error) => error === reason);
      assert.deepEqual(await lockedKeys(scene), ["b"]);
      await txn.commit();
      assert.deepEqual(await allOf(scene), { a: "1" });
      await untilUnlocked(scene);
    },
  );
}

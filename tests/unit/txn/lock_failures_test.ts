// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Decode } from "../../../src/bytes/utf8.ts";
import { TikvError } from "../../../src/errors.ts";
import { fault } from "../../../src/playground/mod.ts";
import { DeadlockError, KeyExistsError, LockWaitTimeoutError } from "../../../src/txn_errors.ts";
import { begin, keysOf, locksIn, openWatched, seed, text, valueOf } from "./lock_world.ts";
import { startWorld } from "./txn_world.ts";

const REGIONS = ["a", "n", "z"];

test("[TXN-116] [TXN-118] [T-35] a call that fails on one key gives back all of its keys", async () => {
  await using world = await startWorld({ splitKeys: ["m", "t"] });
  const { clock } = world;
  const client = await openWatched(world);
  const holder = await begin(world, client);
  await clock.run(holder.lock(["z"]));
  const watched = await openWatched(world);
  const txn = await begin(world, watched);
  await clock.run(txn.lock(["b"]));
  await assert.rejects(clock.run(txn.lock(["n", "z"], { waitMs: 0 })), LockWaitTimeoutError);
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client, REGIONS), [`b@${txn.startTs}`, `z@${holder.startTs}`]);
  const asked = watched.bodies("KvPessimisticLock").map(({ forUpdateTs = 0n }) => forUpdateTs);
  const back = watched.bodies("KVPessimisticRollback");
  assert.deepEqual(back.map(({ keys }) => keys.map(utf8Decode)), [["n"], ["z"]]);
  for (const { forUpdateTs, startVersion } of back) {
    // A lock is given back if it was taken at or before that.
    assert.ok(asked.every((ts) => ts <= forUpdateTs));
    assert.equal(startVersion, txn.startTs);
  }
  // The transaction goes on with what it had.
  txn.put("b", "1");
  await clock.run(holder.rollback());
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "b"), "1");
});

test("[TXN-116] [T-35] a key that was locked in spite of a conflict is given back as of that conflict", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const other = await openWatched(world);
  await seed(world, other, { a: "1" });
  const txn = await begin(world, client);
  // Its statement reads, and is then too old for the key: it fails when it is run a second time.
  const failure = new Error("enough");
  let runs = 0;
  const failing = txn.statement(async () => {
    await txn.get("x");
    if (++runs > 1) throw failure;
    await seed(world, other, { a: "2" });
    await txn.lock(["a"]);
  }, { current: true });
  await assert.rejects(clock.run(failing), (error) => error === failure);
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client), []);
  const [lock] = client.bodies("KvPessimisticLock");
  const [back] = client.bodies("KVPessimisticRollback");
  assert.ok(lock !== undefined && back !== undefined && back.forUpdateTs > (lock.forUpdateTs ?? 0n));
  await clock.run(txn.rollback());
});

test("[TXN-116] the primary of a call that failed is the primary no more, and is not kept alive", async () => {
  await using world = await startWorld({ splitKeys: ["m", "t"] });
  const { clock } = world;
  const client = await openWatched(world);
  const holder = await begin(world, client);
  await clock.run(holder.lock(["z"]));
  const watched = await openWatched(world);
  const txn = await begin(world, watched);
  await assert.rejects(clock.run(txn.lock(["a", "z"], { waitMs: 0 })), LockWaitTimeoutError);
  await clock.run(holder.rollback());
  await clock.advance(30_000);
  assert.deepEqual(watched.bodies("KvTxnHeartBeat"), []);
  await clock.run(txn.lock(["z", "n"]));
  await clock.advance(11_000);
  assert.deepEqual(watched.bodies("KvTxnHeartBeat").map(({ primaryLock }) => text(primaryLock)), ["n"]);
  assert.deepEqual(
    new Set(watched.bodies("KvPessimisticLock").map(({ primaryLock }) => text(primaryLock))),
    new Set(["a", "n"]),
  );
  txn.put("z", "1");
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "z"), "1");
});

test("[TXN-116] [T-70] locks are given back also when the caller has given up", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const client = await openWatched(world);
  for (const how of ["abort", "timeout"] as const) {
    const holder = await begin(world, client);
    await clock.run(holder.lock(["z"]));
    const txn = await begin(world, client);
    const controller = new AbortController();
    const reason = new Error("the caller went away");
    const options = how === "abort" ? { signal: controller.signal } : { timeoutMs: 500 };
    const failing = txn.lock(["a", "z"], options);
    clock.timer(400, () => controller.abort(reason));
    await assert.rejects(
      clock.run(failing),
      (error) => how === "abort" ? error === reason : TikvError.is(error),
    );
    await clock.advance(1_500);
    assert.deepEqual(await locksIn(world, client, ["a", "z"]), [`z@${holder.startTs}`]);
    // What was on its way then is not left either: whoever waited in the store gets it, and gives it back.
    await clock.run(holder.rollback());
    await clock.run(txn.rollback());
    await clock.advance(1_500);
    assert.deepEqual(await locksIn(world, client, ["a", "z"]), []);
  }
});

test("[TXN-116] [T-70] a single key of which no answer came is given back, too", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  cluster.faults.add({ method: "KvPessimisticLock" }, fault.dropReply());
  await assert.rejects(clock.run(txn.lock(["a"], { timeoutMs: 2_000 })), (error) => TikvError.is(error));
  cluster.faults.clear();
  await clock.advance(1_000);
  assert.deepEqual(client.bodies("KVPessimisticRollback").map(({ keys }) => keys.map(utf8Decode)), [["a"]]);
  assert.deepEqual(await locksIn(world, client), []);
  await clock.run(txn.rollback());
});

test("[TXN-116] what is being given back is not locked again before that is done", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const order: string[] = [];
  let isSlow = true;
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      if (call.method === "KVPessimisticRollback" && isSlow) {
        await new Promise<void>((resolve) => clock.timer(3_000, resolve));
      }
      const reply = await next(call);
      if (call.method.includes("essimistic")) order.push(call.method);
      return reply;
    }],
  });
  const holder = await begin(world, await openWatched(world));
  await clock.run(holder.lock(["z"]));
  const txn = await begin(world, client);
  await seed(world, await openWatched(world), { a: "1" });
  await assert.rejects(clock.run(txn.lock(["a", "z"], { waitMs: 0 })), LockWaitTimeoutError);
  order.length = 0;
  // The commit locks as of the start of the transaction, which the rollback on its way includes.
  txn.put("b", "2");
  txn.put("a2", "2");
  await clock.run(holder.rollback());
  await clock.run(txn.lock(["a"]));
  assert.deepEqual(order, ["KVPessimisticRollback", "KVPessimisticRollback", "KvPessimisticLock"]);
  isSlow = false;
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "b"), "2");
});

test("[TXN-116] [T-42] an insert that a statement could not do is one again when it is tried again", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const other = await openWatched(world);
  await seed(world, other, { a: "1" });
  const txn = await begin(world, client);
  const insert = () =>
    txn.statement(async () => {
      txn.insert("a", "2");
      await txn.lock(["a"]);
    });
  await assert.rejects(clock.run(insert()), KeyExistsError);
  await clock.run(other.txns.run((again) => again.delete("a")));
  // No duplicate that there is not any more, nor one of this transaction's own.
  await clock.run(insert());
  await assert.rejects(clock.run(insert()), KeyExistsError);
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "a"), "2");
});

test("[TXN-116] [T-42] an insert whose lock failed for another reason is still checked at the commit", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const holder = await begin(world, client);
  holder.put("a", "1");
  await clock.run(holder.lock(["a"]));
  const txn = await begin(world, client);
  txn.insert("a", "2");
  await assert.rejects(clock.run(txn.lock(["a"], { waitMs: 0 })), LockWaitTimeoutError);
  await clock.run(holder.commit());
  await assert.rejects(
    clock.run(txn.commit()),
    (error) => TikvError.is(error) && error.kind !== "undetermined",
  );
  assert.equal(await valueOf(world, client, "a"), "1");
});

test("[TXN-120] [TXN-116] a deadlock tells who waits for whom, and ends one of them only", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const tag = new Uint8Array([7]);
  const client = await openWatched(world);
  const one = await begin(world, client, { resourceGroupTag: tag });
  const two = await begin(world, client);
  await clock.run(one.lock(["a"]));
  await clock.run(two.lock(["b"]));
  const waiting = one.lock(["b"]);
  await clock.advance(100);
  const error = await clock.run(two.lock(["a"])).catch((error) => error);
  assert.ok(error instanceof DeadlockError);
  assert.equal(error.retry, "transaction");
  assert.deepEqual([text(error.key), error.lockTs], ["a", one.startTs]);
  assert.deepEqual(error.waitChain.map(({ key, ...rest }) => ({ key: text(key), ...rest })), [
    { key: "b", startTs: one.startTs, waitsForTs: two.startTs, resourceGroupTag: tag },
    { key: "a", startTs: two.startTs, waitsForTs: one.startTs, resourceGroupTag: new Uint8Array() },
  ]);
  assert.ok(error.deadlockKeyHash > 0n);
  // Its own key is not of the call that failed: it takes the end of the transaction to free it.
  assert.deepEqual(await locksIn(world, client), [`a@${one.startTs}`, `b@${two.startTs}`]);
  await clock.run(two.rollback());
  await clock.run(waiting);
  one.put("a", "1");
  await clock.run(one.commit());
});

test("[TXN-116] [T-36] a deadlock is told when the keys that it was about are free", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const order: string[] = [];
  let letGo = (): void => {};
  const held = new Promise<void>((resolve) => letGo = resolve);
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      // The second request comes when the other transaction waits for the first.
      if (call.method === "KvPessimisticLock" && keysOf(call.request as never).includes("z")) await held;
      const reply = await next(call);
      if (call.method === "KVPessimisticRollback") {
        await new Promise<void>((resolve) => clock.timer(200, resolve));
        order.push("given back");
      }
      return reply;
    }],
  });
  const other = await begin(world, await openWatched(world));
  await clock.run(other.lock(["z"]));
  const txn = await begin(world, client);
  const failing = txn.lock(["a", "z"]).catch((error) => {
    order.push("rejected");
    return error;
  });
  await clock.advance(100);
  const waiting = other.lock(["a"]);
  await clock.advance(100);
  letGo();
  assert.ok(await clock.run(failing) instanceof DeadlockError);
  assert.deepEqual(order, ["given back", "given back", "rejected"]);
  await clock.run(waiting);
  await clock.run(other.rollback());
  await clock.run(txn.rollback());
});

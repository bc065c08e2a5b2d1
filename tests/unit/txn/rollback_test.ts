// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Decode } from "../../../src/bytes/utf8.ts";
import { fault } from "../../../src/playground/mod.ts";
import { begin, keysOf, locksIn, openWatched, seed, valueOf } from "./lock_world.ts";
import { startWorld } from "./txn_world.ts";
import { hasKind } from "../../helpers/has_kind.ts";

test("[TXN-119] the rollback of an optimistic transaction asks nobody anything", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client, { mode: "optimistic" });
  txn.put("a", "1");
  await clock.run(txn.lock(["b"]));
  client.sent.length = 0;
  await clock.run(txn.rollback());
  await clock.advance(30_000);
  assert.deepEqual(client.sent, []);
  assert.equal(txn.state, "rolled-back");
  assert.throws(() => txn.put("a", "1"), hasKind("misuse"));
  await clock.run(txn.rollback());
});

test("[TXN-118] [TXN-119] that of a pessimistic one gives back every lock before it is done", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a", "z"]));
  await clock.run(txn.lock(["b"]));
  txn.put("c", "1");
  client.sent.length = 0;
  await clock.run(txn.rollback());
  // Nothing that goes on in the background is waited for here.
  assert.deepEqual(await locksIn(world, client, ["a", "z"]), []);
  const back = client.bodies("KVPessimisticRollback");
  assert.deepEqual(back.map(({ keys }) => keys.map(utf8Decode).sort()).sort(), [["a", "b"], ["z"]]);
  assert.deepEqual(new Set(back.map(({ startVersion }) => startVersion)), new Set([txn.startTs]));
  assert.deepEqual(
    client.sent.filter(({ method }) => method !== "KVPessimisticRollback").map(({ method }) => method),
    [
      "KvScanLock",
      "KvScanLock",
    ],
  );
});

test("[TXN-118] a split on the way, and a lost answer, leave no lock either", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a", "z"]));
  await clock.run(cluster.split("m"));
  cluster.faults.add({ method: "KVPessimisticRollback", times: 1 }, fault.dropReply());
  await clock.run(txn.rollback());
  assert.deepEqual(await locksIn(world, client, ["a", "z"]), []);
});

test("[TXN-118] [TXN-119] a rollback that is aborted, or out of time, goes on in the background", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  for (const how of ["abort", "timeout"]) {
    const txn = await begin(world, client);
    await clock.run(txn.lock(["a"]));
    cluster.faults.add({ method: "KVPessimisticRollback" }, fault.dropRequest());
    const controller = new AbortController();
    clock.timer(300, () => controller.abort(new Error("the caller went away")));
    const options = how === "abort" ? { signal: controller.signal } : { timeoutMs: 300 };
    // It is not to be told from one that worked: nobody can do anything about it.
    await clock.run(txn.rollback(options));
    assert.equal(txn.state, "rolled-back");
    cluster.faults.clear();
    await clock.advance(15_000);
    assert.deepEqual(await locksIn(world, client), [], how);
    const warnings = client.events.filter(({ type }) => type === "warning");
    assert.ok(warnings.length > 0);
  }
});

test("[TXN-119] a lock that is under way when its transaction is rolled back is not left", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      // It is done by the store when the client has given up.
      const reply = await next(call);
      if (call.method === "KvPessimisticLock" && keysOf(call.request as never).includes("z")) {
        await new Promise<void>((resolve) => clock.timer(400, resolve));
      }
      return reply;
    }],
  });
  const txn = await begin(world, client);
  const locking = txn.lock(["a", "z"]);
  locking.catch(() => {});
  await clock.advance(100);
  assert.equal((await locksIn(world, client, ["a", "z"])).length, 2);
  await clock.run(txn.rollback());
  await assert.rejects(clock.run(locking), hasKind("misuse"));
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client, ["a", "z"]), []);
  await clock.advance(60_000);
  assert.deepEqual(client.bodies("KvTxnHeartBeat"), []);
});

test("[TXN-119] the end of a scope, and a body that throws, roll back", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  await clock.run(Promise.resolve(txn[Symbol.asyncDispose]()));
  assert.deepEqual(await locksIn(world, client), []);
  const failure = new Error("of the body");
  const running = client.txns.run(async (inner) => {
    await inner.lock(["a"]);
    inner.put("a", "1");
    throw failure;
  }, { mode: "pessimistic" });
  await assert.rejects(clock.run(running), (error) => error === failure);
  assert.deepEqual(await locksIn(world, client), []);
  assert.equal(await valueOf(world, client, "a"), undefined);
});

test("[TXN-118] [T-43] locks of a part that was undone are held until the end, and committed as locks", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  const txn = await begin(world, client);
  const savepoint = txn.savepoint();
  txn.put("a", "2");
  await clock.run(txn.lock(["a"]));
  txn.rollbackTo(savepoint);
  await assert.rejects(
    clock.run(txn.statement(async () => {
      txn.put("b", "2");
      await txn.lock(["b"]);
      throw new Error("of the body");
    })),
    /of the body/,
  );
  assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`, `b@${txn.startTs}`]);
  txn.put("c", "1");
  await clock.run(txn.commit());
  await clock.advance(500);
  assert.deepEqual(await locksIn(world, client), []);
  assert.deepEqual(
    [await valueOf(world, client, "a"), await valueOf(world, client, "b"), await valueOf(world, client, "c")],
    ["1", undefined, "1"],
  );
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Assertion, Op, PessimisticLockWakeUpMode } from "../../../gen/kvrpcpb_pb.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { KeyExistsError } from "../../../src/txn_errors.ts";
import { begin, keysOf, locksIn, openWatched, seed, text, valueOf } from "./lock_world.ts";
import { startWorld } from "./txn_world.ts";

test("[TXN-110] [TXN-111] a pessimistic transaction locks when it is told to, an optimistic one at its commit", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await begin(world, client, { mode });
    client.sent.length = 0;
    await clock.run(txn.lock(["a", "b"]));
    assert.equal(client.bodies("KvPessimisticLock").length, mode === "pessimistic" ? 1 : 0);
    assert.equal((await locksIn(world, client)).length, mode === "pessimistic" ? 2 : 0);
    txn.put("c", "1");
    await clock.run(txn.commit());
    // What was locked is locked by the commit as well, in both.
    const [prewrite] = client.bodies("KvPrewrite");
    assert.deepEqual(prewrite?.mutations.map(({ op }) => op), [Op.Lock, Op.Lock, Op.Put]);
    assert.deepEqual(
      prewrite?.pessimisticActions?.map(Number),
      mode === "pessimistic" ? [1, 1, 1] : undefined,
    );
  }
});

test("[TXN-111] a lock request says who locks what, as of when, for how long", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  const txn = await begin(world, client);
  await clock.advance(3_000);
  client.sent.length = 0;
  await clock.run(txn.lock(["b", "a", "b"]));
  const [body, ...others] = client.bodies("KvPessimisticLock");
  assert.equal(others.length, 0);
  const { forUpdateTs = 0n, ...rest } = body ?? {};
  assert.ok(forUpdateTs > txn.startTs);
  const mutation = { op: Op.PessimisticLock, assertion: Assertion.None };
  assert.deepEqual(rest, {
    // Each key once, in order: two calls that lock the same keys do not meet crosswise.
    mutations: [{ ...mutation, key: utf8Encode("a") }, { ...mutation, key: utf8Encode("b") }],
    primaryLock: utf8Encode("a"),
    startVersion: txn.startTs,
    // From its start until 20 s from here.
    lockTtl: 23_000n,
    // Two keys at once may close a circle.
    isFirstLock: false,
    waitTimeout: 1_000n,
    returnValues: false,
    checkExistence: true,
    lockOnlyIfExists: false,
    minCommitTs: forUpdateTs + 1n,
    wakeUpMode: PessimisticLockWakeUpMode.WakeUpModeNormal,
  });
  client.sent.length = 0;
  txn.insert("c", "1");
  await clock.run(txn.lock(["c"]));
  const [insert] = client.bodies("KvPessimisticLock");
  assert.equal(insert?.mutations[0]?.assertion, Assertion.NotExist);
  assert.equal(insert?.isFirstLock, false);
  assert.deepEqual(insert?.primaryLock, utf8Encode("a"));
  await clock.run(txn.rollback());
  const other = await begin(world, client);
  client.sent.length = 0;
  await clock.run(other.lock(["a"]));
  // Who has no lock is waited for by nobody.
  assert.equal(client.bodies("KvPessimisticLock")[0]?.isFirstLock, true);
  await clock.run(other.rollback());
});

test("[TXN-111] the primary is locked before the keys of other regions; calls come one after the other", async () => {
  await using world = await startWorld({ splitKeys: ["m", "t"] });
  const { clock } = world;
  const order: string[] = [];
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      if (call.method !== "KvPessimisticLock") return await next(call);
      const keys = keysOf(call.request as never).join();
      order.push(`> ${keys}`);
      const reply = await next(call);
      order.push(`< ${keys}`);
      return reply;
    }],
  });
  const txn = await begin(world, client);
  await clock.run(Promise.all([txn.lock(["z", "n", "a"]), txn.lock(["b"])]));
  assert.deepEqual(order, ["> a", "< a", "> n", "> z", "< n", "< z", "> b", "< b"]);
  assert.equal((await locksIn(world, client, ["a", "n", "z"])).length, 4);
  await clock.run(txn.rollback());
});

test("[TXN-112] a key that is locked is not locked again, and its newest value is read otherwise", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1", b: "2" });
  const txn = await begin(world, client);
  await seed(world, client, { a: "new" });
  await clock.run(txn.lock(["a"]));
  client.sent.length = 0;
  // Newer than what the transaction reads otherwise, and it stays so: nobody else can write it.
  assert.equal(text(await clock.run(txn.getForUpdate("a"))), "new");
  assert.equal(text(await clock.run(txn.get("a"))), "1");
  assert.equal(await clock.run(txn.hasForUpdate("a")), true);
  const both = await clock.run(txn.batchGetForUpdate(["a", "b", "c"]));
  assert.deepEqual([...both].map(([, value]) => text(value)), ["new", "2"]);
  assert.deepEqual(client.bodies("KvPessimisticLock").map(keysOf), [["b", "c"]]);
  await clock.run(txn.lock(["a", "b", "c"]));
  assert.equal(client.bodies("KvPessimisticLock").length, 1);
  await clock.run(txn.rollback());
});

test("[TXN-112] an insert of a key that a lock has found is refused at once; of a missing one it is not", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a", "b"]));
  client.sent.length = 0;
  assert.throws(() => txn.insert("a", "2"), (error) => error instanceof KeyExistsError);
  txn.insert("b", "2");
  txn.delete("a");
  // Over its own delete it is a write like others.
  txn.insert("a", "3");
  assert.deepEqual(client.sent, []);
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "a"), "3");
  assert.equal(await valueOf(world, client, "b"), "2");
});

test("[TXN-114] a lock call tells what it is asked for: nothing, existence or values", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1", b: "2" });
  for (const fairLocking of [true, false]) {
    const txn = await begin(world, client, { fairLocking });
    await seed(world, client, { a: "new" });
    client.sent.length = 0;
    assert.equal(text(await clock.run(txn.getForUpdate("a"))), "new");
    assert.equal(await clock.run(txn.getForUpdate("missing")), undefined);
    assert.equal(await clock.run(txn.hasForUpdate("b")), true);
    assert.equal(await clock.run(txn.hasForUpdate("nothing")), false);
    const asked = client.bodies("KvPessimisticLock")
      .map(({ returnValues, checkExistence }) => [returnValues, checkExistence]);
    assert.deepEqual(asked, [[true, false], [true, false], [false, true], [false, true]]);
    assert.equal((await locksIn(world, client)).length, 4);
    // The transaction's own writes are what it sees.
    txn.put("own", "3");
    txn.delete("b");
    assert.equal(text(await clock.run(txn.getForUpdate("own"))), "3");
    assert.equal(await clock.run(txn.hasForUpdate("b")), false);
    await clock.run(txn.rollback());
    await seed(world, client, { a: "1" });
  }
});

test("[TXN-114] many values come in one request for each region", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1", b: "2", y: "3" });
  const txn = await begin(world, client);
  client.sent.length = 0;
  const found = await clock.run(txn.batchGetForUpdate(["z", "y", "b", "a"]));
  assert.deepEqual(["a", "b", "y", "z"].map((key) => text(found.get(key))), ["1", "2", "3", undefined]);
  assert.deepEqual(client.bodies("KvPessimisticLock").map(keysOf), [["a", "b"], ["y", "z"]]);
  await clock.run(txn.rollback());
});

test("[TXN-115] a key that is not there is not locked, if that is wanted", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1", c: "3" });
  for (const fairLocking of [true, false]) {
    const txn = await begin(world, client, { fairLocking });
    client.sent.length = 0;
    assert.equal(await clock.run(txn.getForUpdate("b", { onlyIfExists: true })), undefined);
    assert.equal(await clock.run(txn.hasForUpdate("d", { onlyIfExists: true })), false);
    assert.equal(text(await clock.run(txn.getForUpdate("a", { onlyIfExists: true }))), "1");
    for (const body of client.bodies("KvPessimisticLock")) {
      assert.deepEqual([body.lockOnlyIfExists, body.returnValues], [true, true]);
    }
    assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`]);
    const found = await clock.run(txn.batchGetForUpdate(["a", "b", "c"], { onlyIfExists: true }));
    assert.deepEqual([...found].map(([, value]) => text(value)), ["1", "3"]);
    assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`, `c@${txn.startTs}`]);
    txn.put("z", "1");
    await clock.run(txn.commit());
    assert.deepEqual(await locksIn(world, client), []);
  }
});

test("[TXN-115] [T-37] only a key that is there becomes the primary, also of many", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { c: "3", d: "4", e: "5" });
  const txn = await begin(world, client);
  client.sent.length = 0;
  const found = await clock.run(txn.batchGetForUpdate(["a", "b", "c", "d", "e"], { onlyIfExists: true }));
  assert.deepEqual([...found].map(([, value]) => text(value)), ["3", "4", "5"]);
  const sent = client.bodies("KvPessimisticLock").map((body) => [keysOf(body), text(body.primaryLock)]);
  // One at a time until there is a primary, then the rest at once.
  assert.deepEqual(sent, [[["a"], "a"], [["b"], "b"], [["c"], "c"], [["d", "e"], "c"]]);
  assert.deepEqual(await locksIn(world, client), ["c", "d", "e"].map((key) => `${key}@${txn.startTs}`));
  await clock.advance(15_000);
  assert.deepEqual(client.bodies("KvTxnHeartBeat").map(({ primaryLock }) => text(primaryLock)), ["c"]);
  txn.put("x", "1");
  await clock.run(txn.commit());
  assert.deepEqual(client.bodies("KvPrewrite").map(({ primaryLock }) => text(primaryLock)), ["c"]);
});

test("[TXN-115] [T-37] a key that was not locked is not kept alive, and the next one is the primary", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { b: "1" });
  const txn = await begin(world, client);
  client.sent.length = 0;
  await clock.run(txn.getForUpdate("a", { onlyIfExists: true }));
  await clock.advance(30_000);
  assert.deepEqual(client.bodies("KvTxnHeartBeat"), []);
  await clock.run(txn.lock(["b"]));
  await clock.advance(11_000);
  assert.deepEqual(client.bodies("KvTxnHeartBeat").map(({ primaryLock }) => text(primaryLock)), ["b"]);
  await clock.run(txn.rollback());
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Op, PrewriteRequest_PessimisticAction } from "../../../gen/kvrpcpb_pb.ts";
import { KeyExistsError, WriteConflictError } from "../../../src/txn_errors.ts";
import { begin, keysOf, locksIn, openWatched, seed, text, valueOf } from "./lock_world.ts";
import { startWorld } from "./txn_world.ts";

const LAZY = { lazy: true };
const { DO_CONSTRAINT_CHECK, DO_PESSIMISTIC_CHECK } = PrewriteRequest_PessimisticAction;

test("[TXN-125] a lazy insert is not locked, and checked by the prewrite", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  txn.insert("lazy", "1", LAZY);
  txn.insert("eager", "1");
  txn.put("put", "1");
  client.sent.length = 0;
  await clock.run(txn.commit());
  assert.deepEqual(client.bodies("KvPessimisticLock").map(keysOf), [["eager", "put"]]);
  const [prewrite] = client.bodies("KvPrewrite");
  assert.deepEqual(
    prewrite?.mutations.map(({ key, op }, index) => [text(key), op, prewrite.pessimisticActions?.[index]]),
    [
      ["eager", Op.Insert, DO_PESSIMISTIC_CHECK],
      ["lazy", Op.Insert, DO_CONSTRAINT_CHECK],
      ["put", Op.Put, DO_PESSIMISTIC_CHECK],
    ],
  );
  assert.equal(await valueOf(world, client, "lazy"), "1");
});

test("[TXN-125] lazy inserts alone are committed in one request", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  txn.insert("a", "1", LAZY);
  txn.insert("b", "1", LAZY);
  client.sent.length = 0;
  assert.equal((await clock.run(txn.commit())).path, "1pc");
  assert.deepEqual(client.sent.map(({ method }) => method), ["KvPrewrite"]);
  const [prewrite] = client.bodies("KvPrewrite");
  // Without a for-update timestamp it would be an optimistic prewrite, to stores.
  assert.ok(prewrite !== undefined && (prewrite.forUpdateTs ?? 0n) >= txn.startTs);
  assert.equal(await valueOf(world, client, "b"), "1");
});

test("[TXN-125] a key that is there fails the commit; one that came meanwhile is a conflict first", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { old: "1" });
  const one = await begin(world, client);
  one.insert("old", "2", LAZY);
  one.put("x", "1");
  await assert.rejects(clock.run(one.commit()), KeyExistsError);
  const two = await begin(world, client);
  await clock.run(two.lock(["x"]));
  two.insert("new", "2", LAZY);
  await seed(world, client, { new: "1" });
  const error = await clock.run(two.commit()).catch((error) => error);
  assert.ok(error instanceof WriteConflictError);
  assert.deepEqual([error.reason, text(error.key), error.retry], [
    "lazy-uniqueness-check",
    "new",
    "transaction",
  ]);
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client), []);
  assert.deepEqual([await valueOf(world, client, "x"), await valueOf(world, client, "new")], [
    undefined,
    "1",
  ]);
  // Run again, it knows better.
  let attempts = 0;
  const running = client.txns.run(async (txn) => {
    if (++attempts === 1) await seed(world, client, { again: "1" });
    txn.insert("again", "2", LAZY);
  }, { mode: "pessimistic" });
  await assert.rejects(clock.run(running), KeyExistsError);
  assert.equal(attempts, 2);
});

test("[TXN-125] what is locked all the same, or written again, needs no lazy check", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["before"]));
  txn.insert("before", "1", LAZY);
  txn.insert("after", "1", LAZY);
  await clock.run(txn.lock(["after"]));
  txn.insert("twice", "1", LAZY);
  txn.put("twice", "2");
  client.sent.length = 0;
  await clock.run(txn.commit());
  assert.deepEqual(client.bodies("KvPessimisticLock").map(keysOf), [["twice"]]);
  const [prewrite] = client.bodies("KvPrewrite");
  assert.deepEqual(
    prewrite?.pessimisticActions?.map(Number),
    [1, 1, 1].map(() => Number(DO_PESSIMISTIC_CHECK)),
  );
  assert.equal(await valueOf(world, client, "twice"), "2");
  const next = await begin(world, client);
  next.insert("twice", "3", LAZY);
  await assert.rejects(clock.run(next.lock(["twice"])), KeyExistsError);
  await clock.run(next.rollback());
});

test("[TXN-125] [T-43] what a savepoint or a statement undoes is not checked", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1", b: "1" });
  const txn = await begin(world, client);
  const savepoint = txn.savepoint();
  txn.insert("a", "2", LAZY);
  txn.rollbackTo(savepoint);
  await assert.rejects(
    clock.run(txn.statement(() => {
      txn.insert("b", "2", LAZY);
      throw new Error("of the body");
    })),
    /of the body/,
  );
  txn.put("c", "1");
  client.sent.length = 0;
  await clock.run(txn.commit());
  assert.deepEqual(client.bodies("KvPrewrite")[0]?.mutations.map(({ key }) => text(key)), ["c"]);
});

test("[TXN-125] in an optimistic transaction it makes no difference", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  for (const options of [LAZY, {}]) {
    const txn = await begin(world, client, { mode: "optimistic" });
    txn.insert(`a${options === LAZY}`, "1", options);
    client.sent.length = 0;
    await clock.run(txn.commit());
    const [prewrite] = client.bodies("KvPrewrite");
    assert.deepEqual(prewrite?.mutations.map(({ op }) => op), [Op.Insert]);
    assert.deepEqual([prewrite?.pessimisticActions, prewrite?.forUpdateTs], [undefined, 0n]);
  }
});

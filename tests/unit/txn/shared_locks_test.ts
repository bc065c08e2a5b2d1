// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Op } from "../../../gen/kvrpcpb_pb.ts";
import { LockWaitTimeoutError } from "../../../src/txn_errors.ts";
import type { Transaction } from "../../../src/txn/mod.ts";
import { begin, keysOf, locksIn, openWatched, seed, text, valueOf, type Watched } from "./lock_world.ts";
import { startWorld, type World } from "./txn_world.ts";
import { hasKind } from "../../helpers/has_kind.ts";

const SHARED = { shared: true };

/** A transaction that shares key `s` and has key `own` for itself, as its primary. */
async function sharer(world: World, client: Watched, own: string): Promise<Transaction> {
  const txn = await begin(world, client);
  await world.clock.run(txn.lock([own]));
  await world.clock.run(txn.lock(["s"], SHARED));
  return txn;
}

async function lockedS(world: World, client: Watched): Promise<string[]> {
  return (await locksIn(world, client)).filter((lock) => lock.startsWith("s@"));
}

test("[TXN-124] who shares a lock lets others share it, and keeps those out who want it alone", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const one = await sharer(world, client, "a");
  const two = await sharer(world, client, "b");
  assert.deepEqual(await lockedS(world, client), [`s@${one.startTs}`, `s@${two.startTs}`]);
  const writer = await begin(world, client);
  await assert.rejects(clock.run(writer.lock(["s"], { waitMs: 0 })), LockWaitTimeoutError);
  const waiting = writer.lock(["s"]);
  await clock.advance(1_500);
  one.put("a", "1");
  await clock.run(one.commit());
  await clock.advance(100);
  // While somebody waits to have it alone, nobody else joins.
  const late = await begin(world, client);
  await clock.run(late.lock(["c"]));
  await assert.rejects(clock.run(late.lock(["s"], { shared: true, waitMs: 0 })), LockWaitTimeoutError);
  await clock.run(two.rollback());
  await clock.run(waiting);
  assert.deepEqual(await lockedS(world, client), [`s@${writer.startTs}`]);
  await assert.rejects(clock.run(late.lock(["s"], { shared: true, waitMs: 0 })), LockWaitTimeoutError);
  writer.put("s", "1");
  await clock.run(writer.commit());
  await clock.run(late.lock(["s"], SHARED));
  await clock.run(late.rollback());
  assert.deepEqual(await locksIn(world, client), []);
  assert.equal(await valueOf(world, client, "s"), "1");
});

test("[TXN-124] a shared lock is asked for as one, and is never the primary", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  client.sent.length = 0;
  await assert.rejects(clock.run(txn.lock(["s"], SHARED)), hasKind("misuse"));
  assert.deepEqual(client.bodies("KvPessimisticLock"), []);
  await clock.run(txn.lock(["z"]));
  await clock.run(txn.lock(["s", "a"], SHARED));
  await clock.run(txn.lock(["s"], SHARED));
  const [, shared, ...others] = client.bodies("KvPessimisticLock");
  assert.equal(others.length, 0);
  assert.deepEqual(keysOf(shared as NonNullable<typeof shared>), ["a", "s"]);
  assert.deepEqual(shared?.mutations.map(({ op }) => op), [
    Op.SharedPessimisticLock,
    Op.SharedPessimisticLock,
  ]);
  assert.equal(text(shared?.primaryLock), "z");
  await clock.advance(11_000);
  assert.deepEqual(client.bodies("KvTxnHeartBeat").map(({ primaryLock }) => text(primaryLock)), ["z"]);
  await clock.run(txn.rollback());
});

test("[TXN-124] [TXN-112] a shared lock does not become an exclusive one, nor the key one that is written", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await sharer(world, client, "a");
  client.sent.length = 0;
  await assert.rejects(clock.run(txn.lock(["s"])), hasKind("misuse"));
  await assert.rejects(clock.run(txn.getForUpdate("s")), hasKind("misuse"));
  assert.throws(() => txn.put("s", "1"), hasKind("misuse"));
  assert.throws(() => txn.insert("s", "1"), hasKind("misuse"));
  assert.throws(() => txn.delete("s"), hasKind("misuse"));
  // The other way round there is nothing to do, or it cannot be done.
  await clock.run(txn.lock(["a"], SHARED));
  txn.put("b", "1");
  await assert.rejects(clock.run(txn.lock(["b"], SHARED)), hasKind("misuse"));
  assert.deepEqual(client.sent, []);
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "b"), "1");
});

test("[TXN-124] a commit keeps what is shared until it is over, in two phases", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { s: "0" });
  const one = await sharer(world, client, "a");
  const two = await sharer(world, client, "b");
  one.put("a", "1");
  client.sent.length = 0;
  const { path } = await clock.run(one.commit());
  await clock.advance(500);
  assert.equal(path, "2pc");
  const [prewrite] = client.bodies("KvPrewrite");
  assert.deepEqual([prewrite?.useAsyncCommit, prewrite?.tryOnePc], [false, false]);
  assert.deepEqual(prewrite?.mutations.map(({ op, key }) => [text(key), op]), [["a", Op.Put], [
    "s",
    Op.SharedLock,
  ]]);
  assert.equal(text(prewrite?.primaryLock), "a");
  assert.deepEqual(await lockedS(world, client), [`s@${two.startTs}`]);
  // Nobody who only shares is in the way of a reader.
  assert.equal(await valueOf(world, client, "s"), "0");
  await clock.run(two.rollback());
  assert.deepEqual(await locksIn(world, client), []);
});

test("[TXN-124] [TXN-119] a rollback gives up a share, and leaves those of others", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const one = await sharer(world, client, "a");
  const two = await sharer(world, client, "b");
  await clock.run(one.rollback());
  assert.deepEqual(await lockedS(world, client), [`s@${two.startTs}`]);
  two.put("b", "1");
  await clock.run(two.commit());
  assert.deepEqual(await locksIn(world, client), []);
});

test("[TXN-124] [T-43] a statement that fails keeps its shared locks; they are committed with the rest", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  await assert.rejects(
    clock.run(txn.statement(async () => {
      await txn.lock(["s"], SHARED);
      throw new Error("of the body");
    })),
    /of the body/,
  );
  assert.deepEqual(await lockedS(world, client), [`s@${txn.startTs}`]);
  txn.put("a", "1");
  client.sent.length = 0;
  await clock.run(txn.commit());
  const [prewrite] = client.bodies("KvPrewrite");
  assert.deepEqual(prewrite?.mutations.map(({ op }) => op), [Op.Put, Op.SharedLock]);
  assert.deepEqual(await lockedS(world, client), []);
});

test("[TXN-124] in an optimistic transaction it is a lock of the commit like any other", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client, { mode: "optimistic" });
  await clock.run(txn.lock(["s"], SHARED));
  txn.put("a", "1");
  client.sent.length = 0;
  await clock.run(txn.commit());
  assert.deepEqual(client.sent.map(({ method }) => method), ["KvPrewrite"]);
  assert.deepEqual(client.bodies("KvPrewrite")[0]?.mutations.map(({ op }) => op), [Op.Put, Op.Lock]);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { fault } from "../../../src/playground/mod.ts";
import { LockWaitTimeoutError, TxnAbortedError } from "../../../src/txn_errors.ts";
import { begin, locksIn, openWatched, seed, text, valueOf, type Watched } from "./lock_world.ts";
import { openLocks } from "./fair_world.ts";
import { startWorld } from "./txn_world.ts";

function beats(client: Watched): [string | undefined, bigint][] {
  return client.bodies("KvTxnHeartBeat").map((
    { primaryLock, adviseLockTtl },
  ) => [text(primaryLock), adviseLockTtl]);
}

test("[TXN-123] the primary is kept alive from its lock on, for 20 s from each sign of life", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.advance(30_000);
  assert.deepEqual(beats(client), []);
  await clock.run(txn.lock(["b", "a"]));
  await clock.run(txn.lock(["c"]));
  await clock.advance(25_000);
  // By the clock of the cluster, from the start of the transaction, as the time of a lock is.
  assert.deepEqual(beats(client), [["a", 60_000n], ["a", 70_000n]]);
  assert.deepEqual(client.bodies("KvTxnHeartBeat").map(({ startVersion }) => startVersion), [
    txn.startTs,
    txn.startTs,
  ]);
  txn.put("a", "1");
  await clock.run(txn.commit());
  await clock.advance(60_000);
  assert.equal(beats(client).length, 2);
});

test("[TXN-123] nothing keeps a transaction alive that is over, however it ended", async () => {
  await using world = await startWorld();
  const { clock } = world;
  for (const how of ["rollback", "commit", "no writes", "failure", "close"]) {
    const client = await openWatched(world);
    const txn = await begin(world, client);
    await clock.run(txn.lock(["a"]));
    await clock.advance(11_000);
    if (how !== "no writes") txn.put("a", "1");
    if (how === "rollback") await clock.run(txn.rollback());
    if (how === "commit" || how === "no writes") await clock.run(txn.commit());
    if (how === "failure") {
      world.cluster.losePessimisticLocks("a");
      await seed(world, await openWatched(world), { a: "2" });
      await assert.rejects(clock.run(txn.commit()));
    }
    if (how === "close") await clock.run(client.parts.close());
    await clock.advance(60_000);
    assert.equal(beats(client).length, 1, how);
    assert.deepEqual(await locksIn(world, await openWatched(world)), [], how);
  }
});

test("[TXN-123] an answer that comes after the end does not begin to keep it alive", async () => {
  await using world = await startWorld();
  const { clock } = world;
  let letGo = (): void => {};
  const held = new Promise<void>((resolve) => letGo = resolve);
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      const reply = await next(call);
      if (call.method === "KvPessimisticLock") await held;
      return reply;
    }],
  });
  // The body is over time while its lock is under way.
  const running = client.txns.run((txn) => txn.lock(["a"]), { mode: "pessimistic", timeoutMs: 500 });
  await assert.rejects(clock.run(running));
  letGo();
  await clock.advance(120_000);
  assert.deepEqual(beats(client), []);
  assert.deepEqual(await locksIn(world, client), []);
});

test("[TXN-123] [T-38] it moves to another primary, can be stopped, and is over when it is closed", async () => {
  await using world = await startWorld();
  const { heartbeat, locks, beats, lock } = await openLocks(world);
  await lock(["a", "b"]);
  heartbeat.start(utf8Encode("a"));
  assert.deepEqual(await beats(10_500), ["a"]);
  heartbeat.start(utf8Encode("b"));
  assert.deepEqual(await beats(10_500), ["b"]);
  heartbeat.stop();
  assert.deepEqual(await beats(10_500), []);
  heartbeat.start(utf8Encode("a"));
  assert.deepEqual(await beats(10_500), ["a"]);
  heartbeat.close();
  heartbeat.start(utf8Encode("a"));
  assert.equal(heartbeat.isRunning, false);
  assert.deepEqual(await beats(30_000), []);
  locks.releaseInBackground();
});

test("[TXN-123] a sign of life that failed is sent again before the lock is over", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const other = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  cluster.faults.add({ method: "KvTxnHeartBeat", times: 2 }, fault.dropRequest());
  await clock.advance(30_000);
  const waiter = await begin(world, other);
  await assert.rejects(clock.run(waiter.lock(["a"], { waitMs: 0 })), LockWaitTimeoutError);
  txn.put("a", "1");
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, other, "a"), "1");
  await clock.run(waiter.rollback());
});

test("[TXN-123] without timestamps for a while it goes on where client-go would have stopped", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  cluster.faults.add({ method: "Tso" }, fault.dropRequest());
  await clock.advance(60_000);
  assert.deepEqual(beats(client), []);
  cluster.faults.clear();
  await clock.advance(30_000);
  assert.ok(beats(client).length >= 2);
  await clock.run(txn.lock(["b"]));
  await clock.run(txn.rollback());
});

test("[TXN-123] a primary that cannot be reached for too long is given up, and no lock is taken any more", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  cluster.faults.add({ method: "KvTxnHeartBeat" }, fault.dropRequest());
  await clock.advance(90_000);
  await clock.run(txn.lock(["b"]));
  await clock.advance(60_000);
  cluster.faults.clear();
  const sent = beats(client).length;
  await clock.advance(60_000);
  assert.equal(beats(client).length, sent);
  const error = await clock.run(txn.lock(["c"])).catch((error) => error);
  assert.ok(error instanceof TxnAbortedError);
  assert.equal(error.startTs, txn.startTs);
  assert.notEqual(error.cause, undefined);
  assert.equal(error.retry, "transaction");
  await clock.run(txn.rollback());
});

test("[TXN-123] a primary that is not there any more ends the transaction at its next lock", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  let attempts = 0;
  await clock.run(client.txns.run(async (txn) => {
    await txn.lock(["a"]);
    if (++attempts === 1) {
      cluster.losePessimisticLocks("a");
      await clock.advance(11_000);
    }
    await txn.lock(["b"]);
    txn.put("a", `${attempts}`);
  }, { mode: "pessimistic" }));
  // It did not take the commit to find that out.
  assert.equal(attempts, 2);
  assert.equal(client.bodies("KvPrewrite").length, 1);
  assert.equal(await valueOf(world, client, "a"), "2");
});

test("[TXN-123] after an hour a transaction is not kept alive any more", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  await clock.advance(3_600_000);
  assert.equal(beats(client).length, 360);
  await clock.advance(60_000);
  assert.equal(beats(client).length, 360);
  await assert.rejects(clock.run(txn.lock(["b"])), TxnAbortedError);
  // Others need not wait for it any longer.
  const other = await begin(world, await openWatched(world));
  await clock.run(other.lock(["a"], { waitMs: 0 }));
  await clock.run(other.rollback());
  await clock.run(txn.rollback());
});

test("[TXN-123] a transaction that lost its locks is not committed, also if it has written nothing", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["a"]));
  cluster.faults.add({ method: "KvTxnHeartBeat" }, fault.dropRequest());
  await clock.advance(150_000);
  await assert.rejects(clock.run(txn.commit()), TxnAbortedError);
  assert.equal(txn.state, "rolled-back");
});

// SPDX-License-Identifier: Apache-2.0
// Lock calls of one transaction that run at the same time, or beside its end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError, TimeoutError } from "../../../src/errors.ts";
import { fault } from "../../../src/playground/mod.ts";
import { KeyExistsError, LockWaitTimeoutError } from "../../../src/txn_errors.ts";
import { openLocks } from "./fair_world.ts";
import { begin, keysOf, locksIn, openWatched, seed, text, valueOf } from "./lock_world.ts";
import { startWorld } from "./txn_world.ts";

test("[TXN-113] a lock call that waits for another one ends with its own time and signal", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const holder = await begin(world, client);
  await clock.run(holder.lock(["a"]));
  const txn = await begin(world, client);
  const beganAt = clock.now();
  const slow = txn.lock(["a"], { timeoutMs: 5_000 });
  const controller = new AbortController();
  const reason = new Error("the caller went away");
  clock.timer(200, () => controller.abort(reason));
  const late = assert.rejects(txn.lock(["b"], { timeoutMs: 300 }), TimeoutError).then(() => clock.now());
  const aborted = assert.rejects(txn.lock(["c"], { signal: controller.signal }), (error) => error === reason)
    .then(() => clock.now());
  assert.equal(await clock.run(aborted) - beganAt, 200);
  assert.equal(await clock.run(late) - beganAt, 300);
  // Those that follow wait for the first one all the same.
  const last = txn.lock(["d"]);
  await clock.advance(1_000);
  await clock.run(holder.rollback());
  await clock.run(Promise.all([slow, last]));
  const asked = client.bodies("KvPessimisticLock").filter(({ startVersion }) => startVersion === txn.startTs);
  assert.deepEqual(new Set(asked.flatMap(keysOf)), new Set(["a", "d"]));
  await clock.run(txn.rollback());
});

test("[TXN-112] [T-39] a key that two calls lock at the same time is locked once, and can be committed", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  for (const fairLocking of [true, false]) {
    const txn = await begin(world, client, { fairLocking });
    const calls = [txn.getForUpdate("a"), txn.getForUpdate("a"), txn.batchGetForUpdate(["a", "b"])] as const;
    const [first, second, both] = await clock.run(Promise.all(calls));
    assert.deepEqual([first, second, both.get("a")].map(text), ["1", "1", "1"]);
    const asked = client.bodies("KvPessimisticLock").filter(({ startVersion }) =>
      startVersion === txn.startTs
    );
    assert.deepEqual(asked.map(keysOf), [["a"], ["b"]]);
    txn.put("a", "1");
    await clock.run(txn.commit());
  }
});

test("[TXN-116] a lock call that fails leaves what another one has locked at the same time", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const holder = await begin(world, client);
  await clock.run(holder.lock(["z"]));
  const txn = await begin(world, client);
  const locking = txn.lock(["a"]);
  await assert.rejects(clock.run(txn.lock(["a", "z"], { waitMs: 0 })), LockWaitTimeoutError);
  await clock.run(locking);
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`, `z@${holder.startTs}`]);
  await clock.run(txn.rollback());
  await clock.run(holder.rollback());
});

test("[TXN-112] a key that a lock on its way finds is not written over by an insert", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  for (const commit of ["auto", "2pc"] as const) {
    const txn = await begin(world, client, { commit });
    const locking = txn.lock(["a"]);
    txn.insert("a", "2");
    await clock.run(locking);
    await assert.rejects(clock.run(txn.commit()), KeyExistsError);
    await clock.advance(1_000);
    assert.deepEqual(await locksIn(world, client), []);
    assert.equal(await valueOf(world, client, "a"), "1");
  }
});

test("a key that is written while it is being locked in share mode is not committed", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["p"]));
  const locking = txn.lock(["a"], { shared: true });
  txn.put("a", "1");
  await clock.run(locking);
  await assert.rejects(clock.run(txn.commit()), (error) => TikvError.is(error) && error.kind === "misuse");
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client), []);
});

test("[TXN-121] what a statement had locked is given back when the call that wants it again fails", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const { lock, locks, client, operation } = await openLocks(world);
  locks.startFair();
  await lock(["a"]);
  await lock(["c"]);
  locks.retryFair();
  await lock(["a"]);
  // "c" was not asked for twice: it is on its way back, which takes a while.
  using _slow = cluster.faults.add({ method: "KVPessimisticRollback", times: 1 }, fault.delay(3_000));
  locks.retryFair();
  await assert.rejects(
    clock.run(locks.lock(
      ["a", "c"].map((key) => ({ key: new TextEncoder().encode(key), shouldNotExist: false })),
      {
        waitMs: 0,
        returnsValues: false,
        checksExistence: true,
        locksOnlyIfExists: false,
        isShared: false,
        isFair: true,
      },
      operation(500),
    )),
    TimeoutError,
  );
  await clock.run(locks.release(operation()));
  await clock.advance(5_000);
  assert.deepEqual(await locksIn(world, client), []);
});

test("[TXN-116] [T-70] a body that is over its time gives back also what may have been locked", async () => {
  await using world = await startWorld();
  const { clock, cluster } = world;
  const client = await openWatched(world);
  const lost = cluster.faults.add({ method: "KvPessimisticLock" }, fault.dropReply());
  const backLost = cluster.faults.add({ method: "KVPessimisticRollback" }, fault.dropRequest());
  const running = client.txns.run(async (txn) => {
    await assert.rejects(txn.lock(["a"], { timeoutMs: 500 }), TikvError);
    await new Promise<void>((resolve) => clock.timer(25_000, resolve));
  }, { mode: "pessimistic", timeoutMs: 24_000 });
  clock.timer(22_000, () => {
    // The first attempt to give it back has failed by then.
    lost[Symbol.dispose]();
    backLost[Symbol.dispose]();
    client.sent.length = 0;
  });
  await assert.rejects(clock.run(running), TimeoutError);
  await clock.advance(3_000);
  assert.equal(client.bodies("KVPessimisticRollback").length, 1);
  assert.deepEqual(await locksIn(world, client), []);
});

test("a transaction without locks has nothing to release when its client is closed", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client, { mode: "optimistic" });
  txn.put("a", "1");
  await clock.run(client.parts.close());
  await clock.run(txn.rollback());
  assert.equal(txn.state, "rolled-back");
  assert.deepEqual(client.events.filter(({ type }) => type === "warning"), []);
});

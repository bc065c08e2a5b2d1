// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CheckTxnStatusRequest } from "../../../gen/kvrpcpb_pb.ts";
import type { Interceptor } from "../../../src/observe/interceptor.ts";
import type { PessimisticLockReply } from "../../../src/rpc/batch/messages.ts";
import { TikvError, TimeoutError } from "../../../src/errors.ts";
import { LockWaitTimeoutError } from "../../../src/txn_errors.ts";
import { begin, locksIn, openWatched, seed, text, type Watched } from "./lock_world.ts";
import { startWorld, type World } from "./txn_world.ts";

/** How a promise ends, and how long it takes. */
async function endOf(
  { clock }: World,
  promise: Promise<unknown>,
): Promise<{ error: unknown; tookMs: number }> {
  const from = clock.now();
  const ended = promise.then(
    () => ({ error: undefined, tookMs: clock.now() - from }),
    (error) => ({ error, tookMs: clock.now() - from }),
  );
  return await clock.run(ended);
}

function asked({ sent }: Watched): bigint[] {
  return sent.filter(({ method }) => method === "KvCheckTxnStatus")
    .map(({ body }) => (body as CheckTxnStatusRequest).lockTs);
}

test("[TXN-113] [T-32] who does not want to wait says so on the wire, and fails at once with who is there", async () => {
  await using world = await startWorld();
  const { clock } = world;
  for (const fairLocking of [true, false]) {
    const holder = await begin(world, await openWatched(world));
    await clock.run(holder.lock(["a"]));
    const client = await openWatched(world);
    const txn = await begin(world, client, { fairLocking });
    client.sent.length = 0;
    const { error, tookMs } = await endOf(world, txn.lock(["a"], { waitMs: 0 }));
    assert.ok(error instanceof LockWaitTimeoutError);
    assert.deepEqual([error.retry, text(error.key), error.lockTs], ["never", "a", holder.startTs]);
    assert.equal(tookMs, 0);
    assert.deepEqual(client.bodies("KvPessimisticLock").map(({ waitTimeout }) => waitTimeout), [-1n]);
    // The store has answered that it did not lock it: there is nothing to take back.
    await clock.advance(1_000);
    assert.deepEqual(client.bodies("KVPessimisticRollback"), []);
    // The transaction goes on.
    await clock.run(holder.rollback());
    await clock.run(txn.lock(["a"], { waitMs: 0 }));
    await clock.run(txn.rollback());
  }
});

test("[TXN-113] [T-32] a limited wait is cut into what a store waits at most, never into 0", async () => {
  await using world = await startWorld();
  const { clock } = world;
  for (const fairLocking of [true, false]) {
    const holder = await begin(world, await openWatched(world));
    await clock.run(holder.lock(["a"]));
    const client = await openWatched(world);
    const txn = await begin(world, client, { fairLocking });
    client.sent.length = 0;
    const { error, tookMs } = await endOf(world, txn.lock(["a"], { waitMs: 2_500 }));
    assert.ok(error instanceof LockWaitTimeoutError);
    assert.equal(tookMs, 2_500);
    const waits = client.bodies("KvPessimisticLock").map(({ waitTimeout }) => waitTimeout);
    assert.deepEqual(waits, [1_000n, 1_000n, 500n]);
    client.sent.length = 0;
    // Less than a millisecond is one, and not the store's own limit.
    assert.equal((await endOf(world, txn.lock(["a"], { waitMs: 0.2 }))).tookMs, 1);
    assert.deepEqual(client.bodies("KvPessimisticLock").map(({ waitTimeout }) => waitTimeout), [1n]);
    await clock.run(txn.rollback());
    await clock.run(holder.rollback());
  }
});

test("[TXN-113] a wait without a limit of its own ends with the time of the call, and in time", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const holder = await begin(world, await openWatched(world));
  await clock.run(holder.lock(["a"]));
  const client = await openWatched(world);
  const txn = await begin(world, client);
  client.sent.length = 0;
  const { error, tookMs } = await endOf(world, txn.lock(["a"], { timeoutMs: 1_400 }));
  assert.ok(TikvError.is(error));
  assert.equal(error.kind, "timeout");
  assert.equal(tookMs, 1_400);
  assert.deepEqual(client.bodies("KvPessimisticLock").map(({ waitTimeout }) => waitTimeout), [1_000n, 400n]);
  const waiting = txn.lock(["a"]);
  await clock.advance(7_000);
  await clock.run(holder.rollback());
  await clock.run(waiting);
  assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`]);
  await clock.run(txn.rollback());
});

test("[TXN-113] the lock of a transaction that is dead is no reason to fail, also for who does not wait", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const dead = await openWatched(world, {
    interceptors: [(call, next) => call.method === "KvTxnHeartBeat" ? new Promise(() => {}) : next(call)],
  });
  const holder = await begin(world, dead);
  await clock.run(holder.lock(["a", "b"]));
  await clock.advance(25_000);
  const client = await openWatched(world);
  const txn = await begin(world, client);
  client.sent.length = 0;
  await clock.run(txn.lock(["b"], { waitMs: 0 }));
  assert.deepEqual(asked(client), [holder.startTs]);
  assert.deepEqual(client.bodies("KvPessimisticLock").map(({ waitTimeout }) => waitTimeout), [-1n, -1n]);
  // All pessimistic locks that the dead one has in the region are gone with it.
  assert.deepEqual(await locksIn(world, client), [`b@${txn.startTs}`]);
  await clock.run(txn.rollback());
});

test("[TXN-113] [T-32] a lock that turns out to be free when the time is up is taken without a wait", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const dead = await openWatched(world, {
    interceptors: [(call, next) => call.method === "KvTxnHeartBeat" ? new Promise(() => {}) : next(call)],
  });
  const holder = await begin(world, dead);
  await clock.run(holder.lock(["a"]));
  await clock.advance(25_000);
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      if (call.method === "KvCheckTxnStatus") await new Promise<void>((resolve) => clock.timer(700, resolve));
      return await next(call);
    }],
  });
  const txn = await begin(world, client);
  client.sent.length = 0;
  await clock.run(txn.lock(["a"], { waitMs: 1_200 }));
  assert.deepEqual(client.bodies("KvPessimisticLock").map(({ waitTimeout }) => waitTimeout), [1_000n, -1n]);
  await clock.run(txn.rollback());
});

test("[TXN-117] [T-77] what is waited for is the primary, which is kept alive, and not the secondary", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const holder = await begin(world, await openWatched(world));
  await clock.run(holder.lock(["a", "z"]));
  // By its own time the lock of "z" is over since long.
  await clock.advance(45_000);
  const client = await openWatched(world);
  const txn = await begin(world, client);
  const { error } = await endOf(world, txn.lock(["z"], { waitMs: 5_000 }));
  assert.ok(error instanceof LockWaitTimeoutError);
  assert.equal(error.lockTs, holder.startTs);
  holder.put("z", "1");
  await clock.run(holder.commit());
  assert.equal(text(await clock.run(txn.getForUpdate("z"))), "1");
  await clock.run(txn.rollback());
});

/** Makes the locks in answers look as if they had just been changed. */
function freshLocks(ms: bigint): Interceptor {
  return async (call, next) => {
    const reply = await next(call);
    if (call.method !== "KvPessimisticLock") return reply;
    for (const { locked } of (reply as PessimisticLockReply).errors) {
      if (locked === undefined) continue;
      for (const lock of [locked, ...locked.sharedLockInfos]) lock.durationToLastUpdateMs = ms;
    }
    return reply;
  };
}

test("[TXN-117] [T-33] a lock that was just changed is neither resolved nor taken for free", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const holder = await begin(world, await openWatched(world));
  await clock.run(holder.lock(["a"]));
  for (const [ms, isAsked] of [[1n, false], [299n, false], [300n, true], [0n, true]] as const) {
    const client = await openWatched(world, { interceptors: [freshLocks(ms)] });
    const txn = await begin(world, client);
    client.sent.length = 0;
    const { error, tookMs } = await endOf(world, txn.lock(["a"], { waitMs: 2_000 }));
    assert.ok(error instanceof LockWaitTimeoutError);
    assert.equal(tookMs >= 2_000 && tookMs < 2_200, true, `${tookMs}`);
    assert.equal(asked(client).length > 0, isAsked, `${ms}`);
    // The store has waited already: the client does not make many requests of it.
    assert.ok(client.bodies("KvPessimisticLock").length <= 4);
    await clock.run(txn.rollback());
  }
  await clock.run(holder.rollback());
});

test("[TXN-117] [T-34] of a shared lock each holder is looked at, and never the lock around them", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const dead = await openWatched(world, {
    interceptors: [(call, next) => call.method === "KvTxnHeartBeat" ? new Promise(() => {}) : next(call)],
  });
  const alive = await openWatched(world);
  const sharers = [await begin(world, dead), await begin(world, alive)];
  for (const [index, txn] of sharers.entries()) {
    await clock.run(txn.lock([`own${index}`]));
    await clock.run(txn.lock(["s"], { shared: true }));
  }
  await clock.advance(30_000);
  const client = await openWatched(world);
  const txn = await begin(world, client);
  client.sent.length = 0;
  const { error } = await endOf(world, txn.lock(["s"], { waitMs: 1_500 }));
  assert.ok(error instanceof LockWaitTimeoutError);
  // Not 0, which is what the wrapper has.
  assert.equal(error.lockTs, sharers[1]?.startTs);
  assert.deepEqual(new Set(asked(client)), new Set(sharers.map(({ startTs }) => startTs)));
  assert.deepEqual((await locksIn(world, client)).filter((lock) => lock.startsWith("s@")), [
    `s@${sharers[1]?.startTs}`,
  ]);
  await clock.run(sharers[1]?.rollback() ?? Promise.resolve());
  await clock.run(txn.lock(["s"]));
  assert.deepEqual(await locksIn(world, client), [`s@${txn.startTs}`]);
  await clock.run(txn.rollback());
});

test("[TXN-117] [T-33] [T-34] a shared lock with a holder that is at work is not resolved for that one", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const sharer = await begin(world, client);
  await clock.run(sharer.lock(["own"]));
  await clock.run(sharer.lock(["s"], { shared: true }));
  const other = await openWatched(world, { interceptors: [freshLocks(10n)] });
  const txn = await begin(world, other);
  other.sent.length = 0;
  const { error } = await endOf(world, txn.lock(["s"], { waitMs: 1_000 }));
  assert.ok(error instanceof LockWaitTimeoutError);
  assert.deepEqual(asked(other), []);
  await clock.run(txn.rollback());
  await clock.run(sharer.rollback());
});

test("[TXN-113] [TXN-117] a value that was locked and committed meanwhile is found by who waited", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1" });
  for (const fairLocking of [true, false]) {
    const holder = await begin(world, client);
    holder.put("a", `${fairLocking}`);
    await clock.run(holder.lock(["a"]));
    const txn = await begin(world, client, { fairLocking });
    const waiting = txn.getForUpdate("a");
    await clock.advance(300);
    await clock.run(holder.commit());
    assert.equal(text(await clock.run(waiting)), `${fairLocking}`);
    await clock.run(txn.rollback());
  }
});

test("[TXN-113] a lock call whose time is over tells which transaction it waited for", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world, { revealKeys: true });
  const holder = await begin(world, client);
  await clock.run(holder.lock(["a"]));
  const txn = await begin(world, client);
  await assert.rejects(
    clock.run(txn.lock(["a"], { timeoutMs: 2_500 })),
    (error) =>
      error instanceof TimeoutError && error.context.operation === "txn.lock" &&
      error.message.includes(`transaction ${holder.startTs} has`),
  );
  await clock.run(txn.rollback());
  await clock.run(holder.rollback());
});

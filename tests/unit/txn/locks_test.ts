// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../../mod.ts";
import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { TikvError } from "../../../src/errors.ts";
import { fault, Playground } from "../../../src/playground/mod.ts";
import { sendToKey } from "../../../src/plan/dispatch.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
import { ManualClock } from "../../../src/testing/mod.ts";
import { createLocks, type Locks } from "../../../src/txn/client_locks.ts";
import type { Timestamp } from "../../../src/types.ts";
import { text } from "../raw/fake_store.ts";
import { begin, openWatched } from "./lock_world.ts";
import { SnapshotWorld } from "./snapshot_world.ts";
import { startWorld } from "./txn_world.ts";

function locksOf(world: SnapshotWorld): Locks {
  return createLocks(world.snapshotParts, {});
}

/** The locks of the first region, as a tool finds them. */
async function found(world: SnapshotWorld): Promise<LockInfo[]> {
  const { routing } = world.session;
  const request = routing.sender.request(COMMANDS.KvScanLock, {
    maxVersion: 0x7fff_ffff_ffff_ffffn,
    startKey: utf8Encode(""),
    endKey: utf8Encode(""),
    limit: 100,
  });
  const reply = await world.run(
    sendToKey(routing, utf8Encode(""), { request, operation: world.operation() }),
  );
  return reply.locks;
}

test("[TXN-170] resolve() takes away what is over, for a write at once, and tells how long the rest lives", async () => {
  await using world = await SnapshotWorld.start();
  const locks = locksOf(world);
  const over = await world.ts();
  await world.prewrite(["p", "s"], { startTs: over });
  await world.commit(["p"], over);
  const alive = await world.ts();
  await world.prewrite(["x", "y"], { startTs: alive, ttlMs: 60_000n });
  const result = await world.run(locks.resolve(await found(world)));
  assert.deepEqual([result.ignored, result.readThrough], [[], []]);
  assert.ok(result.waitMs > 59_000 && result.waitMs <= 60_001, String(result.waitMs));
  assert.deepEqual(await world.lockedKeys(), ["x", "y"]);
  assert.deepEqual(await world.run(locks.resolve([])), { waitMs: 0, ignored: [], readThrough: [] });
});

test("[TXN-170] resolve() for a read tells what its requests may look past, and through", async () => {
  await using world = await SnapshotWorld.start();
  const locks = locksOf(world);
  const over = await world.ts();
  await world.prewrite(["p", "s"], { startTs: over });
  await world.commit(["p"], over);
  const alive = await world.ts();
  await world.prewrite(["x"], { startTs: alive, ttlMs: 60_000n });
  const readTs = await world.ts();
  const result = await world.run(locks.resolve(await found(world), { readTs, requestSource: "tool" }));
  assert.deepEqual(result, { waitMs: 0, ignored: [alive], readThrough: [over] });
});

test("[TXN-170] resolve() with onlyThese leaves the other locks of a large transaction", async () => {
  await using world = await SnapshotWorld.start();
  const locks = locksOf(world);
  const startTs = await world.ts();
  await world.prewrite(["p", "s", "t"], { startTs, txnSize: 1_000n });
  await world.commit(["p"], startTs);
  const of = async (key: string): Promise<LockInfo[]> =>
    (await found(world)).filter((lock) => text(lock.key) === key);
  await world.run(locks.resolve(await of("s"), { onlyThese: true }));
  assert.deepEqual(await world.lockedKeys(), ["t"]);
  const other = await world.ts();
  await world.prewrite(["u", "v", "w"], { startTs: other, txnSize: 1_000n });
  await world.commit(["u"], other);
  await world.run(locks.resolve(await of("v")));
  assert.deepEqual(await world.lockedKeys(), ["t"]);
});

test("[TXN-170] endOf() tells of what was committed, waits for what lives, and ends what never was", async () => {
  await using world = await SnapshotWorld.start();
  const locks = locksOf(world);
  const committed = await world.ts();
  await world.prewrite(["a"], { startTs: committed });
  const commitTs = await world.commit(["a"], committed);
  assert.deepEqual(await world.run(locks.endOf({ startTs: committed, primary: "a" })), {
    state: "committed",
    commitTs: commitTs as Timestamp,
  });
  const alive = await world.ts();
  await world.prewrite(["b"], { startTs: alive, ttlMs: 2_000n });
  await assert.rejects(
    world.run(locks.endOf({ startTs: alive, primary: "b" }, { timeoutMs: 500 })),
    (error) => TikvError.is(error) && error.kind === "timeout" && error.context.operation === "locks.endOf",
  );
  assert.deepEqual(await world.lockedKeys(), ["b"]);
  assert.deepEqual(await world.run(locks.endOf({ startTs: alive, primary: "b" })), { state: "rolled-back" });
  const never = await world.ts();
  assert.deepEqual(await world.run(locks.endOf({ startTs: never, primary: "c" })), { state: "rolled-back" });
  assert.equal((await world.prewrite(["c"], { startTs: never })).length, 1);
});

test("[TXN-169] waiting() shows who waits for whom, and is empty afterwards", async () => {
  await using world = await SnapshotWorld.start();
  const locks = locksOf(world);
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, secondaries: ["s"], ttlMs: 1_000n });
  const [one, other] = [await world.snapshot(), await world.snapshot()];
  const reading = Promise.all([one.get("s"), other.batchGet(["p", "s"])]);
  await world.clock.advance(100);
  const shown = locks.waiting().map(({ callerTs, lockTs, key, primary }) => [
    callerTs,
    lockTs,
    text(key),
    text(primary),
  ]);
  assert.deepEqual(shown, [
    [one.ts, startTs, "s", "p"],
    [other.ts, startTs, "p", "p"],
    [other.ts, startTs, "s", "p"],
  ]);
  await world.run(reading);
  assert.deepEqual(locks.waiting(), []);
});

test("[TXN-169] waiting() shows who waits to write or to lock, too", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const { locks } = client.parts.txn();
  const holder = await begin(world, client);
  await clock.run(holder.lock(["a", "b"]));
  const locking = await begin(world, client);
  const writing = await begin(world, client, { mode: "optimistic" });
  const call = locking.lock(["b"]);
  writing.put("a", "1");
  const commit = writing.commit();
  await clock.advance(1_500);
  const shown = locks.waits.list().map(({ callerTs, lockTs, key, primary }) => [
    callerTs,
    lockTs,
    text(key),
    text(primary),
  ]);
  assert.deepEqual(shown.sort(), [
    [locking.startTs, holder.startTs, "b", "a"],
    [writing.startTs, holder.startTs, "a", "a"],
  ]);
  await clock.run(holder.rollback());
  await clock.run(Promise.all([call, commit]));
  assert.deepEqual(locks.waits.list(), []);
  await clock.run(locking.rollback());
});

test("[TXN-171] what is no lock, and timestamps that are none, are refused", async () => {
  await using world = await SnapshotWorld.start();
  const locks = locksOf(world);
  await assert.rejects(locks.resolve([{ key: "a" } as unknown as LockInfo]), TypeError);
  await assert.rejects(locks.resolve([], { readTS: 1n } as object), /did you mean "readTs"/);
  await assert.rejects(locks.endOf({ startTs: 0n as Timestamp, primary: "a" }), RangeError);
  await assert.rejects(
    locks.endOf({ primary: "a" } as unknown as { startTs: Timestamp; primary: string }),
    TypeError,
  );
});

test("[TXN-163] [TXN-170] locks of a keyspace are met, resolved and asked about in its own keys", async () => {
  const clock = new ManualClock();
  await using cluster = await Playground.start({ stores: 1, apiVersion: "v2", keyspaces: ["orders"], clock });
  const client = await clock.run(connect(cluster, { keyspace: "orders" }));
  await cluster.split("m", { keyspace: "orders" });
  // The commit of the primary arrives, those behind it never do.
  using _lost = cluster.faults.add({ method: "KvCommit", skip: 1 }, fault.dropRequest());
  const txn = await clock.run(client.begin({ commit: "2pc" }));
  txn.put("a", "1");
  txn.put("z", "2");
  const { commitTs } = await clock.run(txn.commit());
  const snapshot = await clock.run(client.snapshot());
  assert.equal(text(await clock.run(snapshot.get("z")) ?? utf8Encode("")), "2");
  const entries = await clock.run(snapshot.scan({}).toArray());
  assert.deepEqual(entries.map(({ key, value }) => [text(key), text(value)]), [["a", "1"], ["z", "2"]]);
  const fate = await clock.run(client.locks.endOf({ startTs: txn.startTs, primary: "a" }));
  assert.deepEqual(fate, { state: "committed", commitTs });
  assert.deepEqual(client.locks.waiting(), []);
  await clock.run(client.close());
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { PessimisticLockWakeUpMode } from "../../../gen/kvrpcpb_pb.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { KeyExistsError, LockWaitTimeoutError, WriteConflictError } from "../../../src/txn_errors.ts";
import { type FairWorld, openLocks } from "./fair_world.ts";
import { begin, keysOf, locksIn, openWatched, seed, text } from "./lock_world.ts";
import { startWorld, type World } from "./txn_world.ts";
import { hasKind } from "../../helpers/has_kind.ts";

/** What was asked for since the last time. */
function asked({ client }: FairWorld): string[][] {
  const keys = client.bodies("KvPessimisticLock").map(keysOf);
  client.sent.length = 0;
  return keys;
}

/** What is locked, after what goes on in the background. */
async function lockedNow(world: World, { client }: FairWorld): Promise<string[]> {
  await world.clock.advance(500);
  return (await locksIn(world, client)).map((lock) => lock.split("@")[0] as string);
}

test("[TXN-121] a single key is locked in spite of a newer version, and that is told with the lock", async () => {
  await using world = await startWorld();
  const other = await openWatched(world);
  const fair = await openLocks(world);
  const { locks, client } = fair;
  const forUpdateTs = await fair.timestamp();
  await seed(world, other, { a: "new" });
  locks.startFair();
  client.sent.length = 0;
  const [locked] = await fair.lock(["a"], { forUpdateTs, checksExistence: false });
  assert.equal(text(locked?.value), "new");
  assert.equal(locked?.exists, true);
  assert.ok(locked !== undefined && locked.conflictTs > forUpdateTs);
  assert.equal(locked.forUpdateTs, locked.conflictTs);
  assert.equal(locks.forUpdateTs, locked.conflictTs);
  const [body] = client.bodies("KvPessimisticLock");
  assert.equal(body?.wakeUpMode, PessimisticLockWakeUpMode.WakeUpModeForceLock);
  // Held by the statement, which is not the same as by the transaction.
  assert.deepEqual(locks.heldLock(utf8Encode("a")), { exists: true, isShared: false });
  assert.deepEqual(fair.held, []);
  locks.doneFair();
  assert.deepEqual(fair.held, ["a"]);
  assert.deepEqual([...locks.constraints].map(([key, ts]) => [text(key), ts]), [["a", locked.conflictTs]]);
  await world.clock.run(locks.release(fair.operation()));
});

test("[TXN-121] without a conflict, the lock is as of the request", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  const forUpdateTs = await fair.timestamp();
  const [locked] = await fair.lock(["a"], { forUpdateTs });
  assert.deepEqual([locked?.conflictTs, locked?.forUpdateTs, locked?.exists], [0n, forUpdateTs, false]);
  locks.doneFair();
  assert.deepEqual([...locks.constraints].map(([key, ts]) => [text(key), ts]), [["a", forUpdateTs]]);
  // The first one that was noted is the one that the lock has.
  locks.startFair();
  await fair.lock(["b"]);
  locks.retryFair();
  await fair.lock(["b"], { forUpdateTs: await fair.timestamp() });
  locks.doneFair();
  assert.equal(locks.constraints.get(utf8Encode("a")), forUpdateTs);
  await world.clock.run(locks.release(fair.operation()));
});

test("[TXN-121] [T-40] the next run uses the locks of the last one, and gives back what two did not ask for", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  await fair.lock(["c"]);
  assert.deepEqual(asked(fair), [["a"], ["b"], ["c"]]);
  locks.retryFair();
  // Kept for the case that they are asked for.
  assert.deepEqual(await lockedNow(world, fair), ["a", "b", "c"]);
  assert.equal(locks.heldLock(utf8Encode("a")), undefined);
  asked(fair);
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  assert.deepEqual(asked(fair), []);
  assert.deepEqual(locks.heldLock(utf8Encode("a")), { exists: false, isShared: false });
  locks.retryFair();
  assert.deepEqual(await lockedNow(world, fair), ["a", "b"]);
  asked(fair);
  await fair.lock(["a"]);
  await fair.lock(["d"]);
  assert.deepEqual(asked(fair), [["d"]]);
  locks.doneFair();
  assert.deepEqual(await lockedNow(world, fair), ["a", "d"]);
  assert.deepEqual(fair.held, ["a", "d"]);
  await world.clock.run(locks.release(fair.operation()));
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [T-40] a key is locked again when more is to be known of it than was told", async () => {
  await using world = await startWorld();
  const other = await openWatched(world);
  await seed(world, other, { a: "1" });
  const fair = await openLocks(world);
  const { locks } = fair;
  const nothing = { checksExistence: false };
  const values = { returnsValues: true, checksExistence: false };
  locks.startFair();
  for (
    const [wishes, isAsked, exists, value] of [
      [nothing, true, undefined, undefined],
      [nothing, false, undefined, undefined],
      [{}, true, true, undefined],
      [nothing, false, true, undefined],
      [values, true, true, "1"],
      [{}, false, true, "1"],
      [values, false, true, "1"],
    ] as const
  ) {
    asked(fair);
    const [locked] = await fair.lock(["a"], wishes);
    assert.deepEqual(asked(fair), isAsked ? [["a"]] : []);
    assert.deepEqual([locked?.exists, text(locked?.value)], [exists, value]);
    locks.retryFair();
  }
  locks.cancelFair();
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [T-40] what was locked in spite of a conflict has told everything", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  const forUpdateTs = await fair.timestamp();
  await seed(world, await openWatched(world), { a: "1" });
  locks.startFair();
  await fair.lock(["a"], { forUpdateTs, checksExistence: false });
  locks.retryFair();
  asked(fair);
  const [locked] = await fair.lock(["a"], { returnsValues: true, forUpdateTs: await fair.timestamp() });
  assert.deepEqual(asked(fair), []);
  // To this run it is no conflict any more.
  assert.deepEqual([text(locked?.value), locked?.conflictTs], ["1", 0n]);
  locks.retryFair();
  // A run that begins before that version has not seen it.
  await assert.rejects(fair.lock(["a"], { forUpdateTs }), hasKind("misuse"));
  locks.cancelFair();
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [T-38] [T-40] with another primary keys are locked again, and that one is kept alive", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  assert.deepEqual(text(locks.primary), "a");
  assert.deepEqual(await fair.beats(10_500), ["a"]);
  locks.retryFair();
  assert.equal(locks.primary, undefined);
  asked(fair);
  await fair.lock(["b"]);
  await fair.lock(["a"]);
  const bodies = fair.client.bodies("KvPessimisticLock").map((
    body,
  ) => [keysOf(body), text(body.primaryLock)]);
  assert.deepEqual(bodies, [[["b"], "b"], [["a"], "b"]]);
  assert.deepEqual(await fair.beats(21_000), ["b", "b"]);
  // With the same one they are not.
  locks.retryFair();
  asked(fair);
  await fair.lock(["a"]);
  assert.deepEqual(text(locks.primary), "a");
  assert.deepEqual(asked(fair), [["a"]]);
  locks.retryFair();
  await fair.lock(["a"]);
  assert.deepEqual(asked(fair), []);
  assert.deepEqual(await fair.beats(10_500), ["a"]);
  locks.doneFair();
  assert.deepEqual(text(locks.primary), "a");
  assert.deepEqual(await lockedNow(world, fair), ["a"]);
  assert.deepEqual(await fair.beats(10_500), ["a"]);
  await world.clock.run(locks.release(fair.operation()));
});

test("[TXN-121] [T-40] a lock that is as old as it may get is taken again", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  for (const [ageMs, isAsked] of [[19_999, false], [20_000, true]] as const) {
    locks.startFair();
    await fair.lock(["a"]);
    await world.clock.advance(ageMs);
    locks.retryFair();
    asked(fair);
    await fair.lock(["a"]);
    assert.deepEqual(asked(fair), isAsked ? [["a"]] : [], `${ageMs}`);
    locks.cancelFair();
  }
});

test("[TXN-121] several keys at once are locked by races, and belong to the statement all the same", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks, client } = fair;
  locks.startFair();
  await fair.lock(["m"]);
  client.sent.length = 0;
  await fair.lock(["a", "b"]);
  const [body] = client.bodies("KvPessimisticLock");
  assert.equal(body?.wakeUpMode, PessimisticLockWakeUpMode.WakeUpModeNormal);
  assert.deepEqual(fair.held, []);
  locks.retryFair();
  asked(fair);
  // The last primary is chosen again, so that what is locked can be used, and only the rest is asked for.
  await fair.lock(["a", "c", "m"]);
  assert.equal(text(locks.primary), "m");
  assert.deepEqual(asked(fair), [["c"]]);
  locks.doneFair();
  assert.deepEqual(fair.held, ["a", "m", "c"]);
  // Only what was locked in line is told to the prewrite.
  assert.deepEqual([...locks.constraints.keys()].map((key) => utf8Decode(key)), ["m", "c"]);
  assert.deepEqual(await lockedNow(world, fair), ["a", "c", "m"]);
  await world.clock.run(locks.release(fair.operation()));
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [T-35] a call of several keys that fails gives back those of the last run, too", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const holder = await begin(world, await openWatched(world));
  await clock.run(holder.lock(["z"]));
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  locks.retryFair();
  await assert.rejects(fair.lock(["a", "b", "z"]), (error) => error instanceof LockWaitTimeoutError);
  assert.equal(locks.primary, undefined);
  assert.deepEqual(await lockedNow(world, fair), ["z"]);
  asked(fair);
  // They are not taken for locked any more.
  await fair.lock(["b"]);
  assert.deepEqual(asked(fair), [["b"]]);
  locks.cancelFair();
  assert.deepEqual(await lockedNow(world, fair), ["z"]);
  await clock.run(holder.rollback());
});

test("[TXN-121] [TXN-124] shared locks are refused while fair locking is on; it cannot be begun twice", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  await fair.lock(["a"]);
  locks.startFair();
  await assert.rejects(fair.lock(["b"], { isShared: true }), hasKind("misuse"));
  assert.throws(() => locks.startFair(), hasKind("misuse"));
  locks.cancelFair();
  await fair.lock(["b"], { isShared: true });
  await world.clock.run(locks.release(fair.operation()));
});

test("[TXN-121] [T-38] a cancelled statement leaves no lock, no primary and no sign of life", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  locks.retryFair();
  await fair.lock(["c"]);
  locks.cancelFair();
  assert.equal(locks.primary, undefined);
  assert.deepEqual(await fair.beats(30_000), []);
  assert.deepEqual(await lockedNow(world, fair), []);
  assert.equal(locks.heldLock(utf8Encode("c")), undefined);
  assert.deepEqual(fair.held, []);
});

test("[TXN-121] [T-38] a primary from before the statement stays, with its sign of life", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  await fair.lock(["p"]);
  locks.startFair();
  await fair.lock(["a"]);
  locks.retryFair();
  assert.equal(text(locks.primary), "p");
  asked(fair);
  await fair.lock(["a"]);
  assert.deepEqual(asked(fair), []);
  locks.cancelFair();
  assert.equal(text(locks.primary), "p");
  assert.deepEqual(await fair.beats(10_500), ["p"]);
  assert.deepEqual(await lockedNow(world, fair), ["p"]);
  await world.clock.run(locks.release(fair.operation()));
  assert.deepEqual(await fair.beats(30_000), []);
});

test("[TXN-121] [T-38] a statement whose last run locked nothing leaves nothing", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  locks.retryFair();
  locks.doneFair();
  assert.equal(locks.primary, undefined);
  assert.deepEqual(await fair.beats(30_000), []);
  assert.deepEqual(await lockedNow(world, fair), []);
  // The next one begins from nothing.
  await fair.lock(["b"]);
  assert.equal(text(locks.primary), "b");
  assert.deepEqual(await fair.beats(10_500), ["b"]);
  await world.clock.run(locks.release(fair.operation()));
});

test("[TXN-121] [T-38] what was given back is not kept alive, while nothing else is locked", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  locks.retryFair();
  locks.retryFair();
  assert.deepEqual(await lockedNow(world, fair), []);
  assert.deepEqual(await fair.beats(30_000), []);
  await fair.lock(["b"]);
  locks.doneFair();
  assert.deepEqual(await fair.beats(10_500), ["b"]);
  await world.clock.run(locks.release(fair.operation()));
});

test("[TXN-121] [T-41] an exception from the end of a statement does not leave it running", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  fair.onHeld = () => {
    throw new Error("no room");
  };
  assert.throws(() => locks.doneFair(), /no room/);
  fair.onHeld = () => {};
  // Both are held all the same, so that the end of the transaction releases them.
  assert.equal(locks.size, 2);
  locks.startFair();
  await fair.lock(["c"]);
  locks.doneFair();
  assert.deepEqual(await lockedNow(world, fair), ["a", "b", "c"]);
  await world.clock.run(locks.release(fair.operation()));
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [T-42] an insert that meets what the last run has locked is told whether the key exists", async () => {
  await using world = await startWorld();
  await seed(world, await openWatched(world), { a: "1" });
  const fair = await openLocks(world);
  const { locks } = fair;
  locks.startFair();
  await fair.lock(["p"]);
  await fair.lock(["a"]);
  await fair.lock(["b"]);
  locks.retryFair();
  await fair.lock(["p"]);
  asked(fair);
  await assert.rejects(fair.lock(["!a"]), (error) => error instanceof KeyExistsError);
  await fair.lock(["!b"]);
  assert.deepEqual(asked(fair), []);
  locks.cancelFair();
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [T-42] an insert that finds a newer version has to look again before it says so", async () => {
  await using world = await startWorld();
  const fair = await openLocks(world);
  const { locks } = fair;
  const forUpdateTs = await fair.timestamp();
  await seed(world, await openWatched(world), { a: "1" });
  locks.startFair();
  await assert.rejects(
    fair.lock(["!a"], { forUpdateTs }),
    (error) => error instanceof WriteConflictError && error.reason === "pessimistic-retry",
  );
  // The key was not locked, so it is not the primary either.
  assert.equal(locks.primary, undefined);
  locks.retryFair();
  await assert.rejects(
    fair.lock(["!a"], { forUpdateTs: await fair.timestamp() }),
    (error) => error instanceof KeyExistsError,
  );
  locks.cancelFair();
  assert.deepEqual(await lockedNow(world, fair), []);
});

test("[TXN-121] [TXN-115] a key that is not there is not locked by a statement either, if that is wanted", async () => {
  await using world = await startWorld();
  await seed(world, await openWatched(world), { b: "1" });
  const fair = await openLocks(world);
  const { locks } = fair;
  const onlyIfExists = { locksOnlyIfExists: true, returnsValues: true, checksExistence: false };
  locks.startFair();
  const [missing] = await fair.lock(["a"], onlyIfExists);
  assert.equal(missing?.exists, false);
  assert.equal(locks.primary, undefined);
  await fair.lock(["b"], onlyIfExists);
  assert.equal(text(locks.primary), "b");
  locks.retryFair();
  asked(fair);
  await fair.lock(["b"], onlyIfExists);
  await fair.lock(["a"], onlyIfExists);
  assert.deepEqual(asked(fair), [["a"]]);
  locks.doneFair();
  assert.deepEqual(fair.held, ["b"]);
  await world.clock.run(locks.release(fair.operation()));
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { KeySet } from "../../../src/bytes/key_map.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { ManualClock, SeededRandom } from "../../../src/testing/mod.ts";
import { Latches, type LatchHold } from "../../../src/txn/commit/latches.ts";
import { WriteConflictError } from "../../../src/txn_errors.ts";
import { type Timestamp, timestampOf } from "../../../src/types.ts";

const keysOf = (text: string): Uint8Array[] => Array.from(text, utf8Encode);
const at = (seconds: number): Timestamp => timestampOf(BigInt(seconds) * 1_000n, 0n);

function scene(slots = 16): {
  readonly clock: ManualClock;
  readonly latches: Latches;
  take(keys: string, startTs: Timestamp, signal?: AbortSignal): Promise<LatchHold>;
} {
  const clock = new ManualClock();
  const latches = new Latches(slots);
  return {
    clock,
    latches,
    take: (keys, startTs, signal) => {
      const deadline = Deadline.after(clock, 10_000, signal);
      return latches.acquire(keysOf(keys), { startTs, deadline, revealKeys: true });
    },
  };
}

/** What a promise is after all that can go on has. */
async function stateOf(clock: ManualClock, promise: Promise<unknown>): Promise<string> {
  let state = "pending";
  promise.then(() => state = "held", (error) => {
    state = error instanceof WriteConflictError ? error.reason : String(error);
  });
  await clock.advance(0);
  return state;
}

test("[TXN-088] commits of different keys do not wait; of the same key, first come, first served", async () => {
  const { clock, take } = scene(1);
  const first = await take("ab", at(1));
  await take("cd", at(1));
  const order: string[] = [];
  const waiting = ["b", "bx", "xb"].map((keys, index) =>
    take([...keys].sort().join(""), at(2)).then((hold) => {
      order.push(`${index}`);
      return hold;
    })
  );
  await clock.advance(0);
  assert.deepEqual(order, []);
  first.release();
  for (const next of waiting) (await next).release();
  assert.deepEqual(order, ["0", "1", "2"]);
});

test("[TXN-088] who began before a commit of his key fails at once, waiting or not; who began after goes on", async () => {
  const { clock, take } = scene();
  const holder = await take("k", at(1));
  const early = take("k", at(2));
  const late = take("k", at(5));
  const alsoEarly = take("k", at(3));
  const states = [early, late, alsoEarly].map((promise) => stateOf(clock, promise));
  holder.release(at(4));
  // Those that are too late do not wait for the one in between.
  assert.deepEqual(await Promise.all(states), ["local-latch", "held", "local-latch"]);
  const error: unknown = await take("ak", at(2)).catch((thrown) => thrown);
  assert.ok(error instanceof WriteConflictError);
  assert.deepEqual(
    [error.kind, error.retry, error.startTs, error.conflictTs, error.conflictCommitTs, error.key],
    ["write-conflict", "transaction", at(2), 0n, at(4), utf8Encode("k")],
  );
  // It gave back what it had taken before.
  assert.equal(await stateOf(clock, take("a", at(2))), "held");
});

test("[T-68] [TXN-088] a commit that failed, or may have, teaches the others nothing", async () => {
  const { clock, take, latches } = scene();
  const failed = await take("k", at(1));
  const waiting = take("k", at(0));
  failed.release();
  const next = await waiting;
  next.release();
  assert.equal(latches.size, 0);
  assert.equal(await stateOf(clock, take("k", at(0))), "held");
});

test("[TXN-088] a key that was only checked is not one that was written", async () => {
  const { clock, take } = scene();
  const hold = await take("ab", at(1));
  hold.release(at(5), new KeySet(["b"]));
  // A second time changes nothing.
  hold.release(at(9));
  assert.equal(await stateOf(clock, take("b", at(2))), "held");
  assert.equal(await stateOf(clock, take("a", at(2))), "local-latch");
  assert.equal(await stateOf(clock, take("a", at(6))), "held");
});

test("[TXN-088] an older commit that ends later does not hide a newer one", async () => {
  const { clock, take } = scene();
  (await take("k", at(1))).release(at(8));
  (await take("k", at(9))).release(at(7));
  assert.equal(await stateOf(clock, take("k", at(7))), "local-latch");
});

test("[TXN-088] an abort or the time limit ends a wait, and the turn goes to the next one", async () => {
  const { clock, take } = scene();
  const holder = await take("k", at(1));
  const reason = new Error("no patience");
  const controller = new AbortController();
  const aborted = take("ak", at(2), controller.signal);
  const rejected = assert.rejects(aborted, (error) => error === reason);
  const patient = take("k", at(3));
  controller.abort(reason);
  await rejected;
  holder.release();
  (await patient).release();
  assert.equal(await stateOf(clock, take("a", at(2))), "held");

  const forever = await take("z", at(1));
  const tooLong = assert.rejects(take("z", at(2)), { kind: "timeout" });
  await clock.advance(10_000);
  await tooLong;
  forever.release();
  // Granted and aborted in the same turn: the turn must not be lost.
  const again = await take("z", at(2));
  const late = new AbortController();
  const granted = take("z", at(3), late.signal);
  const failed = granted.then((hold) => hold.release(), () => {});
  late.abort(reason);
  again.release();
  await failed;
  assert.equal(await stateOf(clock, take("z", at(4))), "held");
  assert.equal(clock.pendingTimers, 0);
});

test("[TXN-088] old commits are forgotten by the time of the cluster, those in use and new ones are not", async () => {
  const { clock, take, latches } = scene(1);
  for (const key of "abcd") (await take(key, at(1))).release(at(2));
  const inUse = await take("u", at(1));
  assert.equal(latches.size, 5);
  // One more than a slot has room for, but nothing is old yet.
  (await take("e", at(50))).release(at(60));
  assert.equal(latches.size, 6);
  const late = await take("f", at(130));
  assert.equal(latches.size, 3);
  assert.equal(await stateOf(clock, take("a", at(1))), "held");
  assert.equal(await stateOf(clock, take("e", at(1))), "local-latch");
  inUse.release();
  late.release();
});

test("[TXN-088] every minute of the cluster's time all slots are looked through", async () => {
  const { take, latches } = scene(1024);
  for (const key of "abcdefgh") (await take(key, at(1_000))).release(at(1_000));
  assert.equal(latches.size, 8);
  (await take("x", at(1_030))).release(at(1_030));
  assert.equal(latches.size, 9);
  (await take("y", at(1_125))).release(at(1_125));
  assert.equal(latches.size, 2);
});

test("[TXN-088] memory is bounded by the slots, however many keys are committed in a short time", async () => {
  const { take, latches } = scene(3);
  const random = new SeededRandom(3);
  for (let index = 0; index < 2_000; index++) {
    const key = String.fromCodePoint(0x4e00 + Math.floor(random.next() * 5_000));
    (await take(key, at(12))).release(at(11));
  }
  assert.ok(latches.size <= 4 * 16, `${latches.size} keys`);
  assert.ok(latches.size > 16);
});

test("[TXN-088] many at once never wait for each other in a circle, and never hold a key together", async () => {
  const { clock, take } = scene(4);
  const random = new SeededRandom(11);
  const holders = new Map<string, number>();
  let ended = 0;
  let now = 10;
  const runs = Array.from({ length: 300 }, async (_, index) => {
    const keys = [...new Set(Array.from({ length: 4 }, () => "abcdefghij"[Math.floor(random.next() * 10)]))];
    const text = keys.sort().join("");
    const startTs = at(Math.floor(random.next() * 10));
    try {
      const hold = await take(text, startTs);
      for (const key of text) {
        assert.equal(holders.get(key), undefined, key);
        holders.set(key, index);
      }
      await new Promise<void>((resolve) => clock.timer(1 + Math.floor(random.next() * 5), resolve));
      for (const key of text) holders.delete(key);
      hold.release(index % 3 === 0 ? undefined : at(++now));
    } catch (error) {
      assert.ok(error instanceof WriteConflictError);
    }
    ended++;
  });
  await clock.run(Promise.all(runs));
  assert.equal(ended, 300);
});

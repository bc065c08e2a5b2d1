// SPDX-License-Identifier: Apache-2.0
// Scans and batches of snapshots against a sorted list, with locks in every state in between.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../../../src/testing/mod.ts";
import { text } from "../raw/fake_store.ts";
import { SnapshotWorld } from "./snapshot_world.ts";

const SEEDS = 12;
const KEYS = Array.from({ length: 40 }, (_, index) => `k${String(index).padStart(2, "0")}`);

/** What others have left at keys; returns what a snapshot taken afterwards must see of each. */
async function leaveLocks(world: SnapshotWorld, pick: (bound: number) => number): Promise<Set<string>> {
  const visible = new Set<string>();
  const base = KEYS.filter(() => pick(100) < 60);
  if (base.length > 0) await world.put(...base);
  for (const key of base) visible.add(key);
  const free = KEYS.filter(() => pick(100) < 60);
  while (free.length > 0) {
    const keys = free.splice(0, 1 + pick(4));
    const startTs = await world.ts();
    const isAsync = pick(3) === 0;
    const secondaries = isAsync ? keys.slice(1) : undefined;
    const txnSize = pick(4) === 0 ? 600n : undefined;
    const ttlMs = pick(2) === 0 ? 1n : 2_000n;
    switch (pick(4)) {
      case 0:
        // Whoever waits finds it rolled back, or committed if it is an async commit with all keys.
        await world.prewrite(keys, { startTs, secondaries, txnSize, ttlMs });
        if (isAsync) { for (const key of keys) visible.add(key); }
        break;
      case 1:
        await world.prewrite(keys, { startTs, secondaries, txnSize, ttlMs });
        await world.commit(keys.slice(0, 1), startTs);
        for (const key of keys) visible.add(key);
        break;
      case 2:
        // Its primary was never written.
        await world.prewrite(keys.slice(1), { startTs, primary: keys[0] ?? "", txnSize, ttlMs });
        break;
      default:
        await world.lockPessimistically(keys, { startTs, ttlMs });
    }
  }
  return visible;
}

test("[TXN-146] [TXN-147] [T-52] [T-53] [T-54] scans see what is committed, whatever others left in the way", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    await using world = await SnapshotWorld.start();
    const random = new SeededRandom(seed);
    const pick = (bound: number): number => Math.floor(random.next() * bound);
    const key = (): string => KEYS[pick(KEYS.length)] ?? "";
    for (let splits = pick(5); splits > 0; splits--) await world.cluster.split(key());
    const visible = await leaveLocks(world, pick);
    for (let round = 0; round < 6; round++) {
      const snapshot = await world.snapshot();
      const [a, b] = [pick(3) === 0 ? "" : key(), pick(3) === 0 ? "" : key()];
      const [start, end] = b !== "" && a > b ? [b, a] : [a, b];
      const reverse = pick(2) === 0;
      const limit = pick(2) === 0 ? Infinity : 1 + pick(9);
      const batchSize = pick(3) === 0 ? undefined : 1 + pick(6);
      const range = { ...(start === "" ? {} : { start }), ...(end === "" ? {} : { end }) };
      const note = `seed ${seed} round ${round} ${JSON.stringify({ ...range, reverse, limit, batchSize })}`;
      const all = KEYS.filter((one) => visible.has(one) && one >= start && (end === "" || one < end));
      const expected = (reverse ? all.reverse() : all).slice(0, limit);
      const options = { reverse, limit, batchSize };
      if (pick(2) === 0) {
        const found = await world.run(snapshot.scanKeys(range, options).toArray());
        assert.deepEqual(found.map(text), expected, note);
      } else {
        const found = await world.run(snapshot.scan(range, options).toArray());
        const shown = found.map((entry) => [text(entry.key), text(entry.value)]);
        assert.deepEqual(shown, expected.map((one) => [one, `${one}!`]), note);
      }
      const keys = Array.from({ length: pick(9) }, key);
      const read = await world.run(snapshot.batchGet(keys));
      const there = [...new Set(keys)].filter((one) => visible.has(one));
      assert.deepEqual([...read.keys()].map(text), there, note);
      if (pick(4) === 0) await world.cluster.split(key());
    }
  }
});

test("[TXN-142] a batch is cut into requests of 5120 keys, several of them at a time", async () => {
  await using world = await SnapshotWorld.start();
  const keys = Array.from({ length: 12_000 }, (_, index) => `n${String(index).padStart(5, "0")}`);
  await world.put("n00000", "n11999");
  const snapshot = await world.snapshot();
  world.takeCalls();
  const found = await world.run(snapshot.batchGet(keys));
  assert.deepEqual([...found.keys()].map(text), ["n00000", "n11999"]);
  assert.deepEqual(world.takeCalls(), { KvBatchGet: 3 });
});

test("[TXN-146] [T-53] a reverse scan goes on right when a region splits between two of its pages", async () => {
  await using world = await SnapshotWorld.start();
  const keys = ["a", "b", "c", "d", "e", "f", "g"];
  await world.put(...keys);
  const snapshot = await world.snapshot();
  const pages = snapshot.scanKeys({ start: "b", end: "g" }, { reverse: true, batchSize: 1 }).pages();
  const seen: string[] = [];
  for (let page = await world.run(pages.next()); page.done !== true; page = await world.run(pages.next())) {
    const [key = ""] = page.value.map(text);
    seen.push(key);
    // At the key that comes next, which belongs to the region behind the border.
    if (key === "e") await world.cluster.split("d");
    if (key === "d") await world.cluster.merge("d");
  }
  assert.deepEqual(seen, ["f", "e", "d", "c", "b"]);
});

test("[TXN-147] a sample has about every n-th key, whatever the pages", async () => {
  await using world = await SnapshotWorld.start();
  await world.put(...KEYS);
  const snapshot = await world.snapshot();
  const found = await world.run(snapshot.scanKeys({}, { sampleStep: 8 }).toArray());
  assert.deepEqual(found.map(text), KEYS.filter((_, index) => index % 8 === 0));
  const few = await world.run(snapshot.scanKeys({}, { sampleStep: 8, limit: 2 }).toArray());
  assert.deepEqual(few.map(text), ["k00", "k08"]);
  assert.throws(() => snapshot.scan({}, { sampleStep: -1 }), RangeError);
  assert.throws(() => snapshot.scan({}, { batchSize: 0 }), RangeError);
  assert.throws(() => snapshot.scan({}, { limit: 0 }), RangeError);
});

test("[TXN-148] [TXN-142] [TXN-146] read committed looks past every lock, in batches and scans as well", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a", "b");
  await world.prewrite(["a", "c"], { startTs: await world.ts(), ttlMs: 60_000n });
  const loose = await world.snapshot({ isolation: "read-committed" });
  world.takeCalls();
  const found = await world.run(loose.batchGet(["a", "b", "c"]));
  assert.deepEqual([...found.keys()].map(text), ["a", "b"]);
  assert.deepEqual((await world.run(loose.scanKeys({}).toArray())).map(text), ["a", "b"]);
  assert.deepEqual(world.takeCalls(), { KvBatchGet: 1, KvScan: 1 });
});

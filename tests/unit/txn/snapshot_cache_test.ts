// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { SnapshotCache } from "../../../src/txn/snapshot/snapshot_cache.ts";
import { bytes, text } from "../raw/fake_store.ts";
import { SnapshotWorld } from "./snapshot_world.ts";

test("[TXN-144] what was read without the commit's timestamp is not known to who needs that, nothing is", () => {
  const cache = new SnapshotCache(1_000_000);
  cache.set(bytes("plain"), { value: bytes("v"), commitTs: 0n });
  cache.set(bytes("versioned"), { value: bytes("v"), commitTs: 7n });
  cache.set(bytes("none"), undefined);
  const known = (key: string, needsCommitTs: boolean): unknown => {
    const found = cache.get(bytes(key), needsCommitTs);
    return found === undefined
      ? "unknown"
      : found.value === undefined
      ? "none"
      : [text(found.value), found.commitTs];
  };
  assert.deepEqual(["plain", "versioned", "none", "other"].map((key) => known(key, false)), [
    ["v", 0n],
    ["v", 0n],
    "none",
    "unknown",
  ]);
  assert.deepEqual(["plain", "versioned", "none", "other"].map((key) => known(key, true)), [
    "unknown",
    ["v", 7n],
    "none",
    "unknown",
  ]);
});

test("[TXN-144] the cache has a bound, which no single entry fills, and what was read first goes first", () => {
  const value = new Uint8Array(1_000);
  const cache = new SnapshotCache(8_000);
  for (let index = 0; index < 20; index++) {
    cache.set(bytes(`k${index}`), { value, commitTs: 0n });
    assert.ok(cache.sizeBytes <= 8_000);
  }
  assert.equal(cache.get(bytes("k0"), false), undefined);
  assert.notEqual(cache.get(bytes("k19"), false), undefined);
  const before = cache.sizeBytes;
  cache.set(bytes("large"), { value: new Uint8Array(3_000), commitTs: 0n });
  assert.deepEqual([cache.get(bytes("large"), false), cache.sizeBytes], [undefined, before]);
  // Read again, an entry takes its place once.
  cache.set(bytes("k19"), { value, commitTs: 3n });
  assert.equal(cache.sizeBytes, before);
  cache.clear();
  assert.deepEqual([cache.sizeBytes, cache.get(bytes("k19"), false)], [0, undefined]);
});

test("[TXN-144] neither the caller nor the cache can change what the other has", () => {
  const cache = new SnapshotCache(1_000_000);
  const [key, value] = [bytes("k"), bytes("v")];
  cache.set(key, { value, commitTs: 0n });
  key.fill(0);
  value.fill(0);
  cache.get(bytes("k"), false)?.value?.fill(0);
  assert.equal(text(cache.get(bytes("k"), false)?.value ?? bytes("")), "v");
});

test("[TXN-144] [T-47] scans, the latest moment and a cache of 0 bytes keep nothing", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a", "b");
  const requests = async (...reads: (() => Promise<unknown>)[]): Promise<Record<string, number>> => {
    world.takeCalls();
    for (const read of reads) await world.run(read());
    return world.takeCalls();
  };
  const one = await world.snapshot();
  assert.deepEqual(await requests(() => one.scan({}).toArray(), () => one.get("a"), () => one.get("a")), {
    KvScan: 1,
    KvGet: 1,
  });
  const off = await world.snapshot({ cacheBytes: 0 });
  assert.deepEqual(await requests(() => off.get("a"), () => off.get("a"), () => off.batchGet(["a"])), {
    KvGet: 2,
    KvBatchGet: 1,
  });
  const latest = await world.snapshot({ ts: "latest" });
  assert.deepEqual(await requests(() => latest.get("a"), () => latest.has("a")), { KvGet: 2 });
  // Of a batch only what is not known is read.
  assert.deepEqual(await requests(() => one.batchGet(["a", "b", "c"]), () => one.batchGet(["c", "b"])), {
    KvBatchGet: 1,
  });
});

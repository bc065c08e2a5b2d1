// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc64 } from "../../../src/bytes/crc64.ts";
import { RawEngine } from "../../../src/playground/raw_engine.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { bytes, text } from "./gen_client.ts";

const ALL = { start: new Uint8Array(0), end: new Uint8Array(0) };

function filled(clock = new ManualClock()): RawEngine {
  const engine = new RawEngine(clock);
  for (const key of ["a", "b", "c", "d"]) {
    engine.put("default", { key: bytes(key), value: bytes(`v${key}`) }, 0n);
  }
  return engine;
}

test("a pair that was put is a copy of what was given", () => {
  const engine = new RawEngine(new ManualClock());
  const key = bytes("k");
  const value = bytes("v");
  engine.put("default", { key, value }, 0n);
  key.fill(0);
  value.fill(0);
  assert.equal(text(engine.get("default", bytes("k")) ?? key), "v");
});

test("column families do not see each other", () => {
  const engine = new RawEngine(new ManualClock());
  engine.put("lock", { key: bytes("k"), value: bytes("v") }, 0n);
  assert.equal(engine.get("default", bytes("k")), undefined);
  engine.deleteRange("write", ALL);
  assert.equal(text(engine.get("lock", bytes("k")) ?? bytes("")), "v");
});

test("[RAW-019] a pair with a TTL stops to exist in its last second, everywhere", async () => {
  const clock = new ManualClock();
  const engine = filled(clock);
  engine.put("default", { key: bytes("b"), value: bytes("short") }, 10n);
  assert.equal(engine.ttl("default", bytes("b")), 10n);
  assert.equal(engine.ttl("default", bytes("a")), 0n);
  assert.equal(engine.ttl("default", bytes("z")), undefined);
  await clock.advance(9_000);
  assert.equal(engine.ttl("default", bytes("b")), 1n);
  await clock.advance(1_000);
  assert.equal(engine.get("default", bytes("b")), undefined);
  assert.equal(engine.ttl("default", bytes("b")), undefined);
  const scan = engine.scan("default", { range: ALL, limit: 10, isReverse: false, keysOnly: false });
  assert.deepEqual(scan.map(({ key }) => text(key)), ["a", "c", "d"]);
  assert.equal(engine.checksum(ALL, (key) => key).pairs, 3n);
});

test("the largest TTL never passes", async () => {
  const clock = new ManualClock();
  const engine = new RawEngine(clock);
  engine.put("default", { key: bytes("k"), value: bytes("v") }, 0xffff_ffff_ffff_ffffn);
  await clock.advance(1e12);
  assert.notEqual(engine.get("default", bytes("k")), undefined);
});

test("scan() goes both ways, stops at the limit and may leave values out", () => {
  const engine = filled();
  const keys = (isReverse: boolean, limit: number, start = "", end = "") =>
    engine.scan("default", {
      range: { start: bytes(start), end: bytes(end) },
      limit,
      isReverse,
      keysOnly: false,
    })
      .map(({ key }) => text(key)).join("");
  assert.equal(keys(false, 10), "abcd");
  assert.equal(keys(true, 10), "dcba");
  assert.equal(keys(true, 2), "dc");
  assert.equal(keys(false, 0), "");
  assert.equal(keys(true, 10, "b", "d"), "cb");
  const only = engine.scan("default", { range: ALL, limit: 1, isReverse: false, keysOnly: true });
  assert.deepEqual(only.map(({ value }) => value.length), [0]);
});

test("[RAW-016] compareAndSwap() writes only over the expected value, and tells the old one", () => {
  const engine = filled();
  const pair = { key: bytes("n"), value: bytes("1") };
  const options = { ttlSeconds: 0n, deletes: false };
  assert.deepEqual(engine.compareAndSwap("default", pair, { ...options, expected: bytes("") }), {
    previous: undefined,
    hasSwapped: false,
  });
  assert.equal(engine.compareAndSwap("default", pair, { ...options, expected: undefined }).hasSwapped, true);
  const second = engine.compareAndSwap("default", pair, { ...options, expected: undefined });
  assert.equal(second.hasSwapped, false);
  assert.equal(text(second.previous ?? bytes("")), "1");
  const gone = engine.compareAndSwap("default", pair, { ...options, deletes: true, expected: bytes("1") });
  assert.equal(gone.hasSwapped, true);
  assert.equal(engine.get("default", bytes("n")), undefined);
});

test("[RAW-015] checksum() is the XOR of the CRC-64 of every key with its value", () => {
  const engine = new RawEngine(new ManualClock());
  engine.put("default", { key: bytes("a"), value: bytes("1") }, 0n);
  engine.put("default", { key: bytes("b"), value: bytes("2") }, 0n);
  assert.deepEqual(engine.checksum(ALL, (key) => key), {
    checksum: crc64(bytes("a1")) ^ crc64(bytes("b2")),
    pairs: 2n,
    bytes: 4n,
  });
});

// SPDX-License-Identifier: Apache-2.0
// What the raw client says to arguments that are wrong: each row must be refused before anything is
// sent, and leave the client usable.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import type { Raw } from "../../../src/raw/api.ts";
import { json, utf8 } from "../../../src/codec/mod.ts";
import { bytes, fakeStore } from "./fake_store.ts";

type Bad = never;

const REFUSED: readonly [what: string, expected: ErrorConstructor, call: (raw: Raw) => unknown][] = [
  ["a number as a key", TypeError, (raw) => raw.get(5 as Bad)],
  ["no key", TypeError, (raw) => raw.get(undefined as Bad)],
  ["null as a value", TypeError, (raw) => raw.put("k", null as Bad)],
  ["a lone surrogate", TypeError, (raw) => raw.put("\ud800", "v")],
  ["an unknown option", TypeError, (raw) => raw.get("k", { timeout: 5 } as Bad)],
  ["options that are none", TypeError, (raw) => raw.get("k", 500 as Bad)],
  ["a TTL for a read", TypeError, (raw) => raw.get("k", { ttlSeconds: 5 } as Bad)],
  ["a time limit as text", TypeError, (raw) => raw.get("k", { timeoutMs: "5" } as Bad)],
  ["a time limit of 0", RangeError, (raw) => raw.get("k", { timeoutMs: 0 })],
  ["a time limit below 0", RangeError, (raw) => raw.delete("k", { timeoutMs: -1 })],
  ["a time limit that is NaN", RangeError, (raw) => raw.put("k", "v", { timeoutMs: NaN })],
  ["an endless time limit", RangeError, (raw) => raw.get("k", { timeoutMs: Infinity })],
  ["a signal that is none", TypeError, (raw) => raw.get("k", { signal: {} as Bad })],
  ["a TTL below 0", RangeError, (raw) => raw.put("k", "v", { ttlSeconds: -1 })],
  ["a TTL that is NaN", RangeError, (raw) => raw.put("k", "v", { ttlSeconds: NaN })],
  ["a TTL with a fraction", RangeError, (raw) => raw.put("k", "v", { ttlSeconds: 1.5 })],
  ["a TTL as text", TypeError, (raw) => raw.put("k", "v", { ttlSeconds: "60" as Bad })],
  [
    "a TTL of an entry below 0",
    RangeError,
    (raw) => raw.batchPut([{ key: "k", value: "v", ttlSeconds: -5 }]),
  ],
  ["an entry with too few items", TypeError, (raw) => raw.batchPut([["k"] as Bad])],
  [
    "an entry with an unknown field",
    TypeError,
    (raw) => raw.batchPut([{ key: "k", value: "v", ttl: 5 } as Bad]),
  ],
  ["a string as a list of keys", TypeError, (raw) => raw.batchGet("abc")],
  ["bytes as a list of keys", TypeError, (raw) => raw.batchDelete(bytes("abc") as Bad)],
  ["an object as a list of entries", TypeError, (raw) => raw.batchPut({ a: "1" } as Bad)],
  ["start after end", RangeError, (raw) => raw.scan({ start: "b", end: "a" })],
  ["start after end in deleteRange", RangeError, (raw) => raw.deleteRange({ start: "b", end: "a" })],
  ["start after end in checksum", RangeError, (raw) => raw.checksum({ start: "b", end: "a" })],
  [
    "start after end in batchScan",
    RangeError,
    (raw) => raw.batchScan([{ start: "b", end: "a" }], { eachLimit: 1 }),
  ],
  ["a range with an unknown field", TypeError, (raw) => raw.deleteRange({ from: "a" } as Bad)],
  ["a prefix that is undefined", TypeError, (raw) => raw.deletePrefix(undefined as Bad)],
  ["a prefix with bounds", TypeError, (raw) => raw.scan({ prefix: "a", end: "b" } as Bad)],
  ["no range", TypeError, (raw) => raw.scan(undefined as Bad)],
  ["a limit of 0", RangeError, (raw) => raw.scan({}, { limit: 0 })],
  ["a limit below 0", RangeError, (raw) => raw.scan({}, { limit: -1 })],
  ["a limit that is NaN", RangeError, (raw) => raw.scan({}, { limit: NaN })],
  ["a limit with a fraction", RangeError, (raw) => raw.scan({}, { limit: 2.5 })],
  ["a limit as a bigint", TypeError, (raw) => raw.scan({}, { limit: 10n as Bad })],
  ["a batch size of 0", RangeError, (raw) => raw.scan({}, { batchSize: 0 })],
  ["reverse as text", TypeError, (raw) => raw.scanKeys({}, { reverse: "yes" as Bad })],
  ["a scan with a signal that is none", TypeError, (raw) => raw.scan({}, { signal: 5 as Bad })],
  ["a scan with a time limit of 0", RangeError, (raw) => raw.scan({}, { timeoutMs: 0 })],
  ["batchScan without eachLimit", TypeError, (raw) => raw.batchScan([{}], {} as Bad)],
  ["batchScan with eachLimit 0", RangeError, (raw) => raw.batchScan([{}], { eachLimit: 0 })],
  ["a swap without expect", TypeError, (raw) => raw.atomic().compareAndSwap("k", { value: "v" } as Bad)],
  ["a swap without value", TypeError, (raw) => raw.atomic().compareAndSwap("k", { expect: null } as Bad)],
  ["a swap with a bad TTL", RangeError, (raw) => raw.atomic().putIfAbsent("k", "v", { ttlSeconds: -1 })],
  ["a codec that is none", TypeError, (raw) => raw.sub("p/", { key: "utf8" as Bad })],
  ["codecs under a wrong name", TypeError, (raw) => raw.sub("p/", { keys: utf8 } as Bad)],
  ["a number as a prefix of a view", TypeError, (raw) => raw.sub(5 as Bad)],
  ["a view option that is unknown", TypeError, (raw) => raw.with({ cf: "write" } as Bad)],
  ["a column family that is no string", TypeError, (raw) => raw.columnFamily(5 as Bad)],
  [
    "a value that JSON does not have",
    TypeError,
    (raw) => raw.sub("p/", { value: json<unknown>() }).put("k", undefined),
  ],
  [
    "a plugin without a version",
    TypeError,
    (raw) => raw.coprocessor("p", { ranges: [], data: bytes("") } as Bad),
  ],
];

for (const [what, expected, call] of REFUSED) {
  test(`raw refuses ${what}`, async () => {
    const { raw, regions, clock } = fakeStore();
    await assert.rejects(async () => await call(raw), expected);
    assert.equal(regions.sent.length, 0);
    assert.equal(clock.pendingTimers, 0);
    await raw.put("still", "works");
    assert.deepEqual(await raw.get("still"), bytes("works"));
  });
}

test("a promise is rejected and nothing is thrown when an asynchronous call is refused", async () => {
  const { raw } = fakeStore();
  const results = [
    raw.get(5 as Bad),
    raw.put("k", null as Bad),
    raw.batchGet("abc"),
    raw.batchScan([], {} as Bad),
  ];
  await Promise.all(results.map((result) => assert.rejects(result, TypeError)));
});

test("a key or an entry above the limits is too large, and is not sent", async () => {
  const { raw, regions } = fakeStore({ client: { maxKeyBytes: 8, maxEntryBytes: 16 } });
  const isTooLarge = (error: unknown): boolean => TikvError.is(error) && error.kind === "too-large";
  await assert.rejects(raw.get("123456789"), isTooLarge);
  await assert.rejects(raw.put("123456789", ""), isTooLarge);
  await assert.rejects(raw.put("12345678", "123456789"), isTooLarge);
  await assert.rejects(raw.batchPut([["k", "v"], ["k2", "x".repeat(20)]]), isTooLarge);
  await assert.rejects(raw.batchDelete(["123456789"]), isTooLarge);
  await assert.rejects(raw.sub("prefix/").get("12"), isTooLarge);
  await assert.rejects(raw.atomic().compareAndSwap("k", { expect: null, value: "x".repeat(20) }), isTooLarge);
  assert.equal(regions.sent.length, 0);
  await raw.put("12345678", "12345678");
  const v2 = fakeStore({ client: { apiVersion: 2, maxKeyBytes: 8 } });
  await v2.raw.get("1234");
  await assert.rejects(v2.raw.get("12345"), isTooLarge);
});

test("keys do not appear in messages unless the user wants them to", async () => {
  const key = "account/4711/secret-name";
  const messageOf = async (revealKeys: boolean): Promise<string> => {
    const { raw } = fakeStore({ client: { maxKeyBytes: 8, revealKeys } });
    return await raw.get(key).then(() => "", (error) => String(error.message));
  };
  const hexOfKey = Array.from(bytes(key), (byte) => byte.toString(16).padStart(2, "0")).join("")
    .toUpperCase();
  const hidden = (await messageOf(false)).toUpperCase();
  assert.ok(!hidden.includes(hexOfKey) && !hidden.includes("SECRET"), hidden);
  const shown = (await messageOf(true)).toUpperCase();
  assert.ok(shown.includes(hexOfKey) || shown.includes("SECRET"), shown);
});

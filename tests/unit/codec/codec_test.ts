// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as codec from "../../../src/codec/mod.ts";
import type {
  BoundOf,
  KeyCodec,
  PrefixKeyCodec,
  PrefixOf,
  RangeInputOf,
  ValueOf,
} from "../../../src/codec/mod.ts";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { concatBytes, EMPTY } from "../../../src/bytes/concat.ts";
import { toRange } from "../../../src/bytes/key_range.ts";

const { toKeyRange } = codec;
const eventKey = codec.tuple<[day: string, seq: bigint]>();

/** A key codec of a user: it has neither order nor prefixes. */
const shuffled: KeyCodec<string> = {
  ordered: false,
  encode: (value) => new TextEncoder().encode(value).reverse(),
  decode: (bytes) => new TextDecoder().decode(bytes.slice().reverse()),
};

/** Compiles only if both types are the same. */
function sameType<A, B>(_: [A] extends [B] ? ([B] extends [A] ? true : false) : false): void {}

test("toKeyRange() reads a prefix of a tuple, of a string and of bytes", () => {
  assert.deepEqual(toKeyRange(eventKey, { prefix: ["2026-08-21"] }), eventKey.rangeOfPrefix(["2026-08-21"]));
  assert.deepEqual(toKeyRange(eventKey, { prefix: [] }), { start: EMPTY, end: Uint8Array.of(0xff) });
  assert.deepEqual(toKeyRange(codec.utf8, { prefix: "a" }), toRange({ prefix: "a" }));
  assert.deepEqual(toKeyRange(codec.utf8, { prefix: "" }), toRange({}));
  assert.deepEqual(
    toKeyRange(codec.bytes, { prefix: Uint8Array.of(1) }),
    toRange({ prefix: Uint8Array.of(1) }),
  );
});

test("toKeyRange() reads bounds as key values, of a tuple also as its first items", () => {
  assert.deepEqual(toKeyRange(codec.uint64, { start: 1n, end: 5n }), {
    start: codec.uint64.encode(1n),
    end: codec.uint64.encode(5n),
  });
  assert.deepEqual(toKeyRange(codec.utf8, { start: "a", end: "n" }), toRange({ start: "a", end: "n" }));
  assert.deepEqual(toKeyRange(eventKey, { start: ["2026-08-01"], end: ["2026-08-02", 7n] }), {
    start: codec.tuple<[string]>().encode(["2026-08-01"]),
    end: eventKey.encode(["2026-08-02", 7n]),
  });
  assert.deepEqual(toKeyRange(codec.uint64, { end: 5n }), { start: EMPTY, end: codec.uint64.encode(5n) });
  assert.deepEqual(toKeyRange(codec.uint64, {}), { start: EMPTY, end: EMPTY });
});

test("toKeyRange() refuses start after end with a RangeError", () => {
  assert.throws(() => toKeyRange(codec.int64, { start: 1n, end: -1n }), RangeError);
  assert.throws(() => toKeyRange(eventKey, { start: ["b"], end: ["a", 1n] }), RangeError);
});

test("toKeyRange() refuses a prefix of a codec that has none, at compile time and at run time", () => {
  // @ts-expect-error an integer has no prefixes
  assert.throws(() => toKeyRange(codec.uint64, { prefix: 1n }), TypeError);
  // @ts-expect-error this codec has no prefixes
  assert.throws(() => toKeyRange(shuffled, { prefix: "a" }), TypeError);
});

test("toKeyRange() refuses bounds of a codec that keeps no order, but not the whole range", () => {
  assert.throws(() => toKeyRange(shuffled, { start: "a" }), TypeError);
  assert.throws(() => toKeyRange(shuffled, { end: "a" }), TypeError);
  assert.deepEqual(toKeyRange(shuffled, {}), { start: EMPTY, end: EMPTY });
});

test("toKeyRange() refuses what is no range, and bounds of another type, with a TypeError", () => {
  const wrong: unknown[] = [
    undefined,
    "a",
    ["a"],
    { prefix: "a", start: "a" },
    { prefix: undefined },
    { begin: "a" },
    { start: 1 },
    { end: 1n },
  ];
  for (const input of wrong) {
    assert.throws(() => toKeyRange(codec.utf8, input as RangeInputOf<typeof codec.utf8>), TypeError);
  }
});

test("toKeyRange() never asks a codec for the prefix undefined", () => {
  const lax: PrefixKeyCodec<string> = { ...codec.utf8, rangeOfPrefix: () => assert.fail("asked") };
  const forgotten = { prefix: undefined } as unknown as { prefix: string };
  assert.throws(() => toKeyRange(lax, forgotten), TypeError);
});

test("the types of values, prefixes and bounds follow from the codec", () => {
  sameType<ValueOf<typeof codec.utf8>, string>(true);
  sameType<ValueOf<typeof codec.uint64>, bigint>(true);
  sameType<ValueOf<typeof eventKey>, [day: string, seq: bigint]>(true);
  sameType<ValueOf<codec.Codec<{ a: 1 }>>, { a: 1 }>(true);
  sameType<PrefixOf<typeof codec.utf8>, string>(true);
  sameType<PrefixOf<typeof codec.uint64>, never>(true);
  sameType<PrefixOf<typeof eventKey>, readonly [] | readonly [string] | readonly [string, bigint]>(true);
  sameType<BoundOf<typeof codec.uint64>, bigint>(true);
  sameType<BoundOf<typeof eventKey>, PrefixOf<typeof eventKey>>(true);
  sameType<codec.TuplePrefix<readonly codec.TupleItem[]>, readonly codec.TupleItem[]>(true);
  const range: RangeInputOf<typeof eventKey> = { prefix: ["2026-08-21"] };
  assert.deepEqual(toKeyRange(eventKey, range).start, codec.tuple<[string]>().encode(["2026-08-21"]));
  // @ts-expect-error both forms at once
  const _both: RangeInputOf<typeof codec.utf8> = { prefix: "a", start: "a" };
});

test("keys under a prefix of a view sort by their values", () => {
  const view = new TextEncoder().encode("event/");
  const keys = ([["b", 1n], ["a", 10n], ["a", 9n], ["a", -1n]] satisfies [string, bigint][])
    .map((key) => concatBytes(view, eventKey.encode(key)));
  keys.sort(compareBytes);
  assert.deepEqual(keys.map((key) => eventKey.decode(key.subarray(view.length))), [
    ["a", -1n],
    ["a", 9n],
    ["a", 10n],
    ["b", 1n],
  ]);
});

test("the entry point has these names and no others", () => {
  const names = ["boolean", "bytes", "float64", "int64", "json", "toKeyRange", "tuple", "uint64", "utf8"];
  assert.deepEqual(Object.keys(codec).sort(), names);
});

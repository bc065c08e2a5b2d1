// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes, startsWith } from "../../../src/bytes/compare.ts";
import { hex, parseHex } from "../../../src/bytes/hex.ts";
import { contains } from "../../../src/bytes/key_range.ts";
import type { KeyCodec } from "../../../src/codec/codec.ts";
import { boolean, bytes, float64, int64, uint64, utf8 } from "../../../src/codec/scalars.ts";
import { keys, texts } from "../../helpers/arbitrary_keys.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const uint64s = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const int64s = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

/** Checks that a codec gives values back and keeps their order. */
function law<T>(codec: KeyCodec<T>, values: fc.Arbitrary<T>, compare: (a: T, b: T) => number): void {
  assert.equal(codec.ordered, true);
  fc.assert(
    fc.property(values, values, (a, b) => {
      const [left, right] = [codec.encode(a), codec.encode(b)];
      assert.deepEqual(codec.decode(left), a);
      assert.equal(Math.sign(compareBytes(left, right)), Math.sign(compare(a, b)));
    }),
    { numRuns: 500 },
  );
}

/** Checks values against golden bytes, both ways. */
function golden<T>(codec: KeyCodec<T>, rows: readonly (readonly [value: T, digits: string])[]): void {
  for (const [value, digits] of rows) {
    assert.equal(hex(codec.encode(value)), digits);
    assert.deepEqual(codec.decode(parseHex(digits)), value);
  }
}

/** The total order of doubles: -0 before 0, NaN last. */
function compareDoubles(a: number, b: number): number {
  if (Object.is(a, b)) return 0;
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(b)) return -1;
  if (a === b) return Object.is(a, -0) ? -1 : 1;
  return a < b ? -1 : 1;
}

test("bytes gives back the same array, in either direction", () => {
  const value = Uint8Array.of(1, 2);
  assert.equal(bytes.encode(value), value);
  assert.equal(bytes.decode(value), value);
  law(bytes, keys(), compareBytes);
});

test("utf8 keeps strings and their order by code points", () => {
  const points = (text: string) => Array.from(text, (char) => char.codePointAt(0) ?? 0);
  law(utf8, texts(), (a, b) => {
    const [left, right] = [points(a), points(b)];
    const at = left.findIndex((point, i) => point !== right[i]);
    if (at < 0) return left.length - right.length;
    return (left[at] ?? -1) - (right[at] ?? -1);
  });
  throwsKind(() => utf8.decode(Uint8Array.of(0xff)), "codec");
});

test("bytes and utf8 have prefixes: exactly the keys that begin with them", () => {
  fc.assert(fc.property(keys(3), keys(4), (prefix, key) => {
    assert.equal(contains(bytes.rangeOfPrefix(prefix), key), startsWith(key, prefix));
  }));
  fc.assert(fc.property(texts(), texts(), (prefix, key) => {
    assert.equal(contains(utf8.rangeOfPrefix(prefix), utf8.encode(key)), key.startsWith(prefix));
    assert.equal(contains(utf8.rangeOfPrefix(prefix), utf8.encode(prefix + key)), true);
  }));
});

test("uint64 keeps integers and their order in 8 bytes", () => {
  golden(uint64, [[0n, "0000000000000000"], [1n, "0000000000000001"], [2n ** 64n - 1n, "ffffffffffffffff"]]);
  law(uint64, uint64s, (a, b) => a < b ? -1 : a > b ? 1 : 0);
});

test("int64 keeps integers and their order in 8 bytes", () => {
  golden(int64, [
    [-(2n ** 63n), "0000000000000000"],
    [-1n, "7fffffffffffffff"],
    [0n, "8000000000000000"],
    [1n, "8000000000000001"],
    [2n ** 63n - 1n, "ffffffffffffffff"],
  ]);
  law(int64, int64s, (a, b) => a < b ? -1 : a > b ? 1 : 0);
});

test("float64 keeps doubles and their total order in 8 bytes", () => {
  golden(float64, [
    [-Infinity, "000fffffffffffff"],
    [-1.5, "4007ffffffffffff"],
    [-0, "7fffffffffffffff"],
    [0, "8000000000000000"],
    [1.5, "bff8000000000000"],
    [Infinity, "fff0000000000000"],
    [NaN, "fff8000000000000"],
  ]);
  law(
    float64,
    fc.oneof(fc.double(), fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 5e-324, -5e-324)),
    compareDoubles,
  );
});

test("float64 reads any NaN, and a view at any offset", () => {
  assert.deepEqual(float64.decode(parseHex("0000000000000000")), NaN);
  assert.deepEqual(float64.decode(parseHex("ffbff8000000000000").subarray(1)), 1.5);
});

test("boolean is one byte, false first", () => {
  golden(boolean, [[false, "00"], [true, "01"]]);
  law(boolean, fc.boolean(), (a, b) => Number(a) - Number(b));
  throwsKind(() => boolean.decode(Uint8Array.of(2)), "codec");
});

test("codecs of a fixed length refuse every other one", () => {
  for (const length of [0, 1, 7, 8, 9]) {
    const encoded = new Uint8Array(length);
    if (length !== 8) {
      for (const codec of [uint64, int64, float64]) throwsKind(() => codec.decode(encoded), "codec");
    }
    if (length !== 1) throwsKind(() => boolean.decode(encoded), "codec");
  }
});

test("integers out of range are a RangeError", () => {
  for (const value of [-1n, 2n ** 64n]) assert.throws(() => uint64.encode(value), RangeError);
  for (const value of [-(2n ** 63n) - 1n, 2n ** 63n]) assert.throws(() => int64.encode(value), RangeError);
});

test("values of another type are a TypeError", () => {
  const wrong: readonly (readonly [encode: (value: never) => unknown, values: readonly unknown[]])[] = [
    [bytes.encode, ["a", 1, undefined, null, [1]]],
    [bytes.rangeOfPrefix, ["a", undefined]],
    [utf8.encode, [1, undefined, null, Uint8Array.of(1), "\ud800"]],
    [utf8.rangeOfPrefix, [1, undefined, "\ud800"]],
    [uint64.encode, [1, "1", undefined, null, true]],
    [int64.encode, [1, "1", undefined, null, true]],
    [float64.encode, [1n, "1", undefined, null, true]],
    [boolean.encode, [1, "true", undefined, null]],
  ];
  for (const [encode, values] of wrong) {
    for (const value of values) assert.throws(() => encode(value as never), TypeError, String(value));
  }
});

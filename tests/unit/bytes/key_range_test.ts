// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes, startsWith } from "../../../src/bytes/compare.ts";
import { EMPTY } from "../../../src/bytes/concat.ts";
import {
  ALL_KEYS,
  compareEnds,
  contains,
  containsByEnd,
  covers,
  intersect,
  isEmptyRange,
  keyAfter,
  type KeyRange,
  prefixEnd,
  type RangeInput,
  toRange,
  underPrefix,
} from "../../../src/bytes/key_range.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";

const b = (...bytes: number[]) => Uint8Array.from(bytes);

// Short keys, so that they are often equal, neighbours or in a range of two others.
const near = () => keys(3);
const ranges = (): fc.Arbitrary<KeyRange> =>
  fc.record({ start: near(), end: near() }, { noNullPrototype: true });

test("toRange() reads bounds, with strings as UTF-8", () => {
  assert.deepEqual(toRange({ start: "a", end: b(0x62) }), { start: b(0x61), end: b(0x62) });
  assert.deepEqual(toRange({ start: "a" }), { start: b(0x61), end: EMPTY });
  assert.deepEqual(toRange({ end: "é" }), { start: EMPTY, end: b(0xc3, 0xa9) });
  assert.deepEqual(toRange({ start: "b", end: "" }), { start: b(0x62), end: EMPTY });
  assert.deepEqual(toRange({ start: undefined, end: undefined }), ALL_KEYS);
  assert.deepEqual(toRange({}), ALL_KEYS);
  assert.equal(isEmptyRange(toRange({ start: "a", end: "a" })), true);
});

test("toRange() reads a prefix as the keys that begin with it, and no others", () => {
  fc.assert(fc.property(near(), near(), (prefix, key) => {
    assert.equal(contains(toRange({ prefix }), key), startsWith(key, prefix));
  }));
  assert.deepEqual(toRange({ prefix: "user/" }), { start: utf8Encode("user/"), end: utf8Encode("user0") });
  assert.deepEqual(toRange({ prefix: "" }), ALL_KEYS);
});

test("toRange() refuses start after end with a RangeError that shows no key", () => {
  assert.throws(() => toRange({ start: "secret", end: "a" }), (error: unknown) => {
    assert.ok(error instanceof RangeError);
    assert.equal(error.message.includes("secret"), false);
    assert.match(error.message, /6 bytes.*1 byte/);
    return true;
  });
});

test("toRange() refuses what is no range with a TypeError", () => {
  const wrong: unknown[] = [
    undefined,
    null,
    "a",
    1,
    b(1),
    ["a", "b"],
    { from: "a" },
    { start: "a", stop: "b" },
    { prefix: "a", start: "a" },
    { prefix: "a", end: "b" },
    { prefix: undefined },
    { prefix: undefined, start: "a" },
    { prefix: null },
    { start: null },
    { start: 1 },
    { prefix: "\ud800" },
  ];
  for (const input of wrong) {
    assert.throws(() => toRange(input as RangeInput), TypeError, JSON.stringify(input));
  }
});

test("[TXN-156] prefixEnd() is the first key after all keys with the prefix, and empty when there is none", () => {
  assert.deepEqual(prefixEnd(b(1, 2)), b(1, 3));
  assert.deepEqual(prefixEnd(b(1, 0xff, 0xff)), b(2));
  assert.deepEqual(prefixEnd(b(0xff, 0xff)), EMPTY);
  assert.deepEqual(prefixEnd(EMPTY), EMPTY);
  const prefix = b(1, 2);
  prefixEnd(prefix);
  assert.deepEqual(prefix, b(1, 2));
});

test("[TXN-156] keyAfter() leaves no room for a key in between", () => {
  fc.assert(fc.property(near(), near(), (key, other) => {
    const next = keyAfter(key);
    assert.ok(compareBytes(key, next) < 0);
    assert.ok(compareBytes(other, key) <= 0 || compareBytes(other, next) >= 0);
  }));
});

test("underPrefix() keeps which keys are in the range, and adds none", () => {
  fc.assert(fc.property(near(), ranges(), near(), near(), (prefix, range, key, foreign) => {
    const under = underPrefix(prefix, range);
    assert.equal(contains(under, Uint8Array.of(...prefix, ...key)), contains(range, key));
    if (!startsWith(foreign, prefix)) assert.equal(contains(under, foreign), false);
  }));
});

test("contains() has the start and not the end", () => {
  const range = toRange({ start: "b", end: "d" });
  const seen = ["a", "b", "c", "c\uffff", "d"].map((key) => contains(range, utf8Encode(key)));
  assert.deepEqual(seen, [false, true, true, true, false]);
  assert.equal(contains(ALL_KEYS, EMPTY), true);
  assert.equal(contains(toRange({ start: "b" }), b(0xff)), true);
});

test("[REG-003] containsByEnd() has the end and not the start, and the unbounded end only if it is the last", () => {
  const range = toRange({ start: "b", end: "d" });
  const seen = ["a", "b", "b\0", "d", "d\0", ""].map((key) => containsByEnd(range, utf8Encode(key)));
  assert.deepEqual(seen, [false, false, true, true, false, false]);
  const last = toRange({ start: "d" });
  assert.deepEqual(["d", "e", ""].map((key) => containsByEnd(last, utf8Encode(key))), [false, true, true]);
});

test("compareEnds() has an empty end after all others", () => {
  const ends = [b(0), b(1), b(255), b(255, 255), EMPTY];
  for (const [i, left] of ends.entries()) {
    for (const [j, right] of ends.entries()) {
      assert.equal(Math.sign(compareEnds(left, right)), Math.sign(i - j));
    }
  }
});

test("intersect() has exactly the keys of both ranges", () => {
  fc.assert(fc.property(ranges(), ranges(), near(), (left, right, key) => {
    const both = intersect(left, right);
    const inBoth = contains(left, key) && contains(right, key);
    assert.equal(both !== undefined && contains(both, key), inBoth);
    if (both !== undefined) {
      assert.equal(isEmptyRange(both), false);
      assert.equal(contains(both, both.start), true);
    }
  }));
});

test("isEmptyRange() is true exactly for a range without its own start", () => {
  fc.assert(fc.property(ranges(), (range) => {
    assert.equal(isEmptyRange(range), !contains(range, range.start));
  }));
});

test("covers() means that the intersection is the inner range", () => {
  fc.assert(fc.property(ranges(), ranges(), (outer, inner) => {
    const both = intersect(outer, inner);
    const same = both !== undefined && compareBytes(both.start, inner.start) === 0 &&
      compareBytes(both.end, inner.end) === 0;
    assert.equal(covers(outer, inner), same || isEmptyRange(inner));
  }));
});

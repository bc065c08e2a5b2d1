// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { concatBytes } from "../../../src/bytes/concat.ts";
import { hex, parseHex } from "../../../src/bytes/hex.ts";
import { decodeBytes, encodeBytes } from "../../../src/bytes/memcomparable.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const GOLDEN: readonly (readonly [key: string, encoded: string])[] = [
  ["", "0000000000000000f7"],
  ["00", "0000000000000000f8"],
  ["010203", "0102030000000000fa"],
  ["01020300", "0102030000000000fb"],
  ["01020304050607", "0102030405060700fe"],
  ["0102030405060708", "0102030405060708ff0000000000000000f7"],
  ["010203040506070809", "0102030405060708ff0900000000000000f8"],
  ["ffffffffffffffff", "ffffffffffffffffff0000000000000000f7"],
];

test("[KS-015] encodeBytes() writes groups of 8 bytes and a marker", () => {
  for (const [key, encoded] of GOLDEN) {
    assert.equal(hex(encodeBytes(parseHex(key))), encoded);
    assert.equal(hex(decodeBytes(parseHex(encoded))), key);
  }
});

test("[KS-015] decodeBytes() reverses encodeBytes()", () => {
  fc.assert(fc.property(keys(40), (key) => {
    assert.deepEqual(decodeBytes(encodeBytes(key)), key);
  }));
});

test("[KS-015] encoded keys keep their order whatever follows them", () => {
  fc.assert(fc.property(keys(), keys(), keys(3), keys(3), (a, b, afterA, afterB) => {
    const order = Math.sign(compareBytes(a, b));
    assert.equal(Math.sign(compareBytes(encodeBytes(a), encodeBytes(b))), order);
    if (order === 0) return;
    const followed = compareBytes(concatBytes(encodeBytes(a), afterA), concatBytes(encodeBytes(b), afterB));
    assert.equal(Math.sign(followed), order);
  }));
});

test("[KS-015] decodeBytes() refuses everything that encodeBytes() does not write", () => {
  const bad: readonly (readonly [encoded: string, why: string])[] = [
    ["", "no group"],
    ["0000000000000000", "a group without its marker"],
    ["0000000000000000f700", "a byte after the last group"],
    ["0000000000000000f70000000000000000f7", "a group after the last one"],
    ["0102030405060708ff", "no group with padding"],
    ["0000000000000000f6", "a marker below 0xf7"],
    ["000000000000000000", "a marker of zero"],
    ["0102030100000000fa", "padding in the middle that is not zero"],
    ["0102030000000001fa", "padding at the end that is not zero"],
    ["0100000000000000f7", "padding that is not zero in an empty key"],
    ["0102030405060700fe0000000000000000f7", "a group that goes on after padding"],
  ];
  for (const [encoded, why] of bad) throwsKind(() => decodeBytes(parseHex(encoded)), "codec", why);
});

test("[KS-015] decodeBytes() accepts no second encoding of a key", () => {
  const groups = fc.array(fc.constantFrom(0x00, 0x01, 0xf6, 0xf7, 0xf8, 0xfe, 0xff), {
    minLength: 9,
    maxLength: 18,
  });
  fc.assert(
    fc.property(groups, (bytes) => {
      const encoded = Uint8Array.from(bytes);
      let key: Uint8Array;
      try {
        key = decodeBytes(encoded);
      } catch {
        return;
      }
      assert.deepEqual(encodeBytes(key), encoded);
    }),
    { numRuns: 2000 },
  );
});

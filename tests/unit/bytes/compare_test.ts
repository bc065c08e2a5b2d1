// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes, equalBytes, startsWith } from "../../../src/bytes/compare.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";

const b = (...bytes: number[]) => Uint8Array.from(bytes);

test("[TXN-156] compareBytes() orders unsigned bytes, a prefix first", () => {
  const sorted = [b(), b(0), b(0, 0), b(0, 255), b(1), b(127), b(128), b(255), b(255, 0), b(255, 255)];
  for (const [i, left] of sorted.entries()) {
    for (const [j, right] of sorted.entries()) {
      assert.equal(Math.sign(compareBytes(left, right)), Math.sign(i - j), `${left} and ${right}`);
    }
  }
});

test("compareBytes() is the order of the bytes written as one character each", () => {
  fc.assert(fc.property(keys(), keys(), (left, right) => {
    const [l, r] = [String.fromCharCode(...left), String.fromCharCode(...right)];
    assert.equal(Math.sign(compareBytes(left, right)), l < r ? -1 : l > r ? 1 : 0);
  }));
});

test("equalBytes() compares content, not identity", () => {
  const bytes = b(1, 2, 3);
  assert.equal(equalBytes(bytes, bytes), true);
  assert.equal(equalBytes(bytes, b(1, 2, 3)), true);
  assert.equal(equalBytes(bytes, b(1, 2)), false);
  assert.equal(equalBytes(bytes, b(1, 2, 4)), false);
  assert.equal(equalBytes(b(), b()), true);
  assert.equal(equalBytes(b(9, 1, 2, 3).subarray(1), bytes), true);
});

test("startsWith() is true exactly for the first bytes", () => {
  fc.assert(fc.property(keys(), keys(3), (bytes, prefix) => {
    const head = Array.from(bytes.slice(0, prefix.length));
    assert.equal(startsWith(bytes, prefix), head.join() === Array.from(prefix).join());
    assert.equal(startsWith(Uint8Array.of(...prefix, ...bytes), prefix), true);
  }));
});

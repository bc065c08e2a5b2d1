// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, copyBytes, EMPTY } from "../../../src/bytes/concat.ts";

test("concatBytes() puts all parts into bytes of their own", () => {
  const part = Uint8Array.of(1, 2);
  const whole = concatBytes(part, EMPTY, Uint8Array.of(3));
  assert.deepEqual(whole, Uint8Array.of(1, 2, 3));
  part[0] = 9;
  assert.deepEqual(whole, Uint8Array.of(1, 2, 3));
  assert.notEqual(concatBytes(part), part);
  assert.deepEqual(concatBytes(), new Uint8Array(0));
});

test("copyBytes() takes a plain copy of a view and of a subclass", () => {
  class Shared extends Uint8Array {
    // What a Node Buffer does: slice() is a view.
    override slice(start?: number, end?: number): Uint8Array<ArrayBuffer> {
      return new Uint8Array(this.buffer as ArrayBuffer).subarray(start, end);
    }
  }
  const source = Shared.from([1, 2, 3]);
  const copy = copyBytes(source);
  source[0] = 9;
  assert.deepEqual(copy, Uint8Array.of(1, 2, 3));
  assert.equal(copy.constructor, Uint8Array);
  assert.equal(copyBytes(Uint8Array.of(7, 8, 9).subarray(1)).buffer.byteLength, 2);
});

test("EMPTY has no bytes", () => {
  assert.equal(EMPTY.length, 0);
  assert.equal(EMPTY.buffer.byteLength, 0);
});

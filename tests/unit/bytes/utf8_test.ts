// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import { nameOf, toBytes, utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { texts } from "../../helpers/arbitrary_keys.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

test("utf8Encode() and utf8Decode() are each other's reverse", () => {
  fc.assert(fc.property(texts(), (text) => {
    const bytes = utf8Encode(text);
    assert.deepEqual(bytes, new TextEncoder().encode(text));
    assert.equal(utf8Decode(bytes), text);
  }));
});

test("utf8Encode() encodes ASCII of every length around its fast path", () => {
  for (let length = 0; length < 100; length++) {
    const text = "k".repeat(length);
    assert.deepEqual(utf8Encode(text), new Uint8Array(length).fill(0x6b));
  }
});

test("utf8Encode() leaves nothing behind when a short string is not ASCII", () => {
  assert.deepEqual(utf8Encode("aé"), Uint8Array.of(0x61, 0xc3, 0xa9));
});

test("utf8Encode() refuses lone surrogates, which would not come back", () => {
  for (const text of ["\ud800", "a\udc00", "\udc00\ud800", "x".repeat(100) + "\ud83d"]) {
    assert.throws(() => utf8Encode(text), TypeError);
  }
});

test("utf8Decode() refuses malformed bytes and keeps the cause", () => {
  for (const bytes of [[0x80], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
    const error = throwsKind(() => utf8Decode(Uint8Array.from(bytes)), "codec");
    assert.notEqual(error.cause, undefined);
  }
});

test("utf8Decode() keeps a byte order mark", () => {
  assert.equal(utf8Decode(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "\ufeffa");
});

test("toBytes() takes strings and bytes, and says what else it saw", () => {
  const bytes = Uint8Array.of(1);
  assert.equal(toBytes(bytes), bytes);
  assert.deepEqual(toBytes("é"), Uint8Array.of(0xc3, 0xa9));
  const wrong: unknown[] = [
    undefined,
    null,
    1,
    1n,
    true,
    Symbol("s"),
    [1],
    {},
    new Uint16Array(1),
    new ArrayBuffer(1),
  ];
  for (const value of wrong) assert.throws(() => toBytes(value as string), TypeError);
});

test("toBytes() takes a Uint8Array of another realm", () => {
  const foreign: Uint8Array = runInNewContext("Uint8Array.of(1, 2, 3).subarray(1)");
  const bytes = toBytes(foreign);
  assert.ok(bytes instanceof Uint8Array);
  assert.deepEqual(bytes, Uint8Array.of(2, 3));
});

test("nameOf() names the type and never the content", () => {
  const seen = [undefined, null, "secret", 1, {}, [], new Map(), Object.create(null)].map(nameOf);
  assert.deepEqual(seen, [
    "undefined",
    "null",
    "a string",
    "a number",
    'an object of class "Object"',
    'an object of class "Array"',
    'an object of class "Map"',
    "an object",
  ]);
});

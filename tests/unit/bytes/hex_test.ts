// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { escapeBytes, hex, parseEscaped, parseHex, shortKey } from "../../../src/bytes/hex.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";

const ALL = Uint8Array.from({ length: 256 }, (_, byte) => byte);

test("hex() and parseHex() are each other's reverse", () => {
  fc.assert(fc.property(keys(), (bytes) => {
    assert.deepEqual(parseHex(hex(bytes)), bytes);
    assert.deepEqual(parseHex(hex(bytes).toUpperCase()), bytes);
  }));
  assert.deepEqual(parseHex(hex(ALL)), ALL);
  assert.equal(hex(Uint8Array.of(0, 10, 255)), "000aff");
});

test("parseHex() refuses what is not two digits per byte", () => {
  for (const text of ["0", "0g", " 00", "00 ", "0x00", "00\n", "٠٠"]) {
    assert.throws(() => parseHex(text), TypeError);
  }
});

test("escapeBytes() and parseEscaped() are each other's reverse", () => {
  fc.assert(fc.property(keys(), (bytes) => {
    assert.deepEqual(parseEscaped(escapeBytes(bytes)), bytes);
  }));
  assert.deepEqual(parseEscaped(escapeBytes(ALL)), ALL);
});

test("escapeBytes() shows printable ASCII and escapes the rest", () => {
  assert.equal(escapeBytes(utf8Encode('a b~"\\\n\x7fé')), 'a b~"\\\\\\x0a\\x7f\\xc3\\xa9');
});

test("parseEscaped() takes other characters as their UTF-8 bytes", () => {
  assert.deepEqual(parseEscaped("é\\xFF"), Uint8Array.of(0xc3, 0xa9, 0xff));
});

test("parseEscaped() refuses a backslash that starts no escape", () => {
  for (const text of ["\\", "a\\", "\\n", "\\x", "\\x1", "\\x1g", "\\xg1", "\\X00", "\\\\\\"]) {
    assert.throws(() => parseEscaped(text), TypeError, text);
  }
});

test("shortKey() tells only the length unless it may reveal the key", () => {
  assert.equal(shortKey(Uint8Array.of(1, 2), false), "? (2 bytes)");
  assert.equal(shortKey(Uint8Array.of(1), false), "? (1 byte)");
  assert.equal(shortKey(Uint8Array.of(), false), "? (0 bytes)");
  assert.equal(shortKey(Uint8Array.of(1, 0xab), true), "01ab");
  assert.equal(shortKey(Uint8Array.of(), true), "(empty)");
  assert.equal(shortKey(new Uint8Array(32), true), "00".repeat(32));
  assert.equal(shortKey(new Uint8Array(33), true), `${"00".repeat(32)}... (33 bytes)`);
});

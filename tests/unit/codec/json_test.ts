// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { json } from "../../../src/codec/json.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

test("json() keeps every JSON value", () => {
  const codec = json<unknown>();
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    // JSON has no -0.
    const kept = JSON.parse(JSON.stringify(value));
    assert.deepEqual(codec.decode(codec.encode(value)), kept);
  }));
  assert.equal(codec.decode(codec.encode(null)), null);
});

test("json() writes compact UTF-8 text", () => {
  assert.deepEqual(json<{ n: string }>().encode({ n: "é" }), utf8Encode('{"n":"é"}'));
});

test("json() escapes a lone surrogate, so that it comes back", () => {
  const codec = json<string>();
  assert.equal(codec.decode(codec.encode("\ud800")), "\ud800");
});

test("json() refuses values without a JSON text with a TypeError", () => {
  const loop: { self?: unknown } = {};
  loop.self = loop;
  for (const value of [undefined, () => 1, Symbol("s"), 1n, loop, { toJSON: () => undefined }]) {
    assert.throws(() => json<unknown>().encode(value), TypeError);
  }
});

test("json() refuses malformed bytes and keeps the parser's error as the cause", () => {
  const error = throwsKind(() => json<unknown>().decode(utf8Encode("{nope")), "codec");
  assert.ok(error.cause instanceof SyntaxError);
  throwsKind(() => json<unknown>().decode(new Uint8Array(0)), "codec");
  throwsKind(() => json<unknown>().decode(Uint8Array.of(0x22, 0xff, 0x22)), "codec");
});

test("json() shows no stored data in the message of its error", () => {
  const error = throwsKind(() => json<unknown>().decode(utf8Encode("secret")), "codec");
  assert.equal(error.message.includes("secret"), false);
});

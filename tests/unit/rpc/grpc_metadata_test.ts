// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  assertMetadata,
  decodeGrpcMessage,
  encodeGrpcMessage,
  formatGrpcTimeout,
  metadataOfHeaders,
  parseGrpcTimeout,
  statusOfHeaders,
} from "../../../src/rpc/grpc_metadata.ts";

test("metadataOfHeaders() drops pseudo fields, joins repeated values and leaves -bin as it is", () => {
  assert.deepEqual(
    metadataOfHeaders({ ":status": 200, "a": "1", "b": ["x", "y"], "c-bin": "AAE=", "d": undefined }),
    { "a": "1", "b": "x, y", "c-bin": "AAE=" },
  );
});

test("[RPC-012] assertMetadata() takes what may be sent", () => {
  assertMetadata({ "tikv-forwarded-host": "127.0.0.1:20160", "x-bin": "AAE=", "a_b.c-1": "" });
});

test("assertMetadata() refuses names and values that may not be sent", () => {
  const bad = [
    { "Upper": "1" },
    { ":path": "/x" },
    { "": "1" },
    { "with space": "1" },
    { "grpc-timeout": "1S" },
    { "te": "trailers" },
    { "content-type": "text/plain" },
    { "connection": "close" },
    { "x": "ümlaut" },
    { "x": "line\nbreak" },
  ];
  for (const metadata of bad) {
    assert.throws(
      () => assertMetadata(metadata as Record<string, string>),
      TypeError,
      JSON.stringify(metadata),
    );
  }
});

test("statusOfHeaders() reads code and message, and UNKNOWN for a status that is no number", () => {
  assert.deepEqual(statusOfHeaders({ "grpc-status": "0" }), { code: 0, message: "" });
  assert.deepEqual(statusOfHeaders({ "grpc-status": "14", "grpc-message": "no%20leader" }), {
    code: 14,
    message: "no leader",
  });
  assert.deepEqual(statusOfHeaders({ "grpc-status": "-1" }), { code: 2, message: "" });
  assert.equal(statusOfHeaders({ "content-type": "text/html" }), undefined);
});

test("encodeGrpcMessage() and decodeGrpcMessage() are inverse for every text", () => {
  for (const text of ["", "plain text", "100 %", "%41", "zeile\nzwei", "größe 漢字 🙂", "\u0000\u007f"]) {
    const encoded = encodeGrpcMessage(text);
    assert.match(encoded, /^[\x20-\x7e]*$/);
    assert.equal(decodeGrpcMessage(encoded), text);
  }
});

test("decodeGrpcMessage() leaves what is not well-formed as it is", () => {
  assert.equal(decodeGrpcMessage("50% of %zz %4"), "50% of %zz %4");
  assert.equal(decodeGrpcMessage("%E6%BC"), "\ufffd");
});

test("formatGrpcTimeout() never has more than eight digits and never says zero", () => {
  assert.equal(formatGrpcTimeout(0), "1m");
  assert.equal(formatGrpcTimeout(0.2), "1m");
  assert.equal(formatGrpcTimeout(1500.4), "1501m");
  assert.equal(formatGrpcTimeout(99_999_999), "99999999m");
  assert.equal(formatGrpcTimeout(100_000_000), "100000S");
  assert.equal(formatGrpcTimeout(1e12), "277778H");
  assert.equal(formatGrpcTimeout(1e300), "99999999H");
});

test("parseGrpcTimeout() reads each unit and ignores nonsense", () => {
  assert.deepEqual(
    ["2H", "2M", "2S", "2m", "2000u", "2000000n"].map((text) => parseGrpcTimeout(text)),
    [7_200_000, 120_000, 2000, 2, 2, 2],
  );
  for (const text of [undefined, "", "S", "5", "-1S", "1s", "123456789m"]) {
    assert.equal(parseGrpcTimeout(text), undefined);
  }
});

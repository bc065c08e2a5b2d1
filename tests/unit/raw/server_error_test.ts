// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ErrorKind } from "../../../src/errors.ts";
import { assertNoPairError, serverError } from "../../../src/raw/server_error.ts";

// As TiKV writes them: `Display` in the answers to single requests, `Debug` in the pairs of scans.
const TEXTS: readonly [text: string, kind: ErrorKind][] = [
  ["ttl is not enabled, but get put request with ttl", "unsupported"],
  ["Error(TtlNotEnabled)", "unsupported"],
  [
    "Api version in request does not match with TiKV storage, cmd: raw_get, storage: V1ttl, request: V2",
    "unsupported",
  ],
  [
    "Error(ApiVersionNotMatched { cmd: raw_scan, storage_api_version: V1, req_api_version: V2 })",
    "unsupported",
  ],
  [
    "Key mode mismatched with the request mode, cmd: raw_get, storage: V2, key: 7365637265746B6579",
    "unsupported",
  ],
  ['Error(InvalidKeyMode { cmd: raw_get, key: "7365637265746B6579" })', "unsupported"],
  ["cf is deprecated in API V2, cf name: write", "unsupported"],
  ["invalid cf name: x", "unsupported"],
  ['Error(InvalidCf("x"))', "unsupported"],
  ["max key size exceeded, size: 9000, limit: 8192", "too-large"],
  ["Coprocessor plugin is disabled!", "unsupported"],
  ["something that nobody has seen", "server"],
];

test("[RAW-004] [RAW-022] an error text of a store becomes the kind that a caller can act on", () => {
  for (const [text, kind] of TEXTS) assert.equal(serverError("RawGet", text).kind, kind, text);
});

test("a key in a store's text does not get into the message", () => {
  for (const [text] of TEXTS) {
    assert.doesNotMatch(serverError("RawGet", text).message, /7365637265746B6579/, text);
  }
});

test("[RAW-005] an error of a pair is one whatever field it is in", () => {
  assert.doesNotThrow(() => assertNoPairError("RawScan", undefined));
  for (const error of [{ abort: "broken" }, { retryable: "broken" }, { abort: "", retryable: "broken" }]) {
    assert.throws(() => assertNoPairError("RawScan", error), /broken/);
  }
  assert.throws(() => assertNoPairError("RawScan", {}), /without text/);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { concatBytes, EMPTY } from "../../../src/bytes/concat.ts";
import { crc64 } from "../../../src/bytes/crc64.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";

// Made with hash/crc64 of the Go standard library, table ECMA. The third is the check value of
// CRC-64/XZ in the catalogue of CRC algorithms.
const GOLDEN: readonly (readonly [bytes: Uint8Array, checksum: bigint])[] = [
  [EMPTY, 0n],
  [utf8Encode("a"), 0x330284772e652b05n],
  [utf8Encode("123456789"), 0x995dc9bbdf1939fan],
  [utf8Encode("hello world!"), 0x8483c0fa32607d61n],
  [new Uint8Array(4), 0xf4a586351e1b9f4bn],
  [utf8Encode("r\0\0\0keyvalue"), 0x03727054003d168cn],
  [Uint8Array.from({ length: 1000 }, (_, i) => i * 7), 0x4bb90d757d4efe3dn],
];

test("[RAW-015] crc64() is CRC-64/XZ", () => {
  for (const [bytes, checksum] of GOLDEN) assert.equal(crc64(bytes), checksum);
});

test("[RAW-015] crc64() with a seed continues the checksum of what came before", () => {
  fc.assert(fc.property(keys(), keys(), (key, value) => {
    assert.equal(crc64(value, crc64(key)), crc64(concatBytes(key, value)));
  }));
});

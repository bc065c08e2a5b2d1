// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { lockTtlMs } from "../../../src/txn/commit/requests.ts";

const MIB = 1024 * 1024;

test("[TXN-075] lockTtlMs() grows with the square root of the size, from 16 KiB and 3 s up to 20 s", () => {
  const ttls = [0, 16 * 1024 - 1, 16 * 1024, 256 * 1024, MIB, 4 * MIB, 11 * MIB, 12 * MIB, 1024 * MIB];
  assert.deepEqual(
    ttls.map((size) => lockTtlMs(size, 0)),
    [3_000, 3_000, 3_000, 3_000, 6_000, 12_000, 19_899, 20_000, 20_000],
  );
});

test("[TXN-075] lockTtlMs() adds what the transaction took so far, beyond any limit", () => {
  assert.deepEqual([lockTtlMs(0, 70_000), lockTtlMs(1024 * MIB, 70_000)], [73_000, 90_000]);
});

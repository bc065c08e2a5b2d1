// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { farmFingerprint64 } from "../../../src/bytes/farm_hash.ts";

/** Made by the Go module github.com/dgryski/go-farm: length, and the fingerprint of `7 * i + length`. */
const FINGERPRINTS: readonly (readonly [number, bigint])[] = [
  [0, 11160318154034397263n],
  [1, 5161771770385946686n],
  [2, 17348493801328108482n],
  [3, 4662423180930907492n],
  [4, 13909349088106176104n],
  [7, 17233423938440663304n],
  [8, 12627020141284786728n],
  [9, 15889908196168497750n],
  [15, 3575310498258597009n],
  [16, 9887023220782602712n],
  [17, 16960068419638019727n],
  [31, 12025085129596068594n],
  [32, 3992320350721670009n],
  [33, 12457070707786611405n],
  [63, 15038265055984948585n],
  [64, 11083064061832698092n],
  [65, 444801980686921533n],
  [127, 5926385096735868780n],
  [128, 15838856113771212233n],
  [129, 5067021833811671751n],
  [200, 202520530910294351n],
  [1000, 14110994584816394816n],
];

test("farmFingerprint64() is FarmHash's for every length class", () => {
  for (const [length, fingerprint] of FINGERPRINTS) {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 7 + length) & 0xff);
    assert.equal(farmFingerprint64(bytes), fingerprint, `length ${length}`);
    const offset = new Uint8Array(length + 3);
    offset.set(bytes, 3);
    assert.equal(farmFingerprint64(offset.subarray(3)), fingerprint);
  }
});

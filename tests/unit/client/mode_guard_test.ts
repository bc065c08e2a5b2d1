// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { type DataMode, ModeGuard } from "../../../src/client/mode_guard.ts";
import { hasKind } from "../../helpers/has_kind.ts";

for (const [first, second] of [["raw", "txn"], ["txn", "raw"]] as const) {
  test(`in API version 1 the first kind of data is the only one (${first} before ${second})`, () => {
    const guard = new ModeGuard(undefined, false);
    guard.use(first);
    assert.equal(guard.mode, first);
    assert.throws(() => guard.use(second), hasKind("unsupported"));
    guard.use(first);
  });

  test(`where keys do not meet, or both are allowed, both can be used (${first} before ${second})`, () => {
    for (const guard of [new ModeGuard(undefined, true), new ModeGuard("mixed", false)]) {
      guard.use(first);
      guard.use(second);
      assert.equal(guard.mode, first);
    }
  });

  test(`a client that was told what there is refuses the other (${first}, not ${second})`, () => {
    for (const hasOwnKeys of [false, true]) {
      const guard = new ModeGuard(first, hasOwnKeys);
      assert.equal(guard.mode, first);
      assert.throws(() => guard.use(second), hasKind("unsupported"));
      guard.use(first);
    }
  });
}

test("before anything is used keys are those of raw data", () => {
  const modes: readonly (DataMode | "mixed" | undefined)[] = [undefined, "mixed", "raw"];
  for (const mode of modes) assert.equal(new ModeGuard(mode, false).mode, "raw");
});

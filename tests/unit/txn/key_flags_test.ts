// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  applyFlagChanges,
  type FlagChange,
  hasFlag,
  KEY_FLAG,
  PERSISTENT_FLAGS,
} from "../../../src/txn/buffer/key_flags.ts";

type FlagName = keyof typeof KEY_FLAG;

const ALL = Object.values(KEY_FLAG).reduce((all, bit) => all | bit, 0);

function namesOf(flags: number): FlagName[] {
  return (Object.keys(KEY_FLAG) as FlagName[]).filter((name) => hasFlag(flags, KEY_FLAG[name]));
}

// What each change does to no flags at all, and which it takes from all of them.
const EFFECTS: Readonly<Record<FlagChange, readonly [sets: FlagName[], clears: FlagName[]]>> = {
  "presume-not-exists": [["presumeNotExists", "needCheckExists"], []],
  "unmark-presume-not-exists": [[], ["presumeNotExists", "previousPresumeNotExists", "needCheckExists"]],
  "previous-presume-not-exists": [["previousPresumeNotExists"], []],
  "exists-checked": [[], ["needCheckExists"]],
  "locked": [["locked"], []],
  "unlocked": [[], ["locked"]],
  "locked-in-share-mode": [["lockedInShareMode"], []],
  "not-locked-in-share-mode": [[], ["lockedInShareMode"]],
  "locked-value-exists": [["lockedValueExists"], ["needConstraintCheckInPrewrite"]],
  "locked-value-missing": [[], ["lockedValueExists", "needConstraintCheckInPrewrite"]],
  "need-locked": [["needLocked"], []],
  "no-need-locked": [[], ["needLocked"]],
  "prewrite-only": [["prewriteOnly"], []],
  "ignored-in-commit": [["ignoredInCommit"], []],
  "readable": [["readable"], []],
  "newly-inserted": [["newlyInserted"], []],
  "assert-exist": [["assertExist"], ["assertNotExist"]],
  "assert-not-exist": [["assertNotExist"], ["assertExist"]],
  "assert-unknown": [["assertExist", "assertNotExist"], []],
  "assert-none": [[], ["assertExist", "assertNotExist"]],
  "need-constraint-check": [["needConstraintCheckInPrewrite"], []],
  "no-constraint-check": [[], ["needConstraintCheckInPrewrite"]],
};

for (const [change, [sets, clears]] of Object.entries(EFFECTS)) {
  test(`[TXN-057] the change "${change}" touches its flags and no others`, () => {
    const only = [change as FlagChange];
    assert.deepEqual(namesOf(applyFlagChanges(0, only)).toSorted(), sets.toSorted());
    assert.deepEqual(namesOf(ALL & ~applyFlagChanges(ALL, only)).toSorted(), clears.toSorted());
  });
}

test("[TXN-057] every flag has a bit of its own, all within 16", () => {
  const bits = Object.values(KEY_FLAG);
  assert.equal(bits.length, 14);
  assert.equal(new Set(bits).size, bits.length);
  for (const bit of bits) assert.ok(bit > 0 && bit < 1 << 16 && (bit & (bit - 1)) === 0);
});

test("[TXN-057] locks and the check that is still owed outlive a stage, nothing else does", () => {
  assert.deepEqual(namesOf(PERSISTENT_FLAGS), [
    "locked",
    "lockedInShareMode",
    "lockedValueExists",
    "needConstraintCheckInPrewrite",
  ]);
});

test("applyFlagChanges() makes the changes in order", () => {
  assert.equal(applyFlagChanges(0, ["locked", "unlocked"]), 0);
  assert.equal(applyFlagChanges(0, ["unlocked", "locked"]), KEY_FLAG.locked);
  assert.equal(applyFlagChanges(KEY_FLAG.readable, []), KEY_FLAG.readable);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { type PendingWrite, WriteBuffer } from "../../../src/txn/buffer/buffer.ts";
import { type FlagChange, KEY_FLAG } from "../../../src/txn/buffer/key_flags.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const b = utf8Encode;
const A = b("a");
const B = b("b");
const valueOf = (text: string): PendingWrite => ({ kind: "value", value: b(text) });

/** Keys, flags and values, and the size. */
function contentOf(buffer: WriteBuffer): unknown {
  const entries = [...buffer.entries(undefined, { lockOnly: true })];
  return { entries, keyCount: buffer.keyCount, sizeBytes: buffer.sizeBytes };
}

test("[TXN-052] cleanup() undoes values, tombstones and new keys of its stage and of those inside", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("old"));
  buffer.delete(B);
  const before = contentOf(buffer);
  const outer = buffer.stage();
  buffer.put(A, b("new"));
  buffer.put(A, b("newer value"));
  const inner = buffer.stage();
  assert.deepEqual([outer, inner, buffer.depth], [1, 2, 2]);
  buffer.put(B, b("2"));
  buffer.delete(A);
  buffer.put(b("c"), b("3"), ["presume-not-exists"]);
  buffer.release(inner);
  assert.deepEqual(buffer.get(B), valueOf("2"));
  buffer.cleanup(outer);
  assert.deepEqual(contentOf(buffer), before);
  assert.equal(buffer.depth, 0);
});

test("[TXN-052] release() keeps what its stage wrote, and a cleaned inner stage leaves the outer one", () => {
  const buffer = new WriteBuffer();
  const outer = buffer.stage();
  buffer.put(A, b("outer"));
  const inner = buffer.stage();
  buffer.put(A, b("inner"));
  buffer.cleanup(inner);
  assert.deepEqual(buffer.get(A), valueOf("outer"));
  buffer.release(outer);
  assert.deepEqual(buffer.get(A), valueOf("outer"));
  assert.equal(buffer.depth, 0);
});

test("[TXN-052] only the newest stage can be ended; cleanup() ignores 0 and stages that are not open", () => {
  const buffer = new WriteBuffer();
  for (const handle of [0, 1]) throwsKind(() => buffer.release(handle), "misuse");
  const outer = buffer.stage();
  const inner = buffer.stage();
  buffer.put(A, b("1"));
  const before = contentOf(buffer);
  for (const handle of [0, outer, 3, -1, NaN]) {
    throwsKind(() => buffer.release(handle), "misuse", `${handle}`);
  }
  for (const handle of [outer, -1, NaN]) throwsKind(() => buffer.cleanup(handle), "misuse", `${handle}`);
  for (const handle of [0, 3]) buffer.cleanup(handle);
  assert.deepEqual(contentOf(buffer), before);
  assert.equal(buffer.depth, 2);
  buffer.release(inner);
  buffer.cleanup(inner);
  assert.deepEqual(contentOf(buffer), before);
  buffer.cleanup(outer);
  assert.equal(buffer.keyCount, 0);
});

test("[TXN-052] persistent flags of a key that a cleaned stage added stay, the others go with the key", () => {
  const persistent: readonly [FlagChange, keyof typeof KEY_FLAG][] = [
    ["locked", "locked"],
    ["locked-in-share-mode", "lockedInShareMode"],
    ["locked-value-exists", "lockedValueExists"],
    ["need-constraint-check", "needConstraintCheckInPrewrite"],
  ];
  for (const [change, flag] of persistent) {
    const buffer = new WriteBuffer();
    buffer.stage();
    buffer.put(A, b("1"), ["presume-not-exists", change]);
    buffer.put(B, b("2"), ["presume-not-exists"]);
    buffer.cleanup(1);
    const kept = { key: A, flags: KEY_FLAG[flag], write: { kind: "lock-only" } };
    assert.deepEqual(contentOf(buffer), { entries: [kept], keyCount: 1, sizeBytes: 1 });
  }
});

test("[TXN-052] a key that an inner stage left behind locked still goes with the outer one when unlocked", () => {
  const buffer = new WriteBuffer();
  buffer.stage();
  buffer.stage();
  buffer.put(A, b("1"), ["locked"]);
  buffer.cleanup(2);
  assert.equal(buffer.flags(A), KEY_FLAG.locked);
  buffer.updateFlags(A, ["unlocked", "readable"]);
  buffer.cleanup(1);
  assert.equal(buffer.flags(A), undefined);
});

test("[TXN-053] revert() undoes an overwrite of the same length although no stage is open", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("v1"));
  const checkpoint = buffer.checkpoint();
  buffer.put(A, b("v2"));
  buffer.revert(checkpoint);
  assert.deepEqual(buffer.get(A), valueOf("v1"));
});

test("[TXN-053] revert() undoes overwrites on either side of later checkpoints and released stages", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("v1"));
  const first = buffer.checkpoint();
  buffer.put(A, b("v2"));
  const second = buffer.checkpoint();
  buffer.put(A, b("v3"));
  buffer.stage();
  buffer.put(A, b("v4"));
  buffer.put(B, b("new"));
  buffer.release(1);
  buffer.revert(second);
  assert.deepEqual(buffer.get(A), valueOf("v2"));
  assert.equal(buffer.get(B), undefined);
  buffer.put(A, b("v5"));
  buffer.revert(second);
  assert.deepEqual(buffer.get(A), valueOf("v2"));
  buffer.revert(first);
  assert.deepEqual(buffer.get(A), valueOf("v1"));
});

test("[TXN-053] revert() takes back flags with their value, except for what is held in the cluster", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("v1"), ["assert-exist"]);
  const checkpoint = buffer.checkpoint();
  buffer.put(A, b("v2"), ["readable", "locked", "assert-not-exist"]);
  buffer.revert(checkpoint);
  assert.deepEqual(buffer.get(A), valueOf("v1"));
  assert.equal(buffer.flags(A), KEY_FLAG.assertExist | KEY_FLAG.locked);
});

test("[TXN-053] a delete is not forgotten when an insert after it is undone", () => {
  for (const undo of ["cleanup", "revert"]) {
    const buffer = new WriteBuffer();
    buffer.delete(A);
    const checkpoint = undo === "revert" ? buffer.checkpoint() : undefined;
    const handle = undo === "cleanup" ? buffer.stage() : 0;
    buffer.put(A, b("new"), ["newly-inserted", "presume-not-exists"]);
    if (checkpoint === undefined) buffer.cleanup(handle);
    else buffer.revert(checkpoint);
    assert.deepEqual([...buffer.entries()], [{ key: A, flags: 0, write: { kind: "tombstone" } }], undo);
  }
});

test("[TXN-057] a constraint check that an undone write had made unnecessary is owed again, unless locked", () => {
  for (const isLocked of [false, true]) {
    const buffer = new WriteBuffer();
    buffer.put(A, b("v1"), ["need-constraint-check"]);
    const handle = buffer.stage();
    buffer.put(A, b("v2"), isLocked ? ["locked", "locked-value-missing"] : []);
    buffer.cleanup(handle);
    assert.equal(buffer.flags(A), isLocked ? KEY_FLAG.locked : KEY_FLAG.needConstraintCheckInPrewrite);
  }
});

test("[TXN-052] flags that a stage changed on a key with nothing else go back with it", () => {
  const buffer = new WriteBuffer();
  buffer.updateFlags(A, ["need-locked"]);
  const before = contentOf(buffer);
  const handle = buffer.stage();
  buffer.updateFlags(A, ["no-need-locked"]);
  assert.equal(buffer.keyCount, 0);
  buffer.updateFlags(B, ["readable"]);
  buffer.cleanup(handle);
  assert.deepEqual(contentOf(buffer), before);
});

test("[TXN-053] revert() works inside a stage, and not across the start of one that is open", () => {
  const buffer = new WriteBuffer();
  const outside = buffer.checkpoint();
  buffer.stage();
  buffer.put(A, b("v1"));
  const inside = buffer.checkpoint();
  buffer.put(A, b("v2"));
  buffer.revert(inside);
  assert.deepEqual(buffer.get(A), valueOf("v1"));
  throwsKind(() => buffer.revert(outside), "misuse");
  assert.deepEqual(buffer.get(A), valueOf("v1"));
  buffer.cleanup(1);
  throwsKind(() => buffer.revert(inside), "misuse");
  buffer.revert(outside);
  assert.equal(buffer.keyCount, 0);
});

test("[TXN-053] a checkpoint that was reverted past, or of another buffer, is refused", () => {
  const buffer = new WriteBuffer();
  const first = buffer.checkpoint();
  buffer.put(A, b("v1"));
  const second = buffer.checkpoint();
  buffer.revert(first);
  buffer.put(A, b("v2"));
  buffer.put(B, b("v2"));
  for (const stranger of [second, new WriteBuffer().checkpoint()]) {
    throwsKind(() => buffer.revert(stranger), "misuse");
  }
  assert.deepEqual(buffer.get(A), valueOf("v2"));
});

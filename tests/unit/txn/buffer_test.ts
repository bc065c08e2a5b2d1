// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { hex } from "../../../src/bytes/hex.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { type BufferEntry, type PendingWrite, WriteBuffer } from "../../../src/txn/buffer/buffer.ts";
import { hasFlag, KEY_FLAG } from "../../../src/txn/buffer/key_flags.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const b = utf8Encode;
const A = b("a");
const B = b("b");
const valueOf = (text: string): PendingWrite => ({ kind: "value", value: b(text) });
const TOMBSTONE: PendingWrite = { kind: "tombstone" };
const LOCK_ONLY: PendingWrite = { kind: "lock-only" };

/** All there is to see of a buffer. */
function contentOf(buffer: WriteBuffer): unknown {
  const entries = [...buffer.entries(undefined, { lockOnly: true })];
  return { entries, keyCount: buffer.keyCount, sizeBytes: buffer.sizeBytes, isDirty: buffer.isDirty };
}

const keysOf = (entries: Iterable<BufferEntry>) =>
  [...entries].map(({ key }) => new TextDecoder().decode(key));

test("[TXN-050] get() tells a value, a tombstone, flags only and an unknown key apart, by content", () => {
  const buffer = new WriteBuffer();
  buffer.put(b("value"), b("1"));
  buffer.delete(b("tombstone"));
  buffer.updateFlags(b("flags"), ["locked"]);
  assert.deepEqual(buffer.get(b("value")), valueOf("1"));
  assert.deepEqual(buffer.get(b("tombstone")), TOMBSTONE);
  assert.deepEqual(buffer.get(b("flags")), LOCK_ONLY);
  assert.equal(buffer.flags(b("flags")), KEY_FLAG.locked);
  assert.equal(buffer.get(b("unknown")), undefined);
  assert.equal(buffer.flags(b("unknown")), undefined);
});

test("[TXN-050] the newest write of a key counts, in its value and in the size", () => {
  const buffer = new WriteBuffer();
  const steps: readonly [() => void, PendingWrite, sizeBytes: number][] = [
    [() => buffer.put(A, b("long value")), valueOf("long value"), 11],
    [() => buffer.put(A, b("v")), valueOf("v"), 2],
    [() => buffer.delete(A), TOMBSTONE, 1],
    [() => buffer.updateFlags(A, ["locked"]), TOMBSTONE, 1],
    [() => buffer.put(A, b("w")), valueOf("w"), 2],
  ];
  for (const [write, expected, sizeBytes] of steps) {
    write();
    assert.deepEqual(buffer.get(A), expected);
    assert.deepEqual([buffer.sizeBytes, buffer.keyCount], [sizeBytes, 1]);
  }
});

test("[TXN-033] put() refuses an empty value and changes nothing", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("1"));
  const before = contentOf(buffer);
  for (const key of [A, B]) assert.throws(() => buffer.put(key, b(""), ["locked"]), RangeError);
  assert.deepEqual(contentOf(buffer), before);
});

test("the buffer does not see what a caller does to its bytes afterwards", () => {
  const buffer = new WriteBuffer();
  const [key, value] = [b("key"), b("value")];
  buffer.put(key, value);
  key.fill(0);
  value.fill(0);
  assert.deepEqual(buffer.get(b("key")), valueOf("value"));
  assert.deepEqual(keysOf(buffer.entries()), ["key"]);
});

test("[TXN-051] a write over a limit is too large and changes nothing", () => {
  const full = (limits: ConstructorParameters<typeof WriteBuffer>[0]): WriteBuffer => {
    const buffer = new WriteBuffer(limits);
    buffer.put(A, b("1234"));
    buffer.delete(B);
    return buffer;
  };
  const long = new Uint8Array(65_536);
  const refused: readonly [string, WriteBuffer, (buffer: WriteBuffer) => void][] = [
    ["key", full({}), (buffer) => buffer.put(long, b("1"))],
    ["deleted key", full({}), (buffer) => buffer.delete(long)],
    ["locked key", full({}), (buffer) => buffer.updateFlags(long, ["locked"])],
    ["entry", full({ maxEntryBytes: 5 }), (buffer) => buffer.put(A, b("12345"), ["locked"])],
    ["total by a longer value", full({ maxTotalBytes: 6 }), (buffer) => buffer.put(A, b("12345"))],
    ["total by a new key", full({ maxTotalBytes: 6 }), (buffer) => buffer.put(b("c"), b("1"))],
    ["total by a tombstone", full({ maxTotalBytes: 6 }), (buffer) => buffer.delete(b("c"))],
    ["total by flags", full({ maxTotalBytes: 6 }), (buffer) => buffer.updateFlags(b("c"), [])],
    ["keys", full({ maxKeys: 2 }), (buffer) => buffer.put(b("c"), b("1"))],
    ["keys by flags", full({ maxKeys: 2 }), (buffer) => buffer.updateFlags(b("c"), ["locked"])],
  ];
  for (const [why, buffer, write] of refused) {
    const before = contentOf(buffer);
    throwsKind(() => write(buffer), "too-large", why);
    assert.deepEqual(contentOf(buffer), before, why);
  }
});

test("[TXN-051] what just fits is taken, and so is what makes a full buffer smaller", () => {
  const buffer = new WriteBuffer({ maxEntryBytes: 5, maxTotalBytes: 6, maxKeys: 2 });
  buffer.put(A, b("1234"));
  buffer.delete(B);
  buffer.put(A, b("4321"));
  buffer.updateFlags(A, ["locked"]);
  buffer.delete(A);
  buffer.put(B, b("1234"));
  assert.equal(buffer.sizeBytes, 6);
  new WriteBuffer().delete(new Uint8Array(65_535));
});

test("[TXN-051] a buffer that a cleanup made larger than the limit takes what makes it smaller, and no more", () => {
  const buffer = new WriteBuffer({ maxTotalBytes: 6 });
  buffer.put(A, b("1234"));
  buffer.stage();
  buffer.delete(A);
  buffer.updateFlags(b("ccccc"), ["locked"]);
  buffer.cleanup(1);
  assert.equal(buffer.sizeBytes, 10);
  throwsKind(() => buffer.put(A, b("12345")), "too-large");
  buffer.put(A, b("4321"));
  buffer.delete(A);
  assert.equal(buffer.sizeBytes, 6);
});

test("a limit that is negative or not a number is a RangeError", () => {
  for (const limit of [-1, NaN, -Infinity]) {
    for (const name of ["maxEntryBytes", "maxTotalBytes", "maxKeys"]) {
      assert.throws(() => new WriteBuffer({ [name]: limit }), RangeError);
    }
  }
});

test("[TXN-057] a value or a tombstone clears the owed constraint check unless it sets it itself", () => {
  const buffer = new WriteBuffer();
  const owesCheck = () => hasFlag(buffer.flags(A) ?? 0, KEY_FLAG.needConstraintCheckInPrewrite);
  for (const write of [buffer.put.bind(buffer, A, b("1")), buffer.delete.bind(buffer, A)]) {
    write(["need-constraint-check"]);
    assert.equal(owesCheck(), true);
    buffer.updateFlags(A, ["locked"]);
    assert.equal(owesCheck(), true);
    write();
    assert.equal(owesCheck(), false);
    assert.equal(hasFlag(buffer.flags(A) ?? 0, KEY_FLAG.locked), true);
  }
});

test("[TXN-055] entries() has tombstones, and flags-only keys if asked for, both ways and in bounds", () => {
  const buffer = new WriteBuffer();
  buffer.put(b("d"), b("4"));
  buffer.updateFlags(b("c"), ["locked"]);
  buffer.delete(b("b"), ["assert-exist"]);
  buffer.put(b("a"), b("1"));
  assert.deepEqual([...buffer.entries()], [
    { key: b("a"), flags: 0, write: valueOf("1") },
    { key: b("b"), flags: KEY_FLAG.assertExist, write: TOMBSTONE },
    { key: b("d"), flags: 0, write: valueOf("4") },
  ]);
  assert.deepEqual(keysOf(buffer.entries(undefined, { reverse: true })), ["d", "b", "a"]);
  assert.deepEqual(keysOf(buffer.entries(undefined, { lockOnly: true })), ["a", "b", "c", "d"]);
  const middle = { start: b("b"), end: b("d") };
  assert.deepEqual(keysOf(buffer.entries(middle, { lockOnly: true })), ["b", "c"]);
  assert.deepEqual(keysOf(buffer.entries(middle, { lockOnly: true, reverse: true })), ["c", "b"]);
  assert.deepEqual(keysOf(buffer.entries({ start: b("c"), end: b("") })), ["d"]);
});

test("[TXN-055] entries() goes on when the buffer is written across an await", async () => {
  for (const reverse of [false, true]) {
    const buffer = new WriteBuffer();
    for (const key of ["b", "d", "f"]) buffer.put(b(key), b("old"));
    const handle = buffer.stage();
    buffer.put(b("e"), b("staged"));
    const seen: string[] = [];
    for (const { key, write } of buffer.entries(undefined, { reverse })) {
      await Promise.resolve();
      seen.push(`${hex(key)} ${write.kind === "value" ? new TextDecoder().decode(write.value) : write.kind}`);
      if (seen.length !== 1) continue;
      buffer.cleanup(handle);
      buffer.put(b("c"), b("new"));
      buffer.put(b("d"), b("new"));
      buffer.delete(b("a"));
      buffer.delete(b("g"));
    }
    const forward = ["62 old", "63 new", "64 new", "66 old", "67 tombstone"];
    const backward = ["66 old", "64 new", "63 new", "62 old", "61 tombstone"];
    assert.deepEqual(seen, reverse ? backward : forward);
  }
});

test("[TXN-060] the buffer is dirty once something is written outside of stages, or released to there", () => {
  const write = (buffer: WriteBuffer) => buffer.put(A, b("1"));
  const cases: readonly [why: string, (buffer: WriteBuffer) => void, isDirty: boolean][] = [
    ["nothing", () => {}, false],
    ["put", write, true],
    ["delete", (buffer) => buffer.delete(A), true],
    ["flags", (buffer) => buffer.updateFlags(A, ["readable"]), true],
    ["staged", (buffer) => void (buffer.stage(), write(buffer)), false],
    ["released", (buffer) => void (buffer.stage(), write(buffer), buffer.release(1)), true],
    ["released empty", (buffer) => void (buffer.stage(), buffer.release(1)), false],
    [
      "released inner",
      (buffer) => void (buffer.stage(), buffer.stage(), write(buffer), buffer.release(2)),
      false,
    ],
    ["cleaned", (buffer) => void (buffer.stage(), write(buffer), buffer.cleanup(1)), false],
    [
      "persistent flag",
      (buffer) => void (buffer.stage(), buffer.updateFlags(A, ["locked"]), buffer.cleanup(1)),
      true,
    ],
    [
      "other flag",
      (buffer) => void (buffer.stage(), buffer.updateFlags(A, ["readable"]), buffer.cleanup(1)),
      false,
    ],
  ];
  for (const [why, run, isDirty] of cases) {
    const buffer = new WriteBuffer();
    run(buffer);
    assert.equal(buffer.isDirty, isDirty, why);
  }
});

// SPDX-License-Identifier: Apache-2.0
// What can be seen of a buffer besides its present: snapshots, changes, history, memory; and who may write.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hex } from "../../../src/bytes/hex.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { type BufferEntry, type PendingWrite, WriteBuffer } from "../../../src/txn/buffer/buffer.ts";
import { KEY_FLAG } from "../../../src/txn/buffer/key_flags.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const b = utf8Encode;
const [A, B, C] = [b("a"), b("b"), b("c")];
const valueOf = (text: string): PendingWrite => ({ kind: "value", value: b(text) });
const TOMBSTONE: PendingWrite = { kind: "tombstone" };

function show(write: PendingWrite | undefined): string | undefined {
  return write?.kind === "value" ? utf8Decode(write.value) : write?.kind;
}

const shown = (entries: Iterable<BufferEntry>): string[] =>
  [...entries].map(({ key, write }) => `${utf8Decode(key)} ${show(write)}`);

test("[TXN-056] snapshot() is the buffer at the start of the outermost stage, whatever is written since", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("1"));
  buffer.delete(B);
  buffer.updateFlags(C, ["locked"]);
  buffer.stage();
  const snapshot = buffer.snapshot();
  buffer.put(A, b("2"));
  buffer.stage();
  buffer.put(A, b("3"));
  buffer.put(B, b("4"));
  buffer.put(C, b("5"));
  buffer.put(b("d"), b("6"));
  assert.deepEqual(snapshot.get(A), valueOf("1"));
  assert.deepEqual(snapshot.get(B), TOMBSTONE);
  assert.deepEqual([snapshot.get(C), snapshot.get(b("d")), snapshot.get(b("e"))], [
    undefined,
    undefined,
    undefined,
  ]);
  assert.deepEqual(shown(snapshot.entries()), ["a 1", "b tombstone"]);
  assert.deepEqual(shown(snapshot.entries(undefined, { lockOnly: true })), [
    "a 1",
    "b tombstone",
    "c lock-only",
  ]);
  assert.deepEqual(shown(snapshot.entries({ start: B, end: b("") }, { reverse: true })), ["b tombstone"]);
  assert.deepEqual(shown(buffer.snapshot(2).entries()), ["a 2", "b tombstone"]);
  assert.deepEqual(buffer.get(A), valueOf("3"));
});

test("[TXN-056] a snapshot goes on while the buffer is written, and after an inner stage was undone", () => {
  const buffer = new WriteBuffer();
  for (let i = 10; i < 99; i++) buffer.put(b(`k${i}`), b("old"));
  buffer.stage();
  const seen: string[] = [];
  for (const { key, write } of buffer.snapshot().entries()) {
    seen.push(`${utf8Decode(key)} ${show(write)}`);
    const inner = buffer.stage();
    buffer.put(key, b("new"));
    for (let i = 0; i < 5; i++) buffer.put(b(`k${seen.length + 10}x${i}`), b("between"));
    if (seen.length % 2 === 0) buffer.cleanup(inner);
    else buffer.release(inner);
  }
  assert.deepEqual(seen, Array.from({ length: 89 }, (_, i) => `k${i + 10} old`));
});

test("[TXN-056] a snapshot fails loudly once its stage was ended, and without a stage", () => {
  for (const end of ["release", "cleanup"] as const) {
    const buffer = new WriteBuffer();
    throwsKind(() => buffer.snapshot(), "misuse");
    buffer.put(A, b("1"));
    buffer.put(B, b("1"));
    const handle = buffer.stage();
    const snapshot = buffer.snapshot();
    const walk = snapshot.entries();
    walk.next();
    buffer.put(C, b("2"));
    buffer[end](handle);
    throwsKind(() => snapshot.get(A), "misuse", end);
    throwsKind(() => walk.next(), "misuse", end);
    throwsKind(() => [...snapshot.entries()], "misuse", end);
    throwsKind(() => buffer.snapshot(handle), "misuse", end);
  }
});

test("[TXN-054] changes() has each key that was written since a stage began once, with what it is now", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("1"));
  buffer.put(B, b("1"));
  const outer = buffer.stage();
  buffer.put(C, b("2"), ["readable"]);
  buffer.put(A, b("2"));
  buffer.updateFlags(b("d"), ["locked"]);
  const inner = buffer.stage();
  buffer.delete(C);
  assert.deepEqual(shown(buffer.changes(outer)), ["a 2", "c tombstone"]);
  assert.deepEqual([...buffer.changes(inner)], [{ key: C, flags: KEY_FLAG.readable, write: TOMBSTONE }]);
  buffer.cleanup(inner);
  assert.deepEqual(shown(buffer.changes(outer)), ["a 2", "c 2"]);
  buffer.cleanup(outer);
  throwsKind(() => [...buffer.changes(outer)], "misuse");
});

test("[TXN-054] history() has what a key was at each stage and checkpoint, the newest first", () => {
  const buffer = new WriteBuffer();
  assert.deepEqual([...buffer.history(A)], []);
  buffer.put(A, b("1"));
  buffer.checkpoint();
  buffer.put(A, b("2"));
  buffer.put(A, b("3"));
  buffer.stage();
  buffer.delete(A);
  buffer.stage();
  buffer.put(A, b("4"));
  assert.deepEqual([...buffer.history(A)].map(show), ["4", "tombstone", "3", "1"]);
  buffer.cleanup(2);
  assert.deepEqual([...buffer.history(A)].map(show), ["tombstone", "3", "1"]);
});

test("[TXN-058] a presumption can be asked for and unmarked, and a cleaned stage brings it back", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("1"), ["presume-not-exists"]);
  const handle = buffer.stage();
  buffer.updateFlags(A, ["unmark-presume-not-exists"]);
  assert.equal(buffer.flags(A), 0);
  buffer.cleanup(handle);
  assert.equal(buffer.flags(A), KEY_FLAG.presumeNotExists | KEY_FLAG.needCheckExists);
});

test("[TXN-059] discardValues() frees them, keeps keys and flags, and makes using a value a misuse", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, new Uint8Array(100_000).fill(1), ["locked"]);
  const before = buffer.memoryBytes;
  buffer.discardValues();
  assert.ok(buffer.memoryBytes <= before - 100_000);
  assert.deepEqual([buffer.flags(A), buffer.keyCount, buffer.sizeBytes], [KEY_FLAG.locked, 1, 100_001]);
  for (
    const use of [
      () => buffer.get(A),
      () => buffer.put(A, A),
      () => buffer.delete(A),
      () => [...buffer.entries()],
      () => [...buffer.history(A)],
    ]
  ) throwsKind(use, "misuse");
  buffer.updateFlags(A, ["prewrite-only"]);
  assert.equal(buffer.flags(A), KEY_FLAG.locked | KEY_FLAG.prewriteOnly);
});

test("[TXN-061] [T-73] a held buffer refuses every change, until every hold was released", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("1"));
  const checkpoint = buffer.checkpoint();
  buffer.stage();
  const [first, second] = [buffer.hold(), buffer.hold()];
  first.release();
  first.release();
  const changes: Readonly<Record<string, () => unknown>> = {
    put: () => buffer.put(A, b("2")),
    delete: () => buffer.delete(A),
    updateFlags: () => buffer.updateFlags(A, ["locked"]),
    stage: () => buffer.stage(),
    release: () => buffer.release(1),
    cleanup: () => buffer.cleanup(1),
    checkpoint: () => buffer.checkpoint(),
    revert: () => buffer.revert(checkpoint),
  };
  for (const [name, change] of Object.entries(changes)) throwsKind(change, "misuse", name);
  assert.deepEqual(buffer.get(A), valueOf("1"));
  second[Symbol.dispose]();
  buffer.put(A, b("2"));
  assert.deepEqual(buffer.get(A), valueOf("2"));
});

test("[TXN-041] a buffer without a write takes no memory, and tells when it takes more or less", () => {
  const told: number[] = [];
  const buffer = new WriteBuffer({ onMemoryChange: (bytes) => told.push(bytes) });
  buffer.get(A);
  assert.deepEqual([buffer.memoryBytes, [...buffer.entries()], told], [0, [], []]);
  buffer.put(A, b("1"));
  buffer.put(A, b("2"));
  assert.deepEqual(told, [buffer.memoryBytes]);
  buffer.put(B, new Uint8Array(1 << 20).fill(1));
  assert.equal(told.length, 2);
  assert.equal(told[1], (told[0] ?? 0) + (1 << 20));
  buffer.discardValues();
  assert.equal(told.at(-1), buffer.memoryBytes);
  assert.ok(buffer.memoryBytes < 20_000);
});

test("[TXN-041] values that are overwritten over and over do not fill the memory", () => {
  const buffer = new WriteBuffer();
  const kept = buffer.entries();
  buffer.put(A, b("first"));
  const first = kept.next().value;
  for (let i = 0; i < 5_000; i++) buffer.put(A, new Uint8Array(1_000 + i % 7).fill(i));
  assert.ok(buffer.memoryBytes < 1_000_000, `${buffer.memoryBytes} bytes`);
  assert.deepEqual(buffer.get(A), { kind: "value", value: new Uint8Array(1_000 + 4_999 % 7).fill(4_999) });
  // What was handed out before is as it was.
  assert.deepEqual(first?.write, valueOf("first"));
});

test("[TXN-041] [TXN-052] statements that are undone over and over do not fill the memory", () => {
  const buffer = new WriteBuffer();
  buffer.put(B, b("stays"));
  const walk = buffer.entries();
  walk.next();
  const checkpoint = buffer.checkpoint();
  for (let round = 0; round < 300; round++) {
    const handle = buffer.stage();
    for (let i = 0; i < 100; i++) buffer.put(b(`row/${round}/${i}`), new Uint8Array(50));
    buffer.put(B, b("staged"));
    buffer.cleanup(handle);
  }
  buffer.put(C, b("late"));
  assert.ok(buffer.memoryBytes < 1_000_000, `${buffer.memoryBytes} bytes`);
  assert.deepEqual(shown(buffer.entries()), ["b stays", "c late"]);
  assert.deepEqual(shown(walk), ["c late"]);
  buffer.revert(checkpoint);
  assert.deepEqual(shown(buffer.entries()), ["b stays"]);
});

test("[TXN-053] [T-75] what is reclaimed between does not touch what a checkpoint needs", () => {
  const buffer = new WriteBuffer();
  for (let i = 0; i < 20; i++) buffer.put(b(`k${i}`), b(`old ${i}`));
  const before = shown(buffer.entries());
  const checkpoint = buffer.checkpoint();
  const handle = buffer.stage();
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < 20; i++) buffer.put(b(`k${i}`), new Uint8Array(100).fill(round));
  }
  assert.equal(buffer.get(b("k1"))?.kind, "value");
  assert.deepEqual(shown(buffer.snapshot(handle).entries()), before);
  buffer.release(handle);
  buffer.revert(checkpoint);
  assert.deepEqual(shown(buffer.entries()), before);
});

test("[T-74] an empty value never gets in, also not by a view of nothing", () => {
  const buffer = new WriteBuffer();
  for (const empty of [new Uint8Array(0), new Uint8Array(8).subarray(4, 4)]) {
    assert.throws(() => buffer.put(A, empty), RangeError);
  }
  assert.equal(buffer.isDirty, false);
});

test("what get() gives can be changed without changing the buffer", () => {
  const buffer = new WriteBuffer();
  buffer.put(A, b("value"));
  buffer.stage();
  for (const view of [buffer, buffer.snapshot()]) {
    const write = view.get(A);
    if (write?.kind === "value") write.value.fill(0);
    assert.deepEqual(view.get(A), valueOf("value"));
  }
});

test("[TXN-055] a walk over a range that changes under it gives every key that stays, once and in order", () => {
  const key = fc.integer({ min: 0, max: 300 }).map((n) => b(`k${String(n).padStart(3, "0")}`));
  fc.assert(
    fc.property(
      fc.array(key, { maxLength: 120 }),
      fc.array(fc.tuple(fc.boolean(), key), { maxLength: 200, size: "max" }),
      fc.boolean(),
      (initial, changes, reverse) => {
        const buffer = new WriteBuffer();
        for (const one of initial) buffer.put(one, b("v"));
        const touched = new Set(changes.map(([, one]) => hex(one)));
        const seen: string[] = [];
        let at = 0;
        for (const entry of buffer.entries(undefined, { reverse })) {
          seen.push(hex(entry.key));
          for (const [isPut, one] of changes.slice(at, at + 3)) {
            if (isPut) buffer.put(one, b("w"));
            else buffer.delete(one);
          }
          at += 3;
        }
        const sorted = seen.toSorted();
        assert.deepEqual(seen, reverse ? sorted.toReversed() : sorted);
        assert.equal(new Set(seen).size, seen.length);
        for (const one of initial) if (!touched.has(hex(one))) assert.ok(seen.includes(hex(one)));
      },
    ),
    { numRuns: 300, seed: 20_261_124 },
  );
});

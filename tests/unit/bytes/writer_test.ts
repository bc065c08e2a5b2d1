// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import * as fc from "fast-check";
import { equalBytes } from "../../../src/bytes/compare.ts";
import { hex } from "../../../src/bytes/hex.ts";
import { varintSize, Writer } from "../../../src/bytes/writer.ts";
import { keys, texts } from "../../helpers/arbitrary_keys.ts";

/** A field of any kind, as a step on our writer and the same step on the reference. */
type Step = { readonly ours: (w: Writer) => unknown; readonly theirs: (w: BinaryWriter) => unknown };

function steps(): fc.Arbitrary<Step> {
  const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const big = fc.integer({ min: 0, max: 700 }).map((length) => new Uint8Array(length).fill(0xab));
  return fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 2 ** 29 - 1 }), fc.constantFrom(0, 1, 2, 5)).map((
      [field, type],
    ): Step => ({
      ours: (w) => w.tag(field, type),
      theirs: (w) => w.tag(field, type),
    })),
    fc.maxSafeNat().map((v): Step => ({ ours: (w) => w.varint(v), theirs: (w) => w.uint64(v) })),
    fc.nat(300).map((v): Step => ({ ours: (w) => w.varint(v), theirs: (w) => w.uint32(v) })),
    uint64.map((v): Step => ({ ours: (w) => w.varint64(v), theirs: (w) => w.uint64(v) })),
    int64.map((v): Step => ({ ours: (w) => w.int64(v), theirs: (w) => w.int64(v) })),
    int32.map((v): Step => ({ ours: (w) => w.int32(v), theirs: (w) => w.int32(v) })),
    uint64.map((v): Step => ({ ours: (w) => w.fixed64(v), theirs: (w) => w.fixed64(v) })),
    fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((v): Step => ({
      ours: (w) => w.fixed32(v),
      theirs: (w) => w.fixed32(v),
    })),
    fc.double().map((v): Step => ({ ours: (w) => w.double(v), theirs: (w) => w.double(v) })),
    fc.boolean().map((v): Step => ({ ours: (w) => w.bool(v), theirs: (w) => w.bool(v) })),
    texts().map((v): Step => ({ ours: (w) => w.string(v), theirs: (w) => w.string(v) })),
    keys(100).map((v): Step => ({ ours: (w) => w.bytes(v), theirs: (w) => w.bytes(v) })),
    big.map((v): Step => ({ ours: (w) => w.raw(v), theirs: (w) => w.raw(v) })),
  );
}

/** Nested messages, some with a length expected that turns out wrong. */
function messages(depth = 3): fc.Arbitrary<Step> {
  const step = depth === 0 ? steps() : fc.oneof({ weight: 4, arbitrary: steps() }, {
    weight: 1,
    arbitrary: fc.tuple(messages(depth - 1), fc.constantFrom(0, 127, 128, 20_000)).map((
      [inner, expected],
    ): Step => ({
      ours: (w) => {
        const mark = w.fork(expected);
        inner.ours(w);
        w.join(mark);
      },
      theirs: (w) => {
        w.fork();
        inner.theirs(w);
        w.join();
      },
    })),
  });
  return fc.array(step, { maxLength: 12 }).map((parts): Step => ({
    ours: (w) => parts.forEach((part) => part.ours(w)),
    theirs: (w) => parts.forEach((part) => part.theirs(w)),
  }));
}

test("Writer writes the bytes that protobuf writes, whatever the size of its chunks", () => {
  const chunkBytes = fc.constantFrom(1, 7, 64, 16 * 1024);
  fc.assert(
    fc.property(fc.array(messages(), { maxLength: 4 }), chunkBytes, (parts, size) => {
      const writer = new Writer(size);
      const finished: Uint8Array[] = [];
      const expected: Uint8Array[] = [];
      for (const part of parts) {
        const reference = new BinaryWriter();
        part.ours(writer);
        part.theirs(reference);
        const message = reference.finish();
        assert.equal(writer.length, message.length);
        finished.push(writer.finish());
        expected.push(message);
      }
      // Compared at the end: a later message must not touch an earlier one.
      assert.deepEqual(finished.map(hex), expected.map(hex));
    }),
    { numRuns: 500 },
  );
});

test("join() writes lengths of every size, expected or not", () => {
  for (const length of [0, 1, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_151, 2_097_152]) {
    for (const expected of [0, 127, 128, 16_384, 2_097_152]) {
      const writer = new Writer(64);
      writer.raw(Uint8Array.of(0xee));
      const mark = writer.fork(expected);
      writer.raw(new Uint8Array(length).fill(0xcd));
      writer.join(mark).varint(1);
      const reference = new BinaryWriter().raw(Uint8Array.of(0xee)).bytes(new Uint8Array(length).fill(0xcd))
        .uint32(1);
      assert.ok(equalBytes(writer.finish(), reference.finish()), `${length}, expected ${expected}`);
    }
  }
});

test("finish() gives a message away that is never written again", () => {
  const writer = new Writer(64);
  const first = writer.varint(1).finish();
  const second = writer.varint(2).finish();
  assert.equal(first.buffer, second.buffer); // one chunk, no copy
  writer.raw(new Uint8Array(40).fill(3)).finish();
  writer.raw(new Uint8Array(40).fill(4)).finish();
  assert.deepEqual([first, second], [Uint8Array.of(1), Uint8Array.of(2)]);
  assert.equal(writer.finish().length, 0);
});

test("reset() forgets the message under way and no other", () => {
  const writer = new Writer();
  const kept = writer.varint(1).finish();
  writer.bytes(new Uint8Array(100)).reset();
  assert.equal(writer.length, 0);
  assert.deepEqual(writer.varint(2).finish(), Uint8Array.of(2));
  assert.deepEqual(kept, Uint8Array.of(1));
});

test("Writer refuses values out of range and writes nothing of them", () => {
  const writer = new Writer();
  const wrong: (() => unknown)[] = [
    ...[-1, 0.5, NaN, Infinity, 2 ** 53].map((v) => () => writer.varint(v)),
    ...[-1n, 2n ** 64n].flatMap((v) => [() => writer.varint64(v), () => writer.fixed64(v)]),
    ...[2n ** 63n, -(2n ** 63n) - 1n].map((v) => () => writer.int64(v)),
    ...[2 ** 31, -(2 ** 31) - 1, 0.5, NaN].map((v) => () => writer.int32(v)),
    ...[-1, 2 ** 32, 0.5, NaN].map((v) => () => writer.fixed32(v)),
  ];
  for (const write of wrong) assert.throws(write, RangeError);
  assert.throws(() => writer.string("\ud800"), TypeError);
  assert.equal(writer.length, 0);
});

test("varintSize() is the number of bytes that varint() writes", () => {
  fc.assert(fc.property(fc.oneof(fc.maxSafeNat(), fc.nat(70_000)), (value) => {
    assert.equal(new Writer().varint(value).length, varintSize(value));
  }));
});

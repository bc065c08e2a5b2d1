// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import * as fc from "fast-check";
import { parseHex } from "../../../src/bytes/hex.ts";
import { Reader } from "../../../src/bytes/reader.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const reader = (digits: string) => new Reader(parseHex(digits));
const uint64s = () => fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), edges());

// 2^n and its neighbours, where varints get longer and halves carry.
function edges(): fc.Arbitrary<bigint> {
  const around = fc.tuple(fc.integer({ min: 0, max: 64 }), fc.constantFrom(-1n, 0n, 1n));
  return around.map(([bits, off]) => 2n ** BigInt(bits) + off).filter((value) =>
    value >= 0n && value < 2n ** 64n
  );
}

test("varint64(), varintNumber() and varint32() read what protobuf writes", () => {
  fc.assert(
    fc.property(uint64s(), (value) => {
      const bytes = new BinaryWriter().uint64(value).finish();
      const [wide, exact, low, skipped] = [
        new Reader(bytes),
        new Reader(bytes),
        new Reader(bytes),
        new Reader(bytes),
      ];
      assert.equal(wide.varint64(), value);
      assert.equal(low.varint32(), Number(value & 0xffffffffn));
      skipped.skip(0);
      for (const done of [wide, low, skipped]) assert.equal(done.pos, bytes.length);
      if (value <= BigInt(Number.MAX_SAFE_INTEGER)) {
        assert.equal(exact.varintNumber(), Number(value));
        assert.equal(exact.pos, bytes.length);
      } else {
        throwsKind(() => exact.varintNumber(), "protocol");
      }
    }),
    { numRuns: 1000 },
  );
});

test("varint32() reads a negative int32 of 10 bytes", () => {
  const bytes = new BinaryWriter().int32(-2).finish();
  assert.equal(bytes.length, 10);
  assert.equal(new Reader(bytes).varint32() | 0, -2);
});

test("int64() reads signed values", () => {
  fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
    assert.equal(new Reader(new BinaryWriter().int64(value).finish()).int64(), value);
  }));
});

test("varints that are longer than they need to be are read", () => {
  assert.equal(reader("8000").varint32(), 0);
  assert.equal(reader("ff8080808000").varint64(), 127n);
  assert.equal(reader("81808080808080808000").varintNumber(), 1);
  assert.equal(reader("80808080808080808001").varint64(), 2n ** 63n);
});

test("varints that do not end, or end after 10 bytes, are refused by every reader", () => {
  const reads = ["varint32", "varint64", "varintNumber", "bool", "int64", "tag", "bytes", "enter"] as const;
  for (
    const digits of [
      "",
      "80",
      "ffffff",
      "80808080",
      "8080808080",
      "ffffffffffffffffff",
      "8080808080808080808001",
    ]
  ) {
    for (const read of reads) throwsKind(() => reader(digits)[read](), "protocol", `${read} of ${digits}`);
    throwsKind(() => reader(digits).skip(0), "protocol");
  }
});

test("bool() is true for any bit of the 64", () => {
  assert.equal(reader("00").bool(), false);
  assert.equal(reader("8000").bool(), false);
  assert.equal(reader("01").bool(), true);
  assert.equal(reader("80808080808080808001").bool(), true);
});

test("tag() gives field and wire type, and refuses field 0", () => {
  assert.equal(reader("0a").tag(), (1 << 3) | 2);
  assert.equal(reader("f8ffffff0f").tag(), ((2 ** 29 - 1) << 3) >>> 0);
  for (const digits of ["00", "02", "07"]) throwsKind(() => reader(digits).tag(), "protocol");
});

test("fixed32(), fixed64() and double() are little endian, at any offset", () => {
  const at = new Reader(parseHex("ff04030281080706050403028100000000000004c0ff").subarray(1));
  assert.equal(at.fixed32(), 0x81020304);
  assert.equal(at.fixed64(), 0x8102030405060708n);
  assert.equal(at.double(), -2.5);
  assert.equal(at.end - at.pos, 1);
  for (const read of ["fixed32", "fixed64", "double"] as const) throwsKind(() => at[read](), "protocol");
  assert.equal(at.end - at.pos, 1);
});

test("bytes() is a view of exactly its length", () => {
  const source = parseHex("03aabbcc00");
  const at = new Reader(source);
  const bytes = at.bytes();
  assert.deepEqual(bytes, Uint8Array.of(0xaa, 0xbb, 0xcc));
  assert.equal(bytes.buffer, source.buffer);
  assert.deepEqual(at.bytes(), new Uint8Array(0));
  throwsKind(() => at.bytes(), "protocol");
});

test("ownBytes() is memory of its own, whatever its length", () => {
  for (const length of [0, 1, 32, 33, 5_000]) {
    const written = bytesField(length);
    const own = new Reader(written).ownBytes();
    written.fill(0xee);
    assert.deepEqual([...own], pattern(length));
    assert.equal(own.buffer.byteLength, length);
  }
});

test("sharedBytes() reads every field right, in blocks of at most 8 KiB that do not change", () => {
  const lengths = fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 3_000 })), {
    maxLength: 80,
  });
  fc.assert(fc.property(lengths, fc.boolean(), (all, isSharing) => {
    const written = joined(all.map(bytesField));
    const shared = new Reader(written);
    if (isSharing) shared.startSharing();
    const fields = all.map(() => shared.sharedBytes());
    written.fill(0xee);
    for (const [i, field] of fields.entries()) {
      assert.deepEqual([...field], pattern(all[i] ?? 0));
      assert.equal(field.buffer.byteLength <= Math.max(8 * 1024, field.length), true);
      if (!isSharing) assert.equal(field.buffer.byteLength, field.length);
    }
    assert.equal(shared.pos, shared.end);
  }));
});

test("sharedBytes() shares nothing with what is outside of the message, nor with another one", () => {
  const inner = joined([bytesField(10), bytesField(20)]);
  const two = new Reader(joined([Uint8Array.of(inner.length), inner, Uint8Array.of(inner.length), inner]));
  const blocks = [0, 1].map(() => {
    const outer = two.enter();
    two.startSharing();
    const [first, second] = [two.sharedBytes(), two.sharedBytes()];
    two.leave(outer);
    assert.equal(first.buffer, second.buffer);
    assert.equal(first.buffer.byteLength, inner.length - 1);
    return first.buffer;
  });
  assert.notEqual(blocks[0], blocks[1]);
});

test("sharedBytes() after a jump back reads right", () => {
  const jumping = new Reader(joined([bytesField(10), bytesField(20)]));
  jumping.pos = 11;
  jumping.startSharing();
  assert.deepEqual([...jumping.sharedBytes()], pattern(20));
  jumping.pos = 0;
  assert.deepEqual([...jumping.sharedBytes()], pattern(10));
});

/** A `bytes` field as it is behind its tag. */
function bytesField(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new BinaryWriter().bytes(Uint8Array.from(pattern(length))).finish());
}

function pattern(length: number): number[] {
  return Array.from({ length }, (_, i) => (i * 31 + length) & 0xff);
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

test("a nested message that is used up has no further field, though the buffer goes on", () => {
  const at = reader("0001aa");
  const outer = at.enter();
  for (const read of ["varint32", "varint64", "bytes", "enter", "fixed32", "bool"] as const) {
    throwsKind(() => at[read](), "protocol", read);
    at.pos = 1;
  }
  at.leave(outer);
  assert.deepEqual(at.bytes(), Uint8Array.of(0xaa));
});

test("bytes() of a subclass, such as a Buffer, is a plain Uint8Array", () => {
  class Chunk extends Uint8Array {}
  const chunk = Chunk.from([0, 2, 7, 8, 9]).subarray(1);
  const bytes = new Reader(chunk).bytes();
  assert.equal(bytes.constructor, Uint8Array);
  assert.deepEqual(bytes, Uint8Array.of(7, 8));
  assert.equal(bytes.buffer, chunk.buffer);
});

test("a length beyond the end is refused, up to the largest, and not cut to 32 bits", () => {
  for (
    const digits of ["01", "02aa", "ffffffff0f00", "ffffffff07", "80808080808001aa", "ffffffffffffffffff01"]
  ) {
    throwsKind(() => reader(digits).bytes(), "protocol", digits);
    throwsKind(() => reader(digits).enter(), "protocol", digits);
    throwsKind(() => reader(digits).skip(2), "protocol", digits);
  }
});

test("string() replaces malformed UTF-8 and keeps a byte order mark", () => {
  assert.equal(reader("03e282ac").string(), "€");
  assert.equal(reader("0161").string(), "a");
  assert.equal(reader("0261ff").string(), "a\ufffd");
  assert.equal(reader("03efbbbf").string(), "\ufeff");
});

test("enter() and leave() keep reads within nested messages", () => {
  // field 1 { field 2 { varint 7, one unread byte }, one more } then a last byte
  const at = reader("0a06" + "12020799" + "18aa".slice(0, 4) + "05");
  assert.equal(at.tag(), 10);
  const outer = at.enter();
  assert.equal(at.tag(), 18);
  const middle = at.enter();
  assert.equal(at.end - at.pos, 2);
  assert.equal(at.varint32(), 7);
  throwsKind(() => at.varint32(), "protocol"); // 0x99 goes on behind the message
  at.leave(middle);
  assert.equal(at.tag(), 24);
  at.leave(outer);
  assert.equal(at.varint32(), 5);
  assert.equal(at.pos, at.end);
});

test("enter() refuses a message that is longer than the one around it", () => {
  const at = reader("02" + "05aa" + "bbbbbbbb");
  at.enter();
  throwsKind(() => at.enter(), "protocol");
});

test("skip() goes over every wire type to the next field", () => {
  const bytes = new BinaryWriter().tag(1, 0).uint64(2n ** 64n - 1n).tag(2, 1).fixed64(1n).tag(3, 2).bytes(
    new Uint8Array(300),
  )
    .tag(4, 3).tag(5, 2).string("in a group").tag(6, 3).tag(6, 4).tag(4, 4).tag(7, 5).fixed32(1).tag(8, 0)
    .bool(true)
    .finish();
  const at = new Reader(bytes);
  const fields: number[] = [];
  while (at.pos < at.end) {
    const tag = at.tag();
    fields.push(tag >>> 3);
    at.skip(tag);
  }
  assert.deepEqual(fields, [1, 2, 3, 4, 7, 8]);
  assert.equal(at.pos, bytes.length);
});

test("skip() refuses unknown wire types, wrong and missing group ends, and bottomless groups", () => {
  for (const wireType of [4, 6, 7]) throwsKind(() => reader("00").skip(8 | wireType), "protocol");
  throwsKind(() => reader("14").skip((1 << 3) | 3), "protocol"); // group 1 ends as 2
  throwsKind(() => reader("0801").skip((1 << 3) | 3), "protocol");
  reader("0b".repeat(99) + "0c".repeat(100)).skip((1 << 3) | 3);
  throwsKind(() => reader("0b".repeat(100) + "0c".repeat(101)).skip((1 << 3) | 3), "protocol");
});

test("cut anywhere, a message ends in a protocol error or at a field border, never in another one", () => {
  const whole = new BinaryWriter().tag(1, 0).uint64(2n ** 40n).tag(2, 2).bytes(new Uint8Array(200)).tag(3, 1)
    .fixed64(5n)
    .tag(4, 5).fixed32(6).finish();
  const borders: number[] = [];
  for (let length = 0; length <= whole.length; length++) {
    const at = new Reader(whole.subarray(0, length));
    const read = () => {
      while (at.pos < at.end) at.skip(at.tag());
    };
    try {
      read();
      borders.push(length);
      assert.equal(at.pos, length);
    } catch {
      at.pos = 0;
      throwsKind(read, "protocol");
    }
  }
  assert.equal(borders.length, 5);
});

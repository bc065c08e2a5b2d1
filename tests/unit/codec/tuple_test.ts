// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { hex, parseHex } from "../../../src/bytes/hex.ts";
import { contains } from "../../../src/bytes/key_range.ts";
import { tuple, type TupleItem } from "../../../src/codec/tuple.ts";
import { keys, texts } from "../../helpers/arbitrary_keys.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const any = tuple<readonly TupleItem[]>();
const b = (...bytes: number[]) => Uint8Array.from(bytes);

// Made with FoundationDB's Python binding, which agrees here with the type codes' specification.
const GOLDEN: readonly (readonly [items: readonly TupleItem[], digits: string])[] = [
  [[], ""],
  [[null], "00"],
  [[b(0x66, 0x6f, 0x6f, 0, 0x62, 0x61, 0x72)], "01666f6f00ff62617200"],
  [["F\u00d4O\0bar"], "0246c3944f00ff62617200"],
  [["😀é"], "02f09f9880c3a900"],
  [[b(), ""], "01000200"],
  [[[b(0x66, 0x6f, 0x6f, 0, 0x62, 0x61, 0x72), null, []]], "0501666f6f00ff6261720000ff050000"],
  [[[], [null], [[]], "z"], "05000500ff0005050000027a00"],
  [[-5551212n], "11ab4b93"],
  [[0n], "14"],
  [[1n, -1n], "150113fe"],
  [[255n, 256n, -255n, -256n], "15ff160100130012feff"],
  [[65535n, 65536n, -65535n, -65536n], "16ffff1701000012000011feffff"],
  [[2n ** 32n - 1n, 2n ** 32n, 1n - 2n ** 32n, -(2n ** 32n)], "18ffffffff19010000000010000000000ffeffffffff"],
  [[2n ** 53n, -(2n ** 53n)], "1b200000000000000ddfffffffffffff"],
  [[2n ** 63n - 1n, 2n ** 63n], "1c7fffffffffffffff1c8000000000000000"],
  [[-(2n ** 63n), -(2n ** 63n) - 1n], "0c7fffffffffffffff0c7ffffffffffffffe"],
  [[2n ** 64n, -(2n ** 64n)], "1d090100000000000000000bf6feffffffffffffffff"],
  [[2n ** 64n + 1n, -(2n ** 64n) - 1n], "1d090100000000000000010bf6fefffffffffffffffe"],
  [[10n ** 30n, -(10n ** 30n)], "1d0d0c9f2c9cd04674edea400000000bf2f360d3632fb98b1215bfffffff"],
  [[2n ** 2040n - 1n], `1dff${"ff".repeat(255)}`],
  [[1n - 2n ** 2040n], `0b00${"00".repeat(255)}`],
  [[0, -0, 1, -1], "218000000000000000217fffffffffffffff21bff000000000000021400fffffffffffff"],
  [[1.5, -1.5], "21bff8000000000000214007ffffffffffff"],
  [[Infinity, -Infinity], "21fff000000000000021000fffffffffffff"],
  [
    [-42, Math.PI, 5e-324, Number.MAX_VALUE],
    "213fbaffffffffffff21c00921fb54442d1821800000000000000121ffefffffffffffff",
  ],
  [[false, true], "2627"],
  [
    ["2026-08-21", 7n, null, [true, b(0, 255)], 2.5],
    "02323032362d30382d32310015070005270100ffff000021c004000000000000",
  ],
];

/** Items of every type, nested; bigints of all sizes around the borders of bytes. */
function items(depth = 2): fc.Arbitrary<TupleItem> {
  const aroundPower = fc.tuple(
    fc.integer({ min: 0, max: 80 }),
    fc.bigInt({ min: -2n, max: 2n }),
    fc.boolean(),
  )
    .map(([bits, off, negative]) => (2n ** BigInt(bits) + off) * (negative ? -1n : 1n));
  const flat = fc.oneof(
    fc.constant(null),
    keys(4),
    texts(),
    aroundPower,
    fc.bigInt({ min: -(2n ** 100n), max: 2n ** 100n }),
    fc.double(),
    fc.boolean(),
  );
  return depth === 0 ? flat : fc.oneof(flat, fc.array(items(depth - 1), { maxLength: 3 }));
}

const tuples = () => fc.array(items(), { maxLength: 4 });

const TYPE_ORDER = ["null", "bytes", "string", "tuple", "bigint", "number", "boolean"];

function typeOf(item: TupleItem): string {
  if (item === null) return "null";
  if (item instanceof Uint8Array) return "bytes";
  return typeof item === "object" ? "tuple" : typeof item;
}

/** The order that the documentation promises, computed on the values. */
function compareItems(a: TupleItem, c: TupleItem): number {
  const types = TYPE_ORDER.indexOf(typeOf(a)) - TYPE_ORDER.indexOf(typeOf(c));
  if (types !== 0) return types;
  if (a instanceof Uint8Array && c instanceof Uint8Array) return compareBytes(a, c);
  if (typeof a === "string" && typeof c === "string") {
    return compareBytes(new TextEncoder().encode(a), new TextEncoder().encode(c));
  }
  if (Array.isArray(a) && Array.isArray(c)) return compareTuples(a, c);
  if (typeof a === "bigint" && typeof c === "bigint") return a < c ? -1 : a > c ? 1 : 0;
  if (typeof a === "boolean" && typeof c === "boolean") return Number(a) - Number(c);
  if (typeof a === "number" && typeof c === "number") return compareDoubles(a, c);
  return 0;
}

function compareDoubles(a: number, c: number): number {
  if (Object.is(a, c)) return 0;
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(c)) return -1;
  return a === c ? (Object.is(a, -0) ? -1 : 1) : a < c ? -1 : 1;
}

function compareTuples(a: readonly TupleItem[], c: readonly TupleItem[]): number {
  for (let i = 0; i < Math.min(a.length, c.length); i++) {
    const order = compareItems(a[i] ?? null, c[i] ?? null);
    if (order !== 0) return order;
  }
  return a.length - c.length;
}

test("tuple() writes and reads the bytes of FoundationDB's tuple layer", () => {
  for (const [value, digits] of GOLDEN) {
    assert.equal(hex(any.encode(value)), digits);
    assert.deepEqual(any.decode(parseHex(digits)), value);
  }
});

test("tuple() writes integers of 8 bytes with the code of their length, the largest too", () => {
  // As the specification and the Go, Java and Ruby bindings have it. The Python binding writes
  // this one value and its negative as integers of arbitrary size.
  for (
    const [value, digits] of [[2n ** 64n - 1n, "1cffffffffffffffff"], [
      1n - 2n ** 64n,
      "0c0000000000000000",
    ]] as const
  ) {
    assert.equal(hex(any.encode([value])), digits);
    assert.deepEqual(any.decode(parseHex(digits)), [value]);
  }
});

test("tuple() gives back what it was given, bigint as bigint and number as number", () => {
  fc.assert(
    fc.property(tuples(), (value) => {
      assert.deepEqual(any.decode(any.encode(value)), value);
    }),
    { numRuns: 1000 },
  );
});

test("tuple() keeps the order of types, values and lengths", () => {
  assert.equal(any.ordered, true);
  fc.assert(
    fc.property(tuples(), tuples(), fc.nat(4), (a, c, shared) => {
      const second = [...a.slice(0, shared), ...c];
      const order = Math.sign(compareTuples(a, second));
      assert.equal(Math.sign(compareBytes(any.encode(a), any.encode(second))), order);
    }),
    { numRuns: 2000 },
  );
});

test("rangeOfPrefix() has exactly the tuples that begin with the items", () => {
  fc.assert(
    fc.property(tuples(), tuples(), fc.nat(4), (prefix, other, shared) => {
      const value = [...prefix.slice(0, shared), ...other];
      const begins = value.length >= prefix.length &&
        compareTuples(value.slice(0, prefix.length), prefix) === 0;
      assert.equal(contains(any.rangeOfPrefix(prefix), any.encode(value)), begins);
      assert.equal(contains(any.rangeOfPrefix(prefix), any.encode([...prefix, ...other])), true);
    }),
    { numRuns: 2000 },
  );
});

test("rangeOfPrefix() does not take a longer string for the same item", () => {
  const range = tuple<[string, bigint]>().rangeOfPrefix(["a"]);
  const seen = [["a"], ["a", 1n], ["a", "\uffff"], ["a\0"], ["a\0b", 1n], ["ab", 1n]].map((key) =>
    contains(range, any.encode(key))
  );
  assert.deepEqual(seen, [true, true, true, false, false, false]);
});

test("a typed tuple gives its items their types", () => {
  const codec = tuple<[day: string, seq: bigint]>();
  const [day, seq] = codec.decode(codec.encode(["2026-08-21", 7n]));
  const checked: [string, bigint] = [day, seq];
  assert.deepEqual(checked, ["2026-08-21", 7n]);
  codec.rangeOfPrefix([]);
  codec.rangeOfPrefix(["2026-08-21"]);
  codec.rangeOfPrefix(["2026-08-21", 7n]);
  codec.rangeOfPrefix(["2026-08-21"] as const);
  // @ts-expect-error a number is a double: it cannot stand for the bigint
  codec.encode(["2026-08-21", 7]);
  // @ts-expect-error an item is missing
  codec.encode(["2026-08-21"]);
  // @ts-expect-error the first item is a string
  codec.rangeOfPrefix([7n]);
  // @ts-expect-error there is no third item
  codec.rangeOfPrefix(["2026-08-21", 7n, 1n]);
});

test("tuple() refuses what would not come back with a TypeError", () => {
  const holes = new Array(1);
  const wrong: unknown[] = [undefined, null, "a", b(1), { 0: "a", length: 1 }, [undefined], holes, [[
    undefined,
  ]], [{}]];
  for (const value of [...wrong, [() => 1], [Symbol("s")], [new Date(0)], ["\ud800"]]) {
    assert.throws(() => any.encode(value as TupleItem[]), TypeError);
    assert.throws(() => any.rangeOfPrefix(value as TupleItem[]), TypeError);
  }
});

test("tuple() refuses integers of more than 255 bytes and bottomless nesting with a RangeError", () => {
  for (const value of [2n ** 2040n, -(2n ** 2040n)]) assert.throws(() => any.encode([value]), RangeError);
  const loop: TupleItem[] = [];
  loop.push(loop);
  assert.throws(() => any.encode(loop), RangeError);
  let deep: TupleItem[] = [];
  for (let depth = 0; depth < 64; depth++) deep = [deep];
  assert.deepEqual(any.decode(any.encode(deep)), deep);
  assert.throws(() => any.encode([deep]), RangeError);
});

test("tuple() refuses bytes that it does not write", () => {
  const bad: readonly (readonly [digits: string, why: string])[] = [
    ["01", "bytes without an end"],
    ["0161", "bytes without an end"],
    ["0100ff", "bytes that end in an escape"],
    ["02ff00", "a string that is not UTF-8"],
    ["05", "a nested tuple without an end"],
    ["0500ff", "a nested tuple without an end after null"],
    ["0515", "a nested tuple that ends within an item"],
    ["15", "an integer without its byte"],
    ["1500", "a leading zero"],
    ["160001", "a leading zero"],
    ["13ff", "a leading zero of a negative integer"],
    ["12fffe", "a leading zero of a negative integer"],
    ["1d", "a big integer without its length"],
    ["1d08ffffffffffffffff", "a big integer of 8 bytes"],
    ["1d09010000000000000000".slice(0, -2), "a big integer that is cut"],
    ["1d09000000000000000001", "a big integer with a leading zero"],
    ["0bf70000000000000000", "a big negative integer of 8 bytes"],
    ["0bf6fffeffffffffffffff", "a big negative integer with a leading zero"],
    ["2180", "a double that is cut"],
    ["203dd7ffff", "a float of 32 bits"],
    ["25", "the deprecated true"],
    ["3000000000000000000000000000000000", "a UUID"],
    ["33000000000000000000000000", "a versionstamp"],
    ["03", "the deprecated nested tuple"],
    ["ff", "the escape"],
    ["05".repeat(10_000), "bottomless nesting"],
  ];
  for (const [digits, why] of bad) {
    throwsKind(() => any.decode(parseHex(digits)), "codec", `${digits}: ${why}`);
  }
});

test("tuple() accepts no second encoding of a tuple", () => {
  const code = fc.constantFrom(
    0,
    1,
    2,
    5,
    0x0b,
    0x0c,
    0x13,
    0x14,
    0x15,
    0x16,
    0x1c,
    0x1d,
    0x26,
    0x27,
    0x61,
    0xf6,
    0xfe,
    0xff,
  );
  fc.assert(
    fc.property(fc.array(code, { maxLength: 14 }), (bytes) => {
      const encoded = Uint8Array.from(bytes);
      let value: readonly TupleItem[];
      try {
        value = any.decode(encoded);
      } catch {
        throwsKind(() => any.decode(encoded), "codec");
        return;
      }
      assert.deepEqual(any.encode(value), encoded);
    }),
    { numRuns: 5000 },
  );
});

test("decoded bytes are the caller's own", () => {
  const encoded = any.encode([b(1, 2)]);
  const [bytes] = any.decode(encoded);
  encoded.fill(9);
  assert.deepEqual(bytes, b(1, 2));
});

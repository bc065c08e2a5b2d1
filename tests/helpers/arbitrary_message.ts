// SPDX-License-Identifier: Apache-2.0
// Any message of a type, from its descriptor: a field that is added to the definitions is generated
// without anybody remembering it.

import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import * as fc from "fast-check";

const edges = fc.constantFrom(
  0n,
  1n,
  127n,
  128n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
);
const uint64 = fc.oneof(edges, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const int64 = uint64.map((value) => BigInt.asIntN(64, value));
const uint32 = fc.oneof(
  fc.constantFrom(0, 1, 127, 128, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const int32 = uint32.map((value) => value | 0);

/** Bytes short, at the borders of a varint length, and longer. */
export const someBytes: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 12 }),
  fc.constantFrom(0, 1, 63, 64, 65, 127, 128, 300).map((length) => new Uint8Array(length).fill(length)),
);

const SCALARS: Partial<Record<ScalarType, fc.Arbitrary<unknown>>> = {
  [ScalarType.BOOL]: fc.boolean(),
  [ScalarType.BYTES]: someBytes,
  [ScalarType.DOUBLE]: fc.double({ noNaN: true }),
  [ScalarType.STRING]: fc.string({ unit: "grapheme", maxLength: 8 }),
  [ScalarType.UINT64]: uint64,
  [ScalarType.INT64]: int64,
  [ScalarType.UINT32]: uint32,
  [ScalarType.INT32]: int32,
};

/** Any message of a type; `depth` bounds how deep messages nest, `without` leaves fields out. */
export function arbitraryMessage(
  desc: DescMessage,
  { depth = 3, without = [] as readonly string[] } = {},
): fc.Arbitrary<Message> {
  const values: Record<string, fc.Arbitrary<unknown>> = {};
  const choices = new Map<string, fc.Arbitrary<unknown>[]>();
  for (const field of desc.fields) {
    if (without.includes(field.localName)) continue;
    const value = arbitraryField(field, depth);
    if (value === undefined) continue;
    if (field.oneof === undefined) values[field.localName] = value;
    else {
      const cases = choices.get(field.oneof.localName) ?? [];
      cases.push(value.map((value) => ({ case: field.localName, value })));
      choices.set(field.oneof.localName, cases);
    }
  }
  for (const [name, cases] of choices) values[name] = fc.oneof(...cases);
  return fc.record(values, { requiredKeys: [] }).map((init) => create(desc, init));
}

function arbitraryField(field: DescField, depth: number): fc.Arbitrary<unknown> | undefined {
  if (field.fieldKind === "map") return undefined;
  const kind = field.fieldKind === "list" ? field.listKind : field.fieldKind;
  let one: fc.Arbitrary<unknown> | undefined;
  if (kind === "scalar" && field.scalar !== undefined) one = SCALARS[field.scalar];
  else if (kind === "enum" && field.enum !== undefined) {
    // Numbers that this version does not know pass through as well.
    one = fc.constantFrom(...field.enum.values.map(({ number }) => number), 77, -1);
  } else if (field.message !== undefined && depth > 0) {
    one = arbitraryMessage(field.message, { depth: depth - 1 });
  }
  if (one === undefined) return undefined;
  return field.fieldKind === "list" ? fc.array(one, { maxLength: 3 }) : one;
}

/** Fields that no message of kvproto has, of every wire type. */
export const unknownFields: fc.Arbitrary<Uint8Array> = fc.constantFrom(
  new Uint8Array(),
  new BinaryWriter().tag(500, WireType.Varint).uint64(2n ** 64n - 1n).finish(),
  new BinaryWriter().tag(501, WireType.LengthDelimited).bytes(new Uint8Array(200)).finish(),
  new BinaryWriter().tag(502, WireType.Bit32).fixed32(7).finish(),
  new BinaryWriter().tag(503, WireType.Bit64).fixed64(7n).finish(),
  new BinaryWriter().tag(504, WireType.StartGroup).tag(1, WireType.Varint).uint32(1)
    .tag(504, WireType.EndGroup).finish(),
);

/** A message without what only the generated code adds to it. */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  const kept = Object.entries(value).filter(([name, inner]) => !name.startsWith("$") && inner !== undefined);
  return Object.fromEntries(kept.map(([name, inner]) => [name, plain(inner)]));
}

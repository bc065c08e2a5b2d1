// SPDX-License-Identifier: Apache-2.0

import * as fc from "fast-check";

/** Bytes that often share prefixes, hold the special bytes 0x00, 0x01, 0xfe, 0xff and are often empty. */
export function keys(maxLength = 20): fc.Arbitrary<Uint8Array> {
  const byte = fc.oneof(
    fc.constantFrom(0x00, 0x01, 0x61, 0x7f, 0x80, 0xfe, 0xff),
    fc.integer({ min: 0, max: 255 }),
  );
  return fc.array(byte, { maxLength }).map((bytes) => Uint8Array.from(bytes));
}

/** Strings of any code points, with zeros, non-ASCII and astral characters often. */
export function texts(): fc.Arbitrary<string> {
  const unit = fc.oneof(
    fc.constantFrom("\0", "a", "\x7f", "é", "€", "😀", "\uffff"),
    fc.string({ unit: "binary" }),
  );
  return fc.array(unit, { maxLength: 20 }).map((units) => units.join(""));
}

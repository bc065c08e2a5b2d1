// SPDX-License-Identifier: Apache-2.0

import { prefixEnd } from "../bytes/key_range.ts";
import { nameOf, utf8Decode, utf8Encode } from "../bytes/utf8.ts";
import { TikvError } from "../errors.ts";
import type { KeyCodec, PrefixKeyCodec } from "./codec.ts";

/** Bytes as they are. Nothing is copied in either direction. */
export const bytes: PrefixKeyCodec<Uint8Array> = Object.freeze({
  ordered: true,
  encode: assertBytes,
  decode: (encoded: Uint8Array) => encoded,
  rangeOfPrefix: (prefix: Uint8Array) => ({ start: assertBytes(prefix), end: prefixEnd(prefix) }),
});

/**
 * Strings as UTF-8. Keys have the order of code points. A lone surrogate is a `TypeError`;
 * malformed bytes are a `codec` error.
 */
export const utf8: PrefixKeyCodec<string> = Object.freeze({
  ordered: true,
  encode: encodeString,
  decode: utf8Decode,
  rangeOfPrefix: (prefix: string) => {
    const start = encodeString(prefix);
    return { start, end: prefixEnd(start) };
  },
});

/** Integers from 0 to 2^64 - 1 in 8 bytes, big endian. */
export const uint64: KeyCodec<bigint> = Object.freeze({
  ordered: true,
  encode: (value: bigint) => {
    assertBigInt(value, 0n, 2n ** 64n - 1n);
    return encode8((view) => view.setBigUint64(0, value));
  },
  decode: (encoded: Uint8Array) => viewOf(encoded, 8).getBigUint64(0),
});

/** Integers from -2^63 to 2^63 - 1 in 8 bytes, big endian, with the sign bit flipped. */
export const int64: KeyCodec<bigint> = Object.freeze({
  ordered: true,
  encode: (value: bigint) => {
    assertBigInt(value, -(2n ** 63n), 2n ** 63n - 1n);
    return encode8((view) => view.setBigInt64(0, value ^ SIGN));
  },
  decode: (encoded: Uint8Array) => viewOf(encoded, 8).getBigInt64(0) ^ SIGN,
});

/**
 * Numbers as IEEE 754 doubles in 8 bytes that keep their order: the sign bit flipped, and all
 * others too if it was set. -0 is before 0, `NaN` after all.
 */
export const float64: KeyCodec<number> = Object.freeze({
  ordered: true,
  encode: (value: number) => {
    if (typeof value !== "number") throw wrongType(value, "a number");
    return encode8((view) => setOrderedFloat64(view, 0, value));
  },
  decode: (encoded: Uint8Array) => getOrderedFloat64(viewOf(encoded, 8), 0),
});

/** `false` and `true` as a byte 0 or 1. */
export const boolean: KeyCodec<boolean> = Object.freeze({
  ordered: true,
  encode: (value: boolean) => {
    if (typeof value !== "boolean") throw wrongType(value, "a boolean");
    return Uint8Array.of(value ? 1 : 0);
  },
  decode: (encoded: Uint8Array) => {
    const byte = viewOf(encoded, 1).getUint8(0);
    if (byte > 1) throw new TikvError("codec", `Cannot decode a boolean: byte 0x${byte.toString(16)}`);
    return byte === 1;
  },
});

/** Writes a double so that the order of its 8 bytes is its own. */
export function setOrderedFloat64(view: DataView, at: number, value: number): void {
  // One NaN, so that equal keys have equal bytes whatever an engine keeps in the payload.
  if (Number.isNaN(value)) view.setBigInt64(at, NAN_BITS);
  else view.setFloat64(at, value);
  const bits = view.getBigInt64(at);
  view.setBigInt64(at, bits < 0n ? ~bits : bits ^ SIGN);
}

/** Reads what {@linkcode setOrderedFloat64} wrote. */
export function getOrderedFloat64(view: DataView, at: number): number {
  const bits = view.getBigInt64(at);
  const scratch = new DataView(new ArrayBuffer(8));
  scratch.setBigInt64(0, bits < 0n ? bits ^ SIGN : ~bits);
  return scratch.getFloat64(0);
}

function encodeString(value: string): Uint8Array {
  if (typeof value !== "string") throw wrongType(value, "a string");
  return utf8Encode(value);
}

function assertBytes(value: Uint8Array): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrongType(value, "a Uint8Array");
  return value;
}

function assertBigInt(value: bigint, min: bigint, max: bigint): void {
  if (typeof value !== "bigint") throw wrongType(value, "a bigint");
  if (value < min || value > max) {
    throw new RangeError(`Cannot encode ${value} in 8 bytes: expected ${min} to ${max}`);
  }
}

function encode8(write: (view: DataView) => void): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  write(view);
  return new Uint8Array(view.buffer);
}

function viewOf(encoded: Uint8Array, length: number): DataView {
  if (encoded.length !== length) {
    throw new TikvError("codec", `Cannot decode the value: ${encoded.length} bytes, expected ${length}`);
  }
  return new DataView(encoded.buffer, encoded.byteOffset, length);
}

function wrongType(value: unknown, expected: string): TypeError {
  return new TypeError(`Cannot encode ${nameOf(value)}: expected ${expected}`);
}

const SIGN = -(2n ** 63n);
const NAN_BITS = 0x7ff8n << 48n;

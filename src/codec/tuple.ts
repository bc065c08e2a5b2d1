// SPDX-License-Identifier: Apache-2.0

import { concatBytes } from "../bytes/concat.ts";
import { nameOf, utf8Decode, utf8Encode } from "../bytes/utf8.ts";
import { TikvError } from "../errors.ts";
import type { PrefixKeyCodec } from "./codec.ts";
import { getOrderedFloat64, setOrderedFloat64 } from "./scalars.ts";

/**
 * What a tuple may hold. A `bigint` is an integer and a `number` a double, in both directions:
 * which of them comes back never depends on the value.
 */
export type TupleItem = null | Uint8Array | string | bigint | number | boolean | readonly TupleItem[];

/** What a tuple may begin with: no item, its first, its first two, and so on up to all of them. */
export type TuplePrefix<T extends readonly unknown[]> = T extends readonly [...infer Head, unknown]
  ? Readonly<T> | TuplePrefix<Head>
  : Readonly<T>;

/**
 * Tuples in bytes that keep their order, the same bytes as FoundationDB's tuple layer.
 *
 * Order of types: `null`, bytes, strings, nested tuples, integers, doubles, booleans; within a
 * type the order of the values, item by item, a shorter tuple before one that goes on. Integers
 * have up to 255 bytes, tuples are nested up to 64 deep. `undefined` is a `TypeError`: it would
 * not come back.
 *
 * `T` is the caller's word: tuples of another shape under the same keys are not refused. Type
 * codes that this codec does not write are a `codec` error.
 *
 * @see the list of type codes in FoundationDB's repository, `design/tuple.md`
 */
export function tuple<T extends readonly TupleItem[]>(): PrefixKeyCodec<T, TuplePrefix<T>> {
  return {
    ordered: true,
    encode: (value: T) => packTuple(value),
    // The one place where the caller's word is taken for the shape.
    decode: (encoded: Uint8Array) => new TupleReader(encoded).tuple() as readonly TupleItem[] as T,
    rangeOfPrefix: (prefix: TuplePrefix<T>) => {
      const start = packTuple(prefix);
      // Not prefixEnd(start): ["a"] would then have ["a\0"] in it, which goes on with the escape 0xff.
      return { start, end: concatBytes(start, ESCAPE_BYTES) };
    },
  };
}

function packTuple(items: unknown): Uint8Array {
  if (!Array.isArray(items)) {
    throw new TypeError(`Cannot encode ${nameOf(items)} as a tuple: expected an array`);
  }
  const out: number[] = [];
  // for-of, unlike forEach(), also sees the holes of a sparse array.
  for (const item of items) packItem(out, item, 0);
  return new Uint8Array(out);
}

function packItem(out: number[], item: unknown, depth: number): void {
  if (item === null) {
    out.push(NULL);
    if (depth > 0) out.push(ESCAPE);
  } else if (typeof item === "string") {
    packEscaped(out, STRING, utf8Encode(item));
  } else if (item instanceof Uint8Array) {
    packEscaped(out, BYTES, item);
  } else if (typeof item === "bigint") {
    packInteger(out, item);
  } else if (typeof item === "number") {
    const view = new DataView(new ArrayBuffer(8));
    setOrderedFloat64(view, 0, item);
    out.push(DOUBLE, ...new Uint8Array(view.buffer));
  } else if (typeof item === "boolean") {
    out.push(item ? TRUE : FALSE);
  } else if (Array.isArray(item)) {
    if (depth >= MAX_DEPTH) {
      throw new RangeError(`Cannot encode the tuple: it is nested deeper than ${MAX_DEPTH}`);
    }
    out.push(NESTED);
    for (const inner of item) packItem(out, inner, depth + 1);
    out.push(END);
  } else {
    throw new TypeError(`Cannot encode ${nameOf(item)} in a tuple: expected ${ITEM_TYPES}`);
  }
}

function packEscaped(out: number[], code: number, bytes: Uint8Array): void {
  out.push(code);
  for (const byte of bytes) {
    out.push(byte);
    if (byte === END) out.push(ESCAPE);
  }
  out.push(END);
}

// Negative integers are the one's complement of their magnitude, so that more is less.
function packInteger(out: number[], value: bigint): void {
  const negative = value < 0n;
  const magnitude = bytesOf(negative ? -value : value);
  const length = magnitude.length;
  if (length > MAX_INTEGER_BYTES) {
    throw new RangeError(
      `Cannot encode an integer of ${length} bytes: expected at most ${MAX_INTEGER_BYTES}`,
    );
  }
  const flip = negative ? 0xff : 0;
  if (length <= 8) out.push(negative ? ZERO - length : ZERO + length);
  else out.push(negative ? BIG_NEGATIVE : BIG_POSITIVE, length ^ flip);
  for (const byte of magnitude) out.push(byte ^ flip);
}

// Big endian, without leading zeros; no bytes for zero.
function bytesOf(magnitude: bigint): Uint8Array {
  if (magnitude < 1n << 64n) {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, magnitude);
    const first = bytes.findIndex((byte) => byte !== 0);
    return bytes.subarray(first < 0 ? 8 : first);
  }
  const digits = magnitude.toString(16);
  const bytes = new Uint8Array((digits.length + 1) >> 1);
  for (let i = bytes.length - 1, end = digits.length; i >= 0; i--, end -= 2) {
    bytes[i] = Number.parseInt(digits.slice(Math.max(end - 2, 0), end), 16);
  }
  return bytes;
}

/** Reads exactly what `packTuple()` writes: one encoding per tuple, so equal keys are equal bytes. */
class TupleReader {
  readonly #bytes: Uint8Array;
  #pos = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  tuple(): TupleItem[] {
    const items: TupleItem[] = [];
    while (this.#pos < this.#bytes.length) items.push(this.#item(0));
    return items;
  }

  #item(depth: number): TupleItem {
    const at = this.#pos;
    const code = this.#byte();
    switch (code) {
      case NULL:
        return null;
      case BYTES:
        return this.#escaped();
      case STRING:
        return utf8Decode(this.#escaped());
      case NESTED:
        return this.#nested(depth + 1);
      case BIG_NEGATIVE:
        return -this.#integer(this.#bigLength(0xff), 0xff);
      case BIG_POSITIVE:
        return this.#integer(this.#bigLength(0), 0);
      case DOUBLE: {
        const bytes = this.#take(8);
        return getOrderedFloat64(new DataView(bytes.buffer, bytes.byteOffset, 8), 0);
      }
      case FALSE:
        return false;
      case TRUE:
        return true;
    }
    if (code >= ZERO && code <= ZERO + 8) return this.#integer(code - ZERO, 0);
    if (code < ZERO && code >= ZERO - 8) return -this.#integer(ZERO - code, 0xff);
    throw this.#malformed(`type code 0x${code.toString(16)} at byte ${at}`);
  }

  #nested(depth: number): TupleItem[] {
    if (depth > MAX_DEPTH) throw this.#malformed(`it is nested deeper than ${MAX_DEPTH}`);
    const items: TupleItem[] = [];
    for (;;) {
      if (this.#bytes[this.#pos] !== END) {
        items.push(this.#item(depth));
      } else if (this.#bytes[this.#pos + 1] === ESCAPE) {
        this.#pos += 2;
        items.push(null);
      } else {
        this.#pos++;
        return items;
      }
    }
  }

  #escaped(): Uint8Array {
    const start = this.#pos;
    let escapes = 0;
    let end = this.#bytes.indexOf(END, start);
    while (end >= 0 && this.#bytes[end + 1] === ESCAPE) {
      escapes++;
      end = this.#bytes.indexOf(END, end + 2);
    }
    if (end < 0) throw this.#malformed(`the bytes from byte ${start} on have no end`);
    this.#pos = end + 1;
    if (escapes === 0) return this.#bytes.slice(start, end);
    const plain = new Uint8Array(end - start - escapes);
    for (let from = start, to = 0; to < plain.length; from++, to++) {
      const byte = this.#bytes[from] as number;
      plain[to] = byte;
      if (byte === END) from++;
    }
    return plain;
  }

  #bigLength(flip: number): number {
    const length = this.#byte() ^ flip;
    if (length <= 8) throw this.#malformed(`an integer of ${length} bytes has the code of a longer one`);
    return length;
  }

  #integer(length: number, flip: number): bigint {
    const bytes = this.#take(length);
    if (length > 0 && bytes[0] === flip) throw this.#malformed("an integer has leading zeros");
    let value = 0n;
    for (const byte of bytes) value = (value << 8n) | BigInt(byte ^ flip);
    return value;
  }

  #byte(): number {
    const byte = this.#bytes[this.#pos];
    if (byte === undefined) throw this.#malformed("it ends within an item");
    this.#pos++;
    return byte;
  }

  #take(length: number): Uint8Array {
    const start = this.#pos;
    this.#pos += length;
    if (this.#pos > this.#bytes.length) throw this.#malformed("it ends within an item");
    return this.#bytes.subarray(start, this.#pos);
  }

  #malformed(what: string): TikvError {
    return new TikvError("codec", `Cannot decode a tuple of ${this.#bytes.length} bytes: ${what}`);
  }
}

const NULL = 0x00;
const BYTES = 0x01;
const STRING = 0x02;
const NESTED = 0x05;
const BIG_NEGATIVE = 0x0b;
const ZERO = 0x14; // plus or minus the number of bytes
const BIG_POSITIVE = 0x1d;
const DOUBLE = 0x21;
const FALSE = 0x26;
const TRUE = 0x27;

// A zero byte ends bytes, strings and nested tuples; one that is content is followed by ESCAPE.
const END = 0x00;
const ESCAPE = 0xff;
const ESCAPE_BYTES: Uint8Array = Uint8Array.of(ESCAPE);

const MAX_INTEGER_BYTES = 255;
const MAX_DEPTH = 64;
const ITEM_TYPES = "null, a Uint8Array, string, bigint, number, boolean or array";

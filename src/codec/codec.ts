// SPDX-License-Identifier: Apache-2.0

import { isPrefixInput, type KeyRange, orderedRange } from "../bytes/key_range.ts";
import type { BoundsInput, PrefixInput } from "../bytes/key_range.ts";
import { EMPTY } from "../bytes/concat.ts";

/**
 * Turns values into bytes and back: `decode(encode(value))` equals `value`.
 *
 * `encode` throws a `TypeError` or `RangeError` for a value that it cannot keep; `decode` throws
 * a `codec` error for bytes that it did not write.
 */
export interface Codec<T> {
  /** The bytes of a value. */
  encode(value: T): Uint8Array;
  /** The value of bytes that `encode` made. */
  decode(bytes: Uint8Array): T;
}

/** A codec that can be used for keys. */
export interface KeyCodec<T> extends Codec<T> {
  /**
   * Whether encoded keys have the order of their values. Without it `{ start, end }` has no
   * meaning for the values and is refused; single keys and whole views work.
   */
  readonly ordered: boolean;
}

/**
 * A key codec with prefixes of type `P`: the first characters of a string, the first items of a
 * tuple. Every key is also a prefix, so `P` includes `T`.
 */
export interface PrefixKeyCodec<T, P = T> extends KeyCodec<T> {
  /**
   * The keys that begin with `prefix`, and no others. Its `start` is also the bound that stands
   * for `prefix` in `{ start, end }`.
   */
  rangeOfPrefix(prefix: P): KeyRange;
}

/** The type of the values of a codec. */
export type ValueOf<C> = C extends Codec<infer T> ? T : never;

/** The type of the prefixes of a key codec; `never` if it has none. */
export type PrefixOf<C> = C extends { rangeOfPrefix(prefix: infer P): KeyRange } ? P : never;

/** The type of the bounds of a range over keys of a codec. */
export type BoundOf<C> = C extends { rangeOfPrefix(prefix: infer P): KeyRange } ? P : ValueOf<C>;

/** A range over keys of a codec: `{ prefix }` or `{ start, end }`. */
export type RangeInputOf<C> = PrefixInput<PrefixOf<C>> | BoundsInput<BoundOf<C>>;

/**
 * The bounds of a range that a caller wrote in keys of a codec.
 *
 * Besides what a range of bytes refuses, `{ prefix }` with a codec that has no prefixes and
 * bounds with a codec that keeps no order are a `TypeError`.
 */
export function toKeyRange<C extends KeyCodec<unknown>>(codec: C, input: RangeInputOf<C>): KeyRange {
  const keys: KeyCodec<unknown> & Partial<PrefixKeyCodec<unknown, unknown>> = codec;
  if (isPrefixInput<unknown, unknown>(input)) {
    if (keys.rangeOfPrefix === undefined) {
      throw new TypeError("Cannot use the range: this key codec has no prefixes, expected { start, end }");
    }
    return keys.rangeOfPrefix(input.prefix);
  }
  return orderedRange(boundOf(keys, input.start), boundOf(keys, input.end));
}

function boundOf(
  keys: KeyCodec<unknown> & Partial<PrefixKeyCodec<unknown, unknown>>,
  bound: unknown,
): Uint8Array {
  if (bound === undefined) return EMPTY;
  if (!keys.ordered) {
    throw new TypeError("Cannot use the range: this key codec keeps no order, so bounds have no meaning");
  }
  return keys.rangeOfPrefix === undefined ? keys.encode(bound) : keys.rangeOfPrefix(bound).start;
}

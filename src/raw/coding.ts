// SPDX-License-Identifier: Apache-2.0
// How a view's keys and values become the bytes of the whole raw data, and back.

import { concatBytes, EMPTY } from "../bytes/concat.ts";
import { type KeyArgument, type KeyMap, type ReadonlyKeyMap, TypedKeyMap } from "../bytes/key_map.ts";
import {
  type BoundsInput,
  type KeyRange,
  type PrefixInput,
  type RangeInput,
  toRange,
  underPrefix,
} from "../bytes/key_range.ts";
import { type KeyInput, toBytes } from "../bytes/utf8.ts";
import {
  type BoundOf,
  type Codec,
  type KeyCodec,
  type PrefixKeyCodec,
  type PrefixOf,
  type RangeInputOf,
  toKeyRange,
  type ValueOf,
} from "../codec/codec.ts";
import { bytes } from "../codec/scalars.ts";

/** The type of a view's keys as they come out. */
export type KeyOut<K> = ValueOf<K>;
/** The type of a view's keys as they go in: where they are bytes, a string stands for its UTF-8. */
export type KeyIn<K> = KeyArgument<ValueOf<K>>;
/** The type of a view's values as they come out. */
export type ValueOut<V> = ValueOf<V>;
/** The type of a view's values as they go in: where they are bytes, a string stands for its UTF-8. */
export type ValueIn<V> = KeyArgument<ValueOf<V>>;
/**
 * A range of a view: `{ prefix }`, or `{ start, end }` with `start` in it and `end` not. Both bounds
 * may be left out; `{}` is the whole view.
 */
export type RawRange<K> = PrefixInput<KeyArgument<PrefixOf<K>>> | BoundsInput<KeyArgument<BoundOf<K>>>;

/** The key codec of a view without one. */
export type ByteKeys = PrefixKeyCodec<Uint8Array>;
/** The value codec of a view without one. */
export type ByteValues = Codec<Uint8Array>;

/** The prefix and the codecs of a view. */
export class Coding<K extends KeyCodec<unknown>, V extends Codec<unknown>> {
  readonly prefix: Uint8Array;
  readonly keys: K;
  readonly values: V;
  // Bytes need no codec, and may be given as strings, which the codec of bytes refuses.
  readonly #hasByteKeys: boolean;
  readonly #hasByteValues: boolean;

  constructor(prefix: Uint8Array, keys: K, values: V) {
    this.prefix = prefix;
    this.keys = keys;
    this.values = values;
    this.#hasByteKeys = (keys as KeyCodec<unknown>) === bytes;
    this.#hasByteValues = (values as Codec<unknown>) === bytes;
  }

  /** The bytes of a key among all raw data. */
  encodeKey(key: KeyIn<K>): Uint8Array {
    const own = this.#encodeOwn(key);
    return this.prefix.length === 0 ? own : concatBytes(this.prefix, own);
  }

  decodeKey(encoded: Uint8Array): KeyOut<K> {
    return this.#decodeOwn(this.stripPrefix(encoded));
  }

  /** A key of this view without its prefix. */
  stripPrefix(encoded: Uint8Array): Uint8Array {
    return this.prefix.length === 0 ? encoded : encoded.subarray(this.prefix.length);
  }

  encodeValue(value: ValueIn<V>): Uint8Array {
    return this.#hasByteValues ? toBytes(value as KeyInput) : this.values.encode(value);
  }

  decodeValue(encoded: Uint8Array): ValueOut<V> {
    return (this.#hasByteValues ? encoded : this.values.decode(encoded)) as ValueOut<V>;
  }

  /** The range among all raw data. */
  encodeRange(range: RawRange<K>): KeyRange {
    const own = this.#hasByteKeys
      ? toRange(range as RangeInput)
      : toKeyRange(this.keys, range as RangeInputOf<K>);
    return this.prefix.length === 0 ? own : underPrefix(this.prefix, own);
  }

  /** The map that a caller gets of one whose keys are those of this view, without its prefix. */
  mapOf(found: KeyMap<ValueOut<V>>): ReadonlyKeyMap<ValueOut<V>, KeyOut<K>> {
    return new TypedKeyMap<ValueOut<V>, KeyOut<K>, KeyIn<K>>({
      encode: (key) => this.#encodeOwn(key),
      decode: (encoded) => this.#decodeOwn(encoded),
    }, found);
  }

  #encodeOwn(key: KeyIn<K>): Uint8Array {
    return this.#hasByteKeys ? toBytes(key as KeyInput) : this.keys.encode(key);
  }

  #decodeOwn(encoded: Uint8Array): KeyOut<K> {
    return (this.#hasByteKeys ? encoded : this.keys.decode(encoded)) as KeyOut<K>;
  }
}

/** The whole raw data as bytes. */
export const ROOT_CODING: Coding<ByteKeys, ByteValues> = new Coding<ByteKeys, ByteValues>(
  EMPTY,
  bytes,
  bytes,
);

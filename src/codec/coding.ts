// SPDX-License-Identifier: Apache-2.0
// How a view's keys and values become the bytes of the whole data, and back.

import { concatBytes, EMPTY } from "../bytes/concat.ts";
import { type KeyArgument, KeyMap, type ReadonlyKeyMap, TypedKeyMap } from "../bytes/key_map.ts";
import {
  type BoundsInput,
  type KeyRange,
  type PrefixInput,
  type RangeInput,
  toRange,
  underPrefix,
} from "../bytes/key_range.ts";
import { type KeyInput, nameOf, toBytes } from "../bytes/utf8.ts";
import { checkMethods, checkNames } from "../options.ts";
import {
  type BoundOf,
  type Codec,
  type KeyCodec,
  type PrefixKeyCodec,
  type PrefixOf,
  type RangeInputOf,
  toKeyRange,
  type ValueOf,
} from "./codec.ts";
import { bytes } from "./scalars.ts";

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

/** The codecs of a view; what is absent stays as it is in the view that it is made of. */
export interface ViewCodecs<K, V> {
  /** Codec of the keys. */
  readonly key?: K | undefined;
  /** Codec of the values. */
  readonly value?: V | undefined;
}

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

  /** The bytes of a key among all data. */
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
    return this.#hasByteValues ? toBytes(value as KeyInput) : bytesOf(this.values.encode(value), "value");
  }

  decodeValue(encoded: Uint8Array): ValueOut<V> {
    return (this.#hasByteValues ? encoded : this.values.decode(encoded)) as ValueOut<V>;
  }

  /** The range among all data. */
  encodeRange(range: RawRange<K>): KeyRange {
    const own = this.#hasByteKeys
      ? toRange(range as RangeInput)
      : toKeyRange(this.keys, range as RangeInputOf<K>);
    return this.prefix.length === 0 ? own : underPrefix(this.prefix, own);
  }

  /** The map that a caller gets of one whose keys are those of this view, without its prefix. */
  mapOf<T>(found: KeyMap<T>): ReadonlyKeyMap<T, KeyOut<K>> {
    return new TypedKeyMap<T, KeyOut<K>, KeyIn<K>>({
      encode: (key) => this.#encodeOwn(key),
      decode: (encoded) => this.#decodeOwn(encoded),
    }, found);
  }

  /** The same of a map whose keys have the prefix, and whose values are still to be read. */
  decodeMap<T, U>(found: KeyMap<T>, decode: (value: T) => U): ReadonlyKeyMap<U, KeyOut<K>> {
    if (this.prefix.length === 0) return this.mapOf(found.mapValues(decode));
    const own = new KeyMap<U>();
    for (const [key, value] of found) own.set(this.stripPrefix(key), decode(value));
    return this.mapOf(own);
  }

  #encodeOwn(key: KeyIn<K>): Uint8Array {
    return this.#hasByteKeys ? toBytes(key as KeyInput) : bytesOf(this.keys.encode(key), "key");
  }

  #decodeOwn(encoded: Uint8Array): KeyOut<K> {
    return (this.#hasByteKeys ? encoded : this.keys.decode(encoded)) as KeyOut<K>;
  }
}

/** The whole data as bytes. */
export const ROOT_CODING: Coding<ByteKeys, ByteValues> = new Coding<ByteKeys, ByteValues>(
  EMPTY,
  bytes,
  bytes,
);

/** The coding of a view within a view. */
export function subCoding<K extends KeyCodec<unknown>, V extends Codec<unknown>>(
  outer: Coding<KeyCodec<unknown>, Codec<unknown>>,
  prefix: KeyInput,
  codecs: ViewCodecs<K, V>,
): Coding<K, V> {
  checkNames("the codecs", codecs, CODEC_NAMES);
  checkMethods("key", codecs.key, ["encode", "decode"]);
  checkMethods("value", codecs.value, ["encode", "decode"]);
  // What is not given has the type of the outer view, which is the default of the type parameter.
  const keys = codecs.key ?? outer.keys as K;
  const values = codecs.value ?? outer.values as V;
  // A copy: the caller may write into the array later.
  return new Coding(concatBytes(outer.prefix, toBytes(prefix)), keys, values);
}

/** A codec is the caller's: what it gives need not be what its type says. */
function bytesOf(encoded: unknown, what: string): Uint8Array {
  if (encoded instanceof Uint8Array) return encoded;
  throw new TypeError(`Cannot use ${nameOf(encoded)} that the codec made of the ${what}: expected bytes`);
}

/** A string is iterable too, but never meant as a list of keys. */
export function iterable<T>(values: Iterable<T>, what: string): Iterable<T> {
  const value: unknown = values;
  const isIterable = typeof value === "object" && value !== null && Symbol.iterator in value;
  if (isIterable && !(value instanceof Uint8Array)) return values;
  throw new TypeError(`Cannot use ${nameOf(value)} as a list of ${what}: expected an iterable of them`);
}

const CODEC_NAMES: ReadonlySet<string> = new Set(["key", "value"]);

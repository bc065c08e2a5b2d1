// SPDX-License-Identifier: Apache-2.0
// What goes in: the caller's keys and values as bytes, checked against the limits.

import { concatBytes } from "../bytes/concat.ts";
import { type KeyInput, nameOf, toBytes } from "../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
import { checkMethods, checkNames } from "../options.ts";
import type { PutEntry, ViewCodecs } from "./api.ts";
import type { BatchEntry } from "./batch.ts";
import { Coding, type KeyIn, type ValueIn } from "./coding.ts";
import { checkTtl } from "./options.ts";
import { assertEntrySize, assertKeySize, type RawScope } from "./scope.ts";

/** Encodes what the callers of one view pass in. */
export class ViewEncoder<K extends KeyCodec<unknown>, V extends Codec<unknown>> {
  readonly #scope: RawScope;
  readonly #coding: Coding<K, V>;

  constructor(scope: RawScope, coding: Coding<K, V>) {
    this.#scope = scope;
    this.#coding = coding;
  }

  key(key: KeyIn<K>): Uint8Array {
    const encoded = this.#coding.encodeKey(key);
    assertKeySize(this.#scope, encoded);
    return encoded;
  }

  keys(keys: Iterable<KeyIn<K>>): Uint8Array[] {
    const encoded: Uint8Array[] = [];
    for (const key of iterable(keys, "keys")) encoded.push(this.key(key));
    return encoded;
  }

  entry(key: KeyIn<K>, value: ValueIn<V>, ttl: bigint): BatchEntry {
    const entry = { key: this.#coding.encodeKey(key), value: this.#coding.encodeValue(value), ttl };
    assertEntrySize(this.#scope, entry.key, entry.value);
    return entry;
  }

  entries(entries: Iterable<PutEntry<K, V>>, ttlOfAll: bigint): BatchEntry[] {
    const encoded: BatchEntry[] = [];
    for (const entry of iterable(entries, "entries")) encoded.push(this.#putEntry(entry, ttlOfAll));
    return encoded;
  }

  #putEntry(entry: PutEntry<K, V>, ttlOfAll: bigint): BatchEntry {
    if (isPair(entry)) {
      if (entry.length !== 2) {
        throw new TypeError(`Cannot write an entry of ${entry.length} items: expected [key, value]`);
      }
      return this.entry(entry[0], entry[1], ttlOfAll);
    }
    checkNames("the entry", entry, ENTRY_NAMES);
    const { key, value, ttlSeconds } = entry;
    return this.entry(key, value, ttlSeconds === undefined ? ttlOfAll : checkTtl(ttlSeconds));
  }
}

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

/** A string is iterable too, but never meant as a list of keys. */
export function iterable<T>(values: Iterable<T>, what: string): Iterable<T> {
  const value: unknown = values;
  const isIterable = typeof value === "object" && value !== null && Symbol.iterator in value;
  if (isIterable && !(value instanceof Uint8Array)) return values;
  throw new TypeError(`Cannot use ${nameOf(value)} as a list of ${what}: expected an iterable of them`);
}

function isPair<K, V>(entry: PutEntry<K, V>): entry is Extract<PutEntry<K, V>, readonly unknown[]> {
  return Array.isArray(entry);
}

const ENTRY_NAMES: ReadonlySet<string> = new Set(["key", "value", "ttlSeconds"]);
const CODEC_NAMES: ReadonlySet<string> = new Set(["key", "value"]);

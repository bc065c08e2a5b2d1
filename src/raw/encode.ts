// SPDX-License-Identifier: Apache-2.0
// What goes in: the caller's keys and values as bytes, checked against the limits.

import type { Codec, KeyCodec } from "../codec/codec.ts";
import { type Coding, iterable, type KeyIn, type ValueIn } from "../codec/coding.ts";
import { checkNames } from "../options.ts";
import type { PutEntry } from "./api.ts";
import type { BatchEntry } from "./batch.ts";
import { checkTtl } from "./options.ts";
import { assertKeySize } from "../plan/key_size.ts";
import { assertEntrySize, type RawScope } from "./scope.ts";

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
    assertKeySize(this.#scope.session.settings, encoded);
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

function isPair<K, V>(entry: PutEntry<K, V>): entry is Extract<PutEntry<K, V>, readonly unknown[]> {
  return Array.isArray(entry);
}

const ENTRY_NAMES: ReadonlySet<string> = new Set(["key", "value", "ttlSeconds"]);

// SPDX-License-Identifier: Apache-2.0

import { type KeyInput, toBytes, utf8Encode } from "./utf8.ts";

/** How keys that come out as `K` may go in: byte keys also as strings, which stand for their UTF-8. */
export type KeyArgument<K> = K extends Uint8Array ? KeyInput : K;

/**
 * The reading half of a {@linkcode KeyMap} or {@linkcode TypedKeyMap}: values of type `V` by
 * keys that come out as `K` and go in as `A`. Byte keys may also be given as strings.
 */
export interface ReadonlyKeyMap<V, K = Uint8Array, A = KeyArgument<K>> extends Iterable<[K, V]> {
  /** Number of keys. */
  readonly size: number;
  /** The value of the key with this content, `undefined` if it is absent. */
  get(key: A): V | undefined;
  /** Tells whether there is a key with this content. */
  has(key: A): boolean;
  /** The keys, in the order in which they were first set. */
  keys(): IterableIterator<K>;
  /** The values, in the order of their keys. */
  values(): IterableIterator<V>;
  /** Keys with values, in the order of the keys. */
  entries(): IterableIterator<[K, V]>;
  /** Calls `callback` for each key, in order. */
  forEach(callback: (value: V, key: K, map: ReadonlyKeyMap<V, K, A>) => void): void;
  [Symbol.iterator](): IterableIterator<[K, V]>;
}

/**
 * A map whose keys are byte strings compared by content: another `Uint8Array` with the same
 * bytes, or the string with that UTF-8 form, finds the entry. In insertion order, like `Map`.
 *
 * A key array is kept, not copied: do not change it while it is in the map.
 */
export class KeyMap<V> implements ReadonlyKeyMap<V> {
  readonly #slots = new Map<string, [key: Uint8Array, value: V]>();

  constructor(entries: Iterable<readonly [KeyInput, V]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#slots.size;
  }

  get(key: KeyInput): V | undefined {
    return this.#slots.get(contentOf(key))?.[1];
  }

  has(key: KeyInput): boolean {
    return this.#slots.has(contentOf(key));
  }

  /** Sets the value; a key that is there keeps its place. */
  set(key: KeyInput, value: V): this {
    const content = contentOf(key);
    const slot = this.#slots.get(content);
    if (slot === undefined) this.#slots.set(content, [toBytes(key), value]);
    else slot[1] = value;
    return this;
  }

  /** Sets the value of a key that is not there, and tells whether it was not. */
  add(key: KeyInput, value: V): boolean {
    const content = contentOf(key);
    if (this.#slots.has(content)) return false;
    this.#slots.set(content, [toBytes(key), value]);
    return true;
  }

  /** Removes the key and tells whether it was there. */
  delete(key: KeyInput): boolean {
    return this.#slots.delete(contentOf(key));
  }

  clear(): void {
    this.#slots.clear();
  }

  /** A new map with the same keys, in the same order, and other values. */
  mapValues<T>(valueOf: (value: V) => T): KeyMap<T> {
    const mapped = new KeyMap<T>();
    for (const [content, [key, value]] of this.#slots) mapped.#slots.set(content, [key, valueOf(value)]);
    return mapped;
  }

  /** The same without the keys whose new value is undefined. */
  mapDefined<T>(valueOf: (value: V) => T | undefined): KeyMap<T> {
    const mapped = new KeyMap<T>();
    for (const [content, [key, value]] of this.#slots) {
      const found = valueOf(value);
      if (found !== undefined) mapped.#slots.set(content, [key, found]);
    }
    return mapped;
  }

  *keys(): IterableIterator<Uint8Array> {
    for (const [key] of this.#slots.values()) yield key;
  }

  *values(): IterableIterator<V> {
    for (const [, value] of this.#slots.values()) yield value;
  }

  *entries(): IterableIterator<[Uint8Array, V]> {
    for (const [key, value] of this.#slots.values()) yield [key, value];
  }

  forEach(callback: (value: V, key: Uint8Array, map: ReadonlyKeyMap<V>) => void): void {
    for (const [key, value] of this.#slots.values()) callback(value, key, this);
  }

  [Symbol.iterator](): IterableIterator<[Uint8Array, V]> {
    return this.entries();
  }

  get [Symbol.toStringTag](): string {
    return "KeyMap";
  }
}

/** How the keys of a {@linkcode TypedKeyMap} become bytes and back; every codec is one. */
export interface KeyCoding<K, A = K> {
  /** The bytes of a key as it goes in. */
  encode(key: A): Uint8Array;
  /** The key as it comes out. */
  decode(bytes: Uint8Array): K;
}

/**
 * A {@linkcode KeyMap} with keys of another type, compared by their encoded content: an equal
 * tuple finds the entry that was set with another array.
 */
export class TypedKeyMap<V, K, A = K> implements ReadonlyKeyMap<V, K, A> {
  readonly #coding: KeyCoding<K, A>;
  readonly #map: KeyMap<V>;

  /** Takes `map` over as its content: a later change of either shows in both. */
  constructor(coding: KeyCoding<K, A>, map: KeyMap<V> = new KeyMap()) {
    this.#coding = coding;
    this.#map = map;
  }

  get size(): number {
    return this.#map.size;
  }

  get(key: A): V | undefined {
    return this.#map.get(this.#coding.encode(key));
  }

  has(key: A): boolean {
    return this.#map.has(this.#coding.encode(key));
  }

  /** Sets the value; a key that is there keeps its place. */
  set(key: A, value: V): this {
    this.#map.set(this.#coding.encode(key), value);
    return this;
  }

  /** Removes the key and tells whether it was there. */
  delete(key: A): boolean {
    return this.#map.delete(this.#coding.encode(key));
  }

  clear(): void {
    this.#map.clear();
  }

  *keys(): IterableIterator<K> {
    for (const key of this.#map.keys()) yield this.#coding.decode(key);
  }

  values(): IterableIterator<V> {
    return this.#map.values();
  }

  *entries(): IterableIterator<[K, V]> {
    for (const [key, value] of this.#map.entries()) yield [this.#coding.decode(key), value];
  }

  forEach(callback: (value: V, key: K, map: ReadonlyKeyMap<V, K, A>) => void): void {
    for (const [key, value] of this.entries()) callback(value, key, this);
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  get [Symbol.toStringTag](): string {
    return "TypedKeyMap";
  }
}

/** A set of byte strings compared by content, in insertion order. */
export class KeySet implements Iterable<Uint8Array> {
  readonly #keys = new Map<string, Uint8Array>();

  constructor(keys: Iterable<KeyInput> = []) {
    for (const key of keys) this.add(key);
  }

  get size(): number {
    return this.#keys.size;
  }

  has(key: KeyInput): boolean {
    return this.#keys.has(contentOf(key));
  }

  /** Adds the key; one that is there stays as it is, in its place. */
  add(key: KeyInput): this {
    const content = contentOf(key);
    if (!this.#keys.has(content)) this.#keys.set(content, toBytes(key));
    return this;
  }

  /** Removes the key and tells whether it was there. */
  delete(key: KeyInput): boolean {
    return this.#keys.delete(contentOf(key));
  }

  clear(): void {
    this.#keys.clear();
  }

  values(): IterableIterator<Uint8Array> {
    return this.#keys.values();
  }

  [Symbol.iterator](): IterableIterator<Uint8Array> {
    return this.#keys.values();
  }

  get [Symbol.toStringTag](): string {
    return "KeySet";
  }
}

/**
 * The content as a string with one character per byte, which is what a `Map` can compare.
 *
 * "latin1" names windows-1252 in browsers' encodings; it too gives 256 different characters for
 * 256 bytes, and the first 128 are ASCII, so an ASCII string is its own content.
 */
export function contentOf(key: KeyInput): string {
  if (typeof key === "string") return isAscii(key) ? key : textOf(utf8Encode(key));
  return textOf(key instanceof Uint8Array ? key : toBytes(key));
}

function textOf(key: Uint8Array): string {
  // Two to four times as fast as the decoder in V8, and half as fast in JavaScriptCore.
  return key.length <= SHORT_KEY_BYTES
    ? Reflect.apply(String.fromCharCode, undefined, key)
    : LATIN1.decode(key);
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return false;
  }
  return true;
}

const LATIN1 = new TextDecoder("latin1");
const SHORT_KEY_BYTES = 128;

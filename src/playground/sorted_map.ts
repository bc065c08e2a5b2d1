// SPDX-License-Identifier: Apache-2.0

import { compareBytes } from "../bytes/compare.ts";

/** A key with what is stored under it. */
export interface SortedEntry<V> {
  readonly key: Uint8Array;
  readonly value: V;
}

/** Which entries to walk over: `start` is in the range, `end` is not; an empty `end` is unbounded. */
export interface SortedRange {
  /** The first key. */
  readonly start: Uint8Array;
  /** The key behind the last; empty for none. */
  readonly end: Uint8Array;
}

/** A chunk is cut in two when it grows beyond this; small enough that inserting stays cheap. */
const MAX_CHUNK = 512;

/**
 * A map in key order. Keys are kept as given, so the caller must not change them afterwards.
 *
 * It is a list of sorted chunks: a B-tree of two levels, which is enough for the data of a test.
 */
export class SortedMap<V> {
  #chunks: SortedEntry<V>[][] = [[]];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: Uint8Array): V | undefined {
    const chunk = this.#chunkOf(key);
    const index = lowerBound(chunk, key);
    const entry = chunk[index];
    return entry !== undefined && compareBytes(entry.key, key) === 0 ? entry.value : undefined;
  }

  set(key: Uint8Array, value: V): void {
    const chunkIndex = this.#chunkIndexOf(key);
    const chunk = this.#chunks[chunkIndex] ?? [];
    const index = lowerBound(chunk, key);
    const entry = chunk[index];
    if (entry !== undefined && compareBytes(entry.key, key) === 0) {
      chunk[index] = { key: entry.key, value };
      return;
    }
    chunk.splice(index, 0, { key, value });
    this.#size++;
    if (chunk.length > MAX_CHUNK) this.#chunks.splice(chunkIndex + 1, 0, chunk.splice(chunk.length >> 1));
  }

  delete(key: Uint8Array): boolean {
    const chunkIndex = this.#chunkIndexOf(key);
    const chunk = this.#chunks[chunkIndex] ?? [];
    const index = lowerBound(chunk, key);
    const entry = chunk[index];
    if (entry === undefined || compareBytes(entry.key, key) !== 0) return false;
    chunk.splice(index, 1);
    this.#size--;
    if (chunk.length === 0 && this.#chunks.length > 1) this.#chunks.splice(chunkIndex, 1);
    return true;
  }

  /** Takes every entry of the range away and says how many there were. */
  deleteRange(range: SortedRange): number {
    const keys: Uint8Array[] = [];
    for (const entry of this.ascending(range)) keys.push(entry.key);
    for (const key of keys) this.delete(key);
    return keys.length;
  }

  clear(): void {
    this.#chunks = [[]];
    this.#size = 0;
  }

  /** The entries of the range, smallest key first. The map must not change during the walk. */
  *ascending(range: SortedRange): Generator<SortedEntry<V>, void> {
    const first = this.#chunkIndexOf(range.start);
    for (let chunkIndex = first; chunkIndex < this.#chunks.length; chunkIndex++) {
      const chunk = this.#chunks[chunkIndex] ?? [];
      for (let i = chunkIndex === first ? lowerBound(chunk, range.start) : 0; i < chunk.length; i++) {
        const entry = chunk[i];
        if (entry === undefined) continue;
        if (range.end.length > 0 && compareBytes(entry.key, range.end) >= 0) return;
        yield entry;
      }
    }
  }

  /** The entries of the range, largest key first. The map must not change during the walk. */
  *descending(range: SortedRange): Generator<SortedEntry<V>, void> {
    const isBounded = range.end.length > 0;
    const last = isBounded ? this.#chunkIndexOf(range.end) : this.#chunks.length - 1;
    for (let chunkIndex = last; chunkIndex >= 0; chunkIndex--) {
      const chunk = this.#chunks[chunkIndex] ?? [];
      const from = chunkIndex === last && isBounded ? lowerBound(chunk, range.end) : chunk.length;
      for (let i = from - 1; i >= 0; i--) {
        const entry = chunk[i];
        if (entry === undefined) continue;
        if (compareBytes(entry.key, range.start) < 0) return;
        yield entry;
      }
    }
  }

  #chunkOf(key: Uint8Array): SortedEntry<V>[] {
    return this.#chunks[this.#chunkIndexOf(key)] ?? [];
  }

  /** The last chunk whose first key is not after `key`. */
  #chunkIndexOf(key: Uint8Array): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      const first = this.#chunks[middle]?.[0];
      if (first !== undefined && compareBytes(first.key, key) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** The first index whose key is not before `key`. */
function lowerBound<V>(chunk: readonly SortedEntry<V>[], key: Uint8Array): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = chunk[middle];
    if (entry !== undefined && compareBytes(entry.key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

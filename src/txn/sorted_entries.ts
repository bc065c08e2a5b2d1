// SPDX-License-Identifier: Apache-2.0

import { compareBytes } from "../bytes/compare.ts";
import type { KeyRange } from "../bytes/key_range.ts";

/**
 * Entries in the order of their keys, at most one per key.
 *
 * A list of short sorted lists: two binary searches find a key, and an insert moves one short list
 * only. Up to a few million entries the outer list stays so small that a tree above it would not pay.
 */
export class SortedEntries<E extends { readonly key: Uint8Array }> {
  // No leaf is empty.
  readonly #leaves: E[][] = [];
  #size = 0;
  // Counts inserts and removals, so that a walk sees that its place in the leaves is no longer valid.
  #version = 0;

  /** How many entries there are. */
  get size(): number {
    return this.#size;
  }

  /** The entry of a key. */
  find(key: Uint8Array): E | undefined {
    const leaf = this.#leaves[this.#leafOf(key)];
    const entry = leaf?.[lowerBound(leaf, key)];
    return entry !== undefined && compareBytes(entry.key, key) === 0 ? entry : undefined;
  }

  /** Adds an entry, whose key must have none. */
  insert(entry: E): void {
    this.#version++;
    this.#size++;
    const at = this.#leafOf(entry.key);
    const leaf = this.#leaves[at];
    if (leaf === undefined) {
      this.#leaves.push([entry]);
      return;
    }
    const index = lowerBound(leaf, entry.key);
    if (leaf.length < LEAF_ENTRIES) {
      leaf.splice(index, 0, entry);
    } else if (index === leaf.length && at === this.#leaves.length - 1) {
      // Keys that come in order fill every leaf; halves would stay half full for ever.
      this.#leaves.push([entry]);
    } else {
      const upper = leaf.splice(LEAF_ENTRIES / 2);
      this.#leaves.splice(at + 1, 0, upper);
      if (index <= leaf.length) leaf.splice(index, 0, entry);
      else upper.splice(index - leaf.length, 0, entry);
    }
  }

  /** Removes the entry of a key, if there is one. */
  remove(key: Uint8Array): void {
    const at = this.#leafOf(key);
    const leaf = this.#leaves[at];
    if (leaf === undefined) return;
    const index = lowerBound(leaf, key);
    const entry = leaf[index];
    if (entry === undefined || compareBytes(entry.key, key) !== 0) return;
    this.#version++;
    this.#size--;
    leaf.splice(index, 1);
    if (leaf.length === 0) this.#leaves.splice(at, 1);
  }

  /**
   * The entries of a range, first to last.
   *
   * Entries may come and go meanwhile, also across an `await` of the reader: the walk goes on after
   * the last key it gave, so it gives no key twice and skips none that was there all the time.
   */
  *ascending(range: KeyRange): Generator<E, void, undefined> {
    let version = -1;
    let at = 0;
    let index = 0;
    let last: Uint8Array | undefined;
    while (true) {
      if (version !== this.#version) {
        version = this.#version;
        const from = last ?? range.start;
        at = this.#leafOf(from);
        const leaf = this.#leaves[at];
        if (leaf === undefined) return;
        index = lowerBound(leaf, from);
        const found = leaf[index];
        if (last !== undefined && found !== undefined && compareBytes(found.key, last) === 0) index++;
      }
      let entry = this.#leaves[at]?.[index];
      if (entry === undefined) {
        at++;
        index = 0;
        entry = this.#leaves[at]?.[index];
        if (entry === undefined) return;
      }
      if (range.end.length > 0 && compareBytes(entry.key, range.end) >= 0) return;
      index++;
      last = entry.key;
      yield entry;
    }
  }

  /** The entries of a range, last to first; otherwise as {@linkcode SortedEntries.ascending}. */
  *descending(range: KeyRange): Generator<E, void, undefined> {
    let version = -1;
    let at = 0;
    let index = 0;
    // All that is given is before this key; empty is unbounded, as in a range.
    let before: Uint8Array | undefined = range.end.length > 0 ? range.end : undefined;
    while (true) {
      if (version !== this.#version) {
        version = this.#version;
        at = before === undefined ? this.#leaves.length - 1 : this.#leafOf(before);
        const leaf = this.#leaves[at];
        if (leaf === undefined) return;
        index = (before === undefined ? leaf.length : lowerBound(leaf, before)) - 1;
      }
      if (index < 0) {
        at--;
        index = (this.#leaves[at]?.length ?? 0) - 1;
      }
      const entry = this.#leaves[at]?.[index];
      if (entry === undefined || compareBytes(entry.key, range.start) < 0) return;
      index--;
      before = entry.key;
      yield entry;
    }
  }

  /** The leaf in which the key is or would be: the last one that does not begin after it. */
  #leafOf(key: Uint8Array): number {
    let low = 0;
    let high = this.#leaves.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = this.#leaves[middle]?.[0];
      if (first !== undefined && compareBytes(first.key, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : low - 1;
  }
}

/** Where the first entry is that is not before the key; the length if there is none. */
function lowerBound(leaf: readonly { readonly key: Uint8Array }[], key: Uint8Array): number {
  let low = 0;
  let high = leaf.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = leaf[middle];
    if (entry !== undefined && compareBytes(entry.key, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Even, because a full leaf is cut in halves.
const LEAF_ENTRIES = 128;

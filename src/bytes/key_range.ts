// SPDX-License-Identifier: Apache-2.0

import { compareBytes } from "./compare.ts";
import { concatBytes, EMPTY } from "./concat.ts";
import { shortKey } from "./hex.ts";
import { type KeyInput, nameOf, toBytes } from "./utf8.ts";

/**
 * The keys from `start` (in it) to `end` (not in it). An empty `end` is unbounded; an empty
 * `start` needs no rule, because no key is before it.
 */
export interface KeyRange {
  /** The first key that may be in the range. */
  readonly start: Uint8Array;
  /** The first key after the range; empty if there is none. */
  readonly end: Uint8Array;
}

/** All keys that begin with some bytes. An empty prefix means every key. */
export interface PrefixInput<P = KeyInput> {
  /** What the keys begin with. */
  readonly prefix: P;
  /** Not with a prefix. */
  readonly start?: never;
  /** Not with a prefix. */
  readonly end?: never;
}

/** From `start` (in the range, default: the first key) to `end` (not in it, default: unbounded). */
export interface BoundsInput<B = KeyInput> {
  /** In the range. The first key if absent. */
  readonly start?: B | undefined;
  /** Not in the range. Unbounded if absent. */
  readonly end?: B | undefined;
  /** Not with bounds. */
  readonly prefix?: never;
}

/** A range as callers write it: a prefix, or bounds. `{}` is every key. */
export type RangeInput = PrefixInput | BoundsInput;

/** Every key. */
export const ALL_KEYS: KeyRange = Object.freeze({ start: EMPTY, end: EMPTY });

/**
 * The bounds of a range that a caller wrote.
 *
 * `start` after `end` is a `RangeError`; a field that is not known, or a prefix together with
 * bounds, is a `TypeError`. Equal bounds are an empty range, unless both are empty.
 */
export function toRange(input: RangeInput): KeyRange {
  if (isPrefixInput(input)) {
    const start = toBytes(input.prefix);
    return { start, end: prefixEnd(start) };
  }
  const start = input.start === undefined ? EMPTY : toBytes(input.start);
  const end = input.end === undefined ? EMPTY : toBytes(input.end);
  return orderedRange(start, end);
}

/**
 * Tells which of the two forms a range has, and refuses what is neither.
 *
 * A prefix that is there but `undefined` is refused too: read as "no prefix" it would turn a
 * forgotten variable into a range over everything.
 */
export function isPrefixInput<P, B>(input: PrefixInput<P> | BoundsInput<B>): input is PrefixInput<P> {
  if (typeof input !== "object" || input === null || input instanceof Uint8Array || Array.isArray(input)) {
    throw new TypeError(`Cannot use ${nameOf(input)} as a range: expected { prefix } or { start, end }`);
  }
  for (const field of Object.keys(input)) {
    if (field !== "prefix" && field !== "start" && field !== "end") {
      throw new TypeError(
        `Cannot use the range: unknown field "${field}", expected { prefix } or { start, end }`,
      );
    }
  }
  if (!("prefix" in input)) return false;
  if (input.start !== undefined || input.end !== undefined) {
    throw new TypeError("Cannot use the range: it has a prefix and bounds, expected one of them");
  }
  if (input.prefix === undefined) {
    throw new TypeError("Cannot use the range: its prefix is undefined, expected a prefix or { start, end }");
  }
  return true;
}

/** A range of two bounds; `start` after a bounded `end` is a `RangeError`. */
export function orderedRange(start: Uint8Array, end: Uint8Array): KeyRange {
  if (end.length > 0 && compareBytes(start, end) > 0) {
    const bounds = `start ${shortKey(start, false)}, end ${shortKey(end, false)}`;
    throw new RangeError(`Cannot use the range: start is after end: ${bounds}`);
  }
  return { start, end };
}

/** The first key after all keys with this prefix; empty (unbounded) if there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  const end = new Uint8Array(length);
  end.set(prefix.subarray(0, length));
  if (length > 0) end[length - 1] = (end[length - 1] as number) + 1;
  return end;
}

/**
 * The key right after this one: nothing fits between them.
 *
 * @example Go on behind the last key that was read
 * ```ts
 * import assert from "node:assert/strict";
 * import { keyAfter } from "@tikv/client";
 *
 * await client.transaction((txn) => {
 *   for (const key of ["a", "b", "c"]) txn.put(key, "1");
 * });
 * const snapshot = await client.snapshot();
 * const first = await snapshot.scanKeys({ start: "a" }, { limit: 2 }).toArray();
 * const last = first.at(-1) ?? new Uint8Array(0);
 * const rest = await snapshot.scanKeys({ start: keyAfter(last) }).toArray();
 * assert.deepEqual(rest, [new TextEncoder().encode("c")]);
 * ```
 */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** The same range among keys that all begin with `prefix`. */
export function underPrefix(prefix: Uint8Array, range: KeyRange): KeyRange {
  return {
    start: concatBytes(prefix, range.start),
    end: range.end.length === 0 ? prefixEnd(prefix) : concatBytes(prefix, range.end),
  };
}

/** Tells whether the key is in [start, end). */
export function contains(range: KeyRange, key: Uint8Array): boolean {
  return compareBytes(range.start, key) <= 0 && (range.end.length === 0 || compareBytes(key, range.end) < 0);
}

/**
 * Tells whether the key, read as the exclusive end of something, ends in this range: it is in
 * (start, end]. An empty key is the unbounded end, so only an unbounded range has it.
 */
export function containsByEnd(range: KeyRange, key: Uint8Array): boolean {
  if (key.length === 0) return range.end.length === 0;
  return compareBytes(range.start, key) < 0 && (range.end.length === 0 || compareBytes(key, range.end) <= 0);
}

/** The order of two exclusive ends: an empty one is unbounded, and so after all others. */
export function compareEnds(a: Uint8Array, b: Uint8Array): number {
  if (a.length === 0 || b.length === 0) return b.length - a.length;
  return compareBytes(a, b);
}

/** Tells whether no key is in the range. */
export function isEmptyRange(range: KeyRange): boolean {
  return range.end.length > 0 && compareBytes(range.start, range.end) >= 0;
}

/** The keys that are in both ranges; `undefined` if there are none. */
export function intersect(a: KeyRange, b: KeyRange): KeyRange | undefined {
  const start = compareBytes(a.start, b.start) >= 0 ? a.start : b.start;
  const end = compareEnds(a.end, b.end) <= 0 ? a.end : b.end;
  const both = { start, end };
  return isEmptyRange(both) ? undefined : both;
}

/** Tells whether every key of `inner` is also in `outer`. */
export function covers(outer: KeyRange, inner: KeyRange): boolean {
  if (isEmptyRange(inner)) return true;
  return compareBytes(outer.start, inner.start) <= 0 && compareEnds(inner.end, outer.end) <= 0;
}

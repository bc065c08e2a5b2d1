// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { compareEnds, intersect, isEmptyRange, type KeyRange } from "../bytes/key_range.ts";
import type { Region } from "../region/region.ts";

/** Where regions are looked up; the region cache is one. */
export interface RegionSource {
  /** The region of a key if it is known, without waiting. */
  peek(key: Uint8Array): Region | undefined;
  /** The region that has the key. */
  locate(key: Uint8Array, operation: Operation): Promise<Region>;
  /** The region in which a range with this exclusive end (empty: unbounded) ends. */
  locateByEnd(key: Uint8Array, operation: Operation): Promise<Region>;
  /** The regions of a range, in order: all of them, or the first `limit`. */
  locateRange(
    range: KeyRange,
    operation: Operation,
    options: { readonly limit: number },
  ): Promise<readonly Region[]>;
  /** Positions of the keys, by region. */
  groupKeys(
    keys: readonly Uint8Array[],
    operation: Operation,
  ): Promise<readonly { readonly region: Region; readonly indexes: readonly number[] }[]>;
}

/** Things with keys that go to one region in one request. */
export interface ItemsPart<T> {
  readonly region: Region;
  readonly items: readonly T[];
}

/** A range that has to be worked on: within a region, or one whose regions are not looked up yet. */
export interface RangePart {
  readonly region: Region | undefined;
  readonly range: KeyRange;
}

/** Options of {@linkcode shardItems}. */
export interface ShardItemsOptions<T> {
  readonly regions: RegionSource;
  readonly operation: Operation;
  readonly keyOf: (item: T) => Uint8Array;
  /** Cuts the items of one region into requests. */
  readonly cut: (items: readonly T[]) => readonly (readonly T[])[];
}

/** Sorts items by the region of their keys, and cuts those of a region into requests. */
export async function shardItems<T>(
  items: readonly T[],
  { regions, operation, keyOf, cut }: ShardItemsOptions<T>,
): Promise<ItemsPart<T>[]> {
  if (items.length === 0) return [];
  const groups = await regions.groupKeys(items.map(keyOf), operation);
  return groups.flatMap(({ region, indexes }) => {
    const ofRegion = indexes.map((index) => items[index] as T);
    return cut(ofRegion).map((part) => ({ region, items: part }));
  });
}

/**
 * Cuts a range at the borders of regions. Of a range with very many regions the first ones, and
 * the rest in one part without a region, so that not all of them are in memory at a time.
 */
export async function shardRange(
  range: KeyRange,
  regions: RegionSource,
  operation: Operation,
): Promise<RangePart[]> {
  if (isEmptyRange(range)) return [];
  const found = await regions.locateRange(range, operation, { limit: WINDOW });
  const parts: RangePart[] = [];
  for (const region of found) {
    const part = intersect(region, range);
    if (part !== undefined) parts.push({ region, range: part });
  }
  const last = found.at(-1);
  if (last !== undefined && last.end.length > 0 && compareEnds(last.end, range.end) < 0) {
    parts.push({ region: undefined, range: { start: last.end, end: range.end } });
  }
  return parts;
}

/** Cuts a list into pieces of at most `limit` items. */
export function cutByCount<T>(items: readonly T[], limit: number): readonly (readonly T[])[] {
  if (items.length <= limit) return [items];
  const pieces: T[][] = [];
  for (let at = 0; at < items.length; at += limit) pieces.push(items.slice(at, at + limit));
  return pieces;
}

/**
 * Cuts a list into pieces that are full as soon as they have `limitBytes`: each has at least one
 * item, and only its last one may reach beyond the limit.
 */
export function cutByBytes<T>(
  items: readonly T[],
  sizeOf: (item: T) => number,
  limitBytes: number,
): readonly (readonly T[])[] {
  const pieces: T[][] = [];
  let piece: T[] = [];
  let bytes = 0;
  for (const item of items) {
    if (bytes >= limitBytes) {
      pieces.push(piece);
      piece = [];
      bytes = 0;
    }
    piece.push(item);
    bytes += sizeOf(item);
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}

/** Regions of a range that are looked up at a time: some rounds of the usual concurrency. */
const WINDOW = 256;

// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { SingleFlight } from "../async/single_flight.ts";
import { compareBytes } from "../bytes/compare.ts";
import { hex } from "../bytes/hex.ts";
import { isEmptyRange, keyAfter, type KeyRange } from "../bytes/key_range.ts";
import { TikvError } from "../errors.ts";
import { CachedRegions, type CachedRegionsOptions } from "./cached_regions.ts";
import { isFinalMetaError } from "./meta_error.ts";
import type { InvalidReason, Region } from "./region.ts";
import type { LoadOptions, RegionLoader } from "./region_loader.ts";

/** Options of a new {@linkcode RegionCache}. */
export interface RegionCacheOptions extends CachedRegionsOptions {
  readonly loader: RegionLoader;
}

/** Keys of one region, by their positions in the list that was asked for. */
export interface KeyGroup {
  readonly region: Region;
  readonly indexes: number[];
}

/**
 * The regions by key. What is missing is loaded from PD, once for all who wait for the same part
 * of the key space.
 */
export class RegionCache {
  readonly #loader: RegionLoader;
  readonly #cached: CachedRegions;
  readonly #loads = new SingleFlight<string, Region>();
  readonly #scans = new SingleFlight<string, boolean>();

  constructor(options: RegionCacheOptions) {
    this.#loader = options.loader;
    this.#cached = new CachedRegions(options);
  }

  /** Bytes that the cached regions have, about. */
  get sizeBytes(): number {
    return this.#cached.sizeBytes;
  }

  /** How many regions are cached. */
  get size(): number {
    return this.#cached.size;
  }

  /** The region of a key, when it can be used without asking PD. */
  peek(key: Uint8Array): Region | undefined {
    return this.#cached.peek(key);
  }

  /** The region in which a range ends that ends at the key, when it can be used without asking PD. */
  peekByEnd(key: Uint8Array): Region | undefined {
    return this.#cached.peekByEnd(key);
  }

  /** The region that has the key. */
  async locate(key: Uint8Array, operation: Operation): Promise<Region> {
    const peek = (): Region | undefined => this.peek(key);
    return peek() ?? await this.#miss({
      part: () => `key:${hex(this.#cached.gapStart(key))}`,
      known: this.#cached.known(key),
      peek,
      has: (region) => region.contains(key),
      load: (options) => this.#loader.byKey(key, options),
    }, operation);
  }

  /** The region in which a range with this exclusive end (empty: unbounded) ends. */
  async locateByEnd(key: Uint8Array, operation: Operation): Promise<Region> {
    const peek = (): Region | undefined => this.peekByEnd(key);
    return peek() ?? await this.#miss({
      part: () => `end:${hex(key)}`,
      known: this.#cached.knownByEnd(key),
      peek,
      has: (region) => region.containsByEnd(key),
      load: (options) => this.#loader.byEnd(key, options),
    }, operation);
  }

  /** The region with an id. One that does not exist is a `region-unavailable` error at once. */
  async locateById(id: bigint, operation: Operation): Promise<Region> {
    const peek = (): Region | undefined => this.#cached.peekById(id);
    let isMissing = false;
    return peek() ?? await this.#miss({
      part: () => `id:${id}`,
      known: this.#cached.knownById(id),
      peek,
      has: (region) => region.id === id,
      isFinal: () => isMissing,
      load: async (options) => {
        const region = await this.#loader.byId(id, { ...options, leaderOnly: true });
        if (region !== undefined) return region;
        isMissing = true;
        throw new TikvError("region-unavailable", `Cannot find region ${id}: PD has no such region`, {
          context: { regionId: id },
        });
      },
    }, operation);
  }

  /** The regions of a range in order, without gaps: all of them, or the first `limit`. */
  async locateRange(
    range: KeyRange,
    operation: Operation,
    { limit = Infinity }: { readonly limit?: number } = {},
  ): Promise<Region[]> {
    const found: Region[] = [];
    let cursor = range.start;
    while (!isEmptyRange({ start: cursor, end: range.end }) && found.length < limit) {
      let region = this.peek(cursor);
      if (region === undefined) {
        const holes = this.#cached.holes({ start: cursor, end: range.end }, SCAN_LIMIT);
        await this.#loadRanges(holes, Math.min(Math.max(SCAN_LIMIT, holes.length), limit), operation);
        // The answer may have left it out, or be older than what is known: then one is asked for.
        region = this.peek(cursor) ?? await this.locate(cursor, operation);
      }
      found.push(region);
      if (region.end.length === 0) break;
      cursor = region.end;
    }
    return found;
  }

  /** Sorts keys by their regions. Each position is in one group; a group's are in order. */
  async groupKeys(keys: readonly Uint8Array[], operation: Operation): Promise<KeyGroup[]> {
    const groups = new Map<Region, KeyGroup>();
    let missing = this.#group(keys, keys.keys(), groups);
    while (missing.length > 1) {
      const points = spreadPoints(missing.map((index) => keys[index] as Uint8Array));
      await this.#loadRanges(points, points.length, operation);
      const before = missing.length;
      missing = this.#group(keys, missing, groups);
      if (missing.length === before) break;
    }
    for (const index of missing) {
      addTo(groups, await this.locate(keys[index] as Uint8Array, operation), index);
    }
    return [...groups.values()];
  }

  /**
   * Adds a region, for example one that a store told of, unless what is known is newer, and tells
   * whether it did. What it replaces is invalid from then on.
   */
  insert(region: Region): boolean {
    return this.#cached.insert(region);
  }

  /** Gives a region up. Its requests under way go on; the next one looks it up again. */
  invalidate(region: Region, reason: InvalidReason): void {
    this.#cached.invalidate(region, reason);
  }

  /** Sends a region's requests to another of its peers from now on. */
  updateLeader(region: Region, index: number): void {
    this.#cached.updateLeader(region, index);
  }

  /** Loads the borders of a region's buckets again when a store knows newer ones than `version`. */
  async refreshBuckets(region: Region, version: bigint, operation: Operation): Promise<void> {
    if (version <= (region.buckets?.version ?? 0n)) return;
    // By key: the region with the id may have moved on to another part of the key space.
    await this.#loads.run(`buckets:${region.id}`, {
      deadline: operation.deadline,
      what: "load buckets",
      run: async (signal) => {
        const loaded = await this.#loader.byKey(region.start, { signal, leaderOnly: true });
        if (loaded.id === region.id) region.updateBuckets(loaded.buckets);
        return loaded;
      },
    });
  }

  /** Forgets all regions. */
  clear(): void {
    this.#cached.clear();
  }

  /** Forgets all regions and takes no more. Idempotent. */
  close(): void {
    this.#cached.close();
  }

  async #miss(lookup: Lookup, operation: Operation): Promise<Region> {
    // It still serves: so it does for this lookup too when it cannot be loaded.
    const fallback = this.#cached.takeFallback(lookup.known);
    let leaderOnly = false;
    for (;;) {
      if (this.#cached.isClosed) {
        throw new TikvError("closed", "Cannot look up a region: the client is closed");
      }
      try {
        const region = await this.#loads.run(`${leaderOnly}:${lookup.part()}`, {
          deadline: operation.deadline,
          what: "load a region",
          run: (signal) => this.#load(lookup, { signal, leaderOnly }, fallback !== undefined),
        });
        if (lookup.has(region)) return region;
        // The load was for another key of the same gap, which has become smaller.
      } catch (error) {
        if (operation.deadline.isOver()) throw error;
        if (fallback !== undefined) return fallback;
        if (isFinalMetaError(error) || lookup.isFinal?.() === true) throw error;
        await operation.backoffs.wait("pdRPC", error);
        leaderOnly = true;
      }
      const hit = lookup.peek();
      if (hit !== undefined) return hit;
    }
  }

  // Followers of PD may be behind. An answer that misses the key, or is older than what is known, is
  // asked of the leader once; what that says is used even if it cannot be cached.
  async #load(lookup: Lookup, options: LoadOptions, keepsReplaced: boolean): Promise<Region> {
    if (!options.leaderOnly) {
      try {
        const region = await lookup.load(options);
        if (this.#cached.insert(region, { keepsReplaced })) return region;
      } catch (error) {
        if (!TikvError.is(error) || error.kind !== "region-unavailable") throw error;
      }
    }
    const region = await lookup.load({ ...options, leaderOnly: true });
    this.#cached.insert(region, { keepsReplaced });
    return region;
  }

  // Loads the first regions of the ranges. Trouble on the way to PD keeps its followers in use, an
  // answer with gaps does not. When the leader's answer has gaps too, the caller has to cope.
  async #loadRanges(ranges: readonly KeyRange[], limit: number, operation: Operation): Promise<void> {
    const [first] = ranges;
    const last = ranges[ranges.length - 1];
    if (first === undefined || last === undefined) return;
    let leaderOnly = false;
    for (;;) {
      let cause: unknown;
      try {
        const name = `${leaderOnly}:${ranges.length}:${limit}:${hex(first.start)}:${hex(last.end)}`;
        const isComplete = await this.#scans.run(name, {
          deadline: operation.deadline,
          what: "load regions",
          run: async (signal) => {
            const loaded = await this.#loader.byRanges(ranges, limit, { signal, leaderOnly });
            for (const region of loaded.regions) this.#cached.insert(region);
            return loaded.isComplete;
          },
        });
        if (isComplete || leaderOnly) return;
        cause = new TikvError("region-unavailable", "Cannot load regions: the answer of PD has gaps");
        leaderOnly = true;
      } catch (error) {
        if (operation.deadline.isOver() || isFinalMetaError(error)) throw error;
        cause = error;
      }
      await operation.backoffs.wait("pdRPC", cause);
    }
  }

  // Puts the keys at some positions into groups, and returns the positions whose region is missing.
  #group(
    keys: readonly Uint8Array[],
    indexes: Iterable<number>,
    groups: Map<Region, KeyGroup>,
  ): number[] {
    const missing: number[] = [];
    for (const index of indexes) {
      const region = this.peek(keys[index] as Uint8Array);
      if (region === undefined) missing.push(index);
      else addTo(groups, region, index);
    }
    return missing;
  }
}

/** One way to look a region up. */
interface Lookup {
  /** Names the part of the key space that is missing: who waits for the same shares one load. */
  part(): string;
  /** What is cached for it, usable or not. */
  readonly known: Region | undefined;
  peek(): Region | undefined;
  has(region: Region): boolean;
  load(options: LoadOptions): Promise<Region>;
  /** Tells after a failed load that another one cannot help. */
  isFinal?(): boolean;
}

function addTo(groups: Map<Region, KeyGroup>, region: Region, index: number): void {
  const group = groups.get(region);
  if (group === undefined) groups.set(region, { region, indexes: [index] });
  else group.indexes.push(index);
}

// Ranges of one key each, in order, spread over the keys: neighbours are often in one region.
function spreadPoints(keys: readonly Uint8Array[]): KeyRange[] {
  const sorted = [...keys].sort(compareBytes);
  const points: KeyRange[] = [];
  const step = Math.max(1, sorted.length / SCAN_LIMIT);
  for (let at = 0; at < sorted.length; at += step) {
    const start = sorted[Math.floor(at)] as Uint8Array;
    const before = points[points.length - 1];
    if (before === undefined || compareBytes(before.start, start) < 0) {
      points.push({ start, end: keyAfter(start) });
    }
  }
  return points;
}

// Regions in one answer of PD (`defaultRegionsPerBatch`).
const SCAN_LIMIT = 128;

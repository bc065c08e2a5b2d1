// SPDX-License-Identifier: Apache-2.0

import type { Environment, Timer } from "../async/clock.ts";
import { compareBytes } from "../bytes/compare.ts";
import { EMPTY } from "../bytes/concat.ts";
import { keyAfter, type KeyRange } from "../bytes/key_range.ts";
import type { Observer } from "../observe/events.ts";
import type { InvalidReason, Region } from "./region.ts";
import { RegionIndex } from "./region_index.ts";
import { RegionList } from "./region_list.ts";

/** Options of new {@linkcode CachedRegions}. */
export interface CachedRegionsOptions {
  readonly environment: Environment;
  readonly settings: {
    /** Bytes that all cached regions together may have. */
    readonly regionCacheBytes: number;
    /** Time after the last access for which a region is used. */
    readonly regionCacheTtlMs: number;
  };
  readonly observe: Observer;
}

/**
 * The regions that are known: which may be used, and for how long. It does no I/O. What was not
 * used for long is swept out, and when there is too much the least recently used go first.
 */
export class CachedRegions {
  readonly #options: CachedRegionsOptions;
  readonly #index = new RegionIndex();
  readonly #list = new RegionList();
  // The time as of the last sweep or miss. Reading the clock on each hit would cost as much as the
  // rest of it, and a region may well live a second too long.
  #nowMs: number;
  #sweep: Timer | undefined;
  #sweepFrom: Uint8Array = EMPTY;
  #isClosed = false;

  constructor(options: CachedRegionsOptions) {
    this.#options = options;
    this.#nowMs = options.environment.clock.now();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes that the regions have, about. */
  get sizeBytes(): number {
    return this.#list.sizeBytes;
  }

  /** How many regions there are. */
  get size(): number {
    return this.#index.size;
  }

  /** The region of a key, if it may be used. */
  peek(key: Uint8Array): Region | undefined {
    const region = this.#index.find(key);
    return region !== undefined && this.#use(region) ? region : undefined;
  }

  /** The region in which a range with this exclusive end ends, if it may be used. */
  peekByEnd(key: Uint8Array): Region | undefined {
    const region = this.#index.findByEnd(key);
    return region !== undefined && this.#use(region) ? region : undefined;
  }

  /** The region with an id, if it may be used. */
  peekById(id: bigint): Region | undefined {
    const region = this.#index.byId(id);
    return region !== undefined && this.#use(region) ? region : undefined;
  }

  /** Around a key without a usable region: where the part that has to be loaded starts. */
  gapStart(key: Uint8Array): Uint8Array {
    return this.#index.gapAt(key).start;
  }

  /**
   * Before a load: if the region is one that serves on while it is loaded again, it is returned,
   * and others may use it meanwhile.
   */
  takeFallback(region: Region | undefined): Region | undefined {
    this.#nowMs = this.#options.environment.clock.now();
    if (region?.reload !== "on-access" || region.expiresAt <= this.#nowMs) return undefined;
    region.reload = "none";
    return region;
  }

  /** The region of a key, whether it may be used or not. */
  known(key: Uint8Array): Region | undefined {
    return this.#index.find(key);
  }

  /** The region in which a range ends, whether it may be used or not. */
  knownByEnd(key: Uint8Array): Region | undefined {
    return this.#index.findByEnd(key);
  }

  /** The latest state of a region, whether it may be used or not. */
  knownById(id: bigint): Region | undefined {
    return this.#index.byId(id);
  }

  /** The parts of a range that are not cached, from its start, `limit` of them at most. */
  holes(range: KeyRange, limit: number): KeyRange[] {
    const holes: KeyRange[] = [];
    let cursor = range.start;
    for (let steps = 0; steps < MAX_STEPS && holes.length < limit; steps++) {
      const region = this.#index.find(cursor);
      const isCached = region !== undefined && region.expiresAt > this.#nowMs;
      let end = isCached ? region.end : this.#index.gapAt(cursor).end;
      const isLast = end.length === 0 || (range.end.length > 0 && compareBytes(end, range.end) >= 0);
      if (isLast) end = range.end;
      const before = holes[holes.length - 1];
      if (!isCached && before !== undefined && compareBytes(before.end, cursor) === 0) {
        holes[holes.length - 1] = { start: before.start, end };
      } else if (!isCached) {
        holes.push({ start: cursor, end });
      }
      if (isLast) break;
      cursor = end;
    }
    return holes;
  }

  /**
   * Adds a region unless what is known is newer, and tells whether it did. What it replaces is
   * invalid from then on, unless `keepsReplaced`.
   */
  insert(region: Region, { keepsReplaced = false }: { readonly keepsReplaced?: boolean } = {}): boolean {
    if (this.#isClosed) return false;
    const removed = this.#index.insert(region);
    if (removed === undefined) return false;
    this.#nowMs = this.#options.environment.clock.now();
    const [first] = removed;
    if (first !== undefined) {
      region.updateBuckets(first.buckets);
      // PD still names the leader that was given up: begin with another peer.
      if (first.invalidReason === "no-leader" && first.leader.id === region.leader.id) {
        region.setLeader((region.leaderIndex + 1) % region.peers.length);
      }
    }
    for (const old of removed) {
      this.#list.remove(old);
      if (!keepsReplaced) old.invalidate("other");
    }
    region.expiresAt = this.#expiry();
    this.#list.add(region);
    this.#evict();
    this.#startSweep();
    return true;
  }

  /** Gives a region up. Its requests under way go on; the next one looks it up again. */
  invalidate(region: Region, reason: InvalidReason): void {
    if (!region.invalidate(reason)) return;
    this.#options.observe({ type: "region-invalidated", regionId: region.id, reason });
  }

  /** Sends a region's requests to another of its peers from now on. */
  updateLeader(region: Region, index: number): void {
    if (!region.setLeader(index)) return;
    this.#options.observe({ type: "region-leader", regionId: region.id, storeId: region.leader.storeId });
  }

  /** Forgets all regions. */
  clear(): void {
    this.#index.clear();
    this.#list.clear();
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  /** Forgets all regions and takes no more. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.clear();
  }

  // Tells whether a cached region can be used, and notes that it was.
  #use(region: Region): boolean {
    const nowMs = this.#nowMs;
    if (region.expiresAt <= nowMs || region.reload === "on-access") return false;
    if (!region.mustExpire && region.expiresAt < nowMs + this.#options.settings.regionCacheTtlMs) {
      region.expiresAt = this.#expiry();
    }
    this.#list.touch(region);
    return true;
  }

  // Spread, so that regions that were loaded together are not all loaded again together.
  #expiry(): number {
    const { regionCacheTtlMs } = this.#options.settings;
    return this.#nowMs + regionCacheTtlMs * (1 + TTL_JITTER * this.#options.environment.random.next());
  }

  #drop(region: Region): void {
    this.#index.remove(region);
    this.#list.remove(region);
  }

  #evict(): void {
    while (this.#list.sizeBytes > this.#options.settings.regionCacheBytes && this.#index.size > 1) {
      const { oldest } = this.#list;
      if (oldest === undefined) return;
      this.#drop(oldest);
      this.#options.observe({ type: "region-invalidated", regionId: oldest.id, reason: "evicted" });
    }
  }

  #startSweep(): void {
    this.#sweep ??= this.#options.environment.clock.timer(SWEEP_MS, () => {
      this.#sweep = undefined;
      this.#sweepOnce();
      if (this.#index.size > 0) this.#startSweep();
    }, { background: true });
  }

  // A bounded round: drops what cannot be used, and lets views expire that use a store that is
  // gone, because access would keep them alive for ever.
  #sweepOnce(): void {
    this.#nowMs = this.#options.environment.clock.now();
    const regions = this.#index.from(this.#sweepFrom, SWEEP_REGIONS);
    const last = regions[regions.length - 1];
    this.#sweepFrom = last === undefined || regions.length < SWEEP_REGIONS ? EMPTY : keyAfter(last.start);
    for (const region of regions) {
      if (region.expiresAt <= this.#nowMs) {
        this.#drop(region);
        continue;
      }
      if (region.reload === "delayed") region.reload = "on-access";
      if (region.peers.some((p) => p.store.liveness !== "reachable" || p.store.epoch !== p.storeEpoch)) {
        region.mustExpire = true;
      }
    }
  }
}

// client-go's sweep (`gcRoundFunc`): 50 regions a second.
const SWEEP_MS = 1_000;
const SWEEP_REGIONS = 50;
// client-go spreads a TTL of 600 s by up to 60 s.
const TTL_JITTER = 0.1;
// Cached regions that are passed over in one search for holes.
const MAX_STEPS = 4_096;

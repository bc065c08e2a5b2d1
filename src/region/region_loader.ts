// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import { compareBytes, equalBytes } from "../bytes/compare.ts";
import { contains, containsByEnd, type KeyRange } from "../bytes/key_range.ts";
import { TikvError } from "../errors.ts";
import type { Observer } from "../observe/events.ts";
import type { MetaOptions, MetaSource, PeerMeta, RegionMeta } from "./meta.ts";
import { leaderIndexIn, peerOf, Region, type RegionPeer } from "./region.ts";
import type { StoreCache } from "./store_cache.ts";

/** Options of a new {@linkcode RegionLoader}. */
export interface RegionLoaderOptions {
  readonly meta: MetaSource;
  readonly stores: Pick<StoreCache, "peek" | "resolve">;
  readonly environment: Environment;
  readonly settings: { readonly pdTimeoutMs: number };
  readonly observe: Observer;
}

/** How one load is done. */
export interface LoadOptions {
  /** Ends the load when nobody waits for it any more. */
  readonly signal: AbortSignal;
  /** Does not take an answer of a follower of PD. */
  readonly leaderOnly: boolean;
}

/** What a load of several ranges brought. */
export interface LoadedRanges {
  readonly regions: readonly Region[];
  /** Each range is covered from its start, up to the limit of the answer. */
  readonly isComplete: boolean;
}

/** Turns answers of PD into regions. It asks once and caches nothing. */
export class RegionLoader {
  readonly #options: RegionLoaderOptions;

  constructor(options: RegionLoaderOptions) {
    this.#options = options;
  }

  /** The region that has the key. */
  async byKey(key: Uint8Array, options: LoadOptions): Promise<Region> {
    const meta = await this.#timed("key", options, (o) => this.#options.meta.regionByKey(key, o));
    if (meta === undefined || !contains(meta, key)) throw notFound("no region that has the key");
    return await this.build(meta, this.#metaOptions(options).deadline);
  }

  /** The region in which a range ends that ends at the key; empty is the end of all keys. */
  async byEnd(key: Uint8Array, options: LoadOptions): Promise<Region> {
    const { meta: source } = this.#options;
    const meta = await this.#timed("end key", options, async (o) => {
      if (key.length === 0) return await lastRegion(source, o);
      const found = await source.regionByKey(key, o);
      // The range ends before this region begins: the one before is meant.
      return found !== undefined && equalBytes(found.start, key)
        ? await source.previousRegion(key, o)
        : found;
    });
    if (meta === undefined || !containsByEnd(meta, key)) throw notFound("no region that ends the range");
    return await this.build(meta, this.#metaOptions(options).deadline);
  }

  /** The region with an id, from the leader of PD; `undefined` if there is none. */
  async byId(id: bigint, options: LoadOptions): Promise<Region | undefined> {
    const meta = await this.#timed("id", options, (o) => this.#options.meta.regionById(id, o));
    return meta === undefined ? undefined : await this.build(meta, this.#metaOptions(options).deadline);
  }

  /** The first regions of sorted ranges that do not overlap. */
  async byRanges(ranges: readonly KeyRange[], limit: number, options: LoadOptions): Promise<LoadedRanges> {
    const scan = { limit, needBuckets: true, containAllKeyRange: true };
    const metas = await this.#timed(
      "ranges",
      options,
      (o) => this.#options.meta.batchScanRegions(ranges, scan, o),
    );
    await this.#resolveStores(metas, this.#metaOptions(options).deadline);
    // What cannot be used is left out: whoever needs it asks for it and hears why.
    const regions = metas.flatMap((meta) => this.#make(meta) ?? []);
    return { regions, isComplete: metas.length >= limit || !hasGap(ranges, metas) };
  }

  /** Makes a region of what PD or a store says about it; stores that are not known are looked up. */
  async build(meta: RegionMeta, deadline: Deadline): Promise<Region> {
    const context = { regionId: meta.id };
    if (meta.peers.length === 0) {
      throw new TikvError("protocol", `Cannot use region ${meta.id}: it has no peers`, { context });
    }
    await this.#resolveStores([meta], deadline);
    const region = this.#make(meta);
    if (region !== undefined) return region;
    throw new TikvError("region-unavailable", `Cannot use region ${meta.id}: no store of it has an address`, {
      context,
    });
  }

  async #resolveStores(metas: readonly RegionMeta[], deadline: Deadline): Promise<void> {
    const { stores } = this.#options;
    const unknown = new Set<bigint>();
    for (const { peers } of metas) {
      for (const { storeId } of peers) if (stores.peek(storeId) === undefined) unknown.add(storeId);
    }
    if (unknown.size > 0) await Promise.all([...unknown].map((id) => stores.resolve(id, deadline)));
  }

  // Needs all its stores resolved; undefined when none of them can be sent to.
  #make(meta: RegionMeta): Region | undefined {
    const wanted = meta.peers.filter((peer) => peer.id === meta.leader?.id || !peer.isWitness);
    const alive = wanted.filter((peer) => !meta.downPeers.includes(peer.id));
    let peers = this.#peersOf(alive);
    // After a restart of the whole cluster PD takes all of them for down for a while.
    if (peers.length === 0) peers = this.#peersOf(wanted);
    if (peers.length === 0) return undefined;
    const region = new Region({ meta, peers, leaderIndex: leaderIndexIn(peers, meta.leader) });
    // A peer that was left out may come back: do not keep this view alive for ever.
    if (peers.length < wanted.length) region.mustExpire = true;
    return region;
  }

  #peersOf(metas: readonly PeerMeta[]): RegionPeer[] {
    const peers: RegionPeer[] = [];
    for (const meta of metas) {
      const store = this.#options.stores.peek(meta.storeId);
      if (store?.hasAddress === true) peers.push(peerOf(meta, store));
    }
    return peers;
  }

  async #timed<T extends RegionMeta | readonly RegionMeta[] | undefined>(
    reason: string,
    options: LoadOptions,
    ask: (options: MetaOptions) => Promise<T>,
  ): Promise<T> {
    const { environment, observe } = this.#options;
    const start = environment.clock.now();
    const answer = await ask(this.#metaOptions(options));
    const regions = answer === undefined ? 0 : "length" in answer ? answer.length : 1;
    observe({ type: "region-load", reason, regions, durationMs: environment.clock.now() - start });
    return answer;
  }

  // Whoever waits has a deadline of its own; this one keeps a question from never ending.
  #metaOptions({ signal, leaderOnly }: LoadOptions): MetaOptions {
    const { environment, settings } = this.#options;
    const deadline = Deadline.after(environment.clock, META_TRIES * settings.pdTimeoutMs, signal);
    return { deadline, leaderOnly, needBuckets: true };
  }
}

// PD finds regions by a key only: from one behind all usual keys it goes on to the very last region.
async function lastRegion(source: MetaSource, options: MetaOptions): Promise<RegionMeta | undefined> {
  let meta = await source.regionByKey(LATE_KEY, options);
  while (meta !== undefined && meta.end.length > 0) meta = await source.regionByKey(meta.end, options);
  return meta;
}

/** Tells whether regions in key order leave a part of the sorted ranges out. */
export function hasGap(ranges: readonly KeyRange[], regions: readonly KeyRange[]): boolean {
  let at = 0;
  for (const range of ranges) {
    let cursor = range.start;
    for (;;) {
      let region = regions[at];
      while (region !== undefined && region.end.length > 0 && compareBytes(region.end, cursor) <= 0) {
        region = regions[++at];
      }
      if (region === undefined || compareBytes(region.start, cursor) > 0) return true;
      if (region.end.length === 0) break;
      if (range.end.length > 0 && compareBytes(region.end, range.end) >= 0) break;
      cursor = region.end;
    }
  }
  return false;
}

function notFound(what: string): TikvError {
  return new TikvError("region-unavailable", `Cannot load a region: PD has ${what}`);
}

const LATE_KEY = new Uint8Array(64).fill(0xff);
// Time for PD to be asked at another member when one does not answer.
const META_TRIES = 3;

// SPDX-License-Identifier: Apache-2.0
// Bytes per cached region and lookups per second. Runs in every runtime:
//
//   deno run -A --v8-flags=--expose-gc bench/region_cache_bench.ts
//   bun bench/region_cache_bench.ts
//   node --expose-gc bench/region_cache_bench.ts
//
// `--regions N` (100 000), `--peers N` (3).

import process from "node:process";
import { parseArgs } from "node:util";
import { systemEnvironment } from "../src/async/clock.ts";
import { peerOf, Region } from "../src/region/region.ts";
import { RegionCache } from "../src/region/region_cache.ts";
import { RegionLoader } from "../src/region/region_loader.ts";
import { CachedStore } from "../src/region/store.ts";
import { SeededRandom } from "../src/testing/seeded_random.ts";
import { runtimeName } from "./load.ts";

const KEY_BYTES = 24;
const STORES = 30;
const LOOKUPS = 4_000_000;
const PROBES = 65_536;

const { values: options } = parseArgs({
  args: process.argv.slice(2),
  options: { regions: { type: "string", default: "100000" }, peers: { type: "string", default: "3" } },
});
const count = Number(options.regions);
const peersEach = Number(options.peers);
const stores = Array.from({ length: STORES }, (_, i) => new CachedStore(BigInt(i + 1)));

const before = usedBytes();
const cache = filledCache();
const bytes = usedBytes() - before;
const { perSecond, found } = lookups(cache);
console.log(JSON.stringify({
  runtime: runtimeName(),
  regions: cache.size,
  peers: peersEach,
  bytesPerRegion: Math.round(bytes / count),
  countedBytesPerRegion: Math.round(cache.sizeBytes / cache.size),
  lookupsPerSecond: Math.round(perSecond),
  nsPerLookup: Math.round(1e9 / perSecond),
  hits: found / LOOKUPS,
}));
cache.close();

function filledCache(): RegionCache {
  const settings = { regionCacheBytes: Infinity, regionCacheTtlMs: 600_000, pdTimeoutMs: 3_000 };
  const nothing = (): never => {
    throw new Error("the benchmark asks PD for nothing");
  };
  const loader = new RegionLoader({
    meta: {
      regionByKey: nothing,
      previousRegion: nothing,
      regionById: nothing,
      batchScanRegions: nothing,
      store: nothing,
      stores: nothing,
    },
    stores: { peek: () => undefined, resolve: nothing },
    environment: systemEnvironment,
    settings,
    observe: () => {},
  });
  const cache = new RegionCache({ loader, environment: systemEnvironment, settings, observe: () => {} });
  for (let i = 0; i < count; i++) cache.insert(regionAt(i));
  return cache;
}

function regionAt(index: number): Region {
  const peers = Array.from({ length: peersEach }, (_, i) => ({
    id: BigInt(index * 4 + i + 1_000_000),
    storeId: BigInt((index + i) % STORES + 1),
    role: "voter" as const,
    isWitness: false,
  }));
  const meta = {
    id: BigInt(index * 4 + 3_000_000),
    confVer: 5n,
    version: BigInt(index % 100 + 1),
    start: index === 0 ? new Uint8Array(0) : border(index),
    end: index === count - 1 ? new Uint8Array(0) : border(index + 1),
    peers,
    leader: peers[0],
    downPeers: [],
    pendingPeers: [],
  };
  const ofRegion = peers.map((peer) =>
    peerOf(peer, stores[Number(peer.storeId) - 1] ?? new CachedStore(peer.storeId))
  );
  return new Region({ meta, peers: ofRegion, leaderIndex: 0 });
}

/** The key at which a region begins; each region has its own copy, as when it comes from PD. */
function border(index: number): Uint8Array {
  const key = new Uint8Array(KEY_BYTES);
  new DataView(key.buffer).setUint32(KEY_BYTES - 8, index);
  return key;
}

function lookups(cache: RegionCache): { readonly perSecond: number; readonly found: number } {
  const random = new SeededRandom(1);
  const keys = Array.from({ length: PROBES }, () => border(random.int(count)));
  let found = 0;
  const run = (times: number): void => {
    for (let i = 0; i < times; i++) if (cache.peek(keys[i % PROBES] ?? EMPTY) !== undefined) found++;
  };
  run(LOOKUPS / 10);
  found = 0;
  const start = performance.now();
  run(LOOKUPS);
  return { perSecond: LOOKUPS / (performance.now() - start) * 1000, found };
}

function usedBytes(): number {
  const scope = globalThis as { gc?: () => void; Bun?: { gc(isSync: boolean): void } };
  for (let i = 0; i < 3; i++) scope.Bun === undefined ? scope.gc?.() : scope.Bun.gc(true);
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const EMPTY = new Uint8Array(0);

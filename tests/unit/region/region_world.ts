// SPDX-License-Identifier: Apache-2.0
// A PD and stores by script, around the real caches and the real sender.

import { create, fromBinary } from "@bufbuild/protobuf";
import { type Error as RegionError, ErrorSchema } from "../../../gen/errorpb_pb.ts";
import { type Context, ContextSchema } from "../../../gen/kvrpcpb_pb.ts";
import { type Region as WireRegion, RegionSchema } from "../../../gen/metapb_pb.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { contains, intersect, type KeyRange } from "../../../src/bytes/key_range.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { v1Codec } from "../../../src/codec/keyspace.ts";
import type { ClientEvent } from "../../../src/observe/events.ts";
import type { MetaOptions, MetaSource, RegionMeta, StoreMeta } from "../../../src/region/meta.ts";
import type { Region } from "../../../src/region/region.ts";
import { RegionCache } from "../../../src/region/region_cache.ts";
import { RegionLoader } from "../../../src/region/region_loader.ts";
import { RegionSender } from "../../../src/region/send.ts";
import type { Liveness } from "../../../src/region/store.ts";
import { StoreCache } from "../../../src/region/store_cache.ts";
import { createApiCodec } from "../../../src/rpc/api_codec.ts";
import type { CommandName } from "../../../src/rpc/commands.ts";
import { GRPC, RpcError } from "../../../src/rpc/grpc_status.ts";
import type { StoreCallOptions, StoreRef, StoreRequest } from "../../../src/rpc/store_client.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

export const bytes = utf8Encode;

/** What a test says about a region; the rest is as usual: three voters, the first leads. */
export interface RegionSketch extends Partial<Omit<RegionMeta, "id" | "start" | "end" | "leader">> {
  readonly leader?: number | undefined;
}

/** The peer of a region on a store: id 10 × region + store. */
export function peerMeta(regionId: bigint, storeId: bigint): RegionMeta["peers"][number] {
  return { id: regionId * 10n + storeId, storeId, role: "voter", isWitness: false };
}

export function regionMeta(id: bigint, start: string, end: string, sketch: RegionSketch = {}): RegionMeta {
  const peers = sketch.peers ?? [1n, 2n, 3n].map((storeId) => peerMeta(id, storeId));
  const { leader = 0, ...rest } = sketch;
  return {
    id,
    confVer: 1n,
    version: 1n,
    start: bytes(start),
    end: bytes(end),
    downPeers: [],
    pendingPeers: [],
    ...rest,
    peers,
    leader: leader < 0 ? undefined : peers[leader],
  };
}

export function storeMeta(id: bigint, address = `store-${id}:20160`): StoreMeta {
  return {
    id,
    address,
    state: "up",
    labels: new Map(),
    version: "8.5.0",
    statusAddress: "",
    peerAddress: "",
  };
}

/** A region as stores send it in errors. */
export function wireRegion(meta: RegionMeta): WireRegion {
  return create(RegionSchema, {
    id: meta.id,
    startKey: meta.start,
    endKey: meta.end,
    regionEpoch: { confVer: meta.confVer, version: meta.version },
    peers: meta.peers.map(({ id, storeId }) => ({ id, storeId })),
  });
}

export type MetaMethod = keyof MetaSource;

/** A PD in memory that counts its calls and fails by script. */
export class FakeMeta implements MetaSource {
  regions: RegionMeta[] = [];
  readonly storeList = new Map<bigint, StoreMeta>();
  readonly calls: { method: MetaMethod; leaderOnly: boolean }[] = [];
  /** Runs before the next calls, one for each; what it throws or returns is the answer. */
  readonly script: ((method: MetaMethod) => unknown)[] = [];
  /** Calls wait for it. */
  gate: Promise<void> = Promise.resolve();

  count(method: MetaMethod): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  regionByKey(key: Uint8Array, o: MetaOptions): Promise<RegionMeta | undefined> {
    return this.#answer("regionByKey", o, () => this.regions.find((region) => contains(region, key)));
  }

  previousRegion(key: Uint8Array, o: MetaOptions): Promise<RegionMeta | undefined> {
    return this.#answer("previousRegion", o, () => {
      const at = this.regions.findIndex((region) => contains(region, key));
      return this.regions[at - 1];
    });
  }

  regionById(id: bigint, o: MetaOptions): Promise<RegionMeta | undefined> {
    return this.#answer("regionById", o, () => this.regions.find((region) => region.id === id));
  }

  batchScanRegions(
    ranges: readonly KeyRange[],
    { limit = 0 }: { readonly limit?: number | undefined },
    o: MetaOptions,
  ): Promise<RegionMeta[]> {
    return this.#answer(
      "batchScanRegions",
      o,
      () =>
        this.regions.filter((region) => ranges.some((r) => intersect(region, r) !== undefined)).slice(
          0,
          limit,
        ),
    );
  }

  store(id: bigint, o: MetaOptions): Promise<StoreMeta | undefined> {
    return this.#answer("store", o, () => this.storeList.get(id));
  }

  stores(o: MetaOptions): Promise<StoreMeta[]> {
    return this.#answer("stores", o, () => [...this.storeList.values()]);
  }

  async #answer<T>(method: MetaMethod, o: MetaOptions, usual: () => T): Promise<T> {
    this.calls.push({ method, leaderOnly: o.leaderOnly === true });
    const step = this.script.shift();
    await o.deadline.race(this.gate, "ask PD");
    const answer = step?.(method);
    return answer === undefined ? usual() : answer as T;
  }
}

/** One request as a store sees it. */
export interface StoreCall {
  readonly address: string;
  readonly storeId: bigint | undefined;
  readonly command: CommandName;
  readonly context: Context;
  readonly options: StoreCallOptions;
}

export type StoreStep = (call: StoreCall) => unknown;

/** Stores that answer by script, and with an empty value after it. */
export class FakeStores {
  readonly calls: StoreCall[] = [];
  readonly closed: { address: string; version: number | undefined }[] = [];
  readonly script: StoreStep[] = [];
  usual: StoreStep = () => ({ ok: true });

  async call<I, O>(
    ref: StoreRef,
    command: { name: CommandName },
    request: StoreRequest<I>,
    options: StoreCallOptions,
  ): Promise<O> {
    const context = fromBinary(ContextSchema, request.context);
    const call = { address: ref.address, storeId: ref.id, command: command.name, context, options };
    this.calls.push(call);
    return await (this.script.shift() ?? this.usual)(call) as O;
  }

  closeAddress(address: string, version?: number): void {
    this.closed.push({ address, version });
  }

  /** The stores that were called, in order. */
  get asked(): (bigint | undefined)[] {
    return this.calls.map(({ storeId }) => storeId);
  }
}

export function regionError(init: Parameters<typeof create<typeof ErrorSchema>>[1]): StoreStep {
  return () => ({ regionError: create(ErrorSchema, init) satisfies RegionError });
}

/** A lost connection, or another failure of an attempt. */
export function failure(kind: "connection" | "timeout" | "tls" | "server" = "connection", options: {
  readonly isMaybeExecuted?: boolean;
  readonly code?: number;
} = {}): StoreStep {
  return ({ address }) => {
    throw new RpcError(kind, `scripted failure of kind ${kind}`, {
      code: options.code ?? GRPC.UNAVAILABLE,
      origin: "transport",
      isMaybeExecuted: options.isMaybeExecuted ?? true,
      connection: { address, version: 7 },
    });
  };
}

export interface WorldOptions {
  readonly regionCacheBytes?: number;
  readonly enableForwarding?: boolean;
  readonly storeLivenessTimeoutMs?: number;
  readonly seed?: number;
}

/** All of it. Three stores, and one region of all keys unless others are set. */
export class World {
  readonly clock = new ManualClock();
  readonly events: ClientEvent[] = [];
  readonly meta = new FakeMeta();
  readonly net = new FakeStores();
  readonly probes: string[] = [];
  readonly liveness = new Map<string, Liveness>();
  /** Stores that were asked how slow they are. */
  readonly questions: bigint[] = [];
  slowScore: () => Promise<number> = () => Promise.resolve(1);
  readonly stores: StoreCache;
  readonly loader: RegionLoader;
  readonly regions: RegionCache;
  readonly sender: RegionSender;
  readonly random: SeededRandom;

  constructor(options: WorldOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1);
    const { clock, random, meta, events } = this;
    const environment = { clock, random };
    const observe = (event: ClientEvent): void => void events.push(event);
    const settings = {
      pdTimeoutMs: 3_000,
      storeLivenessTimeoutMs: options.storeLivenessTimeoutMs ?? 1_000,
      storesRefreshMs: 60_000,
      regionCacheBytes: options.regionCacheBytes ?? 1 << 20,
      regionCacheTtlMs: 600_000,
      attemptTimeoutMs: 5_000,
      longAttemptTimeoutMs: 60_000,
      enableForwarding: options.enableForwarding,
      environment,
      observe,
    };
    this.stores = new StoreCache({
      meta,
      environment,
      settings,
      observe,
      probe: (address) => {
        this.probes.push(address);
        return Promise.resolve(this.liveness.get(address) ?? "reachable");
      },
      askSlowness: ({ id }) => {
        this.questions.push(id);
        return this.slowScore();
      },
      closeAddress: (address) => this.net.closeAddress(address),
    });
    this.loader = new RegionLoader({ meta, stores: this.stores, environment, settings, observe });
    this.regions = new RegionCache({ loader: this.loader, environment, settings, observe });
    this.sender = new RegionSender({
      client: this.net,
      regions: this.regions,
      stores: this.stores,
      loader: this.loader,
      api: createApiCodec(v1Codec("raw")),
      clusterId: 99n,
      settings,
    });
    for (const id of [1n, 2n, 3n]) meta.storeList.set(id, storeMeta(id));
    meta.regions = [regionMeta(1n, "", "")];
  }

  operation(timeoutMs = 20_000, signal?: AbortSignal): Operation {
    const { clock, random, events } = this;
    return new Operation("test", {
      deadline: Deadline.after(clock, timeoutMs, signal),
      environment: { clock, random },
      observer: (event) => void events.push(event),
    });
  }

  /** The region of a key, loaded. */
  async locate(key: string): Promise<Region> {
    return await this.clock.run(this.regions.locate(bytes(key), this.operation()));
  }

  /** Names of the waits and retries that were told, in order. */
  get retries(): string[] {
    return this.events.flatMap((event) => event.type === "retry" ? [event.reason] : []);
  }

  /** Reasons for which regions were given up. */
  get invalidated(): string[] {
    return this.events.flatMap((event) => event.type === "region-invalidated" ? [event.reason] : []);
  }

  async close(): Promise<void> {
    this.regions.close();
    await this.stores.close();
  }
}

/** Runs a test in a world that is closed after it, and checks that nothing of it is left. */
export function inWorld(body: (world: World) => Promise<void>, options?: WorldOptions): () => Promise<void> {
  return async () => {
    const world = new World(options);
    try {
      await body(world);
    } finally {
      await world.close();
    }
    if (world.clock.pendingTimers > 0) throw new Error(`${world.clock.pendingTimers} timers are left`);
  };
}

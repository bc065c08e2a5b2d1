// SPDX-License-Identifier: Apache-2.0
// The state that the services of the cluster share. The services hold no state of their own, so
// what a test changes here shows in every answer at once.

import type { Environment, Timer } from "../async/clock.ts";
import { compareBytes } from "../bytes/compare.ts";
import { prefixEnd } from "../bytes/key_range.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { ApiRules } from "./api_version.ts";
import type { ApiVersion } from "./api_version.ts";
import { Faults } from "./faults.ts";
import { GcStates } from "./gc_states.ts";
import { Keyspaces } from "./keyspaces.ts";
import { MetaStorage } from "./meta_storage.ts";
import { MvccEngine } from "./mvcc/engine.ts";
import { Oracle } from "./oracle.ts";
import { RawEngine } from "./raw_engine.ts";
import { RegionMap } from "./regions.ts";
import type { Region } from "./regions.ts";
import type { Lag } from "./replicas.ts";
import { SortedMap } from "./sorted_map.ts";

/** How region bounds are encoded in V1: plain for raw data, memcomparable for transactions. */
export type ClusterMode = "raw" | "txn";

/** Sizes beyond which TiKV refuses. */
export interface ClusterLimits {
  /** `storage.max-key-size`; the prefix of a keyspace counts. */
  readonly maxKeyBytes: number;
  /** `raftstore.raft-entry-max-size`: everything that one request writes. */
  readonly maxEntryBytes: number;
}

/** A store as PD and the other stores know it. */
export interface StoreState {
  /** Its id, which never changes. */
  readonly id: bigint;
  /** `host:port` as PD advertises it. */
  address: string;
  /** The same of what it tells over HTTP; empty where it does not. */
  readonly statusAddress: string;
  /** Whether it takes connections. */
  isRunning: boolean;
  /** `removed` is what the protocol calls a tombstone. */
  nodeState: "serving" | "removing" | "removed";
  /** Refuses writes with `disk_full`. */
  isFull: boolean;
  /** Whether PD tells clients that the peers on it are down. */
  isReportedDown: boolean;
  /** 1 is healthy, 100 is as slow as it gets; sent as health feedback. */
  slowScore: number;
  /** How many health feedbacks it has sent; each carries its number. */
  feedbackCount: bigint;
  /** How long reads have to wait for their turn; those that said that this is too long are refused. */
  estimatedWaitMs: number;
  /** How far its replicas are behind their leaders; undefined: not at all. */
  lag: Lag | undefined;
  /** Labels as PD shows them. */
  labels: ReadonlyMap<string, string>;
}

/** A member of PD. */
export interface MemberState {
  /** Its id among the members. */
  readonly id: bigint;
  /** Such as `pd-1`. */
  readonly name: string;
  /** The URL that clients are told to use. */
  url: string;
  /** `host:port` of that URL. */
  address: string;
  /** Whether it takes connections. */
  isRunning: boolean;
}

/** What a {@linkcode Cluster} is made of. */
export interface ClusterOptions {
  readonly environment: Environment;
  readonly clusterId: bigint;
  readonly apiVersion: ApiVersion;
  /** Undefined: what is used first. */
  readonly mode: ClusterMode | undefined;
  readonly limits: ClusterLimits;
  readonly stores: number;
  /** Peers of the first region. */
  readonly replicas: number;
}

/** Counts of calls by method and by where they arrived. */
export class CallCounts {
  readonly #counts = new Map<string, number>();

  /** Counts one call. */
  add(method: string, place: string): void {
    for (const name of [method, `${method}@${place}`]) {
      this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    }
  }

  /** Calls of a method, everywhere or at one place (`store-1`, `pd-1`). */
  get(method: string, place?: string): number {
    return this.#counts.get(place === undefined ? method : `${method}@${place}`) ?? 0;
  }

  /** Begins again at 0. */
  clear(): void {
    this.#counts.clear();
  }
}

/** Everything that the services of one cluster share. */
export class Cluster {
  readonly environment: Environment;
  readonly clusterId: bigint;
  readonly rules: ApiRules;
  readonly limits: ClusterLimits;
  readonly stores: Map<bigint, StoreState> = new Map();
  readonly members: MemberState[] = [];
  readonly regions: RegionMap;
  readonly raw: RawEngine;
  readonly mvcc: MvccEngine;
  readonly faults: Faults;
  readonly counts: CallCounts = new CallCounts();
  readonly oracle: Oracle;
  readonly keyspaces: Keyspaces;
  readonly meta: MetaStorage = new MetaStorage();
  readonly gc: GcStates;
  /** Keys that clients have put into PD's etcd. */
  readonly etcd: SortedMap<Uint8Array> = new SortedMap();
  /** Up to which timestamp the leaders of regions have made sure that nothing changes any more. */
  readonly safeTs: Map<bigint, bigint> = new Map();
  /** Regions that PD was asked to scatter, for which it has an operator to show. */
  readonly scattered: Set<bigint> = new Set();
  /** Index of the leader among `members`; undefined while there is none. */
  leaderIndex: number | undefined = 0;
  /** The value that {@linkcode externalTimestamp} was last set to. */
  externalTimestamp = 0n;
  readonly #mode: ClusterMode | undefined;
  #nextId = 0n;
  #frozenRegions: readonly Region[] | undefined;
  readonly #timers = new Set<Timer>();

  constructor(options: ClusterOptions) {
    const { clock, random } = options.environment;
    this.environment = options.environment;
    this.clusterId = options.clusterId;
    this.rules = new ApiRules(options.apiVersion);
    this.#mode = options.mode ?? (options.apiVersion === "v1ttl" ? "raw" : undefined);
    this.limits = options.limits;
    const storeIds = Array.from({ length: options.stores }, () => this.allocateId());
    this.regions = new RegionMap(() => this.allocateId(), storeIds.slice(0, options.replicas));
    this.raw = new RawEngine(clock);
    this.faults = new Faults(random);
    this.oracle = new Oracle(clock);
    this.mvcc = new MvccEngine({
      clock,
      nextTs: () => {
        const { physical, logical } = this.oracle.next(1);
        return (physical << 18n) + logical;
      },
      detector: () => this.#deadlockDetector(),
    });
    this.keyspaces = new Keyspaces(clock);
    this.gc = new GcStates(clock);
  }

  /** Stores, regions, peers and keyspaces share one sequence, as with PD. */
  allocateId(): bigint {
    this.#nextId += 1n;
    return this.#nextId;
  }

  /** What the cluster is used for, as far as that is known. */
  get mode(): ClusterMode {
    return this.#mode ?? this.rules.firstMode ?? "txn";
  }

  /** A key of a client as region bounds have it. */
  boundOf(key: Uint8Array): Uint8Array {
    return this.mode === "txn" ? encodeBytes(key) : this.rules.encodeRawKey(key);
  }

  get leader(): MemberState | undefined {
    return this.leaderIndex === undefined ? undefined : this.members[this.leaderIndex];
  }

  /** The regions as PD knows them, which is late while heartbeats are frozen. */
  get knownRegions(): readonly Region[] {
    return this.#frozenRegions ?? this.regions.all();
  }

  /** Stops the heartbeats of regions to PD, or lets them go on. */
  freezeRegions(isFrozen: boolean): void {
    this.#frozenRegions = isFrozen ? this.regions.all() : undefined;
  }

  addStore(
    id: bigint,
    { address, statusAddress }: Pick<StoreState, "address" | "statusAddress">,
  ): void {
    this.stores.set(id, {
      id,
      address,
      statusAddress,
      isRunning: true,
      nodeState: "serving",
      isFull: false,
      isReportedDown: false,
      slowScore: 1,
      feedbackCount: 0n,
      estimatedWaitMs: 0,
      lag: undefined,
      labels: new Map([["host", `store-${id}`]]),
    });
  }

  /** The store with this id; a mistake if there is none that lives. */
  storeOf(id: bigint): StoreState {
    const store = this.stores.get(id);
    if (store === undefined || store.nodeState === "removed") throw new RangeError(`Cannot find store ${id}`);
    return store;
  }

  /** Makes a region begin at this bound. */
  splitAt(bound: Uint8Array): void {
    if (bound.length === 0) return;
    const region = this.regions.byKey(bound);
    if (compareBytes(region.start, bound) !== 0) this.regions.split(region.id, [bound]);
  }

  /** Merges the region that begins at this bound into the one before. */
  mergeAt(bound: Uint8Array): void {
    const region = this.regions.byKey(bound);
    const before = this.regions.all()[this.regions.all().indexOf(region) - 1];
    if (before === undefined || compareBytes(region.start, bound) !== 0) {
      throw new RangeError("Cannot merge: no region begins at the key");
    }
    this.regions.merge(region.id, before.id);
  }

  /** The bytes in front of the keys of a keyspace, by the mode of this cluster. */
  keyspacePrefix(id: number): Uint8Array {
    return keyspacePrefix(this.mode, id);
  }

  /** Gives a keyspace regions of its own in both modes, as PD does when one is made. */
  splitKeyspace(id: number): void {
    for (const mode of ["raw", "txn"] as const) {
      this.splitAt(encodeBytes(keyspacePrefix(mode, id)));
      this.splitAt(encodeBytes(prefixEnd(keyspacePrefix(mode, id))));
    }
  }

  /** Moves a leader to the given store, or to the next running store that has a voter. */
  moveLeader(regionId: bigint, storeId?: bigint): void {
    const region = this.regions.byId(regionId);
    if (region === undefined) throw new RangeError(`Cannot find region ${regionId}`);
    const target = storeId ?? this.#nextVoter(region);
    if (target !== undefined) this.regions.setLeader(regionId, target);
  }

  removePeer(regionId: bigint, storeId: bigint): void {
    this.regions.removePeer(regionId, storeId);
    this.electMissingLeaders();
  }

  /** Gives every region that a store leads another leader, or none when no other store runs. */
  leaveStore(storeId: bigint): void {
    for (const region of this.regions.all()) {
      if (region.leader?.storeId === storeId) this.regions.setLeader(region.id, this.#nextVoter(region));
    }
  }

  /** Takes all peers away from a store. */
  evacuate(storeId: bigint): void {
    for (const region of this.regions.all()) {
      if (region.peers.length === 1 && region.peers[0]?.storeId === storeId) {
        throw new RangeError(`Cannot remove store ${storeId}: it has the only peer of region ${region.id}`);
      }
    }
    for (const region of this.regions.all()) this.regions.removePeer(region.id, storeId);
    this.electMissingLeaders();
  }

  electMissingLeaders(): void {
    for (const region of this.regions.all()) {
      if (region.leader === undefined) this.regions.setLeader(region.id, this.#nextVoter(region));
    }
  }

  /** Spreads leaders over the stores in turn. */
  spreadLeaders(): void {
    this.regions.all().forEach((region, index) => {
      const peer = region.peers[index % region.peers.length];
      if (peer !== undefined) this.regions.setLeader(region.id, peer.storeId);
    });
  }

  /** The running member that leads next: the named one, or the one behind the present leader. */
  nextPdLeader(name?: string): number | undefined {
    const current = this.leaderIndex ?? 0;
    const order = this.members.map((_, step) => (current + step + 1) % this.members.length);
    const next = order.find((index) => {
      const member = this.members[index];
      return member !== undefined && member.isRunning && (name === undefined || member.name === name);
    });
    if (name !== undefined && next === undefined) {
      throw new RangeError(`Cannot let "${name}" lead PD: it does not run`);
    }
    return next;
  }

  stopMember(index: number): void {
    const member = this.members[index];
    if (member === undefined) return;
    member.isRunning = false;
    if (this.leaderIndex === index) this.leaderIndex = this.nextPdLeader();
  }

  startMember(index: number): void {
    const member = this.members[index];
    if (member === undefined) return;
    member.isRunning = true;
    this.leaderIndex ??= index;
  }

  /** Runs the callback later, unless the cluster is closed first. */
  after(ms: number, callback: () => void): void {
    const timer = this.environment.clock.timer(ms, () => {
      this.#timers.delete(timer);
      callback();
    });
    this.#timers.add(timer);
  }

  /** Forgets everything that was to happen later. */
  stopTimers(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.mvcc.waits.clear();
  }

  /** The store that leads the first region looks for deadlocks. */
  #deadlockDetector(): string | undefined {
    const first = this.regions.all()[0];
    const storeId = first?.leader?.storeId;
    if (first === undefined || storeId === undefined) return undefined;
    return this.stores.get(storeId)?.isRunning === true ? `${storeId}/${first.term}` : undefined;
  }

  #nextVoter(region: Region): bigint | undefined {
    const voters = region.peers.filter(({ role }) => role === "voter");
    const current = voters.findIndex(({ storeId }) => storeId === region.leader?.storeId);
    for (let step = 1; step <= voters.length; step++) {
      const { storeId } = voters[(current + step) % voters.length] ?? { storeId: 0n };
      if (storeId !== region.leader?.storeId && this.stores.get(storeId)?.isRunning === true) return storeId;
    }
    return undefined;
  }
}

const MODE_BYTES: Readonly<Record<ClusterMode, number>> = { raw: 0x72, txn: 0x78 };

function keyspacePrefix(mode: ClusterMode, id: number): Uint8Array {
  return new Uint8Array([MODE_BYTES[mode], id >> 16, (id >> 8) & 0xff, id & 0xff]);
}

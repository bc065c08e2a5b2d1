// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "../async/clock.ts";
import { concatBytes } from "../bytes/concat.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import { toBytes } from "../bytes/utf8.ts";
import { MemoryNetwork } from "../rpc/memory.ts";
import type { Transport } from "../rpc/transport.ts";
import type { ApiVersion } from "./api_version.ts";
import type { CallCounts, ClusterMode, MemberState, StoreState } from "./cluster.ts";
import { Cluster } from "./cluster.ts";
import type { Faults } from "./faults.ts";
import type { Keyspace } from "./keyspaces.ts";
import { DEFAULT_KEYSPACE } from "./keyspaces.ts";
import { Nodes } from "./nodes.ts";
import type { PlaygroundOptions, PlaygroundPlan } from "./options.ts";
import { planOf } from "./options.ts";
import type { PeerRole, Region } from "./regions.ts";
import { noteSafeTs, setLag } from "./replicas.ts";

/** How a key of an action is read. */
export interface KeyOptions {
  /** The key is a bound as PD knows it, and not a key of a user. */
  readonly isEncoded?: boolean | undefined;
  /** In V2, the keyspace of the key; `DEFAULT` unless given. */
  readonly keyspace?: string | undefined;
}

/** What a client in the same process needs to reach the cluster. */
export interface PlaygroundConnectOptions {
  /** Addresses of the members of PD. */
  readonly pd: readonly string[];
  /** The way into the network in memory. */
  readonly transport: Transport;
  /** Time and chance of the cluster, for the client to share. */
  readonly environment: Environment;
  /** The API version of the stores. */
  readonly apiVersion: ApiVersion;
  /** What it was said to be used for. */
  readonly mode: ClusterMode | undefined;
}

/**
 * A whole cluster in this process: PD and stores that speak TiKV's protocol, in memory and on
 * ports. It keeps data in memory only. Tests steer it: regions, leaders, stores, faults.
 */
export class Playground implements AsyncDisposable {
  readonly #plan: PlaygroundPlan;
  readonly #cluster: Cluster;
  readonly #network: MemoryNetwork;
  readonly #nodes: Nodes;
  #closing: Promise<void> | undefined;

  private constructor(plan: PlaygroundPlan) {
    this.#plan = plan;
    const { environment, clusterId, apiVersion, mode, limits, stores, replicas } = plan;
    this.#cluster = new Cluster({ environment, clusterId, apiVersion, mode, limits, stores, replicas });
    this.#network = plan.network ?? new MemoryNetwork(environment);
    const sites = { network: this.#network, clock: environment.clock, ports: plan.ports };
    this.#nodes = new Nodes(this.#cluster, sites);
  }

  /** Starts a cluster and resolves when it serves. */
  static async start(options: PlaygroundOptions = {}): Promise<Playground> {
    const playground = new Playground(planOf(options));
    try {
      await playground.#boot();
    } catch (error) {
      await playground.close();
      throw error;
    }
    return playground;
  }

  /** The network in memory, with faults of its links. */
  get network(): MemoryNetwork {
    return this.#network;
  }

  /** `host:port` of each member of PD. */
  get pdAddresses(): readonly string[] {
    return this.#cluster.members.map(({ address }) => address);
  }

  /** The id that every request has to carry. */
  get clusterId(): bigint {
    return this.#cluster.clusterId;
  }

  /** The API version of the stores. */
  get apiVersion(): ApiVersion {
    return this.#plan.apiVersion;
  }

  /** The rules by which calls fail. */
  get faults(): Faults {
    return this.#cluster.faults;
  }

  /** How often each method was called. */
  get calls(): CallCounts {
    return this.#cluster.counts;
  }

  /** What a client in this process passes to connect: the network in memory, also when there are ports. */
  connectOptions(): PlaygroundConnectOptions {
    return {
      pd: this.pdAddresses,
      transport: this.#network.transport(),
      environment: this.#plan.environment,
      apiVersion: this.#plan.apiVersion,
      mode: this.#plan.mode,
    };
  }

  /** Every region in key order, as the stores have them. */
  regions(): readonly Region[] {
    return this.#cluster.regions.all();
  }

  /** The region that has the key. */
  regionOf(key: KeyInput, options: KeyOptions = {}): Region {
    return this.#cluster.regions.byKey(this.#bound(key, options));
  }

  /** Every store, tombstones included. */
  stores(): readonly Readonly<StoreState>[] {
    return [...this.#cluster.stores.values()];
  }

  /** Every member of PD. */
  members(): readonly Readonly<MemberState>[] {
    return this.#cluster.members;
  }

  /** The name of the member that leads PD. */
  get pdLeader(): string | undefined {
    return this.#cluster.leader?.name;
  }

  /** A key of a user as region bounds have it. */
  encodeKey(key: KeyInput, options: KeyOptions = {}): Uint8Array {
    return this.#bound(key, options);
  }

  /** Splits a region so that one begins at the key. Does nothing where one already does. */
  split(key: KeyInput, options: KeyOptions = {}): Promise<void> {
    return settled(() => this.#cluster.splitAt(this.#bound(key, options)));
  }

  /** Merges the region that begins at the key into the one before it. */
  merge(key: KeyInput, options: KeyOptions = {}): Promise<void> {
    return settled(() => this.#cluster.mergeAt(this.#bound(key, options)));
  }

  /** Makes another peer lead the region of a key or id: that on the given store, or the next running one. */
  moveLeader(region: KeyInput | bigint, storeId?: bigint, options: KeyOptions = {}): Promise<void> {
    return settled(() => this.#cluster.moveLeader(this.#regionId(region, options), storeId));
  }

  /** Leaves a region without a leader until `moveLeader()`. */
  dropLeader(region: KeyInput | bigint, options: KeyOptions = {}): Promise<void> {
    return settled(() => {
      const id = this.#regionId(region, options);
      const leaderId = this.#cluster.regions.byId(id)?.leader?.storeId;
      if (leaderId !== undefined) noteSafeTs(this.#cluster, leaderId);
      this.#cluster.regions.setLeader(id, undefined);
    });
  }

  /** Adds a peer of the region on a store, or changes the role of the one it has. */
  addPeer(region: KeyInput | bigint, storeId: bigint, role: PeerRole = "voter"): Promise<void> {
    return settled(() => this.#cluster.regions.addPeer(this.#regionId(region, {}), storeId, role));
  }

  /** Takes the peer of the region on a store away. */
  removePeer(region: KeyInput | bigint, storeId: bigint): Promise<void> {
    return settled(() => this.#cluster.removePeer(this.#regionId(region, {}), storeId));
  }

  /** While frozen, PD does not hear of changes to regions, as when heartbeats are late. */
  freezePdRegions(isFrozen: boolean): void {
    this.#cluster.freezeRegions(isFrozen);
  }

  /**
   * Stops a store: connections are lost and new ones refused. Regions that it led elect another
   * leader, if one is running and `electsLeaders` is not false.
   */
  async stopStore(
    id: bigint,
    options: { readonly electsLeaders?: boolean; readonly isReportedDown?: boolean } = {},
  ): Promise<void> {
    const store = this.#cluster.storeOf(id);
    noteSafeTs(this.#cluster, id);
    store.isRunning = false;
    store.isReportedDown = options.isReportedDown ?? false;
    if (options.electsLeaders !== false) this.#cluster.leaveStore(id);
    await this.#nodes.store(id).stop();
  }

  /** Starts a stopped store at its old address. Regions without a leader elect one on it. */
  async startStore(id: bigint): Promise<void> {
    const store = this.#cluster.storeOf(id);
    await this.#nodes.store(id).restart();
    store.isRunning = true;
    store.isReportedDown = false;
    this.#cluster.electMissingLeaders();
  }

  /** Moves a running store to another address; nobody answers at the old one. */
  async readdressStore(id: bigint): Promise<void> {
    const store = this.#cluster.storeOf(id);
    store.address = await this.#nodes.moveStore(id);
    store.isRunning = true;
  }

  /** Adds a store. Every region gets a voter on it unless `isEmpty`. */
  async addStore(options: { readonly isEmpty?: boolean } = {}): Promise<bigint> {
    const id = this.#cluster.allocateId();
    await this.#nodes.startStore(id);
    if (options.isEmpty !== true) {
      for (const region of this.#cluster.regions.all()) this.#cluster.regions.addPeer(region.id, id);
    }
    return id;
  }

  /** Removes a store for good: its peers go, it stops, and PD shows it as a tombstone. */
  async removeStore(id: bigint): Promise<void> {
    const store = this.#cluster.storeOf(id);
    this.#cluster.evacuate(id);
    store.nodeState = "removed";
    store.isRunning = false;
    await this.#nodes.dropStore(id);
  }

  /** Loses every connection to a store, which goes on serving. */
  cutStore(id: bigint): void {
    this.#nodes.store(id).cut();
  }

  /** Makes a store refuse writes because its disk is full, or take them again. */
  fillDisk(id: bigint, isFull: boolean = true): void {
    this.#cluster.storeOf(id).isFull = isFull;
  }

  /**
   * Loses the pessimistic locks of a region, as when its leader dies: TiKV keeps them in memory
   * only. Their transactions find out at prewrite.
   */
  losePessimisticLocks(region: KeyInput | bigint, options: KeyOptions = {}): void {
    const found = this.#cluster.regions.byId(this.#regionId(region, options));
    if (found === undefined) throw new RangeError(`Cannot find region ${region}`);
    this.#cluster.mvcc.losePessimisticLocks(found);
  }

  /** Sets the score from 1 (healthy) to 100 that the store reports about itself. */
  setSlowScore(id: bigint, score: number): void {
    this.#cluster.storeOf(id).slowScore = score;
  }

  /** Sets how long reads on a store have to wait; those that said that this is too long are refused. */
  setBusy(id: bigint, estimatedWaitMs: number): void {
    this.#cluster.storeOf(id).estimatedWaitMs = estimatedWaitMs;
  }

  /**
   * Puts the replicas on a store this far behind their leaders; `Infinity` makes them stand still, and 0
   * lets them catch up. Stale reads of what they do not have are refused, and replica reads wait.
   */
  lagStore(id: bigint, ms: number): void {
    setLag(this.#cluster, id, ms);
  }

  /** Gives a store other labels, such as `{ zone: "a" }`. */
  labelStore(id: bigint, labels: Readonly<Record<string, string>>): void {
    this.#cluster.storeOf(id).labels = new Map(Object.entries(labels));
  }

  /**
   * Makes the named, or the next running, member lead PD. With `electionMs` there is no leader for
   * that long, as in a real election; the promise resolves when it is over.
   */
  async movePdLeader(name?: string, options: { readonly electionMs?: number } = {}): Promise<void> {
    const next = this.#cluster.nextPdLeader(name);
    const { electionMs = 0 } = options;
    if (electionMs > 0) {
      this.#cluster.leaderIndex = undefined;
      await new Promise<void>((resolve) => this.#cluster.after(electionMs, resolve));
    }
    this.#cluster.leaderIndex = next;
  }

  /** Stops a member of PD. If it led, the next running one does; with none, PD has no leader. */
  async stopPd(name: string): Promise<void> {
    const index = this.#memberIndex(name);
    this.#cluster.stopMember(index);
    await this.#nodes.member(index).stop();
  }

  /** Starts a stopped member of PD at its old address. */
  async startPd(name: string): Promise<void> {
    const index = this.#memberIndex(name);
    await this.#nodes.member(index).restart();
    this.#cluster.startMember(index);
  }

  /** Loses every connection to a member of PD, which goes on serving. */
  cutPd(name: string): void {
    this.#nodes.member(this.#memberIndex(name)).cut();
  }

  /** Holds back all timestamps for this long. */
  stallTso(ms: number): void {
    this.#cluster.oracle.stall(ms);
  }

  /** Moves timestamps by this much; back too, which no real PD does. */
  jumpTso(ms: number): void {
    this.#cluster.oracle.jump(ms);
  }

  /** Makes a keyspace, with regions of its own as PD splits them. API V2 only. */
  createKeyspace(name: string, options: { readonly id?: number } = {}): Keyspace {
    if (this.apiVersion !== "v2") {
      throw new RangeError(`Cannot create keyspace "${name}": it needs API version "v2"`);
    }
    const keyspace = this.#cluster.keyspaces.create(name, options);
    this.#cluster.splitKeyspace(keyspace.id);
    return keyspace;
  }

  /** Stops everything. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#stopAll();
    return this.#closing;
  }

  /** Stops everything, at the end of an `await using` scope. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #boot(): Promise<void> {
    const { pdMembers, stores, apiVersion, keyspaces, splitKeys } = this.#plan;
    for (let i = 1; i <= pdMembers; i++) await this.#nodes.startMember(`pd-${i}`);
    for (let i = 1; i <= stores; i++) await this.#nodes.startStore(BigInt(i));
    if (apiVersion === "v2") {
      this.#cluster.splitKeyspace(0);
      for (const name of keyspaces) this.createKeyspace(name);
    }
    for (const key of splitKeys) await this.split(key);
    this.#cluster.spreadLeaders();
  }

  async #stopAll(): Promise<void> {
    this.#cluster.faults.clear();
    this.#cluster.stopTimers();
    await this.#nodes.stopAll();
  }

  #bound(key: KeyInput, { isEncoded, keyspace }: KeyOptions): Uint8Array {
    const bytes = toBytes(key);
    if (isEncoded === true) return bytes;
    if (this.apiVersion !== "v2") return this.#cluster.boundOf(bytes);
    const found = this.#cluster.keyspaces.byName(keyspace ?? DEFAULT_KEYSPACE);
    if (found === undefined) throw new RangeError(`Cannot find keyspace "${keyspace}"`);
    return this.#cluster.boundOf(concatBytes(this.#cluster.keyspacePrefix(found.id), bytes));
  }

  #regionId(region: KeyInput | bigint, options: KeyOptions): bigint {
    return typeof region === "bigint" ? region : this.regionOf(region, options).id;
  }

  #memberIndex(name: string): number {
    const index = this.#cluster.members.findIndex((member) => member.name === name);
    if (index < 0) throw new RangeError(`Cannot find member "${name}" of PD`);
    return index;
  }
}

/** Does something at once, and reports a mistake as the promise of an action does. */
function settled(action: () => unknown): Promise<void> {
  try {
    action();
    return Promise.resolve();
  } catch (error) {
    return Promise.reject(error);
  }
}

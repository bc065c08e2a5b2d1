// SPDX-License-Identifier: Apache-2.0

import { Deadline } from "../async/deadline.ts";
import { Operation } from "../async/operation.ts";
import { compareBytes } from "../bytes/compare.ts";
import { type KeyRange, type RangeInput, toRange } from "../bytes/key_range.ts";
import { type KeyInput, nameOf, toBytes } from "../bytes/utf8.ts";
import { type ApiKeyCodec, v1Codec } from "../codec/keyspace.ts";
import { TikvError } from "../errors.ts";
import { checkCallEnd, checkCallOptions, checkNumber } from "../options.ts";
import { transportOfSettings } from "../rpc/http2/settings_transport.ts";
import type { CallOptions, RegionId, StoreId, Timestamp } from "../types.ts";
import type { PdClusterInfo, SnapshotBound } from "./cluster_state.ts";
import { PdConfig } from "./config.ts";
import { PdKeyspaces } from "./keyspaces.ts";
import type { PdMember } from "./members.ts";
import { PdMeta, type PdOperator, type PdScatter, type PdSplit } from "./meta.ts";
import { type PdOptions, resolvePdSettings } from "./options.ts";
import { openPdCore, type PdCore, type PdParts } from "./pd_core.ts";
import { parsePdAddresses } from "./pd_address.ts";
import type { PdOperationCall } from "./pd_link.ts";
import type { PdRegion, PdStore } from "./region.ts";

/** Options of {@linkcode Pd.regions}. */
export interface PdRegionsOptions extends CallOptions {
  /**
   * Regions of one request.
   *
   * @default {256} some 50 kB
   */
  readonly pageSize?: number | undefined;
}

/** Options of {@linkcode Pd.split}. */
export interface PdSplitOptions extends CallOptions {
  /**
   * Tells PD to move the new regions to different stores.
   *
   * @default {false}
   */
  readonly scatter?: boolean | undefined;
  /** Name under which the leaders of scattered regions are spread. */
  readonly group?: string | undefined;
}

/** Options of {@linkcode Pd.scatter}. */
export interface PdScatterOptions extends CallOptions {
  /** Name under which the leaders of these regions are spread. */
  readonly group?: string | undefined;
}

/** Makes a client of connected parts; for the code that assembles a whole client. */
export let openPd: (parts: PdParts, deadline: Deadline) => Promise<Pd>;

/**
 * A client of the placement driver (PD): timestamps, regions, stores, keyspaces.
 *
 * Calls go to the member that leads PD. When that one cannot be reached, or does not lead any more,
 * the others are asked who does, and the call is sent again, until it succeeds or its time is up:
 * `timeoutMs` of a call is the time for all of its attempts, `pdTimeoutMs` of the client is the time
 * for one.
 *
 * Every call rejects with the signal's own reason after an abort, and otherwise with a
 * {@linkcode TikvError}: `timeout` or `connection` when no member served in time, `unsupported` when
 * PD is too old for the call, `closed` after {@linkcode Pd.close}.
 */
export class Pd {
  readonly #core: PdCore;
  readonly #keys: ApiKeyCodec;
  readonly #meta: PdMeta;
  /** The keyspaces of the cluster. */
  readonly keyspaces: PdKeyspaces;
  /** The global configuration, which components of a cluster share. */
  readonly config: PdConfig;

  static {
    openPd = async (parts, deadline) =>
      new Pd(await openPdCore(parts, deadline), parts.keys ?? v1Codec("raw"));
  }

  private constructor(core: PdCore, keys: ApiKeyCodec) {
    this.#core = core;
    this.#keys = keys;
    this.#meta = new PdMeta(core.link, keys, core.support);
    const run = this.#run.bind(this);
    this.keyspaces = new PdKeyspaces(core.keyspaces, run);
    this.config = new PdConfig(core.state, run);
  }

  /**
   * Connects to PD by one or more of its addresses: `http://host:port`, `https://host:port`,
   * `host:port` or `tikv://host:port,host:port`; without a port it is 2379.
   *
   * All addresses are asked, and have to belong to one cluster (`cluster-mismatch`). A cluster that
   * is just being started is waited for, up to `connectTimeoutMs`. An address with a user name is a
   * `TypeError`: TiKV has no authentication but TLS certificates.
   *
   * @example A look at the cluster without a whole client
   * ```ts
   * import assert from "node:assert/strict";
   * import { Pd } from "@tikv/client/pd";
   *
   * const pd = await Pd.connect("http://127.0.0.1:2379");
   * const stores = await pd.stores();
   * assert.ok(stores.every((store) => store.state === "up"));
   * await pd.close();
   * ```
   */
  static async connect(endpoints: string | readonly string[], options: PdOptions = {}): Promise<Pd> {
    const settings = resolvePdSettings(options);
    const parsed = parsePdAddresses(endpoints);
    const deadline = Deadline.after(settings.environment.clock, settings.connectTimeoutMs, options.signal);
    const ownTransport = options.transport === undefined
      ? transportOfSettings(settings, parsed.isTls === true)
      : undefined;
    return await openPd({
      endpoints: parsed,
      settings,
      transport: options.transport ?? ownTransport as NonNullable<typeof ownTransport>,
      keys: options.keys,
      onClose: () => ownTransport?.close(),
    }, deadline);
  }

  /** Identifies the cluster; the same for its whole life. */
  get clusterId(): bigint {
    return this.#core.link.members.current.clusterId;
  }

  /** Tells whether {@linkcode Pd.close} was called. */
  get isClosed(): boolean {
    return this.#core.link.scope.isClosed;
  }

  /** The same client, for keys as another API version or keyspace stores them. Closing one closes both. */
  with(view: { readonly keys: ApiKeyCodec }): Pd {
    return new Pd(this.#core, view.keys);
  }

  /**
   * Regions and stores for the layers above, seen through `keys`.
   *
   * @internal
   */
  meta(keys: ApiKeyCodec = this.#keys): PdMeta {
    return new PdMeta(this.#core.link, keys, this.#core.support);
  }

  /**
   * Gets a timestamp that is larger than all that this client got before, and than every commit
   * that had ended anywhere when the call was made. Calls that wait at the same time share one
   * request.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   *
   * const first = await client.pd.timestamp();
   * assert.ok(first < await client.pd.timestamp());
   * ```
   */
  timestamp(options: CallOptions = {}): Promise<Timestamp> {
    return this.#run(
      "pd.timestamp",
      options,
      ({ deadline, operation }) => this.#core.tso.timestamp(deadline, operation),
    );
  }

  /**
   * A timestamp as a step of an operation: its deadline, its waits, its error.
   *
   * @internal
   */
  timestampWithin(operation: Operation): Promise<Timestamp> {
    return this.#core.tso.timestamp(operation.deadline, operation);
  }

  /**
   * The safe point of snapshots of this client's keyspace, as a step of an operation.
   *
   * @internal
   */
  txnSafePointWithin(operation: Operation): Promise<SnapshotBound> {
    const { deadline } = operation;
    return this.#core.state.txnSafePoint(this.#keys.keyspaceId, { deadline, operation });
  }

  /** Gets a timestamp that none of the cluster's timestamp services is behind of. */
  minTimestamp(options: CallOptions = {}): Promise<Timestamp> {
    return this.#run("pd.minTimestamp", options, (call) => this.#core.state.minTimestamp(call));
  }

  /** Gets the timestamp that an outside coordinator left; 0 when none did. */
  externalTimestamp(options: CallOptions = {}): Promise<Timestamp> {
    return this.#run("pd.externalTimestamp", options, (call) => this.#core.state.externalTimestamp(call));
  }

  /** Leaves a timestamp for others. One before the present one or after now is a `misuse` error. */
  setExternalTimestamp(timestamp: Timestamp, options: CallOptions = {}): Promise<void> {
    return this.#run("pd.setExternalTimestamp", options, (call) => {
      checkId("timestamp", timestamp);
      return this.#core.state.setExternalTimestamp(timestamp, call);
    });
  }

  /** Asks who is in PD and who leads it. */
  members(options: CallOptions = {}): Promise<readonly PdMember[]> {
    return this.#run("pd.members", options, async (call) => (await this.#core.link.askMembers(call)).members);
  }

  /** Asks how the services of PD are deployed. */
  clusterInfo(options: CallOptions = {}): Promise<PdClusterInfo> {
    return this.#run("pd.clusterInfo", options, (call) => this.#core.state.clusterInfo(call));
  }

  /** Looks up the region that has the key; undefined while PD knows none. */
  region(key: KeyInput, options: CallOptions = {}): Promise<PdRegion | undefined> {
    return this.#run("pd.region", options, (call) => this.#meta.regionByKey(toBytes(key), call));
  }

  /** Looks up the region before the one that has the key; undefined when there is none. */
  previousRegion(key: KeyInput, options: CallOptions = {}): Promise<PdRegion | undefined> {
    return this.#run("pd.previousRegion", options, (call) => this.#meta.previousRegion(toBytes(key), call));
  }

  /** Looks up a region by its id; undefined when it is not there, or has no key that this client sees. */
  regionById(id: RegionId, options: CallOptions = {}): Promise<PdRegion | undefined> {
    return this.#run("pd.regionById", options, (call) => this.#meta.regionById(checkId("id", id), call));
  }

  /**
   * Reads the regions of a range in order of their keys, a page at a time. The first and the last
   * may reach beyond it. While regions are being split or merged there may be gaps, or a region
   * may come twice with different borders. `timeoutMs` is the time for one page.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   *
   * const leaders = new Set<bigint>();
   * for await (const region of client.pd.regions({})) {
   *   if (region.leader !== undefined) leaders.add(region.leader.storeId);
   * }
   * assert.ok(leaders.size > 0);
   * ```
   */
  regions(range: RangeInput, options: PdRegionsOptions = {}): AsyncIterable<PdRegion> {
    const { pageSize = DEFAULT_PAGE, ...page } = options;
    checkCall(page);
    checkNumber("pageSize", pageSize, { min: 1, max: 0x7fff_ffff, isWhole: true });
    return this.#pages(toRange(range), pageSize, page);
  }

  /** Looks up a store; undefined when it was removed or never existed. */
  store(id: StoreId, options: CallOptions = {}): Promise<PdStore | undefined> {
    return this.#run("pd.store", options, (call) => this.#meta.store(checkId("id", id), call));
  }

  /** Lists all stores that were not removed. */
  stores(options: CallOptions = {}): Promise<PdStore[]> {
    return this.#run("pd.stores", options, (call) => this.#meta.stores(call));
  }

  /**
   * Splits regions so that one begins at each of the keys. It resolves when the regions were split;
   * with `scatter`, PD then moves the new ones apart by itself.
   *
   * PD does what it can in its own time: `finishedPercentage` is its count of the keys at which it
   * split. A key at which a region begins already is none of them.
   *
   * @example
   * ```ts
   * import assert from "node:assert/strict";
   *
   * await client.pd.split(["user/m"]);
   * const region = await client.pd.region("user/m");
   * assert.deepEqual(region?.start, new TextEncoder().encode("user/m"));
   * ```
   */
  split(keys: readonly KeyInput[], options: PdSplitOptions = {}): Promise<PdSplit> {
    const { scatter, group, ...rest } = options;
    return this.#run("pd.split", rest, async (call) => {
      const bytes = keys.map((key) => toBytes(key));
      if (bytes.length === 0) return { finishedPercentage: 100, regionIds: [] };
      const split = await this.#meta.splitRegions(bytes, { ...call, isWrite: true });
      // Two calls, because PD's one for both is an error when no region had to be split.
      if (scatter === true && split.regionIds.length > 0) {
        await this.#meta.scatterRegions(split.regionIds, { ...call, isWrite: true, group });
      }
      return split;
    });
  }

  /** Tells PD to move regions apart, so that their leaders are spread over the stores. */
  scatter(ids: readonly RegionId[], options: PdScatterOptions = {}): Promise<PdScatter> {
    const { group, ...rest } = options;
    return this.#run("pd.scatter", rest, (call) => {
      for (const id of ids) checkId("id", id);
      return this.#meta.scatterRegions(ids, { ...call, isWrite: true, group });
    });
  }

  /** Asks what PD does with a region, or did lately; undefined when it did nothing. */
  operator(regionId: RegionId, options: CallOptions = {}): Promise<PdOperator | undefined> {
    return this.#run(
      "pd.operator",
      options,
      (call) => this.#meta.operator(checkId("regionId", regionId), call),
    );
  }

  /** Ends every call that runs with a `closed` error, and the streams and timers of the client. Idempotent. */
  close(): Promise<void> {
    return this.#core.close();
  }

  /** As {@linkcode Pd.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#pages(range: KeyRange, pageSize: number, options: CallOptions): AsyncGenerator<PdRegion, void> {
    let { start } = range;
    for (;;) {
      const regions = await this.#run(
        "pd.regions",
        options,
        (call) => this.#meta.scanRegions({ start, end: range.end }, pageSize, call),
      );
      yield* regions;
      const last = regions.at(-1);
      // A short page is not the end: PD may not know the regions of a part of the range.
      if (last === undefined || last.end.length === 0) return;
      if (range.end.length > 0 && compareBytes(last.end, range.end) >= 0) return;
      if (compareBytes(last.end, start) <= 0) {
        throw new TikvError(
          "protocol",
          `Cannot list regions: region ${last.id} ends before where the page starts`,
        );
      }
      start = last.end;
    }
  }

  async #run<T>(name: string, options: CallOptions, work: (call: PdOperationCall) => Promise<T>): Promise<T> {
    checkCall(options);
    const { settings, link } = this.#core;
    const { environment } = settings;
    const deadline = Deadline.after(
      environment.clock,
      options.timeoutMs ?? settings.timeoutMs,
      options.signal,
    );
    const operation = new Operation(name, { deadline, environment, observer: settings.observe });
    try {
      link.scope.throwIfClosed();
      return await work({ deadline, operation });
    } catch (error) {
      throw operation.fail(error);
    }
  }
}

function checkCall(options: CallOptions): void {
  checkCallOptions(options);
  checkCallEnd(options);
}

function checkId<T extends bigint>(name: string, value: T): T {
  if (typeof value !== "bigint") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a bigint`);
  }
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
    throw new RangeError(`Cannot use ${value} as "${name}": expected an unsigned 64-bit number`);
  }
  return value;
}

const DEFAULT_PAGE = 256;

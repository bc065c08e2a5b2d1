// SPDX-License-Identifier: Apache-2.0

import { PD } from "../../gen/pdpb_pb.ts";
import type { GetRegionResponse } from "../../gen/pdpb_pb.ts";
import { isEmptyRange, type KeyRange } from "../bytes/key_range.ts";
import type { ApiKeyCodec } from "../codec/keyspace.ts";
import { isPdText, isUnimplemented, PdError } from "./pd_error.ts";
import type { PdCall, PdLink } from "./pd_link.ts";
import { type PdRegion, type PdStore, readRegion, readStore } from "./region.ts";

/** Options of a question about regions or stores. */
export interface PdMetaCall extends PdCall {
  /** Asks for the buckets of regions too. */
  readonly needBuckets?: boolean | undefined;
}

/** What is asked of a scan over several ranges. */
export interface PdBatchScan {
  /** The most regions to answer with; 0 is all. */
  readonly limit?: number | undefined;
  readonly needBuckets?: boolean | undefined;
  /** PD waits with its answer until it has regions for every key; ignored by a PD before 8.5. */
  readonly containAllKeyRange?: boolean | undefined;
}

/** What PD did about split keys. */
export interface PdSplit {
  /** Share of the keys at which regions were split, in percent. */
  readonly finishedPercentage: number;
  /** The regions that came of it. */
  readonly regionIds: readonly bigint[];
}

/** What PD did about regions that are to be moved apart. */
export interface PdScatter {
  /** Share of the regions for which moves were ordered, in percent. */
  readonly finishedPercentage: number;
  /** The regions that PD could not move. */
  readonly failedRegionIds: readonly bigint[];
}

/** What PD does with a region at the moment, or did last. */
export interface PdOperator {
  /** The region. */
  readonly regionId: bigint;
  /** PD's name of what it does, such as `"scatter-region"`. */
  readonly description: string;
  /** What it touches, such as `"region,leader"`. */
  readonly kind: string;
  /** How far it is, or how it ended. */
  readonly status: "success" | "timeout" | "cancel" | "replace" | "running";
}

/**
 * Regions and stores, seen through the keys of one API version and keyspace. Keys go in and come
 * out as the user knows them; each call ends by its deadline.
 */
export class PdMeta {
  readonly #link: PdLink;
  readonly #keys: ApiKeyCodec;
  /** PD before 8.5 has no such call; asked once per client. */
  readonly #support: { hasBatchScan: boolean };

  constructor(link: PdLink, keys: ApiKeyCodec, support: { hasBatchScan: boolean } = { hasBatchScan: true }) {
    this.#link = link;
    this.#keys = keys;
    this.#support = support;
  }

  /** The region that has the key; undefined while PD knows none. */
  async regionByKey(key: Uint8Array, call: PdMetaCall): Promise<PdRegion | undefined> {
    return this.#regionOf(
      await this.#askRegion(PD.method.getRegion, {
        header: this.#link.header,
        regionKey: this.#keys.encodeRegionKey(key),
        needBuckets: call.needBuckets === true,
      }, call),
    );
  }

  /** The region before the one that has the key; undefined when there is none. */
  async previousRegion(key: Uint8Array, call: PdMetaCall): Promise<PdRegion | undefined> {
    return this.#regionOf(
      await this.#askRegion(PD.method.getPrevRegion, {
        header: this.#link.header,
        regionKey: this.#keys.encodeRegionKey(key),
        needBuckets: call.needBuckets === true,
      }, call),
    );
  }

  /** A region by its id; undefined when PD does not have it, or it is outside the keyspace. */
  async regionById(id: bigint, call: PdMetaCall): Promise<PdRegion | undefined> {
    return this.#regionOf(
      await this.#askRegion(PD.method.getRegionByID, {
        header: this.#link.header,
        regionId: id,
        needBuckets: call.needBuckets === true,
      }, call),
    );
  }

  /** The regions of a range, in order; `limit` 0 is all. There may be gaps. */
  async scanRegions(range: KeyRange, limit: number, call: PdMetaCall): Promise<PdRegion[]> {
    if (isEmptyRange(range)) return [];
    const { start, end } = this.#keys.encodeRegionRange(range);
    const reply = await this.#askRegion(PD.method.scanRegions, {
      header: this.#link.header,
      startKey: start,
      endKey: end,
      limit: Math.min(limit, MAX_INT32),
    }, call);
    return this.#regionsOf(reply.regions);
  }

  /**
   * The regions of sorted ranges that do not overlap, in order, each once. There may be gaps. A PD
   * that cannot take several ranges is asked for one after the other, from then on.
   */
  async batchScanRegions(
    ranges: readonly KeyRange[],
    scan: PdBatchScan,
    call: PdMetaCall,
  ): Promise<PdRegion[]> {
    const wanted = ranges.filter((range) => !isEmptyRange(range));
    if (wanted.length === 0) return [];
    if (this.#support.hasBatchScan) {
      try {
        const reply = await this.#askRegion(PD.method.batchScanRegions, {
          header: this.#link.header,
          ranges: wanted.map((range) => {
            const { start, end } = this.#keys.encodeRegionRange(range);
            return { startKey: start, endKey: end };
          }),
          limit: Math.min(scan.limit ?? 0, MAX_INT32),
          needBuckets: scan.needBuckets === true,
          containAllKeyRange: scan.containAllKeyRange === true,
        }, call);
        return this.#regionsOf(reply.regions);
      } catch (error) {
        if (!isUnimplemented(error)) throw error;
        this.#support.hasBatchScan = false;
      }
    }
    return await this.#scanOneByOne(wanted, scan.limit ?? 0, call);
  }

  /** A store; undefined when it was removed or never existed. */
  async store(id: bigint, call: PdMetaCall): Promise<PdStore | undefined> {
    try {
      const request = { header: this.#link.header, storeId: id };
      const reply = await this.#link.call(PD.method.getStore, request, call);
      if (reply.store === undefined) return undefined;
      const store = readStore(reply.store);
      return store.state === "tombstone" ? undefined : store;
    } catch (error) {
      if (isStoreGone(error)) return undefined;
      throw error;
    }
  }

  /** All stores that were not removed. */
  async stores(call: PdMetaCall): Promise<PdStore[]> {
    const request = { header: this.#link.header, excludeTombstoneStores: true };
    const reply = await this.#link.call(PD.method.getAllStores, request, call);
    return reply.stores.map(readStore).filter(({ state }) => state !== "tombstone");
  }

  /** Splits regions at keys, and tells PD to move the new ones apart when `scatter` is set. */
  async splitRegions(
    keys: readonly Uint8Array[],
    call: PdMetaCall & { readonly scatter?: boolean | undefined; readonly group?: string | undefined },
  ): Promise<PdSplit> {
    // Trap 39: PD takes these keys as they are, so the call that scatters as well needs encoded
    // ones too. client-go does not encode them there.
    const splitKeys = keys.map((key) => this.#keys.encodeRegionKey(key));
    const long = { ...call, attemptTimeoutMs: call.attemptTimeoutMs ?? SPLIT_TIMEOUT_MS };
    const header = this.#link.header;
    const group = call.group ?? "";
    const reply = call.scatter === true
      ? await this.#link.call(PD.method.splitAndScatterRegions, {
        header,
        splitKeys,
        group,
        retryLimit: PD_RETRIES,
      }, long)
      : await this.#link.call(PD.method.splitRegions, { header, splitKeys, retryLimit: PD_RETRIES }, long);
    const percentage = "splitFinishedPercentage" in reply
      ? reply.splitFinishedPercentage
      : reply.finishedPercentage;
    return { finishedPercentage: Number(percentage), regionIds: reply.regionsId };
  }

  /** Tells PD to move regions apart, so that each store leads about as many of the group. */
  async scatterRegions(
    ids: readonly bigint[],
    call: PdMetaCall & { readonly group?: string | undefined },
  ): Promise<PdScatter> {
    if (ids.length === 0) return { finishedPercentage: 100, failedRegionIds: [] };
    const reply = await this.#link.call(PD.method.scatterRegion, {
      header: this.#link.header,
      regionsId: [...ids],
      group: call.group ?? "",
      retryLimit: PD_RETRIES,
    }, { ...call, attemptTimeoutMs: call.attemptTimeoutMs ?? SPLIT_TIMEOUT_MS });
    return { finishedPercentage: Number(reply.finishedPercentage), failedRegionIds: reply.failedRegionsId };
  }

  /** What PD does with a region, or did lately; undefined when it did nothing. */
  async operator(regionId: bigint, call: PdMetaCall): Promise<PdOperator | undefined> {
    try {
      const reply = await this.#link.call(
        PD.method.getOperator,
        { header: this.#link.header, regionId },
        call,
      );
      return {
        regionId,
        description: new TextDecoder().decode(reply.desc),
        kind: new TextDecoder().decode(reply.kind),
        status: STATUS[reply.status] ?? "running",
      };
    } catch (error) {
      if (error instanceof PdError && error.code === "REGION_NOT_FOUND") return undefined;
      throw error;
    }
  }

  #askRegion: PdLink["call"] = (method, request, call) =>
    this.#link.call(method, request, { ...call, allowFollower: true });

  #regionOf(reply: GetRegionResponse): PdRegion | undefined {
    return readRegion(reply, this.#keys);
  }

  #regionsOf(wire: Parameters<typeof readRegion>[0][]): PdRegion[] {
    return wire.map((one) => readRegion(one, this.#keys)).filter((region) => region !== undefined);
  }

  async #scanOneByOne(ranges: readonly KeyRange[], limit: number, call: PdMetaCall): Promise<PdRegion[]> {
    const regions: PdRegion[] = [];
    for (const range of ranges) {
      const left = limit === 0 ? 0 : limit - regions.length;
      if (limit > 0 && left <= 0) break;
      for (const region of await this.scanRegions(range, left, call)) {
        // A region that two ranges share comes at the end of one answer and the start of the next.
        if (regions.at(-1)?.id !== region.id) regions.push(region);
      }
    }
    return regions;
  }
}

/** Trap 48: PD tells a store that it never had by a text, one that was removed perhaps by a type. */
function isStoreGone(error: unknown): boolean {
  return isPdText(error, "store-not-found") || (error instanceof PdError && error.code === "STORE_TOMBSTONE");
}

const MAX_INT32 = 0x7fff_ffff;
/** PD answers when the regions have been split, which takes a Raft round in each. */
const SPLIT_TIMEOUT_MS = 30_000;
/** Rounds that PD may take for keys or regions that it could not do at once; it allows no more. */
const PD_RETRIES = 5n;
const STATUS: Readonly<Record<number, PdOperator["status"]>> = {
  0: "success",
  1: "timeout",
  2: "cancel",
  3: "replace",
  4: "running",
};

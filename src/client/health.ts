// SPDX-License-Identifier: Apache-2.0

import { type KeyRange, type RangeInput, toRange } from "../bytes/key_range.ts";
import type { ClientParts } from "./parts.ts";
import { CALL_NAMES, checkCallOptions } from "../options.ts";
import { runOperation } from "../plan/session.ts";
import { shardRange } from "../plan/shard.ts";
import type { CallOptions, StoreId } from "../types.ts";

/** Whether a server answers; `unknown` when it does, but not to the question. */
export type Liveness = "reachable" | "unreachable" | "unknown";

/** One store, as {@linkcode Health} tells of it. */
export interface StoreHealth {
  /** Identifies the store in the cluster. */
  readonly id: StoreId;
  /** `host:port` as PD hands it out. */
  readonly address: string;
  /** What PD says of it. */
  readonly state: string;
  /** What it says itself. */
  readonly liveness: Liveness;
}

/** What serves, and what the client holds. */
export interface Health {
  /** The placement driver. */
  readonly pd: {
    readonly isReachable: boolean;
    /** Name of the member that leads, when it is known. */
    readonly leader: string | undefined;
    readonly members: number;
    /** Why PD could not be asked. */
    readonly error: unknown;
  };
  /** Every store that was not removed; empty when PD could not be asked. */
  readonly stores: readonly StoreHealth[];
  /** How many regions the cache has. */
  readonly cachedRegions: number;
  /** Bytes of the cached regions, about. */
  readonly cachedRegionBytes: number;
}

/** Options of `warmUp()`. */
export interface WarmUpOptions extends CallOptions {
  /**
   * What to load.
   *
   * @default {[{}]} everything
   */
  readonly ranges?: Iterable<RangeInput> | undefined;
}

/** What `warmUp()` did. */
export interface WarmUp {
  /** Regions that the ranges have. */
  readonly regions: number;
  /** Stores that lead one of them and answered. */
  readonly stores: number;
}

/** How these calls are made. */
interface Call<O> {
  readonly options: O | undefined;
  readonly defaults: CallOptions;
}

/** Asks everybody at once. */
export async function checkHealth(
  parts: ClientParts,
  { options, defaults }: Call<CallOptions>,
): Promise<Health> {
  checkCallOptions(options);
  const { probe } = parts;
  const session = parts.anySession();
  const pd = parts.pd();
  return await runOperation(session, { name: "health", options, defaults }, async ({ deadline }) => {
    const { storeLivenessTimeoutMs, pdTimeoutMs } = session.settings;
    const ofPd = {
      timeoutMs: Math.max(1, Math.min(deadline.remainingMs(), pdTimeoutMs)),
      signal: deadline.signal,
    };
    const [members, stores] = await Promise.allSettled([pd.members(ofPd), pd.stores(ofPd)]);
    // The caller's abort and the end of the client are no news about the cluster.
    if (deadline.isAborted) throw deadline.signal?.reason;
    if (session.closing.aborted) throw session.closing.reason;
    const list = stores.status === "fulfilled" ? stores.value : [];
    const known = members.status === "fulfilled" ? members.value : [];
    return {
      pd: {
        isReachable: members.status === "fulfilled",
        leader: known.find((member) => member.isLeader)?.name,
        members: known.length,
        error: members.status === "rejected" ? members.reason : undefined,
      },
      stores: await Promise.all(list.map(async ({ id, address, state }) => ({
        id,
        address,
        state,
        liveness: await probe(address, deadline.within(storeLivenessTimeoutMs)),
      }))),
      cachedRegions: parts.regions().size,
      cachedRegionBytes: parts.regions().sizeBytes,
    };
  });
}

/** Loads the regions of ranges and connects to their leaders. */
export async function loadRegions(
  parts: ClientParts,
  { options, defaults }: Call<WarmUpOptions>,
): Promise<WarmUp> {
  checkCallOptions(options, WARM_UP_NAMES);
  const ranges = Array.from(options?.ranges ?? [{}], (range) => toRange(range));
  const { probe } = parts;
  const session = parts.anySession();
  const regions = parts.regions();
  return await runOperation(session, { name: "warmUp", options, defaults }, async (operation) => {
    const addresses = new Set<string>();
    let count = 0;
    const queue: KeyRange[] = ranges;
    for (let range = queue.pop(); range !== undefined; range = queue.pop()) {
      for (const part of await shardRange(range, regions, operation)) {
        if (part.region === undefined) {
          queue.push(part.range);
        } else {
          count++;
          addresses.add(part.region.leader.store.address);
        }
      }
    }
    const { storeLivenessTimeoutMs } = session.settings;
    const answers = await Promise.all(
      [...addresses].map((address) => probe(address, operation.deadline.within(storeLivenessTimeoutMs))),
    );
    return { regions: count, stores: answers.filter((answer) => answer !== "unreachable").length };
  });
}

const WARM_UP_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "ranges"]);

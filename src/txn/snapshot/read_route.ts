// SPDX-License-Identifier: Apache-2.0

import { nameOf } from "../../bytes/utf8.ts";
import { checkLabels, checkNumber } from "../../options.ts";
import type { ReadRoute } from "../../region/replica.ts";

/**
 * Which replicas of a region answer reads. All show the same data.
 *
 * - `"leader"`: the leader.
 * - `"follower"`: any but the leader, which answers in need.
 * - `"mixed"`: all alike.
 * - `"prefer-leader"`: the leader, unless its store is slow.
 * - `"learner"`: replicas that do not vote, if there are any.
 * - `"closest"`: those whose stores have all the `labels` of the client, the leader first if it is
 *   among them.
 */
export type ReplicaRead = "leader" | "follower" | "mixed" | "prefer-leader" | "learner" | "closest";

/** Options of reads that other replicas than the leader may answer. */
export interface ReplicaReadOptions {
  /**
   * Which replicas are asked first; the others are asked when those cannot answer. One that is not the
   * leader first asks the leader how far it has to be, which takes them a round trip. A function picks
   * for each request by how many keys it has, those of a scan at most.
   *
   * @default {"leader"} with a timestamp of the past `"closest"` or, without labels, `"mixed"`
   */
  readonly replicaRead?: ReplicaRead | ((keys: number) => ReplicaRead) | undefined;
  /**
   * Labels of the stores that are asked first, of those that suit `replicaRead`; all have to match.
   *
   * @default with `"closest"` the `labels` of the client
   */
  readonly matchLabels?: Readonly<Record<string, string>> | undefined;
  /** Ids of the stores that are asked first, of those that suit `replicaRead`. */
  readonly matchStores?: readonly bigint[] | undefined;
  /**
   * The longest that a read should have to wait for its turn in a store. One that is busier refuses,
   * and a replica that is not is asked; when all are, the read waits.
   *
   * @default {0} however long it takes
   */
  readonly busyThresholdMs?: number | undefined;
}

/** A request of a read. */
export interface RoutedRequest {
  /** Keys that it may return. */
  readonly keys: number;
  /** The read has met a lock before. */
  readonly hasMetLock: boolean;
}

/** Where the requests of reads go. */
export interface Routes {
  /** Replicas answer by themselves, without asking their leader. */
  readonly isStale: boolean;
  /** Labels of the stores that come first. */
  readonly labels: ReadonlyMap<string, string>;
  /** Where a request goes; undefined when that is the leader anyway. */
  readonly of: (request: RoutedRequest) => ReadRoute | undefined;
}

/** Names of {@linkcode ReplicaReadOptions}. */
export const ROUTE_NAMES = [
  "replicaRead",
  "matchLabels",
  "matchStores",
  "busyThresholdMs",
] as const satisfies readonly (keyof ReplicaReadOptions)[];

/** Checks options; undefined where all reads go to the leader. */
export function checkRoutes(
  options: ReplicaReadOptions,
  { isStale, labels }: { readonly isStale: boolean; readonly labels: ReadonlyMap<string, string> },
): Routes | undefined {
  const own = checkLabels("matchLabels", options.matchLabels);
  const near = new Map([...labels, ...own]);
  const shared = {
    storeIds: checkStores(options.matchStores ?? []),
    busyThresholdMs: checkNumber("busyThresholdMs", options.busyThresholdMs ?? 0, THRESHOLD_RULE),
  };
  const { replicaRead = !isStale ? "leader" : near.size > 0 ? "closest" : "mixed" } = options;
  const routeTo = (replicas: ReplicaRead): ReadRoute | undefined => {
    const mode = checkReplicas(replicas);
    if (mode === "closest" && near.size === 0) {
      throw new TypeError('Cannot use "closest": expected the client to have "labels", or "matchLabels"');
    }
    if (mode === "leader" && shared.busyThresholdMs === 0) return undefined;
    return mode === "closest"
      ? { ...shared, mode: "mixed", isStale, labels: near }
      : { ...shared, mode, isStale: isStale && mode !== "leader", labels: own };
  };
  if (typeof replicaRead === "function") {
    return { isStale, labels: near, of: (request) => pastLock(routeTo(replicaRead(request.keys)), request) };
  }
  const route = routeTo(replicaRead);
  if (route !== undefined) {
    return { isStale: route.isStale, labels: route.labels, of: (request) => pastLock(route, request) };
  }
  if (own.size + shared.storeIds.size === 0) return undefined;
  throw new TypeError('Cannot use "matchLabels" or "matchStores" with "leader": expected "replicaRead"');
}

// What became of a lock may not have come to a replica that does not ask its leader: the leader knows.
function pastLock(route: ReadRoute | undefined, { hasMetLock }: RoutedRequest): ReadRoute | undefined {
  return hasMetLock && route?.isStale === true ? undefined : route;
}

function checkReplicas(value: unknown): ReplicaRead {
  if (typeof value !== "string") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "replicaRead": expected a string or a function`);
  }
  const found = REPLICAS.find((one) => one === value);
  if (found !== undefined) return found;
  const wanted = REPLICAS.map((one) => `"${one}"`).join(", ");
  throw new RangeError(`Cannot use "${value}" as "replicaRead": expected one of ${wanted}`);
}

function checkStores(ids: readonly bigint[]): ReadonlySet<bigint> {
  if (!Array.isArray(ids)) {
    throw new TypeError(`Cannot use ${nameOf(ids)} as "matchStores": expected an array`);
  }
  for (const id of ids) {
    if (typeof id !== "bigint") {
      throw new TypeError(`Cannot use ${nameOf(id)} in "matchStores": expected bigints`);
    }
  }
  return new Set(ids);
}

const REPLICAS = [
  "leader",
  "follower",
  "mixed",
  "prefer-leader",
  "learner",
  "closest",
] as const satisfies readonly ReplicaRead[];

// The wire has 32 bits for it.
const THRESHOLD_RULE = { min: 0, max: 0xffff_ffff, isWhole: true };

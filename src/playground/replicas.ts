// SPDX-License-Identifier: Apache-2.0
// How far replicas are, and what that means for reads that come to one that does not lead.
// All stores share their data, so that a replica that is behind shows in when it answers and up to
// which timestamp, not in what it finds: what a read at a safe timestamp sees is the same everywhere.

import type { Context } from "../../gen/kvrpcpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import type { Cluster, StoreState } from "./cluster.ts";
import { RegionRefusal } from "./region_check.ts";
import type { Region } from "./regions.ts";
import { peerOn } from "./regions.ts";
import type { SortedRange } from "./sorted_map.ts";

/** How far the replicas of a store are behind their leaders. */
export interface Lag {
  /** Infinity: they stand still. */
  readonly ms: number;
  /** When it began, and what they had by then. */
  readonly sinceMs: number;
  readonly sinceTs: bigint;
}

/** What a read of a replica is asked for. */
export interface ReplicaRead {
  readonly region: Region;
  readonly storeId: bigint;
  readonly ts: bigint;
  readonly context: Context | undefined;
}

/** Puts the replicas on a store behind their leaders, or lets them catch up with 0. */
export function setLag(cluster: Cluster, storeId: bigint, ms: number): void {
  const sinceMs = cluster.environment.clock.now();
  const { oracle } = cluster;
  const now = oracle.physicalMs() << 18n;
  const sinceTs = now > oracle.current() ? now : oracle.current();
  cluster.storeOf(storeId).lag = ms === 0 ? undefined : { ms, sinceMs, sinceTs };
}

/** The largest timestamp at which the replica of a region on a store has everything. */
export function safeTsOf(cluster: Cluster, region: Region, storeId: bigint): bigint {
  const safeTs = resolve(cluster, region);
  const lag = cluster.stores.get(storeId)?.lag;
  if (lag === undefined || region.leader?.storeId === storeId) return safeTs;
  const then = lag.ms === Infinity ? 0n : (cluster.oracle.physicalMs() - BigInt(Math.ceil(lag.ms))) << 18n;
  const known = then > lag.sinceTs ? then : lag.sinceTs;
  return known < safeTs ? known : safeTs;
}

/** Takes down how far the leaders on a store have got, before they are lost. */
export function noteSafeTs(cluster: Cluster, storeId: bigint): void {
  for (const region of cluster.regions.all()) {
    if (region.leader?.storeId === storeId) resolve(cluster, region);
  }
}

/** The smallest of these of a store, over its regions that have keys of the range; 0 if there are none. */
export function storeSafeTs(cluster: Cluster, storeId: bigint, range: SortedRange): bigint {
  const safe = cluster.regions.all()
    .filter((region) => peerOn(region, storeId) !== undefined && overlaps(region, range))
    .map((region) => safeTsOf(cluster, region, storeId));
  return safe.reduce((least, ts) => least === 0n || ts < least ? ts : least, 0n);
}

/**
 * Lets a read of a replica that does not lead go on once the replica is as far as its leader was when
 * it came; throws what it is refused with. Returns nothing when there is nothing to wait for.
 */
export function admitReplicaRead(cluster: Cluster, read: ReplicaRead): Promise<void> | undefined {
  const { region, storeId, ts, context } = read;
  if (context?.replicaRead !== true || context.staleRead || region.leader?.storeId === storeId) {
    return undefined;
  }
  // It need not ask for what it is certain to have.
  if (ts !== 0n && ts <= safeTsOf(cluster, region, storeId)) return undefined;
  const store = cluster.stores.get(storeId);
  if (store?.isFull === true) {
    const reason = "reject follower read request when self disk is full";
    throw new RegionRefusal({ message: reason, diskFull: { storeId: [storeId], reason } });
  }
  assertLeader(region);
  const askedAt = cluster.environment.clock.now();
  return isReady(cluster, read, askedAt) ? undefined : waitUntilReady(cluster, read, askedAt);
}

/** The leader has answered, and the replica has what the leader had then. */
function isReady(cluster: Cluster, { region, storeId }: ReplicaRead, askedAt: number): boolean {
  const leader = cluster.regions.byId(region.id)?.leader;
  if (leader === undefined || cluster.stores.get(leader.storeId)?.isRunning !== true) return false;
  return appliedMs(cluster, cluster.stores.get(storeId)) >= askedAt;
}

function appliedMs(cluster: Cluster, store: StoreState | undefined): number {
  const now = cluster.environment.clock.now();
  return store?.lag === undefined ? now : Math.max(store.lag.sinceMs, now - store.lag.ms);
}

// The replica asks again as long as its leader does not answer, and gives up when the client has.
async function waitUntilReady(cluster: Cluster, read: ReplicaRead, askedAt: number): Promise<void> {
  const { clock } = cluster.environment;
  const limitMs = Number(read.context?.maxExecutionDurationMs ?? 0);
  const until = askedAt + (limitMs === 0 ? DEFAULT_LIMIT_MS : limitMs);
  while (!isReady(cluster, read, askedAt)) {
    const leftMs = until - clock.now();
    if (leftMs <= 0) {
      throw new RegionRefusal({
        message: "Deadline is exceeded",
        serverIsBusy: { reason: "deadline is exceeded" },
      });
    }
    await new Promise<void>((resolve) => cluster.after(Math.min(leftMs, ASK_AGAIN_MS), resolve));
    assertLeader(cluster.regions.byId(read.region.id) ?? read.region);
  }
}

// Nobody tells how far to be, nor who leads.
function assertLeader(region: Region): void {
  if (region.leader !== undefined) return;
  throw new RegionRefusal({
    message: `peer is not leader for region ${region.id}, leader may None`,
    notLeader: { regionId: region.id },
  });
}

/**
 * Only a leader gets on with it: it makes sure that whatever commits from now on is later, which it
 * tells the others with the timestamp. It never goes back.
 */
function resolve(cluster: Cluster, region: Region): bigint {
  const { mvcc, safeTs } = cluster;
  const before = safeTs.get(region.id) ?? 0n;
  const leaderId = region.leader?.storeId;
  if (leaderId === undefined || cluster.stores.get(leaderId)?.isRunning !== true) return before;
  const resolved = mvcc.resolvedTs(region);
  mvcc.raiseMaxTs(leaderId, resolved);
  const known = resolved > before ? resolved : before;
  safeTs.set(region.id, known);
  return known;
}

function overlaps(region: Region, { start, end }: SortedRange): boolean {
  const isBefore = region.end.length > 0 && compareBytes(region.end, start) <= 0;
  return !isBefore && (end.length === 0 || compareBytes(region.start, end) < 0);
}

const ASK_AGAIN_MS = 100;
// `max_read_duration` of TiKV.
const DEFAULT_LIMIT_MS = 60_000;

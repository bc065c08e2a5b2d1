// SPDX-License-Identifier: Apache-2.0
// What PD knows about regions, and what it can be asked to do with them.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { RegionResponseSchema, RegionSchema as PdRegionSchema } from "../../gen/pdpb_pb.ts";
import {
  BatchScanRegionsResponseSchema,
  ErrorType,
  GetOperatorResponseSchema,
  GetRegionResponseSchema,
  OperatorStatus,
  PD,
  QueryRegionResponseSchema,
  ScanRegionsResponseSchema,
  ScatterRegionResponseSchema,
  SplitAndScatterRegionsResponseSchema,
  SplitRegionsResponseSchema,
} from "../../gen/pdpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import { compareEnds } from "../bytes/key_range.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import type { Cluster } from "./cluster.ts";
import { checkCluster, errorHeader, okHeader, pdStream, pdUnary } from "./pd_service.ts";
import type { PdScope } from "./pd_service.ts";
import { peerMessage, regionMessage } from "./region_check.ts";
import type { Region } from "./regions.ts";
import { indexOfKey, peerOn, regionsIn } from "./regions.ts";
import type { ServiceTable } from "./service_table.ts";
import { CallStatus } from "./service_table.ts";
import type { SortedRange } from "./sorted_map.ts";

/** Adds the methods about regions to the service of a member. */
export function addRegionMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { method } = PD;
  const one = (region: Region | undefined, isFollower: boolean) => {
    if (region === undefined && isFollower) {
      return create(GetRegionResponseSchema, {
        header: errorHeader(cluster, ErrorType.REGION_NOT_FOUND, "region not found"),
      });
    }
    return create(GetRegionResponseSchema, {
      header: okHeader(cluster),
      ...(region === undefined ? {} : pdRegion(cluster, region)),
    });
  };

  pdUnary(table, scope, method.getRegion, {
    role: "leader-or-follower",
    handler: ({ regionKey }, { isFollower }) => one(regionAt(cluster, regionKey), isFollower),
  });
  pdUnary(table, scope, method.getPrevRegion, {
    role: "leader-or-follower",
    handler: ({ regionKey }, { isFollower }) => one(regionBefore(cluster, regionKey), isFollower),
  });
  pdUnary(table, scope, method.getRegionByID, {
    role: "leader-or-follower",
    handler: ({ regionId }, { isFollower }) => one(regionOfId(cluster, regionId), isFollower),
  });
  pdUnary(table, scope, method.scanRegions, {
    role: "leader-or-follower",
    handler: ({ startKey, endKey, limit }) => {
      const regions = regionsIn(cluster.knownRegions, { start: startKey, end: endKey }, limit);
      return create(ScanRegionsResponseSchema, {
        header: okHeader(cluster),
        regionMetas: regions.map(regionMessage),
        // An empty peer stands for no leader, so that both lists stay aligned.
        leaders: regions.map(({ reportedLeader: leader }) => leader === undefined ? {} : peerMessage(leader)),
        regions: regions.map((region) => pdRegion(cluster, region)),
      });
    },
  });
  pdUnary(table, scope, method.batchScanRegions, {
    role: "leader-or-follower",
    handler: ({ ranges, limit }) => {
      const regions = scanRanges(
        cluster.knownRegions,
        ranges.map(({ startKey, endKey }) => ({ start: startKey, end: endKey })),
        limit,
      );
      return create(BatchScanRegionsResponseSchema, {
        header: okHeader(cluster),
        regions: regions.map((region) => pdRegion(cluster, region)),
      });
    },
  });

  pdStream(table, scope, method.queryRegion, (_call) => (request) => {
    checkCluster(cluster, request.header);
    const regionsById: Record<string, MessageInitShape<typeof RegionResponseSchema>> = {};
    const idOf = (region: Region | undefined): bigint => {
      if (region === undefined) return 0n;
      regionsById[String(region.id)] = pdRegion(cluster, region);
      return region.id;
    };
    const keyIdMap = request.keys.map((key) => idOf(regionAt(cluster, key)));
    const prevKeyIdMap = request.prevKeys.map((key) => idOf(regionBefore(cluster, key)));
    for (const id of request.ids) if (id !== 0n) idOf(regionOfId(cluster, id));
    return create(QueryRegionResponseSchema, {
      header: okHeader(cluster),
      keyIdMap,
      prevKeyIdMap,
      regionsById,
    });
  });

  pdUnary(table, scope, method.splitRegions, {
    role: "leader",
    handler: ({ splitKeys }) => {
      const { ids, percentage } = splitAt(cluster, splitKeys);
      return create(SplitRegionsResponseSchema, {
        header: okHeader(cluster),
        finishedPercentage: percentage,
        regionsId: ids,
      });
    },
  });
  pdUnary(table, scope, method.splitAndScatterRegions, {
    role: "leader",
    handler: ({ splitKeys }) => {
      const { ids, percentage } = splitAt(cluster, splitKeys);
      const failed = scatterAll(cluster, ids);
      return create(SplitAndScatterRegionsResponseSchema, {
        header: okHeader(cluster),
        splitFinishedPercentage: percentage,
        scatterFinishedPercentage: percentageOf(ids.length - failed.length, ids.length),
        regionsId: ids,
      });
    },
  });
  pdUnary(table, scope, method.scatterRegion, {
    role: "leader",
    handler: (request) => {
      const ids = request.regionsId;
      if (ids.length === 0) {
        // The old form, with one region.
        if (scatter(cluster, [request.regionId]).length > 0) {
          const header = errorHeader(cluster, ErrorType.REGION_NOT_FOUND, "region %d not found");
          return create(ScatterRegionResponseSchema, { header });
        }
        return create(ScatterRegionResponseSchema, { header: okHeader(cluster), finishedPercentage: 100n });
      }
      const failed = scatterAll(cluster, ids);
      return create(ScatterRegionResponseSchema, {
        header: okHeader(cluster),
        finishedPercentage: percentageOf(ids.length - failed.length, ids.length),
        failedRegionsId: failed,
      });
    },
  });
  pdUnary(table, scope, method.getOperator, {
    role: "leader",
    handler: ({ regionId }) => {
      if (!cluster.scattered.has(regionId)) {
        const header = errorHeader(cluster, ErrorType.REGION_NOT_FOUND, "Not Found");
        return create(GetOperatorResponseSchema, { header });
      }
      return create(GetOperatorResponseSchema, {
        header: okHeader(cluster),
        regionId,
        desc: new TextEncoder().encode("scatter-region"),
        kind: new TextEncoder().encode("leader,region"),
        status: OperatorStatus.SUCCESS,
      });
    },
  });
}

function regionAt(cluster: Cluster, key: Uint8Array): Region | undefined {
  const regions = cluster.knownRegions;
  return regions[indexOfKey(regions, key)];
}

function regionBefore(cluster: Cluster, key: Uint8Array): Region | undefined {
  const regions = cluster.knownRegions;
  return regions[indexOfKey(regions, key) - 1];
}

function regionOfId(cluster: Cluster, id: bigint): Region | undefined {
  if (cluster.knownRegions === cluster.regions.all()) return cluster.regions.byId(id);
  return cluster.knownRegions.find((region) => region.id === id);
}

function pdRegion(
  cluster: Cluster,
  region: Region,
): MessageInitShape<typeof PdRegionSchema> & MessageInitShape<typeof RegionResponseSchema> {
  const down = region.peers.filter(({ storeId }) => cluster.stores.get(storeId)?.isReportedDown === true);
  return {
    region: regionMessage(region),
    ...(region.reportedLeader === undefined ? {} : { leader: peerMessage(region.reportedLeader) }),
    downPeers: down.map((peer) => ({ peer: peerMessage(peer), downSeconds: DOWN_SECONDS })),
  };
}

/** After this long without a heartbeat a peer is reported as down (`max-peer-down-duration`). */
const DOWN_SECONDS = 600n;

/** Scans ranges one after the other; those that overlap or touch count as one. */
function scanRanges(
  regions: readonly Region[],
  ranges: readonly SortedRange[],
  limit: number,
): readonly Region[] {
  const merged: SortedRange[] = [];
  for (const range of [...ranges].sort((a, b) => compareBytes(a.start, b.start))) {
    const last = merged.at(-1);
    const touches = last !== undefined && (last.end.length === 0 || compareBytes(last.end, range.start) >= 0);
    if (!touches) merged.push(range);
    else merged[merged.length - 1] = { start: last.start, end: laterEnd(last.end, range.end) };
  }
  const found: Region[] = [];
  for (const range of merged) {
    const part = regionsIn(regions, range, limit);
    found.push(...part[0]?.id === found.at(-1)?.id ? part.slice(1) : part);
    if (limit > 0 && found.length >= limit) return found.slice(0, limit);
  }
  return found;
}

function laterEnd(a: Uint8Array, b: Uint8Array): Uint8Array {
  return compareEnds(a, b) >= 0 ? a : b;
}

/** Splits wherever that is possible; the new regions are those that begin at a key. */
function splitAt(cluster: Cluster, keys: readonly Uint8Array[]): { ids: bigint[]; percentage: bigint } {
  const ids: bigint[] = [];
  for (const key of keys) {
    if (key.length === 0) continue;
    const region = cluster.regions.byKey(key);
    if (compareBytes(region.start, key) !== 0) cluster.regions.split(region.id, [key]);
    ids.push(cluster.regions.byKey(key).id);
  }
  return { ids, percentage: percentageOf(ids.length, keys.length) };
}

/** Spreads the leaders over the stores in turn. Returns the ids that are no regions. */
function scatter(cluster: Cluster, ids: readonly bigint[]): bigint[] {
  const failed: bigint[] = [];
  const running = [...cluster.stores.values()].filter((store) => store.isRunning).map((store) => store.id);
  ids.forEach((id, index) => {
    const region = cluster.regions.byId(id);
    if (region === undefined) return failed.push(id);
    const candidates = running.filter((storeId) => peerOn(region, storeId)?.role === "voter");
    const target = candidates[index % Math.max(1, candidates.length)];
    if (target !== undefined) cluster.regions.setLeader(id, target);
    return cluster.scattered.add(id);
  });
  return failed;
}

/** Scatters several regions; with nothing to do the call fails as a whole (`ScatterRegionsByID`). */
function scatterAll(cluster: Cluster, ids: readonly bigint[]): bigint[] {
  const failed = scatter(cluster, ids);
  if (failed.length < ids.length) return failed;
  throw new CallStatus(GRPC.UNKNOWN, ids.length === 1 ? "region not found" : "empty region");
}

function percentageOf(done: number, all: number): bigint {
  return all === 0 ? 0n : BigInt(Math.floor((100 * done) / all));
}

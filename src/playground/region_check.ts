// SPDX-License-Identifier: Apache-2.0
// The checks that a store makes on the Context of a request, in TiKV's order
// (`pre_propose_raft_command` and the checks of `raftstore/src/store/util.rs`).

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Error as RegionErrorMessage } from "../../gen/errorpb_pb.ts";
import { ErrorSchema } from "../../gen/errorpb_pb.ts";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import type { RegionSchema } from "../../gen/metapb_pb.ts";
import { PeerRole } from "../../gen/metapb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import { compareEnds, contains } from "../bytes/key_range.ts";
import { hex } from "../bytes/hex.ts";
import type { Cluster } from "./cluster.ts";
import type { RegionErrorInit } from "./faults.ts";
import type { Peer, Region } from "./regions.ts";
import { peerOn } from "./regions.ts";
import type { SortedRange } from "./sorted_map.ts";

/** A request that a store refuses with a region error. */
export class RegionRefusal extends Error {
  readonly error: RegionErrorMessage;

  constructor(error: RegionErrorInit) {
    super(error.message ?? "region error");
    this.name = "RegionRefusal";
    this.error = create(ErrorSchema, error);
  }
}

/** What a request wants to do, as far as the checks care. */
export interface RegionAccess {
  readonly isWrite: boolean;
}

/** TiKV attaches at most this many regions to the answer to a stale epoch. */
const MAX_REGIONS_IN_ERROR = 10;

/** Returns the region that the request may use on this store, or throws {@linkcode RegionRefusal}. */
export function checkRegion(
  cluster: Cluster,
  storeId: bigint,
  context: Context | undefined,
  access: RegionAccess,
): Region {
  const wantedStoreId = context?.peer?.storeId ?? 0n;
  if (wantedStoreId !== storeId) {
    throw new RegionRefusal({
      message: `to store id ${wantedStoreId}, mine ${storeId}`,
      storeNotMatch: { requestStoreId: wantedStoreId, actualStoreId: storeId },
    });
  }
  const regionId = context?.regionId ?? 0n;
  const region = cluster.regions.byId(regionId);
  const peer = region === undefined ? undefined : peerOn(region, storeId);
  if (region === undefined || peer === undefined) {
    throw new RegionRefusal({ message: `region ${regionId} not found`, regionNotFound: { regionId } });
  }
  const requestPeerId = context?.peer?.id ?? 0n;
  if (requestPeerId !== peer.id) {
    throw new RegionRefusal({
      message: `mismatch peer id ${requestPeerId} != ${peer.id}`,
      mismatchPeerId: { requestPeerId, storePeerId: peer.id },
    });
  }
  const readsReplica = !access.isWrite && (context?.replicaRead === true || context?.staleRead === true);
  if (region.leader?.id !== peer.id && !readsReplica) throw notLeader(region);
  const term = context?.term ?? 0n;
  if (term !== 0n && region.term > term + 1n) {
    throw new RegionRefusal({ message: "stale command", staleCommand: {} });
  }
  checkEpoch(cluster, storeId, region, context);
  if (access.isWrite && cluster.stores.get(storeId)?.isFull === true) {
    const reason =
      "propose failed: tikv disk full, cmd diskFullOpt=AllowedOnAlmostFull, leader diskUsage=AlreadyFull";
    throw new RegionRefusal({
      message: `store ids [${storeId}], errmsg ${reason}`,
      diskFull: { storeId: [storeId], reason },
    });
  }
  return region;
}

/** Refuses a key that is not in the region. */
export function checkKeyInRegion(region: Region, key: Uint8Array): void {
  if (!contains(region, key)) throw keyNotInRegion(region, key);
}

/** Refuses the place where a scan begins when the region neither has it nor ends there. */
export function checkSeekInRegion(region: Region, key: Uint8Array): void {
  const isBefore = compareBytes(key, region.start) < 0;
  if (isBefore || (region.end.length > 0 && compareBytes(key, region.end) > 0)) {
    throw keyNotInRegion(region, key);
  }
}

/** Refuses a range to delete that leaves the region. */
export function checkRangeInRegion(region: Region, range: SortedRange): void {
  checkKeyInRegion(region, range.start);
  if (compareEnds(range.end, region.end) > 0) throw keyNotInRegion(region, range.end);
}

/** Refuses a write that does not fit in one entry of the raft log. */
export function checkEntrySize(cluster: Cluster, region: Region, entryBytes: number): void {
  if (entryBytes <= cluster.limits.maxEntryBytes) return;
  const entrySize = BigInt(entryBytes);
  throw new RegionRefusal({
    message: `raft entry is too large, region ${region.id}, entry size ${entrySize}`,
    raftEntryTooLarge: { regionId: region.id, entrySize },
  });
}

/** A region as the protocol shows it. */
export function regionMessage(region: Region): MessageInitShape<typeof RegionSchema> {
  return {
    id: region.id,
    startKey: region.start,
    endKey: region.end,
    regionEpoch: { confVer: region.confVer, version: region.version },
    peers: region.peers.map(peerMessage),
  };
}

/** A peer as the protocol shows it. */
export function peerMessage(peer: Peer): { id: bigint; storeId: bigint; role: PeerRole } {
  const role = peer.role === "learner" ? PeerRole.Learner : PeerRole.Voter;
  return { id: peer.id, storeId: peer.storeId, role };
}

function notLeader(region: Region): RegionRefusal {
  const { leader } = region;
  const shown = leader === undefined ? "None" : `Some(id: ${leader.id} store_id: ${leader.storeId})`;
  return new RegionRefusal({
    message: `peer is not leader for region ${region.id}, leader may ${shown}`,
    notLeader: leader === undefined
      ? { regionId: region.id }
      : { regionId: region.id, leader: peerMessage(leader) },
  });
}

function keyNotInRegion(region: Region, key: Uint8Array): RegionRefusal {
  const range = `[${hex(region.start)}, ${hex(region.end)})`.toUpperCase();
  return new RegionRefusal({
    message: `key ${hex(key).toUpperCase()} is not in region key range ${range} for region ${region.id}`,
    keyNotInRegion: { key, regionId: region.id, startKey: region.start, endKey: region.end },
  });
}

/** Data requests are only checked for the bounds (version), not for the peers (conf_ver). */
function checkEpoch(
  cluster: Cluster,
  storeId: bigint,
  region: Region,
  context: Context | undefined,
): void {
  const epoch = context?.regionEpoch;
  if (epoch === undefined) throw new RegionRefusal({ message: `"missing epoch!"` });
  if (epoch.version === region.version) return;
  const current = `conf_ver: ${region.confVer} version: ${region.version}`;
  const sent = `conf_ver: ${epoch.confVer} version: ${epoch.version}`;
  const regions = [region, ...siblingsOf(cluster, storeId, region, epoch.version)];
  throw new RegionRefusal({
    message: `EpochNotMatch current epoch of region ${region.id} is ${current}, but you sent ${sent}`,
    epochNotMatch: { currentRegions: regions.map(regionMessage) },
  });
}

/**
 * The regions to the left that may have been split off since the version that the request knows
 * (`collect_sibling_region` in TiKV's `fsm/peer.rs`, for right-derived splits).
 */
function siblingsOf(cluster: Cluster, storeId: bigint, region: Region, requested: bigint): Region[] {
  let maxVersion = region.version;
  if (requested >= maxVersion) return [];
  let missing = maxVersion - requested;
  const onStore = cluster.regions.all().filter((other) => peerOn(other, storeId) !== undefined);
  const siblings: Region[] = [];
  for (let i = onStore.indexOf(region) - 1; i >= 0 && siblings.length < MAX_REGIONS_IN_ERROR; i--) {
    const other = onStore[i];
    if (other === undefined) break;
    missing -= 1n;
    if (other.version >= maxVersion) {
      missing += other.version - maxVersion;
      maxVersion = other.version;
    }
    siblings.push(other);
    if (missing === 0n) break;
  }
  return siblings;
}

// SPDX-License-Identifier: Apache-2.0

import type { Buckets, Peer, Region, Store } from "../../gen/metapb_pb.ts";
import { NodeState, PeerRole, StoreState } from "../../gen/metapb_pb.ts";
import type { PeerStats } from "../../gen/pdpb_pb.ts";
import type { ApiKeyCodec } from "../codec/keyspace.ts";
import { TikvError } from "../errors.ts";

/** Part of a region's Raft group. */
export interface PdPeer {
  /** Never used for another peer. */
  readonly id: bigint;
  /** The store that has it. */
  readonly storeId: bigint;
  /** What it does in votes; the last two while the peers of the region change. */
  readonly role: "voter" | "learner" | "incoming-voter" | "demoting-voter";
  /** It votes but holds no data. */
  readonly isWitness: boolean;
}

/** A region as PD knows it. */
export interface PdRegion {
  /** Of the two parts of a split, one keeps it. */
  readonly id: bigint;
  /** Counts changes of the peers. */
  readonly confVer: bigint;
  /** Counts splits and merges. */
  readonly version: bigint;
  /** The first key, as the user of the client knows it. */
  readonly start: Uint8Array;
  /** The first key after the region; empty when it is the last one of the keys that are seen. */
  readonly end: Uint8Array;
  /** All of its peers. */
  readonly peers: readonly PdPeer[];
  /** The peer that led when PD heard of the region last; undefined when it does not know. */
  readonly leader?: PdPeer | undefined;
  /** Ids of the peers that PD has not heard of for long. */
  readonly downPeers: readonly bigint[];
  /** Ids of the peers that are behind in the log. */
  readonly pendingPeers: readonly bigint[];
  /** Keys that cut the region into pieces of about the same size. */
  readonly buckets?: { readonly version: bigint; readonly keys: readonly Uint8Array[] } | undefined;
}

/** A store as PD knows it. */
export interface PdStore {
  /** Stays the same when the store moves to another address. */
  readonly id: bigint;
  /** `host:port` at which it serves clients, as it advertises it. */
  readonly address: string;
  /** `"offline"`: its data is being moved away. `"tombstone"`: it was removed. */
  readonly state: "up" | "offline" | "tombstone";
  /** Where it is, such as `zone` and `host`. */
  readonly labels: ReadonlyMap<string, string>;
  /** Version of its program, such as `"8.5.0"`. */
  readonly version: string;
  /** Where it serves its status over HTTP; empty when it does not say. */
  readonly statusAddress: string;
  /** Where the other stores reach it; empty when it is `address`. */
  readonly peerAddress: string;
}

/** A region in any of the shapes in which PD sends it. */
export interface WireRegion {
  readonly region?: Region | undefined;
  readonly leader?: Peer | undefined;
  readonly downPeers: readonly PeerStats[];
  readonly pendingPeers: readonly Peer[];
  readonly buckets?: Buckets | undefined;
}

/**
 * Reads a region. Undefined when PD sent none, or one that has no key of the codec's keyspace.
 * Borders that the codec cannot read are an error; asking again would not change them.
 */
export function readRegion(wire: WireRegion, keys: ApiKeyCodec): PdRegion | undefined {
  const { region, leader, buckets } = wire;
  if (region === undefined) return undefined;
  const range = decodeBorders(region, keys);
  if (range === undefined) return undefined;
  return {
    id: region.id,
    confVer: region.regionEpoch?.confVer ?? 0n,
    version: region.regionEpoch?.version ?? 0n,
    // Copies: the message they come in holds a whole page of regions.
    start: range.start.slice(),
    end: range.end.slice(),
    peers: region.peers.map(readPeer),
    // PD sends an empty peer for a region whose leader it does not know.
    leader: leader === undefined || leader.id === 0n ? undefined : readPeer(leader),
    downPeers: wire.downPeers.map(({ peer }) => peer?.id ?? 0n).filter((id) => id !== 0n),
    pendingPeers: wire.pendingPeers.map(({ id }) => id),
    buckets: buckets === undefined || buckets.keys.length === 0 ? undefined : {
      version: buckets.version,
      keys: keys.decodeBucketKeys(buckets.keys).map((key) => key.slice()),
    },
  };
}

/** Reads a store. */
export function readStore(store: Store): PdStore {
  return {
    id: store.id,
    address: store.address,
    state: stateOf(store),
    labels: new Map(store.labels.map(({ key, value }) => [key, value])),
    version: store.version,
    statusAddress: store.statusAddress,
    peerAddress: store.peerAddress,
  };
}

function stateOf(store: Store): PdStore["state"] {
  if (store.state === StoreState.Tombstone || store.nodeState === NodeState.Removed) return "tombstone";
  return store.state === StoreState.Offline || store.nodeState === NodeState.Removing ? "offline" : "up";
}

function decodeBorders(
  region: Region,
  keys: ApiKeyCodec,
): { start: Uint8Array; end: Uint8Array } | undefined {
  try {
    return keys.decodeRegionRange({ start: region.startKey, end: region.endKey });
  } catch (cause) {
    if (!TikvError.is(cause)) throw cause;
    const what = `Cannot read the borders of region ${region.id}: ${cause.message}`;
    if (keys.apiVersion === "v1" && keys.mode === "txn") {
      // Trap 38: raw data cuts regions at plain keys, transactional data at encoded ones.
      const advice = "raw and transactional data were mixed in one cluster of API version 1";
      throw new TikvError("mixed-mode", `${what}; ${advice}`, { cause, context: { regionId: region.id } });
    }
    throw new TikvError("codec", what, { cause, context: { regionId: region.id } });
  }
}

function readPeer(peer: Peer): PdPeer {
  return {
    id: peer.id,
    storeId: peer.storeId,
    role: ROLES[peer.role] ?? "voter",
    isWitness: peer.isWitness,
  };
}

const ROLES: Readonly<Record<number, PdPeer["role"]>> = {
  [PeerRole.Voter]: "voter",
  [PeerRole.Learner]: "learner",
  [PeerRole.IncomingVoter]: "incoming-voter",
  [PeerRole.DemotingVoter]: "demoting-voter",
};

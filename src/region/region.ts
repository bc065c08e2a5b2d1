// SPDX-License-Identifier: Apache-2.0

import { compareBytes } from "../bytes/compare.ts";
import type { KeyRange } from "../bytes/key_range.ts";
import { contains, containsByEnd } from "../bytes/key_range.ts";
import type { BucketsMeta, PeerMeta, RegionMeta } from "./meta.ts";
import type { ReadKind } from "./replica.ts";
import type { CachedStore } from "./store.ts";

/** Why a cached region is not used any more. */
export type InvalidReason =
  | "no-leader"
  | "region-not-found"
  | "epoch-not-match"
  | "store-not-found"
  | "other";

/**
 * Whether a region that still serves has to be loaded again.
 *
 * - `none`: no.
 * - `on-access`: the next lookup loads it, and keeps this one if that fails.
 * - `delayed`: as `on-access`, but only after the next round of the cache's sweep.
 */
export type Reload = "none" | "on-access" | "delayed";

/** A replica of a region that requests can be sent to. */
export interface RegionPeer {
  readonly id: bigint;
  readonly storeId: bigint;
  readonly role: PeerMeta["role"];
  readonly isWitness: boolean;
  readonly store: CachedStore;
  /** The store's epoch when this was loaded; the peer is stale when the store has another one. */
  storeEpoch: number;
  /** Encoded parts of a request's context that depend on region and peer only; see `send.ts`. */
  context: PeerContext | undefined;
}

/** Cached bytes of request contexts for one peer. */
export interface PeerContext {
  /** The part that is the same in all requests. */
  readonly fixed: Uint8Array;
  /** The whole context of a first attempt of this kind with this time limit and these buckets. */
  readonly usual: Uint8Array;
  readonly kind: ReadKind;
  readonly maxExecutionMs: number;
  readonly bucketsVersion: bigint | undefined;
}

/** What is needed to make a {@linkcode Region}. */
export interface RegionOptions {
  readonly meta: RegionMeta;
  /** The peers to use, with their stores; not empty. */
  readonly peers: readonly RegionPeer[];
  readonly leaderIndex: number;
}

/**
 * A region as the cache has it. Who holds one may go on using it after it was replaced; the
 * stores then answer with an error that tells so.
 */
export class Region {
  readonly id: bigint;
  readonly confVer: bigint;
  readonly version: bigint;
  readonly start: Uint8Array;
  /** Exclusive; empty when unbounded. */
  readonly end: Uint8Array;
  readonly peers: readonly RegionPeer[];
  /** Bytes that the cache counts for it. */
  readonly sizeBytes: number;
  /** PD reported peers that are down: the view is incomplete and must not live for ever. */
  readonly hasDownPeers: boolean;
  leaderIndex: number;
  /** The peer through which the leader was reached when it could not be reached itself. */
  proxyIndex = -1;
  buckets: BucketsMeta | undefined;

  /** Point on the clock after which it is not used; access moves it on. */
  expiresAt = 0;
  /** Access does not keep it alive any more. */
  mustExpire: boolean;
  reload: Reload = "none";
  /** Another region covers the right part of it. */
  isShadowed = false;
  /** Set when it must not be used for new requests. */
  invalidReason: InvalidReason | undefined;
  // Links of the cache's list by last use. Fields here spare a list node for each region.
  newer: Region | undefined;
  older: Region | undefined;

  constructor(options: RegionOptions) {
    const { meta, peers, leaderIndex } = options;
    this.id = meta.id;
    this.confVer = meta.confVer;
    this.version = meta.version;
    this.start = meta.start;
    this.end = meta.end;
    this.peers = peers;
    this.leaderIndex = leaderIndex;
    this.buckets = meta.buckets;
    this.hasDownPeers = meta.downPeers.length > 0;
    this.mustExpire = this.hasDownPeers;
    this.sizeBytes = sizeOf(this);
  }

  get leader(): RegionPeer {
    // The index is only ever set to that of a peer, and there is at least one.
    return this.peers[this.leaderIndex] as RegionPeer;
  }

  get isValid(): boolean {
    return this.invalidReason === undefined;
  }

  contains(key: Uint8Array): boolean {
    return contains(this, key);
  }

  /** Tells whether a range that ends at this key (exclusive; empty: unbounded) ends in here. */
  containsByEnd(key: Uint8Array): boolean {
    return containsByEnd(this, key);
  }

  /** Tells whether it is the same state of the same region. */
  isSameVersion(other: { id: bigint; confVer: bigint; version: bigint }): boolean {
    return this.id === other.id && this.version === other.version && this.confVer === other.confVer;
  }

  /** Gives it up, with the first reason that is given, and tells whether it still was in use. */
  invalidate(reason: InvalidReason): boolean {
    if (this.invalidReason !== undefined) return false;
    this.invalidReason = reason;
    this.expiresAt = -Infinity;
    return true;
  }

  /**
   * Sends to another peer as the leader from now on. Its store counts as known again, because a
   * peer vouched for it.
   */
  setLeader(index: number): boolean {
    const peer = this.peers[index];
    if (peer === undefined) return false;
    peer.storeEpoch = peer.store.epoch;
    const isChanged = this.leaderIndex !== index;
    this.leaderIndex = index;
    return isChanged;
  }

  /** Has it loaded again some time after now; what it knows is good enough until then. */
  reloadLater(): void {
    if (this.reload === "none") this.reload = "delayed";
  }

  /** The position of the peer on a store, or with an id; -1 if there is none. */
  indexOfPeer(peer: { readonly id?: bigint | undefined; readonly storeId: bigint }): number {
    return this.peers.findIndex((p) =>
      p.storeId === peer.storeId && (peer.id === undefined || p.id === peer.id)
    );
  }

  /** Takes borders over that are newer than the known ones. */
  updateBuckets(buckets: BucketsMeta | undefined): boolean {
    if (buckets === undefined || buckets.version <= (this.buckets?.version ?? -1n)) return false;
    this.buckets = buckets;
    return true;
  }

  /** The bucket that has the key, within the region; the region's own range when none is known. */
  bucketOf(key: Uint8Array): KeyRange {
    const keys = this.buckets?.keys ?? [];
    let start = this.start;
    for (const border of keys) {
      if (border.length > 0 && compareBytes(border, key) <= 0) {
        if (compareBytes(border, start) > 0) start = border;
      } else if (border.length > 0) {
        const isInside = this.end.length === 0 || compareBytes(border, this.end) < 0;
        return { start, end: isInside ? border : this.end };
      }
    }
    return { start, end: this.end };
  }
}

/** Makes the peer that a region keeps of what PD says and the store that was resolved for it. */
export function peerOf(meta: PeerMeta, store: CachedStore): RegionPeer {
  return {
    id: meta.id,
    storeId: meta.storeId,
    role: meta.role,
    isWitness: meta.isWitness,
    store,
    storeEpoch: store.epoch,
    context: undefined,
  };
}

/** The leader as the position in a list of peers; the first peer when it is not in it. */
export function leaderIndexIn(peers: readonly RegionPeer[], leader: PeerMeta | undefined): number {
  const index = leader === undefined ? -1 : peers.findIndex((peer) => peer.id === leader.id);
  return Math.max(0, index);
}

/** Why a request to the region could not go anywhere, for messages. */
export function whyUnusable(region: Region): string {
  const { liveness, id, address } = region.leader.store;
  const why = region.isValid && liveness !== "reachable"
    ? `store ${id} at ${address}, which leads it, is ${liveness}`
    : "it is outdated";
  return `Cannot use region ${region.id}: ${why}`;
}

function sizeOf(region: Region): number {
  let bytes = REGION_BYTES + region.start.length + region.end.length + PEER_BYTES * region.peers.length;
  for (const key of region.buckets?.keys ?? []) bytes += ARRAY_BYTES + key.length;
  return bytes;
}

// Heap of one region without its keys' content, and of one peer with one cached context; measured
// with 100 000 regions of 3 peers, see bench/region_cache_bench.ts.
const REGION_BYTES = 850;
const PEER_BYTES = 120;
const ARRAY_BYTES = 130;

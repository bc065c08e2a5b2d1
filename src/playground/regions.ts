// SPDX-License-Identifier: Apache-2.0
// The regions of the cluster: one authoritative map that stores and PD look at. Bounds are in the
// space in which TiKV keeps them: what a client of this API version sends to PD. Nothing here
// knows how a key is encoded.

import { compareBytes } from "../bytes/compare.ts";
import { compareEnds, contains } from "../bytes/key_range.ts";
import type { SortedRange } from "./sorted_map.ts";

/** What a replica may do. */
export type PeerRole = "voter" | "learner";

/** One replica of a region. */
export interface Peer {
  /** Its id, unique in the cluster. */
  readonly id: bigint;
  /** The store that it is on. */
  readonly storeId: bigint;
  /** Whether it votes. */
  readonly role: PeerRole;
}

/** A region at one epoch. It never changes: every change makes a new one. */
export interface Region {
  /** Its id; kept by the right part of a split and by the target of a merge. */
  readonly id: bigint;
  /** The first key, encoded as PD has it. */
  readonly start: Uint8Array;
  /** The key behind the last, encoded as PD has it; empty for none. */
  readonly end: Uint8Array;
  /** Changes with the set of peers. */
  readonly confVer: bigint;
  /** Changes with the bounds. */
  readonly version: bigint;
  /** The replicas, in the order in which they were added. */
  readonly peers: readonly Peer[];
  /** The peer that serves; undefined while none is elected. */
  readonly leader: Peer | undefined;
  /** The last leader that PD heard of, which may be gone. */
  readonly reportedLeader: Peer | undefined;
  /** Changes with every election. */
  readonly term: bigint;
}

/** TiKV starts both epochs at 1 (`INIT_EPOCH_VER` and `INIT_EPOCH_CONF_VER` in `raftstore`). */
const INITIAL_EPOCH = 1n;

/** The raft term of a region that has just been made (`RAFT_INIT_LOG_TERM`), after one election. */
const INITIAL_TERM = 6n;

const NO_KEY = new Uint8Array(0);

/** All regions, in key order and without gaps. */
export class RegionMap {
  readonly #allocate: () => bigint;
  #sorted: readonly Region[];
  readonly #byId: Map<bigint, Region> = new Map();

  /**
   * Starts with one region over all keys, with a voter on each of the stores.
   *
   * @param allocate gives the next free id of the cluster
   */
  constructor(allocate: () => bigint, storeIds: readonly bigint[]) {
    this.#allocate = allocate;
    const id = allocate();
    const peers = storeIds.map((storeId): Peer => ({ id: allocate(), storeId, role: "voter" }));
    const region: Region = {
      id,
      start: NO_KEY,
      end: NO_KEY,
      confVer: INITIAL_EPOCH,
      version: INITIAL_EPOCH,
      peers,
      leader: peers[0],
      reportedLeader: peers[0],
      term: INITIAL_TERM,
    };
    this.#sorted = [region];
    this.#byId.set(id, region);
  }

  /** Every region in key order. The list is a snapshot. */
  all(): readonly Region[] {
    return this.#sorted;
  }

  byId(id: bigint): Region | undefined {
    return this.#byId.get(id);
  }

  /** The region that has the key. */
  byKey(key: Uint8Array): Region {
    return regionAt(this.#sorted, indexOfKey(this.#sorted, key));
  }

  /**
   * Cuts a region at the keys, which must be inside it and not on its start.
   *
   * As with TiKV's default `right-derive-when-split`, the rightmost part keeps the id and every
   * part gets the old version plus the number of cuts. The leader of each part is on the store of
   * the old leader.
   *
   * @returns the parts in key order
   */
  split(id: bigint, keys: readonly Uint8Array[]): readonly Region[] {
    const region = this.#require(id);
    const cuts = sortedUnique(keys);
    for (const key of cuts) {
      if (key.length === 0 || compareBytes(key, region.start) === 0 || !contains(region, key)) {
        throw new RangeError(`Cannot split region ${id}: a split key is not inside it`);
      }
    }
    if (cuts.length === 0) return [region];
    const version = region.version + BigInt(cuts.length);
    const parts: Region[] = [];
    let start = region.start;
    for (const key of cuts) {
      const peers = region.peers.map((peer): Peer => ({ ...peer, id: this.#allocate() }));
      const leader = peers.find((peer) => peer.storeId === region.leader?.storeId);
      const id = this.#allocate();
      parts.push({
        ...region,
        id,
        start,
        end: key,
        version,
        peers,
        leader,
        reportedLeader: leader,
        term: INITIAL_TERM,
      });
      start = key;
    }
    parts.push({ ...region, start, version });
    this.#replace([region], parts);
    return parts;
  }

  /**
   * Joins a region into a neighbour, which keeps its own id, peers and leader.
   *
   * Preparing raises both numbers of the source's epoch; committing gives the target the larger
   * version of the two plus one (`exec_prepare_merge` and `exec_commit_merge` in TiKV's apply).
   */
  merge(sourceId: bigint, targetId: bigint): Region {
    const source = this.#require(sourceId);
    const target = this.#require(targetId);
    const isLeft = compareBytes(source.end, target.start) === 0 && source.end.length > 0;
    const isRight = compareBytes(target.end, source.start) === 0 && target.end.length > 0;
    if (!isLeft && !isRight) {
      throw new RangeError(`Cannot merge region ${sourceId} into ${targetId}: they are not neighbours`);
    }
    if (storesOf(source) !== storesOf(target)) {
      throw new RangeError(
        `Cannot merge region ${sourceId} into ${targetId}: their peers are on other stores`,
      );
    }
    const preparedVersion = source.version + 1n;
    const version = (preparedVersion > target.version ? preparedVersion : target.version) + 1n;
    const merged: Region = {
      ...target,
      start: isLeft ? source.start : target.start,
      end: isLeft ? target.end : source.end,
      version,
    };
    this.#replace(isLeft ? [source, target] : [target, source], [merged]);
    return merged;
  }

  /** Makes the peer on this store the leader, or leaves the region without one. */
  setLeader(id: bigint, storeId: bigint | undefined): Region {
    const region = this.#require(id);
    const leader = region.peers.find((peer) => peer.storeId === storeId && peer.role === "voter");
    if (storeId !== undefined && leader === undefined) {
      throw new RangeError(`Cannot make store ${storeId} lead region ${id}: it has no voter of it`);
    }
    if (leader?.id === region.leader?.id) return region;
    const reportedLeader = leader ?? region.reportedLeader;
    return this.#update({ ...region, leader, reportedLeader, term: region.term + 1n });
  }

  addPeer(id: bigint, storeId: bigint, role: PeerRole = "voter"): Region {
    const region = this.#require(id);
    const others = region.peers.filter((peer) => peer.storeId !== storeId);
    const existing = region.peers.find((peer) => peer.storeId === storeId);
    if (existing?.role === role) return region;
    const peer: Peer = { id: existing?.id ?? this.#allocate(), storeId, role };
    return this.#update({ ...region, peers: [...others, peer], confVer: region.confVer + 1n });
  }

  removePeer(id: bigint, storeId: bigint): Region {
    const region = this.#require(id);
    const peers = region.peers.filter((peer) => peer.storeId !== storeId);
    if (peers.length === region.peers.length) return region;
    const hasLostLeader = region.leader?.storeId === storeId;
    return this.#update({
      ...region,
      peers,
      confVer: region.confVer + 1n,
      leader: hasLostLeader ? undefined : region.leader,
      reportedLeader: region.reportedLeader?.storeId === storeId ? undefined : region.reportedLeader,
    });
  }

  #require(id: bigint): Region {
    const region = this.#byId.get(id);
    if (region === undefined) throw new RangeError(`Cannot find region ${id}`);
    return region;
  }

  #update(region: Region): Region {
    this.#replace([this.#require(region.id)], [region]);
    return region;
  }

  /** Puts the new regions in the place of the old ones, which are neighbours in key order. */
  #replace(old: readonly Region[], fresh: readonly Region[]): void {
    const first = old[0];
    if (first === undefined) return;
    const index = indexOfKey(this.#sorted, first.start);
    this.#sorted = [...this.#sorted.slice(0, index), ...fresh, ...this.#sorted.slice(index + old.length)];
    for (const region of old) this.#byId.delete(region.id);
    for (const region of fresh) this.#byId.set(region.id, region);
  }
}

/** The index of the region that has the key, in a sorted list without gaps. */
export function indexOfKey(sorted: readonly Region[], key: Uint8Array): number {
  let low = 0;
  let high = sorted.length;
  while (low + 1 < high) {
    const middle = (low + high) >> 1;
    if (compareBytes(regionAt(sorted, middle).start, key) <= 0) low = middle;
    else high = middle;
  }
  return low;
}

/** The regions that have keys of the range; at most `limit` of them unless it is 0. */
export function regionsIn(sorted: readonly Region[], range: SortedRange, limit: number): readonly Region[] {
  const found: Region[] = [];
  for (let i = indexOfKey(sorted, range.start); i < sorted.length; i++) {
    const region = regionAt(sorted, i);
    if (range.end.length > 0 && compareBytes(region.start, range.end) >= 0) break;
    if (limit > 0 && found.length >= limit) break;
    found.push(region);
  }
  return found;
}

/** The part of the range that is in the region; `end` is not after `start` when there is none. */
export function clampToRegion(region: Region, range: SortedRange): SortedRange {
  return {
    start: compareBytes(range.start, region.start) >= 0 ? range.start : region.start,
    end: compareEnds(range.end, region.end) <= 0 ? range.end : region.end,
  };
}

/** The peer of the region on a store. */
export function peerOn(region: Region, storeId: bigint): Peer | undefined {
  return region.peers.find((peer) => peer.storeId === storeId);
}

function regionAt(sorted: readonly Region[], index: number): Region {
  const region = sorted[index];
  if (region === undefined) throw new RangeError(`Cannot find a region at index ${index}`);
  return region;
}

function storesOf(region: Region): string {
  return region.peers.map((peer) => peer.storeId).sort().join();
}

function sortedUnique(keys: readonly Uint8Array[]): Uint8Array[] {
  const sorted = [...keys].sort(compareBytes);
  return sorted.filter((key, index) => index === 0 || compareBytes(key, sorted[index - 1] ?? NO_KEY) !== 0);
}

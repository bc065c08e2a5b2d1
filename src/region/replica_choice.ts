// SPDX-License-Identifier: Apache-2.0
// Which of the replicas of a region suits a read best, as a sum of marks.

import type { BackoffName } from "../async/backoff.ts";
import type { Random } from "../async/clock.ts";
import type { RegionPeer } from "./region.ts";
import type { CachedStore } from "./store.ts";

/**
 * Which replicas a read likes best.
 *
 * - `leader`: only that one, but for a leader that is busier than the read is willing to wait.
 * - `follower`: any but the leader.
 * - `mixed`: all alike.
 * - `learner`: those that do not vote.
 * - `prefer-leader`: the leader, unless its store is slow.
 */
export type ReplicaMode = "leader" | "follower" | "mixed" | "learner" | "prefer-leader";

/** How a read picks among replicas. All but `mode: "leader"` are preferences: others are asked in need. */
export interface ReadRoute {
  readonly mode: ReplicaMode;
  /** The timestamp is old enough for a replica to answer by itself, without asking its leader. */
  readonly isStale: boolean;
  /** Labels of the stores that come first; none: all the same. */
  readonly labels: ReadonlyMap<string, string>;
  /** Ids of the stores that come first; none: all the same. */
  readonly storeIds: ReadonlySet<bigint>;
  /** A store that would let the read wait for longer says so, and another one is asked; 0: none does. */
  readonly busyThresholdMs: number;
}

/** What happened to one replica in this call. */
export interface Replica {
  readonly index: number;
  readonly peer: RegionPeer;
  attempts: number;
  attemptedMs: number;
  /** It said that it is not the leader. */
  isNotLeader: boolean;
  /** It took too long for a read with a time limit. */
  isTimedOut: boolean;
  /** It may be a leader without a group. */
  isSuspect: boolean;
  /** It does not have all of what a stale read wants to see. */
  isBehind: boolean;
  /** It would have let the read wait for too long. */
  isBusy: boolean;
  /** Answers in a row that make it suspect. */
  doubts: number;
  /** A wait that is due before it is asked again. */
  owed: Owed | undefined;
}

/** A wait that was put off. */
export interface Owed {
  readonly backoff: BackoffName;
  readonly cause: unknown;
}

/** What is known besides the replicas. */
export interface Choice {
  readonly leader: Replica;
  readonly route: ReadRoute;
  readonly random: Random;
  readonly isSlow: (store: CachedStore) => boolean;
}

/** A replica of which nothing is known yet. */
export function replicaOf(peer: RegionPeer, index: number): Replica {
  return {
    index,
    peer,
    attempts: 0,
    attemptedMs: 0,
    isNotLeader: false,
    isTimedOut: false,
    isSuspect: false,
    isBehind: false,
    isBusy: false,
    doubts: 0,
    owed: undefined,
  };
}

/** The best of the replicas that may be asked, by chance among equals; undefined if there is none. */
export function chooseReplica(replicas: readonly Replica[], choice: Choice): Replica | undefined {
  let most = -1;
  let equals = 0;
  for (const replica of replicas) {
    const marks = marksOf(replica, choice);
    if (marks > most) [most, equals] = [marks, 1];
    else if (marks === most) equals++;
  }
  if (most < 0) return undefined;
  // Without a list of them: this runs for each read of a replica.
  let left = equals === 1 ? 0 : Math.floor(choice.random.next() * equals);
  return replicas.find((replica) => marksOf(replica, choice) === most && left-- === 0);
}

/** One of a list, by chance. */
export function pick<T>(list: readonly T[], random: Random): T | undefined {
  return list.length < 2 ? list[0] : list[Math.floor(random.next() * list.length)];
}

/** Tells whether the store of a peer was found dead or removed since the region was loaded. */
export function isStale(peer: RegionPeer): boolean {
  return peer.store.epoch !== peer.storeEpoch;
}

function mayBeAsked(replica: Replica, { leader, route, isSlow }: Choice): boolean {
  const { peer } = replica;
  if (isStale(peer) || peer.store.liveness === "unreachable") return false;
  const isLeader = replica === leader;
  // A replica that is behind can still ask its leader; a leader is not behind itself.
  if (replica.attempts >= (replica.isBehind && !isLeader ? 2 : 1)) return false;
  return isLeader || route.mode !== "prefer-leader" || !isSlow(peer.store);
}

// Each mark outweighs all that come before it, as in client-go (`calculateScore` in
// `internal/locate/replica_selector.go`).
const MARKS = { isUntried: 1, isWanted: 2, isPreferred: 4, isMatch: 8, isFast: 16 };

// -1 for one that may not be asked.
function marksOf(replica: Replica, choice: Choice): number {
  if (!mayBeAsked(replica, choice)) return -1;
  const { leader, route, isSlow } = choice;
  const { store } = replica.peer;
  const isFast = !isSlow(store);
  let marks = replica === leader ? marksOfLeader(route, isFast) : marksOfOther(route, replica.peer);
  if (isMatch(store, route)) marks += MARKS.isMatch;
  if (isFast) marks += MARKS.isFast;
  if (replica.attempts === 0) marks += MARKS.isUntried;
  return marks;
}

function marksOfLeader({ mode, labels }: ReadRoute, isFast: boolean): number {
  if (mode === "prefer-leader") return isFast ? MARKS.isPreferred : MARKS.isWanted;
  if (mode !== "mixed") return 0;
  // It needs no question to anybody else: of several that are close, it is the best.
  return labels.size > 0 ? MARKS.isPreferred : MARKS.isWanted;
}

function marksOfOther({ mode }: ReadRoute, { role }: RegionPeer): number {
  return mode !== "learner" || role === "learner" ? MARKS.isWanted : 0;
}

function isMatch(store: CachedStore, { labels, storeIds }: ReadRoute): boolean {
  return store.matches(labels) && (storeIds.size === 0 || storeIds.has(store.id));
}

// SPDX-License-Identifier: Apache-2.0
// Which replica the next attempt of a request goes to: the leader, for all writes and raw requests
// and for reads that say nothing else; whichever suits best, for reads that may be answered by others.

import type { Random } from "../async/clock.ts";
import { BACKOFF_KINDS } from "../async/backoff.ts";
import type { Region } from "./region.ts";
import {
  chooseReplica,
  isStale,
  type Owed,
  pick,
  type ReadRoute,
  type Replica,
  replicaOf,
} from "./replica_choice.ts";
import type { CachedStore } from "./store.ts";

export { isStale, type ReadRoute, type Replica } from "./replica_choice.ts";

/**
 * Where the selector stands.
 *
 * - `leader`: the peer that is known as the leader is asked; ends when it cannot be asked again.
 * - `suspect`: it answers but never as a leader should. Another peer is asked, as if it were the
 *   leader, to hear who is; happens once, and ends with that answer.
 * - `probe`: the leader cannot be asked. The others are asked as if they were the leader, each
 *   once: their answers name the leader, which leads back to `leader`.
 * - `replica-read`: another replica answers a read, after it has heard from its leader how far it has
 *   to be; because the read asked for that, or the leader took too long or is too busy for it.
 * - `stale-read`: a replica answers a read of the past without asking its leader. One that does not
 *   have all of it leads to `leader`, and from there to `replica-read`.
 * - `proxy`: the leader's store cannot be reached from here, and another store passes requests on.
 * - `exhausted`: nobody is left to ask. Final.
 */
export type SelectorState =
  | "leader"
  | "suspect"
  | "probe"
  | "replica-read"
  | "stale-read"
  | "proxy"
  | "exhausted";

/** The moves that there are. */
export const SELECTOR_MOVES = {
  "leader": ["leader", "suspect", "probe", "replica-read", "stale-read", "proxy", "exhausted"],
  "suspect": ["leader", "probe", "replica-read", "proxy", "exhausted"],
  "probe": ["leader", "suspect", "probe", "replica-read", "proxy", "exhausted"],
  "replica-read": ["leader", "suspect", "probe", "replica-read", "proxy", "exhausted"],
  "stale-read": ["leader", "probe", "replica-read", "stale-read", "proxy", "exhausted"],
  "proxy": ["leader", "probe", "replica-read", "proxy", "exhausted"],
  "exhausted": [],
} as const satisfies Record<SelectorState, readonly SelectorState[]>;

/**
 * What a request says of itself: `plain` is for the leader, `replica` for who knows how far the leader
 * is, `stale` for who has all that the read wants to see.
 */
export type ReadKind = "plain" | "replica" | "stale";

/** Who is asked next. */
export interface Target {
  readonly state: Exclude<SelectorState, "exhausted">;
  readonly replica: Replica;
  /** How the request may be answered by who is not the leader. */
  readonly kind: ReadKind;
  /** Sent along with the request; see {@linkcode ReadRoute}. */
  readonly busyThresholdMs: number;
  /** The replica whose store passes the request on. */
  readonly proxy: Replica | undefined;
}

/** Options of a new {@linkcode ReplicaSelector}. */
export interface SelectorOptions {
  readonly random: Random;
  /** A follower may answer when the leader takes too long. */
  readonly isTimedRead: boolean;
  readonly enableForwarding: boolean;
  /** Absent: the leader, as long as there is one. */
  readonly route?: ReadRoute | undefined;
  readonly isSlow: (store: CachedStore) => boolean;
  /** The time, for how long stores said they are busy. */
  readonly now: () => number;
}

/** Picks the replicas for one request to one region. */
export class ReplicaSelector {
  readonly #region: Region;
  readonly #options: SelectorOptions;
  readonly #replicas: readonly Replica[];
  #state: SelectorState = "leader";
  #hadSuspect = false;
  // Followers may not be read any more.
  #isLeaderOnly = false;
  #readsReplicas: boolean;
  // Waits that are longer make the read go elsewhere; 0 once nobody is left who is faster.
  #thresholdMs: number;
  #reads = 0;

  constructor(region: Region, options: SelectorOptions) {
    this.#region = region;
    this.#options = options;
    this.#replicas = region.peers.map(replicaOf);
    const { route } = options;
    this.#readsReplicas = route !== undefined && (route.isStale || route.mode !== "leader");
    this.#thresholdMs = route?.busyThresholdMs ?? 0;
  }

  get state(): SelectorState {
    return this.#state;
  }

  get leader(): Replica {
    return this.#replicas[this.#region.leaderIndex] as Replica;
  }

  /** Some replica was passed over because it took too long: the region itself may be right. */
  get hasTimedOut(): boolean {
    return this.#replicas.some((replica) => replica.isTimedOut);
  }

  /** Whoever suits the read is asked, and each replica once. */
  get readsReplicas(): boolean {
    return this.#readsReplicas;
  }

  /** The first attempt, which was made without a selector. */
  adopt(): Target {
    const { leader } = this;
    leader.attempts++;
    return { state: "leader", replica: leader, kind: "plain", busyThresholdMs: 0, proxy: undefined };
  }

  /** The replica to ask now; undefined when nobody is left. */
  next(): Target | undefined {
    const { leader } = this;
    const { route } = this.#options;
    if (this.#replicas.some((replica) => isOutdated(replica, leader))) this.#region.reloadLater();
    if (route !== undefined && this.#readsReplicas) return this.#nextForRead(route);
    if (this.#options.enableForwarding) {
      if (leader.peer.store.liveness === "reachable" || leader.isNotLeader) {
        this.#region.proxyIndex = -1;
      } else {
        const proxy = this.#pickProxy(leader);
        return proxy === undefined ? this.#exhaust() : this.#move("proxy", leader, proxy);
      }
    }
    if (canLead(leader) && !leader.isSuspect) {
      const idle = this.#pickIdle(leader);
      return idle === undefined ? this.#move("leader", leader) : this.#move("replica-read", idle);
    }
    const other = this.#pickOther();
    if (leader.isSuspect && canLead(leader)) {
      if (other !== undefined && !this.#hadSuspect) {
        this.#hadSuspect = true;
        return this.#move("suspect", other);
      }
      // Nobody knows better: it is asked again after all.
      leader.isSuspect = false;
      return this.#move("leader", leader);
    }
    if (other === undefined) return this.#exhaust();
    const mayRead = this.#options.isTimedRead && leader.isTimedOut && !this.#isLeaderOnly;
    return this.#move(mayRead ? "replica-read" : "probe", other);
  }

  /** The same replica again, if it has attempts left; otherwise as `next()`. */
  again(target: Target): Target | undefined {
    if (!hasAttemptsLeft(target.replica) || isStale(target.replica.peer)) return this.next();
    target.replica.attempts++;
    return target;
  }

  /** Makes another peer the leader, because one of its group said so. */
  onLeaderKnown(index: number): void {
    const replica = this.#replicas[index];
    if (replica === undefined) return;
    // One more try each time it is named: followers are asked once, so this ends.
    if (!hasAttemptsLeft(replica)) {
      replica.attempts = MAX_LEADER_ATTEMPTS - 1;
      replica.attemptedMs = 0;
    }
    replica.isNotLeader = false;
    replica.isSuspect = false;
    replica.doubts = 0;
    // It was named by one that the read did not suit: it knows best.
    if (canLead(replica)) this.#readsReplicas = false;
  }

  /** From now on the leader only, although it may have taken too long before. */
  onLeaderOnly(): void {
    this.#isLeaderOnly = true;
    this.#readsReplicas = false;
    this.#thresholdMs = 0;
    this.leader.isTimedOut = false;
  }

  /** Notes an answer that a leader with its group would not give again and again. */
  onDoubt(replica: Replica): void {
    if (replica !== this.leader || this.#hadSuspect) return;
    replica.doubts++;
    if (replica.doubts >= DOUBTS) replica.isSuspect = true;
  }

  /** Whether another replica than the leader would be asked next, so that a wait can be put off. */
  canGoElsewhere(): boolean {
    const { leader } = this;
    return this.#readsReplicas || !canLead(leader) || leader.isSuspect;
  }

  /** The longest of the waits that were put off. */
  largestOwed(): Owed | undefined {
    let largest: Owed | undefined;
    for (const { owed } of this.#replicas) {
      if (owed !== undefined && baseMs(owed) > (largest === undefined ? -1 : baseMs(largest))) largest = owed;
    }
    return largest;
  }

  // Each mode of reading has its own favourites, but asks all replicas in the end.
  #nextForRead(route: ReadRoute): Target | undefined {
    const { leader } = this;
    this.#reads++;
    // Whoever is behind may be so for long, and the leader never is.
    if (route.isStale && this.#reads === 2 && leader.attempts === 0 && canLead(leader)) {
      return this.#move("leader", leader);
    }
    // Those that were behind are asked again, now with a question to the leader, unless the leader was
    // too slow itself: the question would be, too.
    const isAlone = route.isStale && (leader.attempts === 0 || leader.isTimedOut || leader.isBusy);
    const untried = isAlone ? this.#replicas.filter(({ attempts }) => attempts === 0) : this.#replicas;
    let chosen = this.#choose(route, untried) ?? this.#choose(route);
    if (chosen === undefined && this.#liftThreshold()) chosen = this.#choose(route);
    if (chosen === undefined) return this.#exhaust();
    // A leader is asked as for any other read. For a stale one it would not take care that what commits
    // from now on is later: what was read could change. client-go does ask it like that.
    if (chosen === leader) return this.#move("leader", leader);
    return this.#move(isAlone ? "stale-read" : "replica-read", chosen);
  }

  #choose(route: ReadRoute, among: readonly Replica[] = this.#replicas): Replica | undefined {
    const { random, isSlow } = this.#options;
    return chooseReplica(among, { leader: this.leader, route, random, isSlow });
  }

  // Everybody is too busy: now they are asked to answer all the same.
  #liftThreshold(): boolean {
    const busy = this.#replicas.filter(({ isBusy }) => isBusy);
    if (this.#thresholdMs === 0 || busy.length === 0) return false;
    this.#thresholdMs = 0;
    for (const replica of busy) {
      replica.isBusy = false;
      replica.attempts = 0;
    }
    return true;
  }

  // Instead of a leader that is too busy for the read; undefined when nobody has more time.
  #pickIdle(leader: Replica): Replica | undefined {
    const { route, now } = this.#options;
    if (this.#thresholdMs === 0 || route === undefined || this.#isLeaderOnly) return undefined;
    const at = now();
    const isBusy = ({ isBusy, peer }: Replica): boolean =>
      isBusy || peer.store.estimatedWaitMs(at) > this.#thresholdMs;
    if (!isBusy(leader)) return undefined;
    const others = this.#replicas.filter((replica) => replica !== leader && !isBusy(replica));
    const idle = this.#choose(route, others);
    if (idle === undefined) this.#thresholdMs = 0;
    return idle;
  }

  #move(state: Target["state"], replica: Replica, proxy?: Replica): Target | undefined {
    const allowed: readonly SelectorState[] = SELECTOR_MOVES[this.#state];
    if (!allowed.includes(state)) return this.#exhaust();
    this.#state = state;
    replica.attempts++;
    if (proxy !== undefined) proxy.attempts++;
    return { state, replica, kind: kindOf(state), busyThresholdMs: this.#thresholdMs, proxy };
  }

  #exhaust(): undefined {
    this.#state = "exhausted";
    return undefined;
  }

  // Whoever may know the leader: voters first, by chance among equals, so that clients spread.
  #pickOther(): Replica | undefined {
    const others = this.#replicas.filter((replica) =>
      replica.attempts === 0 && !replica.isNotLeader && !isStale(replica.peer) &&
      replica.peer.store.liveness !== "unreachable"
    );
    const voters = others.filter((replica) => replica.peer.role !== "learner");
    return pick(voters.length > 0 ? voters : others, this.#options.random);
  }

  // Stays with the proxy that worked before, as long as it can.
  #pickProxy(leader: Replica): Replica | undefined {
    const usable = this.#replicas.filter((replica) =>
      replica !== leader && replica.attempts === 0 && !isStale(replica.peer) &&
      replica.peer.store.liveness === "reachable"
    );
    return usable.find((replica) => replica.index === this.#region.proxyIndex) ?? usable[0];
  }
}

function kindOf(state: Target["state"]): ReadKind {
  if (state === "stale-read") return "stale";
  return state === "replica-read" ? "replica" : "plain";
}

// Its store is back, or the region has another leader: PD knows, but there is no hurry to ask.
function isOutdated(replica: Replica, leader: Replica): boolean {
  const { peer } = replica;
  return isStale(peer) && (peer.store.liveness === "reachable" || replica === leader);
}

// A leader has to be reachable for certain, other replicas only not certainly unreachable: a group
// that hibernates wakes up when a follower is asked, not when a dead leader is.
function canLead(leader: Replica): boolean {
  return leader.peer.store.liveness === "reachable" && !isStale(leader.peer) && hasAttemptsLeft(leader) &&
    !leader.isNotLeader && !leader.isTimedOut;
}

function hasAttemptsLeft(replica: Replica): boolean {
  return replica.attempts < MAX_LEADER_ATTEMPTS && replica.attemptedMs < MAX_LEADER_MS;
}

function baseMs(owed: Owed): number {
  return BACKOFF_KINDS[owed.backoff].baseMs;
}

// `maxReplicaAttempt` and `maxReplicaAttemptTime` of client-go.
const MAX_LEADER_ATTEMPTS = 10;
const MAX_LEADER_MS = 50_000;
// A leader is doubted when it says twice that it is busy without saying for how long.
const DOUBTS = 2;

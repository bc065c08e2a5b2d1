// SPDX-License-Identifier: Apache-2.0
// Which replica the next attempt of a request goes to, in leader mode: all writes and raw requests,
// and transactional reads unless they ask for something else.

import type { BackoffName } from "../async/backoff.ts";
import { BACKOFF_KINDS } from "../async/backoff.ts";
import type { Random } from "../async/clock.ts";
import type { Region, RegionPeer } from "./region.ts";

/**
 * Where the selector stands.
 *
 * - `leader`: the peer that is known as the leader is asked; ends when it cannot be asked again.
 * - `suspect`: it answers but never as a leader should. Another peer is asked, as if it were the
 *   leader, to hear who is; happens once, and ends with that answer.
 * - `probe`: the leader cannot be asked. The others are asked as if they were the leader, each
 *   once: their answers name the leader, which leads back to `leader`.
 * - `replica-read`: the leader took too long for a read that a follower may answer.
 * - `proxy`: the leader's store cannot be reached from here, and another store passes requests on.
 * - `exhausted`: nobody is left to ask. Final.
 */
export type SelectorState = "leader" | "suspect" | "probe" | "replica-read" | "proxy" | "exhausted";

/** The moves that there are. */
export const SELECTOR_MOVES = {
  "leader": ["leader", "suspect", "probe", "replica-read", "proxy", "exhausted"],
  "suspect": ["leader", "probe", "replica-read", "proxy", "exhausted"],
  "probe": ["leader", "suspect", "probe", "replica-read", "proxy", "exhausted"],
  "replica-read": ["leader", "replica-read", "proxy", "exhausted"],
  "proxy": ["leader", "probe", "replica-read", "proxy", "exhausted"],
  "exhausted": [],
} as const satisfies Record<SelectorState, readonly SelectorState[]>;

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
  /** Answers in a row that make it one. */
  doubts: number;
  /** A wait that is due before it is asked again. */
  owed: Owed | undefined;
}

/** A wait that was put off. */
export interface Owed {
  readonly backoff: BackoffName;
  readonly cause: unknown;
}

/** Who is asked next. */
export interface Target {
  readonly state: Exclude<SelectorState, "exhausted">;
  readonly replica: Replica;
  /** The request may be answered by a follower from its own data. */
  readonly isReplicaRead: boolean;
  /** The replica whose store passes the request on. */
  readonly proxy: Replica | undefined;
}

/** Options of a new {@linkcode ReplicaSelector}. */
export interface SelectorOptions {
  readonly random: Random;
  /** A follower may answer when the leader takes too long. */
  readonly isTimedRead: boolean;
  readonly enableForwarding: boolean;
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

  constructor(region: Region, options: SelectorOptions) {
    this.#region = region;
    this.#options = options;
    this.#replicas = region.peers.map((peer, index) => ({
      index,
      peer,
      attempts: 0,
      attemptedMs: 0,
      isNotLeader: false,
      isTimedOut: false,
      isSuspect: false,
      doubts: 0,
      owed: undefined,
    }));
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

  /** The first attempt, which was made without a selector. */
  adopt(): Target {
    const { leader } = this;
    leader.attempts++;
    return { state: "leader", replica: leader, isReplicaRead: false, proxy: undefined };
  }

  /** The replica to ask now; undefined when nobody is left. */
  next(): Target | undefined {
    const { leader } = this;
    if (this.#options.enableForwarding) {
      if (leader.peer.store.liveness === "reachable" || leader.isNotLeader) {
        this.#region.proxyIndex = -1;
      } else {
        const proxy = this.#pickProxy(leader);
        return proxy === undefined ? this.#exhaust() : this.#move("proxy", leader, proxy);
      }
    }
    if (canLead(leader) && !leader.isSuspect) return this.#move("leader", leader);
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
  }

  /** From now on the leader only, although it may have taken too long before. */
  onLeaderOnly(): void {
    this.#isLeaderOnly = true;
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
    return !canLead(leader) || leader.isSuspect;
  }

  /** The longest of the waits that were put off. */
  largestOwed(): Owed | undefined {
    let largest: Owed | undefined;
    for (const { owed } of this.#replicas) {
      if (owed !== undefined && baseMs(owed) > (largest === undefined ? -1 : baseMs(largest))) largest = owed;
    }
    return largest;
  }

  #move(state: Target["state"], replica: Replica, proxy?: Replica): Target | undefined {
    const allowed: readonly SelectorState[] = SELECTOR_MOVES[this.#state];
    if (!allowed.includes(state)) return this.#exhaust();
    this.#state = state;
    replica.attempts++;
    if (proxy !== undefined) proxy.attempts++;
    return { state, replica, isReplicaRead: state === "replica-read", proxy };
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

/** Tells whether the store of a peer was found dead or removed since the region was loaded. */
export function isStale(peer: RegionPeer): boolean {
  return peer.store.epoch !== peer.storeEpoch;
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

function pick<T>(list: readonly T[], random: Random): T | undefined {
  return list[Math.floor(random.next() * list.length)];
}

// `maxReplicaAttempt` and `maxReplicaAttemptTime` of client-go.
const MAX_LEADER_ATTEMPTS = 10;
const MAX_LEADER_MS = 50_000;
// A leader is doubted when it says twice that it is busy without saying for how long.
const DOUBTS = 2;

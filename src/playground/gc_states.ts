// SPDX-License-Identifier: Apache-2.0
// Safe points and barriers of garbage collection, by the rules of PD's `pkg/gc/gc_state_manager.go`.

import type { Clock } from "../async/clock.ts";

/** A promise not to collect what is at or after `ts`. */
export interface GcBarrier {
  readonly id: string;
  readonly ts: bigint;
  /** Second since 1970; undefined for a barrier that stays. */
  readonly expiresAt: bigint | undefined;
}

/** The state of one keyspace, or of all that have none of their own. */
export interface GcState {
  txnSafePoint: bigint;
  gcSafePoint: bigint;
  readonly barriers: Map<string, GcBarrier>;
}

/** What came of advancing the transaction safe point. */
export interface TxnSafePointAdvance {
  readonly old: bigint;
  readonly now: bigint;
  /** What stood in the way, when it did not get as far as it should. */
  readonly blocker: GcBarrier | undefined;
}

/** A request that PD refuses; the text goes into the header. */
export class GcRefusal extends Error {
  constructor(message: string) {
    super(message);
    this.name = "GcRefusal";
  }
}

/** The keyspace that stands for "no keyspace". */
export const NULL_KEYSPACE = 0xffff_ffff;

/** The name under which old versions kept the transaction safe point; no barrier may have it. */
export const GC_WORKER_ID = "gc_worker";

/** A time to live that never ends. */
export const FOREVER_SECONDS: bigint = 0x7fff_ffff_ffff_ffffn;

/** All states of garbage collection. */
export class GcStates {
  readonly #clock: Clock;
  readonly #states = new Map<number, GcState>();
  readonly #globalBarriers = new Map<string, GcBarrier>();
  /** Told when a GC safe point has moved. */
  onGcSafePoint: (keyspaceId: number, safePoint: bigint) => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The state of a keyspace; its barriers that have expired are gone. */
  of(keyspaceId: number): GcState {
    let state = this.#states.get(keyspaceId);
    if (state === undefined) {
      state = { txnSafePoint: 0n, gcSafePoint: 0n, barriers: new Map() };
      this.#states.set(keyspaceId, state);
    }
    this.#expire(state.barriers);
    return state;
  }

  globalBarriers(): readonly GcBarrier[] {
    this.#expire(this.#globalBarriers);
    return [...this.#globalBarriers.values()];
  }

  /** Seconds that a barrier still has, as the protocol shows them. */
  ttlSeconds({ expiresAt }: GcBarrier): bigint {
    return expiresAt === undefined ? FOREVER_SECONDS : expiresAt - this.#now();
  }

  /** Advances as far as barriers allow, and never back. */
  advanceTxnSafePoint(keyspaceId: number, target: bigint): TxnSafePointAdvance {
    const state = this.of(keyspaceId);
    const old = state.txnSafePoint;
    if (target < old) {
      throw new GcRefusal(
        `trying to update txn safe point to a smaller value, current value: ${old}, given: ${target}`,
      );
    }
    let blocker: GcBarrier | undefined;
    for (const barrier of [...state.barriers.values(), ...this.globalBarriers()]) {
      if (barrier.ts < (blocker?.ts ?? target)) blocker = barrier;
    }
    const reachable = blocker?.ts ?? target;
    state.txnSafePoint = reachable > old ? reachable : old;
    return { old, now: state.txnSafePoint, blocker };
  }

  /** Advances up to the transaction safe point. Returns the old value. */
  advanceGcSafePoint(keyspaceId: number, target: bigint): bigint {
    const state = this.of(keyspaceId);
    const old = state.gcSafePoint;
    if (target < old) {
      throw new GcRefusal(
        `trying to update GC safe point to a smaller value, current value: ${old}, given: ${target}`,
      );
    }
    if (target > state.txnSafePoint) {
      throw new GcRefusal(
        `GC safe point exceeds txn safe point, old: ${old}, target: ${target}, txn safe point: ${state.txnSafePoint}`,
      );
    }
    state.gcSafePoint = target;
    this.onGcSafePoint(keyspaceId, target);
    return old;
  }

  setBarrier(keyspaceId: number | "global", id: string, ts: bigint, ttlSeconds: bigint): GcBarrier {
    checkBarrierId(id);
    if (ttlSeconds <= 0n) throw new GcRefusal(`invalid argument: ttl_seconds is ${ttlSeconds}`);
    const safePoints = keyspaceId === "global"
      ? [...this.#states.values()].map(({ txnSafePoint }) => txnSafePoint)
      : [this.of(keyspaceId).txnSafePoint];
    const behind = safePoints.find((safePoint) => ts < safePoint);
    if (behind !== undefined) {
      throw new GcRefusal(
        `trying to set a GC barrier on ts ${ts} which is already behind the txn safe point ${behind}`,
      );
    }
    const expiresAt = ttlSeconds >= FOREVER_SECONDS ? undefined : this.#now() + ttlSeconds;
    const barrier: GcBarrier = { id, ts, expiresAt };
    this.#barriersOf(keyspaceId).set(id, barrier);
    return barrier;
  }

  deleteBarrier(keyspaceId: number | "global", id: string): GcBarrier | undefined {
    checkBarrierId(id);
    const barriers = this.#barriersOf(keyspaceId);
    this.#expire(barriers);
    const barrier = barriers.get(id);
    barriers.delete(id);
    return barrier;
  }

  #barriersOf(keyspaceId: number | "global"): Map<string, GcBarrier> {
    return keyspaceId === "global" ? this.#globalBarriers : this.of(keyspaceId).barriers;
  }

  #expire(barriers: Map<string, GcBarrier>): void {
    const now = this.#now();
    for (const [id, { expiresAt }] of barriers) {
      if (expiresAt !== undefined && expiresAt <= now) barriers.delete(id);
    }
  }

  #now(): bigint {
    return BigInt(Math.floor(this.#clock.wallNow() / 1000));
  }
}

function checkBarrierId(id: string): void {
  if (id === GC_WORKER_ID) throw new GcRefusal(`trying to set a GC barrier with reserved id "${id}"`);
  if (id === "") throw new GcRefusal("invalid argument: barrier_id is empty");
}

// SPDX-License-Identifier: Apache-2.0

import { Deadline } from "../../async/deadline.ts";
import type { Operation } from "../../async/operation.ts";
import { Semaphore } from "../../async/semaphore.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { shortKey } from "../../bytes/hex.ts";
import { KeyMap, KeySet, type ReadonlyKeyMap } from "../../bytes/key_map.ts";
import { TikvError } from "../../errors.ts";
import { releaseLocks } from "../commit/committer_cleanup.ts";
import type { TxnIdentity } from "../commit/committer_run.ts";
import { FairStage } from "./fair_locking.ts";
import type { Heartbeat } from "../commit/heartbeat.ts";
import { type HeldLock, HeldLocks, needsLock } from "./held_locks.ts";
import { LockReleases } from "./lock_releases.ts";
import {
  type LockCall,
  type LockedKey,
  type LockTarget,
  type LockWishes,
  sendLocks,
} from "./pessimistic_request.ts";

/** What {@linkcode PessimisticLocks} are made with. */
export interface PessimisticLocksParts {
  readonly txn: TxnIdentity;
  readonly heartbeat: Heartbeat;
  /** Is told of each lock that is held for good. */
  readonly onHeld: (key: Uint8Array, lock: HeldLock) => void;
}

/**
 * The pessimistic locks of one transaction: which it holds, and which of them is the primary.
 *
 * A statement that may be run again has locks of its own, from {@linkcode PessimisticLocks.startFair}
 * on: they are the transaction's for good with {@linkcode PessimisticLocks.doneFair}.
 */
export class PessimisticLocks {
  readonly #txn: TxnIdentity;
  readonly #heartbeat: Heartbeat;
  readonly #onHeld: (key: Uint8Array, lock: HeldLock) => void;
  readonly #held = new HeldLocks();
  /** Keys that may be locked although nobody said so: they were asked for, and no answer settled it. */
  readonly #doubtful = new KeySet();
  readonly #releases: LockReleases;
  readonly #turns: Semaphore = new Semaphore(1);
  #fair: FairStage | undefined;
  #primary: Uint8Array | undefined;
  #forUpdateTs = 0n;

  constructor({ txn, heartbeat, onHeld }: PessimisticLocksParts) {
    this.#txn = txn;
    this.#releases = new LockReleases(txn);
    this.#heartbeat = heartbeat;
    this.#onHeld = onHeld;
  }

  /** The key that decides over the transaction; none before the first lock. */
  get primary(): Uint8Array | undefined {
    return this.#primary;
  }

  /** The largest for-update timestamp of all locks. */
  get forUpdateTs(): bigint {
    return this.#forUpdateTs;
  }

  /** How many keys are locked. */
  get size(): number {
    return this.#held.size + (this.#fair?.size ?? 0);
  }

  /** Whether there is, or may be, a lock to give back. */
  get mayHold(): boolean {
    return this.size > 0 || this.#doubtful.size > 0;
  }

  /** What for-update timestamp the locks of fair locking have: with another one it is not that lock. */
  get constraints(): ReadonlyKeyMap<bigint> {
    return this.#held.constraints;
  }

  /** The lock on a key, if the transaction has it. */
  heldLock(key: Uint8Array): HeldLock | undefined {
    const held = this.#held.get(key);
    if (held !== undefined || this.#fair === undefined) return held;
    const fair = this.#fair.current.get(key);
    return fair === undefined ? undefined : { exists: fair.locked.exists, isShared: false };
  }

  /** Throws when it is known that the primary was lost: the transaction cannot be committed then. */
  assertKept(): void {
    if (this.#heartbeat.lost !== undefined) throw this.#heartbeat.lost;
  }

  /** Refuses to write a key that is only shared. */
  assertExclusive(key: Uint8Array): void {
    if (!this.#held.isShared(key)) return;
    throw new TikvError(
      "misuse",
      `Cannot write key ${this.#shown(key)}: the transaction has locked it in share mode`,
    );
  }

  /**
   * Locks keys, each of them once and in order; those that are locked by then, as by a call that ran at
   * the same time, are left out of the result. All or nothing: when it fails, the locks that it took
   * are given back.
   */
  async lock(
    targets: readonly LockTarget[],
    wishes: LockWishes,
    operation: Operation,
  ): Promise<LockedKey[]> {
    // One call at a time: the first one chooses the primary.
    const turn = await this.#turns.acquire(operation.deadline, WAIT_FOR_CALLS);
    try {
      const missing = targets.filter(({ key }) => needsLock(this.heldLock(key), wishes.isShared));
      return await this.#lock(missing, wishes, operation);
    } finally {
      turn.release();
    }
  }

  /** Resolves when no lock call runs any more. */
  async settled(): Promise<void> {
    const { clock } = this.#txn.session.settings.environment;
    (await this.#turns.acquire(Deadline.never(clock), WAIT_FOR_CALLS)).release();
  }

  /** From here on locks are those of a statement that may be run again. */
  startFair(): void {
    if (this.#fair !== undefined) {
      throw new TikvError("misuse", "Cannot begin fair locking: it is on already");
    }
    this.#fair = new FairStage(this.#now(), (key) => this.#shown(key));
  }

  /** The statement is run again. Gives back what its last two runs did not ask for. */
  retryFair(): void {
    const fair = this.#fair;
    if (fair === undefined) return;
    // The next run may lock other keys first. The old primary lives on meanwhile.
    if (fair.hasChosenPrimary) this.#primary = undefined;
    else if (this.#primary === undefined) this.#heartbeat.stop();
    this.#giveBack(fair.next(this.#now()));
  }

  /** The statement has failed: its locks are given back. Does nothing when fair locking is off. */
  cancelFair(): void {
    const fair = this.#fair;
    if (fair === undefined) return;
    this.#fair = undefined;
    if (fair.hasChosenPrimary) this.#primary = undefined;
    if (this.#primary === undefined) this.#heartbeat.stop();
    this.#giveBack([...fair.keys()]);
  }

  /** The statement is done: its locks are the transaction's. Does nothing when fair locking is off. */
  doneFair(): void {
    const fair = this.#fair;
    if (fair === undefined) return;
    // Whatever fails from here on, no later call takes the statement to be running.
    this.#fair = undefined;
    if (this.#primary === undefined) this.#heartbeat.stop();
    this.#giveBack(fair.unused());
    this.#hold(Array.from(fair.current.values(), ({ locked }) => locked), false);
  }

  /** Gives back every lock, those included that may only be there. No more are taken. */
  async release(operation: Operation): Promise<void> {
    this.#heartbeat.close();
    (await this.#turns.acquire(operation.deadline, WAIT_FOR_CALLS)).release();
    const keys = this.#takeAll();
    try {
      if (keys.length > 0) await releaseLocks(this.#txn, { keys, forUpdateTs: this.#forUpdateTs }, operation);
    } catch (error) {
      // Whoever calls may try once more.
      for (const key of keys) this.#doubtful.add(key);
      throw error;
    }
  }

  /** As {@linkcode release}, without making anybody wait. */
  releaseInBackground(): void {
    this.#heartbeat.close();
    this.#giveBack(this.#takeAll());
  }

  /** Gives back what the commit does not know of; call when the transaction is over. */
  releaseDoubtful(): void {
    const keys = [...this.#doubtful].filter((key) => !this.#held.has(key));
    this.#doubtful.clear();
    this.#giveBack(keys);
  }

  async #lock(
    targets: readonly LockTarget[],
    wishes: LockWishes,
    operation: Operation,
  ): Promise<LockedKey[]> {
    const [first, ...rest] = targets;
    if (first === undefined) return [];
    this.assertKept();
    if (this.#fair !== undefined && wishes.isShared) {
      throw new TikvError("misuse", "Cannot lock in share mode: a statement with fair locking is running");
    }
    if (this.#primary === undefined && wishes.isShared) {
      throw new TikvError(
        "misuse",
        "Cannot lock in share mode: the transaction needs an exclusive lock first, which becomes its primary",
      );
    }
    await this.#releases.wait(targets.map(({ key }) => key), operation);
    const hadPrimary = this.#primary !== undefined;
    const locked: LockedKey[] = [];
    try {
      let left = targets;
      if (wishes.locksOnlyIfExists && rest.length > 0) {
        // Only what is there can be the primary, which the others need.
        while (this.#primary === undefined && left.length > 0) {
          locked.push(...await this.#lockSome(left.slice(0, 1), wishes, operation));
          left = left.slice(1);
        }
      }
      if (left.length > 0) locked.push(...await this.#lockSome(left, wishes, operation));
    } catch (error) {
      await this.#undo(targets, error, operation);
      if (!hadPrimary) this.#forgetPrimary();
      throw error;
    }
    for (const { key } of targets) this.#doubtful.delete(key);
    this.#note(locked, wishes);
    return locked;
  }

  async #lockSome(
    targets: readonly LockTarget[],
    wishes: LockWishes,
    operation: Operation,
  ): Promise<LockedKey[]> {
    const [first] = targets as [LockTarget];
    const isFirst = this.#primary === undefined;
    if (isFirst) this.#setPrimary(this.#fair?.lastPrimaryIn(targets) ?? first.key);
    const reused = new KeyMap<LockedKey>();
    const rest = targets.filter((target) => {
      const last = this.#fair?.reuse(target, wishes, this.#now());
      if (last !== undefined) reused.set(target.key, last);
      return last === undefined;
    });
    if (rest.length === 0) return [...reused.values()];
    const locked = await this.#lockAtNow(rest, wishes, operation);
    // What is not there was not locked, so it cannot be the primary either.
    if (isFirst && wishes.locksOnlyIfExists && locked[0]?.exists !== true) this.#forgetPrimary();
    return [...reused.values(), ...locked];
  }

  /** Without a timestamp of the caller's, a version that came in between is not his business. */
  async #lockAtNow(
    targets: readonly LockTarget[],
    wishes: LockWishes,
    operation: Operation,
  ): Promise<LockedKey[]> {
    const { session } = this.#txn;
    const waitUntil = wishes.waitMs === 0 ? undefined : this.#now() + wishes.waitMs;
    for (;;) {
      const forUpdateTs = wishes.forUpdateTs ?? await session.oracle.timestamp(operation);
      this.#raise(forUpdateTs);
      try {
        return await this.#send(targets, { ...wishes, forUpdateTs, waitUntil }, operation);
      } catch (error) {
        const isLate = TikvError.is(error) && error.kind === "write-conflict";
        if (!isLate || wishes.forUpdateTs !== undefined) throw error;
        await operation.backoffs.wait("txnLockFast", error);
      }
    }
  }

  async #send(
    targets: readonly LockTarget[],
    wishes: LockWishes & { readonly forUpdateTs: bigint; readonly waitUntil: number | undefined },
    operation: Operation,
  ): Promise<LockedKey[]> {
    const primary = this.#primary as Uint8Array;
    const locked = new KeyMap<LockedKey>();
    const isFirstLock = targets.length === 1 && this.#held.size === 0 && (this.#fair?.size ?? 0) === 0 &&
      this.#doubtful.size === 0;
    const doubtfulBefore = new KeySet(targets.flatMap(({ key }) => this.#doubtful.has(key) ? [key] : []));
    // From here on a request may be on its way, also when the call has ended.
    for (const { key } of targets) this.#doubtful.add(key);
    const call: LockCall = {
      txn: this.#txn,
      primary,
      ...wishes,
      isFirstLock,
      allowsConflict: wishes.isFair && targets.length === 1 && !wishes.isShared,
      take: (key) => {
        locked.set(key.target.key, key);
        this.#raise(key.forUpdateTs);
        const isMissing = wishes.locksOnlyIfExists && key.exists !== true;
        // From here on others wait for it: it has to be kept alive also while the rest is locked.
        if (!isMissing && equalBytes(key.target.key, primary)) this.#heartbeat.start(primary);
      },
    };
    const whole = operation.fork({ keepsDoubt: true });
    try {
      await sendLocks(call, targets, whole);
    } catch (error) {
      const [first, ...rest] = targets as [LockTarget];
      // The store has answered each request for the only key, so it is known not to be locked.
      const isSettled = rest.length === 0 && !whole.hadDoubt && !doubtfulBefore.has(first.key);
      if (isSettled) this.#doubtful.delete(first.key);
      throw error;
    } finally {
      operation.join(whole);
    }
    return targets.flatMap(({ key }) => locked.get(key) ?? []);
  }

  #note(locked: readonly LockedKey[], wishes: LockWishes): void {
    const there = locked.filter(({ exists }) => !wishes.locksOnlyIfExists || exists === true);
    if (this.#fair === undefined) return this.#hold(there, wishes.isShared);
    for (const lock of there) {
      if (this.#fair.current.has(lock.target.key)) continue;
      this.#fair.add({ locked: lock, hasValue: wishes.returnsValues });
    }
  }

  #hold(locks: readonly LockedKey[], isShared: boolean): void {
    this.#held.add(locks, isShared);
    for (const { target, exists } of locks) this.#onHeld(target.key, { exists, isShared });
  }

  /** After a failure of a lock call. */
  async #undo(targets: readonly LockTarget[], error: unknown, operation: Operation): Promise<void> {
    const keys = targets.map(({ key }) => key)
      .filter((key) => this.#doubtful.has(key) || this.#fair?.current.has(key) === true);
    const released = this.#giveBack(keys);
    // The others of the circle wait for just these locks.
    const isDeadlock = TikvError.is(error) && error.kind === "deadlock";
    if (isDeadlock) await operation.deadline.race(released, "give locks back").catch(() => {});
  }

  /**
   * Begins to give locks back. A request that is still on its way may lock a key after this: the end of
   * the transaction looks after it once more.
   */
  #giveBack(keys: readonly Uint8Array[]): Promise<void> {
    for (const key of keys) this.#fair?.drop(key);
    return this.#releases.start({ keys, forUpdateTs: this.#forUpdateTs });
  }

  #takeAll(): Uint8Array[] {
    const keys = [...new KeySet([...this.#held.keys(), ...this.#doubtful, ...this.#fair?.keys() ?? []])];
    this.#held.clear();
    this.#doubtful.clear();
    this.#fair = undefined;
    return keys;
  }

  #setPrimary(key: Uint8Array): void {
    this.#primary = key;
    this.#fair?.choosePrimary(key);
  }

  #forgetPrimary(): void {
    this.#primary = undefined;
    this.#fair?.choosePrimary(undefined);
    this.#heartbeat.stop();
  }

  #raise(forUpdateTs: bigint): void {
    if (forUpdateTs > this.#forUpdateTs) this.#forUpdateTs = forUpdateTs;
  }

  #now(): number {
    return this.#txn.session.settings.environment.clock.now();
  }

  #shown(key: Uint8Array): string {
    return shortKey(key, this.#txn.session.settings.revealKeys);
  }
}

const WAIT_FOR_CALLS = "wait for other lock calls";

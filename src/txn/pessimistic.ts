// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { KeyMap, KeySet } from "../bytes/key_map.ts";
import { TikvError } from "../errors.ts";
import { runParts } from "../plan/run.ts";
import { releaseInBackground, releaseLocks } from "./committer_cleanup.ts";
import type { TxnIdentity } from "./committer_run.ts";
import type { Heartbeat } from "./heartbeat.ts";
import {
  type LockCall,
  type LockedKey,
  lockPart,
  lockPartsOf,
  type LockTarget,
} from "./pessimistic_request.ts";

/** What a lock call wants. */
export interface LockWishes {
  /** Versions after it are a write conflict; absent: now, and again if somebody was faster. */
  readonly forUpdateTs?: bigint | undefined;
  /** How long locks of others are waited for; 0: not at all, `Infinity`: as long as the call lasts. */
  readonly waitMs: number;
  readonly returnsValues: boolean;
  readonly checksExistence: boolean;
  readonly locksOnlyIfExists: boolean;
  readonly isShared: boolean;
}

/** A lock that the transaction holds. */
export interface HeldLock {
  /** Undefined when it was never asked for. */
  readonly exists: boolean | undefined;
  readonly isShared: boolean;
}

/** The pessimistic locks of one transaction: which it holds, and which of them is the primary. */
export class PessimisticLocks {
  readonly #txn: TxnIdentity;
  readonly #heartbeat: Heartbeat;
  readonly #held = new KeyMap<HeldLock>();
  /** Keys that may be locked although nobody said so: answers were lost. */
  readonly #doubtful = new KeySet();
  #primary: Uint8Array | undefined;
  #forUpdateTs = 0n;
  #last: Promise<unknown> = Promise.resolve();

  constructor(txn: TxnIdentity, heartbeat: Heartbeat) {
    this.#txn = txn;
    this.#heartbeat = heartbeat;
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
    return this.#held.size;
  }

  heldLock(key: Uint8Array): HeldLock | undefined {
    return this.#held.get(key);
  }

  /**
   * Locks keys that are not locked yet, each of them once and in order. All or nothing: when it
   * fails, the locks that it took are given back.
   */
  lock(targets: readonly LockTarget[], wishes: LockWishes, operation: Operation): Promise<LockedKey[]> {
    // One call at a time: the first one chooses the primary.
    const next = this.#last.then(() => this.#lock(targets, wishes, operation));
    this.#last = next.catch(() => {});
    return next;
  }

  /** Gives back every lock, those included that may only be there. */
  async release(operation: Operation): Promise<void> {
    this.#heartbeat.stop();
    const keys = [...this.#held.keys(), ...this.#doubtful];
    if (keys.length > 0) await releaseLocks(this.#txn, { keys, forUpdateTs: this.#forUpdateTs }, operation);
    this.#held.clear();
    this.#doubtful.clear();
  }

  /** As {@linkcode release}, without making anybody wait. */
  releaseInBackground(): void {
    this.#heartbeat.stop();
    const keys = [...this.#held.keys(), ...this.#doubtful];
    releaseInBackground(this.#txn, { keys, forUpdateTs: this.#forUpdateTs });
    this.#held.clear();
    this.#doubtful.clear();
  }

  /** Gives back what the commit does not know of; call when the transaction is over. */
  releaseDoubtful(): void {
    const keys = [...this.#doubtful].filter((key) => !this.#held.has(key));
    this.#doubtful.clear();
    releaseInBackground(this.#txn, { keys, forUpdateTs: this.#forUpdateTs });
  }

  async #lock(
    targets: readonly LockTarget[],
    wishes: LockWishes,
    operation: Operation,
  ): Promise<LockedKey[]> {
    const [first] = targets;
    if (first === undefined) return [];
    const hasPrimary = this.#primary !== undefined;
    if (!hasPrimary) {
      if (wishes.isShared) {
        throw new TikvError(
          "misuse",
          "Cannot lock in share mode: the transaction needs an exclusive lock first, which becomes its primary",
        );
      }
      if (wishes.locksOnlyIfExists && targets.length > 1) {
        throw new TikvError(
          "misuse",
          "Cannot lock several keys only if they exist: none of them is sure to become the primary",
        );
      }
      this.#primary = first.key;
    }
    try {
      const locked = await this.#lockAtNow(targets, wishes, operation);
      this.#note(locked, wishes);
      return locked;
    } catch (error) {
      await this.#giveBack(targets, error, operation);
      if (!hasPrimary) this.#forgetPrimary();
      throw error;
    }
  }

  /** Without a timestamp of the caller's, a version that came in between is not his business. */
  async #lockAtNow(
    targets: readonly LockTarget[],
    wishes: LockWishes,
    operation: Operation,
  ): Promise<LockedKey[]> {
    const { session } = this.#txn;
    const { clock } = session.settings.environment;
    const waitUntil = wishes.waitMs === 0 ? undefined : clock.now() + wishes.waitMs;
    for (;;) {
      const forUpdateTs = wishes.forUpdateTs ?? await session.oracle.timestamp(operation);
      if (forUpdateTs > this.#forUpdateTs) this.#forUpdateTs = forUpdateTs;
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
    const call: LockCall = {
      txn: this.#txn,
      primary,
      ...wishes,
      isFirstLock: this.#held.size === 0 && targets.length === 1,
      allowsConflict: false,
      take: (key) => {
        locked.set(key.target.key, key);
        // From here on others wait for it: it has to be kept alive also while the rest is locked.
        if (equalBytes(key.target.key, primary)) this.#heartbeat.start(primary);
      },
    };
    const whole = operation.fork({ keepsDoubt: true });
    const { concurrency } = this.#txn.session.routing;
    try {
      const parts = await lockPartsOf(call, targets, { operation: whole, isRetry: false });
      const at = parts.findIndex((part) => part.targets.some(({ key }) => equalBytes(key, primary)));
      // The primary first: a lock whose primary does not exist would be taken for one that is over.
      const [first] = at < 0 ? [] : parts.splice(at, 1);
      for (const some of first === undefined ? [parts] : [[first], parts]) {
        await runParts(some, (part, ofPart) => lockPart(call, part, ofPart), {
          operation: whole,
          concurrency,
        });
      }
    } finally {
      operation.join(whole);
    }
    return targets.flatMap(({ key }) => locked.get(key) ?? []);
  }

  #note(locked: readonly LockedKey[], wishes: LockWishes): void {
    for (const { target, exists } of locked) {
      if (wishes.locksOnlyIfExists && exists !== true) {
        // It was not locked, so it cannot be the primary either.
        if (this.#primary !== undefined && equalBytes(target.key, this.#primary)) this.#forgetPrimary();
        continue;
      }
      this.#held.set(target.key, { exists, isShared: wishes.isShared });
    }
  }

  async #giveBack(targets: readonly LockTarget[], error: unknown, operation: Operation): Promise<void> {
    const kind = TikvError.is(error) ? error.kind : undefined;
    // The store has answered for the only key that it did not lock it.
    if (targets.length === 1 && (kind === "write-conflict" || kind === "key-exists")) return;
    const keys = targets.map(({ key }) => key);
    const release = { keys, forUpdateTs: this.#forUpdateTs };
    if (kind === "deadlock" && !operation.deadline.isOver()) {
      // The others of the circle wait for just these locks.
      return await releaseLocks(this.#txn, release, operation.fork()).catch(() =>
        releaseInBackground(this.#txn, release)
      );
    }
    // A request that is still on its way may lock a key after this: the end of the transaction
    // looks after it once more.
    for (const key of keys) this.#doubtful.add(key);
    releaseInBackground(this.#txn, release);
  }

  #forgetPrimary(): void {
    this.#primary = undefined;
    this.#heartbeat.stop();
  }
}

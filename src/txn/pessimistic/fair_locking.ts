// SPDX-License-Identifier: Apache-2.0
// What is locked by a statement that may be run again: not yet for good, and kept from run to run.

import { equalBytes } from "../../bytes/compare.ts";
import { KeyMap } from "../../bytes/key_map.ts";
import { TikvError } from "../../errors.ts";
import { KeyExistsError } from "../../txn_errors.ts";
import type { LockedKey, LockTarget } from "./pessimistic_request.ts";

/** A lock that the statement holds. */
export interface FairLock {
  readonly locked: LockedKey;
  /** The value was asked for, so that it is known. */
  readonly hasValue: boolean;
}

/** What a lock call wants. */
export interface FairWishes {
  readonly forUpdateTs?: bigint | undefined;
  readonly returnsValues: boolean;
  readonly checksExistence: boolean;
}

/**
 * The locks of one statement: those of the run that is on, and those of the run before it that this
 * one has not asked for so far. What a third run does not ask for either is given back.
 */
export class FairStage {
  readonly #shown: (key: Uint8Array) => string;
  #current: KeyMap<FairLock> = new KeyMap();
  #last: KeyMap<FairLock> = new KeyMap();
  #primary: Uint8Array | undefined;
  #lastPrimary: Uint8Array | undefined;
  #beganAt: number;
  #lastBeganAt: number;

  /** `now` is a point on the clock; `shown` is how keys are written in messages. */
  constructor(now: number, shown: (key: Uint8Array) => string) {
    this.#beganAt = this.#lastBeganAt = now;
    this.#shown = shown;
  }

  /** Keys of this run. */
  get current(): KeyMap<FairLock> {
    return this.#current;
  }

  /** How many keys are locked. */
  get size(): number {
    return this.#current.size + this.#last.size;
  }

  /** Whether the transaction has its primary because of this run. */
  get hasChosenPrimary(): boolean {
    return this.#primary !== undefined;
  }

  /** All keys, those of the run before included. */
  *keys(): Generator<Uint8Array, void, undefined> {
    yield* this.#current.keys();
    yield* this.#last.keys();
  }

  /** Keys of the run before that this one has not asked for. */
  unused(): Uint8Array[] {
    return [...this.#last.keys()];
  }

  /** The primary of the run before, if it is among some keys: with that one its locks can be used again. */
  lastPrimaryIn(targets: readonly LockTarget[]): Uint8Array | undefined {
    const last = this.#lastPrimary;
    return last !== undefined && targets.some(({ key }) => equalBytes(key, last)) ? last : undefined;
  }

  /** Notes the primary that the transaction has got in this run; undefined when it has lost it again. */
  choosePrimary(primary: Uint8Array | undefined): void {
    this.#primary = primary;
  }

  /**
   * Takes a lock over from the run before, if it saves a request; undefined if there is none that does.
   * What it was in spite of is of no interest any more: the run that knew less is over.
   */
  reuse(target: LockTarget, wishes: FairWishes, now: number): LockedKey | undefined {
    const { key, shouldNotExist } = target;
    const last = this.#last.get(key);
    if (last === undefined) return undefined;
    const { conflictTs, exists } = last.locked;
    if (wishes.forUpdateTs !== undefined && wishes.forUpdateTs < conflictTs) {
      const seen = `it was written at ${conflictTs}`;
      throw new TikvError("misuse", `Cannot lock key ${this.#shown(key)} at ${wishes.forUpdateTs}: ${seen}`);
    }
    if (!this.#canReuse(last, wishes, now)) return undefined;
    if (shouldNotExist && exists === true) {
      throw new KeyExistsError(`Cannot insert key ${this.#shown(key)}: it exists already`, { key });
    }
    this.#last.delete(key);
    this.#current.set(key, last);
    return { ...last.locked, target, conflictTs: 0n };
  }

  /** Notes a lock of this run. */
  add(lock: FairLock): void {
    const { key } = lock.locked.target;
    this.#last.delete(key);
    this.#current.set(key, lock);
  }

  /** Forgets a key that is being given back. */
  drop(key: Uint8Array): void {
    this.#last.delete(key);
    this.#current.delete(key);
  }

  /** Begins the next run. Returns the keys that two runs in a row have not asked for. */
  next(now: number): Uint8Array[] {
    const unused = this.unused();
    this.#last = this.#current;
    this.#current = new KeyMap();
    this.#lastPrimary = this.#primary;
    this.#primary = undefined;
    this.#lastBeganAt = this.#beganAt;
    this.#beganAt = now;
    return unused;
  }

  /** It names the right primary, tells what is asked for now, and is young enough to be there still. */
  #canReuse({ locked, hasValue }: FairLock, wishes: FairWishes, now: number): boolean {
    const isSamePrimary = this.#primary === undefined ||
      (this.#lastPrimary !== undefined && equalBytes(this.#primary, this.#lastPrimary));
    if (!isSamePrimary || now - this.#lastBeganAt >= REUSE_MS) return false;
    // After a conflict everything is told, asked for or not.
    if (hasValue || locked.conflictTs > 0n) return true;
    return !wishes.returnsValues && (!wishes.checksExistence || locked.exists !== undefined);
  }
}

/** How long a lock lives that nobody keeps alive; client-go's `ManagedLockTTL`. */
const REUSE_MS = 20_000;

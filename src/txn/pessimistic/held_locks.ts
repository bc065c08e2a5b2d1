// SPDX-License-Identifier: Apache-2.0

import { KeyMap, type ReadonlyKeyMap } from "../../bytes/key_map.ts";
import { TikvError } from "../../errors.ts";
import type { LockedKey } from "./pessimistic_request.ts";

/** A lock that the transaction holds. */
export interface HeldLock {
  /** Undefined when it was never asked for. */
  readonly exists: boolean | undefined;
  readonly isShared: boolean;
}

/** The pessimistic locks that a transaction has for good. */
export class HeldLocks {
  readonly #held = new KeyMap<HeldLock>();
  readonly #constraints = new KeyMap<bigint>();
  #sharedCount = 0;

  get size(): number {
    return this.#held.size;
  }

  /** What for-update timestamp the locks of fair locking have: with another one it is not that lock. */
  get constraints(): ReadonlyKeyMap<bigint> {
    return this.#constraints;
  }

  get(key: Uint8Array): HeldLock | undefined {
    return this.#held.get(key);
  }

  has(key: Uint8Array): boolean {
    return this.#held.has(key);
  }

  keys(): Iterable<Uint8Array> {
    return this.#held.keys();
  }

  /** Whether it is there and others may have it as well. */
  isShared(key: Uint8Array): boolean {
    return this.#sharedCount > 0 && this.#held.get(key)?.isShared === true;
  }

  add(locks: readonly LockedKey[], isShared: boolean): void {
    for (const { target, exists, forUpdateTs, isFair } of locks) {
      this.#held.set(target.key, { exists, isShared });
      if (isShared) this.#sharedCount++;
      if (isFair && !this.#constraints.has(target.key)) this.#constraints.set(target.key, forUpdateTs);
    }
  }

  clear(): void {
    this.#held.clear();
  }
}

/** Whether a key has still to be locked. Throws for a lock that is not enough and cannot be changed. */
export function needsLock(held: HeldLock | undefined, isShared: boolean): boolean {
  if (held === undefined) return true;
  if (isShared || !held.isShared) return false;
  throw new TikvError(
    "misuse",
    "Cannot lock the key: the transaction has it in share mode, which cannot be changed",
  );
}

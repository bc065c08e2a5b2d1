// SPDX-License-Identifier: Apache-2.0

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Timestamp } from "../../types.ts";

/** A transaction that waits for another one's lock. */
export interface ResolvingLock {
  /** When the caller reads, or began. */
  readonly callerTs: Timestamp;
  /** When the transaction began that has the lock. */
  readonly lockTs: Timestamp;
  /** The locked key. */
  readonly key: Uint8Array;
  /** The key that decides over the transaction. */
  readonly primary: Uint8Array;
}

/** What one caller waits for. */
export interface LockWatch {
  /** The locks that it waits for by now. */
  update(locks: readonly LockInfo[]): void;
  /** It waits no more. */
  done(): void;
}

/** Who waits for which locks at this moment, for those who want to know. */
export class LockRegistry {
  readonly #watches = new Map<LockWatch, readonly ResolvingLock[]>();

  /** Begins to watch a caller. Every watch has to be done. */
  watch(callerTs: bigint): LockWatch {
    const watch: LockWatch = {
      update: (locks) =>
        void this.#watches.set(
          watch,
          locks.map(({ lockVersion, key, primaryLock }) => ({
            callerTs: callerTs as Timestamp,
            lockTs: lockVersion as Timestamp,
            key,
            primary: primaryLock,
          })),
        ),
      done: () => void this.#watches.delete(watch),
    };
    return watch;
  }

  /** All of them. */
  list(): ResolvingLock[] {
    return [...this.#watches.values()].flat();
  }
}

// SPDX-License-Identifier: Apache-2.0

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { shortKey } from "../../bytes/hex.ts";
import { TikvError } from "../../errors.ts";
import type { KnownLocks } from "./known_locks.ts";
import type { LockWatch } from "../locks/lock_registry.ts";
import type { SnapshotReads } from "./snapshot_reads.ts";

/** How locks of one read are dealt with. */
export interface LockedReadOptions {
  /** What the requests of the read say of locks. */
  readonly known: KnownLocks;
  /** Only the locks that were met are taken away. */
  readonly isLite: boolean;
  /** What is asked for is not in the locks, so that the read has to wait until they are gone. */
  readonly needsCleanUp: boolean;
}

/** A read that met locks: what it waits for, and what it has found out about them. */
export class LockedRead {
  readonly #reads: SnapshotReads;
  readonly #options: LockedReadOptions;
  readonly #watch: LockWatch;
  #firstLockTs: bigint | undefined;
  #hastyRounds = 0;

  constructor(reads: SnapshotReads, options: LockedReadOptions) {
    this.#reads = reads;
    this.#options = options;
    this.#watch = reads.parts.locks.waits.watch(reads.ts);
  }

  /** Returns when the read is worth another try. */
  async settle(locks: readonly LockInfo[], operation: Operation): Promise<void> {
    const reads = this.#reads;
    const { known, isLite, needsCleanUp } = this.#options;
    if (this.#isOverridden(locks)) return known.ignore(locks.map(({ lockVersion }) => lockVersion));
    this.#watch.update(locks);
    const { clock } = operation.environment;
    const metAt = clock.now();
    const { waitMs, ignored, readThrough } = await reads.parts.locks.resolve(locks, {
      callerTs: reads.ts,
      mode: "read",
      context: reads.settings.context,
      isLite,
      needsCleanUp,
    }, operation);
    reads.settings.details?.addLocks(locks.length, clock.now() - metAt);
    if (ignored.length > 0) known.ignore(ignored);
    if (readThrough.length > 0) known.readThrough(readThrough);
    if (waitMs > 0) {
      this.#hastyRounds = 0;
      await operation.backoffs.wait("txnLockFast", this.#error(locks), { maxMs: waitMs });
    } else if (++this.#hastyRounds > MAX_HASTY_ROUNDS) {
      // Whatever the store does not understand about these locks, it must not be asked without end.
      await operation.backoffs.wait("txnLockFast", this.#error(locks));
    }
  }

  /** It waits no more. */
  done(): void {
    this.#watch.done();
  }

  /**
   * A read of the latest data may be ordered before every transaction but the one that it met
   * first: others that come in between need not be waited for, or a busy key could never be read.
   */
  #isOverridden(locks: readonly LockInfo[]): boolean {
    const first = this.#firstLockTs ??= locks[0]?.lockVersion;
    return this.#reads.isLatest && locks.every(({ lockVersion }) => lockVersion !== first);
  }

  #error(locks: readonly LockInfo[]): TikvError {
    const { revealKeys } = this.#reads.parts.session.settings;
    const [first] = locks;
    const key = first === undefined ? "" : ` ${shortKey(first.key, revealKeys)}`;
    const seen = `it is locked by the transaction that began at ${first?.lockVersion}`;
    return new TikvError("timeout", `Cannot read key${key}: ${seen}`);
  }
}

/** Tries without a wait before one is taken all the same. */
const MAX_HASTY_ROUNDS = 3;

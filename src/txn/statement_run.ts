// SPDX-License-Identifier: Apache-2.0
// One run of a statement that works on current data.

import type { Operation } from "../async/operation.ts";
import { shortKey } from "../bytes/hex.ts";
import { KeySet } from "../bytes/key_map.ts";
import { TikvError } from "../errors.ts";
import { DeadlockError, WriteConflictError } from "../txn_errors.ts";
import type { Timestamp } from "../types.ts";
import type { TxnIdentity } from "./commit/committer_run.ts";
import type { LockedKey, LockTarget } from "./pessimistic/pessimistic_request.ts";
import type { SnapshotSource } from "./transaction_reads.ts";

/** What a run is made with. */
export interface StatementRunParts {
  readonly txn: TxnIdentity;
  readonly snapshotAt: (ts: Timestamp) => SnapshotSource;
}

/** Why a statement has to be run again. */
export interface StatementConflict {
  readonly error: TikvError;
  /** The key is locked by now: nobody else can be faster the next time. */
  readonly isLocked: boolean;
}

/**
 * One run: as of when it reads, and whether that turned out to be too old.
 *
 * Its timestamp is that of its first read. Before that its locks are as of any time; after it, a key
 * that was written later and is locked now means that the reads may have missed just that.
 */
export class StatementRun {
  readonly #txn: TxnIdentity;
  readonly #snapshotAt: (ts: Timestamp) => SnapshotSource;
  readonly #over = new AbortController();
  #readTs: Timestamp | undefined;
  #source: SnapshotSource | undefined;
  #conflict: StatementConflict | undefined;

  constructor({ txn, snapshotAt }: StatementRunParts) {
    this.#txn = txn;
    this.#snapshotAt = snapshotAt;
  }

  /** Aborted when the run is over: calls that it has started end with it. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** The timestamp of its reads; undefined before the first one. */
  get readTs(): Timestamp | undefined {
    return this.#readTs;
  }

  /** Why it has to be run again; undefined if it has not. */
  get conflict(): StatementConflict | undefined {
    return this.#conflict;
  }

  /** What it reads from. */
  async source(operation: Operation): Promise<SnapshotSource> {
    const ts = this.#readTs ?? await this.#txn.session.oracle.timestamp(operation);
    // Who asked at the same time may have been faster.
    this.#readTs ??= ts;
    return this.#source ??= this.#snapshotAt(this.#readTs);
  }

  /** Looks at what was locked; throws when its reads are older than that. */
  onLocked(locked: readonly LockedKey[]): void {
    const { session } = this.#txn;
    for (const { target, forUpdateTs } of locked) {
      if (this.#readTs === undefined || forUpdateTs <= this.#readTs) continue;
      const shown = shortKey(target.key, session.settings.revealKeys);
      const error = new WriteConflictError(
        `Cannot go on with the statement: key ${shown} was written at ${forUpdateTs}, after it was read`,
        {
          key: target.key,
          startTs: this.#readTs,
          conflictTs: 0n as Timestamp,
          conflictCommitTs: forUpdateTs as Timestamp,
          reason: "pessimistic-retry",
        },
      );
      this.#conflict ??= { error, isLocked: true };
      throw error;
    }
  }

  /** Looks at why keys could not be locked: to run it again may help. */
  onLockFailure(error: unknown, targets: readonly LockTarget[]): void {
    const isLate = TikvError.is(error) && error.kind === "write-conflict";
    if (isLate || this.#isBrokenDeadlock(error, targets)) {
      this.#conflict ??= { error: error as TikvError, isLocked: false };
    }
  }

  /** Ends the run, for a reason that the calls that are left get. */
  end(): void {
    this.#over.abort(new TikvError("misuse", "Cannot go on: the statement that it belongs to is over"));
  }

  /** The circle was one because of keys of the call that failed, which are free again. */
  #isBrokenDeadlock(error: unknown, targets: readonly LockTarget[]): boolean {
    if (!(error instanceof DeadlockError)) return false;
    const keys = new KeySet(targets.map(({ key }) => key));
    return error.waitChain.some(({ waitsForTs, key }) => waitsForTs === this.#txn.startTs && keys.has(key));
  }
}

// SPDX-License-Identifier: Apache-2.0
// Async commits whose owner is gone. They are committed when all of their keys were prewritten,
// which the keys themselves tell; the timestamp is the largest of those that they demand.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import type { ContextFields } from "../../rpc/context.ts";
import type { LockCalls } from "./lock_calls.ts";
import { type FinalStatus, keysOfAsyncCommit } from "./txn_status.ts";

/** How an async commit ended, or `sync` when it has gone on as a plain commit: its primary decides then. */
export type Recovered = FinalStatus | { readonly state: "sync" };

/** What is read of an answer of `CheckSecondaryLocks`. */
export interface SecondariesReply {
  readonly locks: readonly LockInfo[];
  readonly commitTs: bigint;
}

/** Puts the answers of all regions together. */
export class Secondaries {
  readonly #startTs: bigint;
  /** The least that the locks which were found demand. */
  #minCommitTs: bigint;
  /** The timestamp that keys without a lock tell; 0 when they were rolled back. */
  #decidedTs: bigint | undefined;
  #isSync = false;

  constructor(primary: LockInfo) {
    this.#startTs = primary.lockVersion;
    this.#minCommitTs = primary.minCommitTs;
  }

  /** Takes the answer for `count` keys. */
  add({ locks, commitTs }: SecondariesReply, count: number): void {
    if (locks.length < count) {
      // A key without a lock tells how it ended, or was kept from ever having one.
      if (this.#decidedTs !== undefined && this.#decidedTs !== commitTs) {
        throw this.#broken(`one key says ${endText(this.#decidedTs)}, another ${endText(commitTs)}`);
      }
      this.#decidedTs = commitTs;
    }
    for (const lock of locks) {
      if (lock.lockVersion !== this.#startTs) {
        throw this.#broken(`the answer has a lock of transaction ${lock.lockVersion}`);
      }
      if (!lock.useAsyncCommit) this.#isSync = true;
      if (lock.minCommitTs > this.#minCommitTs) this.#minCommitTs = lock.minCommitTs;
    }
  }

  /** What the keys say together. */
  outcome(): Recovered {
    // A lock that is no async commit's takes no part in the decision, so the keys cannot decide.
    if (this.#isSync) return { state: "sync" };
    if (this.#decidedTs === 0n) return { state: "rolled-back" };
    if (this.#decidedTs === undefined) return { state: "committed", commitTs: this.#minCommitTs };
    if (this.#decidedTs < this.#minCommitTs) {
      throw this.#broken(`one key was committed at ${this.#decidedTs}, another demands ${this.#minCommitTs}`);
    }
    return { state: "committed", commitTs: this.#decidedTs };
  }

  #broken(seen: string): TikvError {
    return new TikvError("protocol", `Cannot tell how transaction ${this.#startTs} ended: ${seen}`);
  }
}

/** Asks all keys of an async commit. */
export async function recover(
  calls: LockCalls,
  primary: LockInfo,
  { operation, context }: { readonly operation: Operation; readonly context?: ContextFields | undefined },
): Promise<Recovered> {
  const secondaries = new Secondaries(primary);
  await calls.checkSecondaries(primary.secondaries, primary.lockVersion, {
    operation,
    context,
    take: (reply, keys) => secondaries.add(reply, keys.length),
  });
  return secondaries.outcome();
}

/** All keys that may be locked by an async commit. */
export function keysOf(primary: LockInfo, primaryKey: Uint8Array): Uint8Array[] {
  return keysOfAsyncCommit(primaryKey, primary.secondaries);
}

function endText(commitTs: bigint): string {
  return commitTs === 0n ? "that it was rolled back" : `that it was committed at ${commitTs}`;
}

// SPDX-License-Identifier: Apache-2.0
// Locks of other transactions, as stores tell of them.

import { type LockInfo, Op } from "../../../gen/kvrpcpb_pb.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { hex } from "../../bytes/hex.ts";

/** A lock that was taken to keep others away while its transaction still runs; nothing is written yet. */
export function isPessimisticLock({ lockType }: Pick<LockInfo, "lockType">): boolean {
  return lockType === Op.PessimisticLock || lockType === Op.SharedPessimisticLock;
}

/** The lock is on the key that decides over its transaction. */
export function isPrimaryLock({ key, primaryLock }: Pick<LockInfo, "key" | "primaryLock">): boolean {
  return equalBytes(key, primaryLock);
}

/**
 * The locks of transactions that a lock consists of. Where several transactions share a key, what a
 * store tells of is a wrapper, whose own timestamp and primary mean nothing.
 */
export function singleLocksOf(lock: LockInfo): readonly LockInfo[] {
  if (lock.sharedLockInfos.length === 0) return [lock];
  return lock.sharedLockInfos.map((one) => one.key.length > 0 ? one : { ...one, key: lock.key });
}

/** Locks of one transaction that one answer of its primary decides over. */
export interface LockGroup {
  /** Stands for all of them: they have the same transaction, kind and primary. */
  readonly first: LockInfo;
  readonly locks: readonly LockInfo[];
}

/** Sorts locks by what has to be asked about them, so that it is asked once. */
export function groupLocks(locks: readonly LockInfo[]): LockGroup[] {
  const groups = new Map<string, { first: LockInfo; locks: LockInfo[] }>();
  for (const lock of locks.flatMap(singleLocksOf)) {
    const isUnconditional = lock.lockTtl === 0n;
    const id = [lock.lockVersion, isPessimisticLock(lock), isUnconditional, hex(lock.primaryLock)].join("/");
    const group = groups.get(id);
    if (group === undefined) {
      groups.set(id, { first: lock, locks: [lock] });
    } else {
      group.locks.push(lock);
      // Whatever was written last lives longest.
      if (lock.lockTtl > group.first.lockTtl) group.first = lock;
    }
  }
  return [...groups.values()];
}

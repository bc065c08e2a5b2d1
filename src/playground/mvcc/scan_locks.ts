// SPDX-License-Identifier: Apache-2.0

import type { SortedRange } from "../sorted_map.ts";
import { lockInfoOf } from "./lock_info.ts";
import type { LockInfoInit } from "./mvcc_error.ts";
import type { Lock } from "./records.ts";
import { isShared } from "./records.ts";
import type { Tables } from "./tables.ts";

/**
 * Locks of transactions that started at or before `maxTs`, in key order. Each shared lock counts
 * towards the limit; 0 is no limit.
 */
export function scanLocks(tables: Tables, range: SortedRange, maxTs: bigint, limit: number): LockInfoInit[] {
  const found: LockInfoInit[] = [];
  let count = 0;
  for (const { key, value: record } of tables.locks.ascending(range)) {
    if (!isShared(record)) {
      if (record.startTs > maxTs) continue;
      found.push(lockInfoOf(key, record));
      count++;
    } else {
      const room = limit > 0 ? limit - count : record.locks.size;
      const locks = [...record.locks.values()].filter(({ startTs }) => startTs <= maxTs)
        .sort((a, b) => (a.startTs < b.startTs ? -1 : 1)).slice(0, room);
      if (locks.length === 0) continue;
      found.push(lockInfoOf(key, { ...record, locks: new Map(locks.map((lock) => [lock.startTs, lock])) }));
      count += locks.length;
    }
    if (limit > 0 && count >= limit) break;
  }
  return found;
}

/** The oldest transaction that has a lock in the range that may still become data. */
export function oldestLock(tables: Tables, range: SortedRange): bigint | undefined {
  let oldest: bigint | undefined;
  const see = (lock: Lock): void => {
    if (lock.kind === "pessimistic" || lock.kind === "lock") return;
    if (oldest === undefined || lock.startTs < oldest) oldest = lock.startTs;
  };
  for (const { value: record } of tables.locks.ascending(range)) {
    if (!isShared(record)) see(record);
  }
  return oldest;
}

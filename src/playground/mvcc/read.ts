// SPDX-License-Identifier: Apache-2.0
// Reading at a timestamp (`mvcc/reader/point_getter.rs`, `mvcc/reader/scanner/`).

import { WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";
import { compareBytes } from "../../bytes/compare.ts";
import type { SortedEntry, SortedRange } from "../sorted_map.ts";
import type { ReadView } from "./lock_check.ts";
import { checkLock } from "./lock_check.ts";
import { rawKey } from "./lock_info.ts";
import type { Fault } from "./mvcc_error.ts";
import { MvccError } from "./mvcc_error.ts";
import type { Lock, LockRecord, Version } from "./records.ts";
import { isShared, MAX_TS } from "./records.ts";
import type { Tables } from "./tables.ts";
import { latestPut, valueOf } from "./versions.ts";

/** A value that was read. */
export interface ReadValue {
  readonly value: Uint8Array;
  /** Undefined when it was read through a lock. */
  readonly commitTs: bigint | undefined;
}

/** A pair of a scan, or what stands in its way. */
export type ScanItem =
  | { readonly kind: "pair"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "fault"; readonly fault: Fault };

/** What one scan asks for. */
export interface ScanRequest {
  readonly range: SortedRange;
  readonly limit: number;
  readonly isReverse: boolean;
  readonly keysOnly: boolean;
  /** Takes only every n-th pair; 0 for all. */
  readonly sampleStep: number;
}

const NO_VALUE: Uint8Array = new Uint8Array(0);

/**
 * Reads one key.
 *
 * @param needsCommitTs a lock of a committed transaction then stands in the way, since the timestamp
 * is not in it
 */
export function readKey(
  tables: Tables,
  key: Uint8Array,
  view: ReadView,
  needsCommitTs: boolean = false,
): ReadValue | undefined {
  const lock = tables.lock(key);
  const through = lock === undefined ? undefined : lockToReadThrough(key, lock, view, !needsCommitTs);
  return through === undefined ? readCommitted(tables, key, view) : readLock(tables, key, through);
}

/** Reads the keys of a range in order. A locked key takes its place in the limit. */
export function scanKeys(tables: Tables, request: ScanRequest, view: ReadView): ScanItem[] {
  const items: ScanItem[] = [];
  let rows = 0;
  if (request.limit === 0) return items;
  for (const { key, value: lock } of mergedKeys(tables, request.range, request.isReverse)) {
    let found: ReadValue | undefined;
    try {
      const through = lock === undefined ? undefined : lockToReadThrough(key, lock, view, true);
      found = through === undefined ? readCommitted(tables, key, view) : readLock(tables, key, through);
    } catch (error) {
      if (!(error instanceof MvccError) || error.fault.kind !== "locked") throw error;
      items.push({ kind: "fault", fault: error.fault });
      if (items.length >= request.limit) break;
      continue;
    }
    if (found === undefined) continue;
    rows++;
    if (request.sampleStep > 0 && (rows - 1) % request.sampleStep !== 0) continue;
    items.push({ kind: "pair", key: rawKey(key), value: request.keysOnly ? NO_VALUE : found.value });
    if (items.length >= request.limit) break;
  }
  return items;
}

/** What a pipelined transaction has flushed of a key: empty when it deletes it. */
export function readFlushed(tables: Tables, key: Uint8Array, startTs: bigint): Uint8Array | undefined {
  const lock = tables.lock(key);
  if (lock === undefined || isShared(lock) || lock.startTs !== startTs) return undefined;
  if (lock.kind === "delete") return NO_VALUE;
  return lock.kind === "put" ? lock.shortValue ?? tables.value(key, startTs) : undefined;
}

/** The lock through which the reader looks; undefined when it looks past it. */
function lockToReadThrough(
  key: Uint8Array,
  record: LockRecord,
  view: ReadView,
  mayReadThrough: boolean,
): Lock | undefined {
  try {
    checkLock(key, record, view);
    return undefined;
  } catch (error) {
    if (mayReadThrough && !isShared(record) && view.access.has(record.startTs)) return record;
    throw error;
  }
}

function readLock(tables: Tables, key: Uint8Array, lock: Lock): ReadValue | undefined {
  if (lock.kind === "delete") return undefined;
  const value = lock.shortValue ?? tables.value(key, lock.startTs);
  return value === undefined ? undefined : { value, commitTs: undefined };
}

function readCommitted(tables: Tables, key: Uint8Array, view: ReadView): ReadValue | undefined {
  if (view.isolation === "read-committed-check-ts") checkNothingNewer(tables, key, view.ts);
  const version: Version | undefined = latestPut(tables, key, view.ts, view.ts);
  if (version === undefined) return undefined;
  return { value: valueOf(tables, key, version.write), commitTs: version.commitTs };
}

function checkNothingNewer(tables: Tables, key: Uint8Array, ts: bigint): void {
  const newest = tables.seek(key, MAX_TS);
  if (newest === undefined || newest.commitTs <= ts) return;
  throw new MvccError({
    kind: "write-conflict",
    startTs: ts,
    conflictStartTs: 0n,
    conflictCommitTs: newest.commitTs,
    key: rawKey(key),
    primary: NO_VALUE,
    reason: WriteConflict_Reason.RcCheckTs,
  });
}

/** Keys with versions or locks, each once, in the order of the scan. */
function* mergedKeys(
  tables: Tables,
  range: SortedRange,
  isReverse: boolean,
): Generator<{ readonly key: Uint8Array; readonly value: LockRecord | undefined }, void> {
  const locks = isReverse ? tables.locks.descending(range) : tables.locks.ascending(range);
  const keys = tables.versionedKeys(range, isReverse);
  const nextLock = (): SortedEntry<LockRecord> | undefined => locks.next().value ?? undefined;
  const nextKey = (): Uint8Array | undefined => keys.next().value ?? undefined;
  let lock = nextLock();
  let key = nextKey();
  while (lock !== undefined || key !== undefined) {
    const order = lock === undefined ? 1 : key === undefined ? -1 : compareBytes(lock.key, key);
    const isLockFirst = isReverse && lock !== undefined && key !== undefined ? order > 0 : order < 0;
    if (lock !== undefined && (isLockFirst || order === 0)) {
      yield { key: lock.key, value: lock.value };
      if (order === 0) key = nextKey();
      lock = nextLock();
    } else if (key !== undefined) {
      yield { key, value: undefined };
      key = nextKey();
    }
  }
}

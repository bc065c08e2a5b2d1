// SPDX-License-Identifier: Apache-2.0
// Scans at one timestamp, in bytes.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { EMPTY } from "../../bytes/concat.ts";
import type { KeyMap } from "../../bytes/key_map.ts";
import type { KeyRange } from "../../bytes/key_range.ts";
import { type PageRequest, type PartialPage, reverseBound, scanPages } from "../../plan/scan.ts";
import type { InSpan } from "../../plan/session.ts";
import { STALE } from "../../region/stale.ts";
import type { KvPairReply, ScanReply } from "../../rpc/batch/messages.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import type { Entry } from "../../types.ts";
import { locksInError } from "../locks/key_error.ts";
import { LockedRead } from "./snapshot_locks.ts";
import type { SnapshotReads } from "./snapshot_reads.ts";

/** What a scan reads. */
export interface SnapshotScan {
  readonly range: KeyRange;
  readonly isReverse: boolean;
  /** Values do not travel; they come back empty. */
  readonly isKeysOnly: boolean;
  readonly limit: number;
  readonly batchSize: number | undefined;
  /** Takes every n-th key; 0 for all. */
  readonly sampleStep?: number | undefined;
}

/** How the pages of a scan are loaded: each is an operation of its own. */
export interface PageCalls {
  readonly signal: AbortSignal | undefined;
  readonly startOperation: (signal: AbortSignal) => Operation;
  /** Does the work of one page in a span. */
  readonly inSpan?: InSpan | undefined;
}

/** The pages of a range, read one ahead. */
export function scanSnapshot(
  reads: SnapshotReads,
  scan: SnapshotScan,
  calls: PageCalls,
): AsyncGenerator<readonly Entry[], void, undefined> {
  reads.assertOneMoment("scan");
  const { routing, settings } = reads.parts.session;
  return scanPages<Entry>({
    range: scan.range,
    isReverse: scan.isReverse,
    limit: scan.limit,
    batchSize: scan.batchSize,
    pageBytes: settings.scanPageBytes,
    regions: routing.regions,
    load: (page, operation) => loadPage(reads, { page, scan }, operation),
    sizeOf: ({ key, value }) => key.length + value.length,
    ...calls,
  });
}

interface PageOf {
  readonly page: PageRequest;
  readonly scan: SnapshotScan;
}

async function loadPage(
  reads: SnapshotReads,
  of: PageOf,
  operation: Operation,
): Promise<readonly Entry[] | PartialPage<Entry> | typeof STALE> {
  const { safePoint } = reads.parts;
  try {
    const preparing = reads.prepare(operation);
    if (preparing !== undefined) await preparing;
    const reply = await sendUntilWhole(reads, of, operation);
    if (reply === STALE) return STALE;
    const { pairs } = reply;
    const page = pairs.some(({ error }) => error !== undefined)
      ? await unlockedPage(reads, { ...of, pairs }, operation)
      : pairs;
    const checking = safePoint.check(reads.ts, operation);
    if (checking !== undefined) await checking;
    return page;
  } finally {
    reads.settings.details?.addWaits(operation);
  }
}

/** Asks for a page until the store has looked at all of it. Locks of single pairs stay in it. */
async function sendUntilWhole(
  reads: SnapshotReads,
  { page, scan }: PageOf,
  operation: Operation,
): Promise<ScanReply | typeof STALE> {
  const { routing, settings } = reads.parts.session;
  const { start, end } = page.range;
  const body = {
    // A reverse scan starts at its exclusive upper bound and ends at its lower one.
    ...(scan.isReverse
      ? { startKey: reverseBound(end, settings), endKey: start }
      : { startKey: start, endKey: end }),
    limit: page.limit,
    version: reads.ts,
    keyOnly: scan.isKeysOnly,
    reverse: scan.isReverse,
    sampleStep: scan.sampleStep,
  };
  let locked: LockedRead | undefined;
  try {
    for (;;) {
      const request = routing.sender.request(
        COMMANDS.KvScan,
        body,
        reads.requestOptions({
          isFirst: operation.attempts === 0,
          keys: page.limit,
          hasMetLock: locked !== undefined,
        }),
      );
      const reply = await reads.counted<WithDetails<ScanReply> | typeof STALE>(
        "KvScan",
        operation,
        () => routing.sender.send(page.region, request, operation),
      );
      if (reply === STALE || reply.error === undefined) return reply;
      const locks = locksInError(reply.error);
      if (locks.length === 0) throw reads.errorOf("KvScan", reply.error);
      locked ??= new LockedRead(reads, { known: reads.known, isLite: false, needsCleanUp: false });
      await locked.settle(locks, operation);
    }
  } finally {
    locked?.done();
  }
}

/** A page in which some keys were locked: these are read by themselves, all at once. */
async function unlockedPage(
  reads: SnapshotReads,
  { page, scan, pairs }: PageOf & { readonly pairs: readonly KvPairReply[] },
  operation: Operation,
): Promise<PartialPage<Entry>> {
  const locks: LockInfo[] = [];
  const lockedKeys: Uint8Array[] = [];
  for (const { error } of pairs) {
    if (error === undefined) continue;
    if (error.locked === undefined) throw reads.errorOf("KvScan", error);
    lockedKeys.push(error.locked.key);
    locks.push(...locksInError(error));
  }
  const values = await readLocked(reads, { locks, lockedKeys }, operation);
  const entries = pairs.flatMap((pair): readonly Entry[] => {
    if (pair.error === undefined) return [pair];
    const key = keyOf(pair);
    // By the value, also where keys only are wanted: the key may not exist at this timestamp.
    const value = values.get(key);
    return value === undefined ? [] : [{ key, value: scan.isKeysOnly ? EMPTY : value }];
  });
  const last = pairs.at(-1);
  // Locked keys count for the limit of the store, whether they turn out to be entries or not.
  const lastKey = last === undefined || pairs.length < page.limit ? undefined : keyOf(last);
  return { entries, lastKey };
}

async function readLocked(
  reads: SnapshotReads,
  { locks, lockedKeys }: { readonly locks: readonly LockInfo[]; readonly lockedKeys: readonly Uint8Array[] },
  operation: Operation,
): Promise<KeyMap<Uint8Array>> {
  const locked = new LockedRead(reads, { known: reads.known, isLite: false, needsCleanUp: false });
  try {
    await locked.settle(locks, operation);
  } finally {
    locked.done();
  }
  return await reads.batchGet(lockedKeys, operation, { hasMetLock: true });
}

function keyOf({ key, error }: KvPairReply): Uint8Array {
  return error?.locked === undefined ? key : error.locked.key;
}

type WithDetails<R> = R & { readonly execDetailsV2Bytes?: Uint8Array | undefined };

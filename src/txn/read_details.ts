// SPDX-License-Identifier: Apache-2.0

import type { ExecDetailsV2 } from "../../gen/kvrpcpb_pb.ts";
import type { RetryCause } from "../errors.ts";
import type { DetailedReply } from "../rpc/batch/messages.ts";
import { execDetailsOf } from "../rpc/batch/wire_txn.ts";

/** How often one kind of request was answered, and how long that took in all. */
export interface RequestTally {
  /** Answers, those that ended in another try included. */
  readonly count: number;
  /** Time from sending to the answer, with the tries at other replicas. */
  readonly totalMs: number;
}

/** What stores looked at. */
export interface ScanTally {
  /** Versions that were found and returned. */
  readonly processedVersions: bigint;
  /** Bytes of these. */
  readonly processedBytes: bigint;
  /** Versions that were looked at. */
  readonly totalVersions: bigint;
  /** Blocks that were read from disk. */
  readonly blockReads: bigint;
  /** Bytes of these. */
  readonly blockReadBytes: bigint;
  /** Blocks that were in the cache of the store. */
  readonly blockCacheHits: bigint;
}

/** What stores spent. */
export interface TimeTally {
  /** Waiting for a thread. */
  readonly waitMs: number;
  /** Working. */
  readonly processMs: number;
  /** Of that, reading. */
  readonly kvReadMs: number;
  /** From the arrival of a request to its answer. */
  readonly rpcMs: number;
}

/**
 * Collects what reads cost. Given to a snapshot it counts all of that snapshot's reads; it may be
 * given to several.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ReadDetails } from "@tikv/client";
 *
 * const details = new ReadDetails();
 * const snapshot = await client.snapshot({ details });
 * await snapshot.get("a");
 * await snapshot.get("a");
 * assert.equal(details.requests.get("KvGet")?.count, 1);
 * assert.equal(details.cacheHits, 1);
 * ```
 */
export class ReadDetails {
  #requests = new Map<string, RequestTally>();
  #waits = new Map<string, RetryCause>();
  #cacheHits = 0;
  #locks = 0;
  #lockMs = 0;
  #scan: ScanTally = NO_SCAN;
  #time: TimeTally = NO_TIME;

  /** Requests by the name of their RPC. */
  get requests(): ReadonlyMap<string, RequestTally> {
    return this.#requests;
  }

  /** Waits between attempts by their reason. */
  get waits(): ReadonlyMap<string, RetryCause> {
    return this.#waits;
  }

  /** Keys that were read before, at the same timestamp. */
  get cacheHits(): number {
    return this.#cacheHits;
  }

  /** Locks that were met. */
  get locks(): number {
    return this.#locks;
  }

  /** Time that it took to find out what became of their transactions. */
  get lockMs(): number {
    return this.#lockMs;
  }

  /** What stores looked at; scans do not tell. */
  get scan(): ScanTally {
    return this.#scan;
  }

  /** What stores spent; scans do not tell. */
  get time(): TimeTally {
    return this.#time;
  }

  /** Adds what another one has collected. */
  merge(other: ReadDetails): void {
    for (const [name, { count, totalMs }] of other.#requests) this.#addRequest(name, count, totalMs);
    for (const wait of other.#waits.values()) this.#addWait(wait);
    this.#cacheHits += other.#cacheHits;
    this.#locks += other.#locks;
    this.#lockMs += other.#lockMs;
    this.#scan = sumOf(this.#scan, other.#scan);
    this.#time = sumOf(this.#time, other.#time);
  }

  /** @internal */
  addReply(name: string, durationMs: number, reply: Partial<DetailedReply> | undefined): void {
    this.#addRequest(name, 1, durationMs);
    const bytes = reply?.execDetailsV2Bytes;
    if (bytes === undefined) return;
    const details = execDetailsOf({ regionError: undefined, execDetailsV2Bytes: bytes });
    if (details === undefined) return;
    this.#scan = sumOf(this.#scan, scanOf(details));
    this.#time = sumOf(this.#time, timeOf(details));
  }

  /** @internal */
  addWaits(causes: readonly RetryCause[]): void {
    for (const cause of causes) this.#addWait(cause);
  }

  /** @internal */
  addLocks(count: number, durationMs: number): void {
    this.#locks += count;
    this.#lockMs += durationMs;
  }

  /** @internal */
  addCacheHits(count: number): void {
    this.#cacheHits += count;
  }

  #addRequest(name: string, count: number, ms: number): void {
    const before = this.#requests.get(name);
    this.#requests.set(name, {
      count: (before?.count ?? 0) + count,
      totalMs: (before?.totalMs ?? 0) + ms,
    });
  }

  #addWait({ reason, count, waitedMs }: RetryCause): void {
    const before = this.#waits.get(reason);
    this.#waits.set(reason, {
      reason,
      count: (before?.count ?? 0) + count,
      waitedMs: (before?.waitedMs ?? 0) + waitedMs,
    });
  }
}

function scanOf({ scanDetailV2: one }: ExecDetailsV2): ScanTally {
  if (one === undefined) return NO_SCAN;
  return {
    processedVersions: one.processedVersions,
    processedBytes: one.processedVersionsSize,
    totalVersions: one.totalVersions,
    blockReads: one.rocksdbBlockReadCount,
    blockReadBytes: one.rocksdbBlockReadByte,
    blockCacheHits: one.rocksdbBlockCacheHitCount,
  };
}

/** Older stores tell in milliseconds, newer ones in nanoseconds as well. */
function timeOf({ timeDetailV2: ns, timeDetail: ms }: ExecDetailsV2): TimeTally {
  if (ns !== undefined) {
    return {
      waitMs: Number(ns.waitWallTimeNs) / NS_PER_MS,
      processMs: Number(ns.processWallTimeNs) / NS_PER_MS,
      kvReadMs: Number(ns.kvReadWallTimeNs) / NS_PER_MS,
      rpcMs: Number(ns.totalRpcWallTimeNs) / NS_PER_MS,
    };
  }
  if (ms === undefined) return NO_TIME;
  return {
    waitMs: Number(ms.waitWallTimeMs),
    processMs: Number(ms.processWallTimeMs),
    kvReadMs: Number(ms.kvReadWallTimeMs),
    rpcMs: Number(ms.totalRpcWallTimeNs) / NS_PER_MS,
  };
}

function sumOf<T extends { readonly [N in keyof T]: number | bigint }>(a: T, b: T): T {
  const sum: Record<string, number | bigint> = {};
  for (const name of Object.keys(a) as (keyof T & string)[]) {
    const [x, y]: [number | bigint, number | bigint] = [a[name], b[name]];
    sum[name] = typeof x === "bigint" ? x + BigInt(y) : x + Number(y);
  }
  return sum as T;
}

const NO_SCAN: ScanTally = {
  processedVersions: 0n,
  processedBytes: 0n,
  totalVersions: 0n,
  blockReads: 0n,
  blockReadBytes: 0n,
  blockCacheHits: 0n,
};
const NO_TIME: TimeTally = { waitMs: 0, processMs: 0, kvReadMs: 0, rpcMs: 0 };
const NS_PER_MS = 1_000_000;

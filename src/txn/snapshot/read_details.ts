// SPDX-License-Identifier: Apache-2.0

import type { ExecDetailsV2 } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import type { RetryCause } from "../../errors.ts";
import type { ReadAnswer } from "../../region/request.ts";
import type { DetailedReply } from "../../rpc/batch/messages.ts";
import { execDetailsOf } from "../../rpc/batch/wire_txn.ts";

/** How often one kind of request was sent, and how long that took in all. */
export interface RequestTally {
  /** Attempts, those included that had to be made again, elsewhere or later. */
  readonly count: number;
  /** Time from sending to the answer, with the waits in between. */
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

/** What the thread pools of stores did with the reads; not all stores tell. */
export interface PoolTally {
  /** How often a read was worked on; more than once when it gave its thread up in between. */
  readonly polls: number;
  /** From the arrival in a pool to the end. */
  readonly wallMs: number;
  /** Of that, in the queue. */
  readonly queueMs: number;
  /** The longest that one of them was in the queue. */
  readonly maxQueueMs: number;
  /** Computing. */
  readonly cpuMs: number;
}

/** Who answered the reads that other replicas than the leader may answer. */
export interface ReplicaTally {
  /** Requests that leaders answered. */
  readonly leaders: number;
  /** Requests that other replicas answered. */
  readonly followers: number;
  /** Stale reads that the first replica answered. */
  readonly staleHits: number;
  /** Stale reads for which others had to be asked, mostly because the first one was behind. */
  readonly staleMisses: number;
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
  #pool: PoolTally = NO_POOL;
  #replicas: ReplicaTally = NO_REPLICAS;
  /** What was taken of operations already: they are asked more than once. */
  readonly #counted = new WeakMap<Operation, Map<string, RetryCause>>();

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

  /** What the thread pools of stores did; scans do not tell. */
  get pool(): PoolTally {
    return this.#pool;
  }

  /** Who answered reads with `replicaRead`, `busyThresholdMs` or a time of the past. */
  get replicas(): ReplicaTally {
    return this.#replicas;
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
    this.#pool = poolSum(this.#pool, other.#pool);
    this.#replicas = sumOf(this.#replicas, other.#replicas);
  }

  /** One line for logs. */
  toString(): string {
    const requests = [...this.#requests].map(([name, { count, totalMs }]) =>
      `${count} ${name} in ${shown(totalMs)}`
    );
    const waits = [...this.#waits.values()].map(({ reason, count, waitedMs }) =>
      `${count} ${reason} of ${shown(waitedMs)}`
    );
    const { processedVersions, totalVersions } = this.#scan;
    const { processMs, waitMs } = this.#time;
    return [
      `requests: ${listed(requests)}`,
      `waits: ${listed(waits)}`,
      `locks: ${this.#locks} in ${shown(this.#lockMs)}`,
      `cache hits: ${this.#cacheHits}`,
      `versions: ${processedVersions} of ${totalVersions}`,
      `stores: ${shown(processMs)} after ${shown(waitMs)}`,
    ].join("; ");
  }

  /** @internal */
  addReply(
    name: string,
    { attempts, durationMs, reply }: {
      readonly attempts: number;
      readonly durationMs: number;
      readonly reply: Partial<DetailedReply> | undefined;
    },
  ): void {
    this.#addRequest(name, attempts, durationMs);
    const bytes = reply?.execDetailsV2Bytes;
    if (bytes === undefined) return;
    const details = execDetailsOf({ regionError: undefined, execDetailsV2Bytes: bytes });
    if (details === undefined) return;
    this.#scan = sumOf(this.#scan, scanOf(details));
    this.#time = sumOf(this.#time, timeOf(details));
    this.#pool = poolSum(this.#pool, poolOf(details));
  }

  /**
   * Adds what an operation has waited for since the last time.
   *
   * @internal
   */
  addWaits(operation: Operation): void {
    const counted = this.#counted.get(operation) ?? new Map<string, RetryCause>();
    this.#counted.set(operation, counted);
    for (const cause of operation.backoffs.causes()) {
      const before = counted.get(cause.reason);
      counted.set(cause.reason, cause);
      const count = cause.count - (before?.count ?? 0);
      if (count > 0) this.#addWait({ ...cause, count, waitedMs: cause.waitedMs - (before?.waitedMs ?? 0) });
    }
  }

  /** @internal */
  readonly addAnswer: (answer: ReadAnswer) => void = ({ isLeader, isStale, isFirst }) => {
    this.#replicas = sumOf(this.#replicas, {
      leaders: isLeader ? 1 : 0,
      followers: isLeader ? 0 : 1,
      staleHits: isStale && isFirst ? 1 : 0,
      staleMisses: isStale && !isFirst ? 1 : 0,
    });
  };

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

function poolOf({ readPoolTaskDetails: one }: ExecDetailsV2): PoolTally {
  if (one === undefined) return NO_POOL;
  return {
    polls: Number(one.pollCount),
    wallMs: Number(one.totalWallNanos) / NS_PER_MS,
    queueMs: Number(one.totalQueueWaitNanos) / NS_PER_MS,
    maxQueueMs: Number(one.maxQueueWaitNanos) / NS_PER_MS,
    cpuMs: Number(one.pollCpuNanos) / NS_PER_MS,
  };
}

function poolSum(a: PoolTally, b: PoolTally): PoolTally {
  return { ...sumOf(a, b), maxQueueMs: Math.max(a.maxQueueMs, b.maxQueueMs) };
}

function listed(texts: readonly string[]): string {
  return texts.length === 0 ? "none" : texts.join(", ");
}

function shown(ms: number): string {
  return `${Math.round(ms * 10) / 10} ms`;
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
const NO_REPLICAS: ReplicaTally = { leaders: 0, followers: 0, staleHits: 0, staleMisses: 0 };
const NO_TIME: TimeTally = { waitMs: 0, processMs: 0, kvReadMs: 0, rpcMs: 0 };
const NO_POOL: PoolTally = { polls: 0, wallMs: 0, queueMs: 0, maxQueueMs: 0, cpuMs: 0 };
const NS_PER_MS = 1_000_000;

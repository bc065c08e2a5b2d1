// SPDX-License-Identifier: Apache-2.0

import type { ExecDetailsV2 } from "../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import type { RetryCause } from "../errors.ts";
import type { DetailedReply } from "../rpc/batch/messages.ts";
import { execDetailsOf } from "../rpc/batch/wire_txn.ts";
import { ReadDetails, type TimeTally } from "./snapshot/read_details.ts";

/** One kind of request of transactions. */
export interface WriteTally {
  /** Answers, those that ended in another try included. */
  readonly count: number;
  /** From sending to the answer, of all of them together. */
  readonly totalMs: number;
  /** The time in which at least one of them was on its way. */
  readonly busyMs: number;
  /** How many regions they went to. */
  readonly regions: number;
  /** The one that took the longest. */
  readonly slowest: SlowestRequest;
}

/** A request that took long. */
export interface SlowestRequest {
  readonly ms: number;
  readonly regionId: bigint;
  /** The store that led the region when it was sent. */
  readonly storeId: bigint;
}

/** How often something was done, and how long that took in all. */
export interface StepTally {
  readonly count: number;
  readonly totalMs: number;
}

/** What stores spent on writes; not all of them tell. */
export interface WriteTime {
  /** Waiting for a latch of the store: others wrote the same keys. */
  readonly latchMs: number;
  /** Waiting for pessimistic locks of others. */
  readonly lockWaitMs: number;
  /** Working before the log. */
  readonly processMs: number;
  /** Held back because the store could not follow. */
  readonly throttleMs: number;
  /** From the proposal until the log was on disk of enough replicas. */
  readonly logMs: number;
  /** From then until it was applied. */
  readonly applyMs: number;
}

/** What a transaction does while its caller waits. */
export type TransactionStep = "begin" | "lock" | "latch" | "commit" | "timestamp";

/**
 * Collects what transactions cost, their reads included. It may be given to several of them, one after
 * the other or at once; what they do in the background counts as well, when it is done.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { TransactionDetails } from "@tikv/client";
 *
 * const details = new TransactionDetails();
 * await client.transaction(async (txn) => {
 *   await txn.get("a");
 *   txn.put("a", "1");
 * }, { details });
 * assert.equal(details.attempts, 1);
 * assert.equal(details.writtenKeys, 1);
 * assert.equal(details.requests.get("KvPrewrite")?.regions, 1);
 * assert.equal(details.reads.requests.get("KvGet")?.count, 1);
 * console.log(`${details}`);
 * ```
 */
export class TransactionDetails {
  /** What their reads cost. */
  readonly reads: ReadDetails = new ReadDetails();
  readonly #requests = new Map<string, Tally>();
  readonly #steps = new Map<TransactionStep, StepTally>();
  /** Waits, locks that were met, and time of stores. */
  readonly #writes = new ReadDetails();
  #writeTime: WriteTime = NO_WRITE_TIME;
  #attempts = 0;
  #writtenKeys = 0;
  #writtenBytes = 0;

  /** Requests that lock and write, by the name of their RPC. */
  get requests(): ReadonlyMap<string, WriteTally> {
    return new Map(
      Array.from(this.#requests, ([name, tally]) => [name, { ...tally, regions: tally.ids.size }]),
    );
  }

  /**
   * What callers waited for: the beginning, calls that lock, turns at a local latch, and commits as a
   * whole. `timestamp` is in the others: all that were asked for.
   */
  get steps(): ReadonlyMap<TransactionStep, StepTally> {
    return this.#steps;
  }

  /** Waits between attempts of locks and commits, by their reason. */
  get waits(): ReadonlyMap<string, RetryCause> {
    return this.#writes.waits;
  }

  /** Locks of others that commits and locks met. */
  get locks(): number {
    return this.#writes.locks;
  }

  /** Time that it took to get these out of the way, without the waits. */
  get resolveMs(): number {
    return this.#writes.lockMs;
  }

  /** What stores spent on the requests that lock and write. */
  get time(): TimeTally {
    return this.#writes.time;
  }

  /** Where the time of writes went in the stores. */
  get writeTime(): WriteTime {
    return this.#writeTime;
  }

  /** Transactions that were begun: runs of bodies. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Keys of all commits, what is only locked or checked included. */
  get writtenKeys(): number {
    return this.#writtenKeys;
  }

  /** Bytes of the keys and values of all commits. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Adds what another one has collected. */
  merge(other: TransactionDetails): void {
    this.reads.merge(other.reads);
    this.#writes.merge(other.#writes);
    for (const [name, tally] of other.#requests) {
      const own = this.#tallyOf(name);
      own.count += tally.count;
      own.totalMs += tally.totalMs;
      own.busyMs += tally.busyMs;
      for (const id of tally.ids) own.ids.add(id);
      if (tally.slowest.ms >= own.slowest.ms) own.slowest = tally.slowest;
    }
    for (const [step, { count, totalMs }] of other.#steps) this.#addStep(step, count, totalMs);
    this.#writeTime = writeSum(this.#writeTime, other.#writeTime);
    this.#attempts += other.#attempts;
    this.#writtenKeys += other.#writtenKeys;
    this.#writtenBytes += other.#writtenBytes;
  }

  /** One line for logs. */
  toString(): string {
    const requests = [...this.#requests].map(([name, { count, busyMs, ids, slowest }]) =>
      `${count} ${name} to ${ids.size} regions in ${shown(busyMs)} (slowest ${shown(slowest.ms)})`
    );
    const steps = [...this.#steps].map(([step, { count, totalMs }]) =>
      `${count} ${step} in ${shown(totalMs)}`
    );
    const waits = [...this.waits.values()].map(({ reason, count, waitedMs }) =>
      `${count} ${reason} of ${shown(waitedMs)}`
    );
    return [
      `attempts: ${this.#attempts}`,
      `written: ${this.#writtenKeys} keys, ${this.#writtenBytes} bytes`,
      `steps: ${listed(steps)}`,
      `requests: ${listed(requests)}`,
      `waits: ${listed(waits)}`,
      `locks: ${this.locks} in ${shown(this.resolveMs)}`,
      `reads: (${this.reads})`,
    ].join("; ");
  }

  /** @internal */
  addAttempt(): void {
    this.#attempts++;
  }

  /** @internal */
  addMutations(keys: number, bytes: number): void {
    this.#writtenKeys += keys;
    this.#writtenBytes += bytes;
  }

  /** @internal */
  addStep(step: TransactionStep, durationMs: number): void {
    this.#addStep(step, 1, durationMs);
  }

  /** @internal */
  addWaits(operation: Operation): void {
    this.#writes.addWaits(operation);
  }

  /** @internal */
  addLocks(count: number, durationMs: number): void {
    this.#writes.addLocks(count, durationMs);
  }

  /**
   * Notes a request that goes out; what it returns notes its end.
   *
   * @internal
   */
  beginRequest(
    name: string,
    { regionId, storeId, now }: {
      readonly regionId: bigint;
      readonly storeId: bigint;
      readonly now: () => number;
    },
  ): (reply: Partial<DetailedReply> | undefined) => void {
    const tally = this.#tallyOf(name);
    const sentAt = now();
    if (tally.inFlight++ === 0) tally.busySince = sentAt;
    return (reply) => {
      const endedAt = now();
      const ms = endedAt - sentAt;
      if (--tally.inFlight === 0) tally.busyMs += endedAt - tally.busySince;
      tally.count++;
      tally.totalMs += ms;
      tally.ids.add(regionId);
      if (ms >= tally.slowest.ms) tally.slowest = { ms, regionId, storeId };
      const bytes = reply?.execDetailsV2Bytes;
      if (bytes === undefined) return;
      this.#writes.addReply(name, { attempts: 1, durationMs: ms, reply });
      const details = execDetailsOf({ regionError: undefined, execDetailsV2Bytes: bytes });
      if (details !== undefined) this.#writeTime = writeSum(this.#writeTime, writeTimeOf(details));
    };
  }

  #tallyOf(name: string): Tally {
    const found = this.#requests.get(name);
    if (found !== undefined) return found;
    const slowest = { ms: 0, regionId: 0n, storeId: 0n };
    const made = {
      count: 0,
      totalMs: 0,
      busyMs: 0,
      ids: new Set<bigint>(),
      slowest,
      inFlight: 0,
      busySince: 0,
    };
    this.#requests.set(name, made);
    return made;
  }

  #addStep(step: TransactionStep, count: number, ms: number): void {
    const before = this.#steps.get(step);
    this.#steps.set(step, { count: (before?.count ?? 0) + count, totalMs: (before?.totalMs ?? 0) + ms });
  }
}

interface Tally {
  count: number;
  totalMs: number;
  busyMs: number;
  slowest: SlowestRequest;
  /** The regions. */
  readonly ids: Set<bigint>;
  inFlight: number;
  busySince: number;
}

function writeTimeOf({ writeDetail: one }: ExecDetailsV2): WriteTime {
  if (one === undefined) return NO_WRITE_TIME;
  // Both parts of the log go on at the same time; the slower one counts.
  const logNs = [one.persistLogNanos, one.commitLogNanos].reduce((a, b) => (a > b ? a : b));
  return {
    latchMs: Number(one.latchWaitNanos) / NS_PER_MS,
    lockWaitMs: Number(one.pessimisticLockWaitNanos) / NS_PER_MS,
    processMs: Number(one.processNanos) / NS_PER_MS,
    throttleMs: Number(one.throttleNanos) / NS_PER_MS,
    logMs: Number(one.storeBatchWaitNanos + one.proposeSendWaitNanos + logNs) / NS_PER_MS,
    applyMs: Number(one.applyBatchWaitNanos + one.applyLogNanos) / NS_PER_MS,
  };
}

function writeSum(a: WriteTime, b: WriteTime): WriteTime {
  return {
    latchMs: a.latchMs + b.latchMs,
    lockWaitMs: a.lockWaitMs + b.lockWaitMs,
    processMs: a.processMs + b.processMs,
    throttleMs: a.throttleMs + b.throttleMs,
    logMs: a.logMs + b.logMs,
    applyMs: a.applyMs + b.applyMs,
  };
}

function listed(texts: readonly string[]): string {
  return texts.length === 0 ? "none" : texts.join(", ");
}

function shown(ms: number): string {
  return `${Math.round(ms * 10) / 10} ms`;
}

const NO_WRITE_TIME: WriteTime = {
  latchMs: 0,
  lockWaitMs: 0,
  processMs: 0,
  throttleMs: 0,
  logMs: 0,
  applyMs: 0,
};
const NS_PER_MS = 1_000_000;

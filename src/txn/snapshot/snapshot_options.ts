// SPDX-License-Identifier: Apache-2.0

import { nameOf } from "../../bytes/utf8.ts";
import {
  CALL_NAMES,
  checkBoolean,
  checkCallEnd,
  checkNames,
  checkNumber,
  checkOneOf,
  checkTimeout,
} from "../../options.ts";
import { type CheckedScan, checkScanOptions, PAGE_RULE, SCAN_NAMES } from "../../plan/scan_options.ts";
import type { ContextFields } from "../../rpc/context.ts";
import type { CallOptions, Timestamp } from "../../types.ts";
import { commonFields, type ContextOptions, usedFields } from "../context_options.ts";
import { FIRST_RESERVED_TS, MAX_TS } from "../locks/lock_calls.ts";
import { ReadDetails } from "./read_details.ts";
import type { ReadScanOptions } from "./reader.ts";
import { checkRoutes, type ReplicaReadOptions, ROUTE_NAMES, type Routes } from "./read_route.ts";

/** What keeps a read apart from transactions that are not over. */
export type IsolationLevel = "snapshot" | "read-committed" | "read-committed-check-ts";

/** Options of a snapshot. */
export interface SnapshotOptions extends CallOptions, ReplicaReadOptions, ContextOptions {
  /**
   * The moment that it shows. `"latest"` saves a timestamp where one key is read: the newest that is
   * committed when it gets there. It has `get`, `has` and what tells of one key only, because several
   * keys read like that need not be of the same moment, and keeps nothing. One that the cluster has
   * not reached is a `RangeError`; finding out costs a timestamp if this client has seen no later one.
   *
   * @default a new timestamp
   */
  readonly ts?: Timestamp | "latest" | undefined;
  /**
   * Shows what was there this long ago, instead of `ts`. Costs no timestamp most of the time, and its
   * reads are {@linkcode SnapshotOptions.staleRead}.
   *
   * @default {undefined}
   */
  readonly staleMs?: number | undefined;
  /**
   * Shows the newest moment up to which the stores, or those that match the labels of `replicaRead`,
   * have everything, but none longer ago than this; instead of `ts`. Stores are asked for theirs while
   * this is in use, every two seconds.
   *
   * @default {undefined}
   */
  readonly maxStaleMs?: number | undefined;
  /**
   * Lets a replica that has everything up to the timestamp answer by itself. One that does not have it
   * all says so, and the leader answers. For a `ts` of some seconds ago or more: what it shows is the
   * same with and without.
   *
   * @default {false} true with `staleMs` and `maxStaleMs`
   */
  readonly staleRead?: boolean | undefined;
  /**
   * - `"snapshot"`: all of a transaction or nothing. Locks are waited for or resolved.
   * - `"read-committed"`: what is committed, past all locks, so perhaps a part of a transaction.
   * - `"read-committed-check-ts"`: the same, and a `write-conflict` when there is something newer.
   *
   * @default {"snapshot"}
   */
  readonly isolation?: IsolationLevel | undefined;
  /**
   * Lets stores keep what is read in their block cache; `false` for what is read once, as a backup.
   *
   * @default {true}
   */
  readonly fillCache?: boolean | undefined;
  /** Reads with the same number share their turn in the queue of a store. */
  readonly taskId?: bigint | undefined;
  /**
   * Time for the first attempt of each read, after which another replica is asked, without the limit.
   *
   * @default {undefined} `attemptTimeoutMs` of the client, as for all attempts
   */
  readonly firstAttemptTimeoutMs?: number | undefined;
  /**
   * Memory for what `get` and `batchGet` have read, which is then not read again; 0 for none.
   *
   * @default {16777216} 16 MiB; client-go keeps up to 10 GiB
   */
  readonly cacheBytes?: number | undefined;
  /** Collects what the reads cost. */
  readonly details?: ReadDetails | undefined;
}

/** Options of a scan of a snapshot. */
export interface SnapshotScanOptions extends ReadScanOptions {
  /**
   * Takes about every n-th key only, for an idea of how keys are spread; each page begins to count
   * anew.
   *
   * @default {0} all of them
   */
  readonly sampleStep?: number | undefined;
}

/** {@linkcode SnapshotOptions} checked and completed, without the timestamp. */
export interface SnapshotSettings {
  /** What requests say of themselves; undefined when that is nothing. */
  readonly context: ContextFields | undefined;
  /** Undefined where all reads go to the leader. */
  readonly routes: Routes | undefined;
  readonly firstAttemptTimeoutMs: number | undefined;
  readonly cacheBytes: number;
  readonly details: ReadDetails | undefined;
}

/** The moment of a snapshot; no field for a new timestamp. */
export interface Moment {
  readonly ts?: Timestamp | undefined;
  readonly staleMs?: number | undefined;
  readonly maxStaleMs?: number | undefined;
}

/** Checks which moment a snapshot shows. */
export function checkMoment({ ts, staleMs, maxStaleMs }: SnapshotOptions): Moment {
  const given = Object.entries({ ts, staleMs, maxStaleMs }).filter(([, value]) => value !== undefined);
  if (given.length > 1) {
    const names = given.map(([name]) => `"${name}"`).join(" and ");
    throw new TypeError(`Cannot use ${names} together: expected one of them`);
  }
  return {
    ts: checkReadTs(ts),
    staleMs: staleMs === undefined ? undefined : checkNumber("staleMs", staleMs, STALE_RULE),
    maxStaleMs: maxStaleMs === undefined ? undefined : checkNumber("maxStaleMs", maxStaleMs, STALE_RULE),
  };
}

/** Checks options of a snapshot; `labels` say where the client is. */
export function checkSnapshotOptions(
  options: SnapshotOptions,
  labels: ReadonlyMap<string, string>,
): SnapshotSettings {
  checkNames("the options of the snapshot", options, SNAPSHOT_NAMES);
  checkCallEnd(options);
  const { firstAttemptTimeoutMs, cacheBytes = DEFAULT_CACHE_BYTES, details } = options;
  if (details !== undefined && !(details instanceof ReadDetails)) {
    throw new TypeError(`Cannot use ${nameOf(details)} as "details": expected a ReadDetails`);
  }
  return {
    context: contextOf(options),
    routes: checkRoutes(options, { isStale: checkStale(options), labels }),
    firstAttemptTimeoutMs: firstAttemptTimeoutMs === undefined
      ? undefined
      : checkTimeout("firstAttemptTimeoutMs", firstAttemptTimeoutMs),
    cacheBytes: checkNumber("cacheBytes", cacheBytes, { min: 0, max: Number.MAX_SAFE_INTEGER }),
    details,
  };
}

/** How a transaction reads: with those of its fields that are for reads as well. */
export function transactionReads(
  context: ContextFields | undefined,
  routes: Routes | undefined,
): SnapshotSettings {
  const ofReads = context === undefined ? undefined : {
    priority: context.priority,
    resourceGroup: context.resourceGroup,
    resourceGroupTag: context.resourceGroupTag,
    requestSource: context.requestSource,
  };
  return {
    context: ofReads,
    routes,
    firstAttemptTimeoutMs: undefined,
    cacheBytes: DEFAULT_CACHE_BYTES,
    details: undefined,
  };
}

/** The timestamp of a snapshot as requests have it; undefined for a new one. */
export function checkReadTs(ts: Timestamp | "latest" | undefined): Timestamp | undefined {
  if (ts === undefined) return undefined;
  if (ts === "latest") return MAX_TS as Timestamp;
  if (typeof ts !== "bigint") {
    throw new TypeError(`Cannot use ${nameOf(ts)} as "ts": expected a timestamp or "latest"`);
  }
  // What is above is reserved: the largest is "latest", the others mean something to stores.
  if (ts !== MAX_TS && !(ts > 0n && ts < FIRST_RESERVED_TS)) {
    throw new RangeError(`Cannot use ${ts} as "ts": expected a timestamp of the cluster`);
  }
  return ts;
}

/** Checks options of a scan. */
export function checkSnapshotScan(
  options: SnapshotScanOptions | undefined,
): CheckedScan & { readonly sampleStep: number } {
  const { sampleStep = 0 } = options ?? {};
  return {
    ...checkScanOptions(options, SNAPSHOT_SCAN_NAMES),
    sampleStep: checkNumber("sampleStep", sampleStep, { ...PAGE_RULE, min: 0 }),
  };
}

function checkStale({ ts, staleMs, maxStaleMs, staleRead }: SnapshotOptions): boolean {
  const isPast = staleMs !== undefined || maxStaleMs !== undefined;
  if (staleRead === undefined || !checkBoolean("staleRead", staleRead)) return staleRead ?? isPast;
  if (isPast || (ts !== undefined && ts !== "latest" && ts !== MAX_TS)) return true;
  throw new TypeError('Cannot use "staleRead" for what is new: expected a "ts", "staleMs" or "maxStaleMs"');
}

function contextOf(options: SnapshotOptions): ContextFields | undefined {
  const { taskId } = options;
  if (taskId !== undefined && typeof taskId !== "bigint") {
    throw new TypeError(`Cannot use ${nameOf(taskId)} as "taskId": expected a bigint`);
  }
  return usedFields({
    ...commonFields(options),
    isolationLevel: checkOneOf("isolation", options.isolation ?? "snapshot", ISOLATION_LEVELS),
    notFillCache: !checkBoolean("fillCache", options.fillCache ?? true),
    taskId,
  });
}

// `kvrpcpb.IsolationLevel`.
const ISOLATION_LEVELS = {
  "snapshot": 0,
  "read-committed": 1,
  "read-committed-check-ts": 2,
} as const satisfies Record<IsolationLevel, number>;

const DEFAULT_CACHE_BYTES = 16 * 1024 * 1024;

const STALE_RULE = { min: 1, max: Number.MAX_SAFE_INTEGER, isWhole: true };

const SNAPSHOT_SCAN_NAMES: ReadonlySet<string> = new Set([...SCAN_NAMES, "sampleStep"]);
const SNAPSHOT_NAMES: ReadonlySet<string> = new Set([
  ...CALL_NAMES,
  ...ROUTE_NAMES,
  "ts",
  "staleMs",
  "maxStaleMs",
  "staleRead",
  "isolation",
  "priority",
  "fillCache",
  "taskId",
  "resourceGroup",
  "resourceGroupTag",
  "requestSource",
  "firstAttemptTimeoutMs",
  "cacheBytes",
  "details",
]);

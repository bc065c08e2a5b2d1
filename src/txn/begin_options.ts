// SPDX-License-Identifier: Apache-2.0

import { AssertionLevel } from "../../gen/kvrpcpb_pb.ts";
import { nameOf } from "../bytes/utf8.ts";
import {
  checkBoolean,
  checkFunction,
  checkNames,
  checkNumber,
  checkSignal,
  checkTimeout,
} from "../options.ts";
import type { ContextFields } from "../rpc/context.ts";
import type { CallOptions, Timestamp } from "../types.ts";
import type { BufferLimits } from "./buffer_limits.ts";
import type { CommitPath, CommitWait } from "./committer_run.ts";

/** What is told about a commit. */
export interface CommitInfo {
  /** When the transaction began. */
  readonly startTs: Timestamp;
  /** From when on its writes are visible; undefined when it failed or had nothing to write. */
  readonly commitTs: Timestamp | undefined;
  /** How it was committed; undefined when it failed. */
  readonly path: CommitPath | undefined;
  /** It was begun as an async commit, and could not be ended as one. */
  readonly hasAsyncFallback: boolean;
  /** It was begun as a commit in one phase, and could not be ended as one. */
  readonly hasOnePcFallback: boolean;
  /** Why it failed; undefined when it did not. */
  readonly error: unknown;
}

/** Waits until the timestamp of the commit is above one that came from elsewhere. */
export interface CommitWaitOptions {
  /** The timestamp of the commit has to be larger. */
  readonly untilTs: Timestamp;
  /**
   * How long it is waited for; a gap that is larger fails at once.
   *
   * @default {1000} as in client-go
   */
  readonly timeoutMs?: number | undefined;
}

/** Options of a transaction. */
export interface BeginOptions extends CallOptions {
  /**
   * `optimistic`: conflicts are found at the commit. `pessimistic`: keys are locked before, and who
   * comes second waits.
   *
   * @default {"optimistic"}
   */
  readonly mode?: "optimistic" | "pessimistic" | undefined;
  /** The timestamp that it reads at. @default a new one */
  readonly startTs?: Timestamp | undefined;
  /**
   * How it is committed: `auto` in one phase if one region has all keys, as an async commit if it
   * is small, in two phases otherwise. The others leave ways out of that out.
   *
   * @default {"auto"}
   */
  readonly commit?: "auto" | "1pc" | "async" | "2pc" | undefined;
  /**
   * Saves a timestamp at the commit. Transactions that depend on each other still see each other in
   * order; for those that only happen one after the other it is not promised any more.
   *
   * @default {false}
   */
  readonly causalConsistency?: boolean | undefined;
  /** Waits until the commit has a timestamp above another one. */
  readonly commitWait?: CommitWaitOptions | undefined;
  /** Refuses the timestamp of the commit by returning false; commits in two phases then. */
  readonly acceptsCommitTs?: ((commitTs: Timestamp) => boolean) | undefined;
  /**
   * What the commit does about a lock in its way: wait until it is gone, or fail with a conflict.
   *
   * @default {"resolve"}
   */
  readonly onLock?: "resolve" | "conflict" | undefined;
  /**
   * How thoroughly stores check what was said of keys with `assertExists()` and `assertNotExists()`.
   *
   * @default {"fast"} what costs no further read
   */
  readonly assertions?: "off" | "fast" | "strict" | undefined;
  /**
   * Which requests of a busy store come first.
   *
   * @default {"normal"}
   */
  readonly priority?: "low" | "normal" | "high" | undefined;
  /**
   * Whether it is written to disks that are almost, or already, full.
   *
   * @default {"refuse"}
   */
  readonly onFullDisk?: "refuse" | "write-almost-full" | "write-full" | undefined;
  /** The resource group that pays for it. */
  readonly resourceGroup?: string | undefined;
  /** A tag that stores count its load under. */
  readonly resourceGroupTag?: Uint8Array | undefined;
  /** What it is for, in the statistics of stores. */
  readonly requestSource?: string | undefined;
  /** A mark that change feeds show. */
  readonly txnSource?: bigint | undefined;
  /** Bytes of one key with its value. @default `maxEntryBytes` of the client */
  readonly maxEntryBytes?: number | undefined;
  /** Bytes of all writes. @default {Infinity} */
  readonly maxTotalBytes?: number | undefined;
  /** Keys of all writes and locks. @default {Infinity} */
  readonly maxKeys?: number | undefined;
  /** Is told how the commit went, when there was something to commit. */
  readonly onCommit?: ((info: CommitInfo) => void) | undefined;
}

/** {@linkcode BeginOptions} checked and completed. */
export interface TxnSettings {
  readonly isPessimistic: boolean;
  readonly startTs: Timestamp | undefined;
  readonly commit: "auto" | "1pc" | "async" | "2pc";
  readonly isCausal: boolean;
  readonly commitWait: CommitWait | undefined;
  readonly acceptsCommitTs: ((commitTs: Timestamp) => boolean) | undefined;
  readonly failsOnLock: boolean;
  readonly assertionLevel: AssertionLevel;
  readonly context: ContextFields | undefined;
  readonly limits: BufferLimits;
  readonly onCommit: ((info: CommitInfo) => void) | undefined;
}

/** Checks options; `known` has names beside those of {@linkcode BeginOptions}. */
export function checkBeginOptions(
  options: BeginOptions,
  maxEntryBytes: number,
  known: readonly string[] = [],
): TxnSettings {
  checkNames("the options of the transaction", options, new Set([...NAMES, ...known]));
  checkSignal(options.signal);
  if (options.timeoutMs !== undefined) checkTimeout("timeoutMs", options.timeoutMs);
  checkFunction("onCommit", options.onCommit);
  checkFunction("acceptsCommitTs", options.acceptsCommitTs);
  const limits = {
    maxEntryBytes: options.maxEntryBytes ?? maxEntryBytes,
    maxTotalBytes: options.maxTotalBytes ?? Infinity,
    maxKeys: options.maxKeys ?? Infinity,
  };
  for (const [name, limit] of Object.entries(limits)) checkNumber(name, limit, { min: 1, max: Infinity });
  return {
    isPessimistic: oneOf("mode", options.mode ?? "optimistic", MODES),
    startTs: checkTs("startTs", options.startTs),
    commit: oneOf("commit", options.commit ?? "auto", COMMITS),
    isCausal: checkBoolean("causalConsistency", options.causalConsistency ?? false),
    commitWait: checkCommitWait(options.commitWait),
    acceptsCommitTs: options.acceptsCommitTs,
    failsOnLock: oneOf("onLock", options.onLock ?? "resolve", ON_LOCK),
    assertionLevel: oneOf("assertions", options.assertions ?? "fast", ASSERTION_LEVELS),
    context: contextOf(options),
    limits,
    onCommit: options.onCommit,
  };
}

function contextOf(options: BeginOptions): ContextFields | undefined {
  const fields: ContextFields = {
    priority: oneOf("priority", options.priority ?? "normal", PRIORITIES),
    diskFullOpt: oneOf("onFullDisk", options.onFullDisk ?? "refuse", DISK_FULL),
    resourceGroup: options.resourceGroup,
    resourceGroupTag: options.resourceGroupTag,
    requestSource: options.requestSource,
    txnSource: options.txnSource,
  };
  // The usual context of a peer is encoded once for all requests that add nothing to it.
  return Object.values(fields).some((value) => value !== undefined && value !== 0) ? fields : undefined;
}

function checkCommitWait(wait: CommitWaitOptions | undefined): CommitWait | undefined {
  if (wait === undefined) return undefined;
  checkNames('"commitWait"', wait, WAIT_NAMES);
  const untilTs = checkTs("commitWait.untilTs", wait.untilTs);
  if (untilTs === undefined) throw new TypeError('Cannot use "commitWait": expected "untilTs" in it');
  const timeoutMs = checkNumber("commitWait.timeoutMs", wait.timeoutMs ?? 1_000, { min: 0, max: Infinity });
  return { untilTs, timeoutMs };
}

function checkTs(name: string, value: Timestamp | undefined): Timestamp | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "bigint") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a timestamp`);
  }
  if (value <= 0n || value >= MAX_START_TS) {
    throw new RangeError(`Cannot use ${value} as "${name}": expected a timestamp of the cluster`);
  }
  return value;
}

function oneOf<T>(name: string, value: string, table: Readonly<Record<string, T>>): T {
  if (typeof value !== "string") {
    throw new TypeError(`Cannot use ${nameOf(value)} as "${name}": expected a string`);
  }
  if (!Object.hasOwn(table, value)) {
    const wanted = Object.keys(table).map((key) => `"${key}"`).join(", ");
    throw new RangeError(`Cannot use "${value}" as "${name}": expected one of ${wanted}`);
  }
  return table[value] as T;
}

const MODES = { "optimistic": false, "pessimistic": true };
const COMMITS = { "auto": "auto", "1pc": "1pc", "async": "async", "2pc": "2pc" } as const;
const ON_LOCK = { "resolve": false, "conflict": true };
const ASSERTION_LEVELS = {
  "off": AssertionLevel.Off,
  "fast": AssertionLevel.Fast,
  "strict": AssertionLevel.Strict,
} as const;
// `kvrpcpb.CommandPri` and `kvrpcpb.DiskFullOpt`.
const PRIORITIES = { "normal": 0, "low": 1, "high": 2 };
const DISK_FULL = { "refuse": 0, "write-almost-full": 1, "write-full": 2 };

// Larger ones have a meaning of their own: "latest".
const MAX_START_TS = 0x7fff_ffff_ffff_ffffn;

const WAIT_NAMES: ReadonlySet<string> = new Set(["untilTs", "timeoutMs"]);
const NAMES = [
  "signal",
  "timeoutMs",
  "mode",
  "startTs",
  "commit",
  "causalConsistency",
  "commitWait",
  "acceptsCommitTs",
  "onLock",
  "assertions",
  "priority",
  "onFullDisk",
  "resourceGroup",
  "resourceGroupTag",
  "requestSource",
  "txnSource",
  "maxEntryBytes",
  "maxTotalBytes",
  "maxKeys",
  "onCommit",
] as const satisfies readonly (keyof BeginOptions)[];

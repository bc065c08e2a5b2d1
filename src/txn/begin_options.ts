// SPDX-License-Identifier: Apache-2.0

import { AssertionLevel } from "../../gen/kvrpcpb_pb.ts";
import { nameOf } from "../bytes/utf8.ts";
import {
  checkBoolean,
  checkCallEnd,
  checkFunction,
  checkNames,
  checkNumber,
  checkOneOf,
} from "../options.ts";
import type { ContextFields } from "../rpc/context.ts";
import type { CallOptions, Timestamp } from "../types.ts";
import type { BufferLimits } from "./buffer/buffer_limits.ts";
import type { BackgroundTask } from "./commit/committer_background.ts";
import { commonFields, type ContextOptions, usedFields } from "./context_options.ts";
import { TransactionDetails } from "./transaction_details.ts";
import { FIRST_RESERVED_TS } from "./locks/lock_calls.ts";
import type { CommitLag, CommitPath, CommitWait } from "./commit/committer_run.ts";
import { checkRoutes, type ReplicaReadOptions, ROUTE_NAMES, type Routes } from "./snapshot/read_route.ts";

/** What is told about a commit. */
export interface CommitInfo {
  /** When the transaction began. */
  readonly startTs: Timestamp;
  /** From when on its writes are visible; undefined when it failed. */
  readonly commitTs: Timestamp | undefined;
  /** How it was committed; when it failed, how far that had been decided. */
  readonly path: CommitPath;
  /** It was begun as an async commit, and could not be ended as one. */
  readonly hasAsyncFallback: boolean;
  /** It was begun as a commit in one phase, and could not be ended as one. */
  readonly hasOnePcFallback: boolean;
  /** How the cluster's time was waited for, if it had to be; see `commitWait`. */
  readonly lag: CommitLag | undefined;
  /** Why it failed; undefined when it did not. */
  readonly error: unknown;
}

/** A write that is about to be committed. */
export interface PlannedWrite {
  /** The whole key, also in views. */
  readonly key: Uint8Array;
  /** Undefined for a delete. */
  readonly value: Uint8Array | undefined;
  /** It was written by `insert()`. */
  readonly isInsert: boolean;
  /** The transaction has locked the key. */
  readonly isLocked: boolean;
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
export interface BeginOptions extends CallOptions, ReplicaReadOptions, ContextOptions {
  /**
   * `optimistic`: conflicts are found at the commit. `pessimistic`: keys are locked before, and who
   * comes second waits.
   *
   * @default {"optimistic"}
   */
  readonly mode?: "optimistic" | "pessimistic" | undefined;
  /**
   * In a pessimistic transaction, a store hands a key that is waited for over to the next in line, with
   * its newest value, and that one has it: nobody who came later is faster. Otherwise all of them try
   * again.
   *
   * @default {true} stores that do not know of it go on without
   */
  readonly fairLocking?: boolean | undefined;
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
  /**
   * Refuses the timestamp of the commit by returning false; the commit then fails with `txn-aborted`.
   * With it every commit takes two phases, because only then the timestamp is known before.
   */
  readonly acceptsCommitTs?: ((commitTs: Timestamp) => boolean) | undefined;
  /**
   * Throws when something that the transaction relies on, such as a schema, does not hold at a moment.
   * The commit then fails with what was thrown, and nothing is written.
   *
   * It is called with the timestamp of the commit in two phases; before an async commit or one in one
   * phase with an estimate, which the commit is at most two seconds after; and again, with the present
   * time, when an assertion has failed, for which it may know the reason.
   */
  readonly checkSchema?: ((ts: Timestamp) => void | PromiseLike<void>) | undefined;
  /**
   * Leaves a write out of the commit by returning false. A key that is locked is then released without
   * having been written. What it throws fails the commit.
   */
  readonly filter?: ((write: PlannedWrite) => boolean) | undefined;
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
   * Whether it is written to disks that are almost, or already, full.
   *
   * @default {"refuse"}
   */
  readonly onFullDisk?: "refuse" | "write-almost-full" | "write-full" | undefined;
  /**
   * Asks stores to put writes on the disk at once; those since 5.0 do that anyway.
   *
   * @default {false}
   */
  readonly syncLog?: boolean | undefined;
  /** A mark that change feeds show. */
  readonly txnSource?: bigint | undefined;
  /**
   * Bytes of one key with its value; a write over it is refused with `too-large`, and not made.
   *
   * @default `maxEntryBytes` of the client
   */
  readonly maxEntryBytes?: number | undefined;
  /**
   * Bytes of the keys and values of all writes; a write over it is refused with `too-large`, and not
   * made. All of them are in memory twice while they are committed, and stores hold every lock of them.
   *
   * @default {104857600} 100 MiB, `txn-total-size-limit` of TiDB; client-go has no limit of its own
   */
  readonly maxTotalBytes?: number | undefined;
  /**
   * Keys of all writes and locks; one more is refused with `too-large`.
   *
   * @default {1000000} each costs about 50 bytes besides its own, and a request for every 16 KiB of
   * them; client-go has no limit
   */
  readonly maxKeys?: number | undefined;
  /** Collects what it costs, its reads included. */
  readonly details?: TransactionDetails | undefined;
  /** Is told how much memory the writes take, in bytes, whenever that changes. What it throws is ignored. */
  readonly onMemoryChange?: ((memoryBytes: number) => void) | undefined;
  /** Is told how the commit went, when there was something to commit. What it throws is ignored. */
  readonly onCommit?: ((info: CommitInfo) => void) | undefined;
  /**
   * Is told of each piece of work that the transaction leaves to the background: right before it begins,
   * with a promise for its end. `close()` of the client waits for all of it, for some seconds.
   */
  readonly onBackground?: ((task: BackgroundTask) => void) | undefined;
}

/** {@linkcode BeginOptions} checked and completed. */
export interface TxnSettings {
  readonly isPessimistic: boolean;
  readonly fairLocking: boolean;
  readonly startTs: Timestamp | undefined;
  readonly commit: "auto" | "1pc" | "async" | "2pc";
  readonly isCausal: boolean;
  readonly commitWait: CommitWait | undefined;
  readonly acceptsCommitTs: BeginOptions["acceptsCommitTs"];
  readonly checkSchema: BeginOptions["checkSchema"];
  readonly filter: BeginOptions["filter"];
  readonly failsOnLock: boolean;
  readonly assertionLevel: AssertionLevel;
  /** Of all requests. */
  readonly context: ContextFields | undefined;
  /** Of those that write its data: with what changes how they are written. */
  readonly writeContext: ContextFields | undefined;
  /** Undefined where all reads go to the leader. */
  readonly routes: Routes | undefined;
  readonly limits: BufferLimits;
  readonly onCommit: BeginOptions["onCommit"];
  readonly onBackground: BeginOptions["onBackground"];
  readonly onMemoryChange: BeginOptions["onMemoryChange"];
  readonly details: TransactionDetails | undefined;
}

/** Checks options, whose names are among those that are known. */
export function checkBeginOptions(
  options: BeginOptions,
  { maxEntryBytes, labels }: {
    readonly maxEntryBytes: number;
    readonly labels: ReadonlyMap<string, string>;
  },
  known: ReadonlySet<string> = BEGIN_NAMES,
): TxnSettings {
  checkNames("the options of the transaction", options, known);
  checkCallEnd(options);
  for (const name of FUNCTIONS) checkFunction(name, options[name]);
  if (options.details !== undefined && !(options.details instanceof TransactionDetails)) {
    throw new TypeError(`Cannot use ${nameOf(options.details)} as "details": expected TransactionDetails`);
  }
  const limits = {
    maxEntryBytes: options.maxEntryBytes ?? maxEntryBytes,
    maxTotalBytes: options.maxTotalBytes ?? DEFAULT_TOTAL_BYTES,
    maxKeys: options.maxKeys ?? DEFAULT_KEYS,
  };
  for (const [name, limit] of Object.entries(limits)) checkNumber(name, limit, { min: 1, max: Infinity });
  return {
    routes: checkRoutes(options, { isStale: false, labels }),
    isPessimistic: checkOneOf("mode", options.mode ?? "optimistic", MODES),
    fairLocking: checkBoolean("fairLocking", options.fairLocking ?? true),
    startTs: checkTs("startTs", options.startTs),
    commit: checkOneOf("commit", options.commit ?? "auto", COMMITS),
    isCausal: checkBoolean("causalConsistency", options.causalConsistency ?? false),
    commitWait: options.commitWait === undefined ? undefined : checkCommitWait(options.commitWait),
    acceptsCommitTs: options.acceptsCommitTs,
    checkSchema: options.checkSchema,
    filter: options.filter,
    failsOnLock: checkOneOf("onLock", options.onLock ?? "resolve", ON_LOCK),
    assertionLevel: checkOneOf("assertions", options.assertions ?? "fast", ASSERTION_LEVELS),
    ...contextsOf(options),
    limits,
    onCommit: options.onCommit,
    onBackground: options.onBackground,
    onMemoryChange: options.onMemoryChange,
    details: options.details,
  };
}

function contextsOf(options: BeginOptions): Pick<TxnSettings, "context" | "writeContext"> {
  const { txnSource } = options;
  if (txnSource !== undefined) {
    if (typeof txnSource !== "bigint") {
      throw new TypeError(`Cannot use ${nameOf(txnSource)} as "txnSource": expected a bigint`);
    }
    if (txnSource < 0n || txnSource > MAX_U64) {
      throw new RangeError(`Cannot use ${txnSource} as "txnSource": expected at most 64 bits`);
    }
  }
  const fields: ContextFields = {
    ...commonFields(options),
    syncLog: checkBoolean("syncLog", options.syncLog ?? false),
  };
  const ofWrites: ContextFields = {
    ...fields,
    diskFullOpt: checkOneOf("onFullDisk", options.onFullDisk ?? "refuse", DISK_FULL),
    txnSource,
  };
  return { context: usedFields(fields), writeContext: usedFields(ofWrites) };
}

/** Checks and completes what the commit has to wait for. */
export function checkCommitWait(wait: CommitWaitOptions): CommitWait {
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
  if (value <= 0n || value >= FIRST_RESERVED_TS) {
    throw new RangeError(`Cannot use ${value} as "${name}": expected a timestamp of the cluster`);
  }
  return value;
}

const MODES = { "optimistic": false, "pessimistic": true };
const COMMITS = { "auto": "auto", "1pc": "1pc", "async": "async", "2pc": "2pc" } as const;
const ON_LOCK = { "resolve": false, "conflict": true };
const ASSERTION_LEVELS = {
  "off": AssertionLevel.Off,
  "fast": AssertionLevel.Fast,
  "strict": AssertionLevel.Strict,
} as const;
// `kvrpcpb.DiskFullOpt`.
const DISK_FULL = { "refuse": 0, "write-almost-full": 1, "write-full": 2 };

const MAX_U64 = 0xffff_ffff_ffff_ffffn;

const DEFAULT_TOTAL_BYTES = 100 * 1024 * 1024;
const DEFAULT_KEYS = 1_000_000;

const FUNCTIONS = [
  "onCommit",
  "onBackground",
  "onMemoryChange",
  "acceptsCommitTs",
  "checkSchema",
  "filter",
] as const;
const WAIT_NAMES: ReadonlySet<string> = new Set(["untilTs", "timeoutMs"]);
/** The options of a transaction that its caller ends. */
export const BEGIN_NAMES: ReadonlySet<string> = new Set(
  [
    ...ROUTE_NAMES,
    "signal",
    "timeoutMs",
    "mode",
    "fairLocking",
    "startTs",
    "commit",
    "causalConsistency",
    "commitWait",
    "acceptsCommitTs",
    "checkSchema",
    "filter",
    "onLock",
    "assertions",
    "priority",
    "onFullDisk",
    "syncLog",
    "resourceGroup",
    "resourceGroupTag",
    "requestSource",
    "txnSource",
    "maxEntryBytes",
    "maxTotalBytes",
    "maxKeys",
    "onCommit",
    "onBackground",
    "onMemoryChange",
    "details",
  ] as const satisfies readonly (keyof BeginOptions)[],
);

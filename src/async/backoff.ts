// SPDX-License-Identifier: Apache-2.0

import type { ErrorKind, RetryCause, TikvErrorOptions } from "../errors.ts";
import { TikvError, TimeoutError } from "../errors.ts";
import type { Random } from "./clock.ts";
import type { Deadline } from "./deadline.ts";

/** How chance spreads the waits of many clients that failed at the same moment. */
export type Jitter = "none" | "equal" | "full" | "decorrelated";

/** How long to wait for one reason, and what it means when there is no time left to wait. */
export interface BackoffKind {
  readonly baseMs: number;
  readonly capMs: number;
  readonly jitter: Jitter;
  readonly exhausted: ErrorKind;
}

/** Why an operation waits. The names are those of client-go, so that metrics can be compared. */
export type BackoffName =
  | "tikvRPC"
  | "txnLock"
  | "txnLockFast"
  | "pdRPC"
  | "regionMiss"
  | "regionScheduling"
  | "tikvServerBusy"
  | "tikvDiskFull"
  | "regionRecoveryInProgress"
  | "txnNotFound"
  | "staleCommand"
  | "maxTsNotSynced"
  | "commitTSLag"
  | "regionNotInitialized"
  | "isWitness";

/** The waits of client-go (`config/retry/config.go`), with the kind of the error that ends them. */
export const BACKOFF_KINDS: Readonly<Record<BackoffName, BackoffKind>> = {
  tikvRPC: kind(100, 2_000, "equal", "connection"),
  txnLock: kind(100, 3_000, "equal", "timeout"),
  txnLockFast: kind(10, 3_000, "equal", "timeout"),
  pdRPC: kind(500, 3_000, "equal", "connection"),
  regionMiss: kind(2, 500, "none", "region-unavailable"),
  regionScheduling: kind(2, 500, "none", "region-unavailable"),
  tikvServerBusy: kind(2_000, 10_000, "equal", "server-busy"),
  tikvDiskFull: kind(500, 5_000, "none", "server-busy"),
  regionRecoveryInProgress: kind(100, 10_000, "equal", "region-unavailable"),
  txnNotFound: kind(2, 500, "none", "timeout"),
  staleCommand: kind(2, 1_000, "none", "region-unavailable"),
  maxTsNotSynced: kind(2, 500, "none", "region-unavailable"),
  commitTSLag: kind(2, 500, "none", "timeout"),
  regionNotInitialized: kind(2, 1_000, "none", "region-unavailable"),
  isWitness: kind(1_000, 10_000, "equal", "region-unavailable"),
};

/** One wait, as it begins. */
export interface BackoffWait {
  readonly reason: BackoffName;
  /** 1 for the first wait of this reason. */
  readonly attempt: number;
  readonly waitMs: number;
  readonly regionId?: bigint | undefined;
  readonly storeId?: bigint | undefined;
}

/** Options of one wait. */
export interface WaitOptions {
  readonly regionId?: bigint | undefined;
  readonly storeId?: bigint | undefined;
  /** Caps this wait only. */
  readonly maxMs?: number | undefined;
}

/** Options of new {@linkcode Backoffs}. */
export interface BackoffsOptions {
  readonly deadline: Deadline;
  readonly random: Random;
  /** Time that may be spent waiting; only the deadline bounds it when absent. 0 means no retry. */
  readonly budgetMs?: number | undefined;
  readonly onWait?: ((wait: BackoffWait) => void) | undefined;
  /** Ends every wait with its reason when aborted. */
  readonly closing?: AbortSignal | undefined;
}

interface Tally {
  count: number;
  waitedMs: number;
  lastWaitMs: number;
  lastCause: unknown;
}

/**
 * The waits of one operation between its attempts. Each reason has its own curve; all of them
 * together have to fit the operation's deadline and its budget. No reason is exempt: client-go
 * lets "server busy" wait ten minutes beyond any budget, which no caller expects.
 */
export class Backoffs {
  readonly #options: BackoffsOptions;
  readonly #budgetMs: number;
  readonly #parent: Backoffs | undefined;
  // What the parent had waited when this fork was made.
  readonly #parentWaitMs: number;
  readonly #curves = new Map<BackoffName, number>();
  readonly #tallies = new Map<BackoffName, Tally>();
  #totalWaitMs = 0;

  constructor(options: BackoffsOptions, parent?: Backoffs) {
    this.#options = options;
    this.#parent = parent;
    this.#parentWaitMs = parent?.totalWaitMs ?? 0;
    this.#budgetMs = options.budgetMs ?? Infinity;
  }

  /** Time waited so far, without what forks waited that were not merged. */
  get totalWaitMs(): number {
    return this.#totalWaitMs;
  }

  /**
   * Waits as long as the curve of `name` says, after `cause`. Rejects with the error of the reason
   * that took the longest when the deadline or the budget cannot hold this wait, and with the
   * signal's own reason when the operation is aborted.
   */
  async wait(name: BackoffName, cause: unknown, options: WaitOptions = {}): Promise<void> {
    const { deadline, random, onWait } = this.#options;
    if (deadline.isAborted) throw deadline.signal?.reason;
    const attempts = this.#curves.get(name) ?? 0;
    const lastMs = this.#tallies.get(name)?.lastWaitMs ?? 0;
    const curveMs = nextWaitMs(BACKOFF_KINDS[name], { attempts, lastMs, random });
    const waitMs = Math.min(curveMs, options.maxMs ?? Infinity);
    if (waitMs >= deadline.remainingMs() || this.#totalWaitMs + waitMs > this.#budgetMs) {
      throw this.#exhausted(name, cause);
    }
    const { regionId, storeId } = options;
    onWait?.({ reason: name, attempt: attempts + 1, waitMs, regionId, storeId });
    const { closing } = this.#options;
    await (closing === undefined ? deadline : deadline.withSignal(closing)).sleep(waitMs, `wait for ${name}`);
    // Only a wait that was completed moves the curve.
    this.#curves.set(name, attempts + 1);
    this.#totalWaitMs += waitMs;
    this.#count(name, waitMs, cause);
  }

  /** What the operation waited for, its forks included, the longest first. */
  causes(): RetryCause[] {
    return [...this.#tallies]
      .map(([reason, { count, waitedMs }]) => ({ reason, count, waitedMs }))
      .sort((a, b) => b.waitedMs - a.waitedMs);
  }

  /**
   * Waits for a part of the operation: curves start anew, the deadline is the same, and the budget
   * is what is left of this one. What the part waits for shows in `causes()` of both.
   */
  fork(deadline: Deadline = this.#options.deadline): Backoffs {
    return new Backoffs({ ...this.#options, deadline, budgetMs: this.#budgetMs - this.#totalWaitMs }, this);
  }

  /**
   * Charges a fork's waits to this budget. Forks that ran one after the other add up, of those
   * that ran side by side the longest counts. Merging twice changes nothing.
   */
  merge(fork: Backoffs): void {
    this.#totalWaitMs = Math.max(this.#totalWaitMs, fork.#parentWaitMs + fork.#totalWaitMs);
  }

  #count(name: BackoffName, waitMs: number, cause: unknown): void {
    const tally = this.#tallies.get(name);
    if (tally === undefined) {
      this.#tallies.set(name, { count: 1, waitedMs: waitMs, lastWaitMs: waitMs, lastCause: cause });
    } else {
      tally.count++;
      tally.waitedMs += waitMs;
      tally.lastWaitMs = waitMs;
      tally.lastCause = cause;
    }
    if (this.#parent !== undefined) this.#parent.#count(name, waitMs, cause);
  }

  #exhausted(name: BackoffName, cause: unknown): TikvError {
    const causes = this.causes();
    // The reason that took most of the time tells more than the one that came last.
    const reason = (causes[0]?.reason ?? name) as BackoffName;
    const options: TikvErrorOptions = {
      cause: reason === name ? cause : this.#tallies.get(reason)?.lastCause ?? cause,
      context: { elapsedMs: Math.round(this.#options.deadline.elapsedMs()), causes },
    };
    const waits = causes.reduce((sum, { count }) => sum + count, 0);
    const last = options.cause instanceof Error ? `; the last error was: ${options.cause.message}` : "";
    const message = `Cannot wait for ${reason} any longer: no time is left after ${waits} waits of ${
      Math.round(this.#totalWaitMs)
    } ms in all${last}`;
    const { exhausted } = BACKOFF_KINDS[reason];
    return exhausted === "timeout"
      ? new TimeoutError(message, options)
      : new TikvError(exhausted, message, options);
  }
}

/** The next wait on a curve: exponential from the base up to the cap, spread by the jitter. */
export function nextWaitMs(
  kind: BackoffKind,
  state: { readonly attempts: number; readonly lastMs: number; readonly random: Random },
): number {
  const base = Math.max(2, kind.baseMs);
  const full = Math.min(kind.capMs, base * 2 ** Math.min(state.attempts, 30));
  switch (kind.jitter) {
    case "none":
      return full;
    case "equal":
      return full / 2 + Math.floor(state.random.next() * (full / 2));
    case "full":
      return Math.floor(state.random.next() * full);
    case "decorrelated": {
      const spread = Math.max(1, Math.max(state.lastMs, base) * 3 - base);
      return Math.min(kind.capMs, base + Math.floor(state.random.next() * spread));
    }
  }
}

function kind(baseMs: number, capMs: number, jitter: Jitter, exhausted: ErrorKind): BackoffKind {
  return { baseMs, capMs, jitter, exhausted };
}

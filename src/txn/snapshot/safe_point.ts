// SPDX-License-Identifier: Apache-2.0

import type { Background } from "../../async/background.ts";
import type { Environment } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import type { Observer } from "../../observe/events.ts";
import type { SnapshotBound } from "../../pd/cluster_state.ts";
import { SnapshotTooOldError } from "../../txn_errors.ts";
import type { Timestamp } from "../../types.ts";
import { MAX_TS } from "../locks/lock_calls.ts";

/** Options of a new {@linkcode SafePoint}. */
export interface SafePointOptions {
  /** Asks PD. */
  readonly load: (operation: Operation) => Promise<SnapshotBound>;
  readonly background: Pick<Background, "start" | "signal">;
  readonly environment: Environment;
  readonly observe: Observer;
}

/**
 * The timestamp before which garbage collection may remove what a snapshot sees. Checked after
 * each read, because what a store did not find may have been removed while it was asked.
 *
 * Nobody collects before a safe point has been known for a while, so one that was read a moment
 * ago is good enough. An old PD knows only the one that is collected up to at this moment: that one is
 * read again far more often, and a snapshot from before it is noticed a few seconds late at most. It
 * is read when it is needed: a client that does not read asks nothing.
 */
export class SafePoint {
  readonly #options: SafePointOptions;
  #known: (SnapshotBound & { readonly at: number }) | undefined;
  #loading: Promise<void> | undefined;
  /** Not before this is it tried again after a failure. */
  #restUntil = -Infinity;

  constructor(options: SafePointOptions) {
    this.#options = options;
  }

  /** Begins to read it, if it is not known, so that the check need not wait for it. */
  prepare(): void {
    if (this.#known === undefined) this.#refresh();
  }

  /** Throws a {@linkcode SnapshotTooOldError} when what was read at the timestamp need not be all there was. */
  check(ts: Timestamp, operation: Operation): void | Promise<void> {
    // The newest of each key is never collected.
    if (ts === MAX_TS) return;
    const known = this.#known;
    const age = known === undefined ? Infinity : this.#now() - known.at;
    const { refreshMs, validMs } = known?.isCollecting === true ? COLLECTING : STANDING;
    if (known === undefined || age >= validMs) return this.#checkLater(ts, operation);
    if (age >= refreshMs) this.#refresh();
    assertVisible(ts, known.ts);
  }

  async #checkLater(ts: Timestamp, operation: Operation): Promise<void> {
    this.#restUntil = -Infinity;
    const loading = this.#refresh();
    await operation.deadline.race(loading, "read the safe point of garbage collection");
    if (this.#known !== undefined) assertVisible(ts, this.#known.ts);
  }

  /** Reads it once for all who need it. Rejects for those who wait; nobody else need. */
  #refresh(): Promise<void> {
    if (this.#loading !== undefined) return this.#loading;
    if (this.#now() < this.#restUntil) return Promise.resolve();
    const loading = this.#load().finally(() => this.#loading = undefined);
    this.#loading = loading;
    loading.catch((error) => {
      this.#restUntil = this.#now() + REST_MS;
      if (this.#options.background.signal.aborted) return;
      const message = "Cannot read the safe point of garbage collection: it is tried again";
      this.#options.observe({ type: "warning", message, cause: error });
    });
    return loading;
  }

  #load(): Promise<void> {
    const { load, background, environment, observe } = this.#options;
    return new Promise((resolve, reject) => {
      const isStarted = background.start(NAME, async (signal) => {
        // Before it is asked for, so that the age is never taken for less than it is.
        const at = this.#now();
        const deadline = Deadline.after(environment.clock, LOAD_MS, signal);
        try {
          const bound = await load(new Operation(NAME, { deadline, environment, observer: observe }));
          // It never goes back; a PD that has just taken over may be behind what the last one said.
          const known = this.#known?.ts ?? bound.ts;
          this.#known = { ...bound, ts: known > bound.ts ? known : bound.ts, at };
          resolve();
        } catch (error) {
          reject(error);
        }
      });
      if (!isStarted) reject(new TikvError("closed", "Cannot read the safe point: the client is closed"));
    });
  }

  #now(): number {
    return this.#options.environment.clock.now();
  }
}

function assertVisible(ts: Timestamp, safePoint: Timestamp): void {
  if (ts >= safePoint) return;
  const seen = `the safe point of garbage collection is ${safePoint}`;
  throw new SnapshotTooOldError(`Cannot read at ${ts}: ${seen}, so that what was there may be gone`, {
    ts,
    safePoint,
  });
}

const NAME = "txn.safePoint";
/**
 * As often as client-go polls (`pollTxnSafePointInterval`), and as long as it relies on one
 * (`gcSafePointCacheInterval` less one poll): nobody collects before that long after it was set.
 */
const STANDING = { refreshMs: 10_000, validMs: 90_000 };
/** Stores begin to collect within 10 s of it (`POLL_SAFE_POINT_INTERVAL_SECS` of TiKV), or at once. */
const COLLECTING = { refreshMs: 2_000, validMs: 5_000 };
/** As client-go (`pollTxnSafePointQuickRepeatInterval`). */
const REST_MS = 1_000;
const LOAD_MS = 10_000;

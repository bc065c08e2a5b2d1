// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../../async/operation.ts";
import type { Observer } from "../../observe/events.ts";
import { physicalMsOf, type Timestamp } from "../../types.ts";
import type { Oracle } from "../txn_session.ts";

/** A timestamp, and when it was asked for on the local clock. */
export interface Reading {
  readonly ts: Timestamp;
  readonly at: number;
}

/**
 * The time by which locks expire: that of the cluster, never the local one. A reading is used for
 * a moment, so that many locks met at once need one. It may be behind, by which a lock lives a
 * little longer; it is never ahead, by which a live one would be taken for dead.
 */
export class LockClock implements Oracle {
  readonly #oracle: Oracle;
  readonly #observe: Observer;
  #last: Reading | undefined;

  constructor(oracle: Oracle, observe: Observer) {
    this.#oracle = oracle;
    this.#observe = observe;
  }

  /** The largest timestamp that was seen; it may be old. */
  get latest(): Timestamp | undefined {
    return this.#last?.ts;
  }

  /** The newest timestamp that this client has got. */
  get last(): Reading | undefined {
    return this.#last;
  }

  /** A new timestamp, which the next question about a lock may use as well. */
  async timestamp(operation: Operation): Promise<Timestamp> {
    // Before it was asked for: the reading is not older than this.
    const at = operation.environment.clock.now();
    const ts = await this.#oracle.timestamp(operation);
    if (this.#last === undefined || ts > this.#last.ts) this.#last = { ts, at };
    return ts;
  }

  /**
   * Refuses a timestamp that the cluster has not handed out yet. Who reads at one would see other data
   * there later, and would have every commit wait behind it until then. Asks only when the timestamp
   * is above all that this client has seen.
   */
  assertPast(ts: Timestamp, operation: Operation): void | Promise<void> {
    if (this.#last !== undefined && ts <= this.#last.ts) return;
    return this.#assertPastNow(ts, operation);
  }

  async #assertPastNow(ts: Timestamp, operation: Operation): Promise<void> {
    const now = await this.timestamp(operation);
    if (ts <= now) return;
    const ahead = physicalMsOf(ts) - physicalMsOf(now);
    const seen = `it is ${ahead} ms ahead of the cluster, whose newest is ${now}`;
    throw new RangeError(`Cannot read at ${ts}: ${seen}; "latest" reads the newest of one key`);
  }

  /** A timestamp that is no more than a moment old, or a little more while PD does not answer. */
  async now(operation: Operation): Promise<Timestamp> {
    const last = this.#last;
    const { clock } = operation.environment;
    if (last !== undefined && clock.now() - last.at < MAX_AGE_MS) return last.ts;
    if (last === undefined) return await this.timestamp(operation);
    try {
      return await this.timestamp(operation.fork({ deadline: operation.deadline.within(PATIENCE_MS) }));
    } catch (error) {
      operation.deadline.throwIfOver("get a timestamp");
      // Locks of transactions that are over can be resolved all the same; the others live longer.
      const message = "Cannot get a timestamp to judge locks by: an older one is used";
      this.#observe({ type: "warning", message, cause: error });
      return last.ts;
    }
  }
}

/** Far below the shortest time to live of a lock, 3 s; client-go's reading is up to 2 s old. */
const MAX_AGE_MS = 200;
/** Time for PD to answer as long as there is an older reading. */
const PATIENCE_MS = 1_000;

// SPDX-License-Identifier: Apache-2.0

import type { Background } from "../../async/background.ts";
import type { Environment } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import type { Observer } from "../../observe/events.ts";
import { physicalMsOf, type Timestamp, timestampOf } from "../../types.ts";
import type { LockClock } from "../locks/lock_clock.ts";
import type { SafeTs } from "./safe_ts.ts";

/** Options of a new {@linkcode StaleTime}. */
export interface StaleTimeOptions {
  readonly clock: Pick<LockClock, "timestamp" | "last">;
  readonly safeTs: Pick<SafeTs, "minimum">;
  readonly background: Pick<Background, "start">;
  readonly environment: Environment;
  readonly observe: Observer;
}

/**
 * Timestamps of the past, without a round trip for each: from the last one that PD gave, and the time
 * since. One that is younger than what is asked for is enough, because the result is then older than
 * it: never a moment that the cluster has not reached, however wrong the local clock goes.
 */
export class StaleTime {
  readonly #options: StaleTimeOptions;
  #isAsking = false;

  constructor(options: StaleTimeOptions) {
    this.#options = options;
  }

  /** The timestamp of this long ago. Asks PD only when nobody has for as long. */
  async ago(ms: number, operation: Operation): Promise<Timestamp> {
    const { clock } = this.#options;
    const age = this.#age();
    if (age > ms) await clock.timestamp(operation);
    else if (age > ms / 2) this.#askSoon();
    const { last } = clock;
    if (last === undefined) throw new RangeError("Cannot tell the time: no timestamp was handed out");
    const physicalMs = physicalMsOf(last.ts) + Math.floor(Math.max(0, this.#age())) - ms;
    if (physicalMs <= 0) {
      throw new RangeError(`Cannot read what was there ${ms} ms ago: the clock of the cluster began later`);
    }
    const ago = timestampOf(BigInt(physicalMs), 0n);
    return ago < last.ts ? ago : last.ts;
  }

  /**
   * The newest timestamp up to which stores with these labels have everything, but not older than this.
   */
  async newest(
    maxMs: number,
    labels: ReadonlyMap<string, string>,
    operation: Operation,
  ): Promise<Timestamp> {
    const { clock, safeTs } = this.#options;
    const oldest = await this.ago(maxMs, operation);
    const safe = await safeTs.minimum(labels, operation);
    const { last } = clock;
    // What stores say is never above what PD has handed out, but only PD's word counts.
    const newest = last !== undefined && safe > last.ts ? last.ts : safe;
    return newest > oldest ? newest as Timestamp : oldest;
  }

  #age(): number {
    const { clock, environment } = this.#options;
    return clock.last === undefined ? Infinity : environment.clock.now() - clock.last.at;
  }

  #askSoon(): void {
    if (this.#isAsking) return;
    const { clock, background, environment, observe } = this.#options;
    this.#isAsking = background.start(NAME, async (signal) => {
      const deadline = Deadline.after(environment.clock, ASK_MS, signal);
      try {
        await clock.timestamp(new Operation(NAME, { deadline, environment, observer: observe }));
      } catch (error) {
        if (signal.aborted) return;
        const message = "Cannot get a timestamp ahead of time: the next read of the past may wait for one";
        observe({ type: "warning", message, cause: error });
      } finally {
        this.#isAsking = false;
      }
    });
  }
}

const NAME = "txn.staleTime";
const ASK_MS = 10_000;

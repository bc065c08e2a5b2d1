// SPDX-License-Identifier: Apache-2.0

import type { Background } from "../../async/background.ts";
import type { Environment } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import type { Observer } from "../../observe/events.ts";
import { FIRST_RESERVED_TS } from "../locks/lock_calls.ts";

/** A store that can be asked. */
export interface SafeTsStore {
  readonly id: bigint;
  readonly address: string;
  readonly labels: ReadonlyMap<string, string>;
}

/** Options of a new {@linkcode SafeTs}. */
export interface SafeTsOptions {
  /** The stores that serve. */
  readonly stores: (operation: Operation) => Promise<readonly SafeTsStore[]>;
  /** Asks one store up to which timestamp its replicas have everything; 0 when it has none. */
  readonly ask: (store: SafeTsStore, operation: Operation) => Promise<bigint>;
  readonly background: Pick<Background, "start">;
  readonly environment: Environment;
  readonly observe: Observer;
}

interface StoreReading {
  readonly labels: ReadonlyMap<string, string>;
  readonly ts: bigint;
}

/**
 * Up to which timestamp the replicas on stores have everything. Stores are asked when somebody wants to
 * know, and no more than every two seconds.
 */
export class SafeTs {
  readonly #options: SafeTsOptions;
  readonly #latest = new Map<bigint, bigint>();
  /** Stores that answered the last time. */
  #readings: readonly StoreReading[] = [];
  #readAt = -Infinity;
  #reading: Promise<void> | undefined;

  constructor(options: SafeTsOptions) {
    this.#options = options;
  }

  /**
   * The smallest timestamp of the stores with all these labels, or of all stores when none has them; 0
   * when no store tells. Stores that do not answer are not counted: others are read from.
   */
  async minimum(labels: ReadonlyMap<string, string>, operation: Operation): Promise<bigint> {
    const age = this.#options.environment.clock.now() - this.#readAt;
    if (age >= REFRESH_MS) {
      const reading = this.#refresh();
      // An old answer is as true as a new one, but no help to who wants something new.
      if (age >= OLD_MS) await operation.deadline.race(reading, "ask the stores how far they are");
    }
    const wanted = this.#readings.filter((one) => matches(one.labels, labels));
    const known = (wanted.length > 0 ? wanted : this.#readings).map(({ ts }) => ts);
    return known.reduce((least, ts) => least === 0n || ts < least ? ts : least, 0n);
  }

  // Never rejects: what could not be found out is not known.
  #refresh(): Promise<void> {
    if (this.#reading !== undefined) return this.#reading;
    const { background, environment, observe } = this.#options;
    const reading = new Promise<void>((resolve) => {
      const isStarted = background.start(NAME, async (signal) => {
        const deadline = Deadline.after(environment.clock, ROUND_MS, signal);
        try {
          await this.#read(new Operation(NAME, { deadline, environment, observer: observe }));
        } catch (error) {
          if (signal.aborted) return;
          const message = "Cannot ask the stores how far they are: older answers are used";
          observe({ type: "warning", message, cause: error });
        } finally {
          this.#reading = undefined;
          resolve();
        }
      });
      if (!isStarted) resolve();
    });
    // Nothing that began was over at once.
    this.#reading = reading;
    return reading;
  }

  async #read(operation: Operation): Promise<void> {
    const { stores, ask, environment } = this.#options;
    const at = environment.clock.now();
    const asked = await stores(operation);
    const readings = await Promise.all(asked.map(async (store): Promise<StoreReading[]> => {
      try {
        const ts = await ask(store, operation.fork());
        // 0: no replica, or none that knows. What is above all timestamps is a mistake.
        return ts > 0n && ts < FIRST_RESERVED_TS
          ? [{ labels: store.labels, ts: this.#raise(store.id, ts) }]
          : [];
      } catch (error) {
        if (operation.deadline.isAborted) throw error;
        return [];
      }
    }));
    this.#readings = readings.flat();
    this.#readAt = at;
  }

  // It never goes back; an answer that was slow may be behind another.
  #raise(storeId: bigint, ts: bigint): bigint {
    const before = this.#latest.get(storeId) ?? 0n;
    const raised = ts > before ? ts : before;
    this.#latest.set(storeId, raised);
    return raised;
  }
}

function matches(labels: ReadonlyMap<string, string>, wanted: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of wanted) if (labels.get(key) !== value) return false;
  return true;
}

const NAME = "txn.safeTs";
// As often as client-go polls (`safeTSUpdateInterval`), which does so whether anybody reads or not.
const REFRESH_MS = 2_000;
const OLD_MS = 10_000;
/** Time for all stores; who has not answered by then is left out. */
const ROUND_MS = 2_000;

// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "./deadline.ts";

interface Flight<V> {
  readonly result: Promise<V>;
  readonly controller: AbortController;
  waiters: number;
  isSettled: boolean;
}

/** What is to be done once for all who ask at the same time. */
export interface Task<V> {
  readonly deadline: Deadline;
  /** What cannot be done when it fails, such as `"load the region"`. */
  readonly what: string;
  /** The signal is aborted when nobody waits for the result any more. */
  run(signal: AbortSignal): Promise<V>;
}

/**
 * Runs one task at a time per key and gives its result to everybody who asked meanwhile. Each
 * waiter has its own deadline: one that leaves takes nothing away from the others, and the last
 * one to leave ends the task.
 */
export class SingleFlight<K, V> {
  readonly #flights = new Map<K, Flight<V>>();

  /** How many tasks run. */
  get size(): number {
    return this.#flights.size;
  }

  /** Joins the task of this key that runs, or starts it. */
  async run(key: K, task: Task<V>): Promise<V> {
    task.deadline.throwIfOver(task.what);
    const flight = this.#flights.get(key) ?? this.#start(key, task);
    flight.waiters++;
    try {
      return await task.deadline.race(flight.result, task.what);
    } finally {
      flight.waiters--;
      if (flight.waiters === 0 && !flight.isSettled) {
        // Whoever comes after the last waiter left starts anew instead of joining a dying task.
        this.#forget(key, flight);
        flight.controller.abort();
      }
    }
  }

  #start(key: K, task: Task<V>): Flight<V> {
    const controller = new AbortController();
    const result = begin(task, controller.signal);
    const flight: Flight<V> = { result, controller, waiters: 0, isSettled: false };
    this.#flights.set(key, flight);
    const done = (): void => {
      flight.isSettled = true;
      this.#forget(key, flight);
    };
    result.then(done, done);
    return flight;
  }

  #forget(key: K, flight: Flight<V>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
  }
}

async function begin<V>(task: Task<V>, signal: AbortSignal): Promise<V> {
  return await task.run(signal);
}

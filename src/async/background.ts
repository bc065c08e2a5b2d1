// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "./deadline.ts";

/** Work that goes on after the call that started it: it is waited for, or ended, at close. */
export class Background {
  readonly #controller = new AbortController();
  readonly #onError: (name: string, error: unknown) => void;
  readonly #running = new Set<Promise<void>>();
  #isClosed = false;

  /** `onError` hears of work that failed for another reason than being ended by `close()`. */
  constructor(onError: (name: string, error: unknown) => void) {
    this.#onError = onError;
  }

  /** Aborted when work has to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** How many pieces of work run. */
  get size(): number {
    return this.#running.size;
  }

  /** Starts work; false, and no work, when this is closed. */
  start(name: string, work: (signal: AbortSignal) => Promise<void>): boolean {
    if (this.#isClosed) return false;
    const running = this.#run(name, work);
    this.#running.add(running);
    running.then(() => this.#running.delete(running));
    return true;
  }

  /** Ends loops at once without waiting: for work that never ends by itself. */
  abort(): void {
    this.#isClosed = true;
    this.#controller.abort();
  }

  /**
   * Takes no more work and waits for what runs. At the deadline it is aborted, and waited for
   * without limit, because work that was told to end does. Idempotent.
   */
  async close(deadline: Deadline): Promise<void> {
    this.#isClosed = true;
    const all = Promise.all(this.#running);
    const stop = deadline.onOver("finish background work", () => this.#controller.abort());
    try {
      await all;
    } finally {
      stop();
      this.#controller.abort();
    }
  }

  async #run(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { signal } = this.#controller;
    try {
      await work(signal);
    } catch (error) {
      if (!signal.aborted) this.#onError(name, error);
    }
  }
}

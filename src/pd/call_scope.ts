// SPDX-License-Identifier: Apache-2.0

import { Deadline } from "../async/deadline.ts";
import { TikvError } from "../errors.ts";

/** The calls under way, so that closing can end them. */
export class CallScope {
  readonly #controllers = new Set<AbortController>();
  #isClosed = false;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** How many calls run. */
  get size(): number {
    return this.#controllers.size;
  }

  /** Throws when the scope was closed. */
  throwIfClosed(): void {
    if (this.#isClosed) throw closedError();
  }

  /**
   * Runs `work` under a deadline that also ends when the scope closes, and settles then at the
   * latest, whatever the work does.
   */
  async run<T>(deadline: Deadline, what: string, work: (deadline: Deadline) => Promise<T>): Promise<T> {
    this.throwIfClosed();
    deadline.throwIfOver(what);
    const controller = new AbortController();
    const { signal } = deadline;
    const onAbort = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort);
    this.#controllers.add(controller);
    const inner = new Deadline(deadline.clock, deadline.at, controller.signal, deadline.startedAt);
    try {
      return await inner.race(work(inner), what);
    } finally {
      this.#controllers.delete(controller);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Ends every call with a `closed` error and refuses new ones. Idempotent. */
  close(): void {
    this.#isClosed = true;
    // An error each: facts are added to it on its way out.
    for (const controller of [...this.#controllers]) controller.abort(closedError());
    this.#controllers.clear();
  }
}

function closedError(): TikvError {
  return new TikvError("closed", "Cannot call PD: the client is closed");
}

// SPDX-License-Identifier: Apache-2.0

/** How a call of a transaction is noted. */
export interface NotedCall {
  /** As in errors, such as `"txn.get"`. */
  readonly name: string;
  /** It ends when a function of the user's does, which nothing can hurry. */
  readonly isUsers?: boolean | undefined;
}

interface RunningCall extends NotedCall {
  promise: Promise<unknown> | undefined;
}

/**
 * The awaited calls of one transaction that are under way: a commit must not begin before they are
 * over, and none of them may fail unseen once the transaction is.
 */
export class TransactionCalls {
  readonly #running = new Set<RunningCall>();

  /** The names of what runs, each once. */
  get names(): readonly string[] {
    return [...new Set(Array.from(this.#running, ({ name }) => name))];
  }

  /** Begins a call; the promise is the caller's. */
  begin<T>(call: NotedCall, work: () => Promise<T>): Promise<T> {
    const running: RunningCall = { ...call, promise: undefined };
    this.#running.add(running);
    const promise = this.#finish(running, work);
    running.promise = promise;
    return promise;
  }

  /**
   * Takes what runs for forgotten: somebody is told of it by another error, so that what it rejects
   * with is not unhandled. What the user awaits rejects all the same.
   */
  forget(): void {
    for (const { promise } of this.#running) promise?.catch(() => {});
  }

  /** Settles when everything has that ends by itself or by the signal of the transaction. */
  async settled(): Promise<void> {
    const ends = Array.from(this.#running, ({ promise, isUsers }) => isUsers === true ? undefined : promise);
    await Promise.allSettled(ends);
  }

  async #finish<T>(running: RunningCall, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      this.#running.delete(running);
    }
  }
}

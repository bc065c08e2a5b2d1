// SPDX-License-Identifier: Apache-2.0

/** Options of a new {@linkcode Queue}. */
export interface QueueOptions<T> {
  /** How much may wait to be read: items, or what `sizeOf` counts. Unlimited by default. */
  readonly capacity?: number | undefined;
  readonly sizeOf?: ((item: T) => number) | undefined;
  /** Called once when the reader leaves before the end, to stop whoever pushes. */
  readonly onReturn?: (() => void) | undefined;
}

/**
 * A bounded queue between callbacks that push and one `for await` loop that reads. What was
 * pushed before `close()` or `fail()` is still read.
 */
export class Queue<T> implements AsyncIterableIterator<T> {
  readonly #capacity: number;
  readonly #sizeOf: (item: T) => number;
  readonly #onReturn: (() => void) | undefined;
  #items: T[] = [];
  #size = 0;
  #end: { readonly error?: unknown; readonly isError: boolean } | undefined;
  #waitingReads: (() => void)[] = [];

  constructor(options: QueueOptions<T> = {}) {
    this.#capacity = options.capacity ?? Infinity;
    this.#sizeOf = options.sizeOf ?? (() => 1);
    this.#onReturn = options.onReturn;
  }

  /** What waits to be read, in the unit of the capacity. */
  get size(): number {
    return this.#size;
  }

  get isClosed(): boolean {
    return this.#end !== undefined;
  }

  /**
   * Takes an item, unless the queue is closed or would hold more than its capacity. An empty queue
   * takes one item of any size.
   */
  push(item: T): boolean {
    if (this.#end !== undefined) return false;
    const size = this.#sizeOf(item);
    if (this.#items.length > 0 && this.#size + size > this.#capacity) return false;
    this.#items.push(item);
    this.#size += size;
    this.#wake();
    return true;
  }

  /** Ends the queue: the reader's loop ends after what was pushed. */
  close(): void {
    this.#finish({ isError: false });
  }

  /** Ends the queue: the reader's loop throws after what was pushed. */
  fail(error: unknown): void {
    this.#finish({ error, isError: true });
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    for (;;) {
      if (this.#items.length > 0) {
        const item = this.#items.shift() as T;
        this.#size -= this.#sizeOf(item);
        return { done: false, value: item };
      }
      const end = this.#end;
      if (end !== undefined) {
        // An error is thrown once; a reader that goes on sees the end.
        this.#end = { isError: false };
        if (end.isError) throw end.error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#waitingReads.push(resolve);
      });
    }
  }

  return(): Promise<IteratorResult<T, undefined>> {
    const isEarly = this.#end === undefined || this.#items.length > 0;
    this.#items = [];
    this.#size = 0;
    this.#end = { isError: false };
    this.#wake();
    if (isEarly) this.#onReturn?.();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #finish(end: { readonly error?: unknown; readonly isError: boolean }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waitingReads;
    this.#waitingReads = [];
    for (const wake of waiting) wake();
  }
}

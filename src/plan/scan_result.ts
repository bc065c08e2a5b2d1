// SPDX-License-Identifier: Apache-2.0

/**
 * What a scan finds, read when it is asked for. Nothing is sent before the first entry is awaited,
 * and each iteration reads the range anew.
 */
export class ScanResult<T> implements AsyncIterable<T> {
  readonly #start: () => AsyncGenerator<readonly T[], void, undefined>;

  /**
   * Made by the scans themselves.
   *
   * @param start begins one pass over the range
   */
  constructor(start: () => AsyncGenerator<readonly T[], void, undefined>) {
    this.#start = start;
  }

  /**
   * Reads entry by entry. The next page is read while the entries of one are worked on; leaving
   * the loop cancels that.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return new EntryIterator(this.#start());
  }

  /** Reads page by page: what one request brought, never empty, at most as many as `batchSize`. */
  pages(): AsyncGenerator<readonly T[], void, undefined> {
    return this.#start();
  }

  /** Reads everything into memory. Give the scan a `limit` unless the range is known to be small. */
  async toArray(): Promise<T[]> {
    const all: T[] = [];
    for await (const page of this.#start()) for (const entry of page) all.push(entry);
    return all;
  }
}

/** By hand rather than as a generator: an entry that is there costs one resolved promise. */
class EntryIterator<T> implements AsyncIterableIterator<T> {
  readonly #pages: AsyncGenerator<readonly T[], void, undefined>;
  #page: readonly T[] = [];
  #at = 0;
  #loading: Promise<unknown> = Promise.resolve();

  constructor(pages: AsyncGenerator<readonly T[], void, undefined>) {
    this.#pages = pages;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#at < this.#page.length) {
      return Promise.resolve({ done: false, value: this.#page[this.#at++] as T });
    }
    // One after the other, also when the caller does not wait for the entry before.
    const next = this.#loading.then(() => this.#nextPage(), () => this.#nextPage());
    this.#loading = next;
    return next;
  }

  async return(): Promise<IteratorResult<T>> {
    this.#page = [];
    this.#at = 0;
    await this.#pages.return();
    return { done: true, value: undefined };
  }

  async #nextPage(): Promise<IteratorResult<T>> {
    while (this.#at >= this.#page.length) {
      const { done, value } = await this.#pages.next();
      if (done === true) return { done: true, value: undefined };
      this.#page = value;
      this.#at = 0;
    }
    return { done: false, value: this.#page[this.#at++] as T };
  }
}

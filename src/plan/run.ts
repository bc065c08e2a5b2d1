// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";

/**
 * Does one part. Returns the parts that take its place when it could not be done as it was (its
 * region has split or moved), and nothing when it is done.
 */
export type PartWork<P> = (part: P, operation: Operation) => Promise<readonly P[] | undefined>;

/** Options of {@linkcode runParts}. */
export interface RunOptions {
  readonly operation: Operation;
  /** Parts that are worked on at a time. */
  readonly concurrency: number;
}

/**
 * Works on all parts, a few at a time. The first failure ends the rest: parts that wait are
 * dropped, those under way are aborted and waited for, so that nothing runs on behind the caller.
 */
export async function runParts<P>(
  parts: readonly P[],
  work: PartWork<P>,
  { operation, concurrency }: RunOptions,
): Promise<void> {
  let rest = parts;
  // A single part is the common case, and needs neither a signal nor an account of its own.
  while (rest.length === 1) rest = await work(rest[0] as P, operation) ?? [];
  if (rest.length > 0) await new Run(work, operation, concurrency).run(rest);
}

interface Task<P> {
  readonly part: P;
  readonly operation: Operation;
}

class Run<P> {
  readonly #work: PartWork<P>;
  readonly #whole: Operation;
  readonly #concurrency: number;
  readonly #stop = new AbortController();
  readonly #waiting: Task<P>[] = [];
  #running = 0;
  #failure: { readonly error: unknown } | undefined;
  #isInDoubt = false;
  #settle: () => void = () => {};

  constructor(work: PartWork<P>, operation: Operation, concurrency: number) {
    this.#work = work;
    this.#whole = operation;
    this.#concurrency = concurrency;
  }

  async run(parts: readonly P[]): Promise<void> {
    const settled = new Promise<void>((resolve) => this.#settle = resolve);
    this.#add(parts);
    this.#startNext();
    await settled;
    // Ends the listeners that the parts' signals keep.
    this.#stop.abort(DONE);
    if (this.#failure === undefined) return;
    // When time or patience ran out for all of them, a write of any part may have happened. A
    // failure of one part speaks for itself: that others were cut short says nothing about it.
    if (this.#isInDoubt && this.#whole.deadline.isOver()) this.#whole.isMaybeExecuted = true;
    throw this.#failure.error;
  }

  #add(parts: readonly P[]): void {
    const deadline = this.#whole.deadline.withSignal(this.#stop.signal);
    for (const part of parts) {
      this.#waiting.push({ part, operation: this.#whole.fork({ deadline, keepsDoubt: true }) });
    }
  }

  #startNext(): void {
    while (this.#running < this.#concurrency && this.#failure === undefined) {
      const task = this.#waiting.shift();
      if (task === undefined) break;
      this.#running++;
      void this.#do(task);
    }
    if (this.#running === 0) this.#settle();
  }

  /** Never rejects: what fails is kept for `run`. */
  async #do({ part, operation }: Task<P>): Promise<void> {
    try {
      const instead = await this.#work(part, operation) ?? [];
      const [only] = instead;
      // A part that did not fall apart goes on with its own account of waits.
      if (instead.length === 1 && only !== undefined) this.#waiting.unshift({ part: only, operation });
      else this.#add(instead);
    } catch (error) {
      if (operation.isMaybeExecuted) this.#isInDoubt = true;
      if (this.#failure === undefined) {
        this.#failure = { error };
        if (operation.isMaybeExecuted) this.#whole.isMaybeExecuted = true;
        this.#stop.abort(error);
      }
    }
    this.#whole.join(operation);
    this.#running--;
    this.#startNext();
  }
}

// Made once: an error of its own each time would cost more than the rest of a small call.
const DONE = new DOMException("All parts are done", "AbortError");

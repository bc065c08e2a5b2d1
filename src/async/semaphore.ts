// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "./deadline.ts";

/** The right to be one of those inside. Give it back once; later calls do nothing. */
export interface Permit {
  release(): void;
  [Symbol.dispose](): void;
}

interface Waiter {
  resolve(permit: Permit): void;
  reject(reason: unknown): void;
  stop(): void;
}

/** Lets a limited number in; the others wait in the order in which they came. */
export class Semaphore {
  #free: number;
  #waiting: Waiter[] = [];
  #closedBy: { readonly reason: unknown } | undefined;

  constructor(permits: number) {
    if (!(permits > 0)) {
      throw new RangeError(`Cannot make a semaphore of ${permits} permits: expected more than 0`);
    }
    this.#free = permits;
  }

  /** Permits that nobody holds. */
  get free(): number {
    return this.#free;
  }

  /** How many wait for a permit. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** A permit if one is free at this moment. */
  tryAcquire(): Permit | undefined {
    if (this.#free < 1 || this.#closedBy !== undefined) return undefined;
    this.#free--;
    return this.#permit();
  }

  /** Waits for a permit, at most until the deadline, in which case it rejects with its reason. */
  acquire(deadline: Deadline, what: string): Promise<Permit> {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== undefined) return reject(this.#closedBy.reason);
      if (deadline.isAborted) return reject(deadline.signal?.reason);
      const permit = this.tryAcquire();
      if (permit !== undefined) return resolve(permit);
      const waiter: Waiter = { resolve, reject, stop: () => {} };
      this.#waiting.push(waiter);
      waiter.stop = deadline.onOver(what, (reason) => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        reject(reason);
      });
    });
  }

  /** Rejects everybody who waits and whoever comes later; permits out there stay good. */
  close(reason: unknown): void {
    this.#closedBy ??= { reason };
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const waiter of waiting) {
      waiter.stop();
      waiter.reject(reason);
    }
  }

  #permit(): Permit {
    let isHeld = true;
    const release = (): void => {
      if (!isHeld) return;
      isHeld = false;
      const next = this.#waiting.shift();
      if (next === undefined) {
        this.#free++;
        return;
      }
      next.stop();
      next.resolve(this.#permit());
    };
    return { release, [Symbol.dispose]: release };
  }
}

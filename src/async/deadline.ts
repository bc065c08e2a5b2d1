// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "./clock.ts";
import { TimeoutError } from "../errors.ts";

/**
 * The end of an operation: a point in time, a signal, or both. It is made once per public call
 * and handed down by value; inner steps may only make it earlier.
 */
export class Deadline {
  readonly clock: Clock;
  /** Point on the clock's own scale; `Infinity` when only the signal ends the operation. */
  readonly at: number;
  readonly signal: AbortSignal | undefined;
  /** When the operation began, for messages. */
  readonly startedAt: number;

  constructor(clock: Clock, at: number, signal?: AbortSignal, startedAt: number = clock.now()) {
    this.clock = clock;
    this.at = at;
    this.signal = signal;
    this.startedAt = startedAt;
  }

  /** A deadline that passes `timeoutMs` from now. */
  static after(clock: Clock, timeoutMs: number, signal?: AbortSignal): Deadline {
    const now = clock.now();
    return new Deadline(clock, now + timeoutMs, signal, now);
  }

  /** A deadline that never passes and cannot be aborted. */
  static never(clock: Clock): Deadline {
    return new Deadline(clock, Infinity);
  }

  /** The earlier of this deadline and `timeoutMs` from now, with the same signal. */
  within(timeoutMs: number): Deadline {
    const at = this.clock.now() + timeoutMs;
    return at >= this.at ? this : new Deadline(this.clock, at, this.signal, this.startedAt);
  }

  /** The same point in time, ended by another signal as well. */
  withSignal(signal: AbortSignal): Deadline {
    const both = this.signal === undefined ? signal : AbortSignal.any([this.signal, signal]);
    return new Deadline(this.clock, this.at, both, this.startedAt);
  }

  remainingMs(): number {
    return Math.max(0, this.at - this.clock.now());
  }

  elapsedMs(): number {
    return this.clock.now() - this.startedAt;
  }

  get isAborted(): boolean {
    return this.signal !== undefined && this.signal.aborted;
  }

  isOver(): boolean {
    return this.isAborted || this.clock.now() >= this.at;
  }

  /** Throws the signal's own reason, or a {@linkcode TimeoutError}, when the operation has to end. */
  throwIfOver(what: string): void {
    if (this.signal?.aborted) throw this.signal.reason;
    if (this.clock.now() >= this.at) throw this.timeoutError(what);
  }

  /** The error for an operation that ran out of time while doing `what`. */
  timeoutError(what: string, cause?: unknown): TimeoutError {
    const elapsedMs = Math.round(this.elapsedMs());
    return new TimeoutError(`Cannot ${what}: the deadline passed after ${elapsedMs} ms`, {
      cause,
      context: { elapsedMs },
    });
  }

  /**
   * Settles as `promise` does, unless the deadline comes first. What the promise does after that
   * is ignored, so the caller must also stop the work behind it.
   */
  race<T>(promise: Promise<T>, what: string): Promise<T> {
    if (this.at === Infinity && this.signal === undefined) return promise;
    return new Promise<T>((resolve, reject) => {
      const stop = this.onOver(what, reject);
      promise.then(
        (value) => {
          stop();
          resolve(value);
        },
        (error) => {
          stop();
          reject(error);
        },
      );
    });
  }

  /**
   * Calls back once with the reason when the deadline passes or the signal is aborted, at once
   * when it already has. The returned function takes every listener and timer away.
   */
  onOver(what: string, callback: (reason: unknown) => void): () => void {
    const { signal } = this;
    if (signal?.aborted) {
      callback(signal.reason);
      return noop;
    }
    const remaining = this.at - this.clock.now();
    if (remaining <= 0) {
      callback(this.timeoutError(what));
      return noop;
    }
    const stop = (): void => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => {
      stop();
      callback(signal?.reason);
    };
    const timer = remaining === Infinity ? undefined : this.clock.timer(remaining, () => {
      stop();
      callback(this.timeoutError(what));
    });
    signal?.addEventListener("abort", onAbort);
    return stop;
  }

  /** Waits `ms`, or less when the deadline comes first, in which case it rejects with the reason. */
  sleep(ms: number, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.clock.now() + ms < this.at) {
        const { signal } = this;
        if (signal?.aborted) return reject(signal.reason);
        const onAbort = (): void => {
          timer.cancel();
          signal?.removeEventListener("abort", onAbort);
          reject(signal?.reason);
        };
        const timer = this.clock.timer(ms, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        signal?.addEventListener("abort", onAbort);
      } else {
        this.onOver(what, reject);
      }
    });
  }
}

function noop(): void {}

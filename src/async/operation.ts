// SPDX-License-Identifier: Apache-2.0

import type { ErrorContext, ErrorKind } from "../errors.ts";
import { TikvError, UndeterminedError, withContext } from "../errors.ts";
import type { BackoffWait } from "./backoff.ts";
import { Backoffs } from "./backoff.ts";
import type { Environment } from "./clock.ts";
import type { Deadline } from "./deadline.ts";

/** A wait between two attempts of an operation; fits the `retry` event of an observer. */
export interface RetryEvent extends BackoffWait {
  readonly type: "retry";
  readonly operation: string;
}

/** Options of a new {@linkcode Operation}. */
export interface OperationOptions {
  readonly deadline: Deadline;
  readonly environment: Environment;
  readonly observer?: ((event: RetryEvent) => void) | undefined;
  /** Time that may be spent in waits between attempts; only the deadline bounds it when absent. */
  readonly budgetMs?: number | undefined;
  /** Aborted when the client is closed: waits between attempts then end with its reason. */
  readonly closing?: AbortSignal | undefined;
}

/** Options of {@linkcode Operation.fork}. */
export interface ForkOptions {
  /** An earlier end than that of the whole, or one more signal. */
  readonly deadline?: Deadline | undefined;
  /** Keeps doubts of the part from the whole; whoever made the part weighs them. */
  readonly keepsDoubt?: boolean | undefined;
}

/**
 * One call of a user on its way through the layers: its deadline, what was tried, and whether a
 * write of it may have happened.
 */
export class Operation {
  /** The public name, such as `"raw.get"`. */
  readonly name: string;
  readonly deadline: Deadline;
  readonly environment: Environment;
  readonly #options: OperationOptions;
  readonly #parent: Operation | undefined;
  #keepsDoubt = false;
  #attempts = 0;
  #isMaybeExecuted = false;
  #hadDoubt = false;
  #backoffs: Backoffs | undefined;

  constructor(name: string, options: OperationOptions, parent?: Operation) {
    this.name = name;
    this.deadline = options.deadline;
    this.environment = options.environment;
    this.#options = options;
    this.#parent = parent;
  }

  /** Requests sent, those of parts included. */
  get attempts(): number {
    return this.#attempts;
  }

  set attempts(attempts: number) {
    const { attempts: before } = this;
    this.#attempts = attempts;
    if (this.#parent !== undefined) this.#parent.attempts += attempts - before;
  }

  /**
   * A write was sent and its answer was lost. An answer that settles the write sets it back, for
   * the part that was answered; its whole keeps the doubt, because other parts may be in it too.
   */
  get isMaybeExecuted(): boolean {
    return this.#isMaybeExecuted;
  }

  set isMaybeExecuted(isMaybeExecuted: boolean) {
    this.#isMaybeExecuted = isMaybeExecuted;
    if (isMaybeExecuted) this.#hadDoubt = true;
    if (isMaybeExecuted && this.#parent !== undefined && !this.#keepsDoubt) {
      this.#parent.isMaybeExecuted = true;
    }
  }

  /**
   * It was in doubt at some time, whatever was answered since. For writes that an answer to a later
   * attempt does not settle: the one that was lost may still be on its way.
   */
  get hadDoubt(): boolean {
    return this.#hadDoubt;
  }

  /** The waits between attempts; made when the first one is needed. */
  get backoffs(): Backoffs {
    return this.#backoffs ??= this.#parent?.backoffs.fork(this.deadline) ?? new Backoffs({
      deadline: this.deadline,
      random: this.environment.random,
      budgetMs: this.#options.budgetMs,
      closing: this.#options.closing,
      onWait: (wait) => this.#options.observer?.({ type: "retry", operation: this.name, ...wait }),
    });
  }

  /** A part that is retried for itself. Attempts and doubts of it count for the whole as well. */
  fork(options: ForkOptions = {}): Operation {
    const { deadline = this.deadline, keepsDoubt = false } = options;
    const part = new Operation(this.name, { ...this.#options, deadline }, this);
    part.#keepsDoubt = keepsDoubt;
    return part;
  }

  /** Charges what a part waited to the budget of the whole; see {@linkcode Backoffs.merge}. */
  join(part: Operation): void {
    if (part.#backoffs !== undefined) this.backoffs.merge(part.#backoffs);
  }

  /**
   * The error that the caller gets for `error`: with the facts of the operation, or turned into an
   * {@linkcode UndeterminedError} when a write may have happened. Everything that is not an error
   * of this library is returned as it is, the caller's abort reason included.
   */
  fail(error: unknown): unknown {
    const isAbort = this.deadline.isAborted && error === this.deadline.signal?.reason;
    if (!TikvError.is(error) && !isAbort) return error;
    if (this.#isMaybeExecuted && (!TikvError.is(error) || !SETTLED.has(error.kind))) {
      const seen = isAbort ? "the caller aborted while it was in flight" : (error as TikvError).message;
      const context = { ...(TikvError.is(error) ? error.context : {}), ...this.#context() };
      return new UndeterminedError(`Cannot tell whether "${this.name}" took effect: ${seen}`, {
        cause: error,
        context,
      });
    }
    return isAbort ? error : withContext(error, this.#context());
  }

  #context(): ErrorContext {
    const causes = this.#backoffs?.causes() ?? [];
    return {
      operation: this.name,
      attempts: this.#attempts,
      elapsedMs: Math.round(this.deadline.elapsedMs()),
      ...(causes.length === 0 ? {} : { causes }),
    };
  }
}

// Answers about a transaction, which its own layer has weighed against what was sent before.
// After a lost answer any other error leaves open whether the write happened.
const SETTLED: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  "undetermined",
  "write-conflict",
  "deadlock",
  "lock-wait-timeout",
  "txn-aborted",
  "snapshot-too-old",
  "key-exists",
  "assertion-failed",
]);

// SPDX-License-Identifier: Apache-2.0
// The call that runs a transaction again until it is committed or there is no use in it.

import { nextWaitMs } from "../async/backoff.ts";
import type { Operation } from "../async/operation.ts";
import { type ErrorKind, TikvError, withContext } from "../errors.ts";

/** One attempt. */
export interface Attempt<H> {
  /** What the body gets. */
  readonly handle: H;
  /** Refuses what was left running, and commits. */
  finish(operation: Operation): Promise<void>;
  /** Ends what is left of it and takes its locks away; the handle says why from then on. */
  abandon(reason: unknown, operation: Operation): Promise<void>;
}

/** How often, and how. */
export interface RunOptions<H> {
  readonly maxAttempts: number;
  /** Conflicts after which further attempts lock before they write. */
  readonly pessimisticAfter: number;
  readonly isPessimistic: boolean;
  readonly begin: (isPessimistic: boolean, operation: Operation) => Promise<Attempt<H>>;
  /** Aborted when the client is closed. */
  readonly closing: AbortSignal;
  readonly onRetry: (error: TikvError, attempt: number, waitMs: number) => void;
}

/**
 * Runs the body on a new transaction and commits that, again and again while it fails for a reason
 * that a new timestamp can help against. After an undetermined commit the body is never run again:
 * what it did may have happened.
 */
export async function runTransaction<H, T>(
  body: (handle: H) => Promise<T> | T,
  options: RunOptions<H>,
  operation: Operation,
): Promise<T> {
  let { isPessimistic } = options;
  let conflicts = 0;
  for (let attempt = 1;; attempt++) {
    const result = await tryOnce(body, { ...options, isPessimistic }, operation);
    if ("value" in result) return result.value;
    const { error } = result;
    const reason = retryReasonOf(error);
    if (reason === undefined) throw error;
    if (attempt >= options.maxAttempts) throw withContext(error, { transactionAttempts: attempt });
    if (CONFLICTS.has(reason.kind) && ++conflicts >= options.pessimisticAfter) isPessimistic = true;
    await waitBeforeRetry({ ...options, attempt, reason }, operation);
  }
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

async function tryOnce<H, T>(
  body: (handle: H) => Promise<T> | T,
  options: RunOptions<H>,
  operation: Operation,
): Promise<Outcome<T>> {
  const attempt = await options.begin(options.isPessimistic, operation);
  try {
    const value = await runBody(body, { handle: attempt.handle, closing: options.closing }, operation);
    await attempt.finish(operation);
    return { value };
  } catch (error) {
    await attempt.abandon(error, operation);
    return { error };
  }
}

/** The body ends when it settles, when time is up, when the caller aborts, or with the client. */
function runBody<H, T>(
  body: (handle: H) => Promise<T> | T,
  { handle, closing }: { readonly handle: H; readonly closing: AbortSignal },
  operation: Operation,
): Promise<T> {
  const running = (async () => await body(handle))();
  // What a body does after it was given up is its own business; it is not unhandled.
  running.catch(() => {});
  return operation.deadline.withSignal(closing).race(running, "run the transaction");
}

async function waitBeforeRetry<H>(
  { attempt, reason, onRetry, closing }: RunOptions<H> & {
    readonly attempt: number;
    readonly reason: TikvError;
  },
  operation: Operation,
): Promise<void> {
  const { random } = operation.environment;
  const waitMs = nextWaitMs(BETWEEN_ATTEMPTS, { attempts: attempt - 1, lastMs: 0, random });
  if (waitMs >= operation.deadline.remainingMs()) {
    throw operation.deadline.timeoutError("run the transaction again", reason);
  }
  onRetry(reason, attempt, waitMs);
  await operation.deadline.withSignal(closing).sleep(waitMs, "run the transaction again");
}

/**
 * The error for which running everything again can help: the thrown one, or what led to it. The
 * first error of the library decides, whatever was behind that.
 */
export function retryReasonOf(error: unknown): TikvError | undefined {
  let at = error;
  for (let depth = 0; depth < MAX_CAUSES && typeof at === "object" && at !== null; depth++) {
    if (TikvError.is(at)) return at.retry === "transaction" ? at as TikvError : undefined;
    at = (at as { readonly cause?: unknown }).cause;
  }
  return undefined;
}

// Somebody else was faster; waiting for locks lets them come to an end.
const CONFLICTS: ReadonlySet<ErrorKind> = new Set<ErrorKind>(["write-conflict", "deadlock"]);

// Chance keeps those apart that met before; whoever lost often waits longer.
const BETWEEN_ATTEMPTS = { baseMs: 10, capMs: 1_000, jitter: "full", exhausted: "timeout" } as const;

const MAX_CAUSES = 16;

// SPDX-License-Identifier: Apache-2.0
// The call that runs a transaction again until it is committed or there is no use in it.

import { nextWaitMs } from "../async/backoff.ts";
import type { Operation } from "../async/operation.ts";
import { KeySet } from "../bytes/key_map.ts";
import { type AnyTikvError, type ErrorKind, TikvError, withContext } from "../errors.ts";

/** One attempt. */
export interface Attempt<H> {
  /** What the body gets. */
  readonly handle: H;
  /** Whether the attempt has left nothing behind that could be done twice. */
  readonly isUndone: boolean;
  /** What comes before the body. */
  prepare(operation: Operation): Promise<void>;
  /** Refuses what was left running, and commits. */
  finish(operation: Operation): Promise<void>;
  /** Ends what is left of it and takes its locks away; the handle says why from then on. */
  abandon(reason: unknown, operation: Operation): Promise<void>;
}

/** What an attempt is begun with. */
export interface AttemptPlan {
  /** Counted from 1. */
  readonly number: number;
  readonly isPessimistic: boolean;
  /** Keys that others were faster with in earlier attempts. */
  readonly contested: readonly Uint8Array[];
}

/** How often, and how. */
export interface RunOptions<H> {
  readonly maxAttempts: number;
  /** Conflicts after which further attempts lock before they write. */
  readonly pessimisticAfter: number;
  readonly isPessimistic: boolean;
  /** Makes the transaction of an attempt, at a new timestamp. */
  readonly begin: (plan: AttemptPlan, operation: Operation) => Promise<Attempt<H>>;
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
  const contested = new KeySet();
  for (let number = 1;; number++) {
    const ahead = isPessimistic && conflicts >= options.pessimisticAfter ? [...contested] : [];
    const result = await tryOnce(body, {
      plan: { number, isPessimistic, contested: ahead },
      options,
      operation,
    });
    if ("value" in result) return result.value;
    const { error } = result;
    const reason = result.isUndone ? retryReasonOf(error) : undefined;
    if (reason === undefined) throw withContext(error, { transactionAttempts: number });
    if (number >= options.maxAttempts) throw withContext(error, { transactionAttempts: number });
    if (CONFLICTS.has(reason.kind)) {
      noteKeys(reason, contested);
      if (++conflicts >= options.pessimisticAfter) isPessimistic = true;
    }
    await waitBeforeRetry({ ...options, number, reason }, operation);
  }
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown; readonly isUndone: boolean };

async function tryOnce<H, T>(
  body: (handle: H) => Promise<T> | T,
  { plan, options, operation }: {
    readonly plan: AttemptPlan;
    readonly options: RunOptions<H>;
    readonly operation: Operation;
  },
): Promise<Outcome<T>> {
  // What is in doubt is told by the error of the commit; the next attempt begins without doubts.
  const part = operation.fork({ keepsDoubt: true });
  try {
    const attempt = await options.begin(plan, part);
    try {
      await attempt.prepare(part);
      const value = await runBody(body, { handle: attempt.handle, closing: options.closing }, part);
      await attempt.finish(part);
      return { value };
    } catch (error) {
      await attempt.abandon(error, part);
      return { error, isUndone: attempt.isUndone };
    }
  } finally {
    operation.join(part);
  }
}

/** The body ends when it settles, when time is up, when the caller aborts, or with the client. */
function runBody<H, T>(
  body: (handle: H) => Promise<T> | T,
  { handle, closing }: { readonly handle: H; readonly closing: AbortSignal },
  operation: Operation,
): Promise<T> {
  operation.deadline.throwIfOver("run the transaction");
  const running = (async () => await body(handle))();
  // What a body does after it was given up is its own business; it is not unhandled.
  running.catch(() => {});
  return operation.deadline.withSignal(closing).race(running, "run the transaction");
}

async function waitBeforeRetry<H>(
  { number, reason, onRetry, closing }: RunOptions<H> & {
    readonly number: number;
    readonly reason: TikvError;
  },
  operation: Operation,
): Promise<void> {
  const { random } = operation.environment;
  const waitMs = nextWaitMs(BETWEEN_ATTEMPTS, { attempts: number - 1, lastMs: 0, random });
  if (waitMs >= operation.deadline.remainingMs()) {
    const error = operation.deadline.timeoutError("run the transaction again", reason);
    throw withContext(error, { transactionAttempts: number });
  }
  onRetry(reason, number, waitMs);
  await operation.deadline.withSignal(closing).sleep(waitMs, "run the transaction again");
}

/**
 * The error for which running everything again can help: the thrown one, or what led to it. The
 * first error of the library decides, whatever was behind that.
 */
export function retryReasonOf(error: unknown): AnyTikvError | undefined {
  let at = error;
  for (let depth = 0; depth < MAX_CAUSES && typeof at === "object" && at !== null; depth++) {
    if (TikvError.is(at)) return at.retry === "transaction" ? at : undefined;
    at = (at as { readonly cause?: unknown }).cause;
  }
  return undefined;
}

function noteKeys(reason: AnyTikvError, contested: KeySet): void {
  if (reason.kind === "write-conflict" || reason.kind === "deadlock") addKey(contested, reason.key);
  if (reason.kind === "deadlock") addKey(contested, reason.deadlockKey);
}

/** An answer need not name the key, and a caller's own error of the kind has none. */
function addKey(contested: KeySet, key: Uint8Array | undefined): void {
  if (key !== undefined && key.length > 0) contested.add(key);
}

// Somebody else was faster; waiting for locks lets them come to an end.
const CONFLICTS: ReadonlySet<ErrorKind> = new Set<ErrorKind>(["write-conflict", "deadlock"]);

// Chance keeps those apart that met before; whoever lost often waits longer.
const BETWEEN_ATTEMPTS = { baseMs: 10, capMs: 1_000, jitter: "full", exhausted: "timeout" } as const;

const MAX_CAUSES = 16;

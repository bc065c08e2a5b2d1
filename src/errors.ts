// SPDX-License-Identifier: Apache-2.0

import type {
  AssertionFailedError,
  DeadlockError,
  KeyExistsError,
  LockWaitTimeoutError,
  SnapshotTooOldError,
  TxnAbortedError,
  WriteConflictError,
} from "./txn_errors.ts";
import type { CallOptions, Timestamp } from "./types.ts";

/**
 * What a caller may do after an error: `"call"` the same operation again, run the whole
 * `"transaction"` again on a new timestamp, or `"never"` retry unchanged.
 */
export type RetryAdvice = "never" | "call" | "transaction";

/** The closed set of reasons for which a {@linkcode TikvError} is thrown. */
export type ErrorKind =
  | "closed"
  | "misuse"
  | "unsupported"
  | "codec"
  | "too-large"
  | "keyspace-not-found"
  | "cluster-mismatch"
  | "mixed-mode"
  | "tls"
  | "timeout"
  | "connection"
  | "region-unavailable"
  | "server-busy"
  | "overloaded"
  | "write-conflict"
  | "deadlock"
  | "lock-wait-timeout"
  | "txn-aborted"
  | "snapshot-too-old"
  | "key-exists"
  | "assertion-failed"
  | "undetermined"
  | "protocol"
  | "server";

/** The advice that goes with each kind. */
const RETRY_ADVICE: Readonly<Record<ErrorKind, RetryAdvice>> = {
  // The caller's program has to change.
  "closed": "never",
  "misuse": "never",
  "unsupported": "never",
  "codec": "never",
  "too-large": "never",
  // The set-up has to change.
  "keyspace-not-found": "never",
  "cluster-mismatch": "never",
  "mixed-mode": "never",
  "tls": "never",
  // The cluster did not serve in time.
  "timeout": "call",
  "connection": "call",
  "region-unavailable": "call",
  "server-busy": "call",
  "overloaded": "call",
  // Transactions.
  "write-conflict": "transaction",
  "deadlock": "transaction",
  "lock-wait-timeout": "never",
  "txn-aborted": "transaction",
  "snapshot-too-old": "transaction",
  "key-exists": "never",
  "assertion-failed": "never",
  // It may or may not have happened.
  "undetermined": "never",
  // The other side answered something that cannot be used.
  "protocol": "never",
  "server": "never",
};

/** How often one reason made an operation wait, and for how long. */
export interface RetryCause {
  /** Name of the back-off kind, such as `"regionMiss"` or `"tikvServerBusy"`. */
  readonly reason: string;
  /** How often it was waited for this reason. */
  readonly count: number;
  /** Time of these waits in all. */
  readonly waitedMs: number;
}

/** Facts about the operation that failed. What is not known is absent. */
export interface ErrorContext {
  /** The public operation, such as `"raw.get"`. */
  readonly operation?: string | undefined;
  /** The RPC of the last attempt, such as `"RawGet"`. */
  readonly method?: string | undefined;
  /** How many requests were sent. */
  readonly attempts?: number | undefined;
  /** How often the body of a transaction was run. */
  readonly transactionAttempts?: number | undefined;
  /** Time from the start of the operation to its end. */
  readonly elapsedMs?: number | undefined;
  /** The region of the last attempt. */
  readonly regionId?: bigint | undefined;
  /** The store of the last attempt. */
  readonly storeId?: bigint | undefined;
  /** Address as dialled. */
  readonly address?: string | undefined;
  /** What the retries waited for, the longest first. */
  readonly causes?: readonly RetryCause[] | undefined;
}

/** Options of a new {@linkcode TikvError}. */
export interface TikvErrorOptions {
  /** What led to the error. */
  readonly cause?: unknown;
  /** What is known of the operation. */
  readonly context?: ErrorContext | undefined;
}

// Two copies of this package in one program recognise each other's errors by this brand.
const BRAND = Symbol.for("@tikv/client/TikvError");

/**
 * The base class of every error that leaves the library, except for wrong arguments
 * (`TypeError`, `RangeError`) and the caller's own abort reason, which is rethrown untouched.
 *
 * `kind` says what happened, `retry` what may be done about it, `context` where.
 */
export class TikvError<K extends ErrorKind = ErrorKind> extends Error {
  /** What happened. */
  readonly kind: K;
  /** Whether trying again can help, and what has to be tried again. */
  readonly retry: RetryAdvice;
  /** Facts about the failed operation; keys in it are redacted. */
  readonly context: ErrorContext;

  /** Makes an error of a kind; the message follows `docs/errors.md`. */
  constructor(kind: K, message: string, options: TikvErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TikvError";
    this.kind = kind;
    this.retry = RETRY_ADVICE[kind];
    this.context = options.context ?? {};
    Object.defineProperty(this, BRAND, { value: true });
  }

  /**
   * What `JSON.stringify()` shows: all that is printed of the error, with 64-bit numbers as text, and
   * what led to it. Keys are not among it, nor the stack.
   */
  toJSON(): Record<string, unknown> {
    return jsonOf(this, MAX_CAUSES);
  }

  /** Tells whether a caught value is an error of this library, also of another copy of it. */
  static is(value: unknown): value is AnyTikvError {
    return typeof value === "object" && value !== null && BRAND in value;
  }
}

function jsonOf(error: TikvError, depth: number): Record<string, unknown> {
  const { name, message, cause } = error;
  const facts = { name, message, ...plainOf(error) };
  if (cause === undefined || depth === 0) return facts;
  if (cause instanceof TikvError) return { ...facts, cause: jsonOf(cause, depth - 1) };
  const isError = cause instanceof Error;
  return { ...facts, cause: isError ? { name: cause.name, message: cause.message } : String(cause) };
}

/** The same without what JSON has no form for. */
function plainOf(facts: object): Record<string, unknown> {
  const plain = Object.entries(facts).flatMap(([name, value]: [string, unknown]) => {
    if (typeof value === "bigint") return [[name, String(value)]];
    if (Array.isArray(value)) return [[name, value.map((one) => isObject(one) ? plainOf(one) : one)]];
    return value === undefined ? [] : [[name, isObject(value) ? plainOf(value) : value]];
  });
  return Object.fromEntries(plain);
}

// Of a chain of causes; a circle, which only a caller can make, ends there.
const MAX_CAUSES = 8;

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** The deadline of an operation passed before it had an answer. Nothing was written by it. */
export class TimeoutError extends TikvError<"timeout"> {
  /** Makes the error of a deadline that passed. */
  constructor(message: string, options: TikvErrorOptions = {}) {
    super("timeout", message, options);
    this.name = "TimeoutError";
  }
}

/** What became of a write in the end; `unknown` where it leaves no trace that could be asked for. */
export type WriteFate =
  | { readonly state: "committed"; readonly commitTs: Timestamp }
  | { readonly state: "rolled-back" }
  | { readonly state: "unknown" };

/** Options of a new {@linkcode UndeterminedError}. */
export interface UndeterminedErrorOptions extends TikvErrorOptions {
  /** When the transaction began. */
  readonly startTs?: Timestamp | undefined;
  /** The key that decides over the transaction. */
  readonly primary?: Uint8Array | undefined;
  /** Finds out what became of it. */
  readonly resolve?: ((options?: CallOptions) => Promise<WriteFate>) | undefined;
}

/**
 * A write was sent and its answer was lost: it may have happened, or may still happen.
 *
 * Of a transaction, {@linkcode UndeterminedError.resolve} tells; of raw data, read before writing
 * again. `cause` tells how the answer was lost; when the caller aborted, it is the signal's reason.
 */
export class UndeterminedError extends TikvError<"undetermined"> {
  /** When the transaction began; undefined for raw data. */
  readonly startTs: Timestamp | undefined;
  /** The key that decides over the transaction; undefined for raw data. */
  declare readonly primary: Uint8Array | undefined;
  readonly #resolve: ((options?: CallOptions) => Promise<WriteFate>) | undefined;

  /** Makes the error of a write that may have happened. */
  constructor(message: string, options: UndeterminedErrorOptions = {}) {
    super("undetermined", message, options);
    this.name = "UndeterminedError";
    this.startTs = options.startTs;
    this.#resolve = options.resolve;
    // Not among what is printed: it is a key of the user.
    Object.defineProperty(this, "primary", { value: options.primary });
  }

  /**
   * Asks the key that decides over the transaction whether it was committed. What was not is rolled
   * back by that, so that the answer stays true, also if the lost request is still on its way. Raw
   * data has no such key: its fate is `unknown`.
   *
   * Needs one round trip, or two for an async commit, and fails with `timeout` where stores do not
   * answer within `timeoutMs`, by default that of the client. It may be called again.
   */
  async resolve(options?: CallOptions): Promise<WriteFate> {
    return await this.#resolve?.(options) ?? { state: "unknown" };
  }
}

interface DataErrors {
  "timeout": TimeoutError;
  "undetermined": UndeterminedError;
  "write-conflict": WriteConflictError;
  "deadlock": DeadlockError;
  "lock-wait-timeout": LockWaitTimeoutError;
  "txn-aborted": TxnAbortedError;
  "snapshot-too-old": SnapshotTooOldError;
  "key-exists": KeyExistsError;
  "assertion-failed": AssertionFailedError;
}

/** Every error of the library, so that a `switch` over `kind` narrows to the data of that kind. */
export type AnyTikvError = {
  [K in ErrorKind]: K extends keyof DataErrors ? DataErrors[K] : TikvError<K>;
}[ErrorKind];

/** Adds facts to an error on its way out; the innermost value of each fact wins. */
export function withContext<E>(error: E, context: ErrorContext): E {
  if (!TikvError.is(error)) return error;
  const merged: Record<string, unknown> = { ...context };
  for (const [key, value] of Object.entries(error.context)) if (value !== undefined) merged[key] = value;
  Object.defineProperty(error, "context", { value: merged, enumerable: true, configurable: true });
  return error;
}

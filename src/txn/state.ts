// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";
import type { Timestamp } from "../types.ts";

/** Reads, writes and locks are taken. Ended by `commit()`, or by a rollback of any reason. */
export interface ActiveState {
  /** Tag of the state. */
  readonly name: "active";
}

/**
 * The commit runs; only `commit()` may be called again, and it waits for the same end. Ended by
 * the answer for the primary, by the loss of that answer, or by a failure before it was sent.
 */
export interface CommittingState {
  /** Tag of the state. */
  readonly name: "committing";
}

/** The writes are visible to everybody. Nothing ends it. */
export interface CommittedState {
  /** Tag of the state. */
  readonly name: "committed";
  /** From when on the writes are visible; absent if there was nothing to commit. */
  readonly commitTs: Timestamp | undefined;
}

/**
 * The commit of the primary was sent and its answer was lost. Nothing ends it: the fate can be
 * asked, but this transaction must not roll back what may be committed.
 */
export interface UndeterminedState {
  /** Tag of the state. */
  readonly name: "undetermined";
  /** How the answer was lost. */
  readonly cause: unknown;
}

/**
 * Locks are being taken away; only `rollback()` may be called again, and it waits for the same
 * end. Ended when every lock was released or left to its time to live.
 */
export interface RollingBackState {
  /** Tag of the state. */
  readonly name: "rolling-back";
  /** Why it does not commit; absent if the caller just wanted it so. */
  readonly cause: unknown;
}

/** None of the writes will ever be visible. Nothing ends it. */
export interface RolledBackState {
  /** Tag of the state. */
  readonly name: "rolled-back";
  /** Why it was not committed; absent if the caller just wanted it so. */
  readonly cause: unknown;
}

/** Where a transaction is in its life, with what is known there. */
export type TransactionState =
  | ActiveState
  | CommittingState
  | CommittedState
  | UndeterminedState
  | RollingBackState
  | RolledBackState;

/** The tag of a state. */
export type TransactionStateName = TransactionState["name"];

/** Where a transaction can go from each state. */
export const TRANSACTION_MOVES = {
  "active": ["committing", "rolling-back"],
  "committing": ["committed", "undetermined", "rolling-back"],
  "committed": [],
  "undetermined": [],
  "rolling-back": ["rolled-back"],
  "rolled-back": [],
} as const satisfies Readonly<Record<TransactionStateName, readonly TransactionStateName[]>>;

/** The state of a new transaction. */
export function active(): ActiveState {
  return { name: "active" };
}

/** The state while the commit runs. */
export function committing(): CommittingState {
  return { name: "committing" };
}

/** The state after the commit; without a timestamp if there was nothing to commit. */
export function committed(commitTs: Timestamp | undefined): CommittedState {
  return { name: "committed", commitTs };
}

/** The state after the answer to the commit of the primary was lost. */
export function undetermined(cause: unknown): UndeterminedState {
  return { name: "undetermined", cause };
}

/** The state while locks are being taken away. */
export function rollingBack(cause?: unknown): RollingBackState {
  return { name: "rolling-back", cause };
}

/** The state after the rollback. */
export function rolledBack(cause?: unknown): RolledBackState {
  return { name: "rolled-back", cause };
}

/**
 * Moves a transaction to its next state, and returns that.
 *
 * A move that {@linkcode TRANSACTION_MOVES} does not list is a `TikvError` of kind `"misuse"`; its
 * cause is why the transaction is where it is, as far as that is known.
 */
export function moveTransaction<S extends TransactionState>(from: TransactionState, to: S): S {
  const allowed: readonly TransactionStateName[] = TRANSACTION_MOVES[from.name];
  if (allowed.includes(to.name)) return to;
  const expected = allowed.length === 0
    ? "expected no further move, it is over"
    : `expected ${allowed.map((name) => `"${name}"`).join(" or ")}`;
  throw new TikvError(
    "misuse",
    `Cannot move the transaction to "${to.name}": it is "${from.name}", ${expected}`,
    "cause" in from ? { cause: from.cause } : {},
  );
}

/** The error of a call on a transaction that is over or about to be; it says how that came about. */
export function overError(what: string, state: TransactionState): TikvError<"misuse"> {
  const cause = "cause" in state ? state.cause : undefined;
  return new TikvError("misuse", `Cannot ${what}: the transaction ${WHERE[state.name]}`, { cause });
}

const WHERE: Readonly<Record<TransactionStateName, string>> = {
  "active": "goes on",
  "committing": "is being committed",
  "committed": "was committed",
  "undetermined": "was committed, or not: the answer was lost",
  "rolling-back": "is being rolled back",
  "rolled-back": "was rolled back",
};

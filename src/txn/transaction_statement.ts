// SPDX-License-Identifier: Apache-2.0
// A part of a transaction that takes effect as a whole, or not at all.

import { TikvError } from "../errors.ts";
import { checkBoolean, checkNames, checkNumber } from "../options.ts";
import { hasFlag, KEY_FLAG } from "./buffer/key_flags.ts";
import type { BufferView } from "./buffer/pending_write.ts";
import { StatementRun } from "./statement_run.ts";
import type { StatementOptions } from "./transaction_api.ts";
import type { TransactionCore } from "./transaction_core.ts";
import { lockKeys } from "./transaction_locks.ts";

/** A part of a transaction; it gets the writes as it has found them, for as long as it runs. */
export type StatementBody<T> = (before: BufferView) => Promise<T> | T;

/** Runs a part of a transaction, once or until it has worked on current data. */
export async function runStatement<T>(
  core: TransactionCore,
  body: StatementBody<T>,
  options: StatementOptions = {},
): Promise<T> {
  checkNames("the options of the statement", options, NAMES);
  const { current = false, maxRuns = DEFAULT_RUNS, waitMs = Infinity } = options;
  const isCurrent = checkBoolean("current", current);
  checkNumber("maxRuns", maxRuns, { min: 1, max: Infinity });
  checkNumber("waitMs", waitMs, { min: 0, max: Infinity });
  core.assertActive("begin a statement");
  return isCurrent ? await runCurrent(core, body, { maxRuns, waitMs }) : await runOnce(core, body);
}

/** Runs it, and undoes its writes when it fails. Statements may be in one another. */
async function runOnce<T>(core: TransactionCore, body: StatementBody<T>): Promise<T> {
  const stage = core.buffer.stage();
  const outcome = await settle(async () => await body(core.buffer.snapshot(stage)));
  if ("error" in outcome) {
    undo(core, stage, outcome.error);
    throw outcome.error;
  }
  core.assertActive("end a statement");
  keep(core, stage);
  return outcome.value;
}

async function runCurrent<T>(
  core: TransactionCore,
  body: StatementBody<T>,
  { maxRuns, waitMs }: { readonly maxRuns: number; readonly waitMs: number },
): Promise<T> {
  const { buffer, locks, settings } = core;
  if (!settings.isPessimistic) {
    throw new TikvError("misuse", "Cannot run a statement on current data: the transaction is optimistic");
  }
  if (core.statement !== undefined) {
    throw new TikvError("misuse", "Cannot run a statement on current data: another one is running");
  }
  if (settings.fairLocking) locks.startFair();
  try {
    for (let runs = 1;; runs++) {
      const run = core.statement = new StatementRun(core);
      const stage = buffer.stage();
      const outcome = await settle(async () => {
        const value = await body(buffer.snapshot(stage));
        core.assertActive("end a statement");
        await lockWrites(core, stage, waitMs);
        return value;
      });
      core.statement = undefined;
      run.end();
      await locks.settled();
      const { conflict } = run;
      if (conflict === undefined || core.state.name !== "active") {
        if ("error" in outcome) {
          undo(core, stage, outcome.error);
          throw outcome.error;
        }
        core.assertActive("end a statement");
        makeFinal(core, stage);
        return outcome.value;
      }
      // What the body made of it does not count: it has seen data that is not current.
      undo(core, stage, conflict.error);
      if (runs >= maxRuns) throw conflict.error;
      locks.retryFair();
      await waitForNextRun(core, { conflict, runs });
    }
  } finally {
    core.statement = undefined;
    // Also after an exception from anywhere: the next statement must not find this one running.
    locks.cancelFair();
  }
}

/** What the body has written without a lock is locked as of its reads, as by a statement of SQL. */
async function lockWrites(core: TransactionCore, stage: number, waitMs: number): Promise<void> {
  const keys: Uint8Array[] = [];
  for (const { key, flags, write } of core.buffer.changes(stage)) {
    const isGone = write.kind === "tombstone" && hasFlag(flags, KEY_FLAG.newlyInserted);
    const isLazy = hasFlag(flags, KEY_FLAG.needConstraintCheckInPrewrite);
    if (!isGone && !isLazy && core.locks.heldLock(key) === undefined) keys.push(key);
  }
  if (keys.length === 0) return;
  await core.run(
    "txn.statement",
    undefined,
    (operation) =>
      lockKeys(core, { keys, waitMs, isShared: false, wants: "nothing", onlyIfExists: false }, operation),
  );
}

async function waitForNextRun(
  core: TransactionCore,
  { conflict, runs }: { readonly conflict: NonNullable<StatementRun["conflict"]>; readonly runs: number },
): Promise<void> {
  if (conflict.isLocked) {
    core.txn.session.settings.observe({
      type: "retry",
      operation: "txn.statement",
      reason: conflict.error.kind,
      attempt: runs,
      waitMs: 0,
    });
    return;
  }
  await core.run(
    "txn.statement",
    undefined,
    (operation) => operation.backoffs.wait("txnLockFast", conflict.error),
  );
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

async function settle<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}

function makeFinal(core: TransactionCore, stage: number): void {
  try {
    core.locks.doneFair();
  } catch (error) {
    // There was no room to note the locks. They are held, and released with the transaction.
    undo(core, stage, error);
    throw error;
  }
  keep(core, stage);
}

function keep(core: TransactionCore, stage: number): void {
  assertInnermost(core, stage);
  core.buffer.release(stage);
}

/** Undoes the writes; whoever is over has nothing to undo. */
function undo(core: TransactionCore, stage: number, cause: unknown): void {
  if (core.state.name !== "active") return;
  assertInnermost(core, stage, cause);
  core.buffer.cleanup(stage);
}

/** Two statements at once have mixed writes: there is no way to undo one and keep the other. */
function assertInnermost(core: TransactionCore, stage: number, cause?: unknown): void {
  if (core.buffer.depth === stage) return;
  const error = new TikvError(
    "misuse",
    "Cannot end a statement: one that began after it still runs, expected every statement to be awaited",
    { cause },
  );
  core.fail(error);
  throw error;
}

const NAMES: ReadonlySet<string> = new Set(["current", "maxRuns", "waitMs"]);
// TiDB's `pessimistic-txn.max-retry-count`.
const DEFAULT_RUNS = 256;

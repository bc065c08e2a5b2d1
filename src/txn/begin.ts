// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { runOperation } from "../plan/session.ts";
import { checkNumber } from "../options.ts";
import type { CallOptions } from "../types.ts";
import type { WriteFate } from "../errors.ts";
import { BEGIN_NAMES, type BeginOptions, checkBeginOptions, type TxnSettings } from "./begin_options.ts";
import type { TxnIdentity } from "./commit/committer_run.ts";
import { MinCommitTs } from "./commit/min_commit_ts.ts";
import { measured, measuredLocks, measuredSession } from "./measured.ts";
import { runTransaction } from "./run.ts";
import { transactionReads } from "./snapshot/snapshot_options.ts";
import { fateOf } from "./locks/txn_status.ts";
import { type SnapshotParts, SnapshotReads } from "./snapshot/snapshot_reads.ts";
import { faceOf } from "./transaction.ts";
import type { Transaction } from "./transaction_api.ts";
import { TransactionCore } from "./transaction_core.ts";
import type { TxnSession } from "./txn_session.ts";

/** Options of a transaction that is run until it is committed. */
export interface TransactionOptions extends Omit<BeginOptions, "startTs"> {
  /**
   * How often the body is run at most.
   *
   * @default {10} of transactions that meet all the time, this many come through one after the other
   */
  readonly maxAttempts?: number | undefined;
  /**
   * Conflicts after which it goes on as a pessimistic transaction, which waits instead of failing: it
   * locks the keys that others were faster with before the body runs, and reads at that moment.
   *
   * @default {Infinity} never
   */
  readonly pessimisticAfter?: number | undefined;
}

/** What transactions are made with. */
export interface TransactionsParts extends SnapshotParts {
  readonly session: TxnSession;
}

/** The transactions of a client. */
export class Transactions {
  readonly #parts: TransactionsParts;
  readonly #defaults: CallOptions;

  constructor(parts: TransactionsParts, defaults: CallOptions) {
    this.#parts = parts;
    this.#defaults = defaults;
  }

  /** Begins one transaction, which the caller ends. */
  async begin(options: BeginOptions = {}): Promise<Transaction> {
    const { session } = this.#parts;
    const settings = checkBeginOptions(options, session.settings);
    const { timeoutMs = this.#defaults.timeoutMs } = options;
    // The caller's signal and time hold for this call; those of the client for all that follow.
    const core = await runOperation(
      session,
      { name: "begin", options: { timeoutMs, signal: options.signal }, defaults: this.#defaults },
      (operation) => this.#open(settings, operation),
    );
    return faceOf(core);
  }

  /** Runs a body until its transaction is committed. */
  async run<T>(body: (txn: Transaction) => Promise<T> | T, options: TransactionOptions = {}): Promise<T> {
    const { session } = this.#parts;
    if (typeof body !== "function") throw new TypeError("Cannot run the transaction: expected a function");
    const settings = checkBeginOptions(options, session.settings, RUN_NAMES);
    const { maxAttempts = DEFAULT_ATTEMPTS, pessimisticAfter = Infinity } = options;
    checkNumber("maxAttempts", maxAttempts, { min: 1, max: Infinity });
    checkNumber("pessimisticAfter", pessimisticAfter, { min: 1, max: Infinity });
    const call = { timeoutMs: options.timeoutMs, signal: options.signal };
    const start = { name: "transaction", options: call, defaults: this.#defaults };
    return await runOperation(session, start, (operation) =>
      runTransaction(body, {
        maxAttempts,
        pessimisticAfter,
        isPessimistic: settings.isPessimistic,
        closing: session.closing,
        begin: async ({ isPessimistic, contested }, ofAttempt) => {
          const core = await this.#open({ ...settings, isPessimistic }, ofAttempt);
          return {
            handle: faceOf(core),
            get isUndone(): boolean {
              return core.isUndone;
            },
            prepare: async (ofPart) => {
              if (contested.length > 0) await core.lockAhead(contested, ofPart);
            },
            finish: (ofPart) => core.finish(ofPart),
            abandon: (reason, ofPart) => core.abandon(reason, ofPart),
          };
        },
        onRetry: (error, attempt, waitMs) =>
          session.settings.observe({
            type: "retry",
            operation: "transaction",
            reason: error.kind,
            attempt,
            waitMs,
          }),
      }, operation));
  }

  async #open(settings: TxnSettings, operation: Operation): Promise<TransactionCore> {
    const { details } = settings;
    const session = details === undefined
      ? this.#parts.session
      : measuredSession(this.#parts.session, details);
    const locks = details === undefined
      ? this.#parts.locks
      : measuredLocks(this.#parts.locks, { session, details });
    const { clock } = session.settings.environment;
    details?.addAttempt();
    // Before the timestamp is asked for: the age of the transaction is not underestimated.
    const beganAt = clock.now();
    const startTs = settings.startTs ??
      await measured({ details, session }, { step: "begin" }, () => session.oracle.timestamp(operation));
    const reads = { ...transactionReads(settings.context, settings.routes), details: details?.reads };
    const txn: TxnIdentity = {
      session,
      locks,
      startTs,
      beganAt,
      context: settings.context,
      writeContext: settings.writeContext,
      minCommitTs: new MinCommitTs(),
      onBackground: settings.onBackground,
      askFate: (primary, options) => this.#askFate({ startTs, primary }, options),
    };
    return new TransactionCore({
      txn,
      settings,
      defaults: this.#defaults,
      snapshotAt: (ts) => new SnapshotReads(this.#parts, ts, reads),
    });
  }

  async #askFate(
    txn: { readonly startTs: bigint; readonly primary: Uint8Array },
    options: CallOptions | undefined,
  ): Promise<WriteFate> {
    const { session, locks } = this.#parts;
    const start = { name: "resolve", options, defaults: { timeoutMs: this.#defaults.timeoutMs } };
    return await runOperation(
      session,
      start,
      async (operation) => fateOf(await locks.endOf({ ...txn, isGivenUp: true }, operation)),
    );
  }
}

const DEFAULT_ATTEMPTS = 10;
// Every attempt has a timestamp of its own.
const RUN_NAMES: ReadonlySet<string> = new Set([
  ...[...BEGIN_NAMES].filter((name) => name !== "startTs"),
  ...["maxAttempts", "pessimisticAfter"] as const satisfies readonly (keyof TransactionOptions)[],
]);

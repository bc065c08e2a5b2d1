// SPDX-License-Identifier: Apache-2.0
// One transaction in bytes: its buffer, its locks, its state. What users see is in `transaction.ts`.

import type { Operation } from "../async/operation.ts";
import { shortKey } from "../bytes/hex.ts";
import { TikvError } from "../errors.ts";
import { eitherOf, runOperation } from "../plan/session.ts";
import type { CallOptions, Timestamp } from "../types.ts";
import { KeyExistsError } from "../txn_errors.ts";
import type { CommitInfo, TxnSettings } from "./begin_options.ts";
import { WriteBuffer } from "./buffer.ts";
import { commitTransaction } from "./committer.ts";
import { type CommitPath, CommitRun, type CommitterOptions, type TxnIdentity } from "./committer_run.ts";
import { Heartbeat } from "./heartbeat.ts";
import { type FlagChange, hasFlag, KEY_FLAG } from "./key_flags.ts";
import { PessimisticLocks } from "./pessimistic.ts";
import * as states from "./state.ts";
import type { TransactionState } from "./state.ts";
import type { SnapshotSource } from "./transaction_reads.ts";
import { type CommitPlan, planOf } from "./transaction_plan.ts";

/** What a commit came to. */
export interface CommitResult {
  /** From when on the writes are visible; undefined when there were none. */
  readonly commitTs: Timestamp | undefined;
  /** How it was committed. */
  readonly path: CommitPath;
}

/** What a transaction is made of. */
export interface TransactionParts {
  readonly txn: TxnIdentity;
  readonly settings: TxnSettings;
  readonly defaults: CallOptions;
  readonly snapshotAt: (ts: Timestamp) => SnapshotSource;
}

/** The life of one transaction. */
export class TransactionCore {
  readonly txn: TxnIdentity;
  readonly settings: TxnSettings;
  readonly buffer: WriteBuffer;
  readonly locks: PessimisticLocks;
  /** What was there when it began. */
  readonly snapshot: SnapshotSource;
  readonly snapshotAt: (ts: Timestamp) => SnapshotSource;
  readonly #heartbeat: Heartbeat;
  readonly #defaults: CallOptions;
  readonly #over = new AbortController();
  readonly #running = new Map<string, number>();
  #state: TransactionState = states.active();
  #run: CommitRun | undefined;
  #ending: Promise<CommitResult> | undefined;
  #rollback: Promise<void> | undefined;

  constructor({ txn, settings, defaults, snapshotAt }: TransactionParts) {
    this.txn = txn;
    this.settings = settings;
    this.snapshotAt = snapshotAt;
    this.snapshot = snapshotAt(txn.startTs);
    this.buffer = new WriteBuffer(settings.limits);
    this.#heartbeat = new Heartbeat(txn);
    this.locks = new PessimisticLocks(txn, this.#heartbeat);
    this.#defaults = defaults;
  }

  get state(): TransactionState {
    return this.#state;
  }

  /** Aborted when the transaction is over, with an error that says why. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Refuses a key that no store takes. */
  assertKeySize(key: Uint8Array): void {
    const { settings } = this.txn.session;
    const limit = settings.maxKeyBytes - (settings.apiVersion === "v2" ? KEYSPACE_PREFIX_BYTES : 0);
    if (key.length <= limit) return;
    const shown = shortKey(key, settings.revealKeys);
    throw new TikvError(
      "too-large",
      `Cannot use key ${shown}: it has ${key.length} bytes, the limit is ${limit} ("maxKeyBytes")`,
    );
  }

  /** Throws when the transaction is over, or about to be. */
  assertActive(what: string): void {
    if (this.#state.name === "active") return;
    throw overError(what, this.#state);
  }

  /** The defaults of calls that end with the transaction. */
  get defaults(): CallOptions {
    const { signal, timeoutMs } = this.#defaults;
    return { timeoutMs, signal: eitherOf(signal, this.#over.signal) };
  }

  /** Does one awaited call. */
  async run<T>(
    name: string,
    options: CallOptions | undefined,
    work: (operation: Operation) => Promise<T>,
  ): Promise<T> {
    this.assertActive(name);
    const start = { name, options, defaults: this.defaults };
    return await this.track(name, () => runOperation(this.txn.session, start, work));
  }

  /** Awaits a part of a call. The commit refuses to go on while one runs. */
  async track<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#running.set(name, (this.#running.get(name) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const rest = (this.#running.get(name) ?? 1) - 1;
      if (rest > 0) this.#running.set(name, rest);
      else this.#running.delete(name);
    }
  }

  /** An insert: the key must not exist, here nor in the cluster. */
  insert(key: Uint8Array, value: Uint8Array, { isLazy }: { readonly isLazy: boolean }): void {
    this.assertActive("insert");
    const pending = this.buffer.get(key);
    if (pending?.kind === "value") {
      throw new KeyExistsError("Cannot insert the key: this transaction has written it already", { key });
    }
    const flags = this.buffer.flags(key) ?? 0;
    // Over its own delete it is a put: what the cluster has of the key is gone by then.
    const isOverDelete = pending?.kind === "tombstone" && !hasFlag(flags, KEY_FLAG.presumeNotExists);
    const held = this.locks.heldLock(key);
    if (!isOverDelete && held?.exists === true) {
      throw new KeyExistsError("Cannot insert the key: it exists, and is locked by this transaction", {
        key,
      });
    }
    const changes: FlagChange[] = isOverDelete ? [] : ["presume-not-exists", "newly-inserted"];
    if (isLazy && !isOverDelete && held === undefined) changes.push("need-constraint-check");
    this.buffer.put(key, value, changes);
  }

  /** Commits, as one call of the user's. Called again it is the same commit. */
  commit(options?: CallOptions): Promise<CommitResult> {
    return this.#ending ??
      this.#begin((work) =>
        runOperation(this.txn.session, { name: "txn.commit", options, defaults: this.#defaults }, work)
      );
  }

  /** Commits as a step of an operation. */
  commitWithin(operation: Operation): Promise<CommitResult> {
    return this.#ending ?? this.#begin((work) => work(operation));
  }

  /** Takes the locks away and forgets the writes. Called again it is the same rollback. */
  rollback(options?: CallOptions): Promise<void> {
    if (this.#rollback !== undefined) return this.#rollback;
    try {
      this.#move(states.rollingBack());
    } catch (error) {
      return Promise.reject(error);
    }
    const start = { name: "txn.rollback", options, defaults: this.#defaults };
    return this.#rollback = this.#release(
      (work) => runOperation(this.txn.session, start, work),
      undefined,
    );
  }

  /** Ends the transaction for a reason, within an operation that may be over itself. */
  async abandon(reason: unknown, operation: Operation): Promise<void> {
    if (this.#state.name === "committing") await this.#ending?.catch(() => {});
    if (this.#state.name !== "active") return await this.#rollback;
    this.#move(states.rollingBack(reason));
    const isLate = operation.deadline.isOver() || this.txn.session.closing.aborted;
    if (isLate) {
      this.locks.releaseInBackground();
      this.#move(states.rolledBack(reason));
      return;
    }
    this.#rollback = this.#release((work) => work(operation.fork({ keepsDoubt: true })), reason);
    await this.#rollback;
  }

  /** At the end of a scope: what is not committed is rolled back, and nothing is thrown. */
  async dispose(): Promise<void> {
    if (this.#state.name === "committing") await this.#ending?.catch(() => {});
    else if (this.#state.name === "active" || this.#state.name === "rolling-back") {
      await this.rollback();
    }
  }

  #begin(run: (work: (operation: Operation) => Promise<CommitResult>) => Promise<CommitResult>): Promise<
    CommitResult
  > {
    const left = [...this.#running.keys()];
    if (left.length > 0 && this.#state.name === "active") {
      const names = left.map((name) => `"${name}"`).join(", ");
      return Promise.reject(
        new TikvError("misuse", `Cannot commit: ${names} still runs, expected every call to be awaited`),
      );
    }
    try {
      this.#move(states.committing());
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#ending = this.#commit(run);
  }

  async #commit(
    run: (work: (operation: Operation) => Promise<CommitResult>) => Promise<CommitResult>,
  ): Promise<CommitResult> {
    try {
      const result = await run((operation) => this.#commitAll(operation));
      this.#move(states.committed(result.commitTs));
      return result;
    } catch (error) {
      if (this.#run?.doubt !== undefined && error === this.#run.doubt) {
        this.#move(states.undetermined(error));
      } else {
        this.#move(states.rollingBack(error));
        // The committer cleans up what it knows of, once there is one.
        if (this.#run === undefined) this.locks.releaseInBackground();
        else this.locks.releaseDoubtful();
        this.#move(states.rolledBack(error));
      }
      throw error;
    } finally {
      this.#heartbeat.stop();
      this.#over.abort(overError("go on", this.#state));
    }
  }

  async #commitAll(operation: Operation): Promise<CommitResult> {
    const plan = await planOf(this, operation);
    if (plan === undefined) {
      await this.locks.release(operation.fork({ keepsDoubt: true }));
      return { commitTs: undefined, path: "none" };
    }
    const run = this.#run = new CommitRun(this.#committerOptions(plan));
    try {
      const { commitTs, path } = await commitTransaction(run, operation);
      this.locks.releaseDoubtful();
      this.#tell(run, { commitTs, error: undefined });
      return { commitTs, path };
    } catch (error) {
      this.#tell(run, { commitTs: undefined, error });
      throw error;
    }
  }

  #committerOptions(plan: CommitPlan): CommitterOptions {
    const { isPessimistic, isCausal, commitWait, acceptsCommitTs, checkSchema, failsOnLock, assertionLevel } =
      this.settings;
    return {
      txn: this.txn,
      ...plan,
      isPessimistic,
      forUpdateTs: isPessimistic ? this.locks.forUpdateTs : 0n,
      assertionLevel,
      isCausal,
      commitWait,
      acceptsCommitTs,
      checkSchema,
      failsOnLock,
      keepAlive: () => this.#heartbeat.start(plan.primary),
    };
  }

  #tell(run: CommitRun, { commitTs, error }: Pick<CommitInfo, "commitTs" | "error">): void {
    const { canUseAsyncCommit, canUseOnePc } = run.options;
    const { path, lag } = run;
    try {
      this.settings.onCommit?.({
        startTs: this.txn.startTs,
        commitTs,
        path,
        hasAsyncFallback: canUseAsyncCommit && !run.usesAsyncCommit,
        hasOnePcFallback: canUseOnePc && path !== "1pc",
        lag,
        error,
      });
    } catch (cause) {
      // The caller's callback must not turn what is committed into an error.
      this.txn.session.settings.observe({
        type: "warning",
        message: 'Ignored an error of "onCommit"',
        cause,
      });
    }
  }

  async #release(
    run: (work: (operation: Operation) => Promise<void>) => Promise<void>,
    reason: unknown,
  ): Promise<void> {
    this.#over.abort(overError("go on", this.#state));
    try {
      await run((operation) => this.locks.release(operation));
    } catch (error) {
      // They go away by themselves when nobody keeps them alive.
      this.locks.releaseInBackground();
      const message = "Cannot release the locks of a transaction: they are left to their time to live";
      this.txn.session.settings.observe({ type: "warning", message, cause: error });
    }
    this.#move(states.rolledBack(reason));
  }

  #move(state: TransactionState): void {
    this.#state = states.moveTransaction(this.#state, state);
  }
}

/** Why a transaction cannot be used. */
function overError(what: string, state: TransactionState): TikvError<"misuse"> {
  const cause = "cause" in state ? state.cause : undefined;
  return new TikvError("misuse", `Cannot ${what}: the transaction ${WHY[state.name]}`, { cause });
}

const WHY: Readonly<Record<TransactionState["name"], string>> = {
  "active": "goes on",
  "committing": "is being committed",
  "committed": "was committed",
  "undetermined": "was committed, or not: the answer was lost",
  "rolling-back": "is being rolled back",
  "rolled-back": "was rolled back",
};

// API version 2: a byte for the mode and three for the keyspace.
const KEYSPACE_PREFIX_BYTES = 4;

// SPDX-License-Identifier: Apache-2.0
// One transaction in bytes: its buffer, its locks, its state. What users see is in `transaction.ts`.

import type { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import { eitherOf, runOperation } from "../plan/session.ts";
import type { CallOptions, Timestamp } from "../types.ts";
import type { TxnSettings } from "./begin_options.ts";
import { WriteBuffer } from "./buffer/buffer.ts";
import { commitTransaction } from "./commit/committer.ts";
import { startInBackground } from "./commit/committer_background.ts";
import { type CommitPath, CommitRun, type CommitWait, type TxnIdentity } from "./commit/committer_run.ts";
import { Heartbeat } from "./commit/heartbeat.ts";
import type { FlagChange } from "./buffer/key_flags.ts";
import { measured } from "./measured.ts";
import type { HeldLock } from "./pessimistic/held_locks.ts";
import { PessimisticLocks } from "./pessimistic/pessimistic.ts";
import type { StatementRun } from "./statement_run.ts";
import * as states from "./state.ts";
import { overError, type TransactionState } from "./state.ts";
import { type NotedCall, TransactionCalls } from "./transaction_calls.ts";
import { commitLatched } from "./transaction_latches.ts";
import { commitInfoOf, committerOptionsOf, tellCaller } from "./transaction_commit.ts";
import type { TransactionStep } from "./transaction_details.ts";
import { lockKeys } from "./transaction_locks.ts";
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
  readonly snapshotAt: (ts: Timestamp) => SnapshotSource;
  /** The run of a statement on current data that is on. */
  statement: StatementRun | undefined;
  readonly #heartbeat: Heartbeat;
  readonly #defaults: CallOptions;
  /** Aborted when the transaction is over; made when somebody begins to wait for something. */
  #over: AbortController | undefined;
  readonly #calls = new TransactionCalls();
  #snapshot: SnapshotSource;
  #readTs: Timestamp;
  /** The newest moment that anything of it has read. */
  #lastReadTs: Timestamp;
  #state: TransactionState = states.active();
  #run: CommitRun | undefined;
  #isWatching = false;
  #commitWait: CommitWait | undefined;
  #ending: Promise<CommitResult> | undefined;
  #rollback: Promise<void> | undefined;

  constructor({ txn, settings, defaults, snapshotAt }: TransactionParts) {
    this.txn = txn;
    this.settings = settings;
    this.snapshotAt = (ts) => {
      if (ts > this.#lastReadTs) this.#lastReadTs = ts;
      return snapshotAt(ts);
    };
    this.#readTs = this.#lastReadTs = txn.startTs;
    this.#snapshot = snapshotAt(txn.startTs);
    const { limits, onMemoryChange } = settings;
    this.buffer = new WriteBuffer({
      ...limits,
      onMemoryChange: onMemoryChange &&
        ((memoryBytes) => tellCaller(txn, { name: "onMemoryChange", callback: onMemoryChange }, memoryBytes)),
    });
    this.#heartbeat = new Heartbeat(txn);
    this.locks = new PessimisticLocks({
      txn,
      heartbeat: this.#heartbeat,
      onHeld: (key, lock) => this.buffer.updateFlags(key, flagsOf(lock)),
    });
    this.#defaults = defaults;
    this.#commitWait = settings.commitWait;
  }

  get state(): TransactionState {
    return this.#state;
  }

  /** What was there at the moment that it reads. */
  get snapshot(): SnapshotSource {
    return this.#snapshot;
  }

  /** The moment that it reads: its start, unless it has locked keys ahead. */
  get readTs(): Timestamp {
    return this.#readTs;
  }

  /** Whether there is nothing of it that could be committed, now or later. */
  get isUndone(): boolean {
    return this.#state.name === "rolled-back" || this.#state.name === "rolling-back";
  }

  /** Whether nothing was written nor locked. */
  get isReadOnly(): boolean {
    return this.buffer.keyCount === 0 && this.locks.size === 0;
  }

  /** Throws when the transaction is over, or about to be. */
  assertActive(what: string): void {
    if (this.#state.name === "active") return;
    throw overError(what, this.#state);
  }

  /** The defaults of calls that end with the transaction. */
  get defaults(): CallOptions {
    const { signal, timeoutMs } = this.#defaults;
    const { signal: end } = this.#over ??= new AbortController();
    const over = eitherOf(end, this.statement?.over);
    return { timeoutMs, signal: eitherOf(signal, over) };
  }

  /** What reads are made from, of what others have written. */
  async source(operation: Operation): Promise<SnapshotSource> {
    return this.statement === undefined ? this.snapshot : await this.statement.source(operation);
  }

  /** Begins a call that its user awaits. The commit refuses to go on while it runs. */
  call<T>(call: NotedCall, work: () => Promise<T>): Promise<T> {
    return this.#calls.begin(call, work);
  }

  /** Does one awaited call as an operation. */
  async run<T>(
    name: string,
    options: CallOptions | undefined,
    work: (operation: Operation) => Promise<T>,
  ): Promise<T> {
    this.assertActive(name);
    this.#watchClosing();
    const start = { name, options, defaults: this.defaults };
    return await runOperation(this.txn.session, start, work);
  }

  /** Does a step that the caller waits for; see `details`. */
  measured<T>(step: TransactionStep, operation: Operation, work: () => Promise<T>): Promise<T> {
    const { details } = this.settings;
    return measured({ details, session: this.txn.session }, { step, operation }, work);
  }

  /** Locks keys before anything is read, and reads from then on at the moment of the locks. */
  async lockAhead(keys: readonly Uint8Array[], operation: Operation): Promise<void> {
    this.#watchClosing();
    const request = {
      keys,
      waitMs: Infinity,
      isShared: false,
      wants: "nothing",
      onlyIfExists: false,
    } as const;
    await this.measured("lock", operation, () => lockKeys(this, request, operation));
    // A new one: what the locks have met may be ahead of what the cluster has reached.
    this.#readTs = await this.txn.session.oracle.timestamp(operation);
    this.#snapshot = this.snapshotAt(this.#readTs);
  }

  /** Adds to what the commit has to wait for; `timeoutMs` is what the caller gave for it. */
  commitAfter(wait: CommitWait, timeoutMs: number | undefined): void {
    const before = this.#commitWait ?? wait;
    this.#commitWait = {
      untilTs: wait.untilTs > before.untilTs ? wait.untilTs : before.untilTs,
      timeoutMs: timeoutMs ?? before.timeoutMs,
    };
  }

  /** Commits, as one call of the user's. Called again it is the same commit. */
  commit(options?: CallOptions): Promise<CommitResult> {
    return this.#ending ??
      this.#begin((work) =>
        runOperation(this.txn.session, { name: "txn.commit", options, defaults: this.#defaults }, work)
      );
  }

  /** Ends the transaction as a body that is done wants it: by its own end, or with a commit. */
  async finish(operation: Operation): Promise<void> {
    this.#calls.forget();
    if (this.#ending === undefined && this.#rollback !== undefined) return await this.#rollback;
    await (this.#ending ?? this.#begin((work) => work(operation)));
  }

  /** Takes the locks away and forgets the writes. Called again it is the same rollback. */
  rollback(options?: CallOptions): Promise<void> {
    if (this.#rollback !== undefined) return this.#rollback;
    // A commit that has failed has done it already.
    if (this.#state.name === "rolled-back") return Promise.resolve();
    if (this.#state.name !== "active") return Promise.reject(overError("roll back", this.#state));
    this.#move(states.rollingBack());
    const start = { name: "txn.rollback", options, defaults: this.#defaults };
    return this.#rollback = this.#release(
      (work) => runOperation(this.txn.session, start, work),
      undefined,
    );
  }

  /** Ends the transaction for a reason, within an operation that may be over itself. */
  async abandon(reason: unknown, operation: Operation): Promise<void> {
    this.#calls.forget();
    if (this.#state.name === "committing") await this.#ending?.catch(() => {});
    if (this.#state.name !== "active") return await this.#rollback;
    if (operation.deadline.isOver() || this.txn.session.closing.aborted) return this.fail(reason);
    this.#move(states.rollingBack(reason));
    this.#rollback = this.#release((work) => work(operation.fork({ keepsDoubt: true })), reason);
    await this.#rollback;
  }

  /** Ends the transaction for a reason at once; its locks are taken away in the background. */
  fail(reason: unknown): void {
    if (this.#state.name !== "active") return;
    this.#move(states.rollingBack(reason));
    this.#end();
    if (this.#hasLoose) {
      startInBackground(this.txn, { kind: "release", budgetMs: ROLLBACK_MS }, async (operation) => {
        await this.#calls.settled();
        await this.locks.release(operation);
      });
    }
    this.#move(states.rolledBack(reason));
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
    if (this.#state.name !== "active") return Promise.reject(overError("commit", this.#state));
    const { names } = this.#calls;
    if (names.length > 0) {
      const left = names.map((name) => `"${name}"`).join(", ");
      return Promise.reject(
        new TikvError("misuse", `Cannot commit: ${left} still runs, expected every call to be awaited`),
      );
    }
    this.#move(states.committing());
    return this.#ending = this.#commit(run);
  }

  async #commit(
    run: (work: (operation: Operation) => Promise<CommitResult>) => Promise<CommitResult>,
  ): Promise<CommitResult> {
    try {
      const result = await run((operation) =>
        this.measured("commit", operation, () => this.#commitAll(operation))
      );
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
      this.#end();
    }
  }

  async #commitAll(operation: Operation): Promise<CommitResult> {
    const plan = await planOf(this, operation);
    if (plan === undefined) {
      await this.locks.release(operation.fork({ keepsDoubt: true }));
      return { commitTs: undefined, path: "none" };
    }
    const commit = (): Promise<CommitResult> => this.#commitPlan(plan, operation);
    return await commitLatched(this, { mutations: plan.mutations, operation, commit });
  }

  async #commitPlan(plan: CommitPlan, operation: Operation): Promise<CommitResult> {
    const { txn, settings } = this;
    const run = this.#run = new CommitRun(committerOptionsOf({
      txn,
      settings,
      forUpdateTs: this.locks.forUpdateTs,
      constraints: this.locks.constraints,
      commitWait: this.#commitWait,
      keepAlive: (primary) => this.#heartbeat.start(primary),
    }, plan));
    // Whatever it has read comes before it, also where no store is asked for a timestamp.
    run.raiseMinCommitTs(this.#lastReadTs + 1n);
    settings.details?.addMutations(plan.mutations.length, run.sizeBytes);
    const onCommit = { name: "onCommit", callback: settings.onCommit };
    try {
      const { commitTs, path } = await commitTransaction(run, operation);
      this.locks.releaseDoubtful();
      tellCaller(txn, onCommit, commitInfoOf(run, { commitTs, error: undefined }));
      return { commitTs, path };
    } catch (error) {
      tellCaller(txn, onCommit, commitInfoOf(run, { commitTs: undefined, error }));
      throw error;
    }
  }

  async #release(
    run: (work: (operation: Operation) => Promise<void>) => Promise<void>,
    reason: unknown,
  ): Promise<void> {
    this.#end();
    if (this.#hasLoose) {
      try {
        // A lock that is still being taken is given back with the others.
        await run(async (operation) => {
          await operation.deadline.race(this.#calls.settled(), "wait for calls that go on");
          await this.locks.release(operation);
        });
      } catch (error) {
        // Nobody keeps them alive, so they go away by themselves if that does not help either.
        this.locks.releaseInBackground();
        const message = "Cannot release the locks of a transaction in time: that goes on in the background";
        this.txn.session.settings.observe({ type: "warning", message, cause: error });
      }
    }
    this.#move(states.rolledBack(reason));
  }

  /** Whether something of it has to be looked after when it is over. */
  get #hasLoose(): boolean {
    return this.locks.mayHold || this.#calls.names.length > 0;
  }

  /** Ends what runs and lets nothing begin any more. */
  #end(): void {
    this.#heartbeat.close();
    this.#calls.forget();
    this.#over?.abort(overError("go on", this.#state));
    // Whoever keeps a handle that is over does not keep what it has written.
    this.buffer.discardValues();
    if (this.#isWatching) this.txn.session.closing.removeEventListener("abort", this.#onClosing);
  }

  /** A client that is closed takes the locks of what is still going on away. */
  #watchClosing(): void {
    if (this.#isWatching || !this.settings.isPessimistic) return;
    this.#isWatching = true;
    this.txn.session.closing.addEventListener("abort", this.#onClosing);
  }

  readonly #onClosing = (): void => this.fail(this.txn.session.closing.reason);

  #move(state: TransactionState): void {
    this.#state = states.moveTransaction(this.#state, state);
  }
}

function flagsOf({ exists, isShared }: HeldLock): FlagChange[] {
  const flags: FlagChange[] = [isShared ? "locked-in-share-mode" : "locked", "exists-checked"];
  if (exists !== undefined) flags.push(exists ? "locked-value-exists" : "locked-value-missing");
  return flags;
}

/** client-go's `PessimisticRollback` budget. */
const ROLLBACK_MS = 20_000;

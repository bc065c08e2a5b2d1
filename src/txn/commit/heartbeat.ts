// SPDX-License-Identifier: Apache-2.0

import type { Timer } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { sendToKey } from "../../plan/dispatch.ts";
import { COMMANDS } from "../../rpc/commands.ts";
import { physicalMsOf } from "../../types.ts";
import { TxnAbortedError } from "../../txn_errors.ts";
import type { TxnIdentity } from "./committer_run.ts";
import { writeErrorOf } from "./committer_errors.ts";

/** The time that a lock lives on after each sign of life, in milliseconds; client-go's `ManagedLockTTL`. */
export const MANAGED_LOCK_TTL_MS = 20_000;

/**
 * Keeps the lock of the primary alive while the transaction goes on, so that others wait for it
 * instead of rolling it back. Secondaries need none: whoever meets one asks the primary.
 */
export class Heartbeat {
  readonly #txn: TxnIdentity;
  #beat: Beat | undefined;
  #lost: TxnAbortedError | undefined;
  #isClosed = false;

  constructor(txn: TxnIdentity) {
    this.#txn = txn;
  }

  /** Whether a primary is being kept alive. */
  get isRunning(): boolean {
    return this.#beat !== undefined;
  }

  /** Why the primary is not alive any more; undefined as long as it is, or nobody knows better. */
  get lost(): TxnAbortedError | undefined {
    return this.#lost;
  }

  /** Begins to keep a primary alive, instead of any other; does nothing while it is. */
  start(primary: Uint8Array): void {
    const { closing } = this.#txn.session;
    if (this.#isClosed || closing.aborted) return;
    if (this.#beat !== undefined) {
      if (equalBytes(this.#beat.primary, primary)) return;
      this.stop();
    }
    const beat = new Beat(this.#txn, primary, (reason) => {
      // A beat that was stopped says nothing about the one that came after it.
      if (this.#beat !== beat) return;
      this.#lost = reason;
      this.stop();
    });
    this.#beat = beat;
    this.#lost = undefined;
    beat.start();
  }

  /** Stops; it can be started again for another primary. */
  stop(): void {
    this.#beat?.stop();
    this.#beat = undefined;
  }

  /** Stops for good: an answer that comes late must not keep alive what is over. */
  close(): void {
    this.#isClosed = true;
    this.stop();
  }
}

/** The signs of life for one primary. */
class Beat {
  readonly primary: Uint8Array;
  readonly #txn: TxnIdentity;
  readonly #onLost: (reason: TxnAbortedError) => void;
  readonly #controller = new AbortController();
  readonly #onClosing = (): void => this.stop();
  #timer: Timer | undefined;
  #aliveAt: number;

  constructor(txn: TxnIdentity, primary: Uint8Array, onLost: (reason: TxnAbortedError) => void) {
    this.primary = primary;
    this.#txn = txn;
    this.#onLost = onLost;
    this.#aliveAt = this.#now();
  }

  start(): void {
    this.#txn.session.closing.addEventListener("abort", this.#onClosing);
    this.#schedule(BEAT_MS);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#txn.session.closing.removeEventListener("abort", this.#onClosing);
    this.#controller.abort(STOPPED);
  }

  #schedule(ms: number): void {
    const { clock } = this.#txn.session.settings.environment;
    // A transaction that was forgotten must not keep the program from ending.
    this.#timer = clock.timer(ms, () => void this.#tick(), { background: true });
  }

  /** Never rejects. */
  async #tick(): Promise<void> {
    let nextMs = BEAT_MS;
    try {
      const end = await this.#send();
      if (this.#controller.signal.aborted) return;
      if (end !== undefined) return this.#onLost(end);
      this.#aliveAt = this.#now();
    } catch (error) {
      if (this.#controller.signal.aborted) return;
      // client-go gives up silently when it gets no timestamp; here that is like any failure.
      if (this.#now() - this.#aliveAt > GIVE_UP_MS) {
        return this.#onLost(this.#lost("its primary could not be reached", error));
      }
      // The next sign of life in its time would come when the lock is over.
      nextMs = AGAIN_MS;
    }
    this.#schedule(nextMs);
  }

  #now(): number {
    return this.#txn.session.settings.environment.clock.now();
  }

  /** Sends one sign of life. Returns why there will be no other, if so. */
  async #send(): Promise<TxnAbortedError | undefined> {
    const { session, startTs, context } = this.#txn;
    const { environment, observe: observer } = session.settings;
    const deadline = Deadline.after(environment.clock, SEND_MS, this.#controller.signal);
    const operation = new Operation("txn.heartbeat", { deadline, environment, observer });
    const now = await session.oracle.timestamp(operation);
    // By the clock of the cluster: readers measure the age of the lock by that.
    const uptimeMs = physicalMsOf(now) - physicalMsOf(startTs);
    if (uptimeMs > MAX_TTL_MS) {
      return this.#lost(`it is ${uptimeMs} ms old, at most ${MAX_TTL_MS} are allowed`);
    }
    const request = session.routing.sender.request(COMMANDS.KvTxnHeartBeat, {
      primaryLock: this.primary,
      startVersion: startTs,
      adviseLockTtl: BigInt(uptimeMs + MANAGED_LOCK_TTL_MS),
    }, { context });
    const reply = await sendToKey(session.routing, this.primary, { request, operation });
    if (reply.error === undefined) return undefined;
    return this.#lost(
      "its primary is not locked any more",
      writeErrorOf(reply.error, { txn: this.#txn, method: "KvTxnHeartBeat" }),
    );
  }

  #lost(seen: string, cause?: unknown): TxnAbortedError {
    const { startTs } = this.#txn;
    return new TxnAbortedError(`Cannot keep the transaction alive: ${seen}`, { startTs, cause });
  }
}

const BEAT_MS = MANAGED_LOCK_TTL_MS / 2;
/** How long one sign of life is tried, and when the next one follows if it failed. */
const SEND_MS = 5_000;
const AGAIN_MS = 1_000;
/** client-go takes a primary for lost after 10 failures (`maxConsecutiveFailure`), one each `BEAT_MS`. */
const GIVE_UP_MS = 10 * BEAT_MS;
/** client-go's `MaxTxnTTL`. */
const MAX_TTL_MS = 3_600_000;
const STOPPED = new DOMException("The transaction needs no more signs of life", "AbortError");

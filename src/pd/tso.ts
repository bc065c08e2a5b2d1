// SPDX-License-Identifier: Apache-2.0

import type { Timer } from "../async/clock.ts";
import { type BackoffKind, nextWaitMs } from "../async/backoff.ts";
import { Deadline } from "../async/deadline.ts";
import type { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import { type Timestamp, timestampOf } from "../types.ts";
import { actionOf, isUncoded } from "./pd_error.ts";
import type { PdLink, PdRoute } from "./pd_link.ts";
import type { TsoReply } from "./tso_codec.ts";
import { openTsoStream, type TsoStream } from "./tso_stream.ts";

interface Waiter {
  readonly resolve: (timestamp: Timestamp) => void;
  readonly reject: (error: unknown) => void;
  readonly operation: Operation | undefined;
  stop: () => void;
  isDone: boolean;
  /** Why it still waits. */
  lastError: unknown;
}

interface Batch {
  readonly waiters: readonly Waiter[];
  readonly timer: Timer;
}

interface OpenStream {
  readonly wire: TsoStream;
  readonly route: PdRoute;
  /** Who led PD when it was opened. */
  readonly leader: string;
}

/**
 * Timestamps of the cluster. Callers that wait at the same time share one request; one request is
 * under way at a time, so that under load the batches grow by themselves. When the stream breaks,
 * those who wait are asked for anew, within the deadline of each: an answer is used once or never.
 *
 * No timestamp is handed out that is not larger than all before it.
 */
export class Tso {
  readonly #link: PdLink;
  readonly #batchWaitMs: number;
  readonly #stopListening: () => void;
  #waiting = new Set<Waiter>();
  #batch: Batch | undefined;
  #stream: OpenStream | undefined;
  #flush: Timer | "microtask" | undefined;
  #isRecovering = false;
  /** Failures in a row. */
  #failures = 0;
  /** Answers in a row that went backwards. */
  #backwards = 0;
  #last = 0n;
  #isClosed = false;

  /** @param batchWaitMs how long the first caller waits for others; 0 takes those of the same turn */
  constructor(link: PdLink, batchWaitMs: number) {
    this.#link = link;
    this.#batchWaitMs = batchWaitMs;
    this.#stopListening = link.members.onLeader((leader) => this.#follow(leader.address));
  }

  /** The largest timestamp that was handed out; 0 before the first. */
  get last(): bigint {
    return this.#last;
  }

  /** One timestamp, larger than every one before. */
  timestamp(deadline: Deadline, operation?: Operation): Promise<Timestamp> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closedError();
      deadline.throwIfOver(WHAT);
      const waiter: Waiter = {
        resolve,
        reject,
        operation,
        stop: () => {},
        isDone: false,
        lastError: undefined,
      };
      waiter.stop = deadline.onOver(WHAT, (reason) => {
        this.#waiting.delete(waiter);
        settle(waiter);
        reject(deadline.isAborted ? reason : deadline.timeoutError(WHAT, waiter.lastError));
      });
      this.#waiting.add(waiter);
      this.#schedule();
    });
  }

  /** Ends every wait with a `closed` error. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopListening();
    if (typeof this.#flush === "object") this.#flush.cancel();
    this.#takeBack();
    this.#dropStream(closedError());
    this.#rejectAll(() => closedError());
  }

  #schedule(): void {
    if (this.#batch !== undefined || this.#flush !== undefined || this.#isRecovering || this.#isClosed) {
      return;
    }
    if (this.#waiting.size === 0) return;
    if (this.#batchWaitMs > 0) {
      this.#flush = this.#link.environment.clock.timer(this.#batchWaitMs, () => this.#send());
    } else {
      this.#flush = "microtask";
      queueMicrotask(() => this.#send());
    }
  }

  #send(): void {
    this.#flush = undefined;
    if (this.#isClosed || this.#isRecovering || this.#waiting.size === 0) return;
    const waiters: Waiter[] = [];
    for (const waiter of this.#waiting) {
      if (waiters.length === MAX_BATCH) break;
      if (waiter.operation !== undefined) waiter.operation.attempts++;
      waiters.push(waiter);
      this.#waiting.delete(waiter);
    }
    const stream = this.#stream ?? this.#open();
    const timer = this.#link.environment.clock.timer(this.#link.options.pdTimeoutMs, () => {
      const seen = `no answer after ${this.#link.options.pdTimeoutMs} ms`;
      const error = new TikvError("timeout", `Cannot get timestamps from ${stream.route.address}: ${seen}`);
      this.#link.noteFailure(stream.route, error);
      this.#broken(error);
    });
    this.#batch = { waiters, timer };
    stream.wire.request(waiters.length);
  }

  #open(): OpenStream {
    const route = this.#link.leaderRoute();
    const leader = this.#link.members.current.leader.address;
    const stream: OpenStream = {
      route,
      leader,
      wire: openTsoStream(this.#link, route, {
        onReply: (reply) => this.#receive(reply, stream),
        onClose: (error) => {
          this.#stream = undefined;
          this.#link.noteFailure(route, error);
          this.#broken(error, route);
        },
      }),
    };
    this.#stream = stream;
    return stream;
  }

  #receive(reply: TsoReply, stream: OpenStream): void {
    const batch = this.#batch;
    if (batch === undefined) {
      return this.#broken(protocolError(stream, "it answered without having been asked"));
    }
    const { clusterId } = this.#link.header;
    if (reply.clusterId !== 0n && reply.clusterId !== clusterId) {
      const seen = `it belongs to cluster ${reply.clusterId}, expected ${clusterId}`;
      const error = new TikvError("cluster-mismatch", `Cannot use PD at ${stream.route.address}: ${seen}`);
      return this.#broken(error);
    }
    const count = batch.waiters.length;
    const step = 1n << BigInt(reply.suffixBits);
    const first = reply.logical - BigInt(count - 1) * step;
    if (reply.count !== count || first < 0n || reply.logical > MAX_LOGICAL || reply.physicalMs <= 0n) {
      // PD-032: which of the callers a wrong answer belongs to cannot be told, and so neither can
      // what the next answer on this stream belongs to.
      const seen = `it answered ${reply.count} of ${count} with counter ${reply.logical}`;
      return this.#refuseBatch(batch, protocolError(stream, seen));
    }
    const earliest = timestampOf(reply.physicalMs, first);
    if (earliest <= this.#last) {
      const seen = `it answered ${earliest} after ${this.#last}: time went backwards`;
      return this.#goneBackwards(batch, protocolError(stream, seen));
    }
    batch.timer.cancel();
    this.#batch = undefined;
    this.#failures = 0;
    this.#backwards = 0;
    this.#last = timestampOf(reply.physicalMs, reply.logical);
    batch.waiters.forEach((waiter, index) => {
      const timestamp = timestampOf(reply.physicalMs, first + BigInt(index) * step);
      if (settle(waiter)) waiter.resolve(timestamp);
    });
    this.#schedule();
  }

  /**
   * PD-039: a timestamp from before one that was handed out would break every reader's snapshot.
   * It is refused, and asked for again: the member may have lost its lead. client-go ends the
   * process instead.
   */
  #goneBackwards(batch: Batch, error: TikvError): void {
    this.#link.observe({ type: "warning", message: error.message, cause: error });
    if (++this.#backwards <= MAX_BACKWARDS) return this.#broken(error, undefined, true);
    this.#backwards = 0;
    this.#refuseBatch(batch, error);
  }

  #refuseBatch(batch: Batch, error: TikvError): void {
    batch.timer.cancel();
    this.#batch = undefined;
    this.#dropStream(error);
    for (const waiter of batch.waiters) {
      if (settle(waiter)) waiter.reject(new TikvError(error.kind, error.message, { cause: error }));
    }
    this.#schedule();
  }

  /** The stream is of no use any more. Whoever waits on it waits for the next one, or gives up. */
  #broken(error: unknown, route: PdRoute | undefined = this.#stream?.route, isRepeatable = false): void {
    this.#takeBack();
    this.#dropStream(error);
    // PD reports whatever keeps it from making a timestamp without a code, a lost lead above all.
    if (!isRepeatable && actionOf(error) === "fail" && !isUncoded(error)) {
      return this.#rejectAll(() =>
        TikvError.is(error) ? new TikvError(error.kind, error.message, { cause: error }) : error
      );
    }
    for (const waiter of this.#waiting) waiter.lastError = error;
    if (this.#waiting.size > 0 && !this.#isRecovering) this.#recover(route?.address);
  }

  /** Finds out who leads now, waits unless that is news, and goes on. */
  #recover(suspect: string | undefined): void {
    this.#isRecovering = true;
    const { members, environment, scope, observe } = this.#link;
    const attempt = ++this.#failures;
    const refresh = async (deadline: Deadline): Promise<void> => {
      const isKnown = await members.refresh(deadline.within(REFRESH_MS), suspect).then(
        () => true,
        () => false,
      );
      deadline.throwIfOver(WHAT);
      const isNews = isKnown && (attempt === 1 || members.current.leader.address !== suspect);
      const state = { attempts: attempt - 1, lastMs: 0, random: environment.random };
      const waitMs = isNews && attempt <= MAX_QUICK_RETRIES ? 0 : nextWaitMs(RETRY, state);
      observe({ type: "retry", operation: "pd.timestamp", reason: "tso", attempt, waitMs });
      if (waitMs > 0) await deadline.sleep(waitMs, WHAT);
    };
    scope.run(Deadline.never(environment.clock), WHAT, refresh).catch(() => {
      // Only closing ends it, which rejects everybody by itself.
    }).then(() => {
      this.#isRecovering = false;
      this.#schedule();
    });
  }

  #follow(leader: string): void {
    const stream = this.#stream;
    if (stream === undefined || stream.leader === leader) return;
    // What is under way at a member that does not lead any more is asked for again at the new one.
    this.#takeBack();
    this.#dropStream(new TikvError("connection", `PD is led by ${leader}`));
    this.#schedule();
  }

  /** Puts those whose request is under way before those who came later. */
  #takeBack(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    batch.timer.cancel();
    this.#batch = undefined;
    this.#waiting = new Set([...batch.waiters.filter(({ isDone }) => !isDone), ...this.#waiting]);
  }

  #dropStream(cause: unknown): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.wire.cancel(cause);
  }

  #rejectAll(error: () => unknown): void {
    const waiters = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiters) if (settle(waiter)) waiter.reject(error());
  }
}

/** Marks a waiter as served; false when it was, or its caller has left. */
function settle(waiter: Waiter): boolean {
  if (waiter.isDone) return false;
  waiter.isDone = true;
  waiter.stop();
  return true;
}

function protocolError(stream: OpenStream, seen: string): TikvError {
  return new TikvError("protocol", `Cannot use the timestamps of ${stream.route.address}: ${seen}`);
}

function closedError(): TikvError {
  return new TikvError("closed", "Cannot get a timestamp: the client is closed");
}

const WHAT = "get a timestamp";
/** As PD's own client (`clients/tso/dispatcher.go` at a186e0cc). */
const MAX_BATCH = 10_000;
/** 18 bits. */
const MAX_LOGICAL = 0x3ffffn;
const MAX_BACKWARDS = 3;
const MAX_QUICK_RETRIES = 3;
const REFRESH_MS = 1_000;
/** PD-036 waits 100 ms each time; it grows here, so that an outage is not met with a storm. */
const RETRY: BackoffKind = { baseMs: 100, capMs: 1_000, jitter: "equal", exhausted: "connection" };

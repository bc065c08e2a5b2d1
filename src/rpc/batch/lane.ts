// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../../async/clock.ts";
import { Writer } from "../../bytes/writer.ts";
import type { TikvError } from "../../errors.ts";
import { errorOfStatus, GRPC, type RpcError } from "../grpc_status.ts";
import type { Metadata, Transport, WireStatus } from "../transport.ts";
import { DeadlineWatch } from "./deadline_watch.ts";
import { Entry, type EntryOwner, type EntryRequest } from "./entry.ts";
import { EntryQueue } from "./entry_queue.ts";
import { BATCH_COMMANDS_PATH, BatchStream, type Carried, type StreamOwner } from "./stream.ts";
import type { BatchAnswers } from "./wire.ts";
import { messageSize } from "./wire.ts";

/** Bounds of the lanes to one store. */
export interface LaneLimits {
  /** Streams to the store, each on a connection of its own. */
  readonly lanes: number;
  /** Commands in one message. */
  readonly maxBatchSize: number;
  /** Commands that the store has not answered; more wait. */
  readonly maxInFlight: number;
  /** Bytes of the commands that wait; more are refused. */
  readonly maxQueuedBytes: number;
  /** The largest message taken from the store. */
  readonly maxMessageBytes: number;
}

/** Who has lanes. */
export interface LanesOwner {
  onAnswers(answers: BatchAnswers): void;
  onUnknownId(id: number): void;
  onSettled(entry: Entry, isError: boolean): void;
  /**
   * The store does not know batches, or, if it has answered some before, one of these commands. They
   * have to go another way.
   */
  onUnimplemented(
    entries: Entry[],
    about: { readonly hasAnswered: boolean; readonly forwardedHost: string | undefined },
  ): void;
  /** An answer was larger than what is taken, and it is not known whose it was. */
  onTooLarge(): void;
}

/** Where the lanes go. */
export interface LanesTarget {
  readonly address: string;
  readonly transport: Transport;
  readonly clock: Clock;
  /** The store that the one at `address` passes the commands on to. */
  readonly forwardedHost?: string | undefined;
}

/**
 * The way of commands to one store. Those that are called for in one turn go out in one message,
 * at the end of it: this costs no time, and a loaded client fills its batches by itself.
 *
 * Of several connections the first is used until it is full, then the next. Taking turns would cut
 * every batch in as many pieces, and a batch is what makes a command cheap on both sides.
 */
export class BatchLanes implements EntryOwner, StreamOwner {
  readonly address: string;
  readonly #target: LanesTarget;
  readonly #limits: LaneLimits;
  readonly #owner: LanesOwner;
  readonly #streams: (BatchStream | undefined)[] = [];
  // Streams that were replaced and still carry commands.
  readonly #outdated = new Set<BatchStream>();
  readonly #queue = new EntryQueue();
  readonly #watch: DeadlineWatch;
  readonly #writer = new Writer(64 * 1024);
  // Unique among all streams, so that an answer on the wrong one is noticed.
  #lastId = 0;
  #live = 0;
  #isFlushing = false;
  /** Messages sent. */
  batches = 0;
  /** Commands sent. */
  commands = 0;

  constructor(target: LanesTarget, limits: LaneLimits, owner: LanesOwner) {
    this.address = target.address;
    this.#target = target;
    this.#limits = limits;
    this.#owner = owner;
    this.#watch = new DeadlineWatch(target.clock, (now) => this.#expire(now));
  }

  /** Commands that were called for and are not settled. */
  get live(): number {
    return this.#live;
  }

  /** Commands that wait to be sent. */
  get queued(): number {
    return this.#queue.length;
  }

  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  get inFlight(): number {
    let inFlight = 0;
    for (const stream of this.#streams) if (stream !== undefined) inFlight += stream.inFlight;
    for (const stream of this.#outdated) inFlight += stream.inFlight;
    return inFlight;
  }

  get openStreams(): number {
    return this.#streams.filter((stream) => stream !== undefined).length + this.#outdated.size;
  }

  /** Takes a command; `resolve` and `reject` are those of its caller's promise. */
  submit(request: EntryRequest, resolve: (reply: unknown) => void, reject: (reason: unknown) => void): void {
    const now = this.#target.clock.now();
    const size = messageSize(request.context, request.body) + ENVELOPE_BYTES;
    const entry = new Entry(++this.#lastId, request, { size, now, owner: this }, resolve, reject);
    this.#live++;
    if (request.deadline.isAborted) {
      entry.reject(request.deadline.signal?.reason);
      return;
    }
    if (request.deadline.at <= now) {
      entry.reject(entry.error("timeout", "the deadline had passed before", GRPC.DEADLINE_EXCEEDED));
      return;
    }
    if (this.#queue.length > 0 && this.#queue.bytes + size > this.#limits.maxQueuedBytes) {
      const seen =
        `${this.#queue.bytes} bytes wait for the store, the limit is ${this.#limits.maxQueuedBytes}`;
      entry.reject(entry.error("overloaded", seen, GRPC.RESOURCE_EXHAUSTED));
      return;
    }
    this.#queue.push(entry);
    this.#watch.watch(request.deadline.at);
    this.#flushSoon();
  }

  /** Half-closes the streams; call it only when nothing is live. */
  retire(): void {
    for (const stream of this.#streams) stream?.retire();
    for (const stream of this.#outdated) stream.cancel(undefined);
    this.#streams.length = 0;
  }

  /** Ends everything with this error as the cause. */
  close(cause: TikvError): void {
    for (const entry of this.#everything()) {
      entry.reject(entry.error("closed", cause.message, GRPC.CANCELLED, cause));
    }
    for (const stream of [...this.#streams, ...this.#outdated]) stream?.cancel(cause);
    this.#streams.length = 0;
  }

  onSettled(entry: Entry, isError: boolean): void {
    this.#live--;
    if (this.#live === 0) this.#watch.stop();
    this.#owner.onSettled(entry, isError);
  }

  onAnswers(answers: BatchAnswers): void {
    if (this.#queue.length > 0) this.#flushSoon();
    this.#owner.onAnswers(answers);
  }

  onUnknownId(id: number): void {
    this.#owner.onUnknownId(id);
  }

  onDrain(): void {
    if (this.#queue.length > 0) this.#flushSoon();
  }

  onOutdated(stream: BatchStream): void {
    const lane = this.#streams.indexOf(stream);
    if (lane < 0) return;
    this.#streams[lane] = undefined;
    this.#outdated.add(stream);
    if (this.#queue.length > 0) this.#flushSoon();
  }

  onBroken(stream: BatchStream, status: WireStatus, { entries, isSingle }: Carried): void {
    this.#outdated.delete(stream);
    const lane = this.#streams.indexOf(stream);
    if (lane >= 0) this.#streams[lane] = undefined;
    const failed = brokenBy(status, isSingle);
    if (status.code === GRPC.UNIMPLEMENTED && status.origin === "peer") {
      // A single one is the one to blame. Of several, others may have been executed meanwhile.
      const again: Entry[] = [];
      for (const entry of entries) {
        if (isSingle || entry.command.isIdempotent) again.push(entry);
        else entry.reject(failed.errorFor(entry, this.address));
      }
      if (!stream.hasAnswered) again.push(...this.#queue.takeAll());
      const { hasAnswered } = stream;
      this.#owner.onUnimplemented(again, { hasAnswered, forwardedHost: this.#target.forwardedHost });
    } else {
      if (failed.isAmbiguous) this.#owner.onTooLarge();
      for (const entry of entries) entry.reject(failed.errorFor(entry, this.address));
    }
    if (this.#queue.length > 0) this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isFlushing = false;
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      const stream = this.#pickStream();
      if (stream === undefined) return;
      const batch = this.#takeBatch(next, this.#limits.maxInFlight - this.inFlight);
      if (batch.length === 0) return;
      this.batches++;
      this.commands += batch.length;
      stream.send(batch, this.#writer);
    }
  };

  /** The next commands, as many as fit a message and the store's room. */
  #takeBatch(first: Entry, room: number): Entry[] {
    const batch: Entry[] = [];
    let bytes = 0;
    for (let next: Entry | undefined = first; next !== undefined; next = this.#queue.peek()) {
      if (batch.length === this.#limits.maxBatchSize) break;
      // Urgent commands are not held back by what is under way.
      if (batch.length >= room && next.priority < URGENT) break;
      if (batch.length > 0 && bytes + next.size > MAX_BATCH_BYTES) break;
      this.#queue.shift();
      batch.push(next);
      bytes += next.size;
    }
    return batch;
  }

  /** The first stream with room, else the one with the least to do; undefined when none takes more. */
  #pickStream(): BatchStream | undefined {
    let best: BatchStream | undefined;
    for (let lane = 0; lane < this.#limits.lanes; lane++) {
      const stream = this.#streams[lane] ?? this.#open(lane);
      if (!stream.isReady) continue;
      if (stream.inFlight < FULL_LANE) return stream;
      if (best === undefined || stream.inFlight < best.inFlight) best = stream;
    }
    return best;
  }

  #open(lane: number): BatchStream {
    const { address, forwardedHost, transport, clock } = this.#target;
    const metadata: Metadata = {
      "tikv-batch-conn-index": String(lane),
      ...(forwardedHost === undefined ? {} : { "tikv-forwarded-host": forwardedHost }),
    };
    const { maxMessageBytes } = this.#limits;
    const endpoint = { address, kind: "store", lane } as const;
    const stream = new BatchStream({ transport, clock, endpoint, metadata, maxMessageBytes }, this);
    this.#streams[lane] = stream;
    return stream;
  }

  #expire(now: number): number {
    let next = Infinity;
    for (const entry of this.#everything()) {
      if (entry.deadline.at <= now) entry.expire(now);
      else if (entry.deadline.at < next) next = entry.deadline.at;
    }
    return next;
  }

  #everything(): Entry[] {
    const entries = this.#queue.waiting();
    for (const stream of [...this.#streams, ...this.#outdated]) {
      if (stream !== undefined) { for (const entry of stream.pending()) entries.push(entry); }
    }
    return entries;
  }
}

interface BrokenStream {
  /** One of the commands is to blame, but it is not known which. */
  readonly isAmbiguous: boolean;
  errorFor(entry: Entry, address: string): RpcError;
}

/**
 * What the end of a stream means for what it carried: the connection is lost, whatever status the
 * peer gave, unless it refuses this client altogether.
 */
function brokenBy(status: WireStatus, isSingle: boolean): BrokenStream {
  const isRefusal = status.code === GRPC.UNAUTHENTICATED || status.code === GRPC.PERMISSION_DENIED;
  const isAmbiguous = status.code === GRPC.RESOURCE_EXHAUSTED && status.origin === "transport" && !isSingle;
  const end: WireStatus = {
    ...status,
    code: status.code === GRPC.OK ? GRPC.UNAVAILABLE : status.code,
    message: status.code === GRPC.OK ? "the peer ended the stream" : status.message,
    origin: status.origin === "peer" && !isRefusal ? "transport" : status.origin,
    // A status that stands for a call that was not taken on says nothing about those beside it.
    isMaybeExecuted: status.isMaybeExecuted || status.code === GRPC.UNIMPLEMENTED,
    // Without the cause they fail as those of any lost stream, which may be tried again.
    cause: isAmbiguous ? undefined : status.cause,
  };
  return {
    isAmbiguous,
    errorFor: (entry, address) => errorOfStatus(end, entry.command.path || BATCH_COMMANDS_PATH, address),
  };
}

/** A command of this priority or more is sent although the store has as many as it may have. */
const URGENT = 10;

/** Commands under way above which a lane leaves the next ones to another: eight full batches. */
const FULL_LANE = 1024;

/** One message should not keep the answers to others waiting; a larger command goes alone. */
const MAX_BATCH_BYTES = 1024 * 1024;

/** Tags, lengths and the id around a command. */
const ENVELOPE_BYTES = 24;

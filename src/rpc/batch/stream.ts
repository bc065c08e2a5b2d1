// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Reader } from "../../bytes/reader.ts";
import type { Writer } from "../../bytes/writer.ts";
import { TikvError } from "../../errors.ts";
import type { Endpoint, Metadata, Transport, WireStatus, WireStream } from "../transport.ts";
import type { Entry, EntryHolder } from "./entry.ts";
import { BatchAnswers, writeBatchRequest } from "./wire.ts";

/** What a stream tells the lanes that it belongs to. */
export interface StreamOwner {
  /** Answers were delivered: there may be room for what waits. */
  onAnswers(answers: BatchAnswers): void;
  /** An answer to nothing that is known, not even to a command that was given up. */
  onUnknownId(id: number): void;
  /** The peer keeps up again. */
  onDrain(): void;
  /** The stream takes nothing more; what it carries goes on. */
  onOutdated(stream: BatchStream): void;
  /** The stream is gone, with everything that it carried. */
  onBroken(stream: BatchStream, status: WireStatus, carried: Carried): void;
}

/** What a stream carried when it broke. */
export interface Carried {
  /** The commands that wait for their answers. */
  readonly entries: Entry[];
  /** No more than one command was under way, given up ones included: it is the one to blame. */
  readonly isSingle: boolean;
}

/** Where a stream goes. */
export interface StreamTarget {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly endpoint: Endpoint;
  readonly metadata: Metadata;
  readonly maxMessageBytes: number;
}

/** `tikvpb.Tikv/BatchCommands` */
export const BATCH_COMMANDS_PATH = "/tikvpb.Tikv/BatchCommands";

/**
 * One BatchCommands stream: commands go out in batches, answers come back in any order.
 *
 * It is one failure domain. When it breaks, everything that it carried fails at once, so that
 * nobody waits for an answer that cannot come. (client-go lets all but one of the streams of a
 * connection leave their commands to time out.)
 */
export class BatchStream implements EntryHolder {
  readonly #clock: Clock;
  readonly #owner: StreamOwner;
  readonly #wire: WireStream;
  readonly #pending = new Map<number, Entry>();
  // Ids whose callers have left. The store still works on them, so they keep counting as in
  // flight, and their late answers are no surprise.
  readonly #abandoned = new Set<number>();
  readonly #answers = new BatchAnswers();
  #isBlocked = false;
  #isOver = false;
  // Ends with the last command that it carries.
  #isOutdated = false;
  #hasAnswered = false;
  // Why this side ended the stream: what came could not be read.
  #corruption: TikvError | undefined;

  constructor(target: StreamTarget, owner: StreamOwner) {
    this.#clock = target.clock;
    this.#owner = owner;
    this.#wire = target.transport.stream(target.endpoint, BATCH_COMMANDS_PATH, {
      onMessage: (message) => this.#receive(message),
      onDrain: () => {
        this.#isBlocked = false;
        owner.onDrain();
      },
      onOutdated: () => {
        if (this.#isOver || this.#isOutdated) return;
        this.#isOutdated = true;
        owner.onOutdated(this);
        this.#endIfDone();
      },
      onClose: (status) => this.#close(status),
    }, {
      // The stream outlives every call; each command has its own deadline.
      deadline: Deadline.never(target.clock),
      metadata: target.metadata,
      maxMessageBytes: target.maxMessageBytes,
    });
  }

  /** Commands that the store has not answered, given up ones included. */
  get inFlight(): number {
    return this.#pending.size + this.#abandoned.size;
  }

  /** Whether commands can be sent at this moment. */
  get isReady(): boolean {
    return !this.#isBlocked && !this.#isOver && !this.#isOutdated;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether the peer ever answered: only then a status "unimplemented" is about something else. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** The commands that wait for their answers. */
  pending(): IterableIterator<Entry> {
    return this.#pending.values();
  }

  send(entries: readonly Entry[], writer: Writer): void {
    for (const entry of entries) {
      entry.holder = this;
      entry.isSent = true;
      this.#pending.set(entry.id, entry);
    }
    this.#isBlocked = !this.#wire.send(writeBatchRequest(writer, entries, this.#clock.wallNow()));
  }

  /** Stops waiting for a command that was settled without its answer. */
  abandon(entry: Entry): void {
    if (this.#pending.delete(entry.id)) this.#abandoned.add(entry.id);
    this.#endIfDone();
  }

  /** Half-closes a stream that is not needed any more. */
  retire(): void {
    this.#isOver = true;
    this.#wire.end();
  }

  /** Ends the stream on both sides; what it carried fails with this cause. */
  cancel(cause: unknown): void {
    this.#wire.cancel(cause);
  }

  #receive(message: Uint8Array): void {
    if (this.#isOver && this.#pending.size === 0) return;
    const answers = this.#answers;
    const reader = new Reader(message);
    try {
      answers.read(reader);
    } catch (cause) {
      // What was not understood may have held any of the answers: nothing can be trusted here.
      this.#corruption = TikvError.is(cause)
        ? cause
        : new TikvError("protocol", "Cannot read the batch", { cause });
      this.#wire.cancel(this.#corruption);
      return;
    }
    this.#hasAnswered = true;
    for (let index = 0; index < answers.count; index++) {
      const id = answers.ids[index] as number;
      const entry = this.#pending.get(id);
      if (entry === undefined) {
        if (!this.#abandoned.delete(id)) this.#owner.onUnknownId(id);
        continue;
      }
      this.#pending.delete(id);
      reader.pos = answers.starts[index] as number;
      reader.end = answers.ends[index] as number;
      deliver(entry, reader);
    }
    this.#endIfDone();
    this.#owner.onAnswers(answers);
  }

  #endIfDone(): void {
    if (!this.#isOutdated || this.#isOver || this.#pending.size > 0) return;
    // What nobody waits for may still wait for room at the peer, for ever.
    if (this.#abandoned.size > 0) this.#wire.cancel(new TikvError("connection", "The stream was replaced"));
    else this.retire();
  }

  #close(status: WireStatus): void {
    this.#isOver = true;
    const carried: Carried = { entries: [...this.#pending.values()], isSingle: this.inFlight <= 1 };
    this.#pending.clear();
    this.#abandoned.clear();
    this.#owner.onBroken(this, this.#reasonOf(status), carried);
  }

  // A stream that was ended over its content looks like one that the caller did not want any more.
  #reasonOf(status: WireStatus): WireStatus {
    const cause = this.#corruption;
    return cause === undefined ? status : { ...status, origin: "transport", message: cause.message, cause };
  }
}

/** Reads a `BatchCommandsResponse.Response`, whose only field is the answer. */
function deliver(entry: Entry, reader: Reader): void {
  const expected = (entry.tag << 3 | BYTES) >>> 0;
  let reply: unknown;
  let hasReply = false;
  try {
    while (reader.pos < reader.end) {
      const tag = reader.tag();
      if (tag !== expected) {
        reader.skip(tag);
        continue;
      }
      const { decodeFrom } = entry.command;
      if (decodeFrom === undefined) reply = entry.command.decode(reader.bytes());
      else {
        const outer = reader.enter();
        reply = decodeFrom(reader);
        reader.leave(outer);
      }
      hasReply = true;
    }
  } catch (cause) {
    entry.garble("its answer cannot be read", cause);
    return;
  }
  if (hasReply) entry.resolve(reply);
  else entry.garble("it was answered with another command's reply, or with none");
}

const BYTES = 2;

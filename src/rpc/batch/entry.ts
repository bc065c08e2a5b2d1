// SPDX-License-Identifier: Apache-2.0

import type { Deadline } from "../../async/deadline.ts";
import { GRPC, RpcError } from "../grpc_status.ts";
import type { Command } from "../command_types.ts";
import type { BatchItem } from "./wire.ts";

/** What an entry tells its owner when it leaves. */
export interface EntryOwner {
  readonly address: string;
  /** The entry has its answer or its error; `isError` for statistics and events. */
  onSettled(entry: Entry, isError: boolean): void;
}

/** Where an entry is kept until it is answered. */
export interface EntryHolder {
  /** The entry was settled without its answer. */
  abandon(entry: Entry): void;
}

/** What is asked for with an entry. */
export interface EntryRequest {
  readonly command: Command<unknown, unknown>;
  readonly context: Uint8Array;
  readonly body: Uint8Array;
  readonly deadline: Deadline;
  /** Priority in the queue; higher goes first. */
  readonly priority: number;
}

/**
 * One command that has not been answered. It lives from the call until its answer, its deadline,
 * the caller's abort, or the loss of the stream that carries it, whichever comes first.
 */
export class Entry implements BatchItem {
  readonly id: number;
  readonly command: Command<unknown, unknown>;
  readonly tag: number;
  readonly context: Uint8Array;
  readonly body: Uint8Array;
  /** Bytes of it in a batch, about. */
  readonly size: number;
  readonly deadline: Deadline;
  readonly priority: number;
  readonly startedAt: number;
  /** The queue that it waits in, or the stream that it was sent on. */
  holder: EntryHolder | undefined;
  /** Whether it was handed to the network. */
  isSent = false;
  isSettled = false;
  readonly #owner: EntryOwner;
  readonly #resolve: (reply: unknown) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #signal: AbortSignal | undefined;

  constructor(
    id: number,
    request: EntryRequest,
    about: { readonly size: number; readonly now: number; readonly owner: EntryOwner },
    resolve: (reply: unknown) => void,
    reject: (reason: unknown) => void,
  ) {
    this.id = id;
    this.command = request.command;
    this.tag = request.command.batchTag ?? 0;
    this.context = request.context;
    this.body = request.body;
    this.size = about.size;
    this.deadline = request.deadline;
    this.priority = request.priority;
    this.startedAt = about.now;
    this.#owner = about.owner;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#signal = request.deadline.signal;
    if (this.#signal !== undefined) this.#signal.addEventListener("abort", this);
  }

  /** Called by the signal: an object as listener costs no closure. */
  handleEvent(): void {
    this.reject(this.#signal?.reason);
  }

  resolve(reply: unknown): void {
    if (this.isSettled) return;
    this.#leave(false);
    this.#resolve(reply);
  }

  reject(reason: unknown): void {
    if (this.isSettled) return;
    this.#leave(true);
    this.#reject(reason);
  }

  /** Ends it because its deadline has passed. */
  expire(now: number): void {
    const waited = `${Math.round(now - this.startedAt)} ms`;
    const seen = this.isSent ? `no answer within ${waited}` : `it could not be sent within ${waited}`;
    this.reject(this.error("timeout", seen, GRPC.DEADLINE_EXCEEDED));
  }

  /** Ends it because its answer cannot be read. The command was executed. */
  garble(seen: string, cause?: unknown): void {
    this.reject(this.error("protocol", seen, GRPC.INTERNAL, cause));
  }

  /** An error of this side about this command. */
  error(
    kind: "timeout" | "protocol" | "overloaded" | "closed",
    seen: string,
    code: number,
    cause?: unknown,
  ): RpcError {
    const { address } = this.#owner;
    const method = this.command.name;
    return new RpcError(kind, `Cannot call ${method} at ${address}: ${seen}`, {
      code,
      origin: kind === "protocol" ? "transport" : "caller",
      isMaybeExecuted: this.isSent,
      cause,
      context: { method, address },
    });
  }

  #leave(isError: boolean): void {
    this.isSettled = true;
    if (this.#signal !== undefined) this.#signal.removeEventListener("abort", this);
    // An answered one was forgotten by its stream before it was decoded.
    if (isError) this.holder?.abandon(this);
    this.#owner.onSettled(this, isError);
  }
}

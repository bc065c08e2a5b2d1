// SPDX-License-Identifier: Apache-2.0

import type { Clock } from "../async/clock.ts";
import type { Deadline } from "../async/deadline.ts";
import { TikvError } from "../errors.ts";
import type { Observer } from "../observe/events.ts";
import type { Entry } from "./batch/entry.ts";
import { BatchLanes, type LaneLimits, type LanesOwner } from "./batch/lane.ts";
import type { BatchAnswers, HealthReport } from "./batch/wire.ts";
import { messageSize, readHealthReport, wholeMessage } from "./batch/wire.ts";
import type { Command, CommandName } from "./command_types.ts";
import { GRPC, RpcError } from "./grpc_status.ts";
import type { Transport } from "./transport.ts";

/** What the channels of a client have in common. */
export interface ChannelShared {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly limits: LaneLimits;
  /** The largest request that is sent. */
  readonly maxRequestBytes: number;
  /** Absent when nobody listens: then nothing is done for it. */
  readonly observer: Observer | undefined;
  readonly onHealthFeedback: ((address: string, report: HealthReport) => void) | undefined;
}

/** A command with its encoded parts. */
export interface ChannelRequest {
  readonly command: Command<unknown, unknown>;
  readonly context: Uint8Array;
  readonly body: Uint8Array;
  readonly deadline: Deadline;
  readonly priority: number;
  readonly forwardedHost: string | undefined;
}

/** What goes on with one store. */
export interface ChannelStats {
  readonly address: string;
  readonly streams: number;
  readonly inFlight: number;
  readonly queued: number;
  readonly queuedBytes: number;
  readonly batches: number;
  readonly batchedCommands: number;
  readonly unaryCalls: number;
  readonly unknownIds: number;
  /** As the store said last; 0 when it did not. */
  readonly transportLayerLoad: number;
  /** Whether the store can take batches. */
  readonly isBatching: boolean;
}

/** All ways to one address: batches, single calls, and what is known about it. */
export class StoreChannel implements LanesOwner {
  readonly address: string;
  readonly #shared: ChannelShared;
  /** By the store that commands are passed on to; "" is the address itself. */
  readonly #lanes = new Map<string, BatchLanes>();
  readonly #direct: BatchLanes;
  #isUnsupported = false;
  // Commands that never go in a batch: a store that does not know one ends the whole stream.
  readonly #unbatched = new Set<CommandName>(ALWAYS_ALONE);
  // Until when commands go one by one, to find out whose answer is too large.
  #singleUntil = -Infinity;
  #unaryCalls = 0;
  #unaryInFlight = 0;
  #unknownIds = 0;
  #unknownSinceWarning = 0;
  #warnedAt = -Infinity;
  #transportLayerLoad = 0;
  #usesAtSweep = -1;

  constructor(address: string, shared: ChannelShared) {
    this.address = address;
    this.#shared = shared;
    this.#direct = this.#newLanes("");
  }

  /** Sends a command the best way there is. */
  send(request: ChannelRequest): Promise<unknown> {
    const { command, context, body } = request;
    const size = context.length + body.length;
    if (size > this.#shared.maxRequestBytes) return Promise.reject(this.#tooLarge(request));
    const isBatched = command.batchTag !== undefined && this.#shared.limits.maxBatchSize > 0 &&
      !this.#unbatched.has(command.name);
    // Nothing is gained for a large one, and everything behind it in the stream would wait for it.
    if (!isBatched || !this.#isBatching || (size > ALONE_BYTES && command.path !== "")) {
      return this.#sendAlone(request);
    }
    const { forwardedHost } = request;
    const lanes = forwardedHost === undefined ? this.#direct : this.#lanesTo(forwardedHost);
    return new Promise((resolve, reject) => lanes.submit(request, resolve, reject));
  }

  stats(): ChannelStats {
    const all = [...this.#lanes.values()];
    const sum = (of: (lanes: BatchLanes) => number): number =>
      all.reduce((total, lanes) => total + of(lanes), 0);
    return {
      address: this.address,
      streams: sum((lanes) => lanes.openStreams),
      inFlight: sum((lanes) => lanes.inFlight) + this.#unaryInFlight,
      queued: sum((lanes) => lanes.queued),
      queuedBytes: sum((lanes) => lanes.queuedBytes),
      batches: sum((lanes) => lanes.batches),
      batchedCommands: sum((lanes) => lanes.commands),
      unaryCalls: this.#unaryCalls,
      unknownIds: this.#unknownIds,
      transportLayerLoad: this.#transportLayerLoad,
      isBatching: this.#isBatching,
    };
  }

  /** Whether nothing was sent since the last time this was asked, and nothing is under way. */
  sweep(): boolean {
    const { batches, unaryCalls, inFlight, queued } = this.stats();
    const uses = batches + unaryCalls;
    const isIdle = uses === this.#usesAtSweep && inFlight === 0 && queued === 0;
    this.#usesAtSweep = uses;
    return isIdle;
  }

  /** Lets the connections go; call it only when `sweep()` said that nothing is under way. */
  retire(): void {
    for (const lanes of this.#lanes.values()) lanes.retire();
  }

  /** Fails everything that waits or is under way in batches; the transport does it for the rest. */
  close(cause: TikvError): void {
    for (const lanes of this.#lanes.values()) lanes.close(cause);
  }

  onAnswers(answers: BatchAnswers): void {
    if (answers.transportLayerLoad > 0) this.#transportLayerLoad = answers.transportLayerLoad;
    const { onHealthFeedback } = this.#shared;
    if (answers.health === undefined || onHealthFeedback === undefined) return;
    try {
      onHealthFeedback(this.address, readHealthReport(answers.health));
    } catch (cause) {
      // Advice that cannot be read is no reason to lose the answers that came with it.
      this.#warn("a store's health feedback was ignored", cause);
    }
  }

  onUnknownId(): void {
    this.#unknownIds++;
    this.#unknownSinceWarning++;
    const now = this.#shared.clock.now();
    if (now < this.#warnedAt + WARNING_INTERVAL_MS) return;
    this.#warn(`${this.#unknownSinceWarning} answers of ${this.address} belong to no request`);
    this.#warnedAt = now;
    this.#unknownSinceWarning = 0;
  }

  onSettled(entry: Entry, isError: boolean): void {
    const { observer, clock } = this.#shared;
    if (observer === undefined) return;
    const durationMs = clock.now() - entry.startedAt;
    observer({ type: "rpc", method: entry.command.name, address: this.address, durationMs, isError });
  }

  onUnimplemented(
    entries: Entry[],
    { hasAnswered, forwardedHost }: {
      readonly hasAnswered: boolean;
      readonly forwardedHost: string | undefined;
    },
  ): void {
    if (hasAnswered) {
      this.#warn(`${this.address} does not know a command of a batch: they are sent one by one`);
    } else {
      this.#isUnsupported = true;
      this.#warn(`${this.address} does not take batches: commands are sent one by one from now on`);
    }
    for (const entry of entries) void this.#sendAgain(entry, forwardedHost);
  }

  /** Sends a command of a broken batch alone, which shows whether it is the one that is not known. */
  async #sendAgain(entry: Entry, forwardedHost: string | undefined): Promise<void> {
    const { command, context, body, deadline } = entry;
    try {
      entry.resolve(await this.#unary({ command, context, body, deadline, priority: 0, forwardedHost }));
    } catch (error) {
      const isUnknown = error instanceof RpcError && error.code === GRPC.UNIMPLEMENTED;
      if (isUnknown && !this.#unbatched.has(command.name)) {
        this.#unbatched.add(command.name);
        // It was this command, and not the batch around it.
        this.#isUnsupported = false;
      }
      entry.reject(error);
    }
  }

  onTooLarge(): void {
    this.#singleUntil = this.#shared.clock.now() + SINGLE_MS;
    this.#warn(`an answer of ${this.address} was too large: commands are sent one by one for a while`);
  }

  get #isBatching(): boolean {
    if (this.#isUnsupported) return false;
    return this.#singleUntil === -Infinity || this.#shared.clock.now() >= this.#singleUntil;
  }

  #lanesTo(forwardedHost: string): BatchLanes {
    return this.#lanes.get(forwardedHost) ?? this.#newLanes(forwardedHost);
  }

  #newLanes(forwardedHost: string): BatchLanes {
    const { transport, clock, limits } = this.#shared;
    const target = { address: this.address, transport, clock };
    const lanes = new BatchLanes(forwardedHost === "" ? target : { ...target, forwardedHost }, limits, this);
    this.#lanes.set(forwardedHost, lanes);
    return lanes;
  }

  /** A call of its own, with the event that a batched command gets from its lane. */
  async #sendAlone(request: ChannelRequest): Promise<unknown> {
    const { observer, clock } = this.#shared;
    if (observer === undefined) return await this.#unary(request);
    const startedAt = clock.now();
    let isError = true;
    try {
      const reply = await this.#unary(request);
      isError = false;
      return reply;
    } finally {
      const durationMs = clock.now() - startedAt;
      observer({ type: "rpc", method: request.command.name, address: this.address, durationMs, isError });
    }
  }

  async #unary(request: ChannelRequest): Promise<unknown> {
    const { command, context, body, deadline, forwardedHost } = request;
    const { transport, limits } = this.#shared;
    if (command.path === "") {
      throw new TikvError(
        "unsupported",
        `Cannot call ${command.name} at ${this.address}: it exists in batches only`,
      );
    }
    // The first connection until its streams are many, then the next: as with batches.
    const lane = Math.floor(this.#unaryInFlight / FULL_UNARY_LANE) % limits.lanes;
    this.#unaryCalls++;
    this.#unaryInFlight++;
    try {
      const reply = await transport.unary(
        { address: this.address, kind: "store", lane },
        command.path,
        wholeMessage(context, body),
        {
          deadline,
          maxMessageBytes: limits.maxMessageBytes,
          ...(forwardedHost === undefined ? {} : { metadata: { "tikv-forwarded-host": forwardedHost } }),
        },
      );
      return this.#decode(command, reply.message);
    } finally {
      this.#unaryInFlight--;
    }
  }

  #decode(command: Command<unknown, unknown>, message: Uint8Array): unknown {
    try {
      return command.decode(message);
    } catch (cause) {
      throw new RpcError(
        "protocol",
        `Cannot call ${command.name} at ${this.address}: its answer cannot be read`,
        {
          code: GRPC.INTERNAL,
          origin: "transport",
          isMaybeExecuted: true,
          cause,
          context: { method: command.name, address: this.address },
        },
      );
    }
  }

  #tooLarge({ command, context, body }: ChannelRequest): RpcError {
    const size = messageSize(context, body);
    return new RpcError(
      "too-large",
      `Cannot call ${command.name} at ${this.address}: the request has ${size} bytes, the limit is ${this.#shared.maxRequestBytes}`,
      {
        code: GRPC.RESOURCE_EXHAUSTED,
        origin: "caller",
        isMaybeExecuted: false,
        context: { method: command.name, address: this.address },
      },
    );
  }

  #warn(message: string, cause?: unknown): void {
    this.#shared.observer?.({ type: "warning", message, ...(cause === undefined ? {} : { cause }) });
  }
}

/** What a plugin of the store does may take long and must not happen twice; few stores have plugins. */
const ALWAYS_ALONE: readonly CommandName[] = ["RawCoprocessor"];

/** Single calls on one connection above which the next one is used; servers often allow just 100. */
const FULL_UNARY_LANE = 100;

const WARNING_INTERVAL_MS = 1_000;

/** Long enough for the commands that a broken stream carried to be tried again. */
const SINGLE_MS = 5_000;

/** The window of a stream that no peer makes smaller: above it a message waits for room in the middle. */
const ALONE_BYTES = 65_535;

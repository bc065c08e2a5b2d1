// SPDX-License-Identifier: Apache-2.0

import type { Environment, Timer } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import { SingleFlight } from "../async/single_flight.ts";
import { TikvError } from "../errors.ts";
import { noObserver, type Observer } from "../observe/events.ts";
import { GRPC, RpcError } from "./grpc_status.ts";
import type { HealthReport } from "./batch/wire.ts";
import type { BodyOf, Command } from "./command_types.ts";
import { intercept, type InterceptedCall, type Interceptor } from "./interceptor.ts";
import { type ChannelRequest, type ChannelShared, type ChannelStats, StoreChannel } from "./store_channel.ts";
import { probeStore, type Reachability } from "./store_probe.ts";
import type { Transport } from "./transport.ts";

/** What a client of stores may use; see the options of the client for the reasons. */
export interface StoreClientSettings {
  readonly connectionsPerStore: number;
  /** 0 sends every command alone. */
  readonly maxBatchSize: number;
  readonly maxInFlightRequests: number;
  readonly maxResponseBytes: number;
  readonly idleCloseMs: number;
  readonly storeLivenessTimeoutMs: number;
  /** @default {67108864} bytes of commands that wait for one store */
  readonly maxQueuedBytes?: number | undefined;
  /** @default {268435456} a request larger than this is never sent */
  readonly maxRequestBytes?: number | undefined;
}

/** What a {@linkcode StoreClient} is made of. */
export interface StoreClientOptions {
  readonly transport: Transport;
  readonly environment: Environment;
  readonly settings: StoreClientSettings;
  readonly observer?: Observer | undefined;
  readonly interceptors?: readonly Interceptor[] | undefined;
  /** Hears what stores say of their own health along with answers. */
  readonly onHealthFeedback?: ((address: string, report: HealthReport) => void) | undefined;
}

/** A store as it is called. */
export interface StoreRef {
  readonly address: string;
  readonly id?: bigint | undefined;
}

/** A request in the form in which it is sent. */
export interface StoreRequest<I> {
  /** The encoded `Context`, see `context.ts`; not used by commands without one. */
  readonly context: Uint8Array;
  /** What `command.encode(plain)` made; it may be kept and sent again. */
  readonly body: Uint8Array;
  /** What the body was made of, for interceptors. */
  readonly plain: I;
}

/** Options of one call. */
export interface StoreCallOptions {
  readonly deadline: Deadline;
  /** Name of the public operation, for interceptors. */
  readonly operation?: string | undefined;
  /** 1 for the first attempt of the operation. */
  readonly attempt?: number | undefined;
  /** In the queue to the store; from 10 on it passes by the limit of requests in flight. */
  readonly priority?: number | undefined;
  /** The store that `store` shall pass the request on to. */
  readonly forwardedHost?: string | undefined;
  readonly regionId?: bigint | undefined;
}

/** Sends commands to stores. It knows addresses only; regions and retries are above it. */
export class StoreClient {
  readonly #shared: ChannelShared;
  readonly #interceptors: readonly Interceptor[];
  readonly #settings: StoreClientSettings;
  readonly #channels = new Map<string, StoreChannel>();
  readonly #probes = new SingleFlight<string, Reachability>();
  readonly #resolves = new SingleFlight<string, unknown>();
  #sweeper: Timer | undefined;
  /** Ends the calls that are inside interceptors. */
  readonly #intercepted = new Set<(reason: unknown) => void>();
  #isClosed = false;

  constructor(options: StoreClientOptions) {
    const { transport, environment, settings, observer, interceptors = [], onHealthFeedback } = options;
    this.#settings = settings;
    this.#interceptors = interceptors;
    this.#shared = {
      transport,
      clock: environment.clock,
      limits: {
        lanes: settings.connectionsPerStore,
        maxBatchSize: settings.maxBatchSize,
        maxInFlight: settings.maxInFlightRequests,
        maxQueuedBytes: settings.maxQueuedBytes ?? 64 * 1024 * 1024,
        maxMessageBytes: settings.maxResponseBytes,
      },
      maxRequestBytes: settings.maxRequestBytes ?? 256 * 1024 * 1024,
      observer: observer === noObserver ? undefined : observer,
      onHealthFeedback,
    };
  }

  /**
   * Sends a command and waits for its reply.
   *
   * Rejects with an `RpcError`, which says whether the store may have executed the command, or with
   * the signal's own reason. A reply that tells of a region error is a reply like any other.
   */
  call<I, O>(
    store: StoreRef,
    command: Command<I, O>,
    request: StoreRequest<I>,
    options: StoreCallOptions,
  ): Promise<O> {
    if (this.#interceptors.length > 0) return this.#callIntercepted(store, command, request, options);
    return this.#send(store, command, request, options);
  }

  /** Asks a store whether it serves; calls at the same time share one question. */
  async probe(address: string, deadline: Deadline): Promise<Reachability> {
    if (this.#isClosed) throw closedError();
    const { storeLivenessTimeoutMs } = this.#settings;
    const task = {
      deadline,
      what: `probe ${address}`,
      run: (signal: AbortSignal) =>
        probeStore(this.#shared, { address, signal, timeoutMs: storeLivenessTimeoutMs }),
    };
    return await this.#probes.run(address, task);
  }

  /** Closes the connections to an address; with a version, only those that are not newer. */
  closeAddress(address: string, version?: number): void {
    this.#shared.transport.closeAddress(address, version);
  }

  /** What goes on, by store. */
  stats(): ChannelStats[] {
    return [...this.#channels.values()].map((channel) => channel.stats());
  }

  /** Fails everything that is under way. The transport is left to whoever made it. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#sweeper?.cancel();
    const cause = closedError();
    for (const channel of this.#channels.values()) channel.close(cause);
    this.#channels.clear();
    for (const end of [...this.#intercepted]) end(cause);
  }

  #send<I, O>(
    store: StoreRef,
    command: Command<I, O>,
    request: StoreRequest<I>,
    options: StoreCallOptions,
  ): Promise<O> {
    if (this.#isClosed) return Promise.reject(closedError());
    const sent: ChannelRequest = {
      command: command as Command<unknown, unknown>,
      context: command.hasContext ? request.context : NO_CONTEXT,
      body: request.body,
      deadline: options.deadline,
      priority: options.priority ?? 0,
      forwardedHost: options.forwardedHost,
    };
    const channel = this.#channels.get(store.address) ?? this.#open(store.address);
    if (command.name === "KvResolveLock") {
      const key = collapseKey(request.plain as BodyOf<"KvResolveLock">, store, options);
      if (key !== undefined) return this.#collapse(key, channel, sent) as Promise<O>;
    }
    return channel.send(sent) as Promise<O>;
  }

  /** One request for all who resolve the same transaction in the same region at the same time. */
  #collapse(key: string, channel: StoreChannel, request: ChannelRequest): Promise<unknown> {
    return this.#resolves.run(key, {
      deadline: request.deadline,
      what: `call ${request.command.name} at ${channel.address}`,
      // It ends when all who wait have left, not when the first one does.
      run: (signal) =>
        channel.send({
          ...request,
          deadline: Deadline.after(this.#shared.clock, COLLAPSED_TIMEOUT_MS, signal),
        }),
    });
  }

  #callIntercepted<I, O>(
    store: StoreRef,
    command: Command<I, O>,
    request: StoreRequest<I>,
    options: StoreCallOptions,
  ): Promise<O> {
    const call: InterceptedCall = {
      method: command.name,
      attempt: options.attempt ?? 1,
      operation: options.operation ?? command.name,
      store,
      regionId: options.regionId,
      request: request.plain,
      signal: options.deadline.signal,
    };
    const send = intercept(this.#interceptors, (seen) => {
      const plain = seen.request as I;
      // An interceptor may pass on another body than the one that was encoded.
      const sent = plain === request.plain ? request : { ...request, plain, body: command.encode(plain) };
      return this.#send(store, command, sent, options);
    });
    return this.#inTime(startIntercepted(send, call) as Promise<O>, command, { store, options });
  }

  // Interceptors are foreign code, which may never settle: the time limit, the signal and closing end
  // the call around them. Whether it was sent is not known then.
  #inTime<I, O>(
    answer: Promise<O>,
    command: Command<I, O>,
    { store, options }: { readonly store: StoreRef; readonly options: StoreCallOptions },
  ): Promise<O> {
    return new Promise((resolve, reject) => {
      const end = (reason: unknown): void => {
        leave();
        if (!TikvError.is(reason)) return reject(reason);
        const message = `Cannot call ${command.name} at ${store.address}: ${reason.message}`;
        const isTimeout = reason.kind === "timeout";
        reject(
          new RpcError(reason.kind, message, {
            code: isTimeout ? GRPC.DEADLINE_EXCEEDED : GRPC.CANCELLED,
            origin: "caller",
            isMaybeExecuted: true,
            cause: reason,
          }),
        );
      };
      const leave = (): void => {
        stop();
        this.#intercepted.delete(end);
      };
      let stop = (): void => {};
      this.#intercepted.add(end);
      // A little later than the request itself, which knows better what became of it.
      const { clock, at, signal, startedAt } = options.deadline;
      const late = new Deadline(clock, at + GRACE_MS, signal, startedAt);
      stop = late.onOver("wait for an interceptor", end);
      answer.then((reply) => {
        leave();
        if (reply !== undefined) return resolve(reply);
        reject(
          new TikvError("misuse", `Cannot use the reply to ${command.name}: an interceptor returned none`),
        );
      }, (error) => {
        leave();
        reject(error);
      });
    });
  }

  #open(address: string): StoreChannel {
    const channel = new StoreChannel(address, this.#shared);
    this.#channels.set(address, channel);
    this.#sweepLater();
    return channel;
  }

  #sweepLater(): void {
    if (this.#sweeper !== undefined || this.#settings.idleCloseMs === Infinity) return;
    this.#sweeper = this.#shared.clock.timer(this.#settings.idleCloseMs, () => this.#sweep(), {
      background: true,
    });
  }

  /** Lets go of stores that nothing was sent to since the last time. */
  #sweep(): void {
    this.#sweeper = undefined;
    for (const channel of [...this.#channels.values()]) {
      if (!channel.sweep()) continue;
      this.#channels.delete(channel.address);
      channel.retire();
    }
    if (this.#channels.size > 0) this.#sweepLater();
  }
}

/** Also turns what an interceptor throws into a rejection. */
async function startIntercepted(
  send: (call: InterceptedCall) => Promise<unknown>,
  call: InterceptedCall,
): Promise<unknown> {
  return await send(call);
}

/**
 * What two requests must have in common to be one. Only the form that resolves all locks of a
 * transaction in a region is shared; unlike client-go's, the key has the commit timestamp.
 */
function collapseKey(
  body: BodyOf<"KvResolveLock">,
  store: StoreRef,
  { regionId, forwardedHost = "" }: StoreCallOptions,
): string | undefined {
  const {
    keys = [],
    txnInfos = [],
    startVersion = 0n,
    commitVersion = 0n,
    isAsync = false,
    isTxnFile = false,
  } = body;
  if (regionId === undefined || keys.length > 0 || txnInfos.length > 0) return undefined;
  return [store.address, forwardedHost, regionId, startVersion, commitVersion, isAsync, isTxnFile].join(" ");
}

function closedError(): TikvError {
  return new TikvError("closed", "Cannot send the request: the client is closed");
}

const NO_CONTEXT = new Uint8Array(0);

// `ReadTimeoutShort` of client-go; it ends before that when all who wait have left.
const COLLAPSED_TIMEOUT_MS = 30_000;

const GRACE_MS = 5;

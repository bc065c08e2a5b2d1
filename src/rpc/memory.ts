// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "../async/clock.ts";
import type { Deadline } from "../async/deadline.ts";
import { TikvError } from "../errors.ts";
import { errorOfStatus, GRPC } from "./grpc_status.ts";
import type { CallLink } from "./memory_call.ts";
import { MemoryCall } from "./memory_call.ts";
import { Turns } from "./memory_turns.ts";
import type { Listener, Service } from "./server.ts";
import type {
  ConnectionId,
  Endpoint,
  Metadata,
  StreamHandlers,
  Transport,
  UnaryReply,
  WireOptions,
  WireStatus,
  WireStream,
} from "./transport.ts";

/** One direction between a client and an address. */
export interface MemoryLink {
  readonly address: string;
  readonly direction: "request" | "reply";
}

/** Options of a {@linkcode MemoryNetwork}. */
export interface MemoryNetworkOptions {
  /** How long the next message on a link travels; asked for each message. 0 is a microtask. */
  readonly latencyMs?: ((link: MemoryLink) => number) | undefined;
  /** Hands on copies, so that writing to a message after it was sent shows. Costs time. */
  readonly copiesMessages?: boolean | undefined;
  /** Undelivered messages of a stream at which `send` returns false; unlimited by default. */
  readonly windowMessages?: number | undefined;
}

/** What an address does with calls: serve them, refuse them, or take them and say nothing. */
export type LinkState = "up" | "refusing" | "silent";

interface Site {
  readonly address: string;
  service: Service | undefined;
  state: LinkState;
  /** Versions of the connections so far, shared by all transports. */
  versions: number;
  readonly calls: Set<MemoryCall>;
}

/**
 * A network in memory: services listen at addresses, transports call them. Messages arrive
 * asynchronously and in order; with the default latency they need no timers at all.
 *
 * Messages are handed on without a copy, so neither side may change one after sending it.
 */
export class MemoryNetwork {
  readonly #environment: Environment;
  readonly #options: MemoryNetworkOptions;
  readonly #sites = new Map<string, Site>();

  constructor(environment: Environment, options: MemoryNetworkOptions = {}) {
    this.#environment = environment;
    this.#options = options;
  }

  /** Serves an address. It is a mistake to listen twice at the same one. */
  listen(address: string, service: Service): Listener {
    const site = this.#site(address);
    if (site.service !== undefined) throw new TypeError(`Cannot listen: "${address}" is in use`);
    site.service = service;
    return {
      address,
      close: (): Promise<void> => {
        if (site.service === service) {
          site.service = undefined;
          this.cut(address);
        }
        return Promise.resolve();
      },
      disconnectAll: () => this.cut(address),
    };
  }

  /** A client's way into this network. */
  transport(): Transport {
    return new MemoryTransport(this.#environment, (address) => this.#site(address), this.#options);
  }

  /** Loses every connection to an address, as a crash or a pulled cable does. New ones work. */
  cut(address: string): void {
    for (const call of [...this.#site(address).calls]) call.cut("the connection was lost");
  }

  /**
   * Changes what an address does with calls. `"silent"` holds everything in both directions until
   * the address is `"up"` again; `"refusing"` ends new calls and leaves old ones alone.
   */
  setLink(address: string, state: LinkState): void {
    const site = this.#site(address);
    site.state = state;
    if (state !== "silent") { for (const call of [...site.calls]) call.resume(); }
  }

  /** Refuses an address and loses the connections that it has. Undone by `setLink(address, "up")`. */
  isolate(address: string): void {
    this.setLink(address, "refusing");
    this.cut(address);
  }

  /** Number of calls to an address that have not ended. */
  openCalls(address: string): number {
    return this.#site(address).calls.size;
  }

  #site(address: string): Site {
    let site = this.#sites.get(address);
    if (site === undefined) {
      site = { address, service: undefined, state: "up", versions: 0, calls: new Set() };
      this.#sites.set(address, site);
    }
    return site;
  }
}

class MemoryTransport implements Transport {
  readonly #environment: Environment;
  readonly #siteOf: (address: string) => Site;
  readonly #options: MemoryNetworkOptions;
  readonly #links = new Map<string, CallLink>();
  readonly #turns: Turns;
  // The calls of this transport by the connection that carries them.
  readonly #connections = new Map<string, { readonly id: ConnectionId; readonly calls: Set<MemoryCall> }>();
  #isClosed = false;

  constructor(environment: Environment, siteOf: (address: string) => Site, options: MemoryNetworkOptions) {
    this.#environment = environment;
    this.#turns = new Turns(environment.clock);
    this.#siteOf = siteOf;
    this.#options = options;
  }

  unary(endpoint: Endpoint, path: string, message: Uint8Array, options: WireOptions): Promise<UnaryReply> {
    return new Promise((resolve, reject) => {
      let reply: Uint8Array | undefined;
      let headers: Metadata = {};
      let received = 0;
      const stream = this.stream(endpoint, path, {
        onHeaders: (metadata) => {
          headers = metadata;
        },
        onMessage: (message) => {
          received++;
          reply = message;
        },
        onClose: (status) => {
          const end = status.code === GRPC.OK && received !== 1 ? wrongCount(status, received) : status;
          if (end.code === GRPC.OK && reply !== undefined) {
            resolve({ headers, trailers: status.trailers, message: reply });
          } else if (end.origin === "caller" && options.deadline.isAborted) {
            reject(options.deadline.signal?.reason);
          } else {
            reject(errorOfStatus(end, path, endpoint.address));
          }
        },
      }, options);
      stream.send(message);
      stream.end();
    });
  }

  stream(endpoint: Endpoint, path: string, handlers: StreamHandlers, options: WireOptions): WireStream {
    const { address } = endpoint;
    const connection = this.#connection(endpoint);
    const call = new MemoryCall(
      { address, path, connection: connection.id, siblings: connection.calls },
      this.#link(address),
      handlers,
      options,
    );
    this.#siteOf(address).calls.add(call);
    if (this.#isClosed) call.cut("the transport is closed", closedError());
    return call;
  }

  connect(endpoint: Endpoint, deadline: Deadline): Promise<void> {
    // A call of no method: it arrives, is answered, and so shows that the address serves.
    return new Promise((resolve, reject) => {
      this.stream(endpoint, "", {
        onMessage: () => {},
        onClose: (status) => {
          if (status.origin === "peer") resolve();
          else if (deadline.isAborted) reject(deadline.signal?.reason);
          else reject(errorOfStatus(status, "connect", endpoint.address));
        },
      }, { deadline });
    });
  }

  closeAddress(address: string, version: number = Infinity): void {
    for (const [key, { id, calls }] of [...this.#connections]) {
      if (id.address !== address || id.version > version) continue;
      this.#connections.delete(key);
      for (const call of [...calls]) call.cut("the connection was closed");
    }
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const { calls } of this.#connections.values()) {
      for (const call of [...calls]) call.cut("the transport is closed", closedError());
    }
    this.#connections.clear();
    return Promise.resolve();
  }

  #connection(endpoint: Endpoint): { readonly id: ConnectionId; readonly calls: Set<MemoryCall> } {
    const { address, lane = 0 } = endpoint;
    const key = `${lane} ${address}`;
    let connection = this.#connections.get(key);
    if (connection === undefined) {
      connection = { id: { address, version: ++this.#siteOf(address).versions }, calls: new Set() };
      this.#connections.set(key, connection);
    }
    return connection;
  }

  #link(address: string): CallLink {
    let link = this.#links.get(address);
    if (link !== undefined) return link;
    const site = this.#siteOf(address);
    const { clock } = this.#environment;
    const { latencyMs = () => 0, copiesMessages = false, windowMessages = Infinity } = this.#options;
    const isHeld = (): boolean => site.state === "silent";
    const towards = (direction: MemoryLink["direction"]) => {
      const from: MemoryLink = { address, direction };
      const defer = (deliver: () => void): void => this.#turns.defer(deliver);
      return { clock, delayMs: () => latencyMs(from), defer, isHeld };
    };
    link = {
      request: towards("request"),
      reply: towards("reply"),
      windowMessages,
      copiesMessages,
      serviceOf: () => site.state === "refusing" ? undefined : serviceWithProbe(site.service),
      onSettled: (call) => site.calls.delete(call),
    };
    this.#links.set(address, link);
    return link;
  }
}

/** Answers the empty path of `connect()` itself; every other call is the service's. */
function serviceWithProbe(service: Service | undefined): Service | undefined {
  if (service === undefined) return undefined;
  return (call) => {
    if (call.path !== "") return service(call);
    call.end();
    return { onMessage: () => {} };
  };
}

function wrongCount(status: WireStatus, received: number): WireStatus {
  const cause = new TikvError(
    "protocol",
    `Cannot use the answer: it has ${received} messages instead of one`,
  );
  return {
    ...status,
    code: GRPC.INTERNAL,
    message: cause.message,
    origin: "transport",
    isMaybeExecuted: true,
    cause,
  };
}

function closedError(): TikvError {
  return new TikvError("closed", "Cannot call: the transport is closed");
}

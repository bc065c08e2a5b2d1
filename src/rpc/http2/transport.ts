// SPDX-License-Identifier: Apache-2.0

import type { Environment } from "../../async/clock.ts";
import { systemEnvironment } from "../../async/clock.ts";
import type { Deadline } from "../../async/deadline.ts";
import { TikvError } from "../../errors.ts";
import type { Observer } from "../../observe/events.ts";
import { guardObserver } from "../../observe/events.ts";
import { VERSION } from "../../version.ts";
import { assertMetadata } from "../grpc_metadata.ts";
import { errorOfStatus, GRPC } from "../grpc_status.ts";
import type {
  Endpoint,
  Metadata,
  StreamHandlers,
  Transport,
  UnaryReply,
  WireOptions,
  WireStatus,
  WireStream,
} from "../transport.ts";
import { parseAddress } from "./address.ts";
import type { CallPlan } from "./call.ts";
import { Http2Call } from "./call.ts";
import { ConnectionLost } from "./connection_lost.ts";
import type { DialTarget } from "./dial.ts";
import { Lane } from "./lane.ts";
import type { SessionLimits, SessionState } from "./session.ts";
import { SocketCount } from "./socket_count.ts";
import type { TlsOptions } from "./tls.ts";
import { assertTlsMaterial, loadTlsMaterial } from "./tls.ts";

/** Turns an advertised address into what is dialled. Asked again for each dial. */
export type ResolveEndpoint = (
  address: string,
  about: { readonly kind: Endpoint["kind"] },
) => DialTarget | Promise<DialTarget>;

/** Options of {@linkcode createHttp2Transport}. */
export interface Http2TransportOptions {
  readonly environment?: Environment | undefined;
  readonly observer?: Observer | undefined;
  /** Encrypts every connection. */
  readonly tls?: TlsOptions | undefined;
  /** By default an address is dialled as it is advertised. */
  readonly resolve?: ResolveEndpoint | undefined;
  /** From the start of a dial to the peer's SETTINGS. As the dial timeout of client-go.
   * @default {5000} */
  readonly connectTimeoutMs?: number | undefined;
  /** Silence, while calls are open or before a call on an idle connection, after which the peer is
   * asked for a sign of life. TiKV and PD allow pings this often.
   * @default {10000} */
  readonly pingIntervalMs?: number | undefined;
  /** @default {3000} */
  readonly pingTimeoutMs?: number | undefined;
  /** A connection without calls is closed after this long. As client-go does; well below the five
   * minutes and more after which load balancers and firewalls forget a silent connection.
   * @default {180000} */
  readonly idleCloseMs?: number | undefined;
  /** Calls that may wait for one connection before more are refused with `overloaded`.
   * @default {65536} */
  readonly maxWaitingCalls?: number | undefined;
  /** The largest message taken, unless the call says otherwise. A page of a scan is the largest
   * that TiKV sends; it is far below.
   * @default {268435456} */
  readonly maxMessageBytes?: number | undefined;
  /** Unsent bytes of one stream above which `send` returns false.
   * @default {1048576} */
  readonly sendBufferBytes?: number | undefined;
  readonly userAgent?: string | undefined;
}

/** What is open at the moment. */
export interface Http2Stats {
  readonly connections: Readonly<Record<Exclude<SessionState, "closed">, number>>;
  /** Streams that are open on the connections. */
  readonly streams: number;
  /** Calls that wait for a connection or for room on it. */
  readonly waitingCalls: number;
  /** Sockets, those of dials included. */
  readonly sockets: number;
}

/** A transport over HTTP/2, with its connections to look at. */
export interface Http2Transport extends Transport {
  stats(): Http2Stats;
}

/** The transport to servers on the network. Connects when it is used, nothing before. */
export function createHttp2Transport(options: Http2TransportOptions = {}): Http2Transport {
  if (options.tls !== undefined && options.tls.reload === undefined) assertTlsMaterial(options.tls);
  return new Transport2(options);
}

class Transport2 implements Http2Transport {
  readonly #options: Http2TransportOptions;
  readonly #environment: Environment;
  readonly #observer: Observer;
  readonly #limits: SessionLimits;
  readonly #callDefaults: Omit<CallPlan, "path">;
  readonly #lanes: Map<string, Lane[]> = new Map();
  readonly #sockets = new SocketCount();
  /** Of the whole transport, so that an address that is forgotten never gets an old version again. */
  #version = 0;
  #isClosed = false;

  constructor(options: Http2TransportOptions) {
    this.#options = options;
    this.#environment = options.environment ?? systemEnvironment;
    this.#observer = guardObserver(options.observer);
    this.#limits = {
      connectTimeoutMs: options.connectTimeoutMs ?? 5000,
      pingIntervalMs: options.pingIntervalMs ?? 10_000,
      pingTimeoutMs: options.pingTimeoutMs ?? 3000,
      idleCloseMs: options.idleCloseMs ?? 180_000,
    };
    this.#callDefaults = {
      scheme: options.tls === undefined ? "http" : "https",
      userAgent: options.userAgent ?? USER_AGENT,
      maxMessageBytes: options.maxMessageBytes ?? 256 * 1024 * 1024,
      sendBufferBytes: options.sendBufferBytes ?? 1024 * 1024,
    };
  }

  unary(endpoint: Endpoint, path: string, message: Uint8Array, options: WireOptions): Promise<UnaryReply> {
    return new Promise((resolve, reject) => {
      let headers: Metadata = {};
      let reply: Uint8Array | undefined;
      let replies = 0;
      const stream = this.stream(endpoint, path, {
        onHeaders(metadata): void {
          headers = metadata;
        },
        onMessage(bytes): void {
          // The receiver owns the message, and a view would pin the whole chunk.
          reply = bytes.byteLength < bytes.buffer.byteLength ? bytes.slice() : bytes;
          replies++;
        },
        onClose(status): void {
          if (status.code === GRPC.OK && reply !== undefined && replies === 1) {
            resolve({ headers, trailers: status.trailers, message: reply });
          } else reject(errorOfUnary(status, replies, path, endpoint.address));
        },
      }, options);
      stream.send(message);
      stream.end();
    });
  }

  stream(endpoint: Endpoint, path: string, handlers: StreamHandlers, options: WireOptions): WireStream {
    if (options.metadata !== undefined) assertMetadata(options.metadata);
    const lane = this.#laneOf(endpoint);
    const call = new Http2Call(lane, { ...this.#callDefaults, path }, handlers, options);
    if (this.#isClosed) call.refuse(closedLoss(), undefined);
    else lane.submit(call);
    return call;
  }

  async connect(endpoint: Endpoint, deadline: Deadline): Promise<void> {
    deadline.throwIfOver(`connect to ${endpoint.address}`);
    if (this.#isClosed) throw closedError();
    const lane = this.#laneOf(endpoint);
    await new Promise<void>((resolve, reject) => {
      const waiter = {
        start: (): boolean => {
          stop();
          resolve();
          return true;
        },
        refuse: (loss: ConnectionLost, connection: WireStatus["connection"]): void => {
          stop();
          reject(errorOfStatus(loss.status(connection, false), "connect", endpoint.address));
        },
      };
      const stop = deadline.onOver(`connect to ${endpoint.address}`, (reason) => {
        lane.leave(waiter);
        reject(reason);
      });
      lane.submit(waiter);
    });
  }

  closeAddress(address: string, version: number = Infinity): void {
    const lanes = this.#lanes.get(address);
    if (lanes === undefined) return;
    const loss = new ConnectionLost("the connection was closed by this client, it was given up");
    for (const lane of lanes) lane.closeSessions(version, loss);
    if (lanes.every((lane) => lane.isDisposable())) this.#lanes.delete(address);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const lanes of this.#lanes.values()) for (const lane of lanes) lane.close(closedLoss());
    this.#lanes.clear();
    await this.#sockets.whenNone();
  }

  stats(): Http2Stats {
    const connections = { connecting: 0, ready: 0, draining: 0 };
    let streams = 0;
    let waitingCalls = 0;
    for (const lanes of this.#lanes.values()) {
      for (const lane of lanes) {
        waitingCalls += lane.waitingCalls;
        for (const session of lane.sessions) {
          streams += session.streams;
          if (session.state !== "closed") connections[session.state]++;
        }
      }
    }
    return { connections, streams, waitingCalls, sockets: this.#sockets.count };
  }

  #laneOf(endpoint: Endpoint): Lane {
    const { address } = endpoint;
    const index = endpoint.lane ?? 0;
    let lanes = this.#lanes.get(address);
    if (lanes === undefined) {
      lanes = [];
      this.#lanes.set(address, lanes);
    }
    while (lanes.length <= index) lanes.push(this.#newLane(endpoint));
    return lanes[index] ?? this.#newLane(endpoint);
  }

  #newLane(endpoint: Endpoint): Lane {
    const { address, kind } = endpoint;
    const { clock, random } = this.#environment;
    const { resolve, tls } = this.#options;
    return new Lane({
      address,
      clock,
      random,
      observer: this.#observer,
      maxWaitingCalls: this.#options.maxWaitingCalls ?? 65_536,
      sessionPlan: () => ({
        address,
        clock,
        sockets: this.#sockets,
        id: { address, version: ++this.#version },
        limits: this.#limits,
        target: () => resolve === undefined ? parseAddress(address) : resolve(address, { kind }),
        tls: tls === undefined ? undefined : () => loadTlsMaterial(tls),
      }),
    });
  }
}

function errorOfUnary(status: WireStatus, replies: number, path: string, address: string): unknown {
  const { origin, cause, code } = status;
  if (code === GRPC.OK) {
    const error = new TikvError(
      "protocol",
      `Cannot use the answer: it has ${replies} messages instead of one`,
    );
    return errorOfStatus(
      { ...status, code: GRPC.INTERNAL, message: error.message, origin: "transport", cause: error },
      path,
      address,
    );
  }
  // The caller's own reason goes back as it is.
  if (origin === "caller" && code === GRPC.CANCELLED) return cause;
  return errorOfStatus(status, path, address);
}

function closedError(): TikvError {
  return new TikvError("closed", "Cannot send the request: the client is closed");
}

function closedLoss(): ConnectionLost {
  return new ConnectionLost("the client is closed", { cause: closedError() });
}

const USER_AGENT = `tikv-client-ts/${VERSION}`;

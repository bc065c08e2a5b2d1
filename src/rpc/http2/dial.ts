// SPDX-License-Identifier: Apache-2.0
// From an address to a connection that may carry calls: resolve, socket, TLS, HTTP/2, SETTINGS.
//
// The socket is ours and is handed to node:http2. Only so is every end of it seen: a TLS alert
// after the handshake destroys a session of Node without any event, and Deno has no
// `session.socket` when it says "connect". Listeners stay for the life of the socket: an error
// that arrives when nobody listens ends the process (or, in Deno, spins its event loop).

import http2 from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import net from "node:net";
import type { Socket } from "node:net";
import tls from "node:tls";
import type { Clock } from "../../async/clock.ts";
import { TikvError } from "../../errors.ts";
import { codeOf, ConnectionLost, lossOfError } from "./connection_lost.ts";
import { sniffPeer } from "./sniff.ts";
import type { SocketCount } from "./socket_count.ts";
import type { TlsMaterial } from "./tls.ts";
import { describeTlsFailure, tlsConnectOptions } from "./tls.ts";

/** Where a connection really goes. */
export interface DialTarget {
  /** Host name or IP address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** Name that the certificate must carry; the host when absent. */
  readonly serverName?: string | undefined;
}

/** What there is to dial. */
export interface DialPlan {
  /** The advertised address, for `:authority`. */
  readonly address: string;
  readonly clock: Clock;
  /** Counts what is open. */
  readonly sockets: SocketCount;
  readonly target: () => DialTarget | Promise<DialTarget>;
  readonly tls: (() => TlsMaterial | Promise<TlsMaterial>) | undefined;
}

/** A connection on which the peer's SETTINGS have arrived. */
export interface Connected {
  readonly h2: ClientHttp2Session;
  readonly socket: Socket;
}

/** Is told how the dial went, and later once or more often that the connection is gone. */
export interface DialListener {
  connected(connected: Connected): void;
  lost(loss: ConnectionLost): void;
}

/** A dial that is under way. */
export interface Dialing {
  /** Gives up: nothing is reported after that. */
  cancel(): void;
  /** What has not happened yet, as the beginning of a sentence. */
  describeStage(): string;
}

/** Starts to dial. */
export function dial(plan: DialPlan, listener: DialListener): Dialing {
  const attempt = new DialAttempt(plan, listener);
  attempt.start();
  return attempt;
}

type Stage = "preparing" | "socket" | "handshake" | "settings" | "connected" | "over";

const WAITING_FOR: Readonly<Record<Stage, string>> = {
  preparing: "the address was not resolved or the TLS material not loaded",
  socket: "no TCP connection was made",
  handshake: "the TLS handshake did not end",
  settings: "the peer took the connection but sent no HTTP/2 SETTINGS (is it a gRPC server?)",
  connected: "nothing is waited for",
  over: "the dial did not end",
};

class DialAttempt implements Dialing {
  readonly #plan: DialPlan;
  readonly #listener: DialListener;
  #stage: Stage = "preparing";
  #socket: Socket | undefined;
  #h2: ClientHttp2Session | undefined;
  #stopSniff: (() => void) | undefined;

  constructor(plan: DialPlan, listener: DialListener) {
    this.#plan = plan;
    this.#listener = listener;
  }

  start(): void {
    this.#prepare().then(
      ([target, material]) => this.#open(target, material),
      (error) => this.#fail(lossOfError(error)),
    );
  }

  cancel(): void {
    this.#stage = "over";
    this.#discard(new ConnectionLost("the dial was given up"));
  }

  describeStage(): string {
    return WAITING_FOR[this.#stage];
  }

  async #prepare(): Promise<[DialTarget, TlsMaterial | undefined]> {
    const target = await this.#plan.target();
    const material = this.#plan.tls === undefined ? undefined : await this.#plan.tls();
    return [target, material];
  }

  #open(target: DialTarget, material: TlsMaterial | undefined): void {
    if (this.#stage === "over") return;
    this.#stage = "socket";
    let socket: Socket;
    try {
      socket = material === undefined
        ? net.connect({ host: target.host, port: target.port })
        : tls.connect(tlsConnectOptions(target, material));
    } catch (error) {
      // Material that cannot be parsed is found out here.
      this.#fail(
        material === undefined ? lossOfError(error) : describeTlsFailure(error, target, material),
      );
      return;
    }
    this.#socket = socket;
    this.#plan.sockets.add(socket);
    socket.on("error", (error) => this.#broken(error, target, material));
    socket.on("close", () => this.#broken(undefined, target, material));
    socket.on("connect", () => {
      if (this.#stage !== "socket") return;
      socket.setNoDelay(true);
      if (material === undefined) this.#speak(socket, target, material);
      else this.#stage = "handshake";
    });
    if (material !== undefined) {
      socket.on("secureConnect", () => {
        if (this.#stage === "socket" || this.#stage === "handshake") this.#speak(socket, target, material);
      });
    }
  }

  #speak(socket: Socket, target: DialTarget, material: TlsMaterial | undefined): void {
    this.#stage = "settings";
    const scheme = material === undefined ? "http" : "https";
    const h2 = http2.connect(`${scheme}://${this.#plan.address}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    this.#h2 = h2;
    h2.on("error", (error) => this.#broken(error, target, material));
    h2.on("close", () => this.#broken(undefined, target, material));
    h2.once("remoteSettings", () => {
      if (this.#stage !== "settings") return;
      this.#stage = "connected";
      this.#listener.connected({ h2, socket });
    });
  }

  /** The socket or the session ended, with or without an error. */
  #broken(error: unknown, target: DialTarget, material: TlsMaterial | undefined): void {
    const stage = this.#stage;
    if (stage === "over") return;
    if (stage === "connected") {
      this.#listener.lost(error === undefined ? closedByPeer() : lossOfError(error));
      return;
    }
    if (material !== undefined && error !== undefined && !NETWORK_CODES.has(codeOf(error) ?? "")) {
      this.#fail(describeTlsFailure(error, target, material));
    } else if (stage === "settings") {
      this.#explain(error, target, material);
    } else {
      this.#fail(error === undefined ? closedByPeer() : lossOfError(error));
    }
  }

  /** The peer took the connection but did not speak HTTP/2: finds out what it speaks instead. */
  #explain(error: unknown, target: DialTarget, material: TlsMaterial | undefined): void {
    this.#stage = "over";
    const seen = error === undefined ? closedByPeer() : lossOfError(error);
    this.#discard(seen);
    this.#stopSniff = sniffPeer(this.#plan, target, material, (finding) => {
      const message = finding ?? `${seen.message} before it sent HTTP/2 SETTINGS${hint(material)}`;
      const cause = finding === undefined ? seen.cause : new TikvError("protocol", finding, { cause: error });
      this.#listener.lost(new ConnectionLost(message, { cause }));
    });
  }

  #fail(loss: ConnectionLost): void {
    if (this.#stage === "over") return;
    this.#stage = "over";
    this.#discard(loss);
    this.#listener.lost(loss);
  }

  #discard(loss: ConnectionLost): void {
    this.#stopSniff?.();
    // Not from within an event of the session, there it takes Deno's process down.
    this.#plan.clock.timer(0, () => {
      this.#h2?.destroy(loss, http2.constants.NGHTTP2_CANCEL);
      this.#socket?.destroy();
    });
  }
}

/** What to look at when a peer closes without a word; it may as well have been stopped. */
function hint(material: TlsMaterial | undefined): string {
  if (material === undefined) return " (does it expect TLS?)";
  return material.cert === undefined ? "" : " (did it refuse the certificate of the client?)";
}

function closedByPeer(): ConnectionLost {
  return new ConnectionLost("the peer closed the connection");
}

/** Errors of the network rather than of TLS. */
const NETWORK_CODES: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
]);

/**
 * Receive window of one stream. By settings only: `setLocalWindowSize()` breaks the flow control
 * of Bun for messages of a few MiB. The window of the connection stays at 64 KiB, which the
 * runtimes refill as they read; on loopback larger ones were not faster.
 */
const STREAM_WINDOW_BYTES = 1 << 20;

/** Memory of a session in MB. The default of 10 resets streams with ENHANCE_YOUR_CALM under load. */
const SESSION_MEMORY_MB = 4096;

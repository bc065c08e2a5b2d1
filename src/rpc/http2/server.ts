// SPDX-License-Identifier: Apache-2.0
// The server half over sockets: raw gRPC framing on node:http2, for clients in other processes and
// other languages.

import http2 from "node:http2";
import type { Http2Server } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { Clock } from "../../async/clock.ts";
import { systemClock } from "../../async/clock.ts";
import type { Listener, Service } from "../server.ts";
import { codeOf } from "./connection_lost.ts";
import { serveStream } from "./server_call.ts";
import type { TlsMaterial } from "./tls.ts";
import { assertTlsMaterial } from "./tls.ts";

/** Certificates of a server. */
export interface ListenTlsOptions extends Pick<TlsMaterial, "ca" | "cert" | "key"> {
  /** Refuses clients without a certificate that `ca` issued. */
  readonly requireClientCertificate?: boolean | undefined;
}

/** Options of {@linkcode listenHttp2}. */
export interface ListenOptions {
  /** @default {"127.0.0.1"} */
  readonly host?: string | undefined;
  /** 0 takes a free one.
   * @default {0} */
  readonly port?: number | undefined;
  readonly tls?: ListenTlsOptions | undefined;
  /** Streams of one connection. As the default of TiKV.
   * @default {1024} */
  readonly maxConcurrentStreams?: number | undefined;
  /** @default {268435456} */
  readonly maxMessageBytes?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** Serves gRPC over HTTP/2; resolves when the port is bound. */
export async function listenHttp2(service: Service, options: ListenOptions = {}): Promise<Listener> {
  const host = options.host ?? "127.0.0.1";
  const port = options.port ?? 0;
  const sockets: Set<Socket> = new Set();
  const server = createServer(options);
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.setNoDelay(true);
    // A peer that goes away in the middle is its own business; the streams hear of it.
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
  };
  server.on("connection", keep);
  server.on("sessionError", () => {});
  server.on("session", (session) => session.on("error", () => {}));
  await bind(server, host, port);
  const address = addressOf(server.address() as AddressInfo);
  const plan = {
    service,
    localAddress: address,
    clock: options.clock ?? systemClock,
    maxMessageBytes: options.maxMessageBytes ?? 256 * 1024 * 1024,
  };
  server.on("stream", (stream, headers) => serveStream(plan, stream, headers));
  const disconnectAll = (): void => {
    for (const socket of [...sockets]) socket.destroy();
  };
  let closing: Promise<void> | undefined;
  return {
    address,
    disconnectAll,
    close(): Promise<void> {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        disconnectAll();
      });
      return closing;
    },
  };
}

function createServer(options: ListenOptions): Http2Server {
  const settings = {
    settings: {
      maxConcurrentStreams: options.maxConcurrentStreams ?? 1024,
      initialWindowSize: STREAM_WINDOW_BYTES,
    },
    maxSessionMemory: SESSION_MEMORY_MB,
    // Clients that cancel many calls are no attackers here.
    streamResetBurst: 1_000_000,
    streamResetRate: 1_000_000,
  };
  const { tls } = options;
  if (tls === undefined) return http2.createServer(settings);
  assertTlsMaterial(tls);
  const text = (pem: string | Uint8Array): string =>
    typeof pem === "string" ? pem : new TextDecoder().decode(pem);
  return http2.createSecureServer({
    ...settings,
    allowHTTP1: false,
    ...(tls.ca === undefined ? {} : { ca: text(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: text(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: text(tls.key) }),
    requestCert: tls.requireClientCertificate === true,
    rejectUnauthorized: tls.requireClientCertificate === true,
  });
}

function bind(server: Http2Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      const why = codeOf(error) === "EADDRINUSE" ? "the port is in use" : error.message;
      reject(new Error(`Cannot listen on ${host}:${port}: ${why}`, { cause: error }));
    };
    server.once("error", failed);
    server.listen({ host, port }, () => {
      server.off("error", failed);
      server.on("error", () => {});
      resolve();
    });
  });
}

function addressOf({ address, port, family }: AddressInfo): string {
  return String(family).endsWith("6") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** By settings only: `setLocalWindowSize()` breaks the flow control of Bun. */
const STREAM_WINDOW_BYTES = 1 << 20;

/** In MB; the default of 10 resets streams with ENHANCE_YOUR_CALM under load. */
const SESSION_MEMORY_MB = 4096;

// SPDX-License-Identifier: Apache-2.0
// What does a peer speak that does not speak HTTP/2? node:http2 only says "protocol error", so the
// answer is found on a second connection, by reading its first bytes.

import net from "node:net";
import tls from "node:tls";
import type { Clock } from "../../async/clock.ts";
import type { DialTarget } from "./dial.ts";
import type { SocketCount } from "./socket_count.ts";
import type { TlsMaterial } from "./tls.ts";
import { tlsConnectOptions } from "./tls.ts";

/**
 * Calls back once with what the peer speaks, or undefined when it said nothing that tells. The
 * returned function gives up without calling back.
 */
export function sniffPeer(
  plan: { readonly clock: Clock; readonly sockets: SocketCount },
  target: DialTarget,
  material: TlsMaterial | undefined,
  callback: (finding: string | undefined) => void,
): () => void {
  const socket = material === undefined
    ? net.connect({ host: target.host, port: target.port })
    : tls.connect(tlsConnectOptions(target, material));
  plan.sockets.add(socket);
  let isDone = false;
  const stop = (): void => {
    isDone = true;
    timer.cancel();
    socket.destroy();
  };
  const report = (finding: string | undefined): void => {
    if (isDone) return;
    stop();
    callback(finding);
  };
  const timer = plan.clock.timer(SNIFF_MS, () => report(undefined), { background: true });
  socket.on("error", () => report(undefined));
  socket.on("close", () => report(undefined));
  socket.on("data", (bytes: Uint8Array) => report(describe(bytes)));
  socket.on(material === undefined ? "connect" : "secureConnect", () => socket.write(OPENING));
  return stop;
}

function describe(bytes: Uint8Array): string | undefined {
  let text = "";
  for (const byte of bytes.subarray(0, 64)) {
    if (byte < 0x20 || byte > 0x7e) break;
    text += String.fromCharCode(byte);
  }
  if (text.startsWith("HTTP/")) return `the peer answered with "${text}": it is not a gRPC server`;
  // RFC 8446 5.1: a record of type alert (21) with a version that begins with 3.
  if (bytes[0] === 0x15 && bytes[1] === 0x03) return "the peer expects TLS, and the client uses none";
  // RFC 9113 6.5: nine bytes of header with type 4 on stream 0 are SETTINGS: it does speak HTTP/2.
  if (bytes.length >= 9 && bytes[3] === 0x04) return undefined;
  const hex = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const shown = text === "" ? `the bytes ${hex}` : `"${text}"`;
  return `the peer answered with ${shown}: it is not a gRPC server`;
}

/** How long the peer may take to say something. */
const SNIFF_MS = 500;

/** The preface of an HTTP/2 client and empty SETTINGS (RFC 9113 3.4). */
const OPENING = Uint8Array.from([
  ...new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  ...[0, 0, 0, 4, 0, 0, 0, 0, 0],
]);

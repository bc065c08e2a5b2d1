// SPDX-License-Identifier: Apache-2.0
// A server that speaks HTTP/2 frame by frame as a test tells it to, also wrongly. It reads frames
// but never decodes headers: a test knows what it called.

import net from "node:net";

/** Frame types of RFC 9113 6. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
} as const;

/** END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING. */
export const END_OR_ACK = 1;
const END_HEADERS = 4;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

/** One connection of a client to the peer. */
export class PeerConnection {
  readonly socket: net.Socket;
  /** Everything that came and was not taken, in order. */
  readonly frames: Frame[] = [];
  isClosed = false;
  /** Answers pings and acknowledges settings by itself. */
  isPolite = true;
  #buffer: Uint8Array = new Uint8Array(0);
  #prefaceLeft = 24;
  #hasGreeted = false;
  #owesAck = false;
  #wake: (() => void)[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Uint8Array) => this.#feed(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.isClosed = true;
      this.#notify();
    });
  }

  /** Takes the next frame of a type, waiting for it. */
  async next(type: number): Promise<Frame> {
    for (;;) {
      const index = this.frames.findIndex((frame) => frame.type === type);
      const found = this.frames[index];
      if (found !== undefined) {
        this.frames.splice(index, 1);
        return found;
      }
      if (this.isClosed) throw new Error(`The connection closed before a frame of type ${type}`);
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  send(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array(0)): void {
    const head = Uint8Array.of(
      payload.length >>> 16,
      payload.length >>> 8,
      payload.length,
      type,
      flags,
      ...uint32(streamId),
    );
    this.socket.write(Uint8Array.from([...head, ...payload]));
  }

  /** Sends SETTINGS, a list of identifier and value. */
  settings(...pairs: readonly (readonly [number, number])[]): void {
    const payload = pairs.flatMap(([id, value]) => [id >>> 8, id & 0xff, ...uint32(value)]);
    this.send(FRAME.SETTINGS, 0, 0, Uint8Array.from(payload));
    this.#hasGreeted = true;
    this.#acknowledge();
  }

  goaway(lastStreamId: number, code: number = 0): void {
    this.send(FRAME.GOAWAY, 0, 0, Uint8Array.from([...uint32(lastStreamId), ...uint32(code)]));
  }

  reset(streamId: number, code: number): void {
    this.send(FRAME.RST_STREAM, 0, streamId, Uint8Array.from(uint32(code)));
  }

  headers(streamId: number, fields: Readonly<Record<string, string>>, isLast: boolean = false): void {
    const block: number[] = [];
    for (const [name, value] of Object.entries(fields)) {
      // HPACK: literal without indexing, new name (RFC 7541 6.2.2).
      block.push(0, name.length, ...ascii(name), value.length, ...ascii(value));
    }
    const flags = END_HEADERS | (isLast ? END_OR_ACK : 0);
    this.send(FRAME.HEADERS, flags, streamId, Uint8Array.from(block));
  }

  /** A whole answer with one message and status OK. */
  reply(streamId: number, message: Uint8Array = new Uint8Array(0)): void {
    this.headers(streamId, { ":status": "200", "content-type": "application/grpc" });
    this.send(FRAME.DATA, 0, streamId, Uint8Array.from([0, ...uint32(message.length), ...message]));
    this.headers(streamId, { "grpc-status": "0" }, true);
  }

  #feed(chunk: Uint8Array): void {
    const skipped = Math.min(this.#prefaceLeft, chunk.length);
    this.#prefaceLeft -= skipped;
    const all = new Uint8Array(this.#buffer.length + chunk.length - skipped);
    all.set(this.#buffer);
    all.set(chunk.subarray(skipped), this.#buffer.length);
    let at = 0;
    while (all.length - at >= 9) {
      const view = new DataView(all.buffer, at);
      const length = view.getUint32(0) >>> 8;
      if (all.length - at - 9 < length) break;
      this.#took({
        type: view.getUint8(3),
        flags: view.getUint8(4),
        streamId: view.getUint32(5) & 0x7fffffff,
        payload: all.slice(at + 9, at + 9 + length),
      });
      at += 9 + length;
    }
    this.#buffer = all.slice(at);
  }

  #took(frame: Frame): void {
    const isAck = (frame.flags & END_OR_ACK) !== 0;
    if (this.isPolite && !isAck) {
      if (frame.type === FRAME.SETTINGS) {
        this.#owesAck = true;
        this.#acknowledge();
      }
      if (frame.type === FRAME.PING) this.send(FRAME.PING, END_OR_ACK, 0, frame.payload);
    }
    this.frames.push(frame);
    this.#notify();
  }

  /** Own SETTINGS have to come first (RFC 9113 3.4). */
  #acknowledge(): void {
    if (!this.#hasGreeted || !this.#owesAck) return;
    this.#owesAck = false;
    this.send(FRAME.SETTINGS, END_OR_ACK, 0);
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }
}

/** A listening peer. */
export interface Peer {
  readonly address: string;
  readonly connections: readonly PeerConnection[];
  close(): Promise<void>;
}

/** Starts a peer; by default it greets each connection with empty SETTINGS. */
export async function startPeer(
  greet: (connection: PeerConnection) => void = (connection) => connection.settings(),
): Promise<Peer> {
  const connections: PeerConnection[] = [];
  const server = net.createServer((socket) => {
    const connection = new PeerConnection(socket);
    connections.push(connection);
    greet(connection);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    connections,
    close(): Promise<void> {
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const { socket } of connections) socket.destroy();
      });
    },
  };
}

/** A frame's 32-bit number, big endian. */
export function uint32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

function ascii(text: string): number[] {
  return Array.from(text, (letter) => letter.charCodeAt(0));
}

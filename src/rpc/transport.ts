// SPDX-License-Identifier: Apache-2.0
// The seam between the client and the network: whole gRPC messages as bytes, in and out. It knows
// nothing of protobuf. Two implementations: HTTP/2 (`http2/`) and in memory (`memory.ts`).

import type { Deadline } from "../async/deadline.ts";

/** gRPC metadata with lower-case names; a value of a name that ends in `-bin` is base64 text. */
export type Metadata = Readonly<Record<string, string>>;

/** Who is called. The transport turns it into an address that can be dialled. */
export interface Endpoint {
  /** `host:port` as the cluster advertises it; also the key under which connections are kept. */
  readonly address: string;
  readonly kind: "pd" | "store";
  /** Which of several connections to the address to use; 0 when absent. */
  readonly lane?: number | undefined;
}

/** Identifies one connection, so that a late failure of an old one cannot close its successor. */
export interface ConnectionId {
  readonly address: string;
  readonly version: number;
}

/** How a call ended. */
export interface WireStatus {
  /** The gRPC status code; 0 is success. */
  readonly code: number;
  readonly message: string;
  readonly trailers: Metadata;
  /** Who ended it: the peer by a status, the transport by losing it, or the caller. */
  readonly origin: "peer" | "transport" | "caller";
  /** False only when the peer certainly never saw the request. */
  readonly isMaybeExecuted: boolean;
  /** The TLS handshake failed: trying the same endpoint again cannot help. */
  readonly isTlsFailure?: boolean | undefined;
  readonly cause?: unknown;
  /** The connection that carried the call, when there was one. */
  readonly connection?: ConnectionId | undefined;
}

/** What the opener of a stream gets to hear, always asynchronously, `onClose` exactly once and last. */
export interface StreamHandlers {
  onHeaders?(headers: Metadata): void;
  /** One whole message. It may be a view on a larger buffer: copy what is kept. */
  onMessage(message: Uint8Array): void;
  /** After `send` returned false: there is room again. */
  onDrain?(): void;
  /**
   * The peer lets streams send more before it answers than when this one was opened. Bun does not
   * count that in for a stream that the peer gave room before, which can then wait for room that
   * the peer believes it has: who keeps a stream for long should go on with a new one.
   */
  onOutdated?(): void;
  onClose(status: WireStatus): void;
}

/** The sending side of a stream. */
export interface WireStream {
  /**
   * Sends one message; the transport owns the bytes from then on. Returns false when the peer does
   * not keep up: the message was taken, and the caller should wait for `onDrain`.
   * After the close it does nothing and returns false.
   */
  send(message: Uint8Array): boolean;
  /** Half-closes: no message follows. */
  end(): void;
  /** Ends the call on both sides; `onClose` follows with `origin: "caller"` and this cause. */
  cancel(cause: unknown): void;
}

/** Options of a call. */
export interface WireOptions {
  /** Time limit and abort of the call; the limit is also sent to the peer (`grpc-timeout`). */
  readonly deadline: Deadline;
  readonly metadata?: Metadata | undefined;
  /** The largest message taken from the peer; a larger one ends the call before it is buffered. */
  readonly maxMessageBytes?: number | undefined;
}

/** The answer to a unary call. */
export interface UnaryReply {
  readonly headers: Metadata;
  readonly trailers: Metadata;
  /** The message; owned by the receiver. */
  readonly message: Uint8Array;
}

/** A way to reach the servers of a cluster. */
export interface Transport {
  /**
   * One message there, one back. Rejects with an `RpcError` (see `grpc_status.ts`) unless the
   * status is 0, and with the signal's own reason when the caller aborted.
   */
  unary(endpoint: Endpoint, path: string, message: Uint8Array, options: WireOptions): Promise<UnaryReply>;
  /** Opens a stream at once; connecting, and failing to, is reported through the handlers. */
  stream(endpoint: Endpoint, path: string, handlers: StreamHandlers, options: WireOptions): WireStream;
  /** Connects and resolves when the endpoint can serve calls. */
  connect(endpoint: Endpoint, deadline: Deadline): Promise<void>;
  /**
   * Closes the connections to an address: all of them, or with a version only those that are not
   * newer. Calls on them end with `origin: "transport"`.
   */
  closeAddress(address: string, version?: number): void;
  /** Ends every call and connection; resolves when nothing is left. Idempotent. */
  close(): Promise<void>;
}

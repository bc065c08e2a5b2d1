// SPDX-License-Identifier: Apache-2.0
// The server half of the seam: what a service sees of a call, whether it came over a socket
// (`http2/server.ts`) or through memory (`memory.ts`).

import type { Metadata } from "./transport.ts";

/** The status with which a service ends a call; absent means success. */
export interface ServerStatus {
  /** The gRPC status code. */
  readonly code: number;
  readonly message: string;
  readonly trailers?: Metadata | undefined;
}

/** A call as the service sees it. */
export interface ServerCall {
  /** Such as `/tikvpb.Tikv/RawGet`. */
  readonly path: string;
  readonly metadata: Metadata;
  /** The address that was called, as the listener knows it. */
  readonly localAddress: string;
  /** Aborted when the caller cancelled, the connection was lost, or the caller's time is up. */
  readonly signal: AbortSignal;
  /** What was left of the caller's time when the call arrived. */
  readonly timeoutMs?: number | undefined;
  /** Sends one message; false means that the caller does not keep up (see `onDrain`). */
  send(message: Uint8Array): boolean;
  /** Ends the call; later sends and ends do nothing. */
  end(status?: ServerStatus): void;
}

/** What the service is told about a call it accepted. */
export interface ServerHandlers {
  /** One whole message. It may be a view on a larger buffer: copy what is kept. */
  onMessage(message: Uint8Array): void;
  /** The caller half-closed. */
  onEnd?(): void;
  onDrain?(): void;
}

/** Accepts a call, or returns undefined for a method that it does not have (gRPC `UNIMPLEMENTED`). */
export type Service = (call: ServerCall) => ServerHandlers | undefined;

/** A running listener. */
export interface Listener {
  /** `host:port` as bound. */
  readonly address: string;
  /** Stops listening and cuts every connection. Idempotent. */
  close(): Promise<void>;
  /** Cuts every connection but goes on listening. */
  disconnectAll(): void;
}

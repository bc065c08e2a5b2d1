// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../../errors.ts";
import { GRPC } from "../grpc_status.ts";
import type { ConnectionId, WireStatus } from "../transport.ts";

/** The one form of "there is no connection, or not any more", whatever the runtime called it. */
export class ConnectionLost extends Error {
  /** The TLS handshake failed: the same endpoint will refuse the next attempt too. */
  readonly isTlsFailure: boolean;

  constructor(message: string, options: { cause?: unknown; isTlsFailure?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ConnectionLost";
    this.isTlsFailure = options.isTlsFailure === true;
  }

  /** The end of a call that was on this connection, or waited for it. */
  status(connection: ConnectionId | undefined, isMaybeExecuted: boolean): WireStatus {
    return {
      code: GRPC.UNAVAILABLE,
      message: this.message,
      trailers: {},
      origin: "transport",
      isMaybeExecuted,
      isTlsFailure: this.isTlsFailure,
      cause: this.cause ?? this,
      connection,
    };
  }
}

/** Wraps what a socket, a session or a stream reported, with what it means in words. */
export function lossOfError(error: unknown): ConnectionLost {
  if (error instanceof ConnectionLost) return error;
  if (TikvError.is(error)) return new ConnectionLost(error.message, { cause: error });
  const code = codeOf(error);
  const meaning = code === undefined ? undefined : MEANING[code];
  const text = error instanceof Error && error.message !== "" ? error.message : String(code ?? error);
  return new ConnectionLost(meaning === undefined ? text : `${meaning} (${code})`, { cause: error });
}

/** The `code` of a system error, also when it is inside an `AggregateError` or a cause. */
export function codeOf(error: unknown): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < 4 && typeof current === "object" && current !== null; depth++) {
    if ("code" in current && typeof current.code === "string") return current.code;
    current = "errors" in current && Array.isArray(current.errors)
      ? current.errors[0]
      : "cause" in current
      ? current.cause
      : undefined;
  }
  return undefined;
}

const MEANING: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "the peer reset the connection",
  EPIPE: "the peer closed the connection",
  ENOTFOUND: "the host name does not resolve",
  EAI_AGAIN: "the host name could not be resolved at the moment",
  EHOSTUNREACH: "there is no route to the host",
  ENETUNREACH: "there is no route to the network",
  ETIMEDOUT: "the connection timed out",
};

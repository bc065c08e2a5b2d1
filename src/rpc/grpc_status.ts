// SPDX-License-Identifier: Apache-2.0
// The one table from gRPC status to error kind. Nothing else interprets a status code.

import type { ErrorKind, TikvErrorOptions } from "../errors.ts";
import { TikvError } from "../errors.ts";
import type { ConnectionId, WireStatus } from "./transport.ts";

/** The gRPC status codes by name. */
export const GRPC = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** What the peer's own status means. A status that the transport made up is always `connection`. */
const KIND_OF_CODE: Readonly<Record<number, ErrorKind>> = {
  [GRPC.CANCELLED]: "connection",
  [GRPC.UNKNOWN]: "server",
  [GRPC.INVALID_ARGUMENT]: "server",
  [GRPC.DEADLINE_EXCEEDED]: "timeout",
  [GRPC.NOT_FOUND]: "server",
  [GRPC.ALREADY_EXISTS]: "server",
  [GRPC.PERMISSION_DENIED]: "server",
  [GRPC.RESOURCE_EXHAUSTED]: "too-large",
  [GRPC.FAILED_PRECONDITION]: "server",
  [GRPC.ABORTED]: "connection",
  [GRPC.OUT_OF_RANGE]: "server",
  [GRPC.UNIMPLEMENTED]: "unsupported",
  [GRPC.INTERNAL]: "server",
  [GRPC.UNAVAILABLE]: "connection",
  [GRPC.DATA_LOSS]: "server",
  [GRPC.UNAUTHENTICATED]: "server",
};

/** Options of a new {@linkcode RpcError}. */
export interface RpcErrorOptions extends TikvErrorOptions {
  readonly code: number;
  readonly origin: WireStatus["origin"];
  readonly isMaybeExecuted: boolean;
  readonly connection?: ConnectionId | undefined;
}

/** A call to one server failed below the level of its protocol. */
export class RpcError extends TikvError {
  /** The gRPC status code. */
  readonly code: number;
  readonly origin: WireStatus["origin"];
  /** False only when the peer certainly never saw the request. */
  readonly isMaybeExecuted: boolean;
  readonly connection: ConnectionId | undefined;

  constructor(kind: ErrorKind, message: string, options: RpcErrorOptions) {
    super(kind, message, options);
    this.name = "RpcError";
    this.code = options.code;
    this.origin = options.origin;
    this.isMaybeExecuted = options.isMaybeExecuted;
    this.connection = options.connection;
  }
}

/** Turns the end of a call into the error that its caller gets. */
export function errorOfStatus(status: WireStatus, path: string, address: string): RpcError {
  const method = path.slice(path.lastIndexOf("/") + 1);
  const seen = status.message === "" ? `status ${status.code}` : status.message;
  return new RpcError(kindOfStatus(status), `Cannot call ${method} at ${address}: ${seen}`, {
    code: status.code,
    origin: status.origin,
    isMaybeExecuted: status.isMaybeExecuted && !(status.origin === "peer" && NEVER_EXECUTED.has(status.code)),
    connection: status.connection,
    cause: status.cause,
    context: { method, address },
  });
}

/** With these the peer says that it did not take the call on. */
const NEVER_EXECUTED: ReadonlySet<number> = new Set([GRPC.UNIMPLEMENTED, GRPC.UNAUTHENTICATED]);

function kindOfStatus(status: WireStatus): ErrorKind {
  if (status.isTlsFailure === true) return "tls";
  if (TikvError.is(status.cause) && status.origin !== "peer") return status.cause.kind;
  if (status.origin === "transport") return "connection";
  return KIND_OF_CODE[status.code] ?? "server";
}

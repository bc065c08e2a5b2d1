// SPDX-License-Identifier: Apache-2.0
// What a request that got no answer means for its next attempt, as data.

import { type ErrorKind, TikvError } from "../errors.ts";
import { GRPC, RpcError } from "../rpc/grpc_status.ts";

/**
 * - `probe`: the store may be dead: ask it, wait, go on with the replica that is picked next.
 * - `fatal`: another attempt at this or another replica would end the same way.
 */
export type FailureAction = "probe" | "fatal";

/** Tells what to do after an attempt that failed below the level of its region. */
export function actionOfFailure(error: unknown): FailureAction {
  if (!TikvError.is(error)) return "fatal";
  // A status that the store itself sent, for reasons that may pass.
  if (error.kind === "server" && error instanceof RpcError && PASSING_CODES.has(error.code)) return "probe";
  return ACTION_OF_KIND[error.kind];
}

/** Tells whether the connection was given up by the other side although nobody asked for it. */
export function isCancelledByPeer(error: unknown): error is RpcError {
  return error instanceof RpcError && error.code === GRPC.CANCELLED && error.origin !== "caller";
}

const ACTION_OF_KIND: Readonly<Record<ErrorKind, FailureAction>> = {
  "connection": "probe",
  // Of the attempt; when the whole operation is out of time there is no next attempt.
  "timeout": "probe",
  "server-busy": "probe",
  "region-unavailable": "probe",
  // The same certificates meet the same store next time.
  "tls": "fatal",
  "closed": "fatal",
  "unsupported": "fatal",
  // Unchanged it is as large the next time.
  "too-large": "fatal",
  // A limit of this client: more attempts make it worse.
  "overloaded": "fatal",
  "protocol": "fatal",
  "server": "fatal",
  "misuse": "fatal",
  "codec": "fatal",
  "keyspace-not-found": "fatal",
  "cluster-mismatch": "fatal",
  "mixed-mode": "fatal",
  "write-conflict": "fatal",
  "deadlock": "fatal",
  "lock-wait-timeout": "fatal",
  "txn-aborted": "fatal",
  "snapshot-too-old": "fatal",
  "key-exists": "fatal",
  "assertion-failed": "fatal",
  "undetermined": "fatal",
};

const PASSING_CODES: ReadonlySet<number> = new Set([GRPC.UNKNOWN, GRPC.INTERNAL, GRPC.DATA_LOSS]);

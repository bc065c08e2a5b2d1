// SPDX-License-Identifier: Apache-2.0

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Serving,
  HealthCheckResponseSchema,
} from "../../gen/grpc/health/v1/health_pb.ts";
import type { Clock } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import { GRPC, RpcError } from "./grpc_status.ts";
import type { Transport } from "./transport.ts";

/** What a probe found: the store serves, it does not, or it would not say. */
export type Reachability = "reachable" | "unreachable" | "unknown";

/** What is probed. */
export interface ProbeTarget {
  readonly address: string;
  readonly timeoutMs: number;
  /** Aborted when nobody wants to know any more. */
  readonly signal: AbortSignal;
}

/**
 * Asks a store over the same connections as requests whether it serves. A probe on a connection of
 * its own, as client-go's, would not notice that it is our connection that is dead.
 */
export async function probeStore(
  { transport, clock }: { readonly transport: Transport; readonly clock: Clock },
  { address, timeoutMs, signal }: ProbeTarget,
): Promise<Reachability> {
  const deadline = Deadline.after(clock, timeoutMs, signal);
  try {
    const reply = await transport.unary({ address, kind: "store" }, HEALTH_CHECK_PATH, REQUEST, { deadline });
    const { status } = fromBinary(HealthCheckResponseSchema, reply.message);
    return OF_STATUS[status] ?? "unreachable";
  } catch (error) {
    // A peer that does not know the question is there to say so.
    if (error instanceof RpcError && error.code === GRPC.UNIMPLEMENTED && error.origin === "peer") {
      return "reachable";
    }
    return "unreachable";
  }
}

const HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check";

// The empty service name asks about the server as a whole.
const REQUEST = toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema));

const OF_STATUS: Readonly<Record<number, Reachability>> = {
  [Serving.UNKNOWN]: "unknown",
  [Serving.SERVING]: "reachable",
  [Serving.NOT_SERVING]: "unreachable",
  [Serving.SERVICE_UNKNOWN]: "unknown",
};

// SPDX-License-Identifier: Apache-2.0

import { create } from "@bufbuild/protobuf";
import {
  Health,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
} from "../../gen/grpc/health/v1/health_pb.ts";
import type { ServiceTable } from "./service_table.ts";

/** Adds the health service, without which clients think that a store is dead. */
export function addHealth(table: ServiceTable): void {
  const serving = () =>
    create(HealthCheckResponseSchema, { status: HealthCheckResponse_ServingStatus.SERVING });
  table.unary(Health.method.check, serving);
  // The answer never changes: a server that stops serving loses its connections.
  table.serverStream(Health.method.watch, (_request, stream) => stream.send(serving()));
}

// SPDX-License-Identifier: Apache-2.0

import { create, toBinary } from "@bufbuild/protobuf";
import type { HealthCheckResponse } from "../../gen/grpc/health/v1/health_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
} from "../../gen/grpc/health/v1/health_pb.ts";
import type { Cluster } from "./cluster.ts";
import { deliver, unaryPort } from "./inject.ts";
import type { ServiceTable } from "./service_table.ts";

/** A store or a member of PD, as its health service sees it. */
export interface HealthPlace {
  readonly storeId: bigint | undefined;
  readonly member: string | undefined;
  cut(): void;
}

/** Adds the health service, without which clients think that a store is dead. */
export function addHealth(table: ServiceTable, cluster: Cluster, place: HealthPlace): void {
  const { check, watch } = Health.method;
  const { storeId, member } = place;
  const name = member ?? `store-${storeId}`;
  table.call(check, ({ call }) => {
    cluster.counts.add(check.name, name);
    deliver(cluster, {
      target: () => ({ method: check.name, storeId, member, regionId: undefined, keys: [] }),
      output: check.output,
      port: unaryPort(
        call,
        (message) => toBinary(check.output, message as HealthCheckResponse),
        () => place.cut(),
      ),
      execute: serving,
    });
  });
  // The answer never changes: a server that stops serving loses its connections.
  table.serverStream(watch, (_request, stream) => stream.send(serving()));
}

function serving(): HealthCheckResponse {
  return create(HealthCheckResponseSchema, { status: HealthCheckResponse_ServingStatus.SERVING });
}

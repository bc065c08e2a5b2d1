// SPDX-License-Identifier: Apache-2.0
// The methods of PD about garbage collection: the current ones, and the old ones on top of them.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { GCBarrierInfoSchema, GCStateSchema, KeyspaceScope } from "../../gen/pdpb_pb.ts";
import {
  AdvanceGCSafePointResponseSchema,
  AdvanceTxnSafePointResponseSchema,
  DeleteGCBarrierResponseSchema,
  DeleteGlobalGCBarrierResponseSchema,
  ErrorType,
  GetAllKeyspacesGCStatesResponseSchema,
  GetGCSafePointResponseSchema,
  GetGCStateResponseSchema,
  PD,
  SetGCBarrierResponseSchema,
  SetGlobalGCBarrierResponseSchema,
  UpdateGCSafePointResponseSchema,
  UpdateServiceGCSafePointResponseSchema,
} from "../../gen/pdpb_pb.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import type { Cluster } from "./cluster.ts";
import type { GcBarrier } from "./gc_states.ts";
import { FOREVER_SECONDS, GC_WORKER_ID, GcRefusal, NULL_KEYSPACE } from "./gc_states.ts";
import type { PdScope } from "./pd_service.ts";
import { errorHeader, okHeader, pdUnary } from "./pd_service.ts";
import type { ServiceTable } from "./service_table.ts";
import { CallStatus } from "./service_table.ts";
import { collectKeyspace } from "./store_txn_gc.ts";

/** Adds the methods about garbage collection to the service of a member. */
export function addGcMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { gc } = cluster;
  const { method } = PD;
  const refused = <T>(action: () => T): T | { readonly header: ReturnType<typeof errorHeader> } => {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof GcRefusal)) throw error;
      return { header: errorHeader(cluster, ErrorType.UNKNOWN, error.message) };
    }
  };
  const header = () => okHeader(cluster);
  gc.onGcSafePoint = (keyspaceId, safePoint) => {
    const owners = cluster.keyspaces.list(0, 0).map(({ id }) => id).filter((id) => ownsState(cluster, id));
    collectKeyspace(cluster, keyspaceId, safePoint, owners);
  };

  pdUnary(table, scope, method.getGCState, {
    role: "leader",
    handler: ({ keyspaceScope, excludeGcBarriers }) =>
      create(GetGCStateResponseSchema, {
        header: header(),
        gcState: stateMessage(cluster, stateIdOf(cluster, keyspaceScope), excludeGcBarriers),
      }),
  });
  pdUnary(table, scope, method.getAllKeyspacesGCStates, {
    role: "leader",
    handler: ({ excludeGcBarriers, excludeGlobalGcBarriers }) => {
      const ids = [NULL_KEYSPACE, ...cluster.keyspaces.list(0, 0).map(({ id }) => id)];
      return create(GetAllKeyspacesGCStatesResponseSchema, {
        header: header(),
        gcStates: ids.map((id) => stateMessage(cluster, id, excludeGcBarriers)),
        globalGcBarriers: excludeGlobalGcBarriers
          ? []
          : gc.globalBarriers().map((one) => barrierInfo(cluster, one)),
      });
    },
  });
  pdUnary(table, scope, method.setGCBarrier, {
    role: "leader",
    handler: ({ keyspaceScope, barrierId, barrierTs, ttlSeconds }) =>
      create(
        SetGCBarrierResponseSchema,
        refused(() => {
          const barrier = gc.setBarrier(stateIdOf(cluster, keyspaceScope), barrierId, barrierTs, ttlSeconds);
          return { header: header(), newBarrierInfo: barrierInfo(cluster, barrier) };
        }),
      ),
  });
  pdUnary(table, scope, method.deleteGCBarrier, {
    role: "leader",
    handler: ({ keyspaceScope, barrierId }) =>
      create(
        DeleteGCBarrierResponseSchema,
        refused(() => {
          const barrier = gc.deleteBarrier(stateIdOf(cluster, keyspaceScope), barrierId);
          return { header: header(), ...(barrier && { deletedBarrierInfo: barrierInfo(cluster, barrier) }) };
        }),
      ),
  });
  pdUnary(table, scope, method.setGlobalGCBarrier, {
    role: "leader",
    handler: ({ barrierId, barrierTs, ttlSeconds }) =>
      create(
        SetGlobalGCBarrierResponseSchema,
        refused(() => {
          const barrier = gc.setBarrier("global", barrierId, barrierTs, ttlSeconds);
          return { header: header(), newBarrierInfo: barrierInfo(cluster, barrier) };
        }),
      ),
  });
  pdUnary(table, scope, method.deleteGlobalGCBarrier, {
    role: "leader",
    handler: ({ barrierId }) =>
      create(
        DeleteGlobalGCBarrierResponseSchema,
        refused(() => {
          const barrier = gc.deleteBarrier("global", barrierId);
          return { header: header(), ...(barrier && { deletedBarrierInfo: barrierInfo(cluster, barrier) }) };
        }),
      ),
  });
  pdUnary(table, scope, method.advanceTxnSafePoint, {
    role: "leader",
    handler: ({ keyspaceScope, target }) =>
      create(
        AdvanceTxnSafePointResponseSchema,
        refused(() => {
          const { old, now, blocker } = gc.advanceTxnSafePoint(stateIdOf(cluster, keyspaceScope), target);
          return {
            header: header(),
            oldTxnSafePoint: old,
            newTxnSafePoint: now,
            blockerDescription: blocker === undefined ? "" : describe(blocker),
          };
        }),
      ),
  });
  pdUnary(table, scope, method.advanceGCSafePoint, {
    role: "leader",
    handler: ({ keyspaceScope, target }) =>
      create(
        AdvanceGCSafePointResponseSchema,
        refused(() => {
          const old = gc.advanceGcSafePoint(stateIdOf(cluster, keyspaceScope), target);
          return { header: header(), oldGcSafePoint: old, newGcSafePoint: target };
        }),
      ),
  });
  addOldMethods(table, scope);
}

/** The methods of before the barriers; PD still answers them from the same state. */
function addOldMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { gc } = cluster;
  const { method } = PD;

  pdUnary(table, scope, method.getGCSafePoint, {
    role: "leader",
    handler: () =>
      create(GetGCSafePointResponseSchema, {
        header: okHeader(cluster),
        safePoint: gc.of(NULL_KEYSPACE).gcSafePoint,
      }),
  });
  pdUnary(table, scope, method.updateGCSafePoint, {
    role: "leader",
    handler: ({ safePoint }) => {
      const state = gc.of(NULL_KEYSPACE);
      // Behind the present value nothing happens and the present value is the answer.
      if (safePoint > state.gcSafePoint) failing(() => gc.advanceGcSafePoint(NULL_KEYSPACE, safePoint));
      return create(UpdateGCSafePointResponseSchema, {
        header: okHeader(cluster),
        newSafePoint: state.gcSafePoint,
      });
    },
  });
  pdUnary(table, scope, method.updateServiceGCSafePoint, {
    role: "leader",
    handler: (request) => {
      const id = new TextDecoder().decode(request.serviceId);
      const answer = (serviceId: string, minSafePoint: bigint) =>
        create(UpdateServiceGCSafePointResponseSchema, {
          header: okHeader(cluster),
          serviceId: new TextEncoder().encode(serviceId),
          // What is left until the last second that a number holds.
          TTL: FOREVER_SECONDS - BigInt(Math.floor(cluster.environment.clock.wallNow() / 1000)),
          minSafePoint,
        });
      return failing(() => {
        if (id === GC_WORKER_ID) {
          // Asked first, so that it is refused also as a removal.
          if (request.TTL !== FOREVER_SECONDS) {
            throw new GcRefusal("TTL of gc_worker's service safe point must be infinity");
          }
          const { now, blocker } = gc.advanceTxnSafePoint(NULL_KEYSPACE, request.safePoint);
          return answer(blocker?.id ?? GC_WORKER_ID, now);
        }
        if (request.TTL <= 0n) gc.deleteBarrier(NULL_KEYSPACE, id);
        else if (id === "" || request.safePoint >= gc.of(NULL_KEYSPACE).txnSafePoint) {
          gc.setBarrier(NULL_KEYSPACE, id, request.safePoint, request.TTL);
        }
        return answer(GC_WORKER_ID, gc.of(NULL_KEYSPACE).txnSafePoint);
      });
    },
  });
}

/** The old methods have no place for a refusal in their answers: the call fails. */
function failing<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof GcRefusal)) throw error;
    throw new CallStatus(GRPC.UNKNOWN, error.message);
  }
}

/** In the configuration of a keyspace: who looks after its garbage collection. */
const GC_MANAGEMENT = "gc_management_type";
const KEYSPACE_LEVEL = "keyspace_level";

/** Keyspaces that do not manage their own share the state of the null keyspace. */
function stateIdOf(cluster: Cluster, scope: KeyspaceScope | undefined): number {
  const id = scope?.keyspace.case === "keyspaceId" ? scope.keyspace.value : NULL_KEYSPACE;
  return ownsState(cluster, id) ? id : NULL_KEYSPACE;
}

function ownsState(cluster: Cluster, id: number): boolean {
  return cluster.keyspaces.byId(id)?.config[GC_MANAGEMENT] === KEYSPACE_LEVEL;
}

function stateMessage(
  cluster: Cluster,
  keyspaceId: number,
  excludesBarriers: boolean,
): MessageInitShape<typeof GCStateSchema> {
  const scope = { keyspaceScope: { keyspace: { case: "keyspaceId" as const, value: keyspaceId } } };
  const isOwn = ownsState(cluster, keyspaceId);
  if (keyspaceId !== NULL_KEYSPACE && !isOwn) return { ...scope, isKeyspaceLevelGc: false };
  const state = cluster.gc.of(keyspaceId);
  return {
    ...scope,
    isKeyspaceLevelGc: isOwn,
    txnSafePoint: state.txnSafePoint,
    gcSafePoint: state.gcSafePoint,
    gcBarriers: excludesBarriers ? [] : [...state.barriers.values()].map((one) => barrierInfo(cluster, one)),
  };
}

function barrierInfo(
  cluster: Cluster,
  barrier: GcBarrier,
): MessageInitShape<typeof GCBarrierInfoSchema> & { readonly $typeName?: never } {
  return { barrierId: barrier.id, barrierTs: barrier.ts, ttlSeconds: cluster.gc.ttlSeconds(barrier) };
}

function describe({ id, ts }: GcBarrier): string {
  return `GCBarrier { BarrierID: "${id}", BarrierTS: ${ts} }`;
}

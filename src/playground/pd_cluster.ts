// SPDX-License-Identifier: Apache-2.0
// What PD says about itself and the stores, and its timestamps.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { StoreSchema } from "../../gen/metapb_pb.ts";
import { NodeState, StoreState as WireStoreState } from "../../gen/metapb_pb.ts";
import type { MemberSchema, TsoResponse } from "../../gen/pdpb_pb.ts";
import {
  AllocIDResponseSchema,
  BootstrapResponseSchema,
  ErrorType,
  GetAllStoresResponseSchema,
  GetClusterConfigResponseSchema,
  GetClusterInfoResponseSchema,
  GetExternalTimestampResponseSchema,
  GetMembersResponseSchema,
  GetMinTSResponseSchema,
  GetStoreResponseSchema,
  IsBootstrappedResponseSchema,
  IsSnapshotRecoveringResponseSchema,
  PD,
  ServiceMode,
  SetExternalTimestampResponseSchema,
  TsoResponseSchema,
} from "../../gen/pdpb_pb.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import type { MemberState, StoreState } from "./cluster.ts";
import type { PdScope } from "./pd_service.ts";
import { checkCluster, errorHeader, forwardedTo, okHeader, pdStream, pdUnary } from "./pd_service.ts";
import type { ServiceTable } from "./service_table.ts";
import { CallStatus } from "./service_table.ts";

/** Adds members, stores, ids and timestamps to the service of a member. */
export function addClusterMethods(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { method } = PD;

  pdUnary(table, scope, method.getMembers, {
    role: "any",
    handler: () => {
      const leader = cluster.leader;
      return create(GetMembersResponseSchema, {
        header: okHeader(cluster),
        members: cluster.members.map(memberMessage),
        ...(leader === undefined ? {} : { leader: memberMessage(leader), etcdLeader: memberMessage(leader) }),
      });
    },
  });
  pdUnary(table, scope, method.getClusterInfo, {
    role: "any",
    handler: () =>
      create(GetClusterInfoResponseSchema, {
        header: okHeader(cluster),
        serviceModes: [ServiceMode.PD_SVC_MODE],
      }),
  });
  pdUnary(table, scope, method.getStore, {
    role: "leader",
    handler: ({ storeId }) => {
      const store = cluster.stores.get(storeId);
      if (store === undefined) {
        const header = errorHeader(cluster, ErrorType.UNKNOWN, `invalid store ID ${storeId}, not found`);
        return create(GetStoreResponseSchema, { header });
      }
      return create(GetStoreResponseSchema, { header: okHeader(cluster), store: storeMessage(store) });
    },
  });
  pdUnary(table, scope, method.getAllStores, {
    role: "leader",
    handler: ({ excludeTombstoneStores }) => {
      const stores = [...cluster.stores.values()];
      const shown = excludeTombstoneStores
        ? stores.filter(({ nodeState }) => nodeState !== "removed")
        : stores;
      return create(GetAllStoresResponseSchema, {
        header: okHeader(cluster),
        stores: shown.map(storeMessage),
      });
    },
  });
  pdUnary(table, scope, method.isBootstrapped, {
    role: "leader",
    handler: () => create(IsBootstrappedResponseSchema, { header: okHeader(cluster), bootstrapped: true }),
  });
  pdUnary(table, scope, method.bootstrap, {
    role: "leader",
    handler: () =>
      create(BootstrapResponseSchema, {
        header: errorHeader(cluster, ErrorType.ALREADY_BOOTSTRAPPED, "cluster is already bootstrapped"),
      }),
  });
  pdUnary(table, scope, method.allocID, {
    role: "leader",
    handler: ({ count }) => {
      const ids = Math.max(1, count);
      let id = 0n;
      for (let i = 0; i < ids; i++) id = cluster.allocateId();
      // The answer to a request for one id names no count.
      return create(AllocIDResponseSchema, { header: okHeader(cluster), id, count: ids > 1 ? ids : 0 });
    },
  });
  pdUnary(table, scope, method.getClusterConfig, {
    role: "leader",
    handler: () => {
      const header = okHeader(cluster);
      return create(GetClusterConfigResponseSchema, {
        header,
        cluster: { id: cluster.clusterId, maxPeerCount: MAX_PEERS },
      });
    },
  });
  pdUnary(table, scope, method.isSnapshotRecovering, {
    role: "any",
    handler: () => create(IsSnapshotRecoveringResponseSchema, { header: okHeader(cluster) }),
  });
  addTimestamps(table, scope);
}

/** `max-replicas` of PD. */
const MAX_PEERS = 3;

/** The version of TiKV and PD whose behaviour is shown; newer clients turn features on by it. */
const SHOWN_VERSION = "8.5.0";

function addTimestamps(table: ServiceTable, scope: PdScope): void {
  const { cluster } = scope;
  const { method } = PD;
  pdStream(table, scope, method.tso, (call) => {
    let last: Promise<unknown> | undefined;
    const take = (count: number): TsoResponse => {
      if (cluster.leader !== (forwardedTo(scope, call) ?? scope.member)) {
        throw new CallStatus(GRPC.UNKNOWN, TSO_NOT_LEADER);
      }
      if (count === 0) throw new CallStatus(GRPC.UNKNOWN, TSO_NO_COUNT);
      return create(TsoResponseSchema, {
        header: okHeader(cluster),
        count,
        timestamp: cluster.oracle.next(count),
      });
    };
    return ({ header, count }) => {
      checkCluster(cluster, header);
      const waitMs = cluster.oracle.waitMs();
      if (waitMs === 0 && last === undefined) return take(count);
      // Answers leave in the order of the requests, also after a stall.
      const before = last;
      const mine: Promise<TsoResponse> = new Promise<void>((resolve) => cluster.after(waitMs, resolve))
        .then(() => before)
        .then(() => {
          if (last === mine) last = undefined;
          return take(count);
        });
      last = mine;
      return mine;
    };
  });
  pdUnary(table, scope, method.getMinTS, {
    role: "leader",
    handler: () =>
      create(GetMinTSResponseSchema, { header: okHeader(cluster), timestamp: cluster.oracle.next(1) }),
  });
  pdUnary(table, scope, method.getExternalTimestamp, {
    role: "leader",
    handler: () =>
      create(GetExternalTimestampResponseSchema, {
        header: okHeader(cluster),
        timestamp: cluster.externalTimestamp,
      }),
  });
  pdUnary(table, scope, method.setExternalTimestamp, {
    role: "leader",
    handler: ({ timestamp }) => {
      const { physical, logical } = cluster.oracle.next(1);
      const problem = timestamp > (physical << 18n) + logical
        ? "the external timestamp should not be larger than global ts"
        : timestamp <= cluster.externalTimestamp
        ? "the external timestamp should be larger than current external timestamp"
        : undefined;
      if (problem !== undefined) {
        const header = errorHeader(cluster, ErrorType.INVALID_VALUE, problem);
        return create(SetExternalTimestampResponseSchema, { header });
      }
      cluster.externalTimestamp = timestamp;
      return create(SetExternalTimestampResponseSchema, { header: okHeader(cluster) });
    },
  });
}

// Clients look for "is not leader" to tell a lost leader from other failures.
const TSO_NOT_LEADER =
  "[PD:tso:ErrGenerateTimestamp]generate timestamp failed, requested pd is not leader of cluster";
const TSO_NO_COUNT = "[PD:tso:ErrGenerateTimestamp]generate timestamp failed, tso count should be positive";

function memberMessage(member: MemberState): MessageInitShape<typeof MemberSchema> {
  return {
    name: member.name,
    memberId: member.id,
    peerUrls: [`${member.url}0`],
    clientUrls: [member.url],
    binaryVersion: `v${SHOWN_VERSION}`,
  };
}

function storeMessage(store: StoreState): MessageInitShape<typeof StoreSchema> {
  const states = {
    serving: { state: WireStoreState.Up, nodeState: NodeState.Serving },
    removing: { state: WireStoreState.Offline, nodeState: NodeState.Removing },
    removed: { state: WireStoreState.Tombstone, nodeState: NodeState.Removed },
  };
  return {
    id: store.id,
    address: store.address,
    peerAddress: store.address,
    statusAddress: store.statusAddress,
    ...states[store.nodeState],
    version: SHOWN_VERSION,
    labels: [...store.labels].map(([key, value]) => ({ key, value })),
  };
}

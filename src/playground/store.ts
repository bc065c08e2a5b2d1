// SPDX-License-Identifier: Apache-2.0

import type { Message } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { GRPC } from "../rpc/grpc_status.ts";
import type { Service } from "../rpc/server.ts";
import type { Cluster, StoreState } from "./cluster.ts";
import type { FaultTarget } from "./faults.ts";
import { addHealth } from "./health.ts";
import { deliver, unaryPort } from "./inject.ts";
import { ServiceTable } from "./service_table.ts";
import { ADMIN_COMMANDS } from "./store_admin.ts";
import type { BatchHost } from "./store_batch.ts";
import { serveBatch } from "./store_batch.ts";
import { checkBusy } from "./store_busy.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { contextOf, keysOf } from "./store_command.ts";
import { RAW_READS } from "./store_raw_read.ts";
import { RAW_WRITES } from "./store_raw_write.ts";
import { refusalOf } from "./store_refusal.ts";
import { TXN_COMMANDS } from "./store_txn.ts";

/** Every command that stores have. */
const COMMANDS: readonly StoreCommand[] = [...RAW_READS, ...RAW_WRITES, ...TXN_COMMANDS, ...ADMIN_COMMANDS];

const BATCHED: ReadonlyMap<string, StoreCommand> = new Map(
  COMMANDS.flatMap((command) =>
    command.batchCase === undefined ? [] : [[command.batchCase, command] as const]
  ),
);

/** Metadata by which a client asks a store to hand a call on to another. */
const FORWARDED_HOST = "tikv-forwarded-host";

/**
 * The Tikv and Health services of one store.
 *
 * @param cut loses the connections to the store
 */
export function storeService(cluster: Cluster, storeId: bigint, cut: () => void): Service {
  const own = tableOf(hostOf({ cluster, storeId }, cut));
  const forwarded = new Map<bigint, Service>();
  return (call) => {
    const host = call.metadata[FORWARDED_HOST];
    const target = host === undefined ? undefined : storeAt(cluster, host);
    if (host === undefined || target?.id === storeId) return own(call);
    if (target === undefined || !target.isRunning) {
      call.end({ code: GRPC.UNAVAILABLE, message: `cannot forward to ${host}` });
      return { onMessage: () => {} };
    }
    let service = forwarded.get(target.id);
    if (service === undefined) {
      service = tableOf(hostOf({ cluster, storeId: target.id }, cut));
      forwarded.set(target.id, service);
    }
    return service(call);
  };
}

function storeAt(cluster: Cluster, address: string): StoreState | undefined {
  for (const store of cluster.stores.values()) if (store.address === address) return store;
  return undefined;
}

function hostOf(scope: StoreScope, cut: () => void): BatchHost {
  const { storeId } = scope;
  return {
    scope,
    commands: BATCHED,
    cut,
    run: (command, request) => {
      try {
        checkBusy(scope, command, request);
        const reply = command.run(scope, request);
        return reply instanceof Promise
          ? reply.catch((error: unknown) => refusalOf(command.method.output, error))
          : reply;
      } catch (error) {
        return refusalOf(command.method.output, error);
      }
    },
    target: (command, request) => () => targetOf(storeId, command, request),
  };
}

function targetOf(storeId: bigint, command: StoreCommand, request: Message): FaultTarget {
  return {
    method: command.method.name,
    storeId,
    member: undefined,
    regionId: contextOf(request)?.regionId,
    keys: keysOf(request),
  };
}

function tableOf(host: BatchHost): Service {
  const { cluster, storeId } = host.scope;
  const table = new ServiceTable();
  for (const command of COMMANDS) {
    table.call(command.method, ({ call, request }) => {
      const clusterId = contextOf(request)?.clusterId ?? 0n;
      if (clusterId !== 0n && clusterId !== cluster.clusterId) {
        const message = "the cluster id of the request does not match the TiKV cluster";
        return call.end({ code: GRPC.INVALID_ARGUMENT, message });
      }
      cluster.counts.add(command.method.name, `store-${storeId}`);
      deliver(cluster, {
        target: host.target(command, request),
        output: command.method.output,
        port: unaryPort(call, (message) => toBinary(command.method.output, message), host.cut),
        execute: () => host.run(command, request),
      });
    });
  }
  table.duplex(Tikv.method.batchCommands, (stream) => serveBatch(host, stream));
  addHealth(table, cluster, { storeId, member: undefined, cut: host.cut });
  return table.service();
}

// SPDX-License-Identifier: Apache-2.0
// Requests made by hand from the generated messages, past the client's own layers, so that a
// cluster can be asked what the client would never ask.

import assert from "node:assert/strict";
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Context, ContextSchema } from "../../gen/kvrpcpb_pb.ts";
import type { Region } from "../../gen/metapb_pb.ts";
import { PD } from "../../gen/pdpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { systemEnvironment } from "../../src/async/clock.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { noObserver } from "../../src/observe/events.ts";
import { errorOfStatus } from "../../src/rpc/grpc_status.ts";
import { createHttp2Transport } from "../../src/rpc/http2/transport.ts";
import type { Transport } from "../../src/rpc/transport.ts";
import type { OpenCluster } from "./backend.ts";

const LIMIT_MS = 10_000;

/** A region with its leader and where its peers can be reached. */
export interface Place {
  readonly region: Region;
  readonly leader: { readonly id: bigint; readonly storeId: bigint };
  readonly addressOf: (storeId: bigint) => string;
}

/** Direct calls to the servers of a cluster. */
export interface DirectCalls {
  readonly clusterId: bigint;
  /** Where PD is asked. */
  readonly pdAddress: string;
  /** The region of a key as PD has it, with the bytes of the key that PD expects. */
  placeOf(regionKey: Uint8Array): Promise<Place>;
  unary<I extends DescMessage, O extends DescMessage>(
    address: string,
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>>;
  /** The same request as the only command of a batch. */
  batched(address: string, name: string, request: object): Promise<unknown>;
  /** The first message of a stream after one request; rejects with an `RpcError` when there is none. */
  first<I extends DescMessage, O extends DescMessage>(
    address: string,
    method: DescMethodBiDiStreaming<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>>;
  close(): Promise<void>;
}

/** Opens direct calls over the cluster's own network. */
export async function directCalls(cluster: OpenCluster): Promise<DirectCalls> {
  const { target, options } = cluster;
  const isEmbedded = typeof target === "object" && "connectOptions" in target;
  const transport: Transport = isEmbedded
    ? target.connectOptions().transport
    : createHttp2Transport({ environment: systemEnvironment, observer: noObserver, tls: options.tls });
  const seeds = isEmbedded ? target.connectOptions().pd : typeof target === "string" ? [target] : target;
  const seed = (seeds[0] ?? assert.fail("no address of PD")).replace(/^https?:\/\//, "");
  const deadline = (): Deadline => Deadline.after(systemEnvironment.clock, LIMIT_MS);

  const unary: DirectCalls["unary"] = async (address, method, request) => {
    const path = `/${method.parent.typeName}/${method.name}`;
    const kind = method.parent.typeName.startsWith("pdpb") ? "pd" as const : "store" as const;
    const message = toBinary(method.input, create(method.input, request));
    const reply = await transport.unary({ address, kind }, path, message, { deadline: deadline() });
    return fromBinary(method.output, reply.message);
  };
  const { header } = await unary(seed, PD.method.getMembers, {});
  const clusterId = header?.clusterId ?? assert.fail("PD told no cluster id");

  const first: DirectCalls["first"] = (address, method, request) => {
    const path = `/${method.parent.typeName}/${method.name}`;
    const kind = method.parent.typeName.startsWith("pdpb") ? "pd" as const : "store" as const;
    return firstMessage(
      transport,
      { address, kind, path, deadline: deadline() },
      toBinary(method.input, create(method.input, request)),
      (bytes) => fromBinary(method.output, bytes),
    );
  };

  return {
    clusterId,
    pdAddress: seed,
    unary,
    first,
    placeOf: async (regionKey) => {
      const found = await unary(seed, PD.method.getRegion, { header: { clusterId }, regionKey });
      const stores = await unary(seed, PD.method.getAllStores, { header: { clusterId } });
      const region = found.region ?? assert.fail("PD knows no region of the key");
      const { id, storeId } = found.leader ?? assert.fail("the region has no leader");
      const addresses = new Map(stores.stores.map((store) => [store.id, store.address]));
      return {
        region,
        leader: { id, storeId },
        addressOf: (store) => addresses.get(store) ?? assert.fail(`store ${store} has no address`),
      };
    },
    batched: async (address, name, request) => {
      const cmd = { case: name, value: request } as never;
      const { batchCommands } = Tikv.method;
      const { responses, requestIds } = await first(address, batchCommands, {
        requests: [{ cmd }],
        requestIds: [7n],
      });
      return responses[requestIds.indexOf(7n)]?.cmd.value;
    },
    close: async () => {
      if (!isEmbedded) await transport.close();
    },
  };
}

function firstMessage<T>(
  transport: Transport,
  { address, kind, path, deadline }: {
    readonly address: string;
    readonly kind: "pd" | "store";
    readonly path: string;
    readonly deadline: Deadline;
  },
  message: Uint8Array,
  read: (bytes: Uint8Array) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const stream = transport.stream({ address, kind }, path, {
      onMessage: (bytes) => {
        resolve(read(bytes));
        stream.cancel(new Error("answered"));
      },
      onClose: (status) => reject(errorOfStatus(status, path, address)),
    }, { deadline });
    stream.send(message);
  });
}

/** The Context with which the leader of a place accepts a request. */
export function contextOf({ region, leader }: Place): Context {
  const { confVer, version } = region.regionEpoch ?? assert.fail("the region has no epoch");
  return create(ContextSchema, {
    regionId: region.id,
    regionEpoch: { confVer, version },
    peer: { id: leader.id, storeId: leader.storeId },
  });
}

/** The unary method of a request by its name. */
export function methodOf(name: string): DescMethodUnary<DescMessage, DescMessage> {
  const method = Tikv.methods.find((one) => one.name === name);
  if (method === undefined || method.methodKind !== "unary") assert.fail(`${name} is no unary method`);
  return method as DescMethodUnary<DescMessage, DescMessage>;
}

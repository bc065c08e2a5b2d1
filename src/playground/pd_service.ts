// SPDX-License-Identifier: Apache-2.0
// What every call to a member of PD goes through (`validateRoleInRequest` and the middlewares of
// PD's `server/grpc_service.go`).

import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodUnary,
  Message,
  MessageShape,
} from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { GRPC } from "../rpc/grpc_status.ts";
import type { ErrorType } from "../../gen/pdpb_pb.ts";
import type { ServerCall } from "../rpc/server.ts";
import type { Cluster, MemberState } from "./cluster.ts";
import type { FaultTarget } from "./faults.ts";
import { CORRUPT, deliver, LOST, unaryPort } from "./inject.ts";
import type { ServiceTable } from "./service_table.ts";
import { CallStatus } from "./service_table.ts";
import { keysOf } from "./store_command.ts";

/**
 * Which member may answer: any, the leader, or with the caller's leave a follower too. Meta storage
 * asks for the leader only, and not which cluster is meant.
 */
export type PdRole = "any" | "leader" | "leader-or-follower" | "leader-of-any-cluster";

/** The member that was called. */
export interface PdScope {
  readonly cluster: Cluster;
  readonly member: MemberState;
  /** Loses the connections to the member. */
  cut(): void;
}

/** The member that answers a call, and whether it does so as a follower. */
export interface PdCaller {
  readonly member: MemberState;
  readonly isFollower: boolean;
}

/** Metadata by which a client asks a member to hand a call on to the one with this URL. */
const FORWARDED_HOST = "pd-forwarded-host";

/** Metadata by which a client accepts the answer of a follower. Only its presence counts. */
const ALLOWS_FOLLOWER = "pd-allow-follower-handle";

interface HeaderFields {
  readonly clusterId: bigint;
}

/** The header of an answer without error. */
export function okHeader({ clusterId }: Cluster): HeaderFields {
  return { clusterId };
}

/** The header of an answer with an error. */
export function errorHeader(
  { clusterId }: Cluster,
  type: ErrorType,
  message: string,
): HeaderFields & { readonly error: { readonly type: ErrorType; readonly message: string } } {
  return { clusterId, error: { type, message } };
}

/** Adds a unary method, with the checks, the count and the faults that go with it. */
export function pdUnary<I extends DescMessage, O extends DescMessage>(
  table: ServiceTable,
  scope: PdScope,
  method: DescMethodUnary<I, O>,
  options: {
    readonly role: PdRole;
    readonly handler: (
      request: MessageShape<I>,
      caller: PdCaller,
    ) => MessageShape<O> | Promise<MessageShape<O>>;
  },
): void {
  const { cluster } = scope;
  table.call(method, ({ call, request }) => {
    cluster.counts.add(method.name, scope.member.name);
    deliver(cluster, {
      target: () => targetOf(scope, method.name, request),
      output: method.output,
      port: unaryPort(
        call,
        (message) => toBinary(method.output, message as MessageShape<O>),
        () => scope.cut(),
      ),
      execute: () => {
        const caller = admit(scope, call, { role: options.role, header: headerOf(request) });
        return options.handler(request as MessageShape<I>, caller);
      },
    });
  });
}

/**
 * Adds a stream that answers each request with one message, with the count and the faults of a
 * call for each of them.
 */
export function pdStream<I extends DescMessage, O extends DescMessage>(
  table: ServiceTable,
  scope: PdScope,
  method: DescMethodBiDiStreaming<I, O>,
  open: (call: ServerCall) => (request: MessageShape<I>) => MessageShape<O> | Promise<MessageShape<O>>,
): void {
  const { cluster } = scope;
  table.duplex(method, (stream) => {
    const handler = open(stream.call);
    const send = (message: Message): void => stream.send(message as MessageShape<O>);
    return {
      onRequest: (request) => {
        cluster.counts.add(method.name, scope.member.name);
        deliver(cluster, {
          target: () => targetOf(scope, method.name, request),
          output: method.output,
          port: {
            reply: send,
            misaddress: send,
            corrupt: () => {
              stream.call.send(CORRUPT);
            },
            end: (status) => stream.end(status),
            cut: () => {
              scope.cut();
              stream.end(LOST);
            },
          },
          execute: () => handler(request),
        });
      },
    };
  });
}

/** Refuses a call that this member must not answer, with PD's own status and text. */
export function admit(
  scope: PdScope,
  call: ServerCall,
  options: { readonly role: PdRole; readonly header: { readonly clusterId: bigint } | undefined },
): PdCaller {
  const { cluster } = scope;
  const member = forwardedTo(scope, call) ?? scope.member;
  if (options.role === "any") return { member, isFollower: false };
  const isLeader = cluster.leader === member;
  if (!isLeader) {
    if (options.role !== "leader-or-follower") throw new CallStatus(GRPC.UNAVAILABLE, "not leader");
    if (call.metadata[ALLOWS_FOLLOWER] === undefined) {
      throw new CallStatus(GRPC.UNAVAILABLE, "not leader and follower handling not allowed");
    }
  }
  if (options.role !== "leader-of-any-cluster") checkCluster(cluster, options.header);
  return { member, isFollower: !isLeader };
}

/** Refuses a header that names another cluster, or none. */
export function checkCluster(cluster: Cluster, header: { readonly clusterId: bigint } | undefined): void {
  const got = header?.clusterId ?? 0n;
  if (got === cluster.clusterId) return;
  throw new CallStatus(
    GRPC.FAILED_PRECONDITION,
    `mismatch cluster id, need ${cluster.clusterId} but got ${got}`,
  );
}

/** The member to which a call is handed on, if the caller asks for that. */
export function forwardedTo({ cluster, member }: PdScope, call: ServerCall): MemberState | undefined {
  const host = call.metadata[FORWARDED_HOST];
  if (host === undefined || host === "" || host === member.url) return undefined;
  const target = cluster.members.find(({ url }) => url === host);
  if (target === undefined || !target.isRunning) {
    throw new CallStatus(GRPC.UNAVAILABLE, `cannot forward to ${host}`);
  }
  return target;
}

function headerOf(request: Message): { readonly clusterId: bigint } | undefined {
  return "header" in request ? request.header as { readonly clusterId: bigint } | undefined : undefined;
}

function targetOf({ member }: PdScope, method: string, request: Message): FaultTarget {
  return {
    method,
    storeId: undefined,
    member: member.name,
    regionId: regionIdOf(request),
    keys: keysOf(request),
  };
}

function regionIdOf(request: Message): bigint | undefined {
  return "regionId" in request ? request.regionId as bigint : undefined;
}

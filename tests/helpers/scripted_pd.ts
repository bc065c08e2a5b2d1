// SPDX-License-Identifier: Apache-2.0
// A PD whose every answer a test can decide. It knows nothing of Raft, etcd or scheduling.

import type { DescMessage, DescMethod, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Keyspace } from "../../gen/keyspacepb_pb.ts";
import { ErrorType, PD, TsoRequestSchema, TsoResponseSchema } from "../../gen/pdpb_pb.ts";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import type { MemoryNetwork } from "../../src/rpc/memory.ts";
import type { Listener, ServerCall, ServerHandlers } from "../../src/rpc/server.ts";

/** A call that came in, as a test looks at it. */
export interface SeenCall {
  readonly method: string;
  readonly address: string;
  readonly metadata: Readonly<Record<string, string>>;
  // deno-lint-ignore no-explicit-any -- each test knows the message it looks at
  readonly request: any;
}

/** What a script answers: fields of the reply, a refusal, a status, or nothing at all. */
export type Answer =
  | Readonly<Record<string, unknown>>
  | "silent"
  | { readonly refuse: keyof typeof ErrorType; readonly text?: string }
  | { readonly grpc: number; readonly text?: string };

/** Decides the answer to a call; undefined leaves it to the default. */
export type Script = (call: SeenCall) => Answer | undefined;

/** Options of a {@linkcode ScriptedPd}. */
export interface ScriptedPdOptions {
  readonly addresses?: readonly string[];
  readonly clusterId?: bigint;
  readonly wallMs?: () => number;
}

/** Members that listen in a network and answer as scripted. */
export class ScriptedPd {
  readonly clusterId: bigint;
  readonly addresses: readonly string[];
  readonly calls: SeenCall[] = [];
  /** Scripts by method, such as `GetRegion`. */
  readonly on: Record<string, Script> = {};
  /** Decides the answer of the timestamp stream; undefined leaves it to the default. */
  onTso: ((count: number, call: ServerCall) => Answer | "end" | undefined) | undefined;
  /** Counts of the timestamp requests that came in. */
  readonly tsoCounts: number[] = [];
  tsoStreams = 0;
  /** Address of the member that leads; undefined while there is none. */
  leader: string | undefined;
  /** What the default answers for timestamps are made of. */
  logical = 0n;
  readonly #listeners = new Map<string, Listener>();
  readonly #wallMs: () => number;

  constructor(network: MemoryNetwork, options: ScriptedPdOptions = {}) {
    this.addresses = options.addresses ?? ["pd-1:2379"];
    this.clusterId = options.clusterId ?? 7n;
    this.leader = this.addresses[0];
    this.#wallMs = options.wallMs ?? (() => 1_700_000_000_000);
    for (const address of this.addresses) {
      this.#listeners.set(address, network.listen(address, (call) => this.#serve(call)));
    }
  }

  /** The calls of one method, in order. */
  callsOf(method: string): SeenCall[] {
    return this.calls.filter((call) => call.method === method);
  }

  #serve(call: ServerCall): ServerHandlers | undefined {
    if (call.path === "/pdpb.PD/Tso") return this.#serveTso(call);
    const method = METHODS.get(call.path);
    if (method === undefined) return undefined;
    return {
      onMessage: (bytes) => {
        const seen: SeenCall = {
          method: method.name,
          address: call.localAddress,
          metadata: call.metadata,
          request: fromBinary(method.input, bytes),
        };
        this.calls.push(seen);
        const answer = this.on[method.name]?.(seen) ?? this.#defaultAnswer(seen);
        if (answer === "silent") return;
        this.#answer(call, method.output, answer);
      },
    };
  }

  #answer(call: ServerCall, desc: DescMessage, answer: Exclude<Answer, "silent">): void {
    const header = { clusterId: this.clusterId };
    if ("grpc" in answer) {
      return call.end({ code: Number(answer.grpc), message: String(answer.text ?? "") });
    }
    const fields = "refuse" in answer
      ? {
        header: {
          ...header,
          error: {
            type: ErrorType[answer.refuse as keyof typeof ErrorType],
            message: String(answer.text ?? ""),
          },
        },
      }
      : { header, ...answer };
    call.send(toBinary(desc, create(desc, fields as MessageInitShape<typeof desc>)));
    call.end();
  }

  #defaultAnswer({ method, address, metadata, request }: SeenCall): Answer {
    if (method === "GetMembers") return this.membersAnswer();
    const isForLeader = address === this.leader || "pd-forwarded-host" in metadata;
    if (!isForLeader && !("pd-allow-follower-handle" in metadata)) {
      return { grpc: GRPC.UNAVAILABLE, text: "not leader" };
    }
    if ("header" in request && request.header?.clusterId !== this.clusterId) {
      return { grpc: GRPC.FAILED_PRECONDITION, text: "mismatch cluster id" };
    }
    return {};
  }

  /** What every member answers to `GetMembers`. */
  membersAnswer(scheme: string = "http"): Readonly<Record<string, unknown>> {
    const members = this.addresses.map((address, index) => ({
      name: `pd-${index + 1}`,
      memberId: BigInt(index + 1),
      clientUrls: [`${scheme}://${address}`],
      peerUrls: [`${scheme}://${address.replace(/:.*/, "")}:2380`],
      binaryVersion: "v8.5.0",
    }));
    const leader = members.find((_, index) => this.addresses[index] === this.leader);
    return { members, ...(leader === undefined ? {} : { leader }) };
  }

  #serveTso(call: ServerCall): ServerHandlers {
    this.tsoStreams++;
    return {
      onMessage: (bytes) => {
        const { count, header } = fromBinary(TsoRequestSchema, bytes);
        this.tsoCounts.push(count);
        const answer = this.onTso?.(count, call) ?? this.#tsoAnswer(call, count, header?.clusterId);
        if (answer === "silent") return;
        if (answer === "end") return call.end();
        if ("grpc" in answer) {
          return call.end({ code: Number(answer.grpc), message: String(answer.text ?? "") });
        }
        const fields = "refuse" in answer
          ? {
            header: {
              error: { type: ErrorType[answer.refuse as keyof typeof ErrorType], message: "refused" },
            },
          }
          : { header: { clusterId: this.clusterId }, count, ...answer };
        call.send(toBinary(TsoResponseSchema, create(TsoResponseSchema, fields)));
      },
      onEnd: () => call.end(),
    };
  }

  #tsoAnswer(call: ServerCall, count: number, clusterId: bigint | undefined): Answer {
    if (call.localAddress !== this.leader && !("pd-forwarded-host" in call.metadata)) {
      return {
        grpc: GRPC.UNKNOWN,
        text: "generate timestamp failed, requested pd is not leader of cluster",
      };
    }
    if (clusterId !== this.clusterId) {
      return { grpc: GRPC.FAILED_PRECONDITION, text: "mismatch cluster id" };
    }
    this.logical += BigInt(count);
    return { timestamp: { physical: BigInt(this.#wallMs()), logical: this.logical } };
  }
}

const METHODS: ReadonlyMap<string, DescMethod> = new Map(
  [PD, Keyspace].flatMap((service) =>
    service.methods.map((method) => [`/${service.typeName}/${method.name}`, method] as const)
  ),
);

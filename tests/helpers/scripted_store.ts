// SPDX-License-Identifier: Apache-2.0
// A store whose side of every stream is written by the test, in generated code, against the real client
// of stores.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type BatchCommandsRequest_Request,
  BatchCommandsRequestSchema,
  type BatchCommandsResponse_Response,
  BatchCommandsResponse_ResponseSchema,
  BatchCommandsResponseSchema,
} from "../../gen/tikvpb_pb.ts";
import { Deadline } from "../../src/async/deadline.ts";
import type { ClientEvent } from "../../src/observe/events.ts";
import type { HealthReport } from "../../src/rpc/batch/wire.ts";
import { type BodyOf, type CommandName, COMMANDS, type ReplyOf } from "../../src/rpc/commands.ts";
import type { Interceptor } from "../../src/rpc/interceptor.ts";
import { MemoryNetwork, type MemoryNetworkOptions } from "../../src/rpc/memory.ts";
import type { ServerCall, ServerStatus } from "../../src/rpc/server.ts";
import { StoreClient, type StoreClientSettings } from "../../src/rpc/store_client.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../src/testing/seeded_random.ts";

export const ADDRESS = "store-1:20160";

/** A command as the store received it. */
export interface Received {
  readonly id: bigint;
  readonly cmd: BatchCommandsRequest_Request["cmd"];
}

/** One BatchCommands stream, as the store sees it. */
export interface ScriptedStream {
  readonly call: ServerCall;
  /** The messages, each with its commands. */
  readonly batches: Received[][];
  /** Whether the client half-closed. */
  readonly isEnded: boolean;
  /** Answers commands, in one message; what it answers with is up to `reply`. */
  answer(commands: readonly Received[], extra?: Record<string, unknown>): void;
  end(status?: ServerStatus): void;
}

/** Options of {@linkcode scriptedStore}. */
export interface ScriptedStoreOptions {
  readonly settings?: Partial<StoreClientSettings>;
  readonly network?: MemoryNetworkOptions;
  readonly interceptors?: readonly Interceptor[];
  /** Answers every batch at once; default: false. */
  readonly answers?: boolean;
  /** Ends each stream with this status as soon as it is opened. */
  readonly refuses?: ServerStatus;
  /** Serves what is called alone; the default answers like `reply`. */
  readonly unary?: (call: ServerCall, message: Uint8Array) => void;
}

/** A `RawGet` answers its own key, everything else its default. */
export function reply({ cmd }: Received): BatchCommandsResponse_Response {
  if (cmd.case === undefined) return create(BatchCommandsResponse_ResponseSchema);
  const value = cmd.case === "RawGet" ? { value: cmd.value.key } : {};
  return create(BatchCommandsResponse_ResponseSchema, { cmd: { case: cmd.case, value } as never });
}

/** The store, the client, and the time and network between them. */
export class ScriptedStore {
  readonly clock = new ManualClock();
  readonly network: MemoryNetwork;
  readonly client: StoreClient;
  readonly streams: ScriptedStream[] = [];
  /** Calls of a single command. */
  readonly singles: { readonly call: ServerCall; readonly message: Uint8Array }[] = [];
  readonly events: ClientEvent[] = [];
  readonly health: HealthReport[] = [];

  constructor(options: ScriptedStoreOptions = {}) {
    const environment = { clock: this.clock, random: new SeededRandom(1) };
    this.network = new MemoryNetwork(environment, { copiesMessages: true, ...options.network });
    this.network.listen(ADDRESS, (call) => {
      if (!call.path.endsWith("/BatchCommands")) {
        return {
          onMessage: (message) => {
            this.singles.push({ call, message });
            if (options.unary === undefined) endSingle(call);
            else options.unary(call, message);
          },
        };
      }
      const stream = new Stream(call);
      this.streams.push(stream);
      if (options.refuses !== undefined) stream.end(options.refuses);
      return {
        onMessage: (message) => stream.receive(message, options.answers === true),
        onEnd: () => stream.hearEnd(),
      };
    });
    this.client = new StoreClient({
      transport: this.network.transport(),
      environment,
      settings: {
        connectionsPerStore: 4,
        maxBatchSize: 128,
        maxInFlightRequests: 16_384,
        maxResponseBytes: 1024 * 1024,
        idleCloseMs: Infinity,
        storeLivenessTimeoutMs: 1000,
        ...options.settings,
      },
      observer: (event) => this.events.push(event),
      interceptors: options.interceptors,
      onHealthFeedback: (_, report) => this.health.push(report),
    });
  }

  /** Sends a command; 1 s is the time for it unless said otherwise. */
  send<C extends CommandName>(
    name: C,
    plain: BodyOf<C>,
    options: {
      readonly timeoutMs?: number;
      readonly signal?: AbortSignal;
      readonly priority?: number;
      readonly forwardedHost?: string;
      readonly regionId?: bigint;
      readonly context?: Uint8Array;
    } = {},
  ): Promise<ReplyOf<C>> {
    const { timeoutMs = 1000, signal, context = new Uint8Array(), ...rest } = options;
    const command = COMMANDS[name];
    const request = { context, body: command.encode(plain), plain };
    const deadline = Deadline.after(this.clock, timeoutMs, signal);
    return this.client.call<BodyOf<C>, ReplyOf<C>>({ address: ADDRESS }, command, request, {
      deadline,
      ...rest,
    });
  }

  /** Reads a key, and gets it back as its value when it is answered. */
  async get(key: number, options: Parameters<ScriptedStore["send"]>[2] = {}): Promise<number | undefined> {
    return (await this.send("RawGet", { key: new Uint8Array([key]) }, options)).value[0];
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    await this.clock.advance(0);
  }

  stream(index: number): ScriptedStream {
    const stream = this.streams[index];
    if (stream === undefined) throw new Error(`stream ${index} was not opened`);
    return stream;
  }

  /** The warnings among the events. */
  warnings(): string[] {
    return this.events.flatMap((event) => event.type === "warning" ? [event.message] : []);
  }
}

class Stream implements ScriptedStream {
  readonly call: ServerCall;
  readonly batches: Received[][] = [];
  isEnded = false;

  constructor(call: ServerCall) {
    this.call = call;
  }

  receive(message: Uint8Array, answers: boolean): void {
    const { requests, requestIds } = fromBinary(BatchCommandsRequestSchema, message);
    const batch = requests.map(({ cmd }, index) => ({ id: requestIds[index] ?? -1n, cmd }));
    this.batches.push(batch);
    if (answers) this.answer(batch);
  }

  hearEnd(): void {
    this.isEnded = true;
  }

  answer(commands: readonly Received[], extra: Record<string, unknown> = {}): void {
    const message = create(BatchCommandsResponseSchema, {
      requestIds: commands.map(({ id }) => id),
      responses: commands.map(reply),
      ...extra,
    });
    this.call.send(toBinary(BatchCommandsResponseSchema, message));
  }

  end(status?: ServerStatus): void {
    this.call.end(status);
  }
}

function endSingle(call: ServerCall): void {
  call.send(new Uint8Array());
  call.end();
}

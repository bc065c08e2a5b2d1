// SPDX-License-Identifier: Apache-2.0
// From methods of generated services to a `Service` of the server seam.

import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  Message,
  MessageShape,
} from "@bufbuild/protobuf";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { GRPC } from "../rpc/grpc_status.ts";
import type { ServerCall, ServerHandlers, ServerStatus, Service } from "../rpc/server.ts";

/** Ends a call with a gRPC status when a handler throws it. */
export class CallStatus extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = "CallStatus";
    this.code = code;
  }
}

/** A stream as its handler sees it. */
export interface ReplyStream<O> {
  readonly call: ServerCall;
  send(reply: O): void;
  end(status?: ServerStatus): void;
}

/** What a handler of a stream hears. */
export interface RequestSink<I> {
  onRequest(request: I): void;
  onEnd?(): void;
}

/** A unary call that has been decoded. */
export interface UnaryCall {
  readonly call: ServerCall;
  readonly method: DescMethodUnary;
  readonly request: Message;
}

type Accept = (call: ServerCall) => ServerHandlers;

/** Methods by path. */
export class ServiceTable {
  readonly #methods = new Map<string, Accept>();
  readonly #names = new Set<string>();

  /** One request, one answer, which goes straight back. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    handler: (request: MessageShape<I>, call: ServerCall) => MessageShape<O> | Promise<MessageShape<O>>,
  ): void {
    this.call(method, ({ call, request }) => {
      // It was decoded with `method.input`, so it has the shape of the method.
      const proceed = () => handler(request as MessageShape<I>, call);
      run(call, proceed, (reply) => {
        call.send(toBinary(method.output, reply));
        call.end();
      });
    });
  }

  /** One request; the handler looks after the answer itself. */
  call(method: DescMethodUnary, handler: (call: UnaryCall) => void): void {
    this.#add(method, (call) => {
      let last: Uint8Array | undefined;
      return {
        onMessage: (message) => {
          last = message;
        },
        onEnd: () => {
          const request = decode(method.input, last, call);
          if (request !== undefined) guard(call, () => handler({ call, method, request }));
        },
      };
    });
  }

  /** One request, many answers. */
  serverStream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    handler: (request: MessageShape<I>, stream: ReplyStream<MessageShape<O>>) => void,
  ): void {
    this.#add(method, (call) => ({
      onMessage: (message) => {
        const request = decode(method.input, message, call);
        if (request !== undefined) guard(call, () => handler(request, streamOf(method.output, call)));
      },
    }));
  }

  /** Requests and answers in any order. */
  duplex<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    handler: (stream: ReplyStream<MessageShape<O>>) => RequestSink<MessageShape<I>>,
  ): void {
    this.#add(method, (call) => {
      const sink = handler(streamOf(method.output, call));
      return {
        onMessage: (message) => {
          const request = decode(method.input, message, call);
          if (request !== undefined) guard(call, () => sink.onRequest(request));
        },
        onEnd: () => sink.onEnd === undefined ? call.end() : sink.onEnd(),
      };
    });
  }

  /** The table as a service. What it does not have is refused with the name of the method. */
  service(): Service {
    return (call) => {
      const accept = this.#methods.get(call.path);
      if (accept !== undefined) return accept(call);
      const [, service = "", method = ""] = call.path.split("/");
      const message = this.#names.has(service)
        ? `unknown method ${method} for service ${service}`
        : `unknown service ${service}`;
      call.end({ code: GRPC.UNIMPLEMENTED, message });
      return { onMessage: ignore };
    };
  }

  #add(
    method: { readonly parent: { readonly typeName: string }; readonly name: string },
    accept: Accept,
  ): void {
    this.#names.add(method.parent.typeName);
    this.#methods.set(`/${method.parent.typeName}/${method.name}`, accept);
  }
}

/** Runs something that may throw or reject; `done` gets what it gave, the call what it threw. */
function run<T>(call: ServerCall, proceed: () => T | Promise<T>, done: (value: T) => void): void {
  try {
    const value = proceed();
    if (value instanceof Promise) value.then(done).catch((error: unknown) => call.end(statusOf(error)));
    else done(value);
  } catch (error) {
    call.end(statusOf(error));
  }
}

/** The status for an error of a handler. */
export function statusOf(error: unknown): ServerStatus {
  if (error instanceof CallStatus) return { code: error.code, message: error.message };
  return { code: GRPC.INTERNAL, message: error instanceof Error ? error.message : String(error) };
}

function streamOf<O extends DescMessage>(output: O, call: ServerCall): ReplyStream<MessageShape<O>> {
  return {
    call,
    send: (reply) => {
      call.send(toBinary(output, reply));
    },
    end: (status) => call.end(status),
  };
}

function decode<I extends DescMessage>(
  input: I,
  message: Uint8Array | undefined,
  call: ServerCall,
): MessageShape<I> | undefined {
  try {
    return fromBinary(input, message ?? new Uint8Array(0));
  } catch {
    call.end({ code: GRPC.INTERNAL, message: `cannot decode a message of ${input.typeName}` });
    return undefined;
  }
}

function guard(call: ServerCall, action: () => void): void {
  try {
    action();
  } catch (error) {
    call.end(statusOf(error));
  }
}

function ignore(): void {}

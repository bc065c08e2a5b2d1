// SPDX-License-Identifier: Apache-2.0
// Generated services over the seam: `createClient(PD, createConnectTransport(...))`.

import type {
  DescMessage,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { StreamResponse, Transport as ConnectTransport, UnaryResponse } from "@connectrpc/connect";
import type { Clock } from "../async/clock.ts";
import { Deadline } from "../async/deadline.ts";
import { TikvError } from "../errors.ts";
import { errorOfStatus, GRPC } from "./grpc_status.ts";
import type { Endpoint, Metadata, Transport, WireOptions, WireStatus, WireStream } from "./transport.ts";

/** Options of {@linkcode createConnectTransport}. */
export interface ConnectTransportOptions {
  /** Measures the `timeoutMs` of a call. */
  readonly clock: Clock;
  /** The largest message taken from the peer. */
  readonly maxMessageBytes?: number | undefined;
  /**
   * Bytes of a stream that may wait for its reader. The seam cannot hold a peer back, so a reader
   * that stays behind further loses the stream with an `overloaded` error.
   *
   * @default {67108864} 64 MiB, as much as one answer may have
   */
  readonly maxQueuedBytes?: number | undefined;
}

/**
 * A Connect transport over our own.
 *
 * It rejects as the seam does: with `RpcError`, and with the signal's own reason after an abort.
 * The iterable of a stream cancels the call when its reader leaves early; clients made by
 * `createClient` hide that, so their callers must abort by signal.
 *
 * @param endpoint asked for each call, so that a service can move between calls
 */
export function createConnectTransport(
  transport: Transport,
  endpoint: () => Endpoint,
  options: ConnectTransportOptions,
): ConnectTransport {
  const wireOptions = (
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
  ): WireOptions => {
    const { clock, maxMessageBytes } = options;
    const deadline = timeoutMs === undefined
      ? new Deadline(clock, Infinity, signal)
      : Deadline.after(clock, timeoutMs, signal);
    return { deadline, metadata: metadataOf(header), maxMessageBytes };
  };
  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethodUnary<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersInit | undefined,
      input: MessageInitShape<I>,
    ): Promise<UnaryResponse<I, O>> {
      const target = endpoint();
      const wire = wireOptions(signal, timeoutMs, header);
      const reply = await transport.unary(target, pathOf(method), encode(method.input, input), wire);
      return {
        stream: false,
        service: method.parent,
        method,
        header: new Headers(reply.headers),
        trailer: new Headers(reply.trailers),
        message: decode(method.output, reply.message, target),
      };
    },
    stream<I extends DescMessage, O extends DescMessage>(
      method: DescMethodStreaming<I, O>,
      signal: AbortSignal | undefined,
      timeoutMs: number | undefined,
      header: HeadersInit | undefined,
      input: AsyncIterable<MessageInitShape<I>>,
    ): Promise<StreamResponse<I, O>> {
      const target = endpoint();
      const wire = wireOptions(signal, timeoutMs, header);
      const call = new StreamCall(
        transport,
        target,
        method,
        wire,
        options.maxQueuedBytes ?? 64 * 1024 * 1024,
      );
      call.pump(input);
      return call.response;
    },
  };
}

/**
 * One stream. It ends by the peer's status, by the reader's `return()`, by an input that throws,
 * or by its deadline; whichever comes first stops the input and cancels the call.
 */
class StreamCall<I extends DescMessage, O extends DescMessage> {
  readonly response: Promise<StreamResponse<I, O>>;
  readonly #method: DescMethodStreaming<I, O>;
  readonly #target: Endpoint;
  readonly #deadline: Deadline;
  readonly #maxQueuedBytes: number;
  readonly #wire: WireStream;
  readonly #trailer = new Headers();
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #end: { readonly error?: unknown } | undefined;
  #stopInput: (() => void) | undefined;
  #onDrain: (() => void) | undefined;
  #reader: (() => void) | undefined;

  constructor(
    transport: Transport,
    target: Endpoint,
    method: DescMethodStreaming<I, O>,
    options: WireOptions,
    maxQueuedBytes: number,
  ) {
    this.#method = method;
    this.#target = target;
    this.#deadline = options.deadline;
    this.#maxQueuedBytes = maxQueuedBytes;
    const opened = Promise.withResolvers<StreamResponse<I, O>>();
    this.response = opened.promise;
    const open = (headers: Metadata): void =>
      opened.resolve({
        stream: true,
        service: method.parent,
        method,
        header: new Headers(headers),
        trailer: this.#trailer,
        message: { [Symbol.asyncIterator]: () => this.#iterator() },
      });
    this.#wire = transport.stream(target, pathOf(method), {
      onHeaders: open,
      onMessage: (message) => {
        open({});
        this.#receive(message);
      },
      onDrain: () => this.#onDrain?.(),
      onClose: (status) => {
        const error = this.#errorOf(status);
        for (const [name, value] of Object.entries(status.trailers)) this.#trailer.append(name, value);
        if (error === undefined) open({});
        else opened.reject(error);
        this.#close(error === undefined ? {} : { error });
      },
    }, options);
  }

  /** Sends what the input gives, as fast as the peer takes it. */
  pump(input: AsyncIterable<MessageInitShape<I>>): void {
    const iterator = input[Symbol.asyncIterator]();
    this.#stopInput = () => {
      this.#onDrain?.();
      // What the input does with the end of the call is its own business.
      iterator.return?.().then(undefined, () => {});
    };
    const run = async (): Promise<void> => {
      for (;;) {
        const next = await iterator.next();
        if (this.#end !== undefined) return;
        if (next.done === true) return this.#wire.end();
        if (this.#wire.send(encode(this.#method.input, next.value))) continue;
        await new Promise<void>((resolve) => {
          this.#onDrain = resolve;
        });
        if (this.#end !== undefined) return;
      }
    };
    run().catch((error) => this.#fail(error));
  }

  #receive(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes > this.#maxQueuedBytes) {
      const what = `${this.#queuedBytes} bytes wait for the reader, ${this.#maxQueuedBytes} are allowed`;
      return this.#fail(new TikvError("overloaded", `Cannot read ${this.#method.name}: ${what}`));
    }
    // A view would pin the buffer it came in for as long as the reader takes.
    this.#queue.push(bytes.slice());
    this.#reader?.();
  }

  #errorOf(status: WireStatus): unknown {
    if (status.code === GRPC.OK) return undefined;
    if (this.#end?.error !== undefined) return this.#end.error;
    if (status.origin === "caller" && this.#deadline.isAborted) return this.#deadline.signal?.reason;
    return errorOfStatus(status, pathOf(this.#method), this.#target.address);
  }

  #fail(error: unknown): void {
    this.#close({ error });
    this.#wire.cancel(error);
  }

  #close(end: { readonly error?: unknown }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#stopInput?.();
    this.#reader?.();
  }

  #iterator(): AsyncIterator<MessageShape<O>, undefined> {
    const finished = { done: true, value: undefined } as const;
    return {
      next: async () => {
        while (this.#queue.length === 0) {
          if (this.#end?.error !== undefined) throw this.#end.error;
          if (this.#end !== undefined) return finished;
          await new Promise<void>((resolve) => {
            this.#reader = resolve;
          });
        }
        const bytes = this.#queue.shift() as Uint8Array;
        this.#queuedBytes -= bytes.length;
        try {
          return { done: false, value: decode(this.#method.output, bytes, this.#target) };
        } catch (error) {
          this.#fail(error);
          throw error;
        }
      },
      return: () => {
        this.#queue.length = 0;
        const isOpen = this.#end === undefined;
        this.#close({});
        if (isOpen) this.#wire.cancel(new TikvError("connection", `The reader of ${this.#method.name} left`));
        return Promise.resolve(finished);
      },
    };
  }
}

function pathOf(method: DescMethodUnary | DescMethodStreaming): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function encode<I extends DescMessage>(desc: I, input: MessageInitShape<I>): Uint8Array {
  return toBinary(desc, create(desc, input));
}

function decode<O extends DescMessage>(desc: O, bytes: Uint8Array, from: Endpoint): MessageShape<O> {
  try {
    return fromBinary(desc, bytes);
  } catch (cause) {
    const what = `${bytes.length} bytes from ${from.address} are no ${desc.typeName}`;
    throw new TikvError("protocol", `Cannot decode the answer: ${what}`, { cause });
  }
}

function metadataOf(header: HeadersInit | undefined): Metadata {
  const metadata: Record<string, string> = {};
  if (header !== undefined) {
    new Headers(header).forEach((value, name) => {
      metadata[name] = value;
    });
  }
  return metadata;
}

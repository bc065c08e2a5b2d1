// SPDX-License-Identifier: Apache-2.0

import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Clock, Timer } from "../../async/clock.ts";
import { TikvError } from "../../errors.ts";
import { encodeFrame, FrameDecoder } from "../grpc_frame.ts";
import { encodeGrpcMessage, metadataOfHeaders, parseGrpcTimeout } from "../grpc_metadata.ts";
import { GRPC } from "../grpc_status.ts";
import type { ServerCall, ServerHandlers, ServerStatus, Service } from "../server.ts";
import type { Metadata } from "../transport.ts";

/** What every call of a listener shares. */
export interface ServePlan {
  readonly service: Service;
  readonly localAddress: string;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
}

/** Serves one HTTP/2 stream as a gRPC call. */
export function serveStream(plan: ServePlan, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  const path = String(headers[":path"] ?? "");
  const type = headers["content-type"];
  // "close" follows; a broken stream needs nobody else.
  stream.on("error", () => {});
  if (headers[":method"] !== "POST" || type === undefined || !type.startsWith("application/grpc")) {
    stream.respond({ ":status": 415 }, { endStream: true });
    return;
  }
  const call = new Http2ServerCall(plan, stream, path, headers);
  let handlers: ServerHandlers | undefined;
  try {
    handlers = plan.service(call);
  } catch (error) {
    call.end(statusOfError(error));
    return;
  }
  if (handlers === undefined) {
    call.end({ code: GRPC.UNIMPLEMENTED, message: `unknown method ${path}` });
    return;
  }
  call.receive(handlers);
}

class Http2ServerCall implements ServerCall {
  readonly path: string;
  readonly localAddress: string;
  readonly timeoutMs: number | undefined;
  readonly #plan: ServePlan;
  readonly #stream: ServerHttp2Stream;
  readonly #fields: IncomingHttpHeaders;
  readonly #arrivedAt: number;
  #metadata: Metadata | undefined;
  // Most services never look at the signal, and it costs as much as the rest of a small call.
  #abort: AbortController | undefined;
  #timer: Timer | undefined;
  #isClosed = false;
  #hasEnded = false;
  #isDrainWanted = false;
  #onDrain: (() => void) | undefined;

  constructor(plan: ServePlan, stream: ServerHttp2Stream, path: string, fields: IncomingHttpHeaders) {
    this.path = path;
    this.localAddress = plan.localAddress;
    this.timeoutMs = parseGrpcTimeout(stringOf(fields["grpc-timeout"]));
    this.#plan = plan;
    this.#stream = stream;
    this.#fields = fields;
    this.#arrivedAt = plan.clock.now();
    stream.on("close", () => this.#closed());
  }

  get metadata(): Metadata {
    this.#metadata ??= metadataOfHeaders(this.#fields);
    return this.#metadata;
  }

  get signal(): AbortSignal {
    if (this.#abort !== undefined) return this.#abort.signal;
    const abort = new AbortController();
    this.#abort = abort;
    if (this.#isClosed && !this.#hasEnded) abort.abort(cancelled());
    else if (this.timeoutMs !== undefined && !this.#hasEnded) {
      const left = this.#arrivedAt + this.timeoutMs - this.#plan.clock.now();
      this.#timer = this.#plan.clock.timer(left, () => {
        abort.abort(new TikvError("timeout", "Cannot serve the call: the time of the caller is up"));
      }, { background: true });
    }
    return abort.signal;
  }

  receive(handlers: ServerHandlers): void {
    const stream = this.#stream;
    const decoder = new FrameDecoder(this.#plan.maxMessageBytes, (message) => handlers.onMessage(message));
    this.#onDrain = () => handlers.onDrain?.();
    if (this.#isDrainWanted) this.#hearDrain();
    stream.on("data", (chunk: Uint8Array) => {
      try {
        // A plain view: slice() of the runtime's Buffer would not copy.
        decoder.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
      } catch (error) {
        this.end(statusOfError(error));
      }
    });
    stream.on("end", () => {
      // A stream that is reset ends too; that is no half-close.
      if (stream.rstCode !== 0 && stream.rstCode !== undefined) return;
      try {
        decoder.finish();
        handlers.onEnd?.();
      } catch (error) {
        this.end(statusOfError(error));
      }
    });
  }

  send(message: Uint8Array): boolean {
    const stream = this.#stream;
    if (this.#isClosed || this.#hasEnded || stream.destroyed) return false;
    if (!stream.headersSent) {
      stream.respond({ ":status": 200, "content-type": CONTENT_TYPE }, { waitForTrailers: true });
    }
    // The stream says "drain" only after a write to which it said no, which it does early.
    if (stream.write(encodeFrame(message)) || stream.writableLength <= SEND_BUFFER_BYTES) return true;
    if (!this.#isDrainWanted) {
      this.#isDrainWanted = true;
      if (this.#onDrain !== undefined) this.#hearDrain();
    }
    return false;
  }

  end(status?: ServerStatus): void {
    const stream = this.#stream;
    if (this.#isClosed || this.#hasEnded || stream.destroyed) return;
    this.#hasEnded = true;
    this.#timer?.cancel();
    const trailers: Record<string, string> = { ...status?.trailers };
    trailers["grpc-status"] = String(status?.code ?? GRPC.OK);
    if (status !== undefined && status.message !== "") {
      trailers["grpc-message"] = encodeGrpcMessage(status.message);
    }
    if (stream.headersSent) {
      stream.once("wantTrailers", () => stream.sendTrailers(trailers));
      stream.end();
    } else {
      stream.respond({ ":status": 200, "content-type": CONTENT_TYPE, ...trailers }, { endStream: true });
    }
    // What the caller still sends is read and dropped, so that the stream can close.
    if (!stream.readableFlowing) stream.resume();
  }

  #hearDrain(): void {
    this.#stream.once("drain", () => {
      this.#isDrainWanted = false;
      this.#onDrain?.();
    });
  }

  #closed(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    if (!this.#hasEnded) this.#abort?.abort(cancelled());
  }
}

function cancelled(): TikvError {
  return new TikvError("connection", "Cannot serve the call: the caller cancelled it or is gone");
}

function statusOfError(error: unknown): ServerStatus {
  const message = error instanceof Error ? error.message : String(error);
  if (!TikvError.is(error)) return { code: GRPC.UNKNOWN, message };
  return { code: error.kind === "too-large" ? GRPC.RESOURCE_EXHAUSTED : GRPC.INTERNAL, message };
}

function stringOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

const CONTENT_TYPE = "application/grpc";

/** `send` returns false while more than this waits for the peer. */
const SEND_BUFFER_BYTES = 1024 * 1024;

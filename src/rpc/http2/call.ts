// SPDX-License-Identifier: Apache-2.0

import http2 from "node:http2";
import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { TikvError } from "../../errors.ts";
import { encodeFrame, FRAME_HEADER_BYTES, FrameDecoder, frameHeader } from "../grpc_frame.ts";
import { formatGrpcTimeout, metadataOfHeaders, statusOfHeaders } from "../grpc_metadata.ts";
import { GRPC } from "../grpc_status.ts";
import type { ConnectionId, StreamHandlers, WireOptions, WireStatus, WireStream } from "../transport.ts";
import type { ConnectionLost } from "./connection_lost.ts";
import { lossOfError } from "./connection_lost.ts";
import type { Lane, Waiter } from "./lane.ts";
import type { Session, SessionCall } from "./session.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;

/** What a call is made of. */
export interface CallPlan {
  readonly path: string;
  readonly scheme: "http" | "https";
  readonly userAgent: string;
  readonly maxMessageBytes: number;
  /** `send` returns false while more than this waits to be sent. */
  readonly sendBufferBytes: number;
}

/** One gRPC call: waits in its lane, then is one HTTP/2 stream. */
export class Http2Call implements WireStream, Waiter, SessionCall {
  readonly #lane: Lane;
  readonly #plan: CallPlan;
  readonly #handlers: StreamHandlers;
  readonly #options: WireOptions;
  readonly #decoder: FrameDecoder;
  readonly #stopDeadline: () => void;
  /** Messages from before there was a stream. */
  #backlog: Uint8Array[] = [];
  #backlogBytes = 0;
  #session: Session | undefined;
  #stream: ClientHttp2Stream | undefined;
  #isHalfClosed = false;
  #isDrainWanted = false;
  #isDrainHeard = false;
  #hasHeaders = false;
  /** The header block that has the status: the trailers, or the headers of a trailers-only answer. */
  #final: IncomingHttpHeaders | undefined;
  #hasEnded = false;
  #isOver = false;

  constructor(lane: Lane, plan: CallPlan, handlers: StreamHandlers, options: WireOptions) {
    this.#lane = lane;
    this.#plan = plan;
    this.#handlers = handlers;
    this.#options = options;
    this.#decoder = new FrameDecoder(options.maxMessageBytes ?? plan.maxMessageBytes, (message) => {
      if (!this.#isOver) this.#handlers.onMessage(message);
    });
    let isBuilt = false;
    const stop = options.deadline.onOver(`call ${plan.path}`, (reason) => {
      // An operation that is over before it begins is reported later, like everything else.
      if (isBuilt) this.#abandon(reason);
      else queueMicrotask(() => this.#abandon(reason));
    });
    isBuilt = true;
    this.#stopDeadline = stop;
  }

  send(message: Uint8Array): boolean {
    if (this.#isOver || this.#isHalfClosed) return false;
    const stream = this.#stream;
    if (stream === undefined) {
      this.#backlog.push(message);
      this.#backlogBytes += message.byteLength + FRAME_HEADER_BYTES;
      if (this.#backlogBytes <= this.#plan.sendBufferBytes) return true;
    } else {
      // The stream says "drain" only after a write to which it said no, which it does early.
      if (writeFrame(stream, message) || stream.writableLength <= this.#plan.sendBufferBytes) return true;
      this.#hearDrain(stream);
    }
    this.#isDrainWanted = true;
    return false;
  }

  end(): void {
    if (this.#isOver || this.#isHalfClosed) return;
    this.#isHalfClosed = true;
    this.#stream?.end();
  }

  cancel(cause: unknown): void {
    if (this.#isOver) return;
    this.#abandon(cause);
  }

  start(session: Session): boolean {
    if (this.#isOver) return true;
    const stream = session.open(this, this.#headers(session.id.address));
    if (stream === undefined) return false;
    this.#session = session;
    this.#stream = stream;
    stream.on("response", (headers, flags) => this.#gotHeaders(headers, flags));
    stream.on("data", (chunk: Uint8Array) => this.#gotData(session, chunk));
    stream.on("trailers", (trailers) => {
      session.noteRead();
      this.#final ??= trailers;
      if (this.#hasEnded) this.#finishByPeer();
    });
    stream.on("end", () => {
      this.#hasEnded = true;
      if (this.#final !== undefined) this.#finishByPeer();
    });
    // Every end, with or without an error, is followed by "close"; there it is judged.
    stream.on("error", () => {});
    stream.on("close", () => this.#closed(session, stream));
    this.#flushBacklog(stream);
    return true;
  }

  refuse(loss: ConnectionLost, connection: ConnectionId | undefined): void {
    this.#finish(loss.status(connection, false));
  }

  windowGrew(): void {
    if (!this.#isOver && !this.#isHalfClosed) this.#handlers.onOutdated?.();
  }

  lost(loss: ConnectionLost): void {
    this.#finish(loss.status(this.#session?.id, this.#isMaybeExecuted()));
  }

  #headers(address: string): OutgoingHttpHeaders {
    const { deadline, metadata } = this.#options;
    const headers: OutgoingHttpHeaders = {
      ":method": "POST",
      ":scheme": this.#plan.scheme,
      ":authority": address,
      ":path": this.#plan.path,
      "content-type": "application/grpc",
      "te": "trailers",
      "user-agent": this.#plan.userAgent,
    };
    if (deadline.at !== Infinity) headers["grpc-timeout"] = formatGrpcTimeout(deadline.remainingMs());
    return metadata === undefined ? headers : { ...headers, ...metadata };
  }

  #flushBacklog(stream: ClientHttp2Stream): void {
    const backlog = this.#backlog;
    let hasRoom = true;
    const first = backlog[0];
    if (backlog.length === 1 && first !== undefined && this.#isHalfClosed) {
      // A unary call: headers, message and end in one turn.
      if (first.byteLength <= COALESCE_BYTES) stream.end(encodeFrame(first));
      else {
        writeFrame(stream, first);
        stream.end();
      }
    } else {
      for (const message of backlog) hasRoom = writeFrame(stream, message);
      if (this.#isHalfClosed) stream.end();
    }
    this.#backlog = [];
    if (!this.#isDrainWanted) return;
    if (!hasRoom) this.#hearDrain(stream);
    else queueMicrotask(() => this.#drained());
  }

  #hearDrain(stream: ClientHttp2Stream): void {
    if (this.#isDrainHeard) return;
    this.#isDrainHeard = true;
    stream.on("drain", () => this.#drained());
  }

  #drained(): void {
    if (!this.#isDrainWanted || this.#isOver) return;
    this.#isDrainWanted = false;
    this.#handlers.onDrain?.();
  }

  #gotHeaders(
    headers: IncomingHttpHeaders & { readonly ":status"?: number | undefined },
    flags: number,
  ): void {
    const session = this.#session;
    session?.noteRead();
    if (this.#isOver) return;
    if (headers["grpc-status"] !== undefined) {
      this.#final = headers;
      if ((flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0) this.#finishByPeer();
      return;
    }
    const status = headers[":status"];
    const type = headers["content-type"];
    if (status !== 200 || type === undefined || !type.startsWith("application/grpc")) {
      this.#fail(
        status === undefined ? GRPC.UNKNOWN : CODE_OF_HTTP_STATUS[status] ?? GRPC.UNKNOWN,
        `Cannot use the answer: it has HTTP status ${status}, content type "${
          type ?? ""
        }" and no gRPC status`,
      );
      return;
    }
    this.#hasHeaders = true;
    this.#handlers.onHeaders?.(metadataOfHeaders(headers));
  }

  #gotData(session: Session, chunk: Uint8Array): void {
    session.noteRead();
    if (this.#isOver) return;
    try {
      // A plain view: slice() of the runtime's Buffer would not copy.
      this.#decoder.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    } catch (error) {
      this.#broken(error);
    }
  }

  #finishByPeer(): void {
    if (this.#isOver || this.#final === undefined) return;
    const { code, message } = statusOfHeaders(this.#final) ?? NO_STATUS;
    if (code === NO_STATUS.code) return this.#fail(GRPC.UNKNOWN, MISSING_STATUS);
    if (code === GRPC.OK) {
      try {
        this.#decoder.finish();
      } catch (error) {
        return this.#broken(error);
      }
    }
    const stream = this.#stream;
    if (stream !== undefined && !this.#isHalfClosed) {
      // What still waits to be sent would keep the stream open as long as the peer does not read.
      stream.close(stream.writableLength > 0 ? NGHTTP2_CANCEL : NGHTTP2_NO_ERROR);
    }
    this.#finish({
      code,
      message,
      trailers: metadataOfHeaders(this.#final),
      origin: "peer",
      isMaybeExecuted: true,
      connection: this.#session?.id,
    });
  }

  /** The stream is gone. Whoever ended it, this is the last that is heard of it. */
  #closed(session: Session, stream: ClientHttp2Stream): void {
    if (!this.#isOver && this.#final === undefined) {
      // The end of the connection may be known only a moment after that of its streams.
      this.#options.deadline.clock.timer(0, () => {
        if (!this.#isOver) this.#judge(session, stream);
        session.release(this);
      });
      return;
    }
    session.release(this);
    this.#finishByPeer();
  }

  #judge(session: Session, stream: ClientHttp2Stream): void {
    const { loss } = session;
    if (loss !== undefined) return this.lost(loss);
    const code = stream.rstCode ?? NGHTTP2_NO_ERROR;
    if (!session.isIntact()) return this.lost(lossOfError("the connection broke"));
    if (code === NGHTTP2_NO_ERROR && this.#hasHeaders) return this.#fail(GRPC.UNKNOWN, MISSING_STATUS);
    this.lost(lossOfError(`the peer reset the stream with ${nameOfReset(code)}`));
  }

  /** False only when the peer said, or it is certain otherwise, that it did not see the request. */
  #isMaybeExecuted(): boolean {
    const stream = this.#stream;
    if (stream === undefined) return false;
    if (stream.rstCode === NGHTTP2_REFUSED_STREAM) return false;
    return this.#session?.isBeyondGoaway(stream.id) !== true;
  }

  /** The answer makes no sense. */
  #fail(code: number, text: string): void {
    this.#broken(new TikvError("protocol", text), code);
  }

  #broken(cause: unknown, code: number = GRPC.INTERNAL): void {
    this.#endStream();
    this.#finish({
      code: TikvError.is(cause) && cause.kind === "too-large" ? GRPC.RESOURCE_EXHAUSTED : code,
      message: cause instanceof Error ? cause.message : String(cause),
      trailers: {},
      origin: "transport",
      isMaybeExecuted: true,
      cause,
      connection: this.#session?.id,
    });
  }

  /** The caller does not want the call any more, or its time is up. */
  #abandon(cause: unknown): void {
    if (this.#isOver) return;
    const { deadline } = this.#options;
    const isTimeout = !deadline.isAborted && TikvError.is(cause) && cause.kind === "timeout";
    const status: WireStatus = {
      code: isTimeout ? GRPC.DEADLINE_EXCEEDED : GRPC.CANCELLED,
      message: isTimeout ? "the deadline passed" : "the caller cancelled the call",
      trailers: {},
      origin: "caller",
      isMaybeExecuted: this.#isMaybeExecuted(),
      cause,
      connection: this.#session?.id,
    };
    this.#endStream();
    this.#finish(status);
  }

  #endStream(): void {
    if (this.#stream === undefined) this.#lane.leave(this);
    else this.#stream.close(NGHTTP2_CANCEL);
  }

  /** Says the last word, once, and never while the caller is still inside a call of ours. */
  #finish(status: WireStatus): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopDeadline();
    this.#backlog = [];
    queueMicrotask(() => this.#handlers.onClose(status));
  }
}

/** Small messages go out in one write with their header; large ones are not copied for it. */
function writeFrame(stream: ClientHttp2Stream, message: Uint8Array): boolean {
  if (message.byteLength <= COALESCE_BYTES) return stream.write(encodeFrame(message));
  stream.cork();
  stream.write(frameHeader(message.byteLength));
  const hasRoom = stream.write(message);
  stream.uncork();
  return hasRoom;
}

function nameOfReset(code: number): string {
  return RESET_NAMES[code] ?? `code ${code}`;
}

const COALESCE_BYTES = 64 * 1024;
const MISSING_STATUS = "Cannot use the answer: it ended without a gRPC status";
const NO_STATUS = { code: -1, message: "" };

/** RFC 9113 7. */
const RESET_NAMES: readonly string[] = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
];

/** gRPC's own table for answers without a status (doc/http-grpc-status-mapping.md of grpc). */
const CODE_OF_HTTP_STATUS: Readonly<Record<number, number>> = {
  400: GRPC.INTERNAL,
  401: GRPC.UNAUTHENTICATED,
  403: GRPC.PERMISSION_DENIED,
  404: GRPC.UNIMPLEMENTED,
  429: GRPC.UNAVAILABLE,
  502: GRPC.UNAVAILABLE,
  503: GRPC.UNAVAILABLE,
  504: GRPC.UNAVAILABLE,
};

// SPDX-License-Identifier: Apache-2.0
// One call through memory: the client's stream and the service's view of it, joined by two pipes.

import type { Deadline } from "../async/deadline.ts";
import { TikvError } from "../errors.ts";
import { GRPC } from "./grpc_status.ts";
import type { PipeLink } from "./memory_pipe.ts";
import { Pipe } from "./memory_pipe.ts";
import type { ServerCall, ServerHandlers, ServerStatus, Service } from "./server.ts";
import type {
  ConnectionId,
  Metadata,
  StreamHandlers,
  WireOptions,
  WireStatus,
  WireStream,
} from "./transport.ts";

/** The link of one call, with what a test may have set for it. */
export interface CallLink {
  readonly request: PipeLink;
  readonly reply: PipeLink;
  /** Undelivered messages in one direction at which `send` asks its caller to wait. */
  readonly windowMessages: number;
  readonly copiesMessages: boolean;
  /** Finds the service when the call arrives; undefined when nobody listens or calls are refused. */
  serviceOf(): Service | undefined;
  onSettled(call: MemoryCall): void;
}

/** What a new call is about. */
export interface CallTarget {
  readonly address: string;
  readonly path: string;
  readonly connection: ConnectionId;
  /** The calls of the same connection. */
  readonly siblings: Set<MemoryCall>;
}

type ToServer = Uint8Array | "open" | "end" | "cancel";
type ToClient = Uint8Array | { readonly status: ServerStatus };

const NO_METADATA: Metadata = Object.freeze({});

/** A call on its way. The client holds it as a stream, the service through {@linkcode ServerCall}. */
export class MemoryCall implements WireStream {
  readonly connection: ConnectionId;
  readonly #siblings: Set<MemoryCall>;
  readonly #link: CallLink;
  readonly #handlers: StreamHandlers;
  readonly #options: WireOptions;
  readonly #toServer: Pipe<ToServer>;
  readonly #toClient: Pipe<ToClient>;
  readonly #stopDeadline: () => void;
  readonly #server: MemoryServerCall;
  #hasSent = false;
  #hasEnded = false;
  #isBlocked = false;
  #hasHeaders = false;
  #isClosed = false;

  constructor(target: CallTarget, link: CallLink, handlers: StreamHandlers, options: WireOptions) {
    this.connection = target.connection;
    this.#siblings = target.siblings;
    this.#siblings.add(this);
    this.#link = link;
    this.#handlers = handlers;
    this.#options = options;
    this.#toServer = new Pipe<ToServer>(link.request, (item) => this.#arrive(item));
    this.#toClient = new Pipe<ToClient>(link.reply, (item) => this.#receive(item));
    this.#server = new MemoryServerCall(target, options, link, this.#toClient);
    this.#toServer.push("open");
    this.#stopDeadline = watch(options.deadline, `call ${target.path}`, (reason) => this.#over(reason));
  }

  send(message: Uint8Array): boolean {
    if (this.#isClosed || this.#hasEnded) return false;
    this.#hasSent = true;
    this.#toServer.push(this.#link.copiesMessages ? message.slice() : message);
    this.#isBlocked = this.#toServer.length >= this.#link.windowMessages;
    return !this.#isBlocked;
  }

  end(): void {
    if (this.#isClosed || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#toServer.push("end");
  }

  cancel(cause: unknown): void {
    if (this.#isClosed) return;
    this.#toServer.push("cancel");
    this.#close({ code: GRPC.CANCELLED, message: "the caller cancelled", origin: "caller", cause });
  }

  /** Ends the call as a lost connection does: both sides hear of it, what was on its way is lost. */
  cut(message: string, cause?: unknown): void {
    if (this.#isClosed) return;
    this.#toServer.clear();
    this.#server.lose();
    this.#close({ code: GRPC.UNAVAILABLE, message, origin: "transport", cause });
  }

  /** Delivers what was held. */
  resume(): void {
    this.#toServer.resume();
    this.#toClient.resume();
  }

  #over(reason: unknown): void {
    if (this.#isClosed) return;
    this.#toServer.push("cancel");
    const isAbort = this.#options.deadline.isAborted;
    this.#close({
      code: isAbort ? GRPC.CANCELLED : GRPC.DEADLINE_EXCEEDED,
      message: isAbort ? "the caller aborted" : "the deadline passed",
      origin: "caller",
      cause: reason,
    });
  }

  #arrive(item: ToServer): void {
    if (item === "open") {
      const service = this.#link.serviceOf();
      if (service === undefined) return this.#refuse();
      this.#server.open(service);
    } else if (item === "end") this.#server.hearEnd();
    else if (item === "cancel") this.#server.lose();
    else this.#server.hear(item);
    if (this.#isBlocked && this.#toServer.length === 0 && !this.#isClosed) {
      this.#isBlocked = false;
      this.#handlers.onDrain?.();
    }
  }

  #refuse(): void {
    if (this.#isClosed) return;
    this.#toServer.clear();
    this.#hasSent = false;
    this.#close({ code: GRPC.UNAVAILABLE, message: "connection refused", origin: "transport" });
  }

  #receive(item: ToClient): void {
    if (this.#isClosed) return;
    if (!this.#hasHeaders) {
      this.#hasHeaders = true;
      this.#handlers.onHeaders?.(NO_METADATA);
    }
    if (item instanceof Uint8Array) {
      const limit = this.#options.maxMessageBytes ?? Infinity;
      if (item.length > limit) return this.#tooLarge(item.length, limit);
      this.#handlers.onMessage(item);
      this.#server.drained();
      return;
    }
    const { status } = item;
    this.#finish({
      code: status.code,
      message: status.message,
      trailers: status.trailers ?? NO_METADATA,
      origin: "peer",
      // A server that does not know the method did not run it.
      isMaybeExecuted: status.code !== GRPC.UNIMPLEMENTED,
      connection: this.connection,
    });
  }

  #tooLarge(size: number, limit: number): void {
    this.#toServer.push("cancel");
    const message = `a message of ${size} bytes was refused, the limit is ${limit}`;
    const cause = new TikvError("too-large", `Cannot receive: ${message}`);
    this.#toClient.clear();
    this.#finish({ ...this.#lost(), code: GRPC.RESOURCE_EXHAUSTED, message, origin: "transport", cause });
  }

  /** Closes on the client's side: the handlers hear of it in a turn of their own. */
  #close(status: Pick<WireStatus, "code" | "message" | "origin" | "cause">): void {
    this.#isClosed = true;
    this.#stopDeadline();
    this.#toClient.clear();
    this.#settle();
    const end = { ...this.#lost(), ...status };
    queueMicrotask(() => this.#handlers.onClose(end));
  }

  #finish(status: WireStatus): void {
    this.#isClosed = true;
    this.#stopDeadline();
    this.#settle();
    this.#handlers.onClose(status);
  }

  #settle(): void {
    this.#siblings.delete(this);
    this.#link.onSettled(this);
  }

  #lost(): Pick<WireStatus, "trailers" | "isMaybeExecuted" | "connection"> {
    return { trailers: NO_METADATA, isMaybeExecuted: this.#hasSent, connection: this.connection };
  }
}

/** The service's side. Nothing that a service throws gets out of here. */
class MemoryServerCall implements ServerCall {
  readonly path: string;
  readonly metadata: Metadata;
  readonly localAddress: string;
  readonly timeoutMs: number | undefined;
  readonly #link: CallLink;
  readonly #toClient: Pipe<ToClient>;
  #handlers: ServerHandlers | undefined;
  // Made when it is first asked for: most services never look at it.
  #controller: AbortController | undefined;
  #isOver = false;
  #isLost = false;
  #isBlocked = false;

  constructor(target: CallTarget, options: WireOptions, link: CallLink, toClient: Pipe<ToClient>) {
    this.path = target.path;
    this.localAddress = target.address;
    this.metadata = options.metadata ?? NO_METADATA;
    this.timeoutMs = options.deadline.at === Infinity ? undefined : options.deadline.remainingMs();
    this.#link = link;
    this.#toClient = toClient;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#isLost) this.#controller.abort(lostReason());
    return this.#controller.signal;
  }

  send(message: Uint8Array): boolean {
    if (this.#isOver) return false;
    this.#toClient.push(this.#link.copiesMessages ? message.slice() : message);
    this.#isBlocked = this.#toClient.length >= this.#link.windowMessages;
    return !this.#isBlocked;
  }

  end(status?: ServerStatus): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#toClient.push({ status: status ?? { code: GRPC.OK, message: "" } });
  }

  open(service: Service): void {
    this.#guard(() => {
      this.#handlers = service(this);
      if (this.#handlers === undefined) {
        this.end({ code: GRPC.UNIMPLEMENTED, message: `unknown method ${this.path}` });
      }
    });
  }

  hear(message: Uint8Array): void {
    if (!this.#isOver) this.#guard(() => this.#handlers?.onMessage(message));
  }

  hearEnd(): void {
    if (!this.#isOver) this.#guard(() => this.#handlers?.onEnd?.());
  }

  /** The caller is gone. */
  lose(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#isOver = true;
    this.#controller?.abort(lostReason());
  }

  drained(): void {
    if (!this.#isBlocked || this.#toClient.length > 0 || this.#isOver) return;
    this.#isBlocked = false;
    this.#guard(() => this.#handlers?.onDrain?.());
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.end({ code: GRPC.INTERNAL, message: `the service threw: ${String(error)}` });
    }
  }
}

function lostReason(): TikvError {
  return new TikvError("connection", "Cannot answer the call: the caller is gone");
}

/** As `Deadline.onOver`, but never calls back before it returns. */
function watch(deadline: Deadline, what: string, callback: (reason: unknown) => void): () => void {
  if (deadline.at === Infinity && deadline.signal === undefined) return () => {};
  if (!deadline.isOver()) return deadline.onOver(what, callback);
  let isStopped = false;
  queueMicrotask(() => {
    if (!isStopped) deadline.onOver(what, callback);
  });
  return () => {
    isStopped = true;
  };
}

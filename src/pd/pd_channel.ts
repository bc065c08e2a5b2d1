// SPDX-License-Identifier: Apache-2.0

import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Transport as ConnectTransport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Environment } from "../async/clock.ts";
import type { Deadline } from "../async/deadline.ts";
import { TikvError } from "../errors.ts";
import type { Observer } from "../observe/events.ts";
import { createConnectTransport } from "../rpc/connect_transport.ts";
import { errorOfStatus } from "../rpc/grpc_status.ts";
import type { Metadata, Transport } from "../rpc/transport.ts";
import { errorOfRefusal, type PdRefusal, withPdKind } from "./pd_error.ts";

/** Carries calls to PD: one transport for every address, or one for each. */
export type ControlTransport = ConnectTransport | ((address: string) => ConnectTransport);

/** Options of a new {@linkcode PdChannel}. */
export interface PdChannelOptions {
  readonly transport: Transport;
  /** Used for everything instead of `transport` when given. */
  readonly controlTransport?: ControlTransport | undefined;
  readonly environment: Environment;
  readonly observe: Observer;
  readonly maxResponseBytes: number;
}

/** Options of one call. */
export interface PdUnaryOptions {
  readonly deadline: Deadline;
  readonly metadata?: Metadata | undefined;
}

/** One request to one member of PD: no retries, no choice of member. */
export class PdChannel {
  readonly #options: PdChannelOptions;
  readonly #connects = new Map<string, ConnectTransport>();

  constructor(options: PdChannelOptions) {
    this.#options = options;
  }

  /**
   * Calls a member. Rejects with the error of the status, with a `PdError` when the answer is a
   * refusal, and with the signal's own reason after an abort.
   */
  async unary<I extends DescMessage, O extends DescMessage>(
    address: string,
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: PdUnaryOptions,
  ): Promise<MessageShape<O>> {
    const { observe, environment: { clock } } = this.#options;
    const { deadline, metadata } = options;
    const startedAt = clock.now();
    let isError = true;
    try {
      deadline.throwIfOver(`call ${method.name} at ${address}`);
      const remainingMs = deadline.remainingMs();
      const timeoutMs = remainingMs === Infinity ? undefined : remainingMs;
      const { message } = await this.connect(address).unary(
        method,
        deadline.signal,
        timeoutMs,
        metadata,
        request,
      );
      const refusal = errorOfRefusal(refusalOf(message), { method: method.name, address });
      if (refusal !== undefined) throw refusal;
      isError = false;
      return message;
    } catch (error) {
      if (deadline.isAborted) throw deadline.signal?.reason;
      throw withPdKind(errorOfConnect(error, method, address));
    } finally {
      observe({ type: "rpc", method: method.name, address, durationMs: clock.now() - startedAt, isError });
    }
  }

  /** The Connect transport of a member. */
  connect(address: string): ConnectTransport {
    const { controlTransport, transport, environment, maxResponseBytes } = this.#options;
    if (typeof controlTransport === "object") return controlTransport;
    let connect = this.#connects.get(address);
    if (connect === undefined) {
      connect = controlTransport === undefined
        ? createConnectTransport(transport, () => ({ address, kind: "pd" }), {
          clock: environment.clock,
          maxMessageBytes: maxResponseBytes,
        })
        : controlTransport(address);
      this.#connects.set(address, connect);
    }
    return connect;
  }
}

/** Turns what a Connect transport of the caller rejects with into our own errors. */
export function errorOfConnect(error: unknown, method: { readonly name: string }, address: string): unknown {
  if (TikvError.is(error) || !(error instanceof ConnectError)) return error;
  // Transports differ in how they name a lost connection (runtimes.md 1.1), so these are all one.
  const isLost = error.code === Code.Canceled || error.code === Code.Aborted ||
    error.code === Code.Unavailable;
  return errorOfStatus(
    {
      code: error.code,
      message: error.rawMessage,
      trailers: {},
      origin: isLost ? "transport" : "peer",
      isMaybeExecuted: true,
      cause: error,
    },
    method.name,
    address,
  );
}

/** Most answers carry the refusal in a header; those about the configuration in a field of their own. */
function refusalOf(message: object): PdRefusal | undefined {
  if ("header" in message) return (message.header as { readonly error?: PdRefusal } | undefined)?.error;
  return "error" in message ? message.error as PdRefusal | undefined : undefined;
}

// SPDX-License-Identifier: Apache-2.0
// What the tests of the HTTP/2 transport share: a client that is checked for leaks, an echo
// service, and calls in few words.

import assert from "node:assert/strict";
import { systemClock } from "../../src/async/clock.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { GRPC, RpcError } from "../../src/rpc/grpc_status.ts";
import type { Http2Transport, Http2TransportOptions } from "../../src/rpc/http2/transport.ts";
import { createHttp2Transport } from "../../src/rpc/http2/transport.ts";
import type { ListenOptions } from "../../src/rpc/http2/server.ts";
import { listenHttp2 } from "../../src/rpc/http2/server.ts";
import type { Listener, ServerCall, Service } from "../../src/rpc/server.ts";
import type { Endpoint, WireOptions, WireStatus, WireStream } from "../../src/rpc/transport.ts";

/** Runs a test with a transport and asserts that it leaves nothing behind. */
export async function withTransport(
  options: Http2TransportOptions,
  body: (transport: Http2Transport) => Promise<void>,
): Promise<void> {
  const transport = createHttp2Transport(options);
  try {
    await body(transport);
  } finally {
    await transport.close();
  }
  assert.deepEqual(transport.stats(), {
    connections: { connecting: 0, ready: 0, draining: 0 },
    streams: 0,
    waitingCalls: 0,
    sockets: 0,
  });
}

/** Runs a test with a listener and closes it. */
export async function withListener(
  service: Service,
  options: ListenOptions,
  body: (listener: Listener) => Promise<void>,
): Promise<void> {
  const listener = await listenHttp2(service, options);
  try {
    await body(listener);
  } finally {
    await listener.close();
  }
}

/** `/test/Echo` sends back every message; `/test/Hang` takes messages and says nothing. */
export function echoService(calls: ServerCall[] = []): Service {
  return (call) => {
    calls.push(call);
    if (call.path === "/test/Echo") {
      return {
        onMessage(message): void {
          call.send(message.slice());
        },
        onEnd(): void {
          call.end();
        },
      };
    }
    return call.path === "/test/Hang" ? { onMessage(): void {} } : undefined;
  };
}

export function store(address: string, lane: number = 0): Endpoint {
  return { address, kind: "store", lane };
}

/** Options of a call that has `ms`. */
export function within(ms: number = 20_000, signal?: AbortSignal): WireOptions {
  return { deadline: Deadline.after(systemClock, ms, signal) };
}

/** The error of a call that has to fail. */
export async function failureOf(promise: Promise<unknown>): Promise<RpcError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
    return error;
  }
  assert.fail("expected an RpcError, nothing was thrown");
}

/** A stream that collects what comes. */
export interface Collected {
  readonly stream: WireStream;
  readonly messages: Uint8Array[];
  readonly closed: Promise<WireStatus>;
  /** How often there was room again. */
  readonly drains: number;
}

/** Opens a stream that collects what comes. */
export function collect(
  transport: Http2Transport,
  endpoint: Endpoint,
  path: string,
  options: WireOptions = within(),
): Collected {
  const messages: Uint8Array[] = [];
  let drains = 0;
  let onClose: (status: WireStatus) => void = () => {};
  const closed = new Promise<WireStatus>((resolve) => {
    onClose = resolve;
  });
  const stream = transport.stream(endpoint, path, {
    onMessage: (message) => messages.push(message.slice()),
    onDrain: () => {
      drains++;
    },
    onClose: (status) => onClose(status),
  }, options);
  return {
    stream,
    messages,
    closed,
    get drains(): number {
      return drains;
    },
  };
}

/** Asserts that a call was lost with its connection, in the one form that the transport has. */
export function assertLost(error: RpcError, isMaybeExecuted: boolean): void {
  const { kind, code, origin } = error;
  assert.deepEqual(
    { kind, code, origin, isMaybeExecuted: error.isMaybeExecuted },
    { kind: "connection", code: GRPC.UNAVAILABLE, origin: "transport", isMaybeExecuted },
    error.message,
  );
}

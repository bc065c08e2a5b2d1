// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import {
  GetStoreRequestSchema,
  GetStoreResponseSchema,
  PD,
  TsoRequestSchema,
  TsoResponseSchema,
} from "../../../gen/pdpb_pb.ts";
import { TikvError } from "../../../src/errors.ts";
import { createConnectTransport } from "../../../src/rpc/connect_transport.ts";
import { GRPC, RpcError } from "../../../src/rpc/grpc_status.ts";
import { MemoryNetwork } from "../../../src/rpc/memory.ts";
import type { ServerCall, ServerHandlers, Service } from "../../../src/rpc/server.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

interface SetUp {
  readonly clock: ManualClock;
  readonly network: MemoryNetwork;
  readonly connect: Transport;
  readonly client: Client<typeof PD>;
}

function setUp(
  service: Service,
  options: { maxQueuedBytes?: number; windowMessages?: number } = {},
): SetUp {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, random: new SeededRandom(1) }, options);
  network.listen("pd:1", service);
  const endpoint = { address: "pd:1", kind: "pd" } as const;
  const connect = createConnectTransport(network.transport(), () => endpoint, { clock, ...options });
  return { clock, network, connect, client: createClient(PD, connect) };
}

/** A TSO service that answers each request with its own count, and notes what it was told. */
function tsoService(calls: ServerCall[]): Service {
  return (call): ServerHandlers => {
    calls.push(call);
    return {
      onMessage: (message) => {
        const { count } = fromBinary(TsoRequestSchema, message);
        call.send(toBinary(TsoResponseSchema, create(TsoResponseSchema, { count })));
      },
      onEnd: () => call.end(),
    };
  };
}

async function* counts(...list: number[]): AsyncGenerator<{ count: number }> {
  for (const count of list) yield await Promise.resolve({ count });
}

test("unary() carries message, metadata and time limit, and decodes the answer", async () => {
  const seen: unknown[] = [];
  const { client } = setUp((call) => ({
    onMessage: (message) => {
      const { storeId } = fromBinary(GetStoreRequestSchema, message);
      seen.push(call.path, call.metadata["pd-allow-follower-handle"], call.timeoutMs, storeId);
      call.send(toBinary(GetStoreResponseSchema, create(GetStoreResponseSchema, { store: { id: storeId } })));
      call.end();
    },
  }));
  const headers = { "PD-Allow-Follower-Handle": "1" };
  const reply = await client.getStore({ storeId: 2n ** 63n }, { headers, timeoutMs: 700 });
  assert.equal(reply.store?.id, 2n ** 63n);
  assert.deepEqual(seen, ["/pdpb.PD/GetStore", "1", 700, 2n ** 63n]);
});

test("unary() rejects with an RpcError of the peer's status", async () => {
  const { client } = setUp(() => undefined);
  await assert.rejects(client.getStore({}), (error) => {
    assert.ok(error instanceof RpcError);
    assert.equal(error.kind, "unsupported");
    assert.equal(error.code, GRPC.UNIMPLEMENTED);
    return true;
  });
});

test("unary() rejects with the signal's own reason when aborted before or during the call", async () => {
  const { client, network } = setUp(() => ({ onMessage: () => {} }));
  const reason = new Error("enough");
  await assert.rejects(
    client.getStore({}, { signal: AbortSignal.abort(reason) }),
    (error) => error === reason,
  );
  const controller = new AbortController();
  const pending = client.getStore({}, { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(pending, (error) => error === reason);
  await Promise.resolve();
  assert.equal(network.openCalls("pd:1"), 0);
});

test("unary() rejects with a timeout when the peer is silent, and leaves no timer", async () => {
  const { client, clock } = setUp(() => ({ onMessage: () => {} }));
  const before = clock.now();
  await assert.rejects(clock.run(client.getStore({}, { timeoutMs: 250 })), (error) => {
    assert.ok(TikvError.is(error));
    assert.equal(error.kind, "timeout");
    return true;
  });
  assert.equal(clock.now() - before, 250);
  assert.equal(clock.pendingTimers, 0);
});

test("unary() rejects with a protocol error when the answer is no protobuf message", async () => {
  const { client } = setUp((call) => ({
    onMessage: () => {
      call.send(Uint8Array.of(0xff, 0xff, 0xff));
      call.end();
    },
  }));
  await assert.rejects(client.getStore({}), (error) => TikvError.is(error) && error.kind === "protocol");
});

test("stream() gives messages in order and ends with the peer", async () => {
  const calls: ServerCall[] = [];
  const { client, network } = setUp(tsoService(calls));
  const seen: number[] = [];
  for await (const reply of client.tso(counts(1, 2, 3))) seen.push(reply.count);
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(network.openCalls("pd:1"), 0);
});

test("stream() waits for room before it takes the next input", async () => {
  const taken: number[] = [];
  async function* input(): AsyncGenerator<{ count: number }> {
    for (let count = 1; count <= 20; count++) {
      taken.push(count);
      yield await Promise.resolve({ count });
    }
  }
  const { network, connect } = setUp(tsoService([]), { windowMessages: 3 });
  network.setLink("pd:1", "silent");
  const response = connect.stream(PD.method.tso, undefined, undefined, undefined, input());
  for (let turn = 0; turn < 100; turn++) await undefined;
  assert.ok(taken.length <= 4, `took ${taken.length} messages`);
  network.setLink("pd:1", "up");
  let received = 0;
  for await (const _ of (await response).message) received++;
  assert.equal(received, 20);
});

test("stream() cancels the call and the input when its reader leaves early", async () => {
  const calls: ServerCall[] = [];
  const { network, connect } = setUp(tsoService(calls));
  let isReturned = false;
  async function* endless(): AsyncGenerator<{ count: number }> {
    try {
      for (;;) yield await Promise.resolve({ count: 1 });
    } finally {
      isReturned = true;
    }
  }
  const response = await connect.stream(PD.method.tso, undefined, undefined, undefined, endless());
  for await (const reply of response.message) {
    assert.equal(reply.count, 1);
    break;
  }
  for (let turn = 0; turn < 50; turn++) await undefined;
  assert.equal(network.openCalls("pd:1"), 0);
  assert.equal(calls[0]?.signal.aborted, true);
  assert.equal(isReturned, true);
});

test("stream() rejects with the signal's own reason when aborted while reading", async () => {
  const { network, connect } = setUp(tsoService([]));
  const controller = new AbortController();
  const reason = new Error("enough");
  async function* once(): AsyncGenerator<{ count: number }> {
    yield { count: 7 };
    await new Promise(() => {});
  }
  const response = await connect.stream(PD.method.tso, controller.signal, undefined, undefined, once());
  const iterator = response.message[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value?.count, 7);
  const next = iterator.next();
  controller.abort(reason);
  await assert.rejects(next, (error) => error === reason);
  assert.equal(network.openCalls("pd:1"), 0);
});

test("stream() rejects with what the input threw, and cancels the call", async () => {
  const { network, connect } = setUp(tsoService([]));
  const reason = new Error("no more input");
  // deno-lint-ignore require-yield
  async function* broken(): AsyncGenerator<{ count: number }> {
    await Promise.resolve();
    throw reason;
  }
  await assert.rejects(
    connect.stream(PD.method.tso, undefined, undefined, undefined, broken()),
    (error) => error === reason,
  );
  await Promise.resolve();
  assert.equal(network.openCalls("pd:1"), 0);
});

test("stream() gives what arrived and then the error when the connection is lost", async () => {
  const calls: ServerCall[] = [];
  const { network, connect } = setUp(tsoService(calls));
  async function* once(): AsyncGenerator<{ count: number }> {
    yield { count: 7 };
    await new Promise(() => {});
  }
  const response = await connect.stream(PD.method.tso, undefined, undefined, undefined, once());
  network.cut("pd:1");
  const iterator = response.message[Symbol.asyncIterator]();
  assert.equal((await iterator.next()).value?.count, 7);
  await assert.rejects(iterator.next(), (error) => error instanceof RpcError && error.kind === "connection");
});

test("stream() ends with an overloaded error when its reader stays behind too far", async () => {
  const { network, connect } = setUp(tsoService([]), { maxQueuedBytes: 10 });
  const input = counts(...Array.from({ length: 20 }, (_, index) => index + 1));
  const response = await connect.stream(PD.method.tso, undefined, undefined, undefined, input);
  for (let turn = 0; turn < 200; turn++) await undefined;
  assert.equal(network.openCalls("pd:1"), 0);
  const iterator = response.message[Symbol.asyncIterator]();
  await assert.rejects(async () => {
    for (;;) await iterator.next();
  }, (error) => TikvError.is(error) && error.kind === "overloaded");
});

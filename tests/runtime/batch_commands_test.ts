// SPDX-License-Identifier: Apache-2.0
// The client of stores over real connections.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BatchCommandsRequestSchema, BatchCommandsResponseSchema } from "../../gen/tikvpb_pb.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { COMMANDS } from "../../src/rpc/commands.ts";
import { RpcError } from "../../src/rpc/grpc_status.ts";
import { listenHttp2 } from "../../src/rpc/http2/server.ts";
import { createHttp2Transport } from "../../src/rpc/http2/transport.ts";
import type { Listener, Service } from "../../src/rpc/server.ts";
import { StoreClient } from "../../src/rpc/store_client.ts";
import { assertNoTimers, countingEnvironment } from "../helpers/leaks.ts";

interface Setup {
  readonly listener: Listener;
  readonly client: StoreClient;
  get(key: Uint8Array, timeoutMs?: number): Promise<Uint8Array>;
}

/** Runs a test against a store, and shows afterwards that nothing is left open. */
async function withStore(service: Service, work: (setup: Setup) => Promise<void>): Promise<void> {
  const environment = countingEnvironment();
  const listener = await listenHttp2(service);
  const transport = createHttp2Transport({ environment });
  const settings = {
    connectionsPerStore: 4,
    maxBatchSize: 128,
    maxInFlightRequests: 16_384,
    maxResponseBytes: 64 * 1024 * 1024,
    idleCloseMs: 180_000,
    storeLivenessTimeoutMs: 1000,
  };
  const client = new StoreClient({ transport, environment, settings });
  const get = async (key: Uint8Array, timeoutMs: number = 30_000): Promise<Uint8Array> => {
    const plain = { key };
    const request = { context: new Uint8Array(), body: COMMANDS.RawGet.encode(plain), plain };
    const deadline = Deadline.after(environment.clock, timeoutMs);
    return (await client.call(listener, COMMANDS.RawGet, request, { deadline })).value;
  };
  try {
    await work({ listener, client, get });
  } finally {
    client.close();
    await transport.close();
    await listener.close();
  }
  await assertNoTimers(environment);
  assert.equal(transport.stats().sockets, 0);
}

/** Answers a get with what `valueOf` makes of its key; undefined leaves it unanswered. */
function gets(valueOf: (key: Uint8Array) => Uint8Array | undefined): Service {
  return (call) => ({
    onMessage(bytes): void {
      const { requests, requestIds } = fromBinary(BatchCommandsRequestSchema, bytes);
      const message = create(BatchCommandsResponseSchema);
      for (const [index, { cmd }] of requests.entries()) {
        const value = cmd.case === "RawGet" ? valueOf(cmd.value.key) : undefined;
        if (value === undefined) continue;
        const response = create(BatchCommandsResponseSchema, {
          responses: [{ cmd: { case: "RawGet", value: { value } } }],
        });
        message.responses.push(...response.responses);
        message.requestIds.push(requestIds[index] ?? 0n);
      }
      call.send(toBinary(BatchCommandsResponseSchema, message));
    },
    onEnd: () => call.end(),
  });
}

const keyOf = (index: number): Uint8Array =>
  new Uint8Array([index >> 16, index >> 8, index].map((part) => part & 0xff));

test("[RPC-014] ten thousand commands at a time each get their own answer", async () => {
  await withStore(gets((key) => key), async ({ client, get }) => {
    const keys = Array.from({ length: 10_000 }, (_, index) => keyOf(index));
    assert.deepEqual(await Promise.all(keys.map((key) => get(key))), keys);
    const [stats] = client.stats();
    assert.deepEqual([stats?.inFlight, stats?.batchedCommands, stats?.unknownIds], [0, 10_000, 0]);
    // Each message was full but those at the borders of connections.
    assert.ok((stats?.batches ?? Infinity) < 2 * (10_000 / 128), `${stats?.batches} messages`);
  });
});

test("values of many sizes, in one message with others, arrive whole and stay as they are", async () => {
  const sizes = [0, 1, 63, 64, 65, 1000, 16_384, 70_000, 1_000_000, 5_000_000];
  const valueOf = (key: Uint8Array): Uint8Array =>
    new Uint8Array(sizes[key[2] ?? 0] ?? 0).fill((key[1] ?? 0) + 1);
  await withStore(gets(valueOf), async ({ get }) => {
    const keys = [0, 1, 2].flatMap((round) => sizes.map((_, index) => keyOf(round * 256 + index)));
    const values = await Promise.all(keys.map((key) => get(key)));
    // More traffic, so that a buffer that is used twice would show.
    await Promise.all(Array.from({ length: 500 }, (_, index) => get(keyOf(0x30000 + (index % 8)))));
    for (const [index, value] of values.entries()) {
      const expected = valueOf(keys[index] ?? new Uint8Array());
      assert.ok(
        value.length === expected.length && value.every((byte) => byte === expected[0]),
        `value ${index}`,
      );
      assert.equal(Object.getPrototypeOf(value), Uint8Array.prototype);
    }
  });
});

test("[RPC-014] a connection that is lost fails all commands on it at once, and the next call has a new one", async () => {
  let isMute = true;
  await withStore(gets((key) => isMute ? undefined : key), async ({ listener, get }) => {
    const calls = Array.from({ length: 300 }, (_, index) => get(keyOf(index)).catch((error) => error));
    // Answered by nobody; one with a short time shows that all have arrived.
    await assert.rejects(get(keyOf(1), 200), { kind: "timeout" });
    listener.disconnectAll();
    for (const error of await Promise.all(calls)) {
      assert.ok(error instanceof RpcError);
      assert.deepEqual([error.kind, error.isMaybeExecuted], ["connection", true]);
      assert.equal(error.connection?.address, listener.address);
    }
    isMute = false;
    assert.deepEqual(await get(keyOf(7)), keyOf(7));
  });
});

test("a store without BatchCommands is called one by one", async () => {
  const service: Service = (call) => {
    if (call.path !== "/tikvpb.Tikv/RawGet") return undefined;
    // The reply's value, field 3, is the request's key, field 2.
    return { onMessage: (bytes) => (call.send(bytes.map((byte, at) => at === 0 ? 0x1a : byte)), call.end()) };
  };
  await withStore(service, async ({ client, get }) => {
    const values = await Promise.all([1, 2, 3].map((index) => get(keyOf(index))));
    assert.deepEqual(values, [1, 2, 3].map(keyOf));
    assert.equal(client.stats()[0]?.isBatching, false);
  });
});

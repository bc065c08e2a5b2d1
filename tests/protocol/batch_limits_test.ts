// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { RpcError } from "../../src/rpc/grpc_status.ts";
import type { ScriptedStream } from "../helpers/scripted_store.ts";
import { ADDRESS, ScriptedStore } from "../helpers/scripted_store.ts";

async function rpcError(promise: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

/** The keys that a store was asked for, by message. */
function keys({ batches }: ScriptedStream): (number | undefined)[][] {
  return batches.map((batch) => batch.map(({ cmd }) => cmd.case === "RawGet" ? cmd.value.key[0] : undefined));
}

test("[RPC-017] commands over the limit wait, and go out as soon as there is room, without a new call", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 2 } });
  const calls = [1, 2, 3, 4, 5].map((key) => store.get(key));
  await store.settle();
  const stream = store.stream(0);
  assert.deepEqual(keys(stream), [[1, 2]]);
  stream.answer(stream.batches.flat().slice(1, 2));
  await store.settle();
  assert.deepEqual(keys(stream), [[1, 2], [3]]);
  stream.answer([...stream.batches.flat().slice(0, 1), ...stream.batches.flat().slice(2)]);
  await store.settle();
  assert.deepEqual(keys(stream), [[1, 2], [3], [4, 5]]);
  stream.answer(stream.batches[2] ?? []);
  assert.deepEqual(await Promise.all(calls), [1, 2, 3, 4, 5]);
});

test("[RPC-017] the limit holds for all connections to a store together", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1100, connectionsPerStore: 2 } });
  const calls = Array.from({ length: 1200 }, (_, index) => store.get(index & 0xff));
  await store.settle();
  assert.equal(store.streams.flatMap(({ batches }) => batches.flat()).length, 1100);
  for (const stream of store.streams) stream.answer(stream.batches.flat());
  await store.settle();
  for (const stream of store.streams) stream.answer(stream.batches.flat());
  await Promise.all(calls);
});

test("[RPC-016] an urgent command passes by the limit, lesser ones only by each other", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1 } });
  const stream = () => store.stream(0);
  const priorities = [0, 0, 1, 9, 9, 1];
  const calls = priorities.map((priority, key) => store.get(key, { priority }));
  await store.settle();
  // All of one turn were sorted before the first went out.
  assert.deepEqual(keys(stream()), [[3]]);
  calls.push(store.get(6, { priority: 10 }), store.get(7, { priority: 11 }));
  await store.settle();
  assert.deepEqual(keys(stream()), [[3], [7, 6]]);
  for (let round = 0; round < 6; round++) {
    stream().answer(stream().batches.at(-1) ?? []);
    if (round === 0) stream().answer(stream().batches[0] ?? []);
    await store.settle();
  }
  assert.deepEqual(keys(stream()), [[3], [7, 6], [4], [2], [5], [0], [1]]);
  stream().answer(stream().batches.at(-1) ?? []);
  await Promise.all(calls);
});

test("a queue that is full refuses, and what was refused was certainly not executed", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1, maxQueuedBytes: 1000 } });
  const put = (length: number) =>
    store.send("RawPut", { key: new Uint8Array(1), value: new Uint8Array(length) });
  const calls = [put(1)];
  await store.settle();
  // One that is larger than the whole queue is taken when nothing waits.
  calls.push(put(5000));
  const error = await rpcError(put(1));
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["overloaded", false]);
  store.stream(0).answer(store.stream(0).batches.flat());
  await store.settle();
  calls.push(put(600));
  assert.equal((await rpcError(put(600))).kind, "overloaded");
  calls.push(put(10));
  assert.deepEqual(store.client.stats().map(({ queued }) => queued), [2]);
  for (let round = 0; round < 3; round++) {
    store.stream(0).answer(store.stream(0).batches.at(-1) ?? []);
    await store.settle();
  }
  await Promise.all(calls);
  assert.deepEqual(store.client.stats().map(({ queued, queuedBytes }) => [queued, queuedBytes]), [[0, 0]]);
});

test("a queue of commands that were given up does not grow", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1 } });
  const held = rpcError(store.get(0, { timeoutMs: 100_000 }));
  for (let round = 0; round < 50; round++) {
    const waiting = Array.from({ length: 100 }, () => rpcError(store.get(1, { timeoutMs: 10 })));
    await store.clock.advance(10);
    for (const error of await Promise.all(waiting)) assert.equal(error.kind, "timeout");
  }
  assert.deepEqual(store.client.stats().map(({ queued, queuedBytes }) => [queued, queuedBytes]), [[0, 0]]);
  store.network.cut(ADDRESS);
  await held;
});

test("a request over the limit is refused before it is sent, batched or not", async () => {
  const store = new ScriptedStore({ answers: true, settings: { maxRequestBytes: 100 } });
  for (const name of ["RawPut", "RawCompareAndSwap"] as const) {
    const error = await rpcError(store.send(name, { key: new Uint8Array(1), value: new Uint8Array(100) }));
    assert.deepEqual([error.kind, error.isMaybeExecuted, error.context.method], ["too-large", false, name]);
  }
  await store.settle();
  assert.deepEqual([store.streams.length, store.singles.length], [0, 0]);
});

test("a stream that is not read makes commands use the next one, then wait for room", async () => {
  const store = new ScriptedStore({
    answers: true,
    settings: { connectionsPerStore: 2, maxBatchSize: 1 },
    network: { windowMessages: 1 },
  });
  store.network.setLink(ADDRESS, "silent");
  const calls = [1, 2, 3].map((key) => store.get(key));
  await store.settle();
  assert.deepEqual(store.client.stats().map(({ streams, inFlight, queued }) => [streams, inFlight, queued]), [
    [2, 2, 1],
  ]);
  store.network.setLink(ADDRESS, "up");
  assert.deepEqual(await Promise.all(calls), [1, 2, 3]);
  assert.deepEqual(store.streams.map(({ batches }) => batches.length).sort(), [1, 2]);
});

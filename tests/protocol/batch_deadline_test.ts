// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { RpcError } from "../../src/rpc/grpc_status.ts";
import { ADDRESS, ScriptedStore } from "../helpers/scripted_store.ts";

async function rpcError(promise: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

const timers = (store: ScriptedStore): number => store.clock.pendingTimers;

test("each command ends at its own deadline, with one timer for all of them", async () => {
  const store = new ScriptedStore();
  const start = store.clock.now();
  const ended: [number, number][] = [];
  const calls = [300, 100, 200, 100].map(async (timeoutMs, key) => {
    const error = await rpcError(store.get(key, { timeoutMs }));
    ended.push([key, store.clock.now() - start]);
    assert.deepEqual([error.kind, error.isMaybeExecuted, error.origin], ["timeout", true, "caller"]);
  });
  const answered = store.get(9, { timeoutMs: 150 });
  await store.settle();
  assert.equal(timers(store), 1);
  store.stream(0).answer(store.stream(0).batches.flat().slice(4));
  assert.equal(await answered, 9);
  await store.clock.run(Promise.all(calls));
  assert.deepEqual(ended, [[1, 100], [3, 100], [2, 200], [0, 300]]);
  assert.equal(timers(store), 0);
});

test("no timer is left when everything is answered", async () => {
  const store = new ScriptedStore({ answers: true });
  await Promise.all([store.get(1), store.get(2, { timeoutMs: 5 })]);
  assert.equal(timers(store), 0);
});

test("a silent store does not hold a command beyond its deadline", async () => {
  const store = new ScriptedStore({ answers: true });
  store.network.setLink(ADDRESS, "silent");
  const error = await store.clock.run(rpcError(store.get(1)));
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["timeout", true]);
});

test("a command that never went out was certainly not executed", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1 } });
  const sent = rpcError(store.get(1));
  const waiting = rpcError(store.get(2, { timeoutMs: 500 }));
  const unsent = await store.clock.run(waiting);
  assert.deepEqual([unsent.kind, unsent.isMaybeExecuted], ["timeout", false]);
  assert.equal((await store.clock.run(sent)).isMaybeExecuted, true);
  assert.deepEqual(store.client.stats().map(({ queued, queuedBytes }) => [queued, queuedBytes]), [[0, 0]]);
  assert.equal(timers(store), 0);
});

test("a deadline that has passed sends nothing", async () => {
  const store = new ScriptedStore({ answers: true });
  const error = await rpcError(store.get(1, { timeoutMs: 0 }));
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["timeout", false]);
  await store.settle();
  assert.deepEqual([store.streams.length, timers(store)], [0, 0]);
});

test("[RPC-014] a late answer is dropped silently", async () => {
  const store = new ScriptedStore();
  const late = rpcError(store.get(1, { timeoutMs: 10 }));
  await store.clock.run(late);
  store.stream(0).answer(store.stream(0).batches.flat());
  const next = store.get(2);
  await store.settle();
  store.stream(0).answer(store.stream(0).batches[1] ?? []);
  assert.equal(await next, 2);
  assert.deepEqual([store.warnings(), store.client.stats()[0]?.unknownIds], [[], 0]);
});

test("[RPC-017] a command that was given up keeps its place until the store has answered it", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 2 } });
  const calls = [rpcError(store.get(1, { timeoutMs: 10 })), store.get(2, { timeoutMs: 900 })];
  const third = store.get(3, { timeoutMs: 900 });
  await store.clock.run(calls[0] as Promise<RpcError>);
  // The store still works on the first one: a third at this time would be one too many.
  assert.deepEqual(store.stream(0).batches.map(({ length }) => length), [2]);
  assert.deepEqual(store.client.stats().map(({ inFlight, queued }) => [inFlight, queued]), [[2, 1]]);
  store.stream(0).answer(store.stream(0).batches.flat().slice(0, 1));
  await store.settle();
  assert.deepEqual(store.stream(0).batches.map(({ length }) => length), [2, 1]);
  store.stream(0).answer(store.stream(0).batches.flat().slice(1));
  assert.deepEqual([await calls[1], await third], [2, 3]);
});

test("an abort ends the command with its own reason, waiting or sent, and takes its listener along", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1 } });
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
  const calls = [store.get(1, { signal }), store.get(2, { signal })];
  await store.settle();
  assert.deepEqual([store.stream(0).batches.length, listeners], [1, 2]);
  const reason = new Error("stop");
  controller.abort(reason);
  for (const call of calls) await assert.rejects(call, (error) => error === reason);
  await assert.rejects(store.get(3, { signal }), (error) => error === reason);
  assert.deepEqual([listeners, timers(store)], [0, 0]);
  store.stream(0).answer(store.stream(0).batches.flat());
  const next = store.get(4);
  await store.settle();
  store.stream(0).answer(store.stream(0).batches[1] ?? []);
  assert.equal(await next, 4);
});

test("an answered command leaves no listener", async () => {
  const store = new ScriptedStore({ answers: true });
  const controller = new AbortController();
  assert.equal(await store.get(1, { signal: controller.signal }), 1);
  controller.abort();
  assert.equal(await store.get(2), 2);
});

test("a single call has the deadline and the abort of its command", async () => {
  const store = new ScriptedStore({ settings: { maxBatchSize: 0 }, unary: () => {} });
  const error = await store.clock.run(rpcError(store.send("RawGet", { key: new Uint8Array(1) })));
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["timeout", true]);
  const controller = new AbortController();
  const call = store.get(1, { signal: controller.signal });
  await store.settle();
  const reason = new Error("stop");
  controller.abort(reason);
  await assert.rejects(call, (error) => error === reason);
  await store.settle();
  assert.equal(store.singles[1]?.call.signal.aborted, true);
  assert.equal(timers(store), 0);
});

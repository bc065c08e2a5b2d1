// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { HealthFeedbackSchema } from "../../gen/kvrpcpb_pb.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { RpcError } from "../../src/rpc/grpc_status.ts";
import { ADDRESS, ScriptedStore } from "../helpers/scripted_store.ts";

async function rpcError(promise: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

test("[RPC-036] close() fails what waits and what is under way, and refuses what comes later", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 1, idleCloseMs: 60_000 } });
  const [sent, waiting] = [rpcError(store.get(1)), rpcError(store.get(2))];
  await store.settle();
  store.client.close();
  store.client.close();
  assert.deepEqual([(await sent).kind, (await sent).isMaybeExecuted], ["closed", true]);
  assert.deepEqual([(await waiting).kind, (await waiting).isMaybeExecuted], ["closed", false]);
  await assert.rejects(store.get(3), { kind: "closed" });
  await assert.rejects(store.client.probe(ADDRESS, Deadline.never(store.clock)), { kind: "closed" });
  await store.settle();
  assert.equal(store.stream(0).call.signal.aborted, true);
  assert.deepEqual([store.clock.pendingTimers, store.network.openCalls(ADDRESS), store.client.stats()], [
    0,
    0,
    [],
  ]);
});

test("[RPC-008] the streams of a store that is not used are given up, and opened again when it is", async () => {
  const store = new ScriptedStore({ answers: true, settings: { idleCloseMs: 60_000 } });
  await store.get(1);
  await store.clock.advance(60_000);
  // Used since the last look: kept for one more round.
  assert.equal(store.stream(0).isEnded, false);
  await store.get(2);
  await store.clock.advance(60_000);
  assert.equal(store.stream(0).isEnded, false);
  await store.clock.advance(60_000);
  assert.equal(store.stream(0).isEnded, true);
  assert.deepEqual([store.client.stats(), store.clock.pendingTimers], [[], 0]);
  // A call that comes while the old stream is going away is not in danger: it has a new one.
  assert.equal(await store.get(3), 3);
  assert.equal(store.streams.length, 2);
});

test("[RPC-008] a store that still owes an answer is not idle", async () => {
  const store = new ScriptedStore({ settings: { idleCloseMs: 60_000 } });
  const call = store.get(1, { timeoutMs: 1_000_000 });
  await store.clock.advance(300_000);
  assert.equal(store.stream(0).isEnded, false);
  store.stream(0).answer(store.stream(0).batches.flat());
  assert.equal(await call, 1);
});

test("[RPC-023] [RPC-024] what a store says of itself is passed on, and its load is kept", async () => {
  const store = new ScriptedStore();
  const call = store.get(1);
  await store.settle();
  store.stream(0).answer(store.stream(0).batches.flat(), {
    transportLayerLoad: 250n,
    healthFeedback: { storeId: 4n, feedbackSeqNo: 9n, slowScore: 80 },
  });
  await call;
  assert.deepEqual(store.health, [{ storeId: 4n, sequence: 9n, slowScore: 80 }]);
  assert.equal(store.client.stats()[0]?.transportLayerLoad, 250);
});

test("[RPC-023] health feedback that cannot be read does not cost the answers that came with it", async () => {
  const store = new ScriptedStore();
  const call = store.get(1);
  await store.settle();
  const healthFeedback = create(HealthFeedbackSchema);
  healthFeedback.$unknown = [{ no: 1, wireType: 0, data: new Uint8Array([0x80]) }];
  store.stream(0).answer(store.stream(0).batches.flat(), { healthFeedback });
  assert.equal(await call, 1);
  assert.deepEqual([store.health.length, store.warnings().length], [0, 1]);
});

test("each attempt is told to the observer, batched or alone", async () => {
  const store = new ScriptedStore({ network: { latencyMs: () => 5 } });
  const calls = [
    store.get(1),
    rpcError(store.get(2, { timeoutMs: 20 })),
    store.send("RawCompareAndSwap", { key: new Uint8Array(1) }),
  ];
  await store.clock.advance(5);
  store.stream(0).answer(store.stream(0).batches.flat().slice(0, 1));
  await store.clock.run(Promise.all(calls));
  const seen = store.events.map((event) =>
    event.type === "rpc" && [event.method, event.durationMs, event.isError]
  );
  assert.deepEqual(seen, [["RawCompareAndSwap", 10, false], ["RawGet", 10, false], ["RawGet", 20, true]]);
});

test("stats() shows what goes on", async () => {
  const store = new ScriptedStore({ settings: { maxInFlightRequests: 2 } });
  const calls = [1, 2, 3].map((key) => store.get(key));
  await store.settle();
  assert.deepEqual(store.client.stats(), [{
    address: ADDRESS,
    streams: 1,
    inFlight: 2,
    queued: 1,
    queuedBytes: 27,
    batches: 1,
    batchedCommands: 2,
    unaryCalls: 0,
    unknownIds: 0,
    transportLayerLoad: 0,
    isBatching: true,
  }]);
  for (let round = 0; round < 2; round++) {
    store.stream(0).answer(store.stream(0).batches.at(-1) ?? []);
    await store.settle();
  }
  await Promise.all(calls);
});

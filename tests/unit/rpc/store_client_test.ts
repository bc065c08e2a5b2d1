// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { HealthCheckResponseSchema } from "../../../gen/grpc/health/v1/health_pb.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { TimeoutError } from "../../../src/errors.ts";
import type { InterceptedCall, Interceptor } from "../../../src/rpc/interceptor.ts";
import { ADDRESS, ScriptedStore } from "../../helpers/scripted_store.ts";

test("[RPC-020] [RPC-021] interceptors see each attempt before it is batched, the first one outermost", async () => {
  const log: string[] = [];
  const calls: InterceptedCall[] = [];
  const interceptor = (name: string): Interceptor => async (call, next) => {
    log.push(`${name} in`);
    calls.push(call);
    try {
      return await next(call);
    } finally {
      log.push(`${name} out`);
    }
  };
  const store = new ScriptedStore({ answers: true, interceptors: [interceptor("a"), interceptor("b")] });
  const plain = { key: new Uint8Array([7]) };
  await store.send("RawGet", plain, { regionId: 5n });
  assert.deepEqual(log, ["a in", "b in", "b out", "a out"]);
  const [call = assert.fail("nothing was intercepted")] = calls;
  assert.deepEqual(
    [call.method, call.attempt, call.operation, call.store, call.regionId, call.signal],
    ["RawGet", 1, "RawGet", { address: ADDRESS }, 5n, undefined],
  );
  assert.equal(call.request, plain);
});

test("[RPC-021] what an interceptor returns or throws is what the attempt returns or throws", async () => {
  const error = new Error("no");
  const refuse: Interceptor = () => {
    throw error;
  };
  const store = new ScriptedStore({ interceptors: [refuse] });
  await assert.rejects(store.get(1), (seen) => seen === error);
  const reply = { value: new Uint8Array([9]) };
  const answering = new ScriptedStore({ interceptors: [() => Promise.resolve(reply)] });
  assert.equal(await answering.get(1), 9);
  await store.settle();
  assert.deepEqual([store.streams.length, answering.streams.length], [0, 0]);
});

test("[RPC-021] an interceptor can send another body, and send more than once", async () => {
  const twice: Interceptor = async (call, next) => {
    await next(call);
    return await next({ ...call, request: { key: new Uint8Array([42]) } });
  };
  const store = new ScriptedStore({ answers: true, interceptors: [twice] });
  assert.equal(await store.get(1), 42);
  assert.equal(store.stream(0).batches.length, 2);
});

const resolve = (store: ScriptedStore, options: { timeoutMs?: number; regionId?: bigint } = {}, more = {}) =>
  store.send("KvResolveLock", { startVersion: 5n, commitVersion: 6n, ...more }, { regionId: 1n, ...options });

test("[RPC-019] the same transaction is resolved once in a region at a time", async () => {
  const store = new ScriptedStore();
  const calls = [
    resolve(store),
    resolve(store),
    resolve(store, { regionId: 2n }),
    // client-go's key has no commit timestamp: a rollback would pass for a commit.
    resolve(store, {}, { commitVersion: 0n }),
    resolve(store, {}, { isAsync: true }),
    resolve(store, {}, { keys: [new Uint8Array(1)] }),
    resolve(store, {}, { keys: [new Uint8Array(1)] }),
    resolve(store, {}, { txnInfos: [{ txn: 5n, status: 6n }] }),
    resolve(store, {}, { txnInfos: [{ txn: 5n, status: 6n }] }),
  ];
  await store.settle();
  assert.equal(store.stream(0).batches.flat().length, 8);
  store.stream(0).answer(store.stream(0).batches.flat());
  await Promise.all(calls);
  const again = resolve(store);
  await store.settle();
  store.stream(0).answer(store.stream(0).batches[1] ?? []);
  await again;
});

test("[RPC-019] one that leaves does not end the request of the others", async () => {
  const store = new ScriptedStore();
  const [short, long] = [resolve(store, { timeoutMs: 10 }), resolve(store, { timeoutMs: 500 })];
  await assert.rejects(store.clock.run(short), TimeoutError);
  store.stream(0).answer(store.stream(0).batches.flat());
  await long;
  assert.equal(store.clock.pendingTimers, 0);
});

function health(status: number, probes: { count: number } = { count: 0 }): ScriptedStore {
  return new ScriptedStore({
    unary: (call) => {
      assert.equal(call.path, "/grpc.health.v1.Health/Check");
      probes.count++;
      if (status < 0) call.end({ code: -status, message: "" });
      else {
        call.send(
          toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: status as 0 })),
        );
        call.end();
      }
    },
  });
}

const probe = (store: ScriptedStore, timeoutMs = 60_000) =>
  store.client.probe(ADDRESS, Deadline.after(store.clock, timeoutMs));

test("[RPC-001] probe() reads what the store says of itself", async () => {
  const rows = [
    [0, "unknown"],
    [1, "reachable"],
    [2, "unreachable"],
    [3, "unknown"],
    [77, "unreachable"],
    // Statuses: who does not know the question has answered, any other failure has not.
    [-12, "reachable"],
    [-14, "unreachable"],
    [-13, "unreachable"],
  ] as const;
  for (const [status, expected] of rows) {
    assert.equal(await probe(health(status)), expected, `status ${status}`);
  }
});

test("probe() takes a second at most, and a store that nobody hears of is unreachable", async () => {
  const store = health(1);
  store.network.setLink(ADDRESS, "refusing");
  assert.equal(await probe(store), "unreachable");
  store.network.setLink(ADDRESS, "silent");
  const start = store.clock.now();
  assert.equal(await store.clock.run(probe(store)), "unreachable");
  assert.equal(store.clock.now() - start, 1000);
  await assert.rejects(store.clock.run(probe(store, 10)), TimeoutError);
  assert.equal(store.clock.pendingTimers, 0);
});

test("probes at the same time are one", async () => {
  const probes = { count: 0 };
  const store = health(1, probes);
  assert.deepEqual(await Promise.all([probe(store), probe(store)]), ["reachable", "reachable"]);
  assert.equal(probes.count, 1);
  await probe(store);
  assert.equal(probes.count, 2);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { RawGetRequestSchema } from "../../gen/kvrpcpb_pb.ts";
import { encodeContext } from "../../src/rpc/context.ts";
import { ScriptedStore } from "../helpers/scripted_store.ts";

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const sizes = (batches: readonly (readonly unknown[])[]): number[] => batches.map(({ length }) => length);

test("[RPC-014] commands of one turn go out in one message, those of the next in another", async () => {
  const store = new ScriptedStore({ answers: true });
  const first = [1, 2, 3].map((key) => store.get(key));
  assert.deepEqual(await Promise.all(first), [1, 2, 3]);
  assert.deepEqual(await Promise.all([store.get(4), store.get(5)]), [4, 5]);
  assert.deepEqual(sizes(store.stream(0).batches), [3, 2]);
  assert.equal(store.streams.length, 1);
});

test("[RPC-014] no message has more commands than the limit, and ids are never given twice", async () => {
  const store = new ScriptedStore({ answers: true, settings: { maxBatchSize: 10 } });
  await Promise.all(range(25).map((key) => store.get(key)));
  await Promise.all(range(3).map((key) => store.get(key)));
  const { batches } = store.stream(0);
  assert.deepEqual(sizes(batches), [10, 10, 5, 3]);
  const ids = batches.flat().map(({ id }) => id);
  assert.deepEqual(ids, range(28).map((index) => BigInt(index + 1)));
});

test("[RPC-014] answers find their commands in any order and over any messages", async () => {
  const store = new ScriptedStore();
  const calls = range(6).map((key) => store.get(key));
  await store.settle();
  const [batch = []] = store.stream(0).batches;
  store.stream(0).answer([...batch].reverse().slice(0, 4));
  store.stream(0).answer(batch.slice(0, 2).reverse());
  assert.deepEqual(await Promise.all(calls), range(6));
});

test("[RPC-029] the context is in front of each command's body", async () => {
  const store = new ScriptedStore({ answers: true });
  const peer = { id: 3n, storeId: 4n, role: "voter" } as const;
  const context = encodeContext({ regionId: 9n, confVer: 1n, version: 2n, peer, apiVersion: 2 });
  await store.get(1, { context });
  const cmd = store.stream(0).batches[0]?.[0]?.cmd;
  assert.ok(cmd?.case === "RawGet");
  assert.deepEqual([cmd.value.context?.regionId, cmd.value.context?.apiVersion, cmd.value.key[0]], [
    9n,
    2,
    1,
  ]);
});

test("[RPC-013] [RPC-012] a stream says its lane, and another one which store it is for", async () => {
  const store = new ScriptedStore({ answers: true });
  await Promise.all([store.get(1), store.get(2, { forwardedHost: "store-9:20160" }), store.get(3)]);
  assert.deepEqual(store.streams.map(({ call, batches }) => [call.metadata, sizes(batches)]), [
    [{ "tikv-batch-conn-index": "0" }, [2]],
    [{ "tikv-batch-conn-index": "0", "tikv-forwarded-host": "store-9:20160" }, [1]],
  ]);
});

test("[RPC-002] the next connection is used when one is full, and the first again when it is not", async () => {
  const store = new ScriptedStore();
  const calls = range(1500).map((key) => store.get(key & 0xff));
  await store.settle();
  // Batches stay whole: taking turns would have cut them in four.
  assert.deepEqual(store.streams.map(({ batches }) => sizes(batches)), [Array(8).fill(128), [
    128,
    128,
    128,
    92,
  ]]);
  assert.equal(store.stream(1).call.metadata["tikv-batch-conn-index"], "1");
  store.stream(0).answer(store.stream(0).batches.flat());
  const more = store.get(7);
  await store.settle();
  assert.equal(store.stream(0).batches.length, 9);
  store.stream(0).answer(store.stream(0).batches[8] ?? []);
  store.stream(1).answer(store.stream(1).batches.flat());
  await Promise.all([...calls, more]);
});

test("[RPC-002] when all connections are full the one with the least to do is next", async () => {
  const store = new ScriptedStore({ settings: { connectionsPerStore: 2 } });
  const calls = range(2 * 1024).map((key) => store.get(key & 0xff));
  await store.settle();
  const [first, second] = [store.stream(0), store.stream(1)];
  second.answer(second.batches[0] ?? []);
  await store.settle();
  // 896 and 1024: the second has room again, then it is full, then they take turns.
  calls.push(...range(128 + 256).map((key) => store.get(key & 0xff)));
  await store.settle();
  assert.deepEqual([first.batches.length, second.batches.length, store.streams.length], [9, 10, 2]);
  for (const stream of [first, second]) {
    stream.answer(stream.batches.flat().slice(stream === second ? 128 : 0));
  }
  await Promise.all(calls);
});

test("a command that is larger than the window of a stream is called alone", async () => {
  const store = new ScriptedStore({ answers: true });
  const put = (length: number) =>
    store.send("RawPut", { key: new Uint8Array(1), value: new Uint8Array(length) });
  await Promise.all([put(10), put(600_000), put(2_000_000), put(10)]);
  assert.deepEqual(sizes(store.stream(0).batches), [2]);
  assert.deepEqual(store.singles.map(({ call }) => call.path), [
    "/tikvpb.Tikv/RawPut",
    "/tikvpb.Tikv/RawPut",
  ]);
});

test("a message takes as many commands as fit in 1 MiB", async () => {
  const store = new ScriptedStore({ answers: true });
  const value = new Uint8Array(60_000);
  await Promise.all(
    Array.from({ length: 20 }, () => store.send("RawPut", { key: new Uint8Array(1), value })),
  );
  assert.deepEqual(sizes(store.stream(0).batches), [17, 3]);
});

test("[RPC-009] commands that cannot be batched are called alone, and all of them when batching is off", async () => {
  const batching = new ScriptedStore({ answers: true });
  await batching.send("RawCompareAndSwap", { key: new Uint8Array(1) });
  assert.deepEqual(batching.singles.map(({ call }) => call.path), ["/tikvpb.Tikv/RawCompareAndSwap"]);
  const single = new ScriptedStore({ settings: { maxBatchSize: 0 } });
  const peer = { id: 3n, storeId: 4n, role: "voter" } as const;
  const context = encodeContext({ regionId: 9n, confVer: 1n, version: 2n, peer, apiVersion: 0 });
  await single.send("RawGet", { key: new Uint8Array([7]) }, { context, forwardedHost: "store-9:20160" });
  assert.equal(single.streams.length, 0);
  const [{ call, message } = assert.fail("nothing was called")] = single.singles;
  assert.deepEqual([call.path, call.metadata], ["/tikvpb.Tikv/RawGet", {
    "tikv-forwarded-host": "store-9:20160",
  }]);
  assert.equal(call.timeoutMs, 1000);
  const request = fromBinary(RawGetRequestSchema, message);
  assert.deepEqual([request.context?.regionId, request.key[0]], [9n, 7]);
});

test("[RPC-029] a command to a store as a whole is sent without a context", async () => {
  const store = new ScriptedStore();
  await store.send("GetStoreSafeTS", {}, { context: new Uint8Array([8, 1]) });
  assert.equal(store.singles[0]?.message.length, 0);
});

test("the empty command exists in batches only", async () => {
  const store = new ScriptedStore({ answers: true });
  await store.send("Empty", { testId: 1n });
  assert.equal(store.stream(0).batches[0]?.[0]?.cmd.case, "Empty");
  const single = new ScriptedStore({ settings: { maxBatchSize: 0 } });
  await assert.rejects(single.send("Empty", {}), { kind: "unsupported" });
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RawGetResponseSchema } from "../../gen/kvrpcpb_pb.ts";
import { BatchCommandsResponse_ResponseSchema } from "../../gen/tikvpb_pb.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { COMMANDS } from "../../src/rpc/commands.ts";
import { GRPC, RpcError } from "../../src/rpc/grpc_status.ts";
import type { ServerCall } from "../../src/rpc/server.ts";
import { ADDRESS, reply, ScriptedStore } from "../helpers/scripted_store.ts";

async function rpcError(promise: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

test("[RPC-014] a stream that breaks fails all that it carried at once, and nothing of the others", async () => {
  const store = new ScriptedStore();
  const lost = [1, 2, 3].map((key) => rpcError(store.get(key)));
  const kept = store.get(4, { forwardedHost: "store-9:20160" });
  await store.settle();
  const before = store.clock.now();
  store.stream(0).end({ code: GRPC.UNAVAILABLE, message: "going away" });
  for (const error of await Promise.all(lost)) {
    assert.deepEqual(
      [error.kind, error.code, error.origin, error.isMaybeExecuted, error.context.method],
      ["connection", GRPC.UNAVAILABLE, "transport", true, "RawGet"],
    );
    assert.equal(error.connection?.address, ADDRESS);
  }
  assert.equal(store.clock.now(), before);
  store.stream(1).answer(store.stream(1).batches.flat());
  assert.equal(await kept, 4);
});

test("[RPC-014] a stream of the same connection fails its own commands too when the connection is lost", async () => {
  // In client-go only the stream that notices first does; the others wait for their time to run out.
  const store = new ScriptedStore();
  const calls = [rpcError(store.get(1)), rpcError(store.get(2, { forwardedHost: "store-9:20160" }))];
  await store.settle();
  store.network.cut(ADDRESS);
  for (const error of await Promise.all(calls)) {
    assert.deepEqual([error.kind, error.isMaybeExecuted], ["connection", true]);
  }
  assert.equal(store.clock.pendingTimers, 0);
});

test("[RPC-014] the next call after a break opens a new stream", async () => {
  const store = new ScriptedStore();
  const lost = rpcError(store.get(1));
  await store.settle();
  store.network.cut(ADDRESS);
  await lost;
  const next = store.get(2);
  await store.settle();
  store.stream(1).answer(store.stream(1).batches.flat());
  assert.equal(await next, 2);
});

test("[RPC-003] a late failure of an old connection does not close its successor", async () => {
  const store = new ScriptedStore();
  const lost = rpcError(store.get(1));
  await store.settle();
  const before = rpcError(store.get(2));
  await store.settle();
  store.network.cut(ADDRESS);
  const version = (await lost).connection?.version;
  await before;
  store.client.closeAddress(ADDRESS, version);
  const next = store.get(3);
  await store.settle();
  store.client.closeAddress(ADDRESS, version);
  store.stream(1).answer(store.stream(1).batches.flat());
  assert.equal(await next, 3);
  const closed = rpcError(store.get(4));
  await store.settle();
  store.client.closeAddress(ADDRESS);
  assert.equal((await closed).kind, "connection");
});

test("commands to an address that refuses were certainly not executed", async () => {
  const store = new ScriptedStore();
  store.network.setLink(ADDRESS, "refusing");
  const error = await rpcError(store.get(1));
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["connection", false]);
});

test("whatever status ends a stream, its commands may be tried again, unless the client is refused", async () => {
  const kinds = [
    [GRPC.OK, "connection"],
    [GRPC.CANCELLED, "connection"],
    [GRPC.INTERNAL, "connection"],
    [GRPC.UNKNOWN, "connection"],
    [GRPC.RESOURCE_EXHAUSTED, "connection"],
    [GRPC.UNAUTHENTICATED, "server"],
    [GRPC.PERMISSION_DENIED, "server"],
  ] as const;
  for (const [code, kind] of kinds) {
    const store = new ScriptedStore();
    const call = rpcError(store.get(1));
    await store.settle();
    store.stream(0).end({ code, message: "" });
    assert.equal((await call).kind, kind, `status ${code}`);
  }
});

test("a batch that cannot be read breaks its stream as a protocol error", async () => {
  const answers: ((store: ScriptedStore) => void)[] = [
    // Garbage, an id too many, an answer too many, an id that no number holds.
    (store) => store.stream(0).call.send(new Uint8Array([0xff, 0xff])),
    (store) => store.stream(0).answer(store.stream(0).batches.flat(), { requestIds: [1n, 2n, 3n] }),
    (store) => store.stream(0).answer(store.stream(0).batches.flat(), { requestIds: [1n] }),
    (store) => store.stream(0).answer(store.stream(0).batches.flat(), { requestIds: [1n, 2n ** 53n + 2n] }),
  ];
  for (const answer of answers) {
    const store = new ScriptedStore();
    const calls = [rpcError(store.get(1)), rpcError(store.get(2))];
    await store.settle();
    answer(store);
    for (const error of await Promise.all(calls)) {
      assert.deepEqual([error.kind, error.isMaybeExecuted], ["protocol", true]);
    }
    await store.settle();
    assert.equal(store.stream(0).call.signal.aborted, true);
    assert.equal(store.network.openCalls(ADDRESS), 0);
  }
});

test("one answer that cannot be used fails its own command only", async () => {
  const store = new ScriptedStore();
  const calls = [
    store.get(1),
    rpcError(store.get(2)),
    rpcError(store.get(3)),
    rpcError(store.get(4)),
  ] as const;
  await store.settle();
  const [batch = []] = store.stream(0).batches;
  const responses = batch.map(reply);
  // Another command's reply, none at all, and one that ends too early.
  responses[1] = create(BatchCommandsResponse_ResponseSchema, { cmd: { case: "RawPut", value: {} } });
  responses[2] = create(BatchCommandsResponse_ResponseSchema);
  const cutOff = create(RawGetResponseSchema);
  cutOff.$unknown = [{ no: 3, wireType: 2, data: new Uint8Array([50]) }];
  responses[3] = create(BatchCommandsResponse_ResponseSchema, { cmd: { case: "RawGet", value: cutOff } });
  store.stream(0).answer(batch, { responses });
  assert.equal(await calls[0], 1);
  for (const call of calls.slice(1)) {
    const error = await rpcError(Promise.reject(await call));
    assert.deepEqual([error.kind, error.isMaybeExecuted], ["protocol", true]);
  }
  assert.equal(store.stream(0).call.signal.aborted, false);
});

test("answers to nothing are counted and told at most once a second", async () => {
  const store = new ScriptedStore();
  const call = store.get(1);
  await store.settle();
  const [command = assert.fail("nothing was sent")] = store.stream(0).batches.flat();
  const strangers = [100n, 101n, 102n].map((id) => ({ ...command, id }));
  store.stream(0).answer(strangers.slice(0, 1));
  store.stream(0).answer(strangers.slice(1));
  store.stream(0).answer([command]);
  assert.equal(await call, 1);
  assert.equal(store.warnings().length, 1);
  assert.equal(store.client.stats()[0]?.unknownIds, 3);
  await store.clock.advance(1000);
  store.stream(0).answer(strangers.slice(0, 1));
  await store.settle();
  assert.deepEqual(store.warnings(), [
    `1 answers of ${ADDRESS} belong to no request`,
    `3 answers of ${ADDRESS} belong to no request`,
  ]);
});

test("a store that does not know BatchCommands gets commands one by one, from the first on", async () => {
  const store = new ScriptedStore({ refuses: { code: GRPC.UNIMPLEMENTED, message: "" } });
  await Promise.all([
    store.send("RawGet", { key: new Uint8Array(1) }),
    store.send("RawDelete", { key: new Uint8Array(1) }),
  ]);
  await store.send("RawGet", { key: new Uint8Array(1) });
  assert.deepEqual(store.singles.map(({ call }) => call.path.slice("/tikvpb.Tikv/".length)), [
    "RawGet",
    "RawDelete",
    "RawGet",
  ]);
  assert.equal(store.streams.length, 1);
  assert.equal(store.client.stats()[0]?.isBatching, false);
  assert.equal(store.warnings().length, 1);
});

/** Serves what is called alone, but for deletes, which it does not know. */
function withoutDeletes(call: ServerCall): void {
  if (call.path.endsWith("/RawDelete")) return call.end({ code: GRPC.UNIMPLEMENTED, message: "" });
  call.send(new Uint8Array());
  call.end();
}

const PAIR = { key: new Uint8Array(1), value: new Uint8Array(1) };
const UNKNOWN_COMMAND = { code: GRPC.UNIMPLEMENTED, message: "" };

test("a command that the store does not know ends the stream for itself only, and never again", async () => {
  const store = new ScriptedStore({ unary: withoutDeletes });
  const first = store.get(1);
  await store.settle();
  store.stream(0).answer(store.stream(0).batches.flat());
  await first;
  const others = [store.send("RawPut", PAIR), store.get(2)];
  const unknown = rpcError(store.send("RawDelete", { key: new Uint8Array(1) }));
  await store.settle();
  store.stream(0).end(UNKNOWN_COMMAND);
  await Promise.all(others);
  const error = await unknown;
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["unsupported", false]);
  assert.equal(store.client.stats()[0]?.isBatching, true);
  // It goes alone for ever; the others go in batches as before.
  assert.equal((await rpcError(store.send("RawDelete", { key: new Uint8Array(1) }))).kind, "unsupported");
  const next = store.get(3);
  await store.settle();
  store.stream(1).answer(store.stream(1).batches.flat());
  assert.equal(await next, 3);
  assert.equal(store.streams.length, 2);
});

test("an unknown command in the first batch does not make a store one without batches", async () => {
  const store = new ScriptedStore({ unary: withoutDeletes });
  const unknown = rpcError(store.send("RawDelete", { key: new Uint8Array(1) }));
  await store.settle();
  store.stream(0).end(UNKNOWN_COMMAND);
  assert.equal((await unknown).kind, "unsupported");
  assert.equal(store.client.stats()[0]?.isBatching, true);
});

test("beside an unknown command, what must not be sent twice is in doubt, and alone it is not", async () => {
  const store = new ScriptedStore({ unary: withoutDeletes });
  const once = () => {
    const command = { ...COMMANDS.RawPut, isIdempotent: false };
    const request = { context: new Uint8Array(), body: command.encode(PAIR), plain: PAIR };
    return store.client.call({ address: ADDRESS }, command, request, {
      deadline: Deadline.after(store.clock, 1000),
    });
  };
  const doubtful = rpcError(once());
  const unknown = rpcError(store.send("RawDelete", { key: new Uint8Array(1) }));
  await store.settle();
  store.stream(0).end(UNKNOWN_COMMAND);
  const error = await doubtful;
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["connection", true]);
  assert.equal((await unknown).kind, "unsupported");
  const alone = once();
  await store.settle();
  store.stream(1).end(UNKNOWN_COMMAND);
  await alone;
});

test("what must not be sent twice is in doubt too when the one to blame may be a command that was given up", async () => {
  const store = new ScriptedStore({ unary: withoutDeletes });
  const command = { ...COMMANDS.RawPut, isIdempotent: false };
  const request = { context: new Uint8Array(), body: command.encode(PAIR), plain: PAIR };
  const givenUp = rpcError(store.send("RawDelete", { key: new Uint8Array(1) }, { timeoutMs: 50 }));
  const doubtful = rpcError(store.client.call({ address: ADDRESS }, command, request, {
    deadline: Deadline.after(store.clock, 1000),
  }));
  await store.clock.advance(60);
  assert.equal((await givenUp).kind, "timeout");
  store.stream(0).end(UNKNOWN_COMMAND);
  const error = await doubtful;
  assert.deepEqual([error.kind, error.isMaybeExecuted], ["connection", true]);
  assert.equal(store.singles.length, 0);
});

test("[RAW-027] a request to a plugin of the store always goes alone", async () => {
  const store = new ScriptedStore();
  await store.send("RawCoprocessor", {});
  assert.deepEqual([store.streams.length, store.singles.length], [0, 1]);
});

test("an answer that is too large fails the only command that it can be for", async () => {
  const store = new ScriptedStore({ settings: { maxResponseBytes: 100 } });
  const call = rpcError(store.send("RawGet", { key: new Uint8Array(200) }));
  await store.settle();
  store.stream(0).answer(store.stream(0).batches.flat());
  assert.equal((await call).kind, "too-large");
  assert.equal(store.client.stats()[0]?.isBatching, true);
});

test("an answer that is too large may be for a command that was given up", async () => {
  const store = new ScriptedStore({ settings: { maxResponseBytes: 100 } });
  const givenUp = rpcError(store.send("RawGet", { key: new Uint8Array(200) }, { timeoutMs: 50 }));
  const call = rpcError(store.get(1));
  await store.clock.advance(60);
  assert.equal((await givenUp).kind, "timeout");
  const [large = assert.fail("nothing was sent")] = store.stream(0).batches.flat();
  store.stream(0).answer([large]);
  assert.equal((await call).kind, "connection");
});

test("when it is not known whose answer is too large, commands go one by one until it is", async () => {
  const store = new ScriptedStore({
    settings: { maxResponseBytes: 100 },
    unary: (call, message) => {
      call.send(message.length > 100 ? new Uint8Array(200) : new Uint8Array());
      call.end();
    },
  });
  const large = { key: new Uint8Array(200) };
  const calls = [rpcError(store.get(1)), rpcError(store.send("RawGet", large))];
  await store.settle();
  store.stream(0).answer(store.stream(0).batches.flat());
  for (const error of await Promise.all(calls)) assert.equal(error.kind, "connection");
  await store.get(1);
  assert.equal((await rpcError(store.send("RawGet", large))).kind, "too-large");
  assert.equal(store.singles.length, 2);
  await store.clock.advance(5000);
  assert.equal(store.client.stats()[0]?.isBatching, true);
});

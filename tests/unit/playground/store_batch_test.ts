// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BatchCommandsResponse } from "../../../gen/tikvpb_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import type { FaultEffect, FaultRule } from "../../../src/playground/mod.ts";
import { fault, ManualClock, Playground } from "../../../src/playground/mod.ts";
import type { OpenStream } from "./gen_client.ts";
import { bytes, contextFor, leaderAddress, openStream, text } from "./gen_client.ts";

type BatchStream = OpenStream<
  typeof Tikv.method.batchCommands.input,
  typeof Tikv.method.batchCommands.output
>;

interface Bench extends AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;
  readonly stream: BatchStream;
  put(key: string, value: string): BatchRequest;
  get(key: string): BatchRequest;
  send(...requests: readonly (readonly [bigint, BatchRequest])[]): void;
  /** Puts a rule in force for the life of the cluster. */
  fail(method: string, effect: FaultEffect, key?: string): FaultRule;
}

type BatchRequest = Extract<Parameters<BatchStream["send"]>[0], { $typeName?: never }>["requests"] extends
  (infer R)[] | undefined ? R : never;

async function start(): Promise<Bench> {
  const clock = new ManualClock();
  const cluster = await Playground.start({ clock });
  const region = cluster.regionOf("k");
  const context = contextFor(region);
  const { transport } = cluster.connectOptions();
  const stream = openStream(transport, leaderAddress(cluster, region), Tikv.method.batchCommands);
  return {
    cluster,
    clock,
    stream,
    put: (key, value) =>
      ({ cmd: { case: "RawPut", value: { context, key: bytes(key), value: bytes(value) } } }) as BatchRequest,
    get: (key) => ({ cmd: { case: "RawGet", value: { context, key: bytes(key) } } }) as BatchRequest,
    send: (...requests) =>
      stream.send({
        requests: requests.map(([, request]) => request),
        requestIds: requests.map(([id]) => id),
      }),
    fail: (method, effect, key) => cluster.faults.add({ method, times: 1, key }, effect),
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

/** Every answer with its id, in the order of arrival. */
function answers(replies: readonly BatchCommandsResponse[]): string[] {
  return replies.flatMap(({ responses, requestIds }) =>
    responses.map(({ cmd }, index) => {
      const shown = cmd.case === "RawGet" ? `=${text(cmd.value.value)}` : "";
      return `${requestIds[index]}:${cmd.case ?? "nothing"}${shown}`;
    })
  );
}

test("[RPC-014] commands of one batch are answered together, each under its id", async () => {
  await using bench = await start();
  bench.send([7n, bench.put("a", "1")], [9n, bench.get("a")]);
  assert.deepEqual(answers(await bench.stream.until(1)), ["7:RawPut", "9:RawGet=1"]);
});

test("[RPC-023] health feedback comes with the first answer, and again after a second", async () => {
  await using bench = await start();
  bench.cluster.setSlowScore(1n, 42);
  for (const id of [1n, 2n]) bench.send([id, bench.get("a")]);
  await bench.stream.until(2);
  await bench.clock.advance(1_000);
  bench.send([3n, bench.get("a")]);
  const replies = await bench.stream.until(3);
  assert.deepEqual(replies.map(({ healthFeedback }) => healthFeedback?.slowScore), [42, undefined, 42]);
  assert.deepEqual(replies.map(({ healthFeedback }) => healthFeedback?.feedbackSeqNo), [1n, undefined, 2n]);
});

test("a command that the store does not know is answered with nothing", async () => {
  await using bench = await start();
  bench.send([4n, { cmd: { case: undefined } } as BatchRequest], [5n, bench.get("a")]);
  assert.deepEqual(answers(await bench.stream.until(1)), ["4:nothing", "5:RawGet="]);
});

test("an empty command waits for its delay", async () => {
  await using bench = await start();
  const empty = { cmd: { case: "Empty", value: { testId: 3n, delayTime: 50n } } } as BatchRequest;
  bench.send([1n, empty], [2n, bench.get("a")]);
  await bench.stream.until(1);
  await bench.clock.advance(50);
  assert.deepEqual(answers(await bench.stream.until(2)), ["2:RawGet=", "1:Empty"]);
});

test("a command of another cluster ends the stream with INVALID_ARGUMENT", async () => {
  await using bench = await start();
  const context = contextFor(bench.cluster.regionOf("a"), { clusterId: 3n });
  bench.send([1n, { cmd: { case: "RawGet", value: { context, key: bytes("a") } } } as BatchRequest]);
  const status = await bench.stream.closed;
  assert.equal(status.code, 3);
  assert.match(status.message, /cluster of request=3 does not match TiKV cluster id=/);
});

test("a command that stores do not have ends the stream with UNIMPLEMENTED and its name", async () => {
  await using bench = await start();
  bench.send([1n, { cmd: { case: "GC", value: {} } } as BatchRequest]);
  const status = await bench.stream.closed;
  assert.equal(status.code, 12);
  assert.match(status.message, /GC/);
});

test("half-closing ends the stream when the last command is answered", async () => {
  await using bench = await start();
  bench.fail("RawGet", fault.delay(10), "slow");
  bench.send([1n, bench.get("slow")]);
  bench.stream.wire.end();
  await bench.clock.advance(10);
  assert.equal((await bench.stream.closed).code, 0);
  assert.deepEqual(answers(bench.stream.replies), ["1:RawGet="]);
});

test("a fault hits only its command of a batch", async () => {
  await using bench = await start();
  const rule = bench.fail("RawGet", fault.serverIsBusy({ estimatedWaitMs: 80 }), "b");
  bench.send([1n, bench.get("a")], [2n, bench.get("b")], [3n, bench.get("b")]);
  const [reply] = await bench.stream.until(1);
  const errors = reply?.responses.map(({ cmd }) => cmd.case === "RawGet" ? cmd.value.regionError : undefined);
  assert.deepEqual(errors?.map((error) => error?.serverIsBusy?.estimatedWaitMs), [undefined, 80, undefined]);
  assert.deepEqual([rule.hits, rule.isActive], [1, false]);
});

test("dropRequest() leaves the command undone and unanswered, dropReply() only unanswered", async () => {
  await using bench = await start();
  bench.fail("RawPut", fault.dropRequest(), "a");
  bench.fail("RawPut", fault.dropReply(), "b");
  bench.send([1n, bench.put("a", "1")], [2n, bench.put("b", "2")], [3n, bench.get("a")], [
    4n,
    bench.get("b"),
  ]);
  assert.deepEqual(answers(await bench.stream.until(1)), ["3:RawGet=", "4:RawGet=2"]);
});

test("delay() lets later commands pass", async () => {
  await using bench = await start();
  bench.fail("RawPut", fault.delay(30), "a");
  bench.send([1n, bench.put("a", "1")], [2n, bench.get("a")]);
  await bench.stream.until(1);
  await bench.clock.advance(30);
  assert.deepEqual(answers(await bench.stream.until(2)), ["2:RawGet=", "1:RawPut"]);
});

test("duplicate() executes and answers twice", async () => {
  await using bench = await start();
  bench.fail("RawGet", fault.duplicate());
  bench.send([1n, bench.get("a")], [2n, bench.get("a")]);
  assert.deepEqual(answers(await bench.stream.until(1)), ["1:RawGet=", "1:RawGet=", "2:RawGet="]);
});

test("unknownId() answers under an id that nobody has", async () => {
  await using bench = await start();
  bench.fail("RawGet", fault.unknownId());
  bench.send([1n, bench.get("a")]);
  const [reply] = await bench.stream.until(1);
  assert.equal((reply?.requestIds[0] ?? 0n) > 1_000n, true);
});

test("pad() makes the answer as large as wanted", async () => {
  await using bench = await start();
  bench.fail("RawGet", fault.pad(5_000));
  bench.send([1n, bench.get("a")]);
  const [reply] = await bench.stream.until(1);
  const cmd = reply?.responses[0]?.cmd;
  assert.equal(cmd?.case === "RawGet" && (cmd.value.$unknown?.[0]?.data.length ?? 0) >= 5_000, true);
});

test("cutStream() loses the connection, with or without the work done", async () => {
  for (const isExecuted of [false, true]) {
    await using bench = await start();
    bench.fail("RawPut", fault.cutStream({ isExecuted }), "a");
    bench.send([1n, bench.put("a", "1")]);
    const status = await bench.stream.closed;
    assert.deepEqual([status.code, status.origin], [14, "transport"]);
    const { transport } = bench.cluster.connectOptions();
    const again = openStream(transport, bench.cluster.stores()[0]?.address ?? "", Tikv.method.batchCommands);
    again.send({ requests: [bench.get("a")], requestIds: [1n] });
    assert.deepEqual(answers(await again.until(1)), [isExecuted ? "1:RawGet=1" : "1:RawGet="]);
  }
});

test("grpcStatus() ends the stream with that status", async () => {
  await using bench = await start();
  bench.fail("RawGet", fault.grpcStatus(8, "enough"));
  bench.send([1n, bench.get("a")]);
  const status = await bench.stream.closed;
  assert.deepEqual([status.code, status.message, status.origin], [8, "enough", "peer"]);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { GRPC, RpcError } from "../../../src/rpc/grpc_status.ts";
import { MemoryNetwork, type MemoryNetworkOptions } from "../../../src/rpc/memory.ts";
import type { ServerCall, Service } from "../../../src/rpc/server.ts";
import type { Endpoint, Transport, WireOptions, WireStatus, WireStream } from "../../../src/rpc/transport.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

const ADDRESS = "store-1:20160";
const ENDPOINT: Endpoint = { address: ADDRESS, kind: "store" };

/** Sends every message back, and ends when the caller does. */
const echo: Service = (call) => ({
  onMessage: (message) => void call.send(message),
  onEnd: () => call.end(),
});

interface Setup {
  readonly clock: ManualClock;
  readonly network: MemoryNetwork;
  readonly transport: Transport;
}

function setup(service: Service = echo, options: MemoryNetworkOptions = {}): Setup {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, random: new SeededRandom(1) }, options);
  network.listen(ADDRESS, service);
  return { clock, network, transport: network.transport() };
}

interface Opened {
  readonly stream: WireStream;
  /** Everything heard, in order: first bytes of messages, "drain", the status. */
  readonly heard: unknown[];
  readonly status: () => WireStatus;
}

function open({ transport, clock }: Setup, options: Partial<WireOptions> = {}, endpoint = ENDPOINT): Opened {
  const heard: unknown[] = [];
  let end: WireStatus | undefined;
  const stream = transport.stream(endpoint, "/test.Test/Echo", {
    onHeaders: () => heard.push("headers"),
    onMessage: (message) => heard.push(message[0]),
    onDrain: () => heard.push("drain"),
    onClose: (status) => {
      assert.equal(end, undefined, "closed twice");
      end = status;
      heard.push(`status ${status.code}`);
    },
  }, { deadline: Deadline.never(clock), ...options });
  return { stream, heard, status: () => end ?? assert.fail("the stream is open") };
}

function unary(
  { transport, clock }: Setup,
  timeoutMs = Infinity,
  more: Partial<WireOptions> = {},
): Promise<number | undefined> {
  const deadline = Deadline.after(clock, timeoutMs);
  const calling = transport.unary(ENDPOINT, "/test.Test/Echo", new Uint8Array([7]), { deadline, ...more });
  return calling.then(({ message }) => message[0]);
}

async function rpcError(promise: Promise<unknown>): Promise<RpcError> {
  const error: unknown = await promise.then(() => undefined, (error) => error);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

test("messages arrive later, in order, and the status last and once", async () => {
  const net = setup();
  const { stream, heard } = open(net);
  for (const byte of [1, 2, 3]) assert.equal(stream.send(new Uint8Array([byte])), true);
  stream.end();
  assert.deepEqual(heard, []);
  await net.clock.advance(0);
  assert.deepEqual(heard, ["headers", 1, 2, 3, "status 0"]);
  assert.deepEqual([stream.send(new Uint8Array([4])), net.network.openCalls(ADDRESS)], [false, 0]);
});

test("a message never overtakes the one before it, whatever their delays", async () => {
  const delays = [50, 10, 30, 0, 5, 0];
  const net = setup(echo, { latencyMs: ({ direction }) => direction === "reply" ? 0 : delays.shift() ?? 0 });
  const { stream, heard } = open(net);
  for (const byte of [1, 2, 3]) stream.send(new Uint8Array([byte]));
  await net.clock.advance(49);
  assert.deepEqual(heard, []);
  await net.clock.advance(1);
  assert.deepEqual(heard, ["headers", 1, 2, 3]);
});

test("the latency of each direction counts", async () => {
  const net = setup(echo, { latencyMs: ({ direction }) => direction === "request" ? 3 : 4 });
  const start = net.clock.now();
  await net.clock.run(unary(net));
  assert.equal(net.clock.now() - start, 7);
});

test("unary() fails with what went wrong, and says whether the peer can have seen it", async () => {
  const ends = (status?: { code: number; message: string }): Service => (call) => ({
    onMessage: () => call.end(status),
  });
  const rows: [Service, string, number, boolean][] = [
    [() => undefined, "unsupported", GRPC.UNIMPLEMENTED, false],
    [ends({ code: GRPC.INTERNAL, message: "no" }), "server", GRPC.INTERNAL, true],
    [ends(), "protocol", GRPC.INTERNAL, true],
    [
      (call) => ({ onMessage: (m) => (call.send(m), call.send(m), call.end()) }),
      "protocol",
      GRPC.INTERNAL,
      true,
    ],
    [() => ({ onMessage: () => assert.fail("thrown by the service") }), "server", GRPC.INTERNAL, true],
    [() => assert.fail("thrown by the service"), "server", GRPC.INTERNAL, true],
  ];
  for (const [service, kind, code, isMaybeExecuted] of rows) {
    const error = await rpcError(unary(setup(service)));
    assert.deepEqual([error.kind, error.code, error.isMaybeExecuted], [kind, code, isMaybeExecuted]);
  }
});

test("a service sees metadata, path, address and what is left of the time", async () => {
  let call: ServerCall | undefined;
  const net = setup((seen) => ((call = seen), echo(seen)));
  await unary(net, 500, { metadata: { a: "b" } });
  assert.deepEqual([call?.path, call?.metadata, call?.localAddress, call?.timeoutMs], [
    "/test.Test/Echo",
    { a: "b" },
    ADDRESS,
    500,
  ]);
  await unary(net);
  assert.equal(call?.timeoutMs, undefined);
});

test("an address that nobody listens at, or that refuses, was certainly not reached", async () => {
  const net = setup();
  const nobody = open(net, {}, { address: "nobody:1", kind: "store" });
  nobody.stream.send(new Uint8Array(1));
  net.network.setLink(ADDRESS, "refusing");
  const refused = await rpcError(unary(net));
  for (const status of [nobody.status(), refused]) {
    assert.deepEqual([status.code, status.origin, status.isMaybeExecuted], [
      GRPC.UNAVAILABLE,
      "transport",
      false,
    ]);
  }
  net.network.setLink(ADDRESS, "up");
  assert.equal(await unary(net), 7);
});

test("cut() loses all calls of an address on both sides, what is on its way included", async () => {
  const signals: AbortSignal[] = [];
  const net = setup((call) => (signals.push(call.signal), echo(call)));
  const [used, unused] = [open(net), open(net)];
  await net.clock.advance(0);
  used.stream.send(new Uint8Array([1]));
  net.network.cut(ADDRESS);
  await net.clock.advance(0);
  assert.deepEqual([used.heard, unused.heard], [["status 14"], ["status 14"]]);
  assert.deepEqual([used.status().isMaybeExecuted, unused.status().isMaybeExecuted], [true, false]);
  assert.deepEqual(used.status().connection, { address: ADDRESS, version: 1 });
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true]);
  assert.equal(await unary(net), 7);
});

test("a silent address answers nothing until it is up again, and then everything", async () => {
  const net = setup();
  const early = open(net);
  early.stream.send(new Uint8Array([1]));
  await net.clock.advance(0);
  net.network.setLink(ADDRESS, "silent");
  early.stream.send(new Uint8Array([2]));
  const late = unary(net);
  const error = await net.clock.run(rpcError(unary(net, 30)));
  assert.deepEqual([error.kind, error.isMaybeExecuted, error.origin], ["timeout", true, "caller"]);
  assert.deepEqual(early.heard, ["headers", 1]);
  net.network.setLink(ADDRESS, "up");
  assert.equal(await late, 7);
  assert.deepEqual(early.heard, ["headers", 1, 2]);
});

test("isolate() is a crash: calls are lost and new ones refused", async () => {
  const net = setup();
  const lost = open(net);
  await net.clock.advance(0);
  net.network.isolate(ADDRESS);
  assert.equal((await rpcError(unary(net))).isMaybeExecuted, false);
  assert.equal(lost.status().code, GRPC.UNAVAILABLE);
});

test("the caller's abort ends the call on both sides, with the caller's own reason", async () => {
  let signal: AbortSignal | undefined;
  const net = setup((call) => ((signal = call.signal), { onMessage: () => {} }));
  const controller = new AbortController();
  const deadline = Deadline.after(net.clock, 1000, controller.signal);
  const calling = net.transport.unary(ENDPOINT, "/a", new Uint8Array(), { deadline });
  await net.clock.advance(0);
  const reason = new Error("stop");
  controller.abort(reason);
  await assert.rejects(calling, (error) => error === reason);
  await net.clock.advance(0);
  assert.deepEqual([signal?.aborted, net.clock.pendingTimers], [true, 0]);
  await assert.rejects(
    net.transport.unary(ENDPOINT, "/a", new Uint8Array(), { deadline }),
    (error) => error === reason,
  );
});

test("cancel() ends the call on both sides; its cause comes back", async () => {
  let signal: AbortSignal | undefined;
  const net = setup((call) => ((signal = call.signal), echo(call)));
  const { stream, status, heard } = open(net);
  await net.clock.advance(0);
  const cause = new Error("enough");
  stream.cancel(cause);
  assert.deepEqual(heard, []);
  await net.clock.advance(0);
  assert.deepEqual([status().origin, status().cause, signal?.aborted], ["caller", cause, true]);
});

test("a message over the limit ends the call, and the service hears of it", async () => {
  let signal: AbortSignal | undefined;
  const net = setup((call) => ((signal = call.signal), echo(call)));
  const { stream, heard, status } = open(net, { maxMessageBytes: 4 });
  stream.send(new Uint8Array([1, 2, 3, 4]));
  stream.send(new Uint8Array([2, 2, 3, 4, 5]));
  stream.send(new Uint8Array([3]));
  await net.clock.advance(0);
  assert.deepEqual(heard, ["headers", 1, "status 8"]);
  assert.deepEqual([(status().cause as RpcError).kind, signal?.aborted], ["too-large", true]);
});

test("send() asks to wait when much is under way, and says when there is room", async () => {
  const net = setup(echo, { windowMessages: 2 });
  const { stream, heard } = open(net);
  const sent = [1, 2, 3].map((byte) => stream.send(new Uint8Array([byte])));
  // The opening of the stream is on its way as well.
  assert.deepEqual(sent, [false, false, false]);
  await net.clock.advance(0);
  assert.deepEqual([...heard].sort(), [1, 2, 3, "drain", "headers"]);
});

test("a service is told when its caller does not keep up", async () => {
  const log: unknown[] = [];
  const service: Service = (call) => ({
    onMessage: (message) => log.push(call.send(message), call.send(message)),
    onDrain: () => log.push("drain"),
  });
  const net = setup(service, { windowMessages: 2 });
  open(net).stream.send(new Uint8Array([1]));
  await net.clock.advance(0);
  assert.deepEqual(log, [true, false, "drain"]);
});

test("messages are handed on as they are, or as copies when that is asked for", async () => {
  for (const copiesMessages of [false, true]) {
    const seen: Uint8Array[] = [];
    const net = setup(() => ({ onMessage: (message) => seen.push(message) }), { copiesMessages });
    const message = new Uint8Array([1]);
    open(net).stream.send(message);
    await net.clock.advance(0);
    message[0] = 2;
    assert.equal(seen[0]?.[0], copiesMessages ? 1 : 2);
  }
});

test("connect() resolves when somebody listens", async () => {
  const net = setup(() => assert.fail("the service is not asked"));
  await net.transport.connect(ENDPOINT, Deadline.after(net.clock, 10));
  net.network.setLink(ADDRESS, "refusing");
  assert.equal(
    (await rpcError(net.transport.connect(ENDPOINT, Deadline.after(net.clock, 10)))).kind,
    "connection",
  );
  net.network.setLink(ADDRESS, "silent");
  const slow = rpcError(net.transport.connect(ENDPOINT, Deadline.after(net.clock, 10)));
  assert.equal((await net.clock.run(slow)).kind, "timeout");
});

test("closeAddress() spares connections that are newer than the version", async () => {
  const net = setup();
  const old = open(net);
  await net.clock.advance(0);
  net.transport.closeAddress(ADDRESS, 1);
  const fresh = open(net);
  const other = open(net, {}, { ...ENDPOINT, lane: 1 });
  net.transport.closeAddress(ADDRESS, 1);
  await net.clock.advance(0);
  assert.deepEqual([old.heard, fresh.heard, other.heard], [["status 14"], [], []]);
  net.transport.closeAddress(ADDRESS);
  await net.clock.advance(0);
  assert.deepEqual([fresh.status().connection?.version, other.status().connection?.version], [2, 3]);
});

test("a listener that closes frees its address and cuts its calls; one more there is a mistake", async () => {
  const clock = new ManualClock();
  const network = new MemoryNetwork({ clock, random: new SeededRandom(1) });
  const net = { clock, network, transport: network.transport() };
  const listener = network.listen(ADDRESS, echo);
  assert.throws(() => network.listen(ADDRESS, echo), TypeError);
  const [first, second] = [open(net), open(net)];
  await clock.advance(0);
  listener.disconnectAll();
  await clock.advance(0);
  assert.equal(first.status().code + second.status().code, 2 * GRPC.UNAVAILABLE);
  await listener.close();
  await listener.close();
  assert.equal((await rpcError(unary(net))).kind, "connection");
  network.listen(ADDRESS, echo);
  assert.equal(await unary(net), 7);
});

test("a transport that is closed ends its calls and takes no more; others go on", async () => {
  const net = setup();
  const other = { ...net, transport: net.network.transport() };
  const [mine, theirs] = [open(net), open(other)];
  await net.clock.advance(0);
  await net.transport.close();
  await net.transport.close();
  assert.equal((await rpcError(unary(net))).kind, "closed");
  theirs.stream.send(new Uint8Array([1]));
  await net.clock.advance(0);
  assert.equal((mine.status().cause as RpcError).kind, "closed");
  assert.deepEqual(theirs.heard, ["headers", 1]);
});

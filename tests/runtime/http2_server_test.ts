// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import http2 from "node:http2";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import { listenHttp2 } from "../../src/rpc/http2/server.ts";
import type { ServerCall } from "../../src/rpc/server.ts";
import { until } from "../helpers/until.ts";
import {
  assertLost,
  collect,
  echoService,
  failureOf,
  store,
  within,
  withListener,
  withTransport,
} from "../helpers/wire.ts";

const ONE = Uint8Array.of(1);

test("a port in use is refused with the port in the message", async () => {
  await withListener(echoService(), {}, async (listener) => {
    const port = Number(listener.address.split(":")[1]);
    await assert.rejects(listenHttp2(echoService(), { port }), {
      message: `Cannot listen on 127.0.0.1:${port}: the port is in use`,
    });
  });
});

test("a method that the service does not have is UNIMPLEMENTED, also for a stream that goes on sending", async () => {
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      const error = await failureOf(transport.unary(store(listener.address), "/test/Nope", ONE, within()));
      assert.deepEqual([error.kind, error.code], ["unsupported", GRPC.UNIMPLEMENTED]);
      const stream = collect(transport, store(listener.address), "/test/Nope");
      stream.stream.send(new Uint8Array(300_000));
      assert.equal((await stream.closed).code, GRPC.UNIMPLEMENTED);
      await until(() => transport.stats().streams === 0, "the stream closed");
    }));
});

test("a service that throws fails the call with the message", async () => {
  const service = (call: ServerCall) => {
    if (call.path === "/test/Now") throw new Error("at once");
    return {
      onMessage(): void {
        throw new Error("at the message");
      },
    };
  };
  await withListener(service, {}, (listener) =>
    withTransport({}, async (transport) => {
      for (const [path, text] of [["/test/Now", /at once/], ["/test/Later", /at the message/]] as const) {
        const error = await failureOf(transport.unary(store(listener.address), path, ONE, within()));
        assert.equal(error.code, GRPC.UNKNOWN);
        assert.match(error.message, text);
      }
    }));
});

test("a request over the limit is refused with RESOURCE_EXHAUSTED", async () => {
  await withListener(
    echoService(),
    { maxMessageBytes: 10 },
    (listener) =>
      withTransport({}, async (transport) => {
        const error = await failureOf(
          transport.unary(store(listener.address), "/test/Echo", new Uint8Array(11), within()),
        );
        assert.deepEqual([error.code, error.origin], [GRPC.RESOURCE_EXHAUSTED, "peer"]);
      }),
  );
});

test("messages and an error can follow one another in a stream", async () => {
  const service = (call: ServerCall) => ({
    onMessage(): void {
      call.send(Uint8Array.of(1));
      call.send(Uint8Array.of(2));
      call.end({ code: GRPC.ABORTED, message: "enough", trailers: { "x-why": "test" } });
      call.end();
      assert.equal(call.send(ONE), false);
    },
  });
  await withListener(service, {}, (listener) =>
    withTransport({}, async (transport) => {
      const call = collect(transport, store(listener.address), "/test/Any");
      call.stream.send(ONE);
      const status = await call.closed;
      assert.deepEqual([status.code, status.message, status.trailers["x-why"]], [
        GRPC.ABORTED,
        "enough",
        "test",
      ]);
      assert.deepEqual(call.messages, [Uint8Array.of(1), Uint8Array.of(2)]);
    }));
});

test("a client that does not read makes send() return false on the server until it reads", async () => {
  let drains = 0;
  let sent = 0;
  const service = (call: ServerCall) => {
    const fill = (): void => {
      while (sent < 64 && call.send(new Uint8Array(256 * 1024))) sent++;
      if (sent >= 64) call.end();
      else sent++;
    };
    return {
      onMessage: fill,
      onDrain(): void {
        drains++;
        fill();
      },
    };
  };
  await withListener(service, {}, async (listener) => {
    const session = http2.connect(`http://${listener.address}`);
    const stream = session.request({
      ":method": "POST",
      ":path": "/test/Any",
      "content-type": "application/grpc",
    });
    stream.end(Uint8Array.of(0, 0, 0, 0, 0));
    await until(() => sent > 0, "the server sends");
    await until(() => drains === 0, "nobody reads");
    assert.ok(sent < 64, `${sent} messages were taken`);
    let received = 0;
    stream.on("data", (chunk: Uint8Array) => {
      received += chunk.length;
    });
    await new Promise<void>((resolve) => stream.on("close", () => resolve()));
    assert.equal(received, 64 * (256 * 1024 + 5));
    assert.ok(drains > 0);
    await new Promise<void>((resolve) => session.close(() => resolve()));
  });
});

test("the signal of a call is aborted by cancel, by deadline and by a lost connection, not by its end", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      const endpoint = store(listener.address);
      await transport.unary(endpoint, "/test/Echo", ONE, within());
      const cancelled = collect(transport, endpoint, "/test/Hang");
      const timedOut = collect(transport, endpoint, "/test/Hang", within(60));
      const lost = collect(transport, endpoint, "/test/Hang");
      await until(() => calls.length === 4, "the calls arrived");
      const signals = calls.map((call) => call.signal);
      cancelled.stream.cancel(new Error("enough"));
      await until(() => signals[1]?.aborted === true, "the cancel arrived");
      await timedOut.closed;
      await until(() => signals[2]?.aborted === true, "the deadline arrived");
      assert.equal(signals[3]?.aborted, false);
      listener.disconnectAll();
      await lost.closed;
      await until(() => signals[3]?.aborted === true, "the loss arrived");
      assert.equal(signals[0]?.aborted, false);
    }));
});

test("onEnd is called for a half-close only", async () => {
  const ends: string[] = [];
  const service = (call: ServerCall) => ({
    onMessage(): void {},
    onEnd(): void {
      ends.push(call.path);
      call.send(ONE);
      call.end();
    },
  });
  await withListener(service, {}, (listener) =>
    withTransport({}, async (transport) => {
      const endpoint = store(listener.address);
      await transport.unary(endpoint, "/test/Half", ONE, within());
      assert.deepEqual(ends, ["/test/Half"]);
    }));
});

test("disconnectAll() cuts the connections and goes on listening; close() is idempotent and final", async () => {
  const calls: ServerCall[] = [];
  const listener = await listenHttp2(echoService(calls));
  await withTransport({}, async (transport) => {
    const endpoint = store(listener.address);
    const first = failureOf(transport.unary(endpoint, "/test/Hang", ONE, within()));
    await until(() => calls.length === 1, "the call arrived");
    listener.disconnectAll();
    assertLost(await first, true);
    await transport.unary(endpoint, "/test/Echo", ONE, within());
    await Promise.all([listener.close(), listener.close()]);
    await until(() => transport.stats().sockets === 0, "the connection is gone");
    assertLost(await failureOf(transport.unary(endpoint, "/test/Echo", ONE, within())), false);
  });
});

test("a request that is not gRPC gets HTTP status 415", async () => {
  await withListener(echoService(), {}, async (listener) => {
    const session = http2.connect(`http://${listener.address}`);
    const status = await new Promise((resolve) => {
      const stream = session.request({ ":path": "/", ":method": "GET" });
      stream.on("response", (headers) => resolve(headers[":status"]));
      stream.end();
      stream.resume();
    });
    assert.equal(status, 415);
    await new Promise<void>((resolve) => session.close(() => resolve()));
  });
});

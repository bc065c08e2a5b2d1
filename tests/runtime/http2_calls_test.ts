// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import type { ServerCall } from "../../src/rpc/server.ts";
import { FRAME, startPeer, uint32 } from "../helpers/h2_peer.ts";
import { until } from "../helpers/until.ts";
import {
  collect,
  echoService,
  failureOf,
  store,
  within,
  withListener,
  withTransport,
} from "../helpers/wire.ts";

const MIB = 1024 * 1024;

function patternOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 4093) bytes[at] = (at + seed) & 0xff;
  return bytes;
}

test("unary() carries metadata there and trailers back, -bin untouched", async () => {
  const calls: ServerCall[] = [];
  const service = (call: ServerCall) => {
    calls.push(call);
    return {
      onMessage(message: Uint8Array): void {
        call.send(message.slice());
        call.end({ code: 0, message: "", trailers: { "x-trailer": "t", "y-bin": "AAE=" } });
      },
    };
  };
  await withListener(service, {}, (listener) =>
    withTransport({}, async (transport) => {
      const reply = await transport.unary(store(listener.address), "/test/Any", Uint8Array.of(1, 2), {
        ...within(),
        metadata: { "tikv-forwarded-host": "h:1", "x-bin": "AAE=" },
      });
      assert.deepEqual(reply.message, Uint8Array.of(1, 2));
      assert.deepEqual(reply.trailers, { "grpc-status": "0", "x-trailer": "t", "y-bin": "AAE=" });
      assert.equal(reply.headers["content-type"], "application/grpc");
      const metadata = calls[0]?.metadata ?? {};
      assert.equal(metadata["tikv-forwarded-host"], "h:1");
      assert.equal(metadata["x-bin"], "AAE=");
      assert.equal(metadata["te"], "trailers");
      assert.match(metadata["user-agent"] ?? "", /^tikv-client-ts\//);
    }));
});

test("unary() rejects reserved metadata with a TypeError", async () => {
  await withTransport({}, async (transport) => {
    const call = transport.unary(store("127.0.0.1:1"), "/test/Echo", new Uint8Array(0), {
      ...within(),
      metadata: { "grpc-status": "0" },
    });
    await assert.rejects(call, TypeError);
  });
});

test("unary() reports the status and the UTF-8 message of the peer", async () => {
  const service = (call: ServerCall) => ({
    onMessage(): void {
      call.end({
        code: GRPC.NOT_FOUND,
        message: "größe 100 %",
        trailers: { "grpc-status-details-bin": "CAU=" },
      });
    },
  });
  await withListener(service, {}, (listener) =>
    withTransport({}, async (transport) => {
      const error = await failureOf(
        transport.unary(store(listener.address), "/test/Any", new Uint8Array(1), within()),
      );
      assert.equal(error.kind, "server");
      assert.equal(error.code, GRPC.NOT_FOUND);
      assert.equal(error.origin, "peer");
      assert.ok(error.message.includes("größe 100 %"), error.message);
    }));
});

test("unary() takes messages of 4 and 16 MiB in both directions", async () => {
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      for (const size of [4 * MIB, 16 * MIB, 0, 65_531]) {
        const message = patternOf(size, size & 0xff);
        const reply = await transport.unary(store(listener.address), "/test/Echo", message.slice(), within());
        assert.equal(Buffer.compare(reply.message, message), 0, `${size} bytes`);
      }
    }));
});

test("64 concurrent calls of 2 MiB pass on one connection (maxSessionMemory)", async () => {
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      const replies = await Promise.all(Array.from({ length: 64 }, (_, index) =>
        transport.unary(store(listener.address), "/test/Echo", patternOf(2 * MIB, index), within(60_000))));
      replies.forEach((reply, index) => {
        assert.equal(Buffer.compare(reply.message, patternOf(2 * MIB, index)), 0, `call ${index}`);
      });
      assert.equal(transport.stats().sockets, 1);
    }));
});

test("2000 calls are in flight at the same time on one connection", async () => {
  const waiting: ServerCall[] = [];
  const service = (call: ServerCall) => ({
    onMessage(message: Uint8Array): void {
      call.send(message.slice());
      waiting.push(call);
      if (waiting.length === 2000) { for (const other of waiting) other.end(); }
    },
  });
  await withListener(
    service,
    { maxConcurrentStreams: 5000 },
    (listener) =>
      withTransport({}, async (transport) => {
        const replies = await Promise.all(Array.from({ length: 2000 }, (_, index) =>
          transport.unary(
            store(listener.address),
            "/test/Any",
            Uint8Array.from(uint32(index)),
            within(60_000),
          )));
        assert.deepEqual(replies.map((reply) => new DataView(reply.message.buffer).getUint32(0)), [
          ...Array(2000).keys(),
        ]);
      }),
  );
});

test("a bidirectional stream plays ping-pong 1000 times and takes a burst of 10 000", async () => {
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      const got: number[] = [];
      await new Promise<void>((resolve) => {
        const stream = transport.stream(store(listener.address), "/test/Echo", {
          onMessage(message): void {
            got.push(message[0] ?? -1);
            if (got.length < 1000) stream.send(Uint8Array.of(got.length & 0xff));
            else stream.end();
          },
          onClose: () => resolve(),
        }, within());
        stream.send(Uint8Array.of(0));
      });
      assert.deepEqual(got, Array.from({ length: 1000 }, (_, index) => index & 0xff));

      const burst = collect(transport, store(listener.address), "/test/Echo");
      for (let index = 0; index < 10_000; index++) burst.stream.send(Uint8Array.from(uint32(index)));
      burst.stream.end();
      assert.equal((await burst.closed).code, GRPC.OK);
      assert.deepEqual(burst.messages.map((m) => new DataView(m.buffer).getUint32(0)), [
        ...Array(10_000).keys(),
      ]);
    }));
});

test("a peer that does not read makes send() return false, and onDrain says when it reads again", async () => {
  const peer = await startPeer();
  try {
    await withTransport({ sendBufferBytes: MIB }, async (transport) => {
      const call = collect(transport, store(peer.address), "/test/Slow");
      await until(() => transport.stats().streams === 1, "the stream is open");
      let sent = 0;
      while (call.stream.send(new Uint8Array(64 * 1024))) {
        if (++sent > 100) assert.fail("send() never returned false");
      }
      assert.ok(sent * 64 * 1024 >= MIB - 64 * 1024, `only ${sent} messages were taken`);
      assert.equal(call.drains, 0);
      const [connection] = peer.connections;
      const { streamId } = await (connection ?? assert.fail()).next(FRAME.HEADERS);
      const room = Uint8Array.from(uint32(16 * MIB));
      connection?.send(FRAME.WINDOW_UPDATE, 0, 0, room);
      connection?.send(FRAME.WINDOW_UPDATE, 0, streamId, room);
      await until(() => call.drains === 1, "onDrain after the peer read");
      assert.equal(call.stream.send(new Uint8Array(1)), true);
      call.stream.cancel(new Error("done"));
      await call.closed;
    });
  } finally {
    await peer.close();
  }
});

test("send() before there is a connection is limited too, and nothing is lost", async () => {
  await withListener(
    echoService(),
    {},
    (listener) =>
      withTransport({ sendBufferBytes: 1000 }, async (transport) => {
        const call = collect(transport, store(listener.address), "/test/Echo");
        assert.equal(call.stream.send(new Uint8Array(900)), true);
        assert.equal(call.stream.send(new Uint8Array(900)), false);
        await until(() => call.drains === 1, "onDrain once connected");
        call.stream.end();
        assert.equal((await call.closed).code, GRPC.OK);
        assert.deepEqual(call.messages.map((message) => message.length), [900, 900]);
        assert.equal(call.stream.send(new Uint8Array(1)), false);
      }),
  );
});

test("an abort rejects with the signal's reason and reaches the server", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      const reason = new Error("not needed any more");
      const before = AbortSignal.abort(reason);
      await assert.rejects(
        transport.unary(store(listener.address), "/test/Hang", new Uint8Array(1), within(20_000, before)),
        (error) => error === reason,
      );
      const controller = new AbortController();
      const pending = transport.unary(
        store(listener.address),
        "/test/Hang",
        new Uint8Array(1),
        within(20_000, controller.signal),
      );
      await until(() => calls.length === 1, "the call arrived");
      controller.abort(reason);
      await assert.rejects(pending, (error) => error === reason);
      await until(() => calls[0]?.signal.aborted === true, "the server heard of it");
    }));
});

test("one signal ends 200 calls at once", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      const controller = new AbortController();
      const pending = Array.from({ length: 200 }, () =>
        transport.unary(
          store(listener.address),
          "/test/Hang",
          new Uint8Array(1),
          within(20_000, controller.signal),
        ));
      await until(() => calls.length === 200, "the calls arrived");
      controller.abort();
      const results = await Promise.allSettled(pending);
      assert.ok(
        results.every((result) => result.status === "rejected" && result.reason === controller.signal.reason),
      );
      await until(() => calls.every((call) => call.signal.aborted), "the server heard of all");
      await until(() => transport.stats().streams === 0, "the streams closed");
    }));
});

test("a deadline ends the call with kind timeout, and the server is told the time", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      const error = await failureOf(
        transport.unary(store(listener.address), "/test/Hang", new Uint8Array(1), within(200)),
      );
      const { kind, code, origin, isMaybeExecuted } = error;
      assert.deepEqual({ kind, code, origin, isMaybeExecuted }, {
        kind: "timeout",
        code: GRPC.DEADLINE_EXCEEDED,
        origin: "caller",
        isMaybeExecuted: true,
      });
      const timeoutMs = calls[0]?.timeoutMs ?? 0;
      assert.ok(timeoutMs > 0 && timeoutMs <= 201, String(timeoutMs));
      await until(() => calls[0]?.signal.aborted === true, "the server heard of it");
    }));
});

test("a call whose time is up before it begins is never sent, and is reported later", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      let isInside = true;
      const status = await new Promise<{ code: number; isMaybeExecuted: boolean }>((resolve) => {
        const stream = transport.stream(store(listener.address), "/test/Echo", {
          onMessage: () => assert.fail(),
          onClose(seen): void {
            assert.equal(isInside, false);
            resolve(seen);
          },
        }, within(0));
        stream.send(new Uint8Array(1));
        isInside = false;
      });
      assert.equal(status.code, GRPC.DEADLINE_EXCEEDED);
      assert.equal(status.isMaybeExecuted, false);
      assert.equal(calls.length, 0);
    }));
});

test("cancel() closes once, later, with the cause, and nothing comes after it", async () => {
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      const call = collect(transport, store(listener.address), "/test/Echo");
      call.stream.send(new Uint8Array(10));
      await until(() => call.messages.length === 1, "the echo");
      call.stream.send(new Uint8Array(10));
      const cause = new Error("enough");
      call.stream.cancel(cause);
      call.stream.cancel(new Error("again"));
      const status = await call.closed;
      assert.equal(status.origin, "caller");
      assert.equal(status.cause, cause);
      await until(() => transport.stats().streams === 0, "the stream closed");
      assert.equal(call.messages.length, 1);
    }));
});

test("an answer over the limit ends the call before it is buffered; the next call works", async () => {
  await withListener(
    echoService(),
    {},
    (listener) =>
      withTransport({ maxMessageBytes: 1000 }, async (transport) => {
        const error = await failureOf(
          transport.unary(store(listener.address), "/test/Echo", new Uint8Array(1001), within()),
        );
        assert.equal(error.kind, "too-large");
        assert.equal(error.code, GRPC.RESOURCE_EXHAUSTED);
        const own = { ...within(), maxMessageBytes: 10 };
        const smaller = failureOf(
          transport.unary(store(listener.address), "/test/Echo", new Uint8Array(11), own),
        );
        assert.equal((await smaller).kind, "too-large");
        const fits = await transport.unary(
          store(listener.address),
          "/test/Echo",
          new Uint8Array(1000),
          within(),
        );
        assert.equal(fits.message.length, 1000);
        assert.equal(transport.stats().sockets, 1);
      }),
  );
});

test("a handler that throws ends its own call only", async () => {
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      const fault = new Error("broken handler");
      const status = await new Promise<{ cause?: unknown }>((resolve) => {
        const stream = transport.stream(store(listener.address), "/test/Echo", {
          onMessage(): void {
            throw fault;
          },
          onClose: resolve,
        }, within());
        stream.send(new Uint8Array(1));
      });
      assert.equal(status.cause, fault);
      const reply = await transport.unary(store(listener.address), "/test/Echo", Uint8Array.of(5), within());
      assert.deepEqual(reply.message, Uint8Array.of(5));
    }));
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/async/clock.ts";
import { Deadline } from "../../src/async/deadline.ts";
import type { ClientEvent } from "../../src/observe/events.ts";
import { listenHttp2 } from "../../src/rpc/http2/server.ts";
import type { ServerCall } from "../../src/rpc/server.ts";
import { FRAME, startPeer } from "../helpers/h2_peer.ts";
import { startTcpProxy } from "../helpers/tcp_proxy.ts";
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

const MAX_CONCURRENT_STREAMS = 3;
const ONE = Uint8Array.of(1);

function deadlineOf(ms: number = 20_000): Deadline {
  return Deadline.after(systemClock, ms);
}

test("no stream is opened before the peer's SETTINGS, and its limit on streams holds from the first", async () => {
  const peer = await startPeer(() => {});
  try {
    await withTransport({}, async (transport) => {
      const calls = [1, 2, 3].map(() => transport.unary(store(peer.address), "/test/A", ONE, within()));
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      await connection.next(FRAME.SETTINGS);
      assert.deepEqual(connection.frames.filter((frame) => frame.type === FRAME.HEADERS), []);
      connection.settings([MAX_CONCURRENT_STREAMS, 1]);
      for (const _ of calls) {
        const { streamId } = await connection.next(FRAME.HEADERS);
        assert.deepEqual(connection.frames.filter((frame) => frame.type === FRAME.HEADERS), []);
        assert.equal(transport.stats().streams, 1);
        connection.reply(streamId, ONE);
      }
      await Promise.all(calls);
    });
  } finally {
    await peer.close();
  }
});

for (const isWarm of [true, false]) {
  test(`1000 calls at once on a peer that takes 100 streams pass, ${isWarm ? "warm" : "cold"}`, async () => {
    await withListener(
      echoService(),
      { maxConcurrentStreams: 100 },
      (listener) =>
        withTransport({}, async (transport) => {
          const endpoint = store(listener.address);
          if (isWarm) await transport.connect(endpoint, deadlineOf());
          const calls = Array.from(
            { length: 1000 },
            (_, index) => transport.unary(endpoint, "/test/Echo", Uint8Array.of(index & 0xff), within()),
          );
          if (isWarm) {
            assert.equal(transport.stats().streams, 100);
            assert.equal(transport.stats().waitingCalls, 900);
          }
          const replies = await Promise.all(calls);
          assert.ok(replies.every((reply, index) => reply.message[0] === (index & 0xff)));
        }),
    );
  });
}

test("a limit on streams that is raised later lets the waiting calls go on", async () => {
  const peer = await startPeer((connection) => connection.settings([MAX_CONCURRENT_STREAMS, 0]));
  try {
    await withTransport({}, async (transport) => {
      const call = transport.unary(store(peer.address), "/test/A", ONE, within());
      await until(() => transport.stats().connections.ready === 1, "the connection is ready");
      assert.equal(transport.stats().waitingCalls, 1);
      const connection = peer.connections[0] ?? assert.fail();
      connection.settings([MAX_CONCURRENT_STREAMS, 10]);
      connection.reply((await connection.next(FRAME.HEADERS)).streamId, ONE);
      await call;
    });
  } finally {
    await peer.close();
  }
});

test("calls beyond the bound of the queue are refused as overloaded, unsent", async () => {
  const peer = await startPeer(() => {});
  try {
    await withTransport({ maxWaitingCalls: 2 }, async (transport) => {
      const waiting = [1, 2].map(() =>
        failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()))
      );
      const error = await failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()));
      assert.equal(error.kind, "overloaded");
      assert.equal(error.isMaybeExecuted, false);
      await transport.close();
      assert.deepEqual((await Promise.all(waiting)).map((lost) => lost.kind), ["closed", "closed"]);
    });
  } finally {
    await peer.close();
  }
});

test("after GOAWAY the calls in flight finish and new ones take a new connection", async () => {
  const peer = await startPeer();
  try {
    await withTransport({}, async (transport) => {
      const endpoint = store(peer.address);
      const old = transport.unary(endpoint, "/test/A", ONE, within());
      await until(() => peer.connections.length === 1, "the connection");
      const first = peer.connections[0] ?? assert.fail();
      const { streamId } = await first.next(FRAME.HEADERS);
      first.goaway(0x7fffffff);
      first.goaway(streamId);
      await until(() => transport.stats().connections.draining === 1, "draining");
      const next = transport.unary(endpoint, "/test/A", ONE, within());
      await until(() => peer.connections.length === 2, "the second connection");
      const second = peer.connections[1] ?? assert.fail();
      second.reply((await second.next(FRAME.HEADERS)).streamId, Uint8Array.of(2));
      assert.deepEqual((await next).message, Uint8Array.of(2));
      first.reply(streamId, Uint8Array.of(1));
      assert.deepEqual((await old).message, Uint8Array.of(1));
      await until(() => first.isClosed && transport.stats().sockets === 1, "the old connection closed");
    });
  } finally {
    await peer.close();
  }
});

test("calls above the last stream of a GOAWAY are known to be not executed", async () => {
  const peer = await startPeer();
  try {
    await withTransport({}, async (transport) => {
      const calls = [1, 2].map(() => transport.unary(store(peer.address), "/test/A", ONE, within()));
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      const first = await connection.next(FRAME.HEADERS);
      await connection.next(FRAME.HEADERS);
      connection.goaway(first.streamId);
      assertLost(await failureOf(calls[1] ?? assert.fail()), false);
      connection.reply(first.streamId, ONE);
      await calls[0];
    });
  } finally {
    await peer.close();
  }
});

test("a GOAWAY with an error loses the calls, those below its last stream as perhaps executed", async () => {
  const peer = await startPeer();
  try {
    await withTransport({}, async (transport) => {
      const calls = [1, 2].map(() =>
        failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()))
      );
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      const first = await connection.next(FRAME.HEADERS);
      await connection.next(FRAME.HEADERS);
      connection.goaway(first.streamId, 11);
      connection.socket.end();
      const [below, above] = await Promise.all(calls);
      assertLost(below ?? assert.fail(), true);
      assertLost(above ?? assert.fail(), false);
    });
  } finally {
    await peer.close();
  }
});

test("a refused stream is not executed, a stream that is reset otherwise may be", async () => {
  const peer = await startPeer();
  try {
    await withTransport({}, async (transport) => {
      for (const [code, isMaybeExecuted] of [[7, false], [8, true], [2, true], [11, true]] as const) {
        const call = failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()));
        await until(() => peer.connections.length === 1, "the connection");
        const connection = peer.connections[0] ?? assert.fail();
        connection.reset((await connection.next(FRAME.HEADERS)).streamId, code);
        assertLost(await call, isMaybeExecuted);
      }
      assert.equal(peer.connections.length, 1);
    });
  } finally {
    await peer.close();
  }
});

for (const how of ["fin", "rst"] as const) {
  test(`a connection that ends by ${how} in mid-call loses its calls in one form, and the next call dials`, async () => {
    const calls: ServerCall[] = [];
    await withListener(echoService(calls), {}, async (listener) => {
      const proxy = await startTcpProxy(listener.address);
      await withTransport({}, async (transport) => {
        const endpoint = store(proxy.address);
        const unary = failureOf(transport.unary(endpoint, "/test/Hang", ONE, within()));
        const stream = collect(transport, endpoint, "/test/Echo");
        stream.stream.send(ONE);
        await until(() => calls.length === 2 && stream.messages.length === 1, "the calls arrived");
        proxy[how]();
        const error = await unary;
        assertLost(error, true);
        const status = await stream.closed;
        assert.equal(status.origin, "transport");
        assert.equal(status.isMaybeExecuted, true);
        assert.deepEqual(error.connection, status.connection);
        await transport.unary(endpoint, "/test/Echo", ONE, within());
        assert.equal(proxy.accepted, 2);
      });
      await proxy.close();
    });
  });
}

test("a peer that accepts and closes at once fails the calls, and the process lives", async () => {
  const peer = await startPeer((connection) => connection.socket.destroy());
  try {
    await withTransport({}, async (transport) => {
      for (let attempt = 0; attempt < 5; attempt++) {
        assertLost(await failureOf(transport.unary(store(peer.address), "/test/A", ONE, within())), false);
      }
      const stream = collect(transport, store(peer.address), "/test/A");
      assert.equal((await stream.closed).origin, "transport");
    });
  } finally {
    await peer.close();
  }
});

test("[RPC-004] a half-open connection is found by a ping while calls are open", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, async (listener) => {
    const proxy = await startTcpProxy(listener.address);
    await withTransport({ pingIntervalMs: 50, pingTimeoutMs: 100 }, async (transport) => {
      const endpoint = store(proxy.address);
      const call = failureOf(transport.unary(endpoint, "/test/Hang", ONE, within()));
      await until(() => calls.length === 1, "the call arrived");
      proxy.freeze();
      assertLost(await call, true);
      await transport.unary(endpoint, "/test/Echo", ONE, within());
      assert.equal(proxy.accepted, 2);
    });
    await proxy.close();
  });
});

test("a peer that is slow but answers pings keeps its calls", async () => {
  const peer = await startPeer();
  try {
    await withTransport({ pingIntervalMs: 20, pingTimeoutMs: 5000 }, async (transport) => {
      const call = transport.unary(store(peer.address), "/test/A", ONE, within());
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      const { streamId } = await connection.next(FRAME.HEADERS);
      for (let pings = 0; pings < 3; pings++) await connection.next(FRAME.PING);
      connection.reply(streamId, ONE);
      await call;
    });
  } finally {
    await peer.close();
  }
});

test("an idle connection is verified before it is used again, and the call moves to a new one", async () => {
  await withListener(echoService(), {}, async (listener) => {
    const proxy = await startTcpProxy(listener.address);
    await withTransport({ pingIntervalMs: 30, pingTimeoutMs: 200 }, async (transport) => {
      const endpoint = store(proxy.address);
      await transport.unary(endpoint, "/test/Echo", ONE, within());
      await until(() => transport.stats().streams === 0, "idle");
      const idleSince = performance.now();
      await until(() => performance.now() - idleSince > 40, "idle for longer than the ping interval");
      await transport.unary(endpoint, "/test/Echo", ONE, within());
      assert.equal(proxy.accepted, 1);
      const silentSince = performance.now();
      await until(() => performance.now() - silentSince > 40, "idle again");
      proxy.freeze();
      const call = transport.unary(endpoint, "/test/Echo", Uint8Array.of(9), within());
      assert.equal(transport.stats().waitingCalls, 1);
      assert.deepEqual((await call).message, Uint8Array.of(9));
      assert.equal(proxy.accepted, 2);
    });
    await proxy.close();
  });
});

test("no pings are sent on an idle connection", async () => {
  const peer = await startPeer();
  try {
    await withTransport({ pingIntervalMs: 10, idleCloseMs: 200 }, async (transport) => {
      await transport.connect(store(peer.address), deadlineOf());
      const connection = peer.connections[0] ?? assert.fail();
      await until(() => connection.isClosed, "the idle close");
      assert.deepEqual(connection.frames.filter((frame) => frame.type === FRAME.PING), []);
    });
  } finally {
    await peer.close();
  }
});

test("[RPC-008] a connection without calls closes after the idle time, and the next call dials", async () => {
  const events: ClientEvent[] = [];
  await withListener(
    echoService(),
    {},
    (listener) =>
      withTransport({ idleCloseMs: 40, observer: (event) => events.push(event) }, async (transport) => {
        const endpoint = store(listener.address);
        const open = collect(transport, endpoint, "/test/Echo");
        open.stream.send(ONE);
        await until(() => open.messages.length === 1, "the echo");
        const since = performance.now();
        await until(() => performance.now() - since > 90, "longer than the idle time, with a call open");
        assert.equal(transport.stats().connections.ready, 1);
        open.stream.end();
        await open.closed;
        await until(() => transport.stats().sockets === 0, "the idle close");
        await transport.unary(endpoint, "/test/Echo", ONE, within());
        assert.deepEqual(events.map((event) => event.type === "connection" ? event.state : event.type), [
          "connecting",
          "ready",
          "draining",
          "closed",
          "connecting",
          "ready",
        ]);
      }),
  );
});

test("[RPC-002] [CFG-001] each lane of an address has a connection of its own, made at its first call", async () => {
  await withListener(echoService(), {}, async (listener) => {
    const proxy = await startTcpProxy(listener.address);
    await withTransport({}, async (transport) => {
      const lanes = [0, 1, 2, 3].map((lane) => store(proxy.address, lane));
      await transport.unary(lanes[2] ?? assert.fail(), "/test/Echo", ONE, within());
      assert.equal(proxy.accepted, 1);
      for (let round = 0; round < 3; round++) {
        await Promise.all(lanes.map((lane) => transport.unary(lane, "/test/Echo", ONE, within())));
      }
      assert.equal(proxy.accepted, 4);
      assert.equal(transport.stats().connections.ready, 4);
    });
    await proxy.close();
  });
});

test("[RPC-003] closing a version closes what is not newer, and never its successor", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      const endpoint = store(listener.address);
      const first = failureOf(transport.unary(endpoint, "/test/Hang", ONE, within()));
      await until(() => calls.length === 1, "the call arrived");
      transport.closeAddress(listener.address);
      const old = await first;
      assertLost(old, true);
      const second = transport.unary(endpoint, "/test/Hang", ONE, within());
      await until(() => calls.length === 2, "the second call arrived");
      transport.closeAddress(listener.address, old.connection?.version);
      assert.equal(transport.stats().streams, 1);
      transport.closeAddress("127.0.0.1:1", undefined);
      const lost = failureOf(second);
      transport.closeAddress(listener.address, (old.connection?.version ?? 0) + 1);
      assertLost(await lost, true);
    }));
});

test("any number of callers share one dial and hear of its failure at once", async () => {
  const peer = await startPeer(() => {});
  try {
    await withTransport({}, async (transport) => {
      const calls = Array.from(
        { length: 10_000 },
        () => failureOf(transport.unary(store(peer.address), "/test/A", ONE, within())),
      );
      await until(() => peer.connections.length === 1, "the connection");
      assert.equal(transport.stats().waitingCalls, 10_000);
      peer.connections[0]?.socket.destroy();
      const errors = await Promise.all(calls);
      for (const error of errors) assertLost(error, false);
      // One more connection asked what the peer speaks.
      assert.equal(peer.connections.length, 2);
    });
  } finally {
    await peer.close();
  }
});

test("[RPC-004] failed dials are spaced out: the first retry is at once, then calls fail with the last error", async () => {
  const events: ClientEvent[] = [];
  const listener = await listenHttp2(echoService());
  await listener.close();
  await withTransport({ observer: (event) => events.push(event) }, async (transport) => {
    const dials = (): number =>
      events.filter((event) => event.type === "connection" && event.state === "connecting").length;
    const call = () => failureOf(transport.unary(store(listener.address), "/test/A", ONE, within()));
    assertLost(await call(), false);
    assertLost(await call(), false);
    assert.equal(dials(), 2);
    const errors = await Promise.all(Array.from({ length: 100 }, call));
    for (const error of errors) assertLost(error, false);
    assert.equal(dials(), 2);
    await until(() => {
      void call();
      return dials() === 3;
    }, "a dial after the pause");
  });
});

test("[RPC-004] a peer that accepts and says nothing fails the dial after the connect timeout", async () => {
  const peer = await startPeer(() => {});
  try {
    await withTransport({ connectTimeoutMs: 100 }, async (transport) => {
      const error = await failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()));
      assertLost(error, false);
      assert.ok(error.message.includes("SETTINGS"), error.message);
    });
  } finally {
    await peer.close();
  }
});

test("waiting for a connection ends with the caller's deadline or abort, and the dial goes on", async () => {
  const peer = await startPeer(() => {});
  try {
    await withTransport({}, async (transport) => {
      const endpoint = store(peer.address);
      const timedOut = await failureOf(transport.unary(endpoint, "/test/A", ONE, within(30)));
      assert.equal(timedOut.kind, "timeout");
      assert.equal(timedOut.isMaybeExecuted, false);
      const controller = new AbortController();
      const aborted = transport.unary(endpoint, "/test/A", ONE, within(20_000, controller.signal));
      const connecting = transport.connect(endpoint, Deadline.after(systemClock, 20_000, controller.signal));
      controller.abort();
      await assert.rejects(aborted, (error) => error === controller.signal.reason);
      await assert.rejects(connecting, (error) => error === controller.signal.reason);
      assert.equal(transport.stats().waitingCalls, 0);
      assert.equal(transport.stats().connections.connecting, 1);
    });
  } finally {
    await peer.close();
  }
});

test("connect() resolves when calls can be served, and rejects when they cannot", async () => {
  const listener = await listenHttp2(echoService());
  await withTransport({}, async (transport) => {
    await transport.connect(store(listener.address), deadlineOf());
    assert.equal(transport.stats().connections.ready, 1);
    await listener.close();
    await until(() => transport.stats().sockets === 0, "the connection is gone");
    assertLost(await failureOf(transport.connect(store(listener.address), deadlineOf())), false);
  });
});

test("the address is resolved again for each dial, and may be given up", async () => {
  await withListener(echoService(), {}, (listener) => {
    const port = Number(listener.address.split(":")[1]);
    const asked: string[] = [];
    const calls: ServerCall[] = [];
    return withTransport({
      resolve: async (address, { kind }) => {
        asked.push(`${kind} ${address}`);
        if (address === "gone:1") throw new Error("no such store");
        return await Promise.resolve({ host: "127.0.0.1", port });
      },
    }, async (transport) => {
      await transport.unary(store("tikv-0:20160"), "/test/Echo", ONE, within());
      transport.closeAddress("tikv-0:20160");
      await transport.unary({ address: "tikv-0:20160", kind: "pd" }, "/test/Echo", ONE, within());
      assert.deepEqual(asked, ["store tikv-0:20160", "pd tikv-0:20160"]);
      assertLost(await failureOf(transport.unary(store("gone:1"), "/test/Echo", ONE, within())), false);
      assert.equal(calls.length, 0);
    });
  });
});

test("[RPC-036] close() ends calls and waiting calls as closed, and what comes later too", async () => {
  const calls: ServerCall[] = [];
  await withListener(echoService(calls), {}, (listener) =>
    withTransport({}, async (transport) => {
      const silent = await startPeer(() => {});
      const inFlight = failureOf(transport.unary(store(listener.address), "/test/Hang", ONE, within()));
      const waiting = failureOf(transport.unary(store(silent.address), "/test/A", ONE, within()));
      const stream = collect(transport, store(listener.address), "/test/Hang");
      await until(() => calls.length === 2, "the calls arrived");
      await Promise.all([transport.close(), transport.close()]);
      assert.deepEqual(
        [await inFlight, await waiting].map(({ kind, isMaybeExecuted }) => ({ kind, isMaybeExecuted })),
        [{ kind: "closed", isMaybeExecuted: true }, { kind: "closed", isMaybeExecuted: false }],
      );
      assert.equal((await stream.closed).origin, "transport");
      const late = await failureOf(transport.unary(store(listener.address), "/test/Echo", ONE, within()));
      assert.equal(late.kind, "closed");
      await assert.rejects(transport.connect(store(listener.address), deadlineOf()), { kind: "closed" });
      await silent.close();
    }));
});

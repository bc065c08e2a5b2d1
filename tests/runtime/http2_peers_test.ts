// SPDX-License-Identifier: Apache-2.0
// Peers that are no gRPC servers, or bad ones: each ends in its typed error, in time, and the
// transport stays usable.

import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { test } from "node:test";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import type { RpcError } from "../../src/rpc/grpc_status.ts";
import type { PeerConnection } from "../helpers/h2_peer.ts";
import { FRAME, startPeer, uint32 } from "../helpers/h2_peer.ts";
import { until } from "../helpers/until.ts";
import {
  assertLost,
  echoService,
  failureOf,
  store,
  within,
  withListener,
  withTransport,
} from "../helpers/wire.ts";

const ONE = Uint8Array.of(1);

async function withServer(server: net.Server, body: (address: string) => Promise<void>): Promise<void> {
  const sockets: Set<net.Socket> = new Set();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  try {
    await body(`127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  } finally {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
}

/** Calls a peer that answers as told, and returns the error of the call. */
async function errorOfAnswer(answer: (peer: PeerConnection, streamId: number) => void): Promise<RpcError> {
  const peer = await startPeer();
  let error: RpcError | undefined;
  try {
    await withTransport({}, async (transport) => {
      const call = failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()));
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      answer(connection, (await connection.next(FRAME.HEADERS)).streamId);
      error = await call;
      await until(() => transport.stats().streams === 0, "the stream closed");
    });
  } finally {
    await peer.close();
  }
  return error ?? assert.fail();
}

const GRPC_HEADERS = { ":status": "200", "content-type": "application/grpc" };

test("an HTTP/1 server is named as such", async () => {
  await withServer(
    http.createServer((_request, response) => response.end("hello")),
    (address) =>
      withTransport({}, async (transport) => {
        const error = await failureOf(transport.unary(store(address), "/test/A", ONE, within()));
        assert.equal(error.kind, "protocol");
        assert.equal(error.isMaybeExecuted, false);
        assert.match(error.message, /HTTP\/1\.1 400.*not a gRPC server/);
      }),
  );
});

test("a server of another protocol is quoted", async () => {
  const server = net.createServer((socket) => socket.once("data", () => socket.write("220 mail ready\r\n")));
  await withServer(server, (address) =>
    withTransport({}, async (transport) => {
      const error = await failureOf(transport.unary(store(address), "/test/A", ONE, within()));
      assert.equal(error.kind, "protocol");
      assert.match(error.message, /"220 mail ready".*not a gRPC server/);
    }));
});

test("a server that sends binary garbage is shown in hex", async () => {
  const server = net.createServer((socket) =>
    socket.once("data", () => socket.write(Uint8Array.of(0xff, 0xfe, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)))
  );
  await withServer(server, (address) =>
    withTransport({}, async (transport) => {
      const error = await failureOf(transport.unary(store(address), "/test/A", ONE, within()));
      assert.equal(error.kind, "protocol");
      assert.match(error.message, /ff fe 00 01/);
    }));
});

test("an answer without a gRPC status is a protocol error", async () => {
  const error = await errorOfAnswer((peer, streamId) => {
    peer.headers(streamId, GRPC_HEADERS);
    peer.send(FRAME.DATA, 1, streamId, Uint8Array.of(0, 0, 0, 0, 1, 7));
  });
  assert.equal(error.kind, "protocol");
  assert.equal(error.isMaybeExecuted, true);
});

test("trailers without a gRPC status are a protocol error", async () => {
  const error = await errorOfAnswer((peer, streamId) => {
    peer.headers(streamId, GRPC_HEADERS);
    peer.headers(streamId, { "x-other": "1" }, true);
  });
  assert.equal(error.kind, "protocol");
});

test("headers alone without a gRPC status are a protocol error", async () => {
  const error = await errorOfAnswer((peer, streamId) => peer.headers(streamId, GRPC_HEADERS, true));
  assert.equal(error.kind, "protocol");
});

test("an answer with only headers that have a gRPC status is that status", async () => {
  const error = await errorOfAnswer((peer, streamId) =>
    peer.headers(streamId, { ...GRPC_HEADERS, "grpc-status": "8", "grpc-message": "too%20much" }, true)
  );
  const { kind, code, origin } = error;
  assert.deepEqual({ kind, code, origin }, {
    kind: "too-large",
    code: GRPC.RESOURCE_EXHAUSTED,
    origin: "peer",
  });
  assert.match(error.message, /too much/);
});

for (
  const [status, code] of [["404", GRPC.UNIMPLEMENTED], ["503", GRPC.UNAVAILABLE], [
    "500",
    GRPC.UNKNOWN,
  ]] as const
) {
  test(`an answer with HTTP status ${status} and a web page is a protocol error with code ${code}`, async () => {
    const error = await errorOfAnswer((peer, streamId) => {
      peer.headers(streamId, { ":status": status, "content-type": "text/html" });
      peer.send(FRAME.DATA, 1, streamId, new TextEncoder().encode("<html>"));
    });
    assert.equal(error.kind, "protocol");
    assert.equal(error.code, code);
    assert.match(error.message, new RegExp(`${status}.*text/html`));
  });
}

test("a compressed message is refused", async () => {
  const error = await errorOfAnswer((peer, streamId) => {
    peer.headers(streamId, GRPC_HEADERS);
    peer.send(FRAME.DATA, 0, streamId, Uint8Array.of(1, 0, 0, 0, 1, 7));
  });
  assert.equal(error.kind, "protocol");
  assert.match(error.message, /compressed/);
});

test("a message that ends in the middle is a protocol error, even with status OK", async () => {
  const error = await errorOfAnswer((peer, streamId) => {
    peer.headers(streamId, GRPC_HEADERS);
    peer.send(FRAME.DATA, 0, streamId, Uint8Array.of(0, 0, 0, 0, 9, 7));
    peer.headers(streamId, { "grpc-status": "0" }, true);
  });
  assert.equal(error.kind, "protocol");
});

for (const [count, frames] of [[0, []], [2, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5]]] as const) {
  test(`a unary answer with ${count} messages is a protocol error`, async () => {
    const error = await errorOfAnswer((peer, streamId) => {
      peer.headers(streamId, GRPC_HEADERS);
      peer.send(FRAME.DATA, 0, streamId, Uint8Array.from(frames));
      peer.headers(streamId, { "grpc-status": "0" }, true);
    });
    assert.equal(error.kind, "protocol");
    assert.match(error.message, new RegExp(`${count} messages`));
  });
}

test("an error status of the peer wins over what it sent before", async () => {
  const error = await errorOfAnswer((peer, streamId) => {
    peer.headers(streamId, GRPC_HEADERS);
    peer.send(FRAME.DATA, 0, streamId, Uint8Array.of(0, 0, 0, 0, 1, 5));
    peer.headers(streamId, { "grpc-status": "14", "grpc-message": "shutting down" }, true);
  });
  const { kind, code, origin } = error;
  assert.deepEqual({ kind, code, origin }, { kind: "connection", code: GRPC.UNAVAILABLE, origin: "peer" });
});

test("an answer to a call that the client half-sent closes the stream on both sides", async () => {
  const peer = await startPeer();
  try {
    await withTransport({}, async (transport) => {
      const closed = new Promise<number>((resolve) => {
        const stream = transport.stream(store(peer.address), "/test/A", {
          onMessage(): void {},
          onClose: (status) => resolve(status.code),
        }, within());
        stream.send(ONE);
      });
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      const { streamId } = await connection.next(FRAME.HEADERS);
      connection.headers(streamId, { ...GRPC_HEADERS, "grpc-status": "12" }, true);
      assert.equal(await closed, GRPC.UNIMPLEMENTED);
      await until(() => transport.stats().streams === 0, "the stream closed");
    });
  } finally {
    await peer.close();
  }
});

test("frames that break HTTP/2 in mid-call lose the connection in the one form", async () => {
  const error = await errorOfAnswer((peer, streamId) => {
    // A WINDOW_UPDATE of 0 on the connection (RFC 9113 6.9), then one on a stream that never was.
    peer.send(FRAME.WINDOW_UPDATE, 0, 0, Uint8Array.from(uint32(0)));
    peer.send(FRAME.DATA, 0, streamId + 100, ONE);
  });
  assertLost(error, true);
});

test("the transport is usable after all of that", async () => {
  const peer = await startPeer((connection) => connection.socket.write("HTTP/1.0 500 no\r\n\r\n"));
  await withListener(echoService(), {}, (listener) =>
    withTransport({}, async (transport) => {
      assert.equal(
        (await failureOf(transport.unary(store(peer.address), "/test/A", ONE, within()))).kind,
        "protocol",
      );
      await peer.close();
      await transport.unary(store(listener.address), "/test/Echo", ONE, within());
    }));
});

test("a stream is outdated when the peer makes its window larger after it was opened, trap of Bun", async () => {
  const peer = await startPeer();
  try {
    await withTransport({}, async (transport) => {
      let outdated = 0;
      const closed: unknown[] = [];
      const stream = transport.stream(store(peer.address), "/test/Hang", {
        onMessage: () => {},
        onOutdated: () => outdated++,
        onClose: (status) => closed.push(status),
      }, within());
      await until(() => peer.connections.length === 1, "the connection");
      const connection = peer.connections[0] ?? assert.fail();
      await connection.next(FRAME.HEADERS);
      assert.equal(outdated, 0);
      const INITIAL_WINDOW_SIZE = 4;
      connection.settings([INITIAL_WINDOW_SIZE, 200_000]);
      await until(() => outdated === 1, "the stream is told");
      connection.settings([INITIAL_WINDOW_SIZE, 100_000]);
      connection.settings([INITIAL_WINDOW_SIZE, 300_000]);
      await until(() => outdated === 2, "the stream is told again");
      stream.cancel(new Error("enough"));
      await until(() => closed.length === 1, "the stream closed");
    });
  } finally {
    await peer.close();
  }
});

// SPDX-License-Identifier: Apache-2.0
// What connect() says to addresses that are wrong, over real sockets, and that a failed connect
// leaves nothing behind: no timer, no socket, nothing unhandled.

import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import { test } from "node:test";
import { connect, type ConnectOptions, TikvError } from "../../mod.ts";
import { Playground } from "../../src/playground/mod.ts";
import { assertNoTimers, countingEnvironment } from "../helpers/leaks.ts";
import { until } from "../helpers/until.ts";

/** A server on a free port that counts its connections. */
async function listen(
  server: Server,
): Promise<{ address: string; open: () => number; close: () => Promise<void> }> {
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    // Without a reader the end of the other side would not be seen.
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    address: `127.0.0.1:${address.port}`,
    open: () => sockets.size,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function freeAddress(): Promise<string> {
  const { address, close } = await listen(createServer());
  await close();
  return address;
}

/** Connects, expects one of the kinds, and checks that nothing is left. */
async function connectFails(
  pd: string | string[],
  kinds: readonly string[],
  options: ConnectOptions = {},
): Promise<TikvError> {
  const environment = countingEnvironment();
  const error = await connect(pd, { connectTimeoutMs: 400, environment, ...options }).then(
    async (client) => {
      await client.close();
      assert.fail("connect() succeeded");
    },
    (reason) => reason as unknown,
  );
  assert.ok(TikvError.is(error), `expected a TikvError, got ${error}`);
  assert.ok(kinds.includes(error.kind), `expected ${kinds}, got ${error.kind}: ${error.message}`);
  await assertNoTimers(environment);
  return error;
}

test("[RAW-001] connect() to a port where nobody listens fails and says where", async () => {
  const address = await freeAddress();
  const error = await connectFails(address, ["connection", "timeout"]);
  assert.ok(
    JSON.stringify([error.message, error.context, String(error.cause)]).includes(
      address.split(":")[1] ?? "?",
    ),
  );
});

test("connect() to a server that accepts and says nothing fails at the end of its time", async () => {
  const silent = await listen(createServer());
  try {
    await connectFails(silent.address, ["timeout", "connection"]);
    await until(() => silent.open() === 0, "the client closes its socket");
  } finally {
    await silent.close();
  }
});

test("connect() to a server that closes at once fails", async () => {
  const rude = await listen(createServer((socket) => socket.destroy()));
  try {
    await connectFails(rude.address, ["connection", "timeout", "protocol"]);
  } finally {
    await rude.close();
  }
});

test("connect() to a server that speaks HTTP/1 fails", async () => {
  const web = await listen(createHttpServer((_, response) => response.end("hello")));
  try {
    await connectFails(web.address, ["protocol", "connection", "timeout"]);
    await until(() => web.open() === 0, "the client closes its socket");
  } finally {
    await web.close();
  }
});

test("connect() to a store instead of PD fails with what the store says", async () => {
  const cluster = await Playground.start({ ports: {} });
  try {
    const [store] = cluster.stores();
    await connectFails(store?.address ?? "", ["unsupported", "connection", "timeout", "server"]);
  } finally {
    await cluster.close();
  }
});

test("connect() with https:// to a cluster without TLS fails with kind tls or connection", async () => {
  const cluster = await Playground.start({ ports: {} });
  try {
    await connectFails(`https://${cluster.pdAddresses[0]}`, ["tls", "connection", "timeout"]);
  } finally {
    await cluster.close();
  }
});

test("connect() goes on when only some of the addresses answer", async () => {
  const cluster = await Playground.start({ ports: {} });
  const environment = countingEnvironment();
  try {
    const client = await connect([await freeAddress(), ...cluster.pdAddresses], { environment });
    await client.raw.put("k", "v");
    await client.close();
    await assertNoTimers(environment);
  } finally {
    await cluster.close();
  }
});

test("connect() ends with the caller's own reason when it is aborted", async () => {
  const silent = await listen(createServer());
  const environment = countingEnvironment();
  const reason = new Error("enough");
  try {
    const signal = AbortSignal.abort(reason);
    await assert.rejects(connect(silent.address, { signal, environment }), (error) => error === reason);
    const stop = new AbortController();
    const pending = connect(silent.address, { signal: stop.signal, environment });
    const rejected = assert.rejects(pending, (error) => error === reason);
    await until(() => silent.open() > 0, "the client connects");
    stop.abort(reason);
    await rejected;
    await assertNoTimers(environment);
    await until(() => silent.open() === 0, "the client closes its socket");
  } finally {
    await silent.close();
  }
});

test("connect() refuses addresses and options that cannot be meant, and repeats no password", async () => {
  const refused: readonly [unknown, ConnectOptions | undefined, ErrorConstructor][] = [
    [undefined, undefined, TypeError],
    [5, undefined, TypeError],
    [[5], undefined, TypeError],
    [[], undefined, TypeError],
    ["", undefined, TypeError],
    ["ftp://pd:2379", undefined, TypeError],
    ["pd:0", undefined, TypeError],
    ["http://pd:2379/path", undefined, TypeError],
    ["pd:2379", { timeout: 5 } as ConnectOptions, TypeError],
    ["pd:2379", { timeoutMs: -1 }, RangeError],
    ["pd:2379", { transport: {} as never }, TypeError],
    ["pd:2379", null as never, TypeError],
    ["tikv://pd:2379?keyspaceName=x", { apiVersion: 1 }, TypeError],
  ];
  for (const [pd, options, expected] of refused) {
    await assert.rejects(connect(pd as string, options), expected, String(pd));
  }
  await assert.rejects(connect("tikv://root:secret@pd:2379"), (error) => {
    assert.ok(error instanceof TypeError || error instanceof RangeError);
    return !error.message.includes("secret");
  });
});

test("[RAW-002] many clients that come and go leave no timer and no connection", async () => {
  const cluster = await Playground.start({ stores: 3, ports: {} });
  const environment = countingEnvironment();
  try {
    for (let round = 0; round < 30; round++) {
      const client = await connect(cluster.pdAddresses, { environment });
      await client.raw.put("k", String(round));
      await client.close();
    }
    await assertNoTimers(environment);
  } finally {
    await cluster.close();
  }
});

test("addressMap and resolveAddress lead to addresses that can be reached", async () => {
  const cluster = await Playground.start({ stores: 1, ports: { advertiseHost: "inside.invalid" } });
  try {
    const [pd = ""] = cluster.pdAddresses;
    const port = Number(pd.split(":")[1]);
    const outside = (address: string): string => address.replace("inside.invalid", "127.0.0.1");
    const addresses = [...cluster.pdAddresses, ...cluster.stores().map(({ address }) => address)];
    const addressMap = Object.fromEntries(addresses.map((address) => [address, outside(address)]));
    for (const options of [{ addressMap }, { resolveAddress: outside }] as const satisfies ConnectOptions[]) {
      const client = await connect(`127.0.0.1:${port}`, options);
      await client.raw.put("k", "v");
      assert.deepEqual(await client.raw.get("k"), new TextEncoder().encode("v"));
      await client.close();
    }
  } finally {
    await cluster.close();
  }
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { createHttp2Transport } from "../../src/rpc/http2/transport.ts";
import type { RpcError } from "../../src/rpc/grpc_status.ts";
import type { TlsMaterial, TlsOptions } from "../../src/rpc/http2/tls.ts";
import { createAuthority } from "../helpers/certificates.ts";
import { startPeer } from "../helpers/h2_peer.ts";
import { until } from "../helpers/until.ts";
import { echoService, failureOf, store, within, withListener, withTransport } from "../helpers/wire.ts";

const authority = createAuthority("Cluster CA");
const stranger = createAuthority("Another CA");
const server = authority.issue({ dnsNames: ["localhost", "tikv-0"], ips: ["127.0.0.1"] });
const client = authority.issue({ commonName: "client" });
const ca = authority.cert;
const ONE = Uint8Array.of(1);

async function echoOver(address: string, tls: TlsOptions | undefined): Promise<void> {
  await withTransport({ tls }, async (transport) => {
    const reply = await transport.unary(store(address), "/test/Echo", ONE, within());
    assert.deepEqual(reply.message, ONE);
  });
}

async function failureOver(address: string, tls: TlsOptions | undefined): Promise<RpcError> {
  let error: RpcError | undefined;
  await withTransport({ tls }, async (transport) => {
    error = await failureOf(transport.unary(store(address), "/test/Echo", ONE, within()));
  });
  return error ?? assert.fail();
}

function assertTls(error: RpcError, hint: RegExp): void {
  const { kind, isMaybeExecuted, retry } = error;
  assert.deepEqual({ kind, isMaybeExecuted, retry }, { kind: "tls", isMaybeExecuted: false, retry: "never" });
  assert.match(error.message, hint);
  assert.ok(error.cause instanceof Error);
}

test("[RPC-005] a server whose CA is given is trusted, by address and by name, PEM as text or bytes", async () => {
  await withListener(echoService(), { tls: server }, async (listener) => {
    await echoOver(listener.address, { ca });
    await echoOver(listener.address, { ca: new TextEncoder().encode(ca) });
    await echoOver(listener.address.replace("127.0.0.1", "localhost"), { ca });
  });
});

test("[RPC-005] a server is refused without its CA and with another one, for good", async () => {
  await withListener(echoService(), { tls: server }, async (listener) => {
    assertTls(await failureOver(listener.address, {}), /give its CA as "ca"/);
    assertTls(await failureOver(listener.address, { ca: stranger.cert }), /not issued by the given CA/);
  });
});

test("[CFG-020] mutual TLS passes with a certificate of the right CA", async () => {
  const tls = { ...server, ca, requireClientCertificate: true };
  await withListener(echoService(), { tls }, (listener) => echoOver(listener.address, { ca, ...client }));
});

test("[CFG-020] mutual TLS without a certificate fails and says what is missing (alert after the handshake)", async () => {
  const tls = { ...server, ca, requireClientCertificate: true };
  await withListener(echoService(), { tls }, async (listener) => {
    assertTls(await failureOver(listener.address, { ca }), /give "cert" and "key"/);
  });
});

test("[CFG-020] mutual TLS with a certificate of another CA fails", async () => {
  const tls = { ...server, ca, requireClientCertificate: true };
  await withListener(echoService(), { tls }, async (listener) => {
    const error = await failureOver(listener.address, { ca, ...stranger.issue() });
    // The listener closes without an alert; a peer that sends one makes it kind "tls".
    assert.ok(error.kind === "connection" || error.kind === "tls", error.kind);
    assert.equal(error.isMaybeExecuted, false);
    assert.match(error.message, /certificate of the client/);
  });
});

test("a server with another name is refused and its names are shown; serverName overrides", async () => {
  const named = authority.issue({ dnsNames: ["tikv-7"] });
  await withListener(echoService(), { tls: named }, async (listener) => {
    assertTls(
      await failureOver(listener.address, { ca }),
      /expects the name "127\.0\.0\.1".*tikv-7.*serverName/,
    );
    await echoOver(listener.address, { ca, serverName: "tikv-7" });
    assertTls(await failureOver(listener.address, { ca, serverName: "tikv-8" }), /expects the name "tikv-8"/);
  });
});

test("resolve() may name the server for one address", async () => {
  const named = authority.issue({ dnsNames: ["tikv-7"] });
  await withListener(echoService(), { tls: named }, (listener) => {
    const target = { host: "127.0.0.1", port: Number(listener.address.split(":")[1]), serverName: "tikv-7" };
    return withTransport({ tls: { ca }, resolve: () => target }, async (transport) => {
      await transport.unary(store("tikv-7:20160"), "/test/Echo", ONE, within());
    });
  });
});

test("an expired certificate is refused", async () => {
  const expired = authority.issue({ ips: ["127.0.0.1"], isExpired: true });
  await withListener(echoService(), { tls: expired }, async (listener) => {
    assert.equal((await failureOver(listener.address, { ca })).kind, "tls");
  });
});

test("dangerouslyDisableVerification takes any certificate", async () => {
  const unknown = stranger.issue({ dnsNames: ["elsewhere"] });
  await withListener(
    echoService(),
    { tls: unknown },
    (listener) => echoOver(listener.address, { dangerouslyDisableVerification: true }),
  );
});

test("TLS to a server without it, and no TLS to a server with it, fail", async () => {
  await withListener(echoService(), {}, async (listener) => {
    assertTls(await failureOver(listener.address, { ca }), /does not speak TLS/);
  });
  await withListener(echoService(), { tls: server }, async (listener) => {
    const error = await failureOver(listener.address, undefined);
    assert.ok(error.kind === "connection" || error.kind === "protocol", error.kind);
    assert.match(error.message, /expects? TLS/);
  });
});

test("a peer that closes during the handshake is a lost connection, not a TLS failure", async () => {
  const peer = await startPeer((connection) => connection.socket.destroy());
  try {
    assert.equal((await failureOver(peer.address, { ca })).kind, "connection");
  } finally {
    await peer.close();
  }
});

test("[CFG-020] reload() is asked for each connection, and a new CA is picked up", async () => {
  const calls: string[] = [];
  let material: TlsMaterial = { ca: stranger.cert };
  const reload = async (): Promise<TlsMaterial> => {
    calls.push("reload");
    return await Promise.resolve(material);
  };
  await withListener(
    echoService(),
    { tls: server },
    (listener) =>
      withTransport({ tls: { reload } }, async (transport) => {
        const call = () => transport.unary(store(listener.address), "/test/Echo", ONE, within());
        assertTls(await failureOf(call()), /not issued by the given CA/);
        material = { ca };
        await call();
        await call();
        assert.equal(calls.length, 2);
        transport.closeAddress(listener.address);
        await until(() => transport.stats().sockets === 0, "closed");
        await call();
        assert.equal(calls.length, 3);
      }),
  );
});

test("reload() that throws or returns half a pair fails the call as tls, with the cause", async () => {
  const fault = new Error("no such file");
  const throwing = await failureOver("127.0.0.1:1", {
    reload: () => {
      throw fault;
    },
  });
  assert.equal(throwing.kind, "tls");
  assert.equal(throwing.cause, fault);
  const half = await failureOver("127.0.0.1:1", { reload: () => ({ cert: client.cert }) });
  assert.equal(half.kind, "tls");
  assert.ok(half.cause instanceof TypeError);
});

test("TLS options that cannot work are a TypeError at once", () => {
  const bad: TlsOptions[] = [
    { cert: client.cert },
    { key: client.key },
    { ca: "/etc/ssl/ca.pem" },
    { ca: 5 as unknown as string },
  ];
  for (const tls of bad) assert.throws(() => createHttp2Transport({ tls }), TypeError);
});

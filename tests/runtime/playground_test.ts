// SPDX-License-Identifier: Apache-2.0
// The playground on real ports, in each runtime: by calls over HTTP/2, and as the command.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { PD } from "../../gen/pdpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { Pd } from "../../src/pd/mod.ts";
import { Playground } from "../../src/playground/mod.ts";
import { createHttp2Transport } from "../../src/rpc/http2/transport.ts";
import type { TlsOptions } from "../../src/rpc/http2/tls.ts";
import { createAuthority } from "../helpers/certificates.ts";
import { bytes, contextFor, leaderAddress, openStream, text, unary } from "../unit/playground/gen_client.ts";

/** Writes and reads a key over the ports, alone and in a batch, and asks PD for a region. */
async function roundTrip(cluster: Playground, tls?: TlsOptions): Promise<void> {
  const transport = createHttp2Transport(tls === undefined ? {} : { tls });
  try {
    const region = cluster.regionOf("k");
    const address = leaderAddress(cluster, region);
    const context = contextFor(region);
    await unary(transport, address, Tikv.method.rawPut, { context, key: bytes("k"), value: bytes("v") });
    const stream = openStream(transport, address, Tikv.method.batchCommands);
    stream.send({
      requests: [{ cmd: { case: "RawGet", value: { context, key: bytes("k") } } }],
      requestIds: [5n],
    });
    const [reply] = await stream.until(1);
    const cmd = reply?.responses[0]?.cmd;
    assert.equal(cmd?.case === "RawGet" && text(cmd.value.value), "v");
    const pd = cluster.pdAddresses[0] ?? "";
    const header = { clusterId: cluster.clusterId };
    const found = await unary(transport, pd, PD.method.getRegion, { header, regionKey: bytes("k") });
    assert.equal(found.region?.id, region.id);
    const { members } = await unary(transport, pd, PD.method.getMembers, {});
    assert.deepEqual(members[0]?.clientUrls, [`${tls === undefined ? "http" : "https"}://${pd}`]);
  } finally {
    await transport.close();
  }
}

test("a playground on ports serves plain HTTP/2", async () => {
  await using cluster = await Playground.start({ stores: 3, ports: {} });
  await roundTrip(cluster);
});

test("a playground on ports serves TLS, and asks for the clients' certificates when it has their issuer", async () => {
  const authority = createAuthority();
  const server = authority.issue({ ips: ["127.0.0.1"] });
  const client = authority.issue({ commonName: "client" });
  {
    await using cluster = await Playground.start({ ports: { tls: { cert: server.cert, key: server.key } } });
    await roundTrip(cluster, { ca: authority.cert });
  }
  const tls = { cert: server.cert, key: server.key, ca: authority.cert };
  await using cluster = await Playground.start({ ports: { tls } });
  await roundTrip(cluster, { ca: authority.cert, cert: client.cert, key: client.key });
  await assert.rejects(roundTrip(cluster, { ca: authority.cert }));
});

test("a store on ports stops, starts at the same port, and moves to another", async () => {
  await using cluster = await Playground.start({ ports: {} });
  const transport = createHttp2Transport({});
  try {
    const ask = (address: string) => unary(transport, address, Tikv.method.rawGet, {});
    const address = cluster.stores()[0]?.address ?? "";
    await ask(address);
    await cluster.stopStore(1n);
    await assert.rejects(ask(address), { origin: "transport" });
    await cluster.startStore(1n);
    assert.equal(cluster.stores()[0]?.address, address);
    await ask(address);
    await cluster.readdressStore(1n);
    await assert.rejects(ask(address), { origin: "transport" });
    await ask(cluster.stores()[0]?.address ?? "");
  } finally {
    await transport.close();
  }
});

test("a playground refuses a port in use, and leaves nothing behind", async () => {
  await using cluster = await Playground.start({ ports: {} });
  const pdPort = Number(cluster.pdAddresses[0]?.split(":")[1]);
  await assert.rejects(Playground.start({ ports: { pdPort } }), /the port is in use/);
});

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const COMMAND = fileURLToPath(new URL("../../tools/playground.ts", import.meta.url));

/** Runs the command in the runtime of this test; `onOutput` may stop it with a signal. */
function command(
  args: readonly string[],
  onOutput: (stdout: string, kill: (signal: "SIGINT" | "SIGTERM") => void) => void = () => {},
): Promise<Ended> {
  const prefix = "Deno" in globalThis ? ["run", "-A", COMMAND] : [COMMAND];
  const child = spawn(process.execPath, [...prefix, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stderr.on("data", (data) => stderr += String(data));
  child.stdout.on("data", (data) => {
    stdout += String(data);
    // Not `child.kill()`: in Deno the exit code is then lost, whatever the child does.
    onOutput(stdout, (signal) => process.kill(child.pid ?? 0, signal));
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

test("the command prints where it listens, and stops cleanly on SIGTERM and SIGINT", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    let hasAsked = false;
    const { code, stdout, stderr } = await command(["--stores", "2", "--pd-port", "0"], (seen, kill) => {
      if (hasAsked || !seen.includes("Ctrl-C")) return;
      hasAsked = true;
      kill(signal);
    });
    assert.equal(code, 0, stderr);
    for (
      const part of ["pd-1", "store-2", "in memory only", `connect("http://127.0.0.1:`, `${signal}: stopping`]
    ) {
      assert.equal(stdout.includes(part), true, `${part} is missing in:\n${stdout}`);
    }
  }
});

test("the command refuses a port in use with exit code 1, and mistakes with exit code 2", async () => {
  await using cluster = await Playground.start({ ports: {} });
  const port = cluster.pdAddresses[0]?.split(":")[1] ?? "";
  const taken = await command(["--pd-port", port]);
  assert.deepEqual([taken.code, /port is in use/.test(taken.stderr)], [1, true], taken.stderr);
  const rows: readonly (readonly [string[], RegExp])[] = [
    [["--stroes", "3"], /unknown option "--stroes", did you mean "--stores"/],
    [["--stores", "many"], /--stores is "many", wanted a whole number/],
    [["--api-version", "v3"], /--api-version is "v3", wanted v1, v1ttl, v2/],
    [["--tls-cert", "missing.pem"], /TLS needs --tls-cert and --tls-key/],
    [["--keyspace", "a"], /keyspaces need API version "v2"/],
    [["--pd-port", "99999"], /wanted 0 to 65535/],
    [["extra"], /extra/],
  ];
  for (const [args, message] of rows) {
    const { code, stderr } = await command(args);
    assert.deepEqual([code, message.test(stderr)], [2, true], stderr);
  }
});

test("stores on ports tell their configuration over HTTP, as long as they run", async () => {
  await using cluster = await Playground.start({ stores: 2, apiVersion: "v2", ports: {} });
  await using pd = await Pd.connect(cluster.pdAddresses);
  const [first] = await pd.stores();
  assert.ok(first !== undefined);
  const url = `http://${first.statusAddress}`;
  const config = await (await fetch(`${url}/config`)).json();
  assert.deepEqual(config.storage, { "api-version": 2, "enable-ttl": true, "max-key-size": 8192 });
  const unknown = await fetch(`${url}/nothing`);
  assert.deepEqual([unknown.status, await unknown.text()], [404, ""]);
  await cluster.stopStore(first.id);
  await assert.rejects(fetch(`${url}/status`));
  await cluster.startStore(first.id);
  assert.deepEqual(await (await fetch(`${url}/status`)).json(), {});
});

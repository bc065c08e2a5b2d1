// SPDX-License-Identifier: Apache-2.0
// The command line on a playground with ports: what it prints and how it ends.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Playground } from "../../src/playground/mod.ts";
import { main } from "../../tools/tikv.ts";
import { createAuthority } from "../helpers/certificates.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs one command line in this process and keeps what it printed. */
async function tikv(...args: readonly string[]): Promise<Ran> {
  const { log, error } = console;
  const out: string[] = [];
  const err: string[] = [];
  console.log = (...parts: unknown[]): void => void out.push(parts.join(" "));
  console.error = (...parts: unknown[]): void => void err.push(parts.join(" "));
  try {
    const code = await main(args);
    return { code, out: out.join("\n"), err: err.join("\n") };
  } finally {
    console.log = log;
    console.error = error;
  }
}

async function withCluster(work: (run: (...args: string[]) => Promise<Ran>) => Promise<void>): Promise<void> {
  const cluster = await Playground.start({ stores: 2, apiVersion: "v2", ports: {} });
  try {
    const pd = cluster.pdAddresses.join(",");
    await work((...args) => tikv("--pd", pd, "--api-version", "v2", ...args));
  } finally {
    await cluster.close();
  }
}

test("tikv put, get, ttl, cas and delete do what they say, with exit codes", async () => {
  await withCluster(async (run) => {
    assert.deepEqual(await run("put", "a", "one", "--ttl", "100"), { code: 0, out: "", err: "" });
    assert.equal((await run("get", "a")).out, "one");
    assert.equal(
      (await run("get", "a", "b", "--json")).out,
      '{"key":"a","value":"one"}\n{"key":"b","value":null}',
    );
    assert.equal((await run("get", "b")).code, 1);
    assert.match((await run("ttl", "a")).out, /^(100|99) s$/);
    assert.equal((await run("cas", "a", "two", "--expect", "one")).code, 0);
    assert.equal((await run("cas", "a", "three", "--expect", "one")).code, 1);
    assert.equal((await run("delete", "a")).code, 0);
    assert.equal((await run("get", "a")).code, 1);
  });
});

test("tikv shows and reads keys as utf8, hex or escaped", async () => {
  await withCluster(async (run) => {
    await run("put", "k\\x00\\xff", "v");
    assert.equal((await run("scan", "--keys-only")).out, "k\\x00\\xff");
    assert.equal((await run("scan", "--keys-only", "--keys", "hex")).out, "6b00ff");
    assert.equal((await run("get", "6b00ff", "--keys", "hex")).out, "v");
    await run("put", "é", "v", "--keys", "utf8");
    assert.equal((await run("get", "c3a9", "--keys", "hex")).code, 0);
  });
});

test("tikv dump and load carry a range from one cluster to another", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tikv-cli-"));
  try {
    const file = join(folder, "dump.jsonl");
    await withCluster(async (run) => {
      for (const key of ["a", "b\\x00", "c"]) await run("put", key, `value of ${key}`);
      const dumped = await run("dump");
      await writeFile(file, `${dumped.out}\n`);
    });
    await withCluster(async (run) => {
      assert.equal((await run("load", file)).out, "3 rows loaded");
      assert.equal((await run("get", "b\\x00")).out, "value of b\\x00");
      await writeFile(file, '{"key":"x"}\n');
      const refused = await run("load", file);
      assert.equal(refused.code, 2);
      assert.match(refused.err, /line 1 is not/);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("tikv regions, stores and tso look at the cluster", async () => {
  await withCluster(async (run) => {
    const [region] = (await run("regions", "--json")).out.split("\n").map((line) => JSON.parse(line));
    assert.deepEqual([region.start, region.end], ["", ""]);
    assert.equal((await run("stores", "--json")).out.split("\n").length, 2);
    assert.match((await run("tso")).out, /^\d{18}/);
  });
});

test("tikv doctor says ok for what is well and names the cause of what is not", async () => {
  const cluster = await Playground.start({ stores: 1, apiVersion: "v2", ports: {} });
  try {
    const pd = cluster.pdAddresses.join(",");
    assert.equal((await tikv("--pd", pd, "--api-version", "v2", "doctor")).code, 0);
    const wrongVersion = await tikv("--pd", pd, "doctor");
    assert.equal(wrongVersion.code, 3);
    assert.match(wrongVersion.out, /does --api-version fit/);
  } finally {
    await cluster.close();
  }
  const gone = await tikv("--pd", "no-such-host.invalid:2379", "--timeout-ms", "500", "doctor");
  assert.equal(gone.code, 3);
  assert.match(gone.out, /does not resolve from here: give --address-map/);
});

test("tikv speaks TLS, and the doctor says when the name in the certificate is another", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tikv-cli-tls-"));
  const authority = createAuthority();
  const good = authority.issue({ ips: ["127.0.0.1"] });
  const other = authority.issue({ dnsNames: ["tikv.example"] });
  const ca = join(folder, "ca.pem");
  await writeFile(ca, authority.cert);
  try {
    for (const [identity, code] of [[good, 0], [other, 3]] as const) {
      const cluster = await Playground.start({ ports: { tls: { cert: identity.cert, key: identity.key } } });
      try {
        const pd = cluster.pdAddresses.join(",");
        const ran = await tikv("--pd", pd, "--tls-ca", ca, "--timeout-ms", "3000", "doctor");
        assert.equal(ran.code, code, ran.out + ran.err);
        if (code !== 0) assert.match(ran.out, /compare the name in the certificate/);
        const named = await tikv("--pd", pd, "--tls-ca", ca, "--server-name", "tikv.example", "stores");
        assert.equal(named.code, code === 0 ? 3 : 0, named.err);
      } finally {
        await cluster.close();
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("tikv refuses what it does not know, and says what was meant", async () => {
  const cases: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [["--pd", "127.0.0.1:1", "gett", "a"], /unknown command "gett", did you mean "get"\?/],
    [["--pd", "127.0.0.1:1", "get", "a", "--jsn"], /unknown option "--jsn", did you mean "--json"\?/],
    [["--pd", "127.0.0.1:1", "scan", "--limit", "many"], /--limit is "many"/],
    [["--pd", "127.0.0.1:1", "scan", "--keys", "base64"], /--keys is "base64"/],
    [["--pd", "127.0.0.1:1", "get", "a", "--api-version", "3"], /--api-version is "3"/],
    [["--pd", "root:pw@127.0.0.1:1", "get", "a"], /no authentication|user|password/i],
  ];
  for (const [args, says] of cases) {
    const { code, err } = await tikv(...args);
    assert.equal(code, 2, args.join(" "));
    assert.match(err, says);
  }
});

test("tikv delete of a range wants a yes", async () => {
  await withCluster(async (run) => {
    await run("put", "a", "1");
    assert.equal((await run("delete", "--prefix", "")).code, 2);
    assert.equal((await run("get", "a")).code, 0);
    assert.equal((await run("delete", "--prefix", "", "--yes")).code, 0);
    assert.equal((await run("get", "a")).code, 1);
  });
});

test("tikv --txn reads and writes what transactions see, also at an older moment", async () => {
  await using cluster = await Playground.start({ stores: 2, mode: "txn", ports: {} });
  const run = (...args: string[]): Promise<Ran> =>
    tikv("--pd", cluster.pdAddresses.join(","), "--txn", ...args);
  assert.deepEqual(await run("put", "a", "one"), { code: 0, out: "", err: "" });
  await cluster.split("b");
  const before = JSON.parse((await run("tso", "--json")).out) as { timestamp: string };
  assert.equal((await run("put", "a", "two")).code, 0);
  assert.equal((await run("put", "c", "three")).code, 0);
  assert.equal((await run("get", "a")).out, "two");
  assert.equal((await run("get", "a", "--ts", before.timestamp)).out, "one");
  assert.equal((await run("scan", "--keys-only")).out, "a\nc");
  assert.equal((await run("scan", "--keys-only", "--ts", before.timestamp)).out, "a");
  assert.match((await run("regions")).out, /\bb\b/);
  assert.equal((await run("delete", "--prefix", "a", "--yes")).code, 0);
  assert.equal((await run("get", "a")).code, 1);
  for (
    const args of [["ttl", "a"], ["put", "a", "b", "--ttl", "1"], ["put", "a", "b", "--ts", before.timestamp]]
  ) {
    assert.equal((await run(...args)).code, 2, args.join(" "));
  }
});

// SPDX-License-Identifier: Apache-2.0
// client-go as the judge of the playground on ports: one test per case of the Go program and kind
// of cluster. Skipped, loudly, only where Go is not installed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Playground } from "../../src/playground/mod.ts";
import type { PlaygroundOptions } from "../../src/playground/mod.ts";
import { goProgram } from "../../tools/go_program.ts";
import { clusterActions } from "./cluster_actions.ts";
import { runGoSession, type SessionResult } from "./go_session.ts";
import { writeIdentities } from "./tls_files.ts";

type Api = "v1" | "v1ttl" | "v2";

/** A kind of cluster, and what is judged on it. */
interface Judged {
  readonly api: Api;
  readonly only?: RegExp;
  readonly withTls?: boolean;
}

/** A keyspace besides the one that a client takes without being told. */
const KEYSPACE = "orders";

/** Far above what the cases of one kind of cluster take. */
const LIMIT_MS = 180_000;

const JUDGED: Readonly<Record<string, Judged>> = {
  "v1": { api: "v1" },
  "v1ttl": { api: "v1ttl" },
  "v2": { api: "v2" },
  "v1ttl over mutual TLS": { api: "v1ttl", only: /RAW-0[01]|PD-03/, withTls: true },
};

const program = await goProgram("tests/interop/go");
if (program.state === "absent") {
  console.error(`SKIPPED, NOT PASSED: interop with client-go: ${program.reason}`);
  test("client-go judges the playground", { skip: program.reason }, () => {});
} else {
  const { path } = program;
  const cases = await listCases(path);
  // The first test runs all cases, on all clusters at a time; every test then looks at its own.
  let running: ReadonlyMap<string, Promise<SessionResult>> | undefined;
  const resultOf = async (kind: string): Promise<SessionResult> => {
    running ??= new Map(Object.entries(JUDGED).map(([name, judged]) => [name, judge(path, judged)]));
    return await running.get(kind) ?? assert.fail();
  };
  for (const [kind, { api, only }] of Object.entries(JUDGED)) {
    for (const { name, apis } of cases) {
      if (!apis.includes(api) || only?.test(name) === false) continue;
      test(
        `client-go: ${withoutBrackets(name)} (${kind})`,
        { timeout: LIMIT_MS },
        async () => check(await resultOf(kind), name),
      );
    }
    test(`client-go finishes all cases (${kind})`, { timeout: LIMIT_MS }, async () => {
      const { lines, stderr } = await resultOf(kind);
      assert.equal(lines.at(-1)?.["done"], true, stderr);
    });
  }
}

// An ID in brackets would count as a test of this project's client; the judge is another one.
function withoutBrackets(name: string): string {
  return name.replaceAll(/[[\]]/g, "");
}

async function listCases(path: string): Promise<readonly { readonly name: string; readonly apis: Api[] }[]> {
  const { lines, stderr } = await runGoSession(path, ["list"], { actions: {}, limitMs: LIMIT_MS });
  assert.equal(lines.length > 40, true, stderr);
  return lines as unknown as readonly { readonly name: string; readonly apis: Api[] }[];
}

async function judge(path: string, { api, only, withTls }: Judged): Promise<SessionResult> {
  const keyspace = api === "v2" ? KEYSPACE : undefined;
  await using tls = withTls === true ? await writeIdentities() : undefined;
  const ports = tls === undefined ? {} : { tls: tls.server };
  const options: PlaygroundOptions = { stores: 3, pdMembers: 3, apiVersion: api, ports };
  await using cluster = await Playground.start(
    keyspace === undefined ? options : { ...options, keyspaces: [keyspace] },
  );
  const args = ["suite", "--pd", cluster.pdAddresses.join(","), "--api", api, "--keyspace", keyspace ?? ""];
  if (tls !== undefined) args.push("--tls", tls.folder);
  if (only !== undefined) args.push("--only", only.source);
  return await runGoSession(path, args, { actions: clusterActions(cluster, keyspace), limitMs: LIMIT_MS });
}

/** Each failure says the call, what client-go answered and what TiKV promises. */
function check({ lines, exitCode, stderr }: SessionResult, name: string): void {
  const result = lines.find((line) => line["case"] === name);
  if (result === undefined) {
    assert.fail(`the case did not end, the program ended with ${exitCode}: ${stderr}`);
  }
  assert.deepEqual({ failures: result["failures"] ?? [], skip: result["skip"] }, {
    failures: [],
    skip: undefined,
  });
}

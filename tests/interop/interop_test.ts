// SPDX-License-Identifier: Apache-2.0
// client-go as the judge of the playground on ports: one test per case of the Go program and API
// version. Skipped, loudly, only where Go is not installed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Playground } from "../../src/playground/mod.ts";
import { goProgram } from "../../tools/go_program.ts";
import { clusterActions } from "./cluster_actions.ts";
import { type Line, runGoSession, type SessionResult } from "./go_session.ts";

type Api = "v1" | "v1ttl" | "v2";

/** A keyspace besides the one that a client takes without being told. */
const KEYSPACE = "orders";

/** Far above what the cases of one API version take. */
const LIMIT_MS = 180_000;

const program = await goProgram("tests/interop/go");
if (program.state === "absent") {
  console.error(`SKIPPED, NOT PASSED: interop with client-go: ${program.reason}`);
  test("client-go judges the playground", { skip: program.reason }, () => {});
} else {
  const { path } = program;
  const listed = await runGoSession(path, ["list"], { actions: {}, limitMs: LIMIT_MS });
  // The first test runs all cases, on all clusters at a time; every test then looks at its own.
  let running: Record<Api, Promise<SessionResult>> | undefined;
  for (const api of ["v1", "v1ttl", "v2"] as const) {
    const suite = (): Promise<SessionResult> => {
      running ??= { v1: judge(path, "v1"), v1ttl: judge(path, "v1ttl"), v2: judge(path, "v2") };
      return running[api];
    };
    for (const { name, apis } of listed.lines as unknown as readonly { name: string; apis: Api[] }[]) {
      if (apis.includes(api)) {
        test(`${name} (client-go, ${api})`, { timeout: LIMIT_MS }, async () => check(await suite(), name));
      }
    }
    test(`client-go finishes all cases (${api})`, { timeout: LIMIT_MS }, async () => {
      const { lines, stderr } = await suite();
      assert.equal(lines.at(-1)?.["done"], true, stderr);
    });
  }
}

async function judge(path: string, api: Api): Promise<SessionResult> {
  const isV2 = api === "v2";
  await using cluster = await Playground.start({
    stores: 3,
    pdMembers: 3,
    apiVersion: api,
    ports: {},
    ...(isV2 ? { keyspaces: [KEYSPACE] } : {}),
  });
  const args = ["suite", "--pd", cluster.pdAddresses.join(","), "--api", api];
  if (isV2) args.push("--keyspace", KEYSPACE);
  const actions = clusterActions(cluster, isV2 ? KEYSPACE : undefined);
  return await runGoSession(path, args, { actions, limitMs: LIMIT_MS });
}

/** Each failure says the call, what client-go answered and what TiKV promises. */
function check({ lines, exitCode, stderr }: SessionResult, name: string): void {
  const result = lines.find((line: Line) => line["case"] === name);
  if (result === undefined) {
    assert.fail(`the case did not end, the program ended with ${exitCode}: ${stderr}`);
  }
  assert.deepEqual({ failures: result["failures"] ?? [], skip: result["skip"] }, {
    failures: [],
    skip: undefined,
  });
}

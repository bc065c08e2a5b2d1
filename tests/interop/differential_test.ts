// SPDX-License-Identifier: Apache-2.0
// The same seeded history through client-go and through this client, each on a fresh cluster:
// every answer and the content in the end must be equal. With TIKV_PD_ADDRS it also runs on the
// cluster named there, one client after the other.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { connect } from "../../mod.ts";
import type { ApiVersion, Client } from "../../mod.ts";
import { hex } from "../../src/bytes/hex.ts";
import { Playground } from "../../src/playground/mod.ts";
import { goProgram } from "../../tools/go_program.ts";
import { clusterActions } from "./cluster_actions.ts";
import { runGoSession } from "./go_session.ts";
import { type Answered, type ClusterChanges, runWorkload } from "./workload.ts";

type Api = "v1" | "v1ttl" | "v2";

const CALLS = 300;
const LIMIT_MS = 120_000;
const API_VERSIONS: Readonly<Record<Api, ApiVersion>> = { v1: 1, v1ttl: "v1ttl", v2: 2 };

const chosen = process.env["TIKV_SEED"];
const seeds = chosen === undefined ? [1, 2, 3] : [Number(chosen)];
const servers = process.env["TIKV_PD_ADDRS"];

const program = await goProgram("tests/interop/go");
if (program.state === "absent") {
  console.error(`SKIPPED, NOT PASSED: differential runs with client-go: ${program.reason}`);
  test("both clients answer alike", { skip: program.reason }, () => {});
} else {
  for (const api of ["v1", "v1ttl", "v2"] as const) {
    for (const seed of seeds) {
      const name = `both clients answer alike, seed ${seed} (${api})`;
      test(name, { timeout: LIMIT_MS }, async () => {
        const [theirs, ours] = await Promise.all([
          throughClientGo(program.path, api, seed),
          throughThisClient(api, seed),
        ]);
        assertAlike(theirs, ours, seed);
      });
    }
  }
  if (servers !== undefined) {
    for (const seed of seeds) {
      test(`both clients answer alike on real servers, seed ${seed}`, { timeout: LIMIT_MS }, async () => {
        const [theirs, ours] = await onServers(program.path, servers, seed);
        assertAlike(theirs, ours, seed);
      });
    }
  }
}

/** Compares line by line, so that a failure shows the call and both answers. */
function assertAlike(theirs: readonly Answered[], ours: readonly Answered[], seed: number): void {
  const replay = `replay with: TIKV_SEED=${seed} deno test -A tests/interop/differential_test.ts`;
  for (const [i, line] of ours.entries()) {
    const other = theirs[i];
    if (line.call === other?.call && line.answer === other.answer) continue;
    assert.fail(
      `call ${i} differs\n  this client: ${line.call} → ${line.answer}\n  client-go:   ${other?.call} → ${other?.answer}\n  ${replay}`,
    );
  }
  assert.equal(theirs.length, ours.length, replay);
  assert.equal(ours.length > CALLS / 2, true, "the history has fewer calls than it should");
}

async function throughClientGo(path: string, api: Api, seed: number): Promise<Answered[]> {
  await using cluster = await Playground.start({ stores: 3, apiVersion: api, ports: {} });
  return await goHistory(path, ["--pd", cluster.pdAddresses.join(","), "--api", api], { seed, cluster });
}

async function goHistory(
  path: string,
  args: readonly string[],
  { seed, cluster }: { readonly seed: number; readonly cluster?: Playground },
): Promise<Answered[]> {
  const actions = cluster === undefined ? {} : clusterActions(cluster);
  const all = ["workload", ...args, "--seed", String(seed), "--calls", String(CALLS)];
  const { lines, stderr } = await runGoSession(path, all, { actions, limitMs: LIMIT_MS });
  const last = lines.at(-1);
  assert.equal(last?.["ok"], true, `client-go did not finish: ${JSON.stringify(last)} ${stderr}`);
  return lines.slice(0, -1) as unknown as Answered[];
}

async function throughThisClient(api: Api, seed: number): Promise<Answered[]> {
  await using cluster = await Playground.start({ stores: 3, apiVersion: api, ports: {} });
  await using client = await connect(cluster.pdAddresses, { apiVersion: API_VERSIONS[api] });
  const changes = {
    split: (key: Uint8Array) => cluster.split(key),
    moveLeader: (key: Uint8Array) => cluster.moveLeader(key),
  };
  return await runWorkload(client, { seed, calls: CALLS, changes });
}

/** One client after the other, on an empty range of keys each. */
async function onServers(path: string, pd: string, seed: number): Promise<[Answered[], Answered[]]> {
  await using client = await connect(pd.split(","), { apiVersion: "v1ttl" });
  await client.raw.deleteRange({ start: "k", end: "l" });
  const theirs = await goHistory(path, ["--pd", pd, "--api", "v1ttl", "--control", "pd"], { seed });
  await client.raw.deleteRange({ start: "k", end: "l" });
  return [theirs, await runWorkload(client, { seed, calls: CALLS, changes: splitsBy(client) })];
}

/**
 * PD splits where it is told, but waits for seconds where a region begins already. It has no call
 * that moves a leader.
 */
function splitsBy(client: Client): ClusterChanges {
  return {
    split: async (key) => {
      for await (const region of client.pd.regions({ start: key })) {
        if (hex(region.start) !== hex(key)) await client.pd.split([key]);
        break;
      }
    },
    moveLeader: () => {},
  };
}

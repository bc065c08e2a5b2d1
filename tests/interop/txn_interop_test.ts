// SPDX-License-Identifier: Apache-2.0
// Transactions of client-go and of this client that meet on one playground: every scenario with
// either client in either place. Skipped, loudly, only where Go is not installed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { goProgram } from "../../tools/go_program.ts";
import { type PairOptions, startPair } from "./pair.ts";
import { REGION_STARTS, type Scenario, type Stage } from "./scenario.ts";
import { COMMIT_SCENARIOS } from "./scenarios_commit.ts";
import { FAIR_SCENARIOS, LAST_SCENARIO, PIPELINED_SCENARIOS } from "./scenarios_go.ts";
import { LOCK_SCENARIOS } from "./scenarios_lock.ts";
import { OUR_SCENARIOS } from "./scenarios_ours.ts";
import { READ_SCENARIOS } from "./scenarios_read.ts";

interface Played {
  readonly name: string;
  readonly scenario: Scenario;
  /** Whether client-go is the one that begins. */
  readonly isGoFirst: boolean;
}

const BOTH: readonly Played[] = [...COMMIT_SCENARIOS, ...LOCK_SCENARIOS, ...READ_SCENARIOS].flatMap((
  scenario,
) => [
  { name: `client-go, then this client: ${scenario.name}`, scenario, isGoFirst: true },
  { name: `this client, then client-go: ${scenario.name}`, scenario, isGoFirst: false },
]);
const OURS_ALONE: readonly Played[] = OUR_SCENARIOS.map((scenario) => ({
  name: `this client: ${scenario.name}`,
  scenario,
  isGoFirst: false,
}));
const GO_ALONE: readonly Played[] = [...FAIR_SCENARIOS, ...PIPELINED_SCENARIOS, LAST_SCENARIO].map((
  scenario,
) => ({
  name: `client-go: ${scenario.name}`,
  scenario,
  isGoFirst: true,
}));

const KINDS: Readonly<Record<string, PairOptions & { readonly played: readonly Played[] }>> = {
  "v1": { api: "v1", played: [...BOTH, ...OURS_ALONE, ...GO_ALONE] },
  "v2": {
    api: "v2",
    played: [...BOTH, ...OURS_ALONE, ...GO_ALONE].filter(({ scenario }) =>
      !PIPELINED_SCENARIOS.includes(scenario)
    ),
  },
  "v1 over mutual TLS": {
    api: "v1",
    withTls: true,
    played: BOTH.filter(({ name }) => /a commit|under locks|reads its/.test(name)),
  },
};

const LIMIT_MS = 120_000;

const program = await goProgram("tests/interop/go");
if (program.state === "absent") {
  console.error(`SKIPPED, NOT PASSED: transactions beside client-go: ${program.reason}`);
  test("transactions beside client-go", { skip: program.reason }, () => {});
} else {
  const { path } = program;
  // The first test plays everything, on all clusters at a time; every test then looks at its own.
  let playing: Map<string, Promise<ReadonlyMap<string, unknown>>> | undefined;
  for (const [kind, { played }] of Object.entries(KINDS)) {
    for (const { name } of played) {
      test(`${name} (${kind})`, { timeout: LIMIT_MS }, async () => {
        playing ??= new Map(Object.entries(KINDS).map(([each, options]) => [each, playAll(path, options)]));
        const failures = await playing.get(kind);
        assert.equal(failures?.has(name), true, "the scenario was not played");
        const failure = failures?.get(name);
        if (failure !== undefined) throw failure;
      });
    }
  }
}

/** What each scenario failed with; undefined for one that did not. */
async function playAll(
  path: string,
  options: PairOptions & { readonly played: readonly Played[] },
): Promise<ReadonlyMap<string, unknown>> {
  const prefixOf = (index: number): string => `${String(index).padStart(3, "0")}/`;
  const splitKeys = options.played.flatMap((_, i) =>
    ["", ...REGION_STARTS].map((name) => `${prefixOf(i)}${name}`)
  );
  await using pair = await startPair(path, { ...options, splitKeys });
  const failures = new Map<string, unknown>();
  for (const [i, { name, scenario, isGoFirst }] of options.played.entries()) {
    const prefix = prefixOf(i);
    const [one, other] = isGoFirst ? [pair.go, pair.ours] : [pair.ours, pair.go];
    const stage: Stage = {
      one,
      other,
      pair,
      key: (own) => prefix + own,
      range: { start: prefix, end: prefixOf(i).replace("/", "0") },
    };
    failures.set(name, await scenario.play(stage).then(() => undefined, (error: unknown) => error));
    pair.cluster.faults.clear();
  }
  return failures;
}

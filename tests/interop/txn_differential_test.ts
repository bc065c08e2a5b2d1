// SPDX-License-Identifier: Apache-2.0
// The same seeded history of transactions through client-go and through this client, each on a
// cluster of its own: every answer, every kind of error and every moment must be equal.

import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { goProgram } from "../../tools/go_program.ts";
import { type PairOptions, startPair } from "./pair.ts";
import { runTxnHistory } from "./txn_history.ts";
import type { Answered } from "./workload.ts";

const CALLS = 500;
const LIMIT_MS = 120_000;

const chosen = process.env["TIKV_SEED"];
const seeds = chosen === undefined ? [1, 2, 3] : [Number(chosen)];

const KINDS: Readonly<Record<string, PairOptions>> = {
  "v1": { api: "v1", splitKeys: ["k06", "k12"] },
  "v2": { api: "v2", splitKeys: ["k06", "k12"] },
};

const program = await goProgram("tests/interop/go");
if (program.state === "absent") {
  console.error(`SKIPPED, NOT PASSED: transactions through both clients: ${program.reason}`);
  test("both clients answer alike", { skip: program.reason }, () => {});
} else {
  const { path } = program;
  for (const [kind, options] of Object.entries(KINDS)) {
    for (const seed of seeds) {
      test(
        `transactions end alike in both clients, seed ${seed} (${kind})`,
        { timeout: LIMIT_MS },
        async () => {
          const [theirs, ours] = await Promise.all([
            historyOf(path, { ...options, seed, isOurs: false }),
            historyOf(path, { ...options, seed, isOurs: true }),
          ]);
          assertAlike(theirs, ours, seed);
        },
      );
    }
  }
}

async function historyOf(
  path: string,
  { seed, isOurs, ...options }: PairOptions & { readonly seed: number; readonly isOurs: boolean },
): Promise<Answered[]> {
  await using pair = await startPair(path, options);
  return await runTxnHistory(isOurs ? pair.ours : pair.go, {
    seed,
    calls: CALLS,
    observer: await pair.connectOurs(),
    split: (key) => pair.split(key),
    moveLeader: (key) => pair.moveLeader(key),
  });
}

/** Compares line by line, so that a failure shows the call and both answers. */
function assertAlike(theirs: readonly Answered[], ours: readonly Answered[], seed: number): void {
  const replay = `replay with: TIKV_SEED=${seed} deno test -A tests/interop/txn_differential_test.ts`;
  for (const [i, line] of ours.entries()) {
    const other = theirs[i];
    if (line.call === other?.call && line.answer === other.answer) continue;
    const before = ours.slice(Math.max(0, i - 12), i).map(({ call, answer }) => `  ${call} → ${answer}`);
    assert.fail(
      `call ${i} differs\n${before.join("\n")}\n` +
        `  this client: ${line.call} → ${line.answer}\n  client-go:   ${other?.call} → ${other?.answer}\n  ${replay}`,
    );
  }
  assert.equal(theirs.length, ours.length, replay);
  assert.equal(ours.length > CALLS / 2, true, "the history has fewer calls than it should");
}

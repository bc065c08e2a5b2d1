// SPDX-License-Identifier: Apache-2.0
// A commit whose answer is lost, and what its owner is told who asks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError, UndeterminedError } from "../../src/errors.ts";
import { fault } from "../../src/playground/mod.ts";
import type { BeginOptions } from "../../src/txn/begin_options.ts";
import type { Transaction } from "../../src/txn/transaction_api.ts";
import { text } from "../unit/raw/fake_store.ts";
import { startWorld, type World } from "../unit/txn/txn_world.ts";

const KEYS = ["a", "z"];

/** A transaction whose last request, or the answer to it, is lost until its time is up. */
async function loseCommit(
  world: World,
  { options, method, isExecuted }: {
    readonly options: BeginOptions;
    readonly method: string;
    readonly isExecuted: boolean;
  },
): Promise<{ error: UndeterminedError; txn: Transaction }> {
  const { txns } = await world.open();
  const txn = await world.clock.run(txns.begin(options));
  for (const key of KEYS) txn.put(key, `${key}!`);
  if (options.mode === "pessimistic") await world.clock.run(txn.lock(KEYS));
  using _lost = world.cluster.faults.add({ method }, isExecuted ? fault.dropReply() : fault.dropRequest());
  let error: unknown;
  await world.clock.run(txn.commit({ timeoutMs: 1_500 }).catch((failed) => error = failed));
  assert.ok(error instanceof UndeterminedError, String(error));
  assert.equal(txn.state, "undetermined");
  return { error, txn };
}

async function readAll(world: World): Promise<(string | undefined)[]> {
  const { txns } = await world.open();
  const values: (string | undefined)[] = [];
  const txn = await world.clock.run(txns.begin());
  for (const key of KEYS) {
    const value = await world.clock.run(txn.get(key));
    values.push(value === undefined ? undefined : text(value));
  }
  await world.clock.run(txn.rollback());
  return values;
}

const PATHS = [
  { name: "two phases", options: { commit: "2pc" }, method: "KvCommit" },
  { name: "async commit", options: { commit: "async" }, method: "KvPrewrite" },
  { name: "one phase", options: { commit: "1pc" }, method: "KvPrewrite", isOneRegion: true },
  {
    name: "two phases, pessimistic",
    options: { commit: "2pc", mode: "pessimistic" },
    method: "KvCommit",
  },
  {
    name: "async commit, pessimistic",
    options: { commit: "async", mode: "pessimistic" },
    method: "KvPrewrite",
  },
] as const;

for (const { name, options, method, ...rest } of PATHS) {
  const splitKeys = "isOneRegion" in rest ? [] : ["m"];
  for (const isExecuted of [true, false]) {
    const what = isExecuted ? "answer" : "request";
    test(`[TXN-170] [TXN-096] the fate of a commit in ${name} whose ${what} is lost is told at once, and stays`, async () => {
      await using world = await startWorld({ splitKeys });
      const { error, txn } = await loseCommit(world, { options, method, isExecuted });
      const before = world.clock.now();
      const fate = await world.clock.run(error.resolve());
      // Nobody waits until the time of the locks is up.
      assert.ok(world.clock.now() - before < 1_000, `${world.clock.now() - before} ms`);
      assert.equal(fate.state, isExecuted ? "committed" : "rolled-back");
      if (fate.state === "committed") assert.ok(fate.commitTs > txn.startTs);
      const expected = isExecuted ? KEYS.map((key) => `${key}!`) : [undefined, undefined];
      assert.deepEqual(await readAll(world), expected);
      await world.clock.advance(30_000);
      assert.deepEqual(await readAll(world), expected);
      assert.deepEqual(await world.clock.run(error.resolve()), fate);
    });
  }
}

test("[TXN-170] who asks for a fate waits as long as it says, and may ask again", async () => {
  await using world = await startWorld();
  const { error } = await loseCommit(world, {
    options: { commit: "2pc" },
    method: "KvCommit",
    isExecuted: true,
  });
  const away = world.cluster.faults.add({ method: "KvCheckTxnStatus" }, fault.dropRequest());
  const before = world.clock.now();
  await assert.rejects(
    world.clock.run(error.resolve({ timeoutMs: 700 })),
    (failed) => TikvError.is(failed) && failed.kind === "timeout",
  );
  assert.equal(world.clock.now() - before, 700);
  const reason = new Error("enough");
  await assert.rejects(
    world.clock.run(error.resolve({ signal: AbortSignal.abort(reason) })),
    (failed) => failed === reason,
  );
  away.remove();
  assert.equal((await world.clock.run(error.resolve())).state, "committed");
});

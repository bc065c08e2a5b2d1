// SPDX-License-Identifier: Apache-2.0
// Commits that have to be later than a timestamp of another cluster.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BeginOptions, CommitInfo } from "../../src/txn/begin_options.ts";
import type { TikvError } from "../../src/errors.ts";
import { type Timestamp, timestampOf } from "../../src/types.ts";
import { CommitWorld, failureOf } from "../unit/txn/commit_world.ts";

/** A timestamp that the cluster will give out in this time. */
function ahead(world: CommitWorld, ms: number): Timestamp {
  return timestampOf(BigInt(world.clock.now() + ms), 0n);
}

const PATHS: Readonly<Record<string, BeginOptions>> = {
  "2pc": { commit: "2pc" },
  "async": { commit: "async" },
  "1pc": { commit: "1pc" },
  "async, causal": { commit: "async", causalConsistency: true },
};

for (const [name, options] of Object.entries(PATHS)) {
  test(`[TXN-078] a commit is later than the timestamp that it waits for, which is waited for if need be (${name})`, async () => {
    await using world = await CommitWorld.start();
    const told: CommitInfo[] = [];
    const txn = await world.writing(["a"], { ...options, onCommit: (info) => told.push(info) });
    const untilTs = ahead(world, 700);
    txn.commitAfter(untilTs);
    const before = world.clock.now();
    const { commitTs, path } = await world.run(txn.commit());
    assert.equal(path, options.commit);
    assert.ok(commitTs !== undefined && commitTs > untilTs);
    const tookMs = world.clock.now() - before;
    assert.ok(tookMs >= 700 && tookMs < 710, String(tookMs));
    // What was seen of it is told.
    const [info] = told;
    assert.ok(info?.lag !== undefined && info.lag.firstTs <= untilTs && info.lag.retries > 1);
    assert.ok(info.lag.waitedMs >= 700 && info.lag.waitedMs <= tookMs);
  });
}

test("[TXN-078] nothing is waited for when the cluster is later already", async () => {
  await using world = await CommitWorld.start();
  const told: CommitInfo[] = [];
  const untilTs = await world.world.ts();
  const txn = await world.writing(["a"], {
    commit: "2pc",
    commitWait: { untilTs, timeoutMs: 0 },
    onCommit: (info) => told.push(info),
  });
  const asked = world.timestamps();
  const { commitTs } = await world.run(txn.commit());
  assert.ok(commitTs !== undefined && commitTs > untilTs);
  assert.deepEqual([world.timestamps() - asked, told[0]?.lag], [1, undefined]);
});

test("[TXN-078] the timestamp has to be larger, not just as large", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"], { commit: "2pc" });
  const next = await world.world.ts() + 1n as Timestamp;
  txn.commitAfter(next);
  const { commitTs } = await world.run(txn.commit());
  assert.ok(commitTs !== undefined && commitTs > next);
});

test("[TXN-078] of several timestamps the largest counts, and of several limits the last", async () => {
  await using world = await CommitWorld.start();
  const now = ahead(world, 0);
  const txn = await world.writing(["a"], { commit: "2pc", commitWait: { untilTs: now, timeoutMs: 0 } });
  const untilTs = ahead(world, 5_000);
  txn.commitAfter(untilTs, { timeoutMs: 10_000 });
  txn.commitAfter(ahead(world, 100));
  const { commitTs } = await world.run(txn.commit());
  assert.ok(commitTs !== undefined && commitTs > untilTs);
});

test("[TXN-078] a gap that is larger than what may be waited for fails at once, and nothing is written", async () => {
  await using world = await CommitWorld.start();
  for (const [timeoutMs, gapMs] of [[0, 1], [undefined, 1_001], [200, 201]] as const) {
    for (const commit of ["2pc", "async"] as const) {
      const txn = await world.writing(["a"], { commit });
      txn.commitAfter(ahead(world, gapMs), { timeoutMs });
      const before = world.clock.now();
      const asked = world.timestamps();
      const error = await failureOf(world.run(txn.commit())) as TikvError;
      assert.equal(error.kind, "timeout");
      assert.deepEqual([world.clock.now() - before, world.timestamps() - asked], [0, 1]);
      await world.settle();
      assert.deepEqual(await world.locked(), []);
      assert.deepEqual(await world.read("a"), [undefined]);
    }
  }
});

test("[TXN-078] a cluster whose time stands still is not waited for longer than was said", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"], { commit: "2pc" });
  txn.commitAfter(ahead(world, 900));
  const before = world.clock.now();
  const still = timestampOf(BigInt(before), 0n);
  world.mapTimestamp = () => still;
  const error = await failureOf(world.run(txn.commit())) as TikvError;
  assert.equal(error.kind, "timeout");
  const tookMs = world.clock.now() - before;
  assert.ok(tookMs >= 999 && tookMs <= 1_000, String(tookMs));
  assert.equal(txn.state, "rolled-back");
});

test("[TXN-078] what is to be waited for is checked, and cannot be changed once the commit runs", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"]);
  assert.throws(() => txn.commitAfter(7 as never), TypeError);
  assert.throws(() => txn.commitAfter(0n as Timestamp), RangeError);
  assert.throws(() => txn.commitAfter(1n as Timestamp, { timeoutMs: -1 }), RangeError);
  const committing = txn.commit();
  assert.throws(() => txn.commitAfter(1n as Timestamp), { kind: "misuse" });
  await world.run(committing);
});

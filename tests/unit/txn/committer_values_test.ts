// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionLevel } from "../../../gen/kvrpcpb_pb.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { fault } from "../../../src/playground/mod.ts";
import { commitTransaction } from "../../../src/txn/commit/committer.ts";
import { type CommitMutation, CommitRun } from "../../../src/txn/commit/committer_run.ts";
import { MinCommitTs } from "../../../src/txn/commit/min_commit_ts.ts";
import { CommitWorld } from "./commit_world.ts";

test("[TXN-059] a commit keeps no value once it is prewritten, while its keys are still being committed", async () => {
  await using world = await CommitWorld.start();
  const { session, locks } = world.world;
  const mutations = ["a", "z"].map((key): CommitMutation => ({
    op: "put",
    key: utf8Encode(key),
    value: utf8Encode(`${key}!`),
    assertion: "none",
    check: "none",
  }));
  const values: unknown[] = [];
  const commitWith = async (lost: boolean): Promise<unknown> => {
    const run = new CommitRun({
      txn: {
        session,
        locks,
        startTs: await world.world.ts(),
        beganAt: world.clock.now(),
        context: undefined,
        writeContext: undefined,
        minCommitTs: new MinCommitTs(),
        askFate: () => Promise.resolve({ state: "unknown" }),
      },
      mutations,
      primary: utf8Encode("a"),
      isPessimistic: false,
      forUpdateTs: 0n,
      canUseAsyncCommit: false,
      canUseOnePc: false,
      assertionLevel: AssertionLevel.Off,
      isCausal: false,
      failsOnLock: false,
      keepAlive: () => {},
    });
    if (lost) world.fault("KvPrewrite", fault.regionError({ raftEntryTooLarge: { regionId: 1n } }));
    const slow = world.fault({ method: "KvCommit", skip: 1, times: 1 }, fault.delay(500));
    try {
      return await world.run(commitTransaction(run, world.world.operation()));
    } catch (error) {
      return error;
    } finally {
      values.push(mutations.map(({ value }) => value));
      slow.remove();
    }
  };
  // What has failed before may be looked at still.
  assert.ok(await commitWith(true) instanceof Error);
  assert.deepEqual(values[0], [utf8Encode("a!"), utf8Encode("z!")]);
  await world.settle(1_000);
  await commitWith(false);
  assert.deepEqual(values[1], [undefined, undefined]);
  await world.settle(1_000);
  assert.deepEqual(await world.read("a", "z"), ["a!", "z!"]);
});

test("[TXN-059] [TXN-041] a handle that is over does not keep what was written", async () => {
  await using world = await CommitWorld.start();
  for (const end of ["commit", "rollback"] as const) {
    const told: number[] = [];
    const txn = await world.begin({ onMemoryChange: (memoryBytes) => told.push(memoryBytes) });
    txn.put("a", new Uint8Array(1_000_000).fill(1));
    const [sizeBytes, memoryBytes] = [txn.sizeBytes, txn.memoryBytes];
    assert.ok(memoryBytes > 1_000_000);
    await world.run<unknown>(txn[end]());
    assert.ok(txn.memoryBytes < 100_000, `${txn.memoryBytes} bytes after ${end}`);
    assert.equal(told.at(-1), txn.memoryBytes);
    // What it was stays known.
    assert.deepEqual([txn.sizeBytes, txn.keyCount], [sizeBytes, 1]);
  }
});

// SPDX-License-Identifier: Apache-2.0
// How many timestamps each path asks PD for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fault } from "../../../src/playground/mod.ts";
import type { Transactions } from "../../../src/txn/begin.ts";
import type { BeginOptions } from "../../../src/txn/begin_options.ts";
import { openSnapshot } from "../../../src/txn/snapshot/snapshot.ts";
import type { SnapshotOptions } from "../../../src/txn/snapshot/snapshot_options.ts";
import type { Timestamp } from "../../../src/types.ts";
import { SnapshotWorld } from "./snapshot_world.ts";
import { startWorld, type World } from "./txn_world.ts";

interface Counted {
  readonly txns: Transactions;
  snapshot(options: SnapshotOptions): Promise<Timestamp>;
  /** Timestamps that were asked for since the last time. */
  take(): number;
}

async function counted(world: World): Promise<Counted> {
  const { parts, txns } = await world.open();
  const layers = parts.txn();
  const { oracle } = layers.session;
  const timestamp = oracle.timestamp.bind(oracle);
  let asked = 0;
  oracle.timestamp = (operation) => {
    asked++;
    return timestamp(operation);
  };
  return {
    txns,
    snapshot: async (options) => {
      const opening = openSnapshot(layers, options, {
        defaults: {},
        timestamp: (operation) => oracle.timestamp(operation),
      });
      const snapshot = await world.clock.run(opening);
      await world.clock.run(snapshot.get("a"));
      return snapshot.ts;
    },
    take: () => {
      const taken = asked;
      asked = 0;
      return taken;
    },
  };
}

const COMMITS: readonly {
  name: string;
  options: BeginOptions;
  begin?: number;
  lock?: number;
  commit: number;
}[] = [
  { name: "two phases", options: { commit: "2pc" }, commit: 1 },
  { name: "async commit", options: { commit: "async" }, commit: 1 },
  { name: "async commit, causal", options: { commit: "async", causalConsistency: true }, commit: 0 },
  { name: "one phase", options: { commit: "1pc" }, commit: 1 },
  { name: "one phase, causal", options: { commit: "1pc", causalConsistency: true }, commit: 0 },
  // Each lock is taken at a timestamp of its own, as a statement.
  { name: "two phases, pessimistic", options: { commit: "2pc", mode: "pessimistic" }, lock: 1, commit: 1 },
];

for (const { name, options, lock = 0, commit } of COMMITS) {
  test(`[TXN-021] timestamps of a transaction committed in ${name}`, async () => {
    await using world = await startWorld();
    const { txns, take } = await counted(world);
    const txn = await world.clock.run(txns.begin(options));
    assert.equal(take(), 1);
    await world.clock.run(txn.get("a"));
    await world.clock.run(txn.batchGet(["a", "b"]));
    await world.clock.run(txn.scan({}).toArray());
    assert.equal(take(), 0);
    txn.put("a", "1");
    if (lock > 0) await world.clock.run(txn.lock(["a"]));
    assert.equal(take(), lock);
    await world.clock.run(txn.commit());
    assert.equal(take(), commit);
  });
}

test("[TXN-021] timestamps of snapshots: none where the moment is known, or does not matter", async () => {
  await using world = await startWorld();
  const { snapshot, take } = await counted(world);
  const ts = await snapshot({});
  assert.equal(take(), 1);
  await snapshot({ ts });
  await snapshot({ ts: "latest" });
  assert.equal(take(), 0);
});

test("[TXN-021] what is read only, or given up, takes no timestamp at its end", async () => {
  await using world = await startWorld();
  const { txns, take } = await counted(world);
  const reader = await world.clock.run(txns.begin());
  await world.clock.run(reader.get("a"));
  await world.clock.run(reader.commit());
  const quitter = await world.clock.run(txns.begin());
  quitter.put("a", "1");
  await world.clock.run(quitter.rollback());
  assert.equal(take(), 2);
});

test("[TXN-021] an async commit that falls back takes the one of two phases besides", async () => {
  await using world = await startWorld();
  const { txns, take } = await counted(world);
  const others = await counted(world);
  const txn = await world.clock.run(txns.begin({ commit: "async" }));
  txn.put("a", "1");
  take();
  using _slow = world.cluster.faults.add({ method: "KvPrewrite", times: 1 }, fault.delay(3_000));
  const committing = txn.commit();
  await world.clock.advance(2_900);
  // What is read that late must not change: the promise of the prewrite cannot be kept.
  await others.snapshot({});
  assert.equal((await world.clock.run(committing)).path, "2pc");
  assert.equal(take(), 2);
});

test("[TXN-021] [TXN-010] [ORA-009] who begins at a timestamp takes none, unless it may be one of the future", async () => {
  await using world = await startWorld();
  const { txns, take } = await counted(world);
  const other = await counted(world);
  const startTs = await other.snapshot({});
  const txn = await world.clock.run(txns.begin({ startTs }));
  assert.equal(take(), 0);
  await world.clock.run(txn.get("a"));
  await world.clock.run(txn.get("b"));
  assert.equal(take(), 1);
  await world.clock.run(txn.rollback());
});

test("[TXN-021] [TXN-007] [ORA-006] many locks that are met at once are judged by one timestamp", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);
  for (const key of keys) await world.prewrite([key], { startTs: await world.ts(), ttlMs: 60_000n });
  const { oracle } = world.session;
  const timestamp = oracle.timestamp.bind(oracle);
  let asked = 0;
  oracle.timestamp = (operation) => {
    asked++;
    return timestamp(operation);
  };
  const snapshot = await world.snapshot();
  assert.equal(asked, 1);
  await world.run(snapshot.batchGet(keys));
  assert.ok(startTs < snapshot.ts);
  assert.equal(asked, 1);
});

// SPDX-License-Identifier: Apache-2.0
// Locks that a dead client left, in the way of one that locks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fault } from "../../src/playground/mod.ts";
import { startWorld } from "../unit/txn/txn_world.ts";

const TEXT = new TextDecoder();
const KEYS = Array.from({ length: 40 }, (_, i) => `k${String(i).padStart(2, "0")}`);

/** Above the life of any lock that nobody keeps alive. */
const EXPIRY_MS = 30_000;

for (
  const [end, lost, expected] of [["rolled back", KEYS[0], "old"], ["committed", KEYS[20], "new"]] as const
) {
  // Stores tell of one lock at a time, after a second of waiting for it: forty would take forty seconds.
  test(`[TXN-117] [TXN-163] many locks of one transaction that is ${end} are not met one by one`, async () => {
    await using world = await startWorld({ splitKeys: ["k20"] });
    const { clock, cluster } = world;
    const dead = await world.open();
    await clock.run(dead.txns.run((txn) => KEYS.forEach((key) => txn.put(key, "old"))));
    cluster.faults.add({ method: "KvCommit", key: lost }, fault.dropRequest());
    dead.txns.run((txn) => KEYS.forEach((key) => txn.put(key, "new")), { commit: "2pc" }).catch(() => {});
    await clock.advance(100);
    assert.equal(cluster.calls.get("KvCommit") > 0, true);
    cluster.jumpTso(EXPIRY_MS);

    const { txns } = await world.open();
    cluster.calls.clear();
    const before = clock.now();
    const txn = await clock.run(txns.begin({ mode: "pessimistic" }));
    const found = await clock.run(txn.batchGetForUpdate(KEYS), 60_000);
    assert.deepEqual([...found.values()].map((value) => TEXT.decode(value)), KEYS.map(() => expected));
    assert.equal(clock.now() - before < 6_000, true, `${clock.now() - before} ms`);
    // In each region: the first lock, another one, and then there is none.
    assert.equal(cluster.calls.get("KvPessimisticLock") <= 6, true);
    await clock.run(txn.rollback());
  });
}

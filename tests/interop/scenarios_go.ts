// SPDX-License-Identifier: Apache-2.0
// What only client-go does, with this project's client as the one that it meets.

import assert from "node:assert/strict";
import { until } from "../helpers/until.ts";
import { assertContent, type Scenario, type Stage, whenCalled, write } from "./scenario.ts";
import { contentOf, refusalOf } from "./txn_client.ts";
import type { GoTxn } from "./go_client.ts";

/** client-go waits for a lock of this client's by fair locking, and gets it over a newer value. */
async function lockOverNewer(stage: Stage): Promise<GoTxn> {
  const { pair: { go, ours }, key } = stage;
  await write(ours, { [key("a")]: "old" });
  const holder = await ours.begin({ mode: "pessimistic" });
  await holder.lock([key("a")]);
  await holder.put(key("a"), "holder");
  const txn = await go.begin({ mode: "pessimistic" });
  await txn.fair("start");
  let locking: ReturnType<GoTxn["lockFairly"]> | undefined;
  await whenCalled(stage, "KvPessimisticLock", () => locking = txn.lockFairly([key("a")]));
  const { commitTs } = await holder.commit();
  // It is woken with the lock, and told that somebody wrote after what it asked for.
  assert.deepEqual(await locking, { found: { [key("a")]: "holder" }, conflicts: { [key("a")]: commitTs } });
  return txn;
}

export const FAIR_SCENARIOS: readonly Scenario[] = [
  {
    name: "fair locking: a lock over a newer value is kept when the statement runs again",
    play: async (stage) => {
      const { pair, key } = stage;
      const txn = await lockOverNewer(stage);
      await txn.fair("retry");
      const before = pair.cluster.calls.get("KvPessimisticLock");
      const again = await txn.lockFairly([key("a")]);
      assert.deepEqual(again, { found: { [key("a")]: "holder" }, conflicts: {} });
      assert.equal(pair.cluster.calls.get("KvPessimisticLock"), before, "the lock is there already");
      await txn.fair("done");
      await txn.put(key("a"), "fair");
      await txn.commit();
      await assertContent(stage, { a: "fair" });
    },
  },
  {
    name: "fair locking: what is not needed again, or cancelled, is released",
    play: async (stage) => {
      const { pair: { ours }, key } = stage;
      const txn = await lockOverNewer(stage);
      await txn.fair("retry");
      await txn.lockFairly([key("m")]);
      await txn.fair("done");
      const isFree = async (name: string): Promise<boolean> => {
        const probe = await ours.begin({ mode: "pessimistic" });
        const kind = await refusalOf(probe.lock([key(name)], { waitMs: 0 }));
        await probe.rollback();
        return kind === "none";
      };
      await until(() => isFree("a"), "the lock that was not needed again is released");
      assert.equal(await isFree("m"), false);
      await txn.fair("start");
      await txn.lockFairly([key("a")]);
      assert.equal(await isFree("a"), false);
      await txn.fair("cancel");
      await until(() => isFree("a"), "the cancelled lock is released");
      await txn.put(key("m"), "fair");
      await txn.commit();
      await assertContent(stage, { a: "holder", m: "fair" });
    },
  },
  {
    name: "fair locking: a key that a store has lost the lock of is not overwritten",
    play: async (stage) => {
      const { pair, key } = stage;
      const txn = await lockOverNewer(stage);
      await txn.fair("retry");
      await txn.lockFairly([key("a")]);
      await txn.fair("done");
      await txn.put(key("a"), "fair");
      pair.losePessimisticLocks(key("a"));
      await write(pair.ours, { [key("a")]: "between" });
      assert.equal(await refusalOf(txn.commit()), "txn-aborted");
      await assertContent(stage, { a: "between" });
    },
  },
];

/** In V2 the pinned client-go sends the keys of these without the prefix of their keyspace. */
export const PIPELINED_SCENARIOS: readonly Scenario[] = [
  {
    name: "a pipelined transaction reads what it flushed, others do not before its commit",
    play: async (stage) => {
      const { pair: { go, ours, cluster }, key, range } = stage;
      await write(ours, { [key("a")]: "old", [key("m")]: "old", [key("t")]: "old" });
      const txn = await go.begin({ pipelined: true });
      for (const name of ["a", "m"]) await txn.put(key(name), "first");
      await txn.flush();
      await txn.put(key("a"), "second");
      await txn.delete(key("m"));
      await txn.put(key("b"), "second");
      await txn.flush();
      assert.equal(cluster.calls.get("KvFlush") > 0, true);
      assert.equal(await txn.get(key("a")), "second");
      assert.equal(await txn.get(key("m")), undefined);
      assert.equal(await txn.get(key("t")), "old");
      const old = ["a", "m", "t"].map((name) => [key(name), "old"]);
      assert.deepEqual(await contentOf(ours, range), old, "before the commit");
      await txn.put(key("u"), "third");
      assert.equal((await txn.commit()).path, "2pc");
      await assertContent(stage, { a: "second", b: "second", t: "old", u: "third" });
    },
  },
  {
    name: "a pipelined transaction that is rolled back leaves nothing",
    play: async (stage) => {
      const { pair: { go, ours }, key } = stage;
      await write(ours, { [key("a")]: "old" });
      const txn = await go.begin({ pipelined: true });
      for (const name of ["a", "m", "t"]) await txn.put(key(name), "flushed");
      await txn.flush();
      await txn.rollback();
      await assertContent(stage, { a: "old" });
      await write(ours, { [key("t")]: "new" });
      await assertContent(stage, { a: "old", t: "new" });
    },
  },
  {
    name: "a pipelined insert of a key that exists, and a flush over a newer value, fail",
    play: async (stage) => {
      const { pair: { go, ours }, key } = stage;
      await write(ours, { [key("a")]: "old" });
      const inserting = await go.begin({ pipelined: true });
      await inserting.insert(key("a"), "new");
      assert.equal(await refusalOf(inserting.flush()), "key-exists");
      await inserting.rollback();
      const late = await go.begin({ pipelined: true });
      await write(ours, { [key("a")]: "newer" });
      await late.put(key("a"), "late");
      assert.equal(await refusalOf(late.flush()), "write-conflict");
      await late.rollback();
      await assertContent(stage, { a: "newer" });
    },
  },
];

/** Moves the safe point of the whole cluster, and so comes after all others. */
export const LAST_SCENARIO: Scenario = {
  name: "before the safe point of garbage collection nothing is read by either",
  play: async (stage) => {
    const { pair, key } = stage;
    const old = await write(pair.ours, { [key("a")]: "old" });
    const ts = await write(pair.go, { [key("a")]: "new" });
    assert.equal(await pair.go.snapshot(old).get(key("a")), "old");
    assert.equal(await pair.go.collectGarbage(ts), ts);
    // Each client asks only now and then.
    await pair.go.call("safePoint");
    const fresh = await pair.connectOurs();
    for (const client of [pair.go, fresh]) {
      assert.equal(await refusalOf(client.snapshot(old).get(key("a"))), "snapshot-too-old", client.name);
      assert.equal(await refusalOf(client.snapshot(old).scan(stage.range)), "snapshot-too-old", client.name);
      assert.equal(await client.snapshot(ts).get(key("a")), "new", client.name);
    }
  },
};

// SPDX-License-Identifier: Apache-2.0
// Optimistic transactions: every way to commit, conflicts, inserts, assertions.

import assert from "node:assert/strict";
import { fault } from "../../src/playground/mod.ts";
import { until } from "../helpers/until.ts";
import { assertContent, type Scenario, type Stage, whenCalled, write } from "./scenario.ts";
import { contentOf, refusalOf } from "./txn_client.ts";

/** Commits in a way over some regions, and what path that has to be. */
function commitsAs(
  commit: "auto" | "1pc" | "async" | "2pc",
  names: readonly string[],
  path: string,
): Scenario {
  return {
    name: `a commit "${commit}" over ${names.length} region(s) goes the path "${path}", and is seen at once`,
    play: async (stage) => {
      const { one, other, range, key } = stage;
      const before = await other.timestamp();
      const txn = await one.begin({ commit });
      for (const name of names) await txn.put(key(name), `value of ${name}`);
      assert.deepEqual(await contentOf(other, range), [], "before the commit");
      const done = await txn.commit();
      // The other asks at once, while secondaries are still on their way.
      const seen = await contentOf(other, range);
      assert.deepEqual(seen, names.map((name) => [key(name), `value of ${name}`]));
      assert.equal(done.path, path);
      assert.equal(done.commitTs > txn.startTs && txn.startTs > before, true);
      assert.deepEqual(await other.snapshot(done.commitTs - 1n).scan(range), [], "right before it");
      assert.deepEqual(await other.snapshot(done.commitTs).scan(range), seen, "at its timestamp");
      assert.deepEqual(await other.snapshot(before).scan(range), [], "at an old timestamp");
    },
  };
}

/** Plays a commit of `one` that is held back while `other` does something. */
async function whileCommitIsHeld(stage: Stage, work: () => Promise<void>): Promise<bigint> {
  const { one, pair, key } = stage;
  const txn = await one.begin();
  for (const name of ["a", "m"]) await txn.put(key(name), "new");
  using rule = pair.cluster.faults.add({ method: "KvCommit", key: key("a"), times: 1 }, fault.delay(500));
  const committing = txn.commit();
  // Whatever happens meanwhile, this one is looked at in the end.
  committing.catch(() => {});
  await until(() => rule.hits === 1, "the commit of the primary");
  await work();
  return (await committing).commitTs;
}

export const COMMIT_SCENARIOS: readonly Scenario[] = [
  commitsAs("2pc", ["a", "m", "t"], "2pc"),
  commitsAs("2pc", ["a"], "2pc"),
  commitsAs("async", ["a", "m", "t"], "async"),
  commitsAs("1pc", ["a"], "1pc"),
  commitsAs("1pc", ["a", "m"], "2pc"),
  commitsAs("auto", ["a"], "1pc"),
  commitsAs("auto", ["a", "m"], "async"),
  {
    name: "with causal consistency, who sees a transaction sees what it had seen",
    play: async ({ one, other, key, range }) => {
      for (const commit of ["async", "1pc"] as const) {
        const first = await one.begin({ commit, causal: true });
        await first.put(key("a"), commit);
        assert.equal((await first.commit()).path, commit);
        const second = await other.begin({ commit, causal: true });
        assert.equal(await second.get(key("a")), commit);
        await second.put(key("m"), commit);
        assert.equal((await second.commit()).path, commit);
        assert.deepEqual(await contentOf(one, range), [[key("a"), commit], [key("m"), commit]]);
      }
    },
  },
  {
    name: "a commit that asks PD for no timestamp comes after every read before it",
    play: async (stage) => {
      const { one, other, key } = stage;
      for (const commit of ["async", "1pc"] as const) {
        const txn = await one.begin({ commit, causal: true });
        for (const name of commit === "1pc" ? ["a"] : ["a", "m"]) await txn.put(key(name), commit);
        const readAt = await other.timestamp();
        const before = await other.snapshot(readAt).get(key("a"));
        const done = await txn.commit();
        assert.equal(done.path, commit);
        assert.equal(done.commitTs > readAt, true, `${done.commitTs} is not after ${readAt}`);
        assert.equal(await other.snapshot(readAt).get(key("a")), before);
      }
      await assertContent(stage, { a: "1pc", m: "async" });
    },
  },
  {
    name: "a commit that would come later than it may goes on in two phases",
    play: async (stage) => {
      const { one, other, pair, key } = stage;
      for (const commit of ["async", "1pc"] as const) {
        const txn = await one.begin({ commit });
        for (const name of commit === "1pc" ? ["a"] : ["a", "m"]) await txn.put(key(name), commit);
        // By its own clock, it has just begun.
        pair.cluster.jumpTso(20_000);
        await other.snapshot(await other.timestamp()).batchGet([key("a"), key("m")]);
        assert.equal((await txn.commit()).path, "2pc");
      }
      await assertContent(stage, { a: "1pc", m: "async" });
    },
  },
  {
    name: "of two that write a key the later one fails, and leaves nothing",
    play: async (stage) => {
      const { one, other, key } = stage;
      for (const commit of ["2pc", "async", "1pc"] as const) {
        const late = await one.begin({ commit });
        await write(other, { [key("a")]: "first" });
        await late.put(key("a"), "second");
        if (commit !== "1pc") await late.put(key("m"), "second");
        assert.equal(await refusalOf(late.commit()), "write-conflict");
        await assertContent(stage, { a: "first" });
      }
    },
  },
  {
    name: "a key that was only locked conflicts as one that was written: no write skew",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(one, { [key("a")]: "1", [key("m")]: "1" });
      const [left, right] = [await one.begin(), await other.begin()];
      assert.deepEqual(await left.lock([key("a"), key("m")]), { [key("a")]: "1", [key("m")]: "1" });
      assert.deepEqual(await right.lock([key("a"), key("m")]), { [key("a")]: "1", [key("m")]: "1" });
      await left.put(key("a"), "0");
      await right.put(key("m"), "0");
      assert.equal((await left.commit()).path, "2pc");
      assert.equal(await refusalOf(right.commit()), "write-conflict");
      await assertContent(stage, { a: "0", m: "1" });
    },
  },
  {
    name: "an insert of a key that exists fails, one over a delete does not",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(other, { [key("a")]: "old", [key("m")]: "old" });
      for (const commit of ["2pc", "async", "1pc"] as const) {
        const refused = await one.begin({ commit });
        await refused.insert(key("a"), "new");
        if (commit !== "1pc") await refused.put(key("t"), "new");
        assert.equal(await refusalOf(refused.commit()), "key-exists");
      }
      const own = await one.begin();
      await own.delete(key("a"));
      await own.insert(key("a"), "over a delete");
      await own.insert(key("t"), "fresh");
      assert.equal(await refusalOf(own.insert(key("t"), "again")), "key-exists");
      await own.commit();
      await assertContent(stage, { a: "over a delete", m: "old", t: "fresh" });
    },
  },
  {
    name: "what was inserted and deleted again is only checked",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(other, { [key("a")]: "old" });
      for (const [name, expected] of [["a", "key-exists"], ["b", "none"]] as const) {
        const txn = await one.begin();
        await txn.insert(key(name), "new");
        await txn.delete(key(name));
        await txn.put(key("m"), name);
        assert.equal(await refusalOf(txn.commit()), expected);
      }
      await assertContent(stage, { a: "old", m: "b" });
    },
  },
  {
    name: "assertions that hold change nothing, others fail the commit",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(other, { [key("a")]: "old" });
      const cases = [["a", true, "none"], ["a", false, "assertion-failed"], ["m", true, "assertion-failed"], [
        "m",
        false,
        "none",
      ]] as const;
      for (const [name, exists, expected] of cases) {
        const txn = await one.begin({ strict: true });
        await txn.put(key(name), "new");
        await txn.assert(key(name), exists);
        await txn.put(key("t"), "beside");
        assert.equal(await refusalOf(txn.commit()), expected, `${name} ${exists}`);
      }
      await assertContent(stage, { a: "new", m: "new", t: "beside" });
    },
  },
  {
    name: "a read does not wait for a commit that is later than it, which is moved behind the read",
    play: async (stage) => {
      const { one, other, key, range } = stage;
      await write(one, { [key("a")]: "old", [key("m")]: "old" });
      let readAt = 0n;
      const commitTs = await whileCommitIsHeld(stage, async () => {
        readAt = await other.timestamp();
        const reader = other.snapshot(readAt);
        assert.equal(await reader.get(key("m")), "old");
        assert.deepEqual(await reader.batchGet([key("a"), key("m")]), {
          [key("a")]: "old",
          [key("m")]: "old",
        });
        assert.deepEqual(await reader.scan(range), [[key("a"), "old"], [key("m"), "old"]]);
      });
      assert.equal(commitTs > readAt, true, "the commit came before the read");
      await assertContent(stage, { a: "new", m: "new" });
    },
  },
  {
    name: "a write waits for a commit that is under way, and then sees the conflict",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(one, { [key("a")]: "old", [key("m")]: "old" });
      await whileCommitIsHeld(stage, async () => {
        const eager = await other.begin({ failsOnLock: true });
        await eager.put(key("m"), "third");
        assert.equal(await refusalOf(eager.commit()), "write-conflict");
        const patient = await other.begin();
        await patient.put(key("m"), "third");
        assert.equal(await refusalOf(patient.commit()), "write-conflict");
      });
      await assertContent(stage, { a: "new", m: "new" });
    },
  },
  {
    name: "when nobody can tell whether the primary was committed, the commit says so",
    play: async (stage) => {
      const { one, pair, key } = stage;
      for (const [commit, method] of [["2pc", "KvCommit"], ["1pc", "KvPrewrite"]] as const) {
        const txn = await one.begin({ commit });
        await txn.put(key("a"), "new");
        using _rule = pair.cluster.faults.add({ method, key: key("a") }, fault.undeterminedResult());
        assert.equal(await refusalOf(txn.commit()), "undetermined");
      }
    },
  },
  {
    name: "regions split and leaders move between the writes and the commit",
    play: async (stage) => {
      const { one, pair, key } = stage;
      const names = Array.from({ length: 20 }, (_, i) => `a${String(i).padStart(2, "0")}`);
      const txn = await one.begin({ commit: "async" });
      for (const name of names) await txn.put(key(name), name);
      await pair.split(key("a07"));
      await pair.moveLeader(key("a08"));
      await whenCalled(stage, "KvPrewrite", async () => {
        await pair.split(key("a13"));
        await txn.commit();
      });
      await assertContent(stage, Object.fromEntries(names.map((name) => [name, name])));
    },
  },
  {
    name: "300 values of 300 bytes over three regions, some deleted again",
    play: async (stage) => {
      const { one, key } = stage;
      const names = Array.from({ length: 300 }, (_, i) => `${"amt"[i % 3]}${String(i).padStart(3, "0")}`);
      const values = Object.fromEntries(names.map((name) => [name, `${name} `.repeat(60)]));
      const txn = await one.begin();
      for (const [name, value] of Object.entries(values)) await txn.put(key(name), value);
      await txn.commit();
      await assertContent(stage, values);
      const removal = await one.begin();
      for (const name of names.filter((_, i) => i % 4 !== 0)) await removal.delete(key(name));
      await removal.commit();
      const rest = names.filter((_, i) => i % 4 === 0).map((name) => [name, values[name] ?? ""] as const);
      await assertContent(stage, Object.fromEntries(rest));
    },
  },
  {
    name: "counters of both clients, optimistic and tried again, lose no step",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(one, { [key("a")]: "0" });
      await Promise.all([one, other].map(async (client) => {
        for (let done = 0; done < 10;) {
          const txn = await client.begin({ commit: "auto" });
          await txn.put(key("a"), String(Number(await txn.get(key("a"))) + 1));
          const kind = await refusalOf(txn.commit());
          assert.equal(["none", "write-conflict"].includes(kind), true, kind);
          if (kind === "none") done++;
        }
      }));
      await assertContent(stage, { a: "20" });
    },
  },
];

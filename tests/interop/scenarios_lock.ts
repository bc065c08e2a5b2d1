// SPDX-License-Identifier: Apache-2.0
// Pessimistic transactions of two clients that meet.

import assert from "node:assert/strict";
import type { DeadlockWait } from "../../mod.ts";
import { assertContent, type Scenario, type Stage, whenCalled, write } from "./scenario.ts";
import { refusalOf, type Refused, refused } from "./txn_client.ts";

/** Starts a lock that has to wait, and resolves when a store has heard of it. */
async function startWaiting<T>(
  stage: Stage,
  lock: () => Promise<T>,
): Promise<{ readonly locked: Promise<T> }> {
  let locked: Promise<T> | undefined;
  await whenCalled(stage, "KvPessimisticLock", () => {
    locked = lock();
    locked.catch(() => {});
  });
  return { locked: locked as Promise<T> };
}

/** Who waits for whom, as an error about a deadlock tells it. */
function waitChainOf({ details }: Refused): readonly (readonly bigint[])[] {
  const chain = details["waitChain"] as readonly (readonly string[] | DeadlockWait)[];
  return chain.map((wait) => "startTs" in wait ? [wait.startTs, wait.waitsForTs] : wait.map(BigInt));
}

export const LOCK_SCENARIOS: readonly Scenario[] = [
  ...(["2pc", "async", "1pc"] as const).map((commit): Scenario => ({
    name: `a pessimistic transaction that commits "${commit}" is read by the other`,
    play: async (stage) => {
      const { one, other, key, range } = stage;
      await write(other, { [key("a")]: "old" });
      const txn = await one.begin({ mode: "pessimistic", commit });
      const names = commit === "1pc" ? ["a", "b"] : ["a", "m", "t"];
      assert.deepEqual(await txn.lock(names.map(key)), { [key("a")]: "old" });
      for (const name of names) await txn.put(key(name), "new");
      // Locks that were only taken to write are no matter to who reads.
      assert.deepEqual(await other.snapshot(await other.timestamp()).scan(range), [[key("a"), "old"]]);
      assert.equal((await txn.commit()).path, commit);
      await assertContent(stage, Object.fromEntries(names.map((name) => [name, "new"])));
    },
  })),
  {
    name: "who does not want to wait for a lock, or only for a while, is told so",
    play: async (stage) => {
      const { one, other, key } = stage;
      const holder = await one.begin({ mode: "pessimistic" });
      await holder.lock([key("a"), key("m")]);
      const late = await other.begin({ mode: "pessimistic" });
      assert.equal(await refusalOf(late.lock([key("a")], { waitMs: 0 })), "lock-wait-timeout");
      assert.equal(await refusalOf(late.lock([key("m")], { waitMs: 100 })), "lock-wait-timeout");
      // It goes on with what is free.
      await late.lock([key("t")], { waitMs: 0 });
      await late.put(key("t"), "other");
      await late.commit();
      await holder.put(key("a"), "holder");
      await holder.commit();
      await assertContent(stage, { a: "holder", t: "other" });
    },
  },
  {
    name: "who waits gets the lock when the other commits, and the value that it left",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(one, { [key("a")]: "old" });
      const holder = await one.begin({ mode: "pessimistic" });
      await holder.lock([key("a")]);
      await holder.put(key("a"), "holder");
      const late = await other.begin({ mode: "pessimistic" });
      const { locked } = await startWaiting(stage, () => late.lock([key("a")]));
      await holder.commit();
      assert.deepEqual(await locked, { [key("a")]: "holder" });
      assert.equal(await late.get(key("a")), "old", "a plain read is still as of the start");
      await late.put(key("a"), "late");
      await late.commit();
      await assertContent(stage, { a: "late" });
    },
  },
  {
    name: "who waits gets the lock when the other rolls back",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(one, { [key("a")]: "old" });
      const holder = await one.begin({ mode: "pessimistic" });
      await holder.lock([key("a"), key("m")]);
      await holder.put(key("a"), "holder");
      const late = await other.begin({ mode: "pessimistic" });
      const { locked } = await startWaiting(stage, () => late.lock([key("a")]));
      await holder.rollback();
      assert.deepEqual(await locked, { [key("a")]: "old" });
      await late.put(key("a"), "late");
      await late.commit();
      await assertContent(stage, { a: "late" });
    },
  },
  {
    name: "of two that wait for each other one is told of the deadlock, and who waits for whom",
    play: async (stage) => {
      const { one, other, key } = stage;
      const [first, second] = [
        await one.begin({ mode: "pessimistic" }),
        await other.begin({ mode: "pessimistic" }),
      ];
      await first.lock([key("a")]);
      await second.lock([key("m")]);
      const { locked } = await startWaiting(stage, () => first.lock([key("m")]));
      const error = await refused(second.lock([key("a")]));
      assert.equal(error.kind, "deadlock");
      assert.equal(String(error.details["lockTs"]), String(first.startTs));
      // The whole circle; the last one is the wait that was refused.
      const circle = [[first.startTs, second.startTs], [second.startTs, first.startTs]];
      assert.deepEqual(waitChainOf(error), circle);
      await second.rollback();
      assert.deepEqual(await locked, {});
      await first.put(key("m"), "first");
      await first.commit();
      await assertContent(stage, { m: "first" });
    },
  },
  {
    name: "a lock tells what is there, also where it is the transaction's own, and can spare what is not",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(other, { [key("a")]: "1", [key("m")]: "2" });
      const txn = await one.begin({ mode: "pessimistic" });
      await write(other, { [key("m")]: "3" });
      assert.deepEqual(await txn.lock([key("a"), key("b"), key("m")]), { [key("a")]: "1", [key("m")]: "3" });
      await txn.put(key("b"), "own");
      await txn.delete(key("a"));
      assert.deepEqual(await txn.lock([key("a"), key("b"), key("m")]), {
        [key("b")]: "own",
        [key("m")]: "3",
      });
      assert.deepEqual(await txn.lock([key("s")], { onlyIfExists: true }), {});
      // What was not there is not locked.
      const free = await other.begin({ mode: "pessimistic" });
      await free.lock([key("s")], { waitMs: 0 });
      assert.equal(await refusalOf(free.lock([key("a")], { waitMs: 0 })), "lock-wait-timeout");
      await free.rollback();
      await txn.commit();
      await assertContent(stage, { b: "own", m: "3" });
    },
  },
  {
    name: "an insert under a lock fails where the key exists, and the transaction goes on",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(other, { [key("a")]: "old", [key("m")]: "old" });
      const txn = await one.begin({ mode: "pessimistic" });
      assert.equal(await refusalOf(txn.insertLocked(key("a"), "new")), "key-exists");
      assert.equal(await txn.get(key("a")), "old", "the insert is undone");
      await txn.insertLocked(key("b"), "new");
      await txn.lock([key("m")]);
      assert.equal(await refusalOf(txn.insertLocked(key("m"), "new")), "key-exists");
      await txn.delete(key("m"));
      await txn.insertLocked(key("m"), "over a delete");
      await txn.commit();
      await assertContent(stage, { a: "old", b: "new", m: "over a delete" });
    },
  },
  {
    name: "an optimistic commit waits for a pessimistic lock, and fails only if that one writes",
    play: async (stage) => {
      const { one, other, key } = stage;
      for (const end of ["commit", "rollback"] as const) {
        const holder = await one.begin({ mode: "pessimistic" });
        await holder.lock([key("a")]);
        await holder.put(key("a"), "holder");
        const eager = await other.begin({ failsOnLock: true });
        await eager.put(key("a"), "eager");
        assert.equal(await refusalOf(eager.commit()), "write-conflict");
        const late = await other.begin();
        await late.put(key("a"), "late");
        let committing: Promise<string> | undefined;
        await whenCalled(stage, "KvPrewrite", () => committing = refusalOf(late.commit()));
        await holder[end]();
        assert.equal(await committing, end === "commit" ? "write-conflict" : "none");
        await assertContent(stage, { a: end === "commit" ? "holder" : "late" });
      }
    },
  },
  {
    name: "locks that a store has lost are noticed where somebody wrote meanwhile, and only there",
    play: async (stage) => {
      const { one, other, pair, key } = stage;
      for (const isWritten of [false, true]) {
        const txn = await one.begin({ mode: "pessimistic" });
        await txn.lock([key("a"), key("m")]);
        for (const name of ["a", "m"]) await txn.put(key(name), `locked ${isWritten}`);
        for (const name of ["a", "m"]) pair.losePessimisticLocks(key(name));
        if (isWritten) await write(other, { [key("m")]: "between" });
        assert.equal(await refusalOf(txn.commit()), isWritten ? "txn-aborted" : "none");
      }
      await assertContent(stage, { a: "locked false", m: "between" });
    },
  },
  {
    name: "counters of both clients under locks lose no step",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(one, { [key("a")]: "0" });
      await Promise.all([one, other].map(async (client) => {
        for (let done = 0; done < 10;) {
          const txn = await client.begin({ mode: "pessimistic", commit: "auto" });
          const { [key("a")]: value } = await txn.lock([key("a")]);
          await txn.put(key("a"), String(Number(value) + 1));
          await txn.commit();
          done++;
        }
      }));
      await assertContent(stage, { a: "20" });
    },
  },
];

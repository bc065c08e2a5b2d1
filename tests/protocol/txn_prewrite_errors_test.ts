// SPDX-License-Identifier: Apache-2.0
// What comes of the answers to a prewrite: locks in the way, keys that exist, assertions, lost answers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { KeyErrorSchema, Op } from "../../gen/kvrpcpb_pb.ts";
import { fault } from "../../src/playground/mod.ts";
import type { PrewriteReply } from "../../src/rpc/batch/messages.ts";
import type { KeyExistsError, WriteConflictError } from "../../src/txn_errors.ts";
import { bytes } from "../unit/raw/fake_store.ts";
import { CommitWorld, failureOf, textOf } from "../unit/txn/commit_world.ts";

function keysOf(mutations: readonly { readonly key: Uint8Array }[]): string {
  return textOf(mutations.map(({ key }) => key)).join("");
}

test("[TXN-076] an insert of a key that exists fails with the key, and the value that was to be written", async () => {
  await using world = await CommitWorld.start();
  await world.world.put("a");
  const txn = await world.begin();
  txn.insert("a", "mine");
  const error = await failureOf(world.run(txn.commit())) as KeyExistsError;
  assert.deepEqual([error.kind, error.key, error.value], ["key-exists", bytes("a"), bytes("mine")]);
  // Neither is among what is printed of it.
  assert.ok(!JSON.stringify(error).includes("mine"));
});

test("[TXN-076] a store that says of a key that exists although it was not to be inserted is not believed", async () => {
  await using world = await CommitWorld.start({
    client: {
      interceptors: [async (call, next) => {
        const reply = await next(call);
        if (call.method !== "KvPrewrite") return reply;
        const alreadyExist = { key: bytes("a") };
        return { ...reply as PrewriteReply, errors: [create(KeyErrorSchema, { alreadyExist })] };
      }],
    },
  });
  const txn = await world.writing(["a"], { commit: "2pc" });
  await assert.rejects(world.run(txn.commit()), { kind: "protocol" });
});

test("[TXN-076] an optimistic transaction does not wait for one that began later", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"], { commit: "2pc" });
  const later = await world.world.ts();
  await world.world.prewrite(["a"], { startTs: later });
  world.forget();
  const error = await failureOf(world.run(txn.commit())) as WriteConflictError;
  assert.deepEqual(
    [error.kind, error.key, error.startTs, error.conflictTs, error.conflictCommitTs, error.reason],
    ["write-conflict", bytes("a"), txn.startTs, later, 0n, "optimistic"],
  );
  assert.deepEqual(world.bodies("CheckTxnStatus"), []);
});

test("[TXN-076] an older lock is waited for as long as it lives, and what is over is taken away", async () => {
  await using world = await CommitWorld.start();
  await world.writing(["a"]);
  const older = await world.world.ts();
  await world.world.prewrite(["a", "b"], { startTs: older, ttlMs: 2_000n });
  const txn = await world.writing(["a"], { commit: "2pc" });
  const before = world.clock.now();
  await world.run(txn.commit());
  const waitedMs = world.clock.now() - before;
  assert.ok(waitedMs >= 1_000 && waitedMs < 4_000, String(waitedMs));
  const asked = world.bodies("CheckTxnStatus").map((
    one,
  ) => [textOf([one.primaryKey])[0], one.lockTs, one.callerStartTs, one.resolvingPessimisticLock]);
  assert.ok(asked.length > 1);
  for (const one of asked) assert.deepEqual(one, ["a", older, txn.startTs, false]);
  assert.deepEqual(await world.read("a"), ["a"]);
});

test("[TXN-087] with that policy a lock is a conflict at once, also an older one", async () => {
  await using world = await CommitWorld.start();
  const older = await world.world.ts();
  await world.world.prewrite(["a"], { startTs: older, ttlMs: 1n });
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await world.begin({ commit: "2pc", onLock: "conflict", mode });
    txn.insert("a", "1", { lazy: true });
    world.forget();
    const error = await failureOf(world.run(txn.commit())) as WriteConflictError;
    assert.deepEqual([error.kind, error.conflictTs, error.reason], ["write-conflict", older, "optimistic"]);
    assert.deepEqual(world.bodies("CheckTxnStatus"), []);
  }
});

test("[TXN-076] [T-34] locks in share mode are told apart, and each is resolved by its own primary", async () => {
  await using world = await CommitWorld.start();
  const holders = [];
  for (const primary of ["p", "q"]) {
    const holder = await world.begin({ mode: "pessimistic" });
    await world.run(holder.lock([primary]));
    await world.run(holder.lock(["s"], { shared: true }));
    holders.push(holder);
  }
  // One lets go after a while; the other is waited for until then as well.
  const txn = await world.writing(["s"], { commit: "2pc" });
  const committing = txn.commit();
  await world.settle(500);
  assert.equal(txn.state, "committing");
  const asked = new Set(world.bodies("CheckTxnStatus").map(({ primaryKey }) => textOf([primaryKey])[0]));
  assert.deepEqual(asked, new Set(["p", "q"]));
  for (const holder of holders) await world.run(holder.rollback());
  await world.run(committing);
  assert.deepEqual(await world.read("s"), ["s"]);
});

test("[TXN-076] [TXN-086] an assertion that fails ends nothing else, and is what is told if nothing else went wrong", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  txn.assertExists("a");
  world.fault({ method: "KvPrewrite", key: "x" }, fault.delay(100));
  await assert.rejects(world.run(txn.commit()), { kind: "assertion-failed" });
  await world.settle(1_000);
  assert.deepEqual(world.order(), ["Prewrite", "Prewrite", "BatchRollback", "BatchRollback"]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-076] [TXN-086] [T-46] any other failure says more than an assertion that came before it", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  txn.assertExists("a");
  await world.world.put("x");
  world.fault({ method: "KvPrewrite", key: "x" }, fault.delay(100));
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
});

test("[TXN-071] [TXN-076] the first failure ends the other requests", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  await world.world.put("a");
  world.fault({ method: "KvPrewrite", key: "x" }, fault.delay(20_000));
  const before = world.clock.now();
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  assert.ok(world.clock.now() - before < 5_000);
});

test("[TXN-086] [T-46] what a lock has told against an assertion is told when the prewrite finds nothing worse", async () => {
  await using world = await CommitWorld.start();
  await world.world.put("a", "b");
  const locked = async (): Promise<Awaited<ReturnType<typeof world.begin>>> => {
    const txn = await world.begin({ mode: "pessimistic" });
    await world.run(txn.lock(["a", "b"]));
    txn.put("a", "1");
    txn.put("b", "2");
    txn.assertNotExists("b");
    world.forget();
    return txn;
  };
  const txn = await locked();
  await assert.rejects(world.run(txn.commit()), { kind: "assertion-failed" });
  await world.settle();
  // It could not be committed before this was found out: neither in one phase nor as an async commit.
  assert.deepEqual(
    world.bodies("Prewrite").map(({ tryOnePc, useAsyncCommit }) => [tryOnePc, useAsyncCommit]),
    [[false, false]],
  );
  assert.deepEqual(world.order(), ["Prewrite", "BatchRollback"]);
  assert.deepEqual(await world.locked(), []);

  // Its locks were lost, and somebody else was there: that is the reason for all of it.
  const lost = await locked();
  world.cluster.losePessimisticLocks("a");
  await world.world.put("a");
  await assert.rejects(world.run(lost.commit()), { kind: "txn-aborted" });
});

test("[TXN-086] with assertions off nothing is asserted", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ mode: "pessimistic", assertions: "off" });
  await world.run(txn.lock(["a"]));
  txn.put("a", "1");
  txn.assertExists("a");
  await world.run(txn.commit());
  assert.deepEqual(await world.read("a"), ["1"]);
});

test("[TXN-077] [T-05] after a lost answer every further request with these keys says that it is not the first", async () => {
  await using world = await CommitWorld.start({ client: { attemptTimeoutMs: 1_000 } });
  const txn = await world.writing(["a", "f"], { commit: "2pc" });
  world.fault("KvPrewrite", fault.dropReply());
  world.fault({ method: "KvPrewrite", skip: 1, times: 1 }, fault.delay(1));
  const committing = txn.commit();
  await world.settle(500);
  await world.cluster.split("e");
  await world.run(committing);
  assert.deepEqual(
    world.bodies("Prewrite").map(({ mutations, context }) => [keysOf(mutations), context?.isRetryRequest]),
    [["af", false], ["af", true], ["a", true], ["f", true]],
  );
});

test("[TXN-077] what a store has refused unseen is the first request when it is sent elsewhere", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "f"], { commit: "2pc" });
  await world.cluster.split("e");
  await world.run(txn.commit());
  assert.deepEqual(
    world.bodies("Prewrite").map(({ mutations, context }) => [keysOf(mutations), context?.isRetryRequest]),
    [["af", false], ["a", false], ["f", false]],
  );
});

test("[TXN-035] [TXN-082] [T-13] [T-15] a key that is only checked is not the primary, no secondary, and not committed", async () => {
  await using world = await CommitWorld.start();
  for (const commit of ["async", "2pc"] as const) {
    const txn = await world.writing(["b", "c", "x"], { commit });
    txn.insert("a", "1");
    txn.delete("a");
    await world.run(txn.commit());
    await world.settle();
    const prewrites = world.bodies("Prewrite");
    assert.deepEqual(
      prewrites.flatMap(({ mutations }) => mutations.map(({ op }) => op)).sort(),
      [Op.Put, Op.Put, Op.Put, Op.CheckNotExists].sort(),
    );
    assert.deepEqual(new Set(prewrites.map(({ primaryLock }) => textOf([primaryLock])[0])), new Set(["b"]));
    const [secondaries = [], ...others] = prewrites.map((one) => textOf(one.secondaries));
    assert.deepEqual([secondaries, others], [commit === "async" ? ["c", "x"] : [], [[]]]);
    assert.deepEqual(world.bodies("Commit").flatMap(({ keys }) => textOf(keys)).sort(), ["b", "c", "x"]);
    assert.deepEqual(await world.locked(), []);
  }
});

for (const commit of ["2pc", "async", "1pc"] as const) {
  test(`[TXN-035] [TXN-082] a transaction that only checks is committed when the keys do not exist (${commit})`, async () => {
    await using world = await CommitWorld.start();
    await world.world.put("y");
    world.forget();
    const only = async (...keys: string[]): Promise<unknown> => {
      const txn = await world.begin({ commit });
      for (const key of keys) {
        txn.insert(key, "1");
        txn.delete(key);
      }
      return await world.run(txn.commit());
    };
    await only("a", "x");
    await world.settle();
    // The first one stands for a primary that nobody will ever look for.
    assert.deepEqual(textOf([world.bodies("Prewrite")[0]?.primaryLock ?? bytes("none")]), ["a"]);
    assert.deepEqual([world.bodies("Commit"), await world.locked()], [[], []]);
    await assert.rejects(only("a", "y"), { kind: "key-exists" });
  });
}

test("[TXN-035] [T-15] a key in share mode is never the primary, whatever else the transaction has", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ mode: "pessimistic" });
  await assert.rejects(world.run(txn.lock(["a"], { shared: true })), { kind: "misuse" });
  await world.run(txn.lock(["b"]));
  await world.run(txn.lock(["a"], { shared: true }));
  txn.put("c", "1");
  await world.run(txn.commit());
  await world.settle();
  const prewrites = world.bodies("Prewrite");
  assert.deepEqual(new Set(prewrites.map(({ primaryLock }) => textOf([primaryLock])[0])), new Set(["b"]));
  assert.deepEqual(prewrites.map(({ tryOnePc, useAsyncCommit }) => tryOnePc || useAsyncCommit), [false]);
  assert.deepEqual(
    prewrites[0]?.mutations.map(({ op }) => op),
    [Op.SharedLock, Op.Lock, Op.Put],
  );
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-035] the primary of a pessimistic transaction is the first key of its first lock", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ mode: "pessimistic", commit: "2pc" });
  await world.run(txn.lock(["y", "x"]));
  txn.put("a", "1");
  await world.run(txn.commit());
  assert.deepEqual(
    new Set(world.bodies("Prewrite").map(({ primaryLock }) => textOf([primaryLock])[0])),
    new Set(["x"]),
  );
});

test("[TXN-034] [TXN-037] [T-44] a write that is filtered out releases the lock of its key, and writes nothing", async () => {
  await using world = await CommitWorld.start();
  const seen: unknown[] = [];
  const txn = await world.begin({
    mode: "pessimistic",
    filter: ({ key, value, isInsert, isLocked }) => {
      seen.push([...textOf([key]), value === undefined ? undefined : textOf([value])[0], isInsert, isLocked]);
      return key[0] === "d".charCodeAt(0);
    },
  });
  await world.run(txn.lock(["a", "c"]));
  txn.put("a", "1");
  txn.insert("b", "2");
  txn.delete("c");
  txn.put("d", "4");
  txn.delete("e");
  world.forget();
  await world.run(txn.commit());
  await world.settle();
  assert.deepEqual(seen, [
    ["a", "1", false, true],
    ["b", "2", true, false],
    ["c", undefined, false, true],
    ["d", "4", false, false],
    ["e", undefined, false, false],
  ]);
  assert.deepEqual(
    world.bodies("Prewrite").flatMap(({ mutations }) =>
      mutations.map(({ op, key }) => [op, textOf([key])[0]])
    ),
    [[Op.Lock, "a"], [Op.Lock, "c"], [Op.Put, "d"]],
  );
  // What is not written is not locked for the commit either.
  assert.deepEqual(world.bodies("PessimisticLock").map(({ mutations }) => keysOf(mutations)), ["d"]);
  assert.deepEqual(await world.locked(), []);
  assert.deepEqual(await world.read("a", "b", "c", "d"), [undefined, undefined, undefined, "4"]);
});

test("[TXN-037] a filter that throws fails the commit, and one that takes everything leaves nothing to do", async () => {
  await using world = await CommitWorld.start();
  const reason = new Error("no");
  const failing = await world.writing(["a"], {
    filter: () => {
      throw reason;
    },
  });
  assert.equal(await failureOf(world.run(failing.commit())), reason);
  assert.equal(failing.state, "rolled-back");
  const empty = await world.writing(["a"], { filter: () => false });
  assert.deepEqual(await world.run(empty.commit()), { commitTs: undefined, path: "none" });
  assert.deepEqual(world.order(), []);
});

test("[TXN-123] the primary of a huge transaction is kept alive while the rest is prewritten, and no longer", async () => {
  await using world = await CommitWorld.start({
    limits: { keepAliveBytes: 3 },
    client: { attemptTimeoutMs: 30_000 },
  });
  const huge = await world.writing(["a", "x"], { commit: "2pc" });
  world.fault({ method: "KvPrewrite", key: "x" }, fault.delay(15_000));
  await world.run(huge.commit());
  await world.settle(60_000);
  assert.deepEqual(
    world.bodies("TxnHeartBeat").map((
      { primaryLock, startVersion },
    ) => [textOf([primaryLock])[0], startVersion]),
    [["a", huge.startTs]],
  );
  assert.deepEqual(await world.read("a", "x"), ["a", "x"]);
  const small = await world.writing(["b"], { commit: "2pc" });
  world.fault("KvCommit", fault.delay(15_000));
  await world.run(small.commit());
  assert.deepEqual(world.bodies("TxnHeartBeat"), []);
});

test("[TXN-076] [T-36] two huge transactions that have each other's keys do not keep each other waiting", async () => {
  await using world = await CommitWorld.start({ limits: { keepAliveBytes: 0 } });
  const older = await world.writing(["a", "x"], { commit: "2pc" });
  const younger = await world.begin({ commit: "2pc" });
  for (const key of ["a", "x"]) younger.put(key, "younger");
  // Each gets one key, and meets the other at the second one.
  const [first, second] = ["a", "x"].map((key) => world.cluster.regionOf(key).id);
  world.fault({ method: "KvPrewrite", regionId: second, times: 1 }, fault.delay(1_000));
  world.fault({ method: "KvPrewrite", regionId: first, skip: 1, times: 1 }, fault.delay(1_000));
  const before = world.clock.now();
  const committing = [failureOf(older.commit()), younger.commit().then(() => "committed")];
  const ends = await world.run(Promise.all(committing)) as [{ kind: string }, string];
  assert.deepEqual([ends[0].kind, ends[1]], ["write-conflict", "committed"]);
  assert.ok(world.clock.now() - before < 10_000);
  assert.deepEqual(await world.read("a", "x"), ["younger", "younger"]);
});

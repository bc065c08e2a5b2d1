// SPDX-License-Identifier: Apache-2.0
// Answers that are lost on the way of a commit: when nobody can know how it ended, and when somebody can.

import assert from "node:assert/strict";
import { test } from "node:test";
import { UndeterminedError } from "../../src/errors.ts";
import { fault } from "../../src/playground/mod.ts";
import type { Timestamp } from "../../src/types.ts";
import type { Transaction } from "../../src/txn/transaction_api.ts";
import { bytes } from "../unit/raw/fake_store.ts";
import { CommitWorld, failureOf, textOf } from "../unit/txn/commit_world.ts";

const IMPATIENT = { client: { attemptTimeoutMs: 1_000 } } as const;

/** Commits, and expects that nobody knows how that ended. */
async function doubtOf(world: CommitWorld, txn: Transaction, timeoutMs = 3_000): Promise<UndeterminedError> {
  const error = await failureOf(world.run(txn.commit({ timeoutMs })));
  assert.ok(error instanceof UndeterminedError, String(error));
  assert.equal(error.startTs, txn.startTs);
  assert.equal(txn.state, "undetermined");
  await world.settle();
  // What may be committed is never taken away.
  assert.deepEqual([world.bodies("BatchRollback"), world.bodies("PessimisticRollback")], [[], []]);
  return error;
}

/** Prewrites of the region of a key: others name the key too, as their primary. */
function ofRegion(world: CommitWorld, key: string): { readonly method: string; readonly regionId: bigint } {
  return { method: "KvPrewrite", regionId: world.cluster.regionOf(key).id };
}

/** The timestamp at which a key has its newest version. */
async function versionOf(world: CommitWorld, key: string, around: Timestamp): Promise<bigint> {
  const valueAt = async (ts: bigint): Promise<Uint8Array | undefined> =>
    await world.run((await world.world.snapshot({ ts: ts as Timestamp })).get(key));
  const [at, before] = [await valueAt(around), await valueAt(around - 1n)];
  assert.ok(at !== undefined && before === undefined, "no version begins at this timestamp");
  return around;
}

for (const [what, effect] of [["answer", fault.dropReply()], ["request", fault.dropRequest()]] as const) {
  test(`[TXN-079] [T-01] [T-21] when each ${what} of the primary's commit is lost nobody knows, but it can be asked`, async () => {
    await using world = await CommitWorld.start(IMPATIENT);
    const txn = await world.writing(["a", "x"], { commit: "2pc" });
    const rule = world.fault({ method: "KvCommit" }, effect);
    const error = await doubtOf(world, txn);
    assert.deepEqual(error.primary, bytes("a"));
    assert.equal((error.cause as { kind?: string }).kind, "timeout");
    rule.remove();
    const fate = await world.run(error.resolve());
    assert.equal(fate.state, what === "answer" ? "committed" : "rolled-back");
    if (fate.state === "committed") assert.ok(fate.commitTs !== undefined && fate.commitTs > txn.startTs);
    const expected = what === "answer" ? ["a", "x"] : [undefined, undefined];
    assert.deepEqual(await world.read("a", "x"), expected);
  });
}

test("[TXN-079] [T-02] an answer of the region after a lost answer of the store proves nothing", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a"], { commit: "2pc" });
  world.fault("KvCommit", fault.dropReply());
  // From the second one on: each rule is asked when those before it have had enough.
  const rule = world.fault({ method: "KvCommit" }, fault.staleCommand());
  await doubtOf(world, txn);
  rule.remove();
  assert.deepEqual(await world.read("a"), ["a"]);
});

test("[TXN-079] [T-02] a success after a lost answer is a success, at the same timestamp", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a"], { commit: "2pc" });
  world.fault("KvCommit", fault.dropReply());
  const { commitTs } = await world.run(txn.commit());
  assert.ok(commitTs !== undefined);
  assert.equal(await versionOf(world, "a", commitTs), commitTs);
  assert.equal(world.bodies("Commit").length, 2);
});

test("[TXN-079] [T-02] an answer about the key ends the doubt: it is not committed, and cleaned up", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  world.fault("KvCommit", fault.dropRequest());
  const committing = failureOf(txn.commit());
  await world.settle(500);
  // Meanwhile somebody has rolled it back.
  world.cluster.jumpTso(60_000);
  assert.deepEqual(await world.read("a"), [undefined]);
  const error = await world.run(committing) as { kind: string };
  assert.equal(error.kind, "txn-aborted");
  await world.settle();
  assert.deepEqual([txn.state, world.bodies("BatchRollback").length], ["rolled-back", 2]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-079] [T-71] a store that does not know itself is not asked again about the primary", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"], { commit: "2pc" });
  world.fault("KvCommit", fault.undeterminedResult());
  await doubtOf(world, txn);
  assert.equal(world.bodies("Commit").length, 1);
});

test("[TXN-080] [T-71] what a store does not know of secondaries is done again", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  world.fault({ method: "KvCommit", key: "x", times: 2 }, fault.undeterminedResult());
  await world.run(txn.commit());
  await world.settle(5_000);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-081] [T-71] what a store does not know of a rollback is done again", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  await world.world.put("x");
  world.forget();
  world.fault({ method: "KvBatchRollback", times: 2 }, fault.undeterminedResult());
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  await world.settle(5_000);
  assert.deepEqual(await world.locked(), []);
  assert.ok(world.bodies("BatchRollback").length >= 3);
});

test("[TXN-096] [T-71] a prewrite of two phases is simply done again, whatever became of the first", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  for (const effect of [fault.undeterminedResult(), fault.dropReply(), fault.dropRequest()]) {
    const txn = await world.writing(["a", "x"], { commit: "2pc" });
    world.fault("KvPrewrite", effect);
    await world.run(txn.commit());
    assert.deepEqual(world.contexts("Prewrite").map(({ isRetryRequest }) => isRetryRequest), [
      false,
      false,
      true,
    ]);
    await world.settle();
  }
});

test("[TXN-096] a prewrite of two phases that never gets an answer has failed, and is cleaned up", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  const rule = world.fault({ method: "KvPrewrite", key: "x" }, fault.dropReply());
  await assert.rejects(world.run(txn.commit({ timeoutMs: 3_000 })), { kind: "timeout" });
  await world.settle(2_000);
  rule.remove();
  assert.deepEqual([txn.state, await world.locked()], ["rolled-back", []]);
});

for (const commit of ["async", "1pc"] as const) {
  test(`[TXN-096] [T-71] a store that does not know itself how a prewrite ended that decides: nobody does (${commit})`, async () => {
    await using world = await CommitWorld.start();
    const txn = await world.writing(["a"], { commit });
    world.fault("KvPrewrite", fault.undeterminedResult());
    await doubtOf(world, txn);
    assert.equal(world.bodies("Prewrite").length, 1);
  });

  for (const [what, effect] of [["answer", fault.dropReply()], ["request", fault.dropRequest()]] as const) {
    test(`[TXN-096] [T-03] when each ${what} of a prewrite that decides is lost nobody knows, but it can be asked (${commit})`, async () => {
      await using world = await CommitWorld.start(IMPATIENT);
      const txn = await world.writing(commit === "async" ? ["a", "x"] : ["a", "b"], { commit });
      const rule = world.fault(ofRegion(world, "a"), effect);
      const error = await doubtOf(world, txn);
      rule.remove();
      const fate = await world.run(error.resolve());
      assert.equal(fate.state, what === "answer" ? "committed" : "rolled-back");
      assert.deepEqual(await world.read("a"), [what === "answer" ? "a" : undefined]);
    });
  }

  test(`[TXN-095] [TXN-096] an answer that came at the second try is that of the first (${commit})`, async () => {
    await using world = await CommitWorld.start(IMPATIENT);
    const txn = await world.writing(["a", "b"], { commit });
    world.fault("KvPrewrite", fault.dropReply());
    const { commitTs, path } = await world.run(txn.commit());
    assert.ok(path === commit && commitTs !== undefined);
    await world.settle();
    assert.equal(await versionOf(world, "a", commitTs), commitTs);
  });

  test(`[TXN-096] [T-03] a lock in the way of the second try says nothing about the first (${commit})`, async () => {
    await using world = await CommitWorld.start(IMPATIENT);
    const txn = await world.writing(["a"], { commit });
    // The first request is late, and the second one meets a lock that is gone when the first arrives.
    const lockTs = txn.startTs - 1n;
    world.fault("KvPrewrite", fault.delay(6_000));
    const caller = new AbortController();
    const committing = failureOf(txn.commit({ signal: caller.signal }));
    await world.settle(100);
    await world.world.prewrite(["a"], { startTs: lockTs, ttlMs: 3_000n });
    await world.settle(2_000);
    const reason = new Error("gone");
    caller.abort(reason);
    const error = await world.run(committing) as UndeterminedError;
    assert.ok(error instanceof UndeterminedError);
    assert.equal(error.cause, reason);
    await world.world.rollBack(["a"], lockTs);
    await world.settle(6_000);
    if (commit === "1pc") assert.deepEqual(await world.locked(), []);
    assert.deepEqual(await world.read("a"), ["a"]);
  });

  test(`[TXN-096] [T-03] a conflict at the second try is one for the first as well (${commit})`, async () => {
    await using world = await CommitWorld.start(IMPATIENT);
    const txn = await world.writing(["a"], { commit });
    await world.world.put("a");
    world.fault("KvPrewrite", fault.dropReply());
    await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
    const insert = await world.begin({ commit });
    insert.insert("a", "1");
    world.fault("KvPrewrite", fault.dropReply());
    await assert.rejects(world.run(insert.commit()), { kind: "key-exists" });
    const assertion = await world.begin({ commit });
    assertion.put("b", "1");
    assertion.assertExists("b");
    world.fault("KvPrewrite", fault.dropReply());
    await assert.rejects(world.run(assertion.commit()), { kind: "assertion-failed" });
  });

  test(`[TXN-096] [T-03] unless it is at a key that was only checked: somebody may have come since (${commit})`, async () => {
    await using world = await CommitWorld.start(IMPATIENT);
    const txn = await world.writing(["b"], { commit });
    txn.insert("a", "1");
    txn.delete("a");
    world.fault("KvPrewrite", fault.dropReply());
    const committing = failureOf(txn.commit());
    await world.settle(500);
    await world.world.put("a");
    const error = await world.run(committing);
    assert.ok(error instanceof UndeterminedError);
    const fate = await world.run(error.resolve());
    assert.equal(fate.state, "committed");
  });
}

test("[TXN-096] [T-03] a pessimistic lock that is not found at the second try may be there for the first", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.begin({ mode: "pessimistic", commit: "1pc" });
  await world.run(txn.lock(["a"]));
  txn.put("a", "1");
  world.fault("KvPrewrite", fault.dropRequest());
  const committing = failureOf(txn.commit());
  await world.settle(500);
  world.cluster.losePessimisticLocks("a");
  const other = await world.world.ts();
  await world.world.prewrite(["a"], { startTs: other, ttlMs: 60_000n });
  const error = await world.run(committing);
  assert.ok(error instanceof UndeterminedError, String(error));
});

test("[TXN-096] [T-04] requests that are given up because another one has failed leave no doubt", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "async" });
  await world.world.put("x");
  world.forget();
  world.fault(ofRegion(world, "a"), fault.delay(3_000));
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  await world.settle(10_000);
  assert.deepEqual(world.order(), ["Prewrite", "Prewrite", "BatchRollback", "BatchRollback"]);
  assert.deepEqual([txn.state, await world.locked()], ["rolled-back", []]);
});

test("[TXN-096] [T-04] a key that is not as asserted leaves no doubt either, whatever else was lost", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "x"], { commit: "async" });
  txn.assertExists("x");
  const rule = world.fault(ofRegion(world, "a"), fault.dropReply());
  await assert.rejects(world.run(txn.commit({ timeoutMs: 3_000 })), { kind: "timeout" });
  rule.remove();
  await world.settle(30_000);
  assert.equal(txn.state, "rolled-back");
  assert.deepEqual(await world.read("a", "x"), [undefined, undefined]);
});

test("[TXN-096] [T-04] a key that was not sent anywhere leaves no doubt, whatever a store says of others", async () => {
  await using world = await CommitWorld.start({ client: { maxConcurrentParts: 1 } });
  const txn = await world.writing(["a", "x"], { commit: "async" });
  world.fault("KvPrewrite", fault.undeterminedResult());
  await assert.rejects(world.run(txn.commit()), { kind: "txn-aborted", startTs: txn.startTs });
  await world.settle();
  assert.deepEqual(world.order(), ["Prewrite", "BatchRollback", "BatchRollback"]);
  assert.deepEqual([txn.state, await world.locked()], ["rolled-back", []]);
});

test("[TXN-091] [TXN-095] [T-06] one phase that was answered to nobody, before the region split, is found out", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "f"], { commit: "1pc" });
  world.fault("KvPrewrite", fault.dropReply());
  const committing = txn.commit();
  await world.settle(500);
  await world.cluster.split("e");
  const { commitTs, path } = await world.run(committing);
  await world.settle();
  // It is the timestamp at which the first request has committed it, and no commit is sent.
  assert.ok(commitTs !== undefined && path === "1pc");
  assert.equal(await versionOf(world, "a", commitTs), commitTs);
  assert.equal(await versionOf(world, "f", commitTs), commitTs);
  assert.deepEqual(world.bodies("Commit"), []);
  const [question] = world.bodies("CheckTxnStatus");
  assert.ok(question !== undefined);
  assert.deepEqual(
    [textOf([question.primaryKey])[0], question.lockTs, question.callerStartTs, question.currentTs],
    ["a", txn.startTs, 0n, 0n],
  );
  assert.equal(question.rollbackIfNotExist, false);
});

test("[TXN-091] [T-06] one phase that never arrived, before the region split, goes on in two", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "f"], { commit: "1pc" });
  world.fault("KvPrewrite", fault.dropRequest());
  const committing = txn.commit();
  await world.settle(500);
  await world.cluster.split("e");
  const { commitTs, path } = await world.run(committing);
  await world.settle();
  assert.ok(commitTs !== undefined && path === "2pc");
  assert.deepEqual(world.bodies("Commit").map(({ keys }) => textOf(keys)), [["a"], ["f"]]);
  assert.equal(await versionOf(world, "f", commitTs), commitTs);
});

test("[TXN-096] [T-06] a conflict after the split is one for the request before it as well", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "f"], { commit: "1pc" });
  world.fault("KvPrewrite", fault.dropRequest());
  const committing = failureOf(txn.commit());
  await world.settle(500);
  await world.cluster.split("e");
  await world.world.put("f");
  assert.equal((await world.run(committing) as { kind: string }).kind, "write-conflict");
  await world.settle();
  assert.deepEqual([txn.state, await world.locked()], ["rolled-back", []]);
});

test("[TXN-096] [T-03] [T-06] a lock in the way after the split says nothing about the request before it", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "f"], { commit: "1pc" });
  world.fault("KvPrewrite", fault.dropRequest());
  const caller = new AbortController();
  const committing = failureOf(txn.commit({ signal: caller.signal }));
  await world.settle(500);
  await world.cluster.split("e");
  await world.world.prewrite(["f"], { startTs: txn.startTs - 1n, ttlMs: 60_000n });
  await world.settle(2_000);
  caller.abort(new Error("gone"));
  assert.ok(await world.run(committing) instanceof UndeterminedError);
});

test("[TXN-095] [TXN-096] when that cannot be found out nobody knows", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "f"], { commit: "1pc" });
  world.fault("KvPrewrite", fault.dropReply());
  world.fault({ method: "KvCheckTxnStatus" }, fault.dropRequest());
  const committing = doubtOf(world, txn, 10_000);
  await world.settle(500);
  await world.cluster.split("e");
  await committing;
  assert.deepEqual(world.bodies("Commit"), []);
});

test("[TXN-094] an async commit that somebody else has finished meanwhile has the timestamp that he found", async () => {
  await using world = await CommitWorld.start(IMPATIENT);
  const txn = await world.writing(["a", "x"], { commit: "async" });
  world.fault({ ...ofRegion(world, "a"), times: 1 }, fault.dropReply());
  const committing = txn.commit();
  await world.settle(500);
  world.cluster.jumpTso(60_000);
  assert.deepEqual(await world.read("a", "x"), ["a", "x"]);
  const { commitTs, path } = await world.run(committing);
  assert.ok(commitTs !== undefined && path === "async");
  assert.equal(await versionOf(world, "x", commitTs), commitTs);
});

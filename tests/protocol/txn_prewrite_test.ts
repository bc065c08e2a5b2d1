// SPDX-License-Identifier: Apache-2.0
// The first phase of a commit, as stores see it: what goes in one request, and what is in it.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Assertion,
  AssertionLevel,
  Op,
  PrewriteRequest_PessimisticAction as Action,
} from "../../gen/kvrpcpb_pb.ts";
import { COMMIT_LIMITS } from "../../src/txn/commit/commit_limits.ts";
import { physicalMsOf, timestampOf } from "../../src/types.ts";
import { fault } from "../../src/playground/mod.ts";
import { bytes, text } from "../unit/raw/fake_store.ts";
import { CommitWorld, textOf } from "../unit/txn/commit_world.ts";

const MAX_U64 = 0xffff_ffff_ffff_ffffn;

function keysOf(mutations: readonly { readonly key: Uint8Array }[]): string {
  return textOf(mutations.map(({ key }) => key)).join("");
}

test("[TXN-071] [TXN-090] the sizes of commits are those of client-go", () => {
  assert.deepEqual(COMMIT_LIMITS, {
    batchBytes: 16_384,
    asyncMaxKeys: 256,
    asyncMaxKeyBytes: 4_096,
    safeWindowMs: 2_000,
    preSplitKeys: 100_000,
    preSplitBytes: 33_554_432,
    keepAliveBytes: 33_554_432,
  });
});

test("[TXN-071] [T-78] keys are grouped by region in their order, and cut by the bytes of keys and values", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 10 } });
  const txn = await world.writing([], { commit: "2pc" });
  // Each is 5 bytes: a request is full with the second one.
  for (const key of ["x", "d", "a", "c", "b", "z", "y"]) txn.put(key, `${key}${key}${key}${key}`);
  // Reaches beyond the limit as the last one, and is not cut itself.
  txn.put("e", "e".repeat(50));
  txn.put("f", "f");
  await world.run(txn.commit());
  await world.settle();
  const parts = world.bodies("Prewrite").map(({ mutations }) => keysOf(mutations)).sort();
  assert.deepEqual(parts, ["ab", "cd", "e", "f", "xy", "z"]);
  // Commits are cut by the bytes of keys alone.
  const commits = world.bodies("Commit").map(({ keys }) => textOf(keys).join("")).sort();
  assert.deepEqual(commits, ["abcdef", "xyz"]);
});

test("[TXN-071] short keys with large values do not end up in one request", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing([], { commit: "2pc" });
  for (const key of ["a", "b", "c", "d"]) txn.put(key, new Uint8Array(10_000).fill(1));
  await world.run(txn.commit());
  assert.deepEqual(world.bodies("Prewrite").map(({ mutations }) => keysOf(mutations)), ["ab", "cd"]);
});

test("[TXN-071] [TXN-072] the part with the primary goes out first, and all parts at the same time", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 1 } });
  const txn = await world.begin({ mode: "pessimistic", commit: "2pc" });
  await world.run(txn.lock(["x"]));
  for (const key of ["a", "b", "x"]) txn.put(key, key);
  await world.run(txn.lock(["a", "b"]));
  world.forget();
  world.fault({ method: "KvPrewrite" }, fault.delay(50));
  await world.run(txn.commit());
  const sent = world.sent("Prewrite");
  assert.deepEqual(sent.map(({ body }) => keysOf(body.mutations)), ["x", "a", "b"]);
  assert.equal(new Set(sent.map(({ at }) => at)).size, 1);
});

test("[TXN-071] a region that has split gets its keys in as many requests as there are regions now", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "f", "x"], { commit: "2pc" });
  await world.cluster.split("e");
  await world.run(txn.commit());
  await world.settle();
  assert.deepEqual(
    world.bodies("Prewrite").map(({ mutations }) => keysOf(mutations)).sort(),
    ["a", "af", "f", "x"],
  );
  assert.deepEqual(await world.read("a", "f", "x"), ["a", "f", "x"]);
});

test("[TXN-074] a prewrite of an optimistic transaction has these fields, and no others", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ commit: "2pc", assertions: "strict" });
  txn.put("a", "1");
  txn.insert("b", "2");
  txn.delete("c");
  await world.run(txn.lock(["d"]));
  txn.insert("e", "5");
  txn.delete("e");
  txn.put("f", "6");
  txn.assertNotExists("f");
  await world.run(txn.commit());
  const [request] = world.bodies("Prewrite");
  assert.ok(request !== undefined && world.bodies("Prewrite").length === 1);
  const { $typeName: _, context: __, mutations, ...fields } = request;
  assert.deepEqual(
    mutations.map(({ op, key, value, assertion }) => [op, text(key), text(value), assertion]),
    [
      [Op.Put, "a", "1", Assertion.None],
      [Op.Insert, "b", "2", Assertion.None],
      [Op.Del, "c", "", Assertion.None],
      [Op.Lock, "d", "", Assertion.None],
      [Op.CheckNotExists, "e", "", Assertion.None],
      [Op.Put, "f", "6", Assertion.NotExist],
    ],
  );
  assert.deepEqual(fields, {
    primaryLock: bytes("a"),
    startVersion: txn.startTs,
    lockTtl: fields.lockTtl,
    skipConstraintCheck: false,
    pessimisticActions: [],
    txnSize: 6n,
    forUpdateTs: 0n,
    minCommitTs: txn.startTs + 1n,
    useAsyncCommit: false,
    secondaries: [],
    tryOnePc: false,
    maxCommitTs: 0n,
    assertionLevel: AssertionLevel.Strict,
    forUpdateTsConstraints: [],
    txnFileChunks: [],
  });
});

test("[TXN-074] a pessimistic prewrite says of each key whether its lock is to be found", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ mode: "pessimistic", commit: "2pc" });
  await world.run(txn.lock(["b"]));
  txn.put("a", "1");
  txn.put("b", "2");
  txn.insert("c", "3", { lazy: true });
  await world.run(txn.commit());
  const [request] = world.bodies("Prewrite");
  assert.ok(request !== undefined);
  assert.deepEqual(request.pessimisticActions, [
    Action.DO_PESSIMISTIC_CHECK,
    Action.DO_PESSIMISTIC_CHECK,
    Action.DO_CONSTRAINT_CHECK,
  ]);
  assert.ok(request.forUpdateTs > txn.startTs);
  assert.equal(request.minCommitTs, request.forUpdateTs + 1n);
  assert.deepEqual(textOf([request.primaryLock]), ["b"]);
  // Only what has no lock and is not lazy was locked for the commit.
  assert.deepEqual(
    world.bodies("PessimisticLock").map(({ mutations }) => keysOf(mutations)),
    ["b", "a"],
  );
});

test("[TXN-074] [T-72] with nothing but lazy inserts all parts of a prewrite are pessimistic ones", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ mode: "pessimistic", commit: "2pc" });
  txn.insert("a", "1", { lazy: true });
  txn.insert("x", "2", { lazy: true });
  await world.run(txn.commit());
  assert.deepEqual(world.order().filter((name) => name === "PessimisticLock"), []);
  assert.deepEqual(
    world.bodies("Prewrite").map(({ forUpdateTs, minCommitTs }) => [forUpdateTs, minCommitTs]),
    [[txn.startTs, txn.startTs + 1n], [txn.startTs, txn.startTs + 1n]],
  );
  const other = await world.begin({ mode: "pessimistic" });
  await world.world.put("b");
  other.insert("b", "1", { lazy: true });
  await assert.rejects(world.run(other.commit()), {
    kind: "write-conflict",
    reason: "lazy-uniqueness-check",
  });
  const third = await world.begin({ mode: "pessimistic" });
  third.insert("b", "1", { lazy: true });
  await assert.rejects(world.run(third.commit()), { kind: "key-exists" });
});

test("[TXN-074] [T-16] the size is that of the transaction in the region, and unknown after a split", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 4 } });
  const txn = await world.writing(["a", "b", "f", "x"], { commit: "2pc" });
  await world.cluster.split("e");
  await world.run(txn.commit());
  const sizes = world.bodies("Prewrite").map(({ mutations, txnSize }) => [keysOf(mutations), txnSize]);
  // Two requests go to the region that was one; one of them has only keys of one of its parts.
  assert.deepEqual(sizes.slice(0, 3), [["ab", 3n], ["f", 3n], ["x", 1n]]);
  for (const [keys, size] of sizes.slice(3)) {
    assert.ok(keys === "ab" || keys === "f");
    assert.equal(size, 3n);
  }
});

test("[TXN-074] [T-16] keys that a split has torn apart are of a transaction of unknown size", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "b", "f"], { commit: "2pc" });
  await world.cluster.split("e");
  await world.run(txn.commit());
  assert.deepEqual(
    world.bodies("Prewrite").map(({ mutations, txnSize }) => [keysOf(mutations), txnSize]),
    [["abf", 3n], ["ab", MAX_U64], ["f", MAX_U64]],
  );
});

test("[TXN-038] [TXN-074] [TXN-079] contexts of writes carry how they are written; the others do not", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({
    mode: "pessimistic",
    commit: "2pc",
    priority: "high",
    syncLog: true,
    onFullDisk: "write-almost-full",
    txnSource: 7n,
    requestSource: "test",
    resourceGroup: "group",
    resourceGroupTag: bytes("tag"),
  });
  await world.run(txn.lock(["a"]));
  txn.put("a", "1");
  txn.put("x", "2");
  await world.run(txn.commit());
  await world.settle();
  const read = (name: "Prewrite" | "Commit" | "PessimisticLock"): unknown[] =>
    world.contexts(name).map((context) => [
      context.priority,
      context.syncLog,
      context.diskFullOpt,
      context.txnSource,
      context.requestSource,
      context.resourceControlContext?.resourceGroupName,
      text(context.resourceGroupTag),
      context.maxExecutionDurationMs > 0n,
    ]);
  const ofWrite = [2, true, 1, 7n, "leader_test", "group", "tag", true];
  assert.deepEqual(read("Prewrite"), [ofWrite, ofWrite]);
  assert.deepEqual(read("Commit"), [ofWrite, ofWrite]);
  assert.deepEqual(read("PessimisticLock")[0], [2, true, 0, 0n, "leader_test", "group", "tag", true]);
});

test("[TXN-038] what a rollback sends does not say how data is written", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc", onFullDisk: "write-full", txnSource: 9n });
  await world.world.put("x");
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  await world.settle();
  const contexts = world.contexts("BatchRollback").map((
    { diskFullOpt, txnSource },
  ) => [diskFullOpt, txnSource]);
  assert.deepEqual(contexts, [[0, 0n], [0, 0n]]);
});

test("[TXN-038] a full disk takes the commit of a transaction that may write to it, and no other", async () => {
  await using world = await CommitWorld.start({ client: { timeoutMs: 3_000 } });
  for (const { id } of world.cluster.stores()) world.cluster.fillDisk(id);
  const refused = await world.writing(["a"], { commit: "2pc" });
  await assert.rejects(world.run(refused.commit()), { kind: "server-busy" });
  const allowed = await world.writing(["b"], { commit: "2pc", onFullDisk: "write-full" });
  await world.run(allowed.commit());
  assert.deepEqual(await world.read("a", "b"), [undefined, "b"]);
});

test("[TXN-075] locks live as long as the transaction took so far, and longer the larger it is", async () => {
  await using world = await CommitWorld.start();
  const ttlOf = async (valueBytes: number, waitMs = 0): Promise<bigint | undefined> => {
    const txn = await world.writing(["a"], { commit: "2pc" });
    const elapsed = world.clock.now() - physicalMsOf(txn.startTs);
    if (valueBytes > 0) txn.put("b", new Uint8Array(valueBytes).fill(1));
    await world.settle(waitMs);
    await world.run(txn.commit());
    await world.settle();
    return (world.bodies("Prewrite")[0]?.lockTtl ?? 0n) - BigInt(Math.ceil(elapsed));
  };
  await ttlOf(0);
  assert.equal(await ttlOf(0), 3_000n);
  assert.equal(await ttlOf(0, 700), 3_700n);
  // From 16 KiB on it is 6 s for a MiB, times the square root of the size, within [3 s, 20 s].
  assert.equal(await ttlOf(16 * 1024 - 3 - 1), 3_000n);
  assert.equal(await ttlOf(200 * 1024), 3_000n);
  assert.equal(await ttlOf(1024 * 1024 - 3), 6_000n);
  assert.equal(await ttlOf(4 * 1024 * 1024 - 3), 12_000n);
});

test("[TXN-075] [T-12] a pessimistic async commit cannot be resolved before the last moment it may be committed at", async () => {
  await using world = await CommitWorld.start({ limits: { safeWindowMs: 30_000 } });
  const txn = await world.begin({ mode: "pessimistic", commit: "async" });
  await world.run(txn.lock(["a"]));
  txn.put("a", "1");
  await world.run(txn.commit());
  const [request] = world.bodies("Prewrite");
  assert.ok(request?.useAsyncCommit === true);
  const lastMs = (request.maxCommitTs >> 18n) - (request.startVersion >> 18n);
  assert.equal(request.lockTtl, lastMs + 1n);
  assert.equal(request.maxCommitTs - request.startVersion, timestampOf(lastMs, 0n));
  assert.ok(lastMs >= 30_000n);
});

// SPDX-License-Identifier: Apache-2.0
// Commits that a prewrite decides: as an async commit, or in one phase.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fault } from "../../src/playground/mod.ts";
import type { PrewriteReply } from "../../src/rpc/batch/messages.ts";
import type { Timestamp } from "../../src/types.ts";
import type { BeginOptions } from "../../src/txn/begin_options.ts";
import { CommitWorld, failureOf, textOf } from "../unit/txn/commit_world.ts";

type Path = [usesAsyncCommit: boolean, triesOnePc: boolean];

function pathsOf(world: CommitWorld): Path[] {
  return world.bodies("Prewrite").map(({ useAsyncCommit, tryOnePc }) => [useAsyncCommit, tryOnePc]);
}

/** A client for which answers to prewrites are changed. */
function withPrewriteAnswer(
  change: (reply: PrewriteReply, number: number) => Partial<PrewriteReply>,
  more: Parameters<typeof CommitWorld.start>[0] = {},
): Promise<CommitWorld> {
  let number = 0;
  return CommitWorld.start({
    ...more,
    client: {
      ...more.client,
      interceptors: [async (call, next) => {
        const reply = await next(call);
        return call.method === "KvPrewrite" && number < 100
          ? { ...reply as PrewriteReply, ...change(reply as PrewriteReply, number++) }
          : reply;
      }],
    },
  });
}

test("[TXN-090] [TXN-091] what is asked for is what can be done: one phase, async commit, both, or neither", async () => {
  await using world = await CommitWorld.start();
  const cases: [keys: string[], commit: BeginOptions["commit"], path: Path, result: string][] = [
    [["a"], "auto", [true, true], "1pc"],
    [["a"], "1pc", [false, true], "1pc"],
    [["a"], "async", [true, false], "async"],
    [["a"], "2pc", [false, false], "2pc"],
    [["a", "x"], "auto", [true, false], "async"],
    [["a", "x"], "1pc", [false, false], "2pc"],
    [["a", "x"], "async", [true, false], "async"],
  ];
  for (const [keys, commit, expected, result] of cases) {
    const txn = await world.writing(keys, { commit });
    const { path } = await world.run(txn.commit());
    assert.deepEqual([path, pathsOf(world)], [result, keys.map(() => expected)], `${keys} ${commit}`);
    await world.settle();
  }
});

test("[TXN-090] an async commit has so many keys at most, and so many bytes of them", async () => {
  const fits = async (keys: readonly string[]): Promise<boolean> => {
    await using world = await CommitWorld.start();
    const txn = await world.begin({ commit: "async" });
    for (const key of keys) txn.put(key, "v");
    const { path } = await world.run(txn.commit());
    await world.settle();
    return path === "async";
  };
  const many = (count: number): string[] => Array.from({ length: count }, (_, n) => `k${n}`);
  assert.equal(await fits(many(256)), true);
  assert.equal(await fits(many(257)), false);
  assert.equal(await fits(["a".repeat(4095), "b"]), true);
  assert.equal(await fits(["a".repeat(4095), "bb"]), false);
});

test("[TXN-091] one phase has no limit of keys, but one request for all of them", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin();
  for (let n = 0; n < 300; n++) txn.put(`k${n}`, "v");
  assert.equal((await world.run(txn.commit())).path, "1pc");
  const large = await world.writing([]);
  large.put("a", new Uint8Array(16 * 1024));
  large.put("b", "v");
  // Two requests in one region are two already.
  assert.equal((await world.run(large.commit())).path, "async");
});

test("[TXN-090] [TXN-091] with a bound on the timestamp, or a lock in share mode, it takes two phases", async () => {
  await using world = await CommitWorld.start();
  const bound = await world.writing(["a"], { acceptsCommitTs: () => true });
  assert.equal((await world.run(bound.commit())).path, "2pc");
  const shared = await world.begin({ mode: "pessimistic" });
  await world.run(shared.lock(["a"]));
  await world.run(shared.lock(["b"], { shared: true }));
  shared.put("a", "1");
  assert.equal((await world.run(shared.commit())).path, "2pc");
});

test("[TXN-091] [T-06] a region that has split meanwhile is the end of one phase, for good", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "f"], { commit: "1pc" });
  await world.cluster.split("e");
  const { path } = await world.run(txn.commit());
  assert.equal(path, "2pc");
  assert.deepEqual(pathsOf(world), [[false, true], [false, false], [false, false]]);
  assert.deepEqual(await world.read("a", "f"), ["a", "f"]);
  // Merging them does not bring it back.
  const again = await world.writing(["a", "f"], { commit: "1pc" });
  world.fault({ method: "KvPrewrite", key: "f", times: 1 }, fault.staleCommand());
  assert.equal((await world.run(again.commit())).path, "2pc");
});

test("[TXN-092] [T-10] a commit that stores decide is later than everything that was read before it", async () => {
  await using world = await CommitWorld.start();
  for (const commit of ["async", "1pc"] as const) {
    const txn = await world.writing(["a"], { commit });
    const readTs = await world.world.ts();
    const asked = world.timestamps();
    const { commitTs } = await world.run(txn.commit());
    assert.equal(world.timestamps() - asked, 1);
    const [request] = world.bodies("Prewrite");
    assert.ok(request !== undefined && request.minCommitTs > readTs + 1n);
    assert.ok(commitTs !== undefined && commitTs >= request.minCommitTs);
    await world.settle();
  }
});

test("[TXN-092] [TXN-021] with causal consistency no timestamp is needed for that", async () => {
  await using world = await CommitWorld.start();
  for (const commit of ["async", "1pc"] as const) {
    const txn = await world.writing(["a"], { commit, causalConsistency: true });
    const asked = world.timestamps();
    const { path } = await world.run(txn.commit());
    assert.deepEqual([path, world.timestamps() - asked], [commit, 0]);
    assert.deepEqual(world.bodies("Prewrite").map(({ minCommitTs }) => minCommitTs), [txn.startTs + 1n]);
    await world.settle();
  }
});

test("[TXN-092] without that timestamp nothing is written", async () => {
  await using world = await CommitWorld.start({ client: { timeoutMs: 1_000 } });
  const txn = await world.writing(["a"], { commit: "async" });
  world.cluster.stallTso(5_000);
  await assert.rejects(world.run(txn.commit()), { kind: "timeout" });
  await world.settle(5_000);
  assert.deepEqual(world.order(), []);
});

test("[TXN-093] [TXN-085] [T-11] a store may choose a timestamp up to 2 s after the schema was checked", async () => {
  await using world = await CommitWorld.start();
  for (const commit of ["async", "1pc"] as const) {
    const checked: Timestamp[] = [];
    const txn = await world.writing(["a", "b"], { commit, checkSchema: (ts) => void checked.push(ts) });
    await world.settle(3_000);
    await world.run(txn.commit());
    const [request] = world.bodies("Prewrite");
    assert.ok(request !== undefined);
    // Counted from the start of the transaction, by this machine's clock.
    const elapsedMs = (checked[0] ?? 0n) - txn.startTs >> 18n;
    assert.ok(elapsedMs >= 3_000n && elapsedMs < 5_000n, String(elapsedMs));
    assert.equal(request.maxCommitTs, (checked[0] ?? 0n) + (2_000n << 18n));
    assert.equal(checked.length, 1);
    await world.settle();
  }
});

test("[TXN-085] [TXN-093] [T-11] a schema that has changed ends it before anything is written", async () => {
  await using world = await CommitWorld.start();
  const reason = new Error("the schema has changed");
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await world.begin({ mode, checkSchema: () => Promise.reject(reason) });
    if (mode === "pessimistic") await world.run(txn.lock(["a"]));
    txn.put("a", "1");
    world.forget();
    assert.equal(await failureOf(world.run(txn.commit())), reason);
    await world.settle();
    assert.deepEqual(world.order(), mode === "optimistic" ? [] : ["PessimisticRollback"]);
    assert.deepEqual(await world.locked(), []);
  }
});

test("[TXN-083] [T-14] a transaction that is too old is not prewritten: a prewrite may be its commit", async () => {
  await using world = await CommitWorld.start();
  for (const commit of ["async", "1pc"] as const) {
    for (const causalConsistency of [false, true]) {
      const txn = await world.writing(["a"], { commit, causalConsistency });
      world.cluster.jumpTso(24 * 3_600_000);
      // Without a timestamp of its own it goes by the last one that was seen.
      if (causalConsistency) await world.begin();
      world.forget();
      await assert.rejects(world.run(txn.commit()), { kind: "txn-aborted", startTs: txn.startTs });
      await world.settle();
      assert.deepEqual(world.order(), [], `${commit} ${causalConsistency}`);
    }
  }
});

test("[TXN-094] [T-09] the timestamp of an async commit is the largest that any store has named", async () => {
  for (const largest of ["a", "x"]) {
    await using world = await CommitWorld.start();
    const txn = await world.writing(["a", "x"], { commit: "async", causalConsistency: true });
    const readTs = await world.world.ts();
    const snapshot = await world.world.snapshot();
    await world.run(snapshot.get(`${largest}!`));
    const { commitTs } = await world.run(txn.commit());
    await world.settle();
    assert.ok(commitTs !== undefined && commitTs > readTs);
    assert.deepEqual(
      world.bodies("Commit").map(({ commitVersion, useAsyncCommit }) => [commitVersion, useAsyncCommit]),
      [[commitTs, true], [commitTs, true]],
    );
    assert.deepEqual(await world.read("a", "x"), ["a", "x"]);
  }
});

test("[TXN-072] [TXN-094] an async commit is done with the prewrite; all its keys are committed behind it, together", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 1 } });
  const txn = await world.writing(["a", "b", "x"], { commit: "async" });
  world.fault({ method: "KvCommit" }, fault.delay(1_000));
  const before = world.clock.now();
  await world.run(txn.commit());
  assert.ok(world.clock.now() - before < 500);
  await world.settle(2_000);
  const sent = world.sent("Commit");
  assert.deepEqual(sent.map(({ body }) => textOf(body.keys)[0]), ["a", "b", "x"]);
  assert.equal(new Set(sent.map(({ at }) => at)).size, 1);
});

test("[TXN-094] [T-08] a store that names no timestamp has written a lock of two phases: so it goes on", async () => {
  for (const zero of [0, 1]) {
    await using world = await withPrewriteAnswer((_, number) => number === zero ? { minCommitTs: 0n } : {});
    const txn = await world.writing(["a", "x"], { commit: "async" });
    const { path, commitTs } = await world.run(txn.commit());
    await world.settle();
    assert.equal(path, "2pc");
    assert.ok(world.bodies("Commit").every((one) => one.commitVersion === commitTs && !one.useAsyncCommit));
    assert.deepEqual(await world.read("a", "x"), ["a", "x"]);
  }
});

test("[TXN-093] [TXN-094] [T-08] [T-11] a store that would have to choose a later timestamp falls back, and so does the commit", async () => {
  await using world = await CommitWorld.start({ limits: { safeWindowMs: -1_000_000 } });
  for (const [commit, keys] of [["async", ["a", "x"]], ["1pc", ["a"]], ["auto", ["a"]]] as const) {
    const txn = await world.writing(keys, { commit });
    const asked = world.timestamps();
    const { path } = await world.run(txn.commit());
    await world.settle();
    // One before the prewrite, one for the second phase.
    assert.deepEqual([path, world.timestamps() - asked], ["2pc", 2]);
    assert.deepEqual(world.bodies("Commit").map((one) => one.useAsyncCommit), keys.map(() => false));
    assert.deepEqual(await world.read(...keys), [...keys]);
  }
});

test("[TXN-095] in one phase the timestamp is that of the store, and nothing else is sent", async () => {
  await using world = await CommitWorld.start();
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await world.begin({ mode });
    if (mode === "pessimistic") await world.run(txn.lock(["a"]));
    txn.put("a", mode);
    world.forget();
    const { commitTs, path } = await world.run(txn.commit());
    await world.settle();
    assert.deepEqual([path, world.order()], ["1pc", ["Prewrite"]]);
    assert.deepEqual([await world.read("a"), await world.locked()], [[mode], []]);
    // It is the timestamp of the version, neither earlier nor later.
    const at = await world.world.snapshot({ ts: commitTs });
    const before = await world.world.snapshot({ ts: (commitTs ?? 0n) - 1n as Timestamp });
    assert.notDeepEqual(await world.run(at.get("a")), await world.run(before.get("a")));
  }
});

test("[TXN-095] [T-07] a store that does not commit in one phase has not written locks of an async commit either", async () => {
  await using world = await CommitWorld.start({ limits: { safeWindowMs: -1_000_000 } });
  const txn = await world.writing(["a", "b"], { commit: "auto" });
  const { path } = await world.run(txn.commit());
  await world.settle();
  assert.equal(path, "2pc");
  assert.deepEqual(pathsOf(world), [[true, true]]);
  assert.deepEqual(world.bodies("Commit").map(({ useAsyncCommit }) => useAsyncCommit), [false]);
});

test("[TXN-095] an answer that cannot be is no success: its locks are taken away", async () => {
  await using world = await withPrewriteAnswer(() => ({ onePcCommitTs: 0n, minCommitTs: 7n }), {
    limits: { safeWindowMs: -1_000_000 },
  });
  const txn = await world.writing(["a"], { commit: "1pc" });
  await assert.rejects(world.run(txn.commit()), { kind: "protocol" });
  await world.settle();
  assert.deepEqual(world.order(), ["Prewrite", "BatchRollback"]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-095] a store that commits unasked may have done it: nobody knows, and nothing is rolled back", async () => {
  await using world = await withPrewriteAnswer(() => ({ onePcCommitTs: 7n }));
  const txn = await world.writing(["a"], { commit: "2pc" });
  await assert.rejects(world.run(txn.commit()), { kind: "undetermined" });
  await world.settle();
  assert.deepEqual([world.order(), txn.state], [["Prewrite"], "undetermined"]);
});

test("[TXN-097] the primary's lock names all other keys, and only that one", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 2 } });
  const txn = await world.writing(["b", "c", "d", "x"], { commit: "async" });
  await world.run(txn.commit());
  assert.deepEqual(
    world.bodies("Prewrite").map(({ mutations, secondaries }) => [
      textOf(mutations.map(({ key }) => key)).join(""),
      textOf(secondaries).join(""),
    ]),
    [["b", "cdx"], ["c", ""], ["d", ""], ["x", ""]],
  );
});

test("[TXN-097] also after a split, in the request that has the primary then", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({ mode: "pessimistic", commit: "async" });
  await world.run(txn.lock(["f"]));
  for (const key of ["a", "f"]) txn.put(key, key);
  await world.run(txn.lock(["a"]));
  await world.cluster.split("e");
  world.forget();
  await world.run(txn.commit());
  assert.deepEqual(
    world.bodies("Prewrite").slice(1).map(({ mutations, secondaries }) => [
      textOf(mutations.map(({ key }) => key)).join(""),
      textOf(secondaries).join(""),
    ]),
    [["f", "a"], ["a", ""]],
  );
});

// SPDX-License-Identifier: Apache-2.0
// The second phase of a commit: its timestamp, the primary, the secondaries, and the way back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { CommitRole, KeyErrorSchema } from "../../gen/kvrpcpb_pb.ts";
import { fault } from "../../src/playground/mod.ts";
import type { RegionCache } from "../../src/region/region_cache.ts";
import type { CommitReply } from "../../src/rpc/batch/messages.ts";
import type { BackgroundTask } from "../../src/txn/commit/committer_background.ts";
import type { CommitInfo } from "../../src/txn/begin_options.ts";
import type { Timestamp } from "../../src/types.ts";
import { bytes } from "../unit/raw/fake_store.ts";
import { CommitWorld, failureOf, textOf } from "../unit/txn/commit_world.ts";

const HOUR = 3_600_000n << 18n;

test("[TXN-070] [TXN-021] a commit in two phases is a prewrite, a timestamp, the primary, the secondaries", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  const asked = world.timestamps();
  const { commitTs, path } = await world.run(txn.commit());
  assert.equal(world.timestamps() - asked, 1);
  await world.settle();
  assert.equal(path, "2pc");
  assert.ok(commitTs !== undefined && commitTs > txn.startTs);
  assert.deepEqual(world.order(), ["Prewrite", "Prewrite", "Commit", "Commit"]);
  const commits = world.bodies("Commit").map((one) => ({
    keys: textOf(one.keys),
    role: one.commitRole,
    primary: textOf([one.primaryKey])[0],
    startTs: one.startVersion,
    commitTs: one.commitVersion,
    usesAsyncCommit: one.useAsyncCommit,
  }));
  const common = { primary: "a", startTs: txn.startTs, commitTs, usesAsyncCommit: false };
  assert.deepEqual(commits, [
    { ...common, keys: ["a"], role: CommitRole.Primary },
    { ...common, keys: ["x"], role: CommitRole.Secondary },
  ]);
  assert.deepEqual(await world.read("a", "x"), ["a", "x"]);
});

test("[TXN-070] [TXN-039] a transaction that wrote nothing is committed without a request, and nobody is told", async () => {
  await using world = await CommitWorld.start();
  const told: CommitInfo[] = [];
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await world.writing([], { mode, onCommit: (info) => told.push(info) });
    assert.deepEqual(await world.run(txn.commit()), { commitTs: undefined, path: "none" });
    assert.deepEqual([world.order(), txn.state], [[], "committed"]);
  }
  assert.deepEqual(told, []);
});

test("[TXN-070] a commit that is called twice is one commit, also while it runs", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  const [first, second] = await world.run(Promise.all([txn.commit(), txn.commit()]));
  const third = await world.run(txn.commit());
  await world.settle();
  assert.deepEqual([second, third], [first, first]);
  assert.equal(world.bodies("Commit").length, 2);
  const failing = await world.writing(["a"]);
  await world.world.put("a");
  const errors = await Promise.all([failureOf(world.run(failing.commit())), failureOf(failing.commit())]);
  assert.equal(errors[0], errors[1]);
});

test("[TXN-072] [TXN-080] secondaries follow when the primary is committed, and nobody waits for them", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 1 } });
  const txn = await world.writing(["b", "a", "x"], { commit: "2pc" });
  world.fault({ method: "KvCommit" }, fault.delay(100));
  const before = world.clock.now();
  await world.run(txn.commit());
  const took = world.clock.now() - before;
  assert.ok(took >= 100 && took < 200, String(took));
  await world.settle(1_000);
  const sent = world.sent("Commit");
  // The part with the primary alone, the others together.
  assert.deepEqual(sent.map(({ body, at }) => [textOf(body.keys)[0], at - before >= 100]), [
    ["a", false],
    ["b", true],
    ["x", true],
  ]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-080] [T-20] secondaries that cannot be committed are no failure of anybody, and one does not keep others", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 1 } });
  const txn = await world.writing(["a", "b", "x", "y"], { commit: "2pc" });
  world.fault({ method: "KvCommit", key: "b" }, fault.requestError("no"));
  await world.run(txn.commit());
  assert.equal(txn.state, "committed");
  await world.settle(50_000);
  assert.deepEqual(await world.locked(), ["b"]);
  const warnings = world.world.events.filter(({ type }) => type === "warning");
  assert.ok(warnings.length >= 1);
  // Whoever meets what is left commits it.
  assert.deepEqual(await world.read("a", "b", "x", "y"), ["a", "b", "x", "y"]);
});

test("[TXN-080] [T-20] also one after the other they are all tried", async () => {
  const gone = create(KeyErrorSchema, { txnLockNotFound: { key: bytes("b") } });
  await using world = await CommitWorld.start({
    limits: { batchBytes: 1 },
    client: {
      maxConcurrentParts: 1,
      interceptors: [async (call, next) => {
        const { keys } = call.request as { keys?: readonly Uint8Array[] };
        if (call.method === "KvCommit" && textOf(keys ?? [])[0] === "b") {
          return { regionError: undefined, error: gone };
        }
        return await next(call);
      }],
    },
  });
  const txn = await world.writing(["a", "b", "x", "y"], { commit: "2pc" });
  await world.run(txn.commit());
  await world.settle();
  assert.deepEqual(await world.locked(), ["b"]);
});

test("[TXN-080] [T-17] secondaries go on when the caller has gone away", async () => {
  await using world = await CommitWorld.start();
  const caller = new AbortController();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  world.fault({ method: "KvCommit", key: "x" }, fault.delay(5_000));
  await world.run(txn.commit({ signal: caller.signal, timeoutMs: 1_000 }));
  caller.abort(new Error("gone"));
  await world.settle(10_000);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-079] [TXN-078] [T-19] a reader that was faster costs the primary another timestamp, which all keys get", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  let reading: Promise<unknown> | undefined;
  const accepted: Timestamp[] = [];
  const told: Timestamp[] = [];
  const other = await world.begin({
    commit: "2pc",
    acceptsCommitTs: (ts) => {
      accepted.push(ts);
      return true;
    },
    checkSchema: async (ts) => {
      told.push(ts);
      // Between the timestamp and the commit somebody reads at a later one.
      reading ??= world.world.snapshot().then((snapshot) => snapshot.get("a"));
      await reading;
    },
  });
  await world.run(txn.rollback());
  other.put("a", "1");
  other.put("x", "2");
  const { commitTs } = await world.run(other.commit());
  await world.settle();
  const versions = world.bodies("Commit").map(({ commitVersion }) => commitVersion);
  assert.equal(versions.length, 3);
  assert.ok(versions[0] !== undefined && commitTs !== undefined && versions[0] < commitTs);
  assert.deepEqual(versions.slice(1), [commitTs, commitTs]);
  // The second timestamp was checked like the first one.
  assert.deepEqual([accepted, told], [[versions[0], commitTs], [versions[0], commitTs]]);
});

/** A client whose first commit is answered like this. */
async function withCommitAnswer(answer: (reply: CommitReply) => CommitReply): Promise<CommitWorld> {
  let isFirst = true;
  return await CommitWorld.start({
    client: {
      interceptors: [async (call, next) => {
        if (call.method !== "KvCommit" || !isFirst) return await next(call);
        isFirst = false;
        return answer(await next(call) as CommitReply);
      }],
    },
  });
}

function expired(key: string, ahead: bigint): (reply: CommitReply) => CommitReply {
  return (reply) => ({
    ...reply,
    error: create(KeyErrorSchema, {
      commitTsExpired: { startTs: 1n, attemptedCommitTs: 5n, key: bytes(key), minCommitTs: 5n + ahead },
    }),
  });
}

test("[TXN-079] [T-19] a key that is not the primary cannot ask for another timestamp", async () => {
  await using world = await withCommitAnswer(expired("b", 1n));
  const txn = await world.writing(["a", "b"], { commit: "2pc" });
  await assert.rejects(world.run(txn.commit()), { kind: "txn-aborted" });
  assert.equal(world.bodies("Commit").length, 1);
});

test("[TXN-079] [T-19] a timestamp that is more than an hour ahead is not believed", async () => {
  await using far = await withCommitAnswer(expired("a", HOUR + 1n));
  const txn = await far.writing(["a"], { commit: "2pc" });
  await assert.rejects(far.run(txn.commit()), { kind: "protocol" });
  await using near = await withCommitAnswer(expired("a", HOUR));
  const other = await near.writing(["a"], { commit: "2pc" });
  await near.run(other.commit());
  assert.equal(near.bodies("Commit").length, 2);
});

test("[TXN-081] [TXN-072] [T-21] what failed is rolled back, the primary first, and the rest when that is done", async () => {
  await using world = await CommitWorld.start({ limits: { batchBytes: 1 } });
  const txn = await world.writing(["b", "a", "x"], { commit: "2pc" });
  await world.world.put("x");
  world.forget();
  world.fault({ method: "KvBatchRollback" }, fault.delay(100));
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  await world.settle(1_000);
  const sent = world.sent("BatchRollback");
  assert.deepEqual(sent.map(({ body }) => textOf(body.keys)), [["a"], ["b"], ["x"]]);
  const [first, ...rest] = sent.map(({ at }) => at);
  assert.ok(rest.every((at) => first !== undefined && at - first >= 100));
  assert.deepEqual(sent.map(({ body }) => body.startVersion), [txn.startTs, txn.startTs, txn.startTs]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-081] [T-21] when the primary cannot be rolled back the others are left alone", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a", "b", "x"], { commit: "2pc" });
  await world.world.put("b");
  world.forget();
  world.fault({ method: "KvBatchRollback", key: "a" }, fault.requestError("no"));
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  await world.settle(30_000);
  const tried = new Set(world.bodies("BatchRollback").map(({ keys }) => textOf(keys).join("")));
  assert.deepEqual(tried, new Set(["ab"]));
});

test("[TXN-081] a commit that has sent nothing has nothing to clean up but the locks that it had before", async () => {
  await using world = await CommitWorld.start({ client: { timeoutMs: 2_000 } });
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await world.begin({ mode, commit: "2pc" });
    if (mode === "pessimistic") await world.run(txn.lock(["a"]));
    txn.put("a", "1");
    txn.insert("x", "2", { lazy: true });
    // Nobody says where the region of the second key is.
    const rule = world.fault(
      { method: ["GetRegion", "ScanRegions", "BatchScanRegions"] },
      fault.dropRequest(),
    );
    const { regions } = world.world.session.routing;
    const region = regions.peek(bytes("x"));
    if (region !== undefined) (regions as RegionCache).invalidate(region, "other");
    world.forget();
    await assert.rejects(world.run(txn.commit()));
    rule.remove();
    await world.settle(1_000);
    assert.deepEqual(world.order(), mode === "optimistic" ? [] : ["PessimisticRollback"]);
    assert.deepEqual(await world.locked(), []);
  }
});

test("[TXN-081] [T-18] cleaning up goes on when the caller has gone away", async () => {
  await using world = await CommitWorld.start();
  const caller = new AbortController();
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  world.fault({ method: "KvPrewrite", key: "x" }, fault.delay(10_000));
  world.fault({ method: "KvBatchRollback" }, fault.delay(1_000));
  const committing = failureOf(txn.commit({ signal: caller.signal }));
  await world.settle(100);
  const reason = new Error("gone");
  caller.abort(reason);
  assert.equal(await world.run(committing), reason);
  await world.settle(15_000);
  assert.deepEqual(world.bodies("BatchRollback").map(({ keys }) => textOf(keys)), [["a"], ["x"]]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-081] after one phase that failed only pessimistic locks are to be released", async () => {
  await using world = await CommitWorld.start();
  const optimistic = await world.writing(["a"], { commit: "1pc" });
  await world.world.put("a");
  world.forget();
  await assert.rejects(world.run(optimistic.commit()), { kind: "write-conflict" });
  await world.settle();
  assert.deepEqual(world.order(), ["Prewrite"]);

  const pessimistic = await world.begin({ mode: "pessimistic", commit: "1pc" });
  await world.run(pessimistic.lock(["b", "c"]));
  for (const key of ["b", "c"]) pessimistic.put(key, "1");
  pessimistic.insert("a", "1", { lazy: true });
  world.forget();
  await assert.rejects(world.run(pessimistic.commit()), { kind: "key-exists" });
  await world.settle();
  assert.deepEqual(world.order(), ["Prewrite", "PessimisticRollback"]);
  assert.deepEqual(textOf(world.bodies("PessimisticRollback")[0]?.keys ?? []), ["b", "c"]);
  assert.deepEqual(await world.locked(), []);
});

test("[TXN-084] a timestamp that the caller does not want ends the commit, which is in two phases for that", async () => {
  await using world = await CommitWorld.start();
  let asked: Timestamp | undefined;
  const txn = await world.writing(["a"], {
    acceptsCommitTs: (ts) => {
      asked = ts;
      return false;
    },
  });
  await assert.rejects(world.run(txn.commit()), { kind: "txn-aborted", startTs: txn.startTs });
  await world.settle();
  assert.ok(asked !== undefined && asked > txn.startTs);
  assert.deepEqual(world.order(), ["Prewrite", "BatchRollback"]);
  assert.deepEqual(
    world.bodies("Prewrite").map(({ tryOnePc, useAsyncCommit }) => tryOnePc || useAsyncCommit),
    [false],
  );
  assert.deepEqual(await world.read("a"), [undefined]);
});

test("[TXN-085] a schema that does not hold at the timestamp of the commit ends it with what was thrown", async () => {
  await using world = await CommitWorld.start();
  const reason = new Error("the schema has changed");
  const seen: Timestamp[] = [];
  const txn = await world.writing(["a", "x"], {
    commit: "2pc",
    checkSchema: (ts) => {
      seen.push(ts);
      throw reason;
    },
  });
  assert.equal(await failureOf(world.run(txn.commit())), reason);
  await world.settle();
  assert.deepEqual(world.order(), ["Prewrite", "Prewrite", "BatchRollback", "BatchRollback"]);
  const [ts] = seen;
  assert.ok(seen.length === 1 && ts !== undefined && ts > txn.startTs);
  assert.equal(txn.state, "rolled-back");
});

test("[TXN-085] [TXN-086] [TXN-021] a schema that has changed is the reason for an assertion that failed", async () => {
  await using world = await CommitWorld.start();
  const reason = new Error("the schema has changed");
  for (const isChanged of [false, true]) {
    const seen: Timestamp[] = [];
    const txn = await world.writing(["a"], {
      commit: "2pc",
      checkSchema: (ts) => {
        seen.push(ts);
        return isChanged ? Promise.reject(reason) : undefined;
      },
    });
    txn.assertExists("a");
    const asked = world.timestamps();
    const error = await failureOf(world.run(txn.commit()));
    assert.equal(world.timestamps() - asked, 1);
    assert.ok(seen.length === 1 && seen[0] !== undefined && seen[0] > txn.startTs);
    if (isChanged) assert.equal(error, reason);
    else assert.equal((error as { kind: string }).kind, "assertion-failed");
  }
});

test("[TXN-083] a transaction that is a day old is not committed, and nothing of it is written", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"], { commit: "2pc" });
  await world.settle(24 * 3_600_000 + 1);
  world.forget();
  await assert.rejects(world.run(txn.commit()), { kind: "txn-aborted", startTs: txn.startTs });
  assert.deepEqual(world.order(), []);
});

test("[TXN-083] its age is the time of the cluster, which the clock of this machine does not know", async () => {
  await using world = await CommitWorld.start();
  const old = await world.begin({ startTs: await world.world.ts(), commit: "2pc" });
  old.put("a", "1");
  // The cluster's time moves on while nothing is known of it here: found out with the timestamp.
  world.cluster.jumpTso(24 * 3_600_000);
  await assert.rejects(world.run(old.commit()), { kind: "txn-aborted" });
  await world.settle();
  assert.deepEqual(world.order(), ["Prewrite", "BatchRollback"]);
  const young = await world.writing(["a"], { commit: "2pc" });
  world.cluster.jumpTso(24 * 3_600_000 - 120_000);
  await world.run(young.commit());
});

test("[TXN-039] onCommit is told how it went, whatever it does with that", async () => {
  await using world = await CommitWorld.start();
  const told: CommitInfo[] = [];
  const onCommit = (info: CommitInfo): void => {
    told.push(info);
    throw new Error("ignored");
  };
  const txns = [];
  for (
    const [keys, commit] of [[["a"], "auto"], [["a", "x"], "auto"], [["a", "x"], "1pc"], [
      ["a"],
      "2pc",
    ]] as const
  ) {
    const txn = await world.writing(keys, { commit, onCommit });
    txns.push([txn.startTs, (await world.run(txn.commit())).commitTs]);
  }
  const failing = await world.writing(["a", "x"], { onCommit });
  await world.world.put("a");
  const error = await failureOf(world.run(failing.commit()));
  const base = { hasAsyncFallback: false, hasOnePcFallback: false, lag: undefined, error: undefined };
  assert.deepEqual(told, [
    { ...base, startTs: txns[0]?.[0], commitTs: txns[0]?.[1], path: "1pc" },
    { ...base, startTs: txns[1]?.[0], commitTs: txns[1]?.[1], path: "async", hasOnePcFallback: true },
    { ...base, startTs: txns[2]?.[0], commitTs: txns[2]?.[1], path: "2pc", hasOnePcFallback: true },
    { ...base, startTs: txns[3]?.[0], commitTs: txns[3]?.[1], path: "2pc" },
    { ...base, startTs: failing.startTs, commitTs: undefined, path: "async", hasOnePcFallback: true, error },
  ]);
  // Nobody notices but the observer.
  const ignored = world.world.events.filter(({ type }) => type === "warning");
  assert.equal(ignored.length, 5);
});

test("[TXN-040] onBackground is told of each work before it begins, with a promise for its end", async () => {
  await using world = await CommitWorld.start();
  const tasks: BackgroundTask[] = [];
  const sentBefore: string[][] = [];
  const ended: BackgroundTask["kind"][] = [];
  const onBackground = (task: BackgroundTask): void => {
    tasks.push(task);
    sentBefore.push(world.order());
    void task.done.then(() => ended.push(task.kind));
  };
  const async = await world.writing(["a", "x"], { commit: "async", onBackground });
  await world.run(async.commit());
  const twoPhase = await world.writing(["a", "x"], { commit: "2pc", onBackground });
  world.fault({ method: "KvCommit", key: "x" }, fault.delay(100));
  await world.run(twoPhase.commit());
  assert.deepEqual(ended, ["commit"]);
  await world.settle(200);
  assert.deepEqual(ended, ["commit", "commit"]);
  const failing = await world.writing(["a", "x"], { commit: "2pc", onBackground });
  await world.world.put("x");
  world.forget();
  await assert.rejects(world.run(failing.commit()), { kind: "write-conflict" });
  await world.settle();
  assert.deepEqual([tasks.map(({ kind }) => kind), ended], [["commit", "commit", "clean-up"], [
    "commit",
    "commit",
    "clean-up",
  ]]);
  assert.deepEqual(sentBefore, [
    ["Prewrite", "Prewrite"],
    ["Prewrite", "Prewrite", "Commit"],
    ["Prewrite", "Prewrite"],
  ]);
});

test("[TXN-040] a work that fails has an end too, and an onBackground that throws changes nothing", async () => {
  await using world = await CommitWorld.start();
  let hasEnded = false;
  const txn = await world.writing(["a", "x"], {
    commit: "2pc",
    onBackground: ({ done }) => {
      void done.then(() => hasEnded = true);
      throw new Error("ignored");
    },
  });
  world.fault({ method: "KvCommit", key: "x" }, fault.requestError("no"));
  await world.run(txn.commit());
  await world.settle(50_000);
  assert.equal(hasEnded, true);
});

test("[TXN-040] [TXN-080] [T-31] a client that is closing starts no work, and the commit has not failed for that", async () => {
  await using world = await CommitWorld.start();
  const tasks: BackgroundTask[] = [];
  for (const commit of ["2pc", "async"] as const) {
    const txn = await world.writing(["a", "x"], { commit, onBackground: (task) => tasks.push(task) });
    const { background } = world.world.session;
    const start = background.start;
    // As it is from the moment on at which the client closes.
    background.start = () => false;
    const { path } = await world.run(txn.commit());
    background.start = start;
    assert.equal(path, commit);
  }
  assert.deepEqual(tasks, []);
  assert.deepEqual(await world.read("a", "x"), ["a", "x"]);
});

test("[TXN-073] regions that a huge transaction writes very much to are split before, and on different stores", async () => {
  const limits = { preSplitKeys: 6, preSplitBytes: 20 };
  await using world = await CommitWorld.start({ limits });
  const txn = await world.writing([], { commit: "2pc" });
  for (const key of ["a", "b", "c", "d", "e", "f", "n", "o", "p"]) txn.put(key, key.repeat(9));
  await world.run(txn.commit());
  await world.settle();
  // 10 bytes each: every second key begins a region. In the other region there are too few.
  assert.deepEqual(world.regionStarts(), ["", "b", "d", "f", "m"]);
  const parts = world.bodies("Prewrite").map(({ mutations, txnSize }) => [
    textOf(mutations.map(({ key }) => key)).join(""),
    txnSize,
  ]);
  assert.deepEqual(parts.sort(), [["a", 1n], ["bc", 2n], ["de", 2n], ["f", 1n], ["nop", 3n]]);
  assert.ok(world.cluster.calls.get("GetOperator") >= 3);
});

test("[TXN-034] the observer hears of a transaction with more than 10,000 keys, or 4 MiB", async () => {
  await using world = await CommitWorld.start();
  const told = (): unknown[] => world.world.events.splice(0).filter(({ type }) => type === "large-commit");
  const many = async (keys: number): Promise<Timestamp> => {
    const txn = await world.writing([]);
    for (let n = 0; n < keys; n++) txn.put(String(10_000 + n), "v");
    await world.run(txn.commit());
    return txn.startTs;
  };
  const large = async (bytes: number): Promise<Timestamp> => {
    const txn = await world.writing([]);
    txn.put("a", new Uint8Array(bytes - 1));
    await world.run(txn.commit());
    return txn.startTs;
  };
  await many(10_000);
  await large(4 * 1024 * 1024);
  assert.deepEqual(told(), []);
  const ofMany = await many(10_001);
  const ofLarge = await large(4 * 1024 * 1024 + 1);
  assert.deepEqual(told(), [
    { type: "large-commit", startTs: ofMany, keys: 10_001, sizeBytes: 60_006 },
    { type: "large-commit", startTs: ofLarge, keys: 1, sizeBytes: 4 * 1024 * 1024 + 1 },
  ]);
});

test("[TXN-073] a transaction with fewer keys, or fewer bytes, splits nothing", async () => {
  await using world = await CommitWorld.start({ limits: { preSplitKeys: 3, preSplitBytes: 20 } });
  const few = await world.writing(["a", "b"], { commit: "2pc" });
  few.put("c", "c".repeat(100));
  few.delete("b");
  few.delete("c");
  await world.run(few.commit());
  assert.deepEqual(world.regionStarts(), ["", "m"]);
});

test("[TXN-073] without a split it is committed all the same, and the observer hears of it", async () => {
  await using world = await CommitWorld.start({ limits: { preSplitKeys: 2, preSplitBytes: 2 } });
  const txn = await world.writing(["a", "b", "c"], { commit: "2pc" });
  world.fault({ method: "SplitRegions" }, fault.grpcStatus(12));
  await world.run(txn.commit());
  assert.deepEqual(world.regionStarts(), ["", "m"]);
  const warnings = world.world.events.flatMap((event) => event.type === "warning" ? [event.message] : []);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /split/);
});

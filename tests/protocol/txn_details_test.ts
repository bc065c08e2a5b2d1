// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientEvent, TransactionDetails } from "../../mod.ts";
import { fault } from "../../src/playground/mod.ts";
import { bytes, text } from "../unit/raw/fake_store.ts";
import { CommitWorld } from "../unit/txn/commit_world.ts";
import { startScene } from "./txn_call_scene.ts";

test("[TXN-042] details tell the steps, requests and regions of a transaction, also of what follows it", async () => {
  await using scene = await startScene({}, { splitKeys: ["m"] });
  const { client, cluster, clock, run } = scene;
  using _far = cluster.faults.add({}, fault.delay(2));
  await run(client.transaction((txn) => (txn.put("a", "0"), txn.put("z", "0"))));
  const details = new TransactionDetails();
  await run(client.transaction(async (txn) => {
    await txn.get("a");
    await txn.get("a");
    await txn.lock(["a", "z"]);
    txn.put("a", "1");
    txn.put("z", "22");
  }, { details, mode: "pessimistic", commit: "2pc" }));
  await clock.advance(1_000);
  assert.deepEqual([details.attempts, details.writtenKeys, details.writtenBytes], [1, 2, 5]);
  const requests = [...details.requests].map(([name, { count, regions }]) => [name, count, regions]);
  assert.deepEqual(requests, [["KvPessimisticLock", 2, 2], ["KvPrewrite", 2, 2], ["KvCommit", 2, 2]]);
  assert.equal(details.reads.requests.get("KvGet")?.count, 1);
  assert.equal(details.reads.cacheHits, 1);
  assert.deepEqual([...details.steps].map(([step, { count }]) => [step, count]).sort(), [
    ["begin", 1],
    ["commit", 1],
    ["lock", 1],
    ["timestamp", 3],
  ]);
  for (const { busyMs, totalMs, slowest } of details.requests.values()) {
    assert.ok(slowest.ms > 0 && busyMs >= slowest.ms && totalMs >= busyMs);
  }
  const commit = details.steps.get("commit")?.totalMs ?? 0;
  assert.ok(commit >= (details.requests.get("KvPrewrite")?.busyMs ?? Infinity));
  assert.ok((details.steps.get("lock")?.totalMs ?? 0) > 0);
});

test("[TXN-042] details of several runs add up: attempts, conflicts waited for, locks that were met", async () => {
  await using scene = await startScene();
  const { client, cluster, run } = scene;
  const details = new TransactionDetails();
  let runs = 0;
  await run(client.transaction(async (txn) => {
    if (++runs === 1) await client.transaction((other) => other.put("k", "theirs"));
    txn.put("k", "mine");
  }, { details }));
  assert.deepEqual([details.attempts, details.writtenKeys], [2, 2]);
  assert.equal(details.requests.get("KvPrewrite")?.count, 2);
  assert.equal(details.locks, 0);
  const other = await scene.open();
  const holder = await run(other.begin({ mode: "pessimistic" }));
  await run(holder.lock(["k"]));
  // The store tells of the lock at once, as when its queue is full.
  using _busy = cluster.faults.add({ method: "KvCommit", times: 1 }, fault.delay(1));
  const committing = client.transaction((txn) => txn.put("k", "again"), { details });
  await scene.clock.advance(300);
  await run(holder.rollback());
  await run(committing);
  assert.equal(details.attempts, 3);
  assert.ok(details.locks >= 1);
  assert.ok((details.waits.get("txnLock")?.count ?? 0) >= 1);
});

test("[TXN-042] a turn at a local latch is a step of its own", async () => {
  await using scene = await startScene({ localLatches: 16 });
  const { client, cluster, run } = scene;
  const details = new TransactionDetails();
  using _slow = cluster.faults.add({ method: "KvPrewrite", times: 1 }, fault.delay(40));
  const [one, two] = [await run(client.begin({ details })), await run(client.begin({ details }))];
  one.put("k", "1");
  two.put("k", "2");
  const all = Promise.allSettled([one.commit(), two.commit()]);
  assert.deepEqual((await run(all)).map(({ status }) => status), ["fulfilled", "rejected"]);
  const { count = 0, totalMs = 0 } = details.steps.get("latch") ?? {};
  assert.equal(count, 2);
  assert.ok(totalMs >= 40);
});

test("[TXN-042] details that are none are refused", async () => {
  await using scene = await startScene();
  const wrong = {} as unknown as TransactionDetails;
  await assert.rejects(scene.run(scene.client.begin({ details: wrong })), TypeError);
});

test("[TXN-041] a transaction tells what memory its writes take; what the callback throws is a warning", async () => {
  const events: ClientEvent[] = [];
  await using scene = await startScene({ observe: (event) => events.push(event) });
  const { client, run } = scene;
  const told: number[] = [];
  const txn = await run(client.begin({ onMemoryChange: (memoryBytes) => told.push(memoryBytes) }));
  assert.equal(txn.memoryBytes, 0);
  for (let index = 0; index < 2_000; index++) txn.put(`key-${index}`, "x".repeat(100));
  assert.ok(told.length >= 2 && told.length < 200);
  assert.equal(told.at(-1), txn.memoryBytes);
  assert.ok(txn.memoryBytes >= txn.sizeBytes);
  assert.deepEqual([...told].sort((a, b) => a - b), told);
  await run(txn.rollback());
  const broken = await run(client.begin({
    onMemoryChange: () => {
      throw new Error("no room");
    },
  }));
  broken.put("k", "v");
  await run(broken.commit());
  assert.equal(await scene.valueOf("k"), "v");
  assert.ok(events.some((event) => event.type === "warning" && /onMemoryChange/.test(event.message)));
});

test("[TXN-038] [TXN-017] every request that a transaction makes says what it is for, to its last one", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.begin({
    mode: "pessimistic",
    priority: "low",
    requestSource: "nightly",
    resourceGroup: "reports",
    resourceGroupTag: bytes("tag"),
  });
  await world.run(txn.lock(["a", "z"]));
  await world.clock.advance(11_000);
  await world.run(txn.rollback());
  for (const name of ["PessimisticLock", "TxnHeartBeat", "PessimisticRollback"] as const) {
    const contexts = world.contexts(name);
    assert.ok(contexts.length > 0, name);
    for (const { priority, requestSource, resourceControlContext, resourceGroupTag } of contexts) {
      const group = resourceControlContext?.resourceGroupName;
      assert.deepEqual([priority, requestSource, group, text(resourceGroupTag)], [
        ...[1, "leader_nightly", "reports", "tag"],
      ], name);
    }
  }
  const lost = await world.writing(["b", "y"], { commit: "2pc", requestSource: "nightly", priority: "low" });
  await world.world.put("y");
  await assert.rejects(world.run(lost.commit()), { kind: "write-conflict" });
  await world.settle();
  const ofLost = [...world.contexts("Prewrite"), ...world.contexts("BatchRollback")]
    .filter(({ requestSource }) => requestSource !== "");
  assert.equal(ofLost.length, 4);
  for (const { priority, requestSource } of ofLost) {
    assert.deepEqual([priority, requestSource], [1, "leader_nightly"]);
  }
});

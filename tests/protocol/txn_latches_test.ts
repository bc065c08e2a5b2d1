// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { codec, WriteConflictError } from "../../mod.ts";
import { fault } from "../../src/playground/mod.ts";
import { type CallScene, startScene } from "./txn_call_scene.ts";

const numbers = { key: codec.utf8, value: codec.uint64 };

async function countersAfter(scene: CallScene, others: readonly CallScene["client"][]): Promise<bigint> {
  const { clock, run } = scene;
  const all = [scene.client, ...others];
  await run(
    Promise.all(
      Array.from(
        { length: 30 },
        (_, index) =>
          (all[index % all.length] ?? scene.client).transaction(async (txn) => {
            const counter = txn.sub("n/", numbers);
            const seen = await counter.get("k") ?? 0n;
            await new Promise<void>((resolve) => clock.timer(5, resolve));
            counter.put("k", seen + 1n);
          }, { maxAttempts: Infinity, timeoutMs: 600_000 }),
      ),
    ),
  );
  const end = await run(scene.client.snapshot());
  return await run(end.sub("n/", numbers).get("k")) ?? 0n;
}

test("[TXN-088] [CFG-025] without the option there are none: every conflict is found by a store", async () => {
  await using scene = await startScene();
  const { client, calls, run } = scene;
  const txn = await run(client.begin());
  await run(client.transaction((other) => other.put("k", "theirs")));
  txn.put("k", "mine");
  calls.length = 0;
  const error: unknown = await run(txn.commit()).catch((thrown) => thrown);
  assert.ok(error instanceof WriteConflictError && error.reason === "optimistic", String(error));
  assert.ok(calls.some(({ method }) => method === "KvPrewrite"));
});

test("[TXN-088] with it a conflict within the client is found without a request", async () => {
  await using scene = await startScene({ localLatches: 64 });
  const { client, calls, run } = scene;
  const told: unknown[] = [];
  const txn = await run(client.begin({ onCommit: (info) => told.push(info) }));
  await run(client.transaction((other) => other.put("k", "theirs")));
  txn.put("k", "mine");
  calls.length = 0;
  const error: unknown = await run(txn.commit()).catch((thrown) => thrown);
  assert.ok(error instanceof WriteConflictError && error.reason === "local-latch", String(error));
  assert.equal(error.startTs, txn.startTs);
  assert.equal(txn.state, "rolled-back");
  assert.deepEqual(calls, []);
  // There was no commit that could be told of.
  assert.deepEqual(told, []);
  await run(client.transaction((again) => again.put("k", "mine")));
  assert.equal(await scene.valueOf("k"), "mine");
});

test("[TXN-088] commits of the same key queue up instead of meeting in the store", async () => {
  await using scene = await startScene({ localLatches: 64 });
  assert.equal(await countersAfter(scene, []), 30n);
  const { calls } = scene;
  // One for each that was committed; none for those that came too late.
  assert.equal(calls.filter(({ method }) => method === "KvPrewrite").length, 30);
});

test("[T-68] [TXN-088] latches know nothing of other processes: stores keep their updates apart all the same", async () => {
  await using scene = await startScene({ localLatches: 64 });
  const others = [await scene.open({ localLatches: 64 }), await scene.open()];
  assert.equal(await countersAfter(scene, others), 30n);
});

test("[T-68] [TXN-088] a pessimistic transaction takes none, and does not wait for any", async () => {
  await using scene = await startScene({ localLatches: 64 });
  const { client, cluster, run } = scene;
  const held = await run(client.begin());
  held.put("a", "1");
  using _slow = cluster.faults.add({ method: "KvPrewrite", times: 1 }, fault.delay(500));
  const first = held.commit();
  const begin = scene.clock.now();
  await run(client.transaction((txn) => txn.put("b", "2"), { mode: "pessimistic" }));
  assert.ok(scene.clock.now() - begin < 400);
  await run(first);
  assert.equal(await scene.valueOf("a"), "1");
});

test("[TXN-088] a commit that is lost lets the next one go on, which finds out what there is", async () => {
  await using scene = await startScene({ localLatches: 64 });
  const { client, cluster, run } = scene;
  const lost = cluster.faults.add({ method: "KvPrewrite" }, fault.dropReply());
  const first = client.transaction((txn) => txn.put("k", "first"), { timeoutMs: 2_000 });
  const failed = assert.rejects(first, { kind: "undetermined" });
  await run(failed);
  lost.remove();
  await run(client.transaction((txn) => txn.put("k", "second")));
  assert.equal(await scene.valueOf("k"), "second");
});

test("[TXN-088] close() ends a commit that waits for its turn", async () => {
  await using scene = await startScene();
  const { cluster, run } = scene;
  const client = await scene.open({ localLatches: 64 });
  using _slow = cluster.faults.add({ method: "KvPrewrite" }, fault.delay(2_000));
  const [one, two] = [await run(client.begin()), await run(client.begin())];
  one.put("k", "1");
  two.put("k", "2");
  const first = one.commit().then(() => "committed", (error) => error.kind);
  const waiting = two.commit().then(() => "committed", (error) => error.kind);
  await scene.clock.advance(100);
  await run(client.close());
  assert.equal(await run(waiting), "closed");
  assert.ok(["committed", "undetermined", "closed"].includes(await run(first)));
});

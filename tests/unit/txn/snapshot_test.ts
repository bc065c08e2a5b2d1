// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import type { SnapshotBound } from "../../../src/pd/cluster_state.ts";
import { fault } from "../../../src/playground/mod.ts";
import type { Timestamp } from "../../../src/types.ts";
import { SafePoint } from "../../../src/txn/snapshot/safe_point.ts";
import { ReadDetails } from "../../../src/txn/snapshot/read_details.ts";
import { text } from "../raw/fake_store.ts";
import { SnapshotWorld } from "./snapshot_world.ts";
import { hasKind } from "../../helpers/has_kind.ts";

function shown(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : text(value);
}

test("[TXN-140] [TXN-141] get() sees what was committed before its moment, and nothing after", async () => {
  await using world = await SnapshotWorld.start();
  const before = await world.snapshot();
  await world.put("a");
  const after = await world.snapshot();
  assert.deepEqual([shown(await world.run(before.get("a"))), shown(await world.run(after.get("a")))], [
    undefined,
    "a!",
  ]);
  assert.equal(shown(await world.run(after.at(before.ts).get("a"))), undefined);
  assert.deepEqual([await world.run(after.has("a")), await world.run(after.has("b"))], [true, false]);
});

test("[TXN-142] batchGet() reads over regions, in the order of the request, without what is absent", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a", "b", "z");
  await world.cluster.split("m");
  const snapshot = await world.snapshot();
  const found = await world.run(snapshot.batchGet(["z", "none", "a", "z", "b"]));
  assert.deepEqual([...found].map(([key, value]) => [text(key), text(value)]), [
    ["z", "z!"],
    ["a", "a!"],
    ["b", "b!"],
  ]);
});

test("[TXN-146] [T-53] scans go over regions, forward and backward, with limits and bounds", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a", "b", "c", "m", "n", "z");
  await world.cluster.split("c");
  await world.cluster.split("n");
  const snapshot = await world.snapshot();
  const keys = async (...args: Parameters<typeof snapshot.scanKeys>): Promise<string[]> =>
    (await world.run(snapshot.scanKeys(...args).toArray())).map(text);
  assert.deepEqual(await keys({}), ["a", "b", "c", "m", "n", "z"]);
  assert.deepEqual(await keys({}, { reverse: true }), ["z", "n", "m", "c", "b", "a"]);
  assert.deepEqual(await keys({ start: "b", end: "n" }), ["b", "c", "m"]);
  assert.deepEqual(await keys({ start: "b", end: "n" }, { reverse: true, batchSize: 1 }), ["m", "c", "b"]);
  assert.deepEqual(await keys({}, { limit: 4, batchSize: 3 }), ["a", "b", "c", "m"]);
  const entries = await world.run(snapshot.scan({ prefix: "m" }).toArray());
  assert.deepEqual(entries.map(({ key, value }) => [text(key), text(value)]), [["m", "m!"]]);
});

test("[TXN-146] [T-52] locked keys of a page are read by themselves, and a page full of them is not the last", async () => {
  for (const isKeysOnly of [false, true]) {
    for (const reverse of [false, true]) {
      await using world = await SnapshotWorld.start();
      await world.put("a", "e", "f");
      // "b" is committed but its lock is still there; "c" and "d" never existed at this moment.
      const startTs = await world.ts();
      await world.prewrite(["a0", "b"], { startTs });
      await world.commit(["a0"], startTs);
      await world.prewrite(["c", "d"], { startTs: await world.ts(), ttlMs: 1n });
      await world.clock.advance(1_000);
      const snapshot = await world.snapshot();
      const options = { batchSize: 2, reverse };
      const found = isKeysOnly
        ? await world.run(snapshot.scanKeys({}, options).toArray())
        : (await world.run(snapshot.scan({}, options).toArray())).map(({ key }) => key);
      const expected = ["a", "a0", "b", "e", "f"];
      assert.deepEqual(found.map(text), reverse ? expected.reverse() : expected);
    }
  }
});

test("[TXN-144] [TXN-154] what was read is not read again, also that there was nothing; details tell", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a", "b");
  const details = new ReadDetails();
  const snapshot = await world.snapshot({ details });
  await world.run(snapshot.get("a"));
  await world.run(snapshot.get("none"));
  const first = await world.run(snapshot.get("a"));
  first?.fill(0);
  assert.equal(shown(await world.run(snapshot.get("a"))), "a!");
  const found = await world.run(snapshot.batchGet(["a", "none", "b"]));
  assert.deepEqual([...found.keys()].map(text), ["a", "b"]);
  assert.equal(details.requests.get("KvGet")?.count, 2);
  assert.equal(details.requests.get("KvBatchGet")?.count, 1);
  assert.equal(details.cacheHits, 4);
  assert.ok(details.scan.processedVersions >= 2n);
  const twice = new ReadDetails();
  twice.merge(details);
  twice.merge(details);
  assert.deepEqual([twice.cacheHits, twice.requests.get("KvGet")?.count], [8, 4]);
});

test("[TXN-145] [T-58] getVersioned() tells the commit, also where the value was read without it", async () => {
  await using world = await SnapshotWorld.start();
  const commitTs = await world.put("a", "b");
  const snapshot = await world.snapshot();
  await world.run(snapshot.get("a"));
  const found = await world.run(snapshot.getVersioned("a"));
  assert.deepEqual([shown(found?.value), found?.commitTs], ["a!", commitTs]);
  assert.equal(await world.run(snapshot.getVersioned("none")), undefined);
  const both = await world.run(snapshot.batchGetVersioned(["b", "none"]));
  assert.deepEqual([...both].map(([key, one]) => [text(key), one.commitTs]), [["b", commitTs]]);
});

test("[TXN-145] a lock of a committed transaction does not tell its commit: it is waited for", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs });
  const commitTs = await world.commit(["p"], startTs);
  const snapshot = await world.snapshot();
  using _slow = world.cluster.faults.add({ method: "KvResolveLock", times: 1 }, fault.delay(500));
  world.takeCalls();
  const found = await world.run(snapshot.getVersioned("s"));
  assert.deepEqual([shown(found?.value), found?.commitTs], ["s!", commitTs]);
  assert.equal(world.takeCalls()["KvGet"], 2);
});

test("[TXN-140] [T-47] at the latest timestamp one key is read, and nothing is kept", async () => {
  await using world = await SnapshotWorld.start();
  const latest = await world.snapshot({ ts: "latest" });
  assert.equal(await world.run(latest.get("a")), undefined);
  await world.put("a");
  assert.equal(shown(await world.run(latest.get("a"))), "a!");
  await assert.rejects(world.run(latest.batchGet(["a"])), hasKind("misuse"));
  assert.throws(() => latest.scan({}), hasKind("misuse"));
  assert.throws(() => latest.scanKeys({}), hasKind("misuse"));
});

test("[TXN-140] timestamps that mean something to stores are refused", async () => {
  await using world = await SnapshotWorld.start();
  for (const ts of [0n, -1n, 0x7fff_ffff_ffff_ffffn, 0xffff_ffff_ffff_fffen]) {
    await assert.rejects(world.snapshot({ ts: ts as Timestamp }), RangeError);
  }
  await assert.rejects(world.snapshot({ ts: 5 as unknown as Timestamp }), TypeError);
  await assert.rejects(world.snapshot({ isolation: "none" as "snapshot" }), RangeError);
  await assert.rejects(world.snapshot({ isolaton: "snapshot" } as object), /did you mean "isolation"/);
});

test("[TXN-148] read committed looks past locks, and with the check fails on what is newer", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a");
  await world.prewrite(["a"], { startTs: await world.ts(), ttlMs: 60_000n });
  const loose = await world.snapshot({ isolation: "read-committed" });
  assert.equal(shown(await world.run(loose.get("a"))), "a!");
  const strict = await world.snapshot({ isolation: "read-committed-check-ts" });
  await assert.rejects(
    world.run(strict.get("a")),
    (error) =>
      TikvError.is(error) && error.kind === "write-conflict" && error.reason === "read-committed-check-ts",
  );
});

test("[TXN-012] [T-55] a snapshot from before the safe point fails, whatever the store still had", async () => {
  await using world = await SnapshotWorld.start();
  const old = await world.snapshot();
  await world.put("a");
  await world.run(old.get("a"));
  const kept = await world.snapshot();
  const load = (): Promise<SnapshotBound> => Promise.resolve({ ts: kept.ts, isCollecting: false });
  const { background, settings } = world.session;
  const moved = new SafePoint({
    load,
    background,
    environment: settings.environment,
    observe: settings.observe,
  });
  const operation = world.operation();
  await assert.rejects(
    world.run(Promise.resolve(moved.check(old.ts, operation))),
    (error) =>
      TikvError.is(error) && error.kind === "snapshot-too-old" && error.safePoint === kept.ts &&
      error.ts === old.ts,
  );
  assert.equal(moved.check(kept.ts, operation), undefined);
});

test("[TXN-155] typed views of a snapshot share what it has read", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("user/ada");
  const snapshot = await world.snapshot();
  const users = snapshot.sub("user/");
  assert.equal(shown(await world.run(users.get("ada"))), "user/ada!");
  world.takeCalls();
  assert.equal(shown(await world.run(snapshot.get("user/ada"))), "user/ada!");
  assert.deepEqual(world.takeCalls(), {});
  assert.deepEqual((await world.run(users.scanKeys({}).toArray())).map(text), ["ada"]);
});

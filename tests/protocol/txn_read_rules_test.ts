// SPDX-License-Identifier: Apache-2.0
// What reads promise whatever a store answers: emptiness, first attempts, moments, and what they cost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { Action, ExecDetailsV2Schema } from "../../gen/kvrpcpb_pb.ts";
import { TikvError } from "../../src/errors.ts";
import { STALE } from "../../src/region/send.ts";
import { KnownLocks } from "../../src/txn/snapshot/known_locks.ts";
import { ReadDetails } from "../../src/txn/snapshot/read_details.ts";
import { type Timestamp, timestampOf } from "../../src/types.ts";
import { bytes, text } from "../unit/raw/fake_store.ts";
import type { SentRequest } from "../unit/plan/fake_regions.ts";
import { COMMITTED, FOUND, LOCK_TS, locked, NOTHING, pair, READ_TS, scene, START_MS } from "./txn_scene.ts";

function keysOf({ body }: SentRequest): string[] {
  return (body as { keys: Uint8Array[] }).keys.map(text);
}

test("[TXN-141] [TXN-142] [TXN-030] an empty value is none, also where the store does not say so", async () => {
  const empty = { ...FOUND, value: bytes(""), commitTs: 5n };
  const { snapshot, clock } = scene(({ method }) =>
    method === "KvGet" ? empty : {
      ...NOTHING,
      pairs: [{ key: bytes("a"), value: bytes(""), commitTs: 0n, error: undefined }, pair("b")],
    }
  );
  const one = await snapshot({ cacheBytes: 0 });
  assert.equal(await clock.run(one.get("k")), undefined);
  assert.equal(await clock.run(one.has("k")), false);
  assert.equal(await clock.run(one.getVersioned("k")), undefined);
  const found = await clock.run(one.batchGet(["a", "b"]));
  assert.deepEqual([...found.keys()].map(text), ["b"]);
});

test("[TXN-144] that an empty value is none is remembered like any other", async () => {
  const { snapshot, clock, regions } = scene(() => ({ ...FOUND, value: bytes("") }));
  const one = await snapshot();
  assert.equal(await clock.run(one.get("k")), undefined);
  assert.equal(await clock.run(one.getVersioned("k")), undefined);
  assert.equal(regions.sent.length, 1);
});

test("[T-57] [TXN-153] the limit of the first attempt is not that of a part whose region has split", async () => {
  let isSplit = false;
  const { snapshot, clock, regions } = scene((sent) => {
    if (isSplit) return { ...NOTHING, pairs: keysOf(sent).map((key) => pair(key)) };
    isSplit = true;
    regions.cutAt(["m"]);
    return STALE;
  });
  const one = await snapshot({ firstAttemptTimeoutMs: 50 });
  const found = await clock.run(one.batchGet(["a", "z"]));
  assert.deepEqual([...found.keys()].map(text), ["a", "z"]);
  assert.deepEqual(regions.sent.map(keysOf), [["a", "z"], ["a"], ["z"]]);
  const limits = regions.optionsOf.map(({ firstAttemptTimeoutMs }) => firstAttemptTimeoutMs);
  assert.deepEqual(limits, [50, undefined, undefined]);
});

test("[T-57] [TXN-153] each page of a scan has a first attempt, and no second one", async () => {
  const { snapshot, clock, regions } = scene((_, round) => {
    if (round === 1) return STALE;
    return { ...NOTHING, pairs: round === 2 ? [pair("a"), pair("b")] : [pair("c")] };
  });
  const one = await snapshot({ firstAttemptTimeoutMs: 50 });
  const keys = await clock.run(one.scanKeys({}, { batchSize: 2 }).toArray());
  assert.deepEqual(keys.map(text), ["a", "b", "c"]);
  const limits = regions.optionsOf.map(({ firstAttemptTimeoutMs }) => firstAttemptTimeoutMs);
  assert.deepEqual(limits, [50, undefined, 50]);
});

test("[T-48] [T-50] [TXN-149] what one read of the latest data looks past, the next one may have to see", async () => {
  const other = LOCK_TS + 1n;
  const alive = { ...NOTHING, lockTtl: 60_000n, commitVersion: 0n, action: Action.NoAction };
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return alive;
    if (round === 1) return { ...FOUND, error: locked("k") };
    return round === 3 ? { ...FOUND, error: locked("k", { lockVersion: other }) } : FOUND;
  });
  const latest = await snapshot({ ts: "latest" });
  await clock.run(latest.get("k"));
  await clock.run(latest.get("k"));
  const contexts = regions.optionsOfAll("KvGet").map(({ context }) => context?.resolvedLocks);
  assert.deepEqual(contexts, [undefined, undefined, [other], undefined]);
  // Only the first of the two was asked about.
  assert.equal(regions.sent.filter(({ method }) => method === "KvCheckTxnStatus").length, 1);
});

test("[TXN-149] what is known of locks is bounded: the oldest is forgotten first", () => {
  const known = new KnownLocks({ priority: 2 });
  assert.deepEqual({ ...known.context }, { priority: 2 });
  known.ignore(Array.from({ length: 1_030 }, (_, index) => BigInt(index)));
  known.readThrough([5n]);
  known.readThrough([5n, 6n]);
  assert.equal(known.context?.resolvedLocks?.length, 1_024);
  assert.equal(known.context?.resolvedLocks?.[0], 6n);
  assert.deepEqual([known.context?.committedLocks, known.context?.priority], [[5n, 6n], 2]);
});

test("[TXN-010] [ORA-009] a moment that the cluster has not reached is refused, at once or at the first read", async () => {
  const { snapshot, clock, timestamps, regions } = scene(() => FOUND);
  const future = timestampOf(START_MS + 10_000n, 0n);
  await assert.rejects(snapshot({ ts: future }), RangeError);
  assert.equal(timestamps.asked, 1);
  const now = await snapshot();
  // What this client has seen needs no question.
  assert.equal(timestamps.asked, 1);
  const ahead = now.at(future);
  await assert.rejects(clock.run(ahead.get("k")), RangeError);
  await assert.rejects(clock.run(ahead.batchGet(["k"])), RangeError);
  await assert.rejects(clock.run(ahead.scan({}).toArray()), RangeError);
  assert.equal(regions.sent.length, 0);
  await clock.advance(10_000);
  assert.equal(text(await clock.run(ahead.get("k")) ?? bytes("")), "v");
  const asked = timestamps.asked;
  await clock.run(ahead.get("l"));
  const latest = await snapshot({ ts: "latest" });
  await clock.run(latest.get("k"));
  assert.equal(timestamps.asked, asked);
});

test("[TXN-010] [ORA-009] one timestamp tells all that read at a moment which is new to the client", async () => {
  const { snapshot, clock, timestamps } = scene(() => FOUND);
  const one = await snapshot();
  await clock.run(Promise.all(["a", "b", "c"].map((key) => one.get(key))));
  assert.equal(timestamps.asked, 1);
  timestamps.fails = true;
  await assert.rejects(
    snapshot({ ts: timestampOf(START_MS, 2_000n) }),
    (error) => TikvError.is(error) && error.kind === "connection",
  );
});

test("[TXN-154] waits are counted once, however many requests the operation has", async () => {
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") {
      return { ...NOTHING, lockTtl: 40n, commitVersion: 0n, action: Action.NoAction };
    }
    if (round === 1) return { ...NOTHING, error: locked("b"), pairs: [] };
    return round === 3 ? STALE : { ...NOTHING, pairs: [pair("a")] };
  });
  const details = new ReadDetails();
  const one = await snapshot({ details });
  await clock.run(one.scan({}).toArray());
  assert.equal(regions.sent.filter(({ method }) => method === "KvScan").length, 3);
  assert.equal(details.requests.get("KvScan")?.count, 3);
  const [wait, ...others] = [...details.waits.values()];
  assert.deepEqual([wait?.reason, wait?.count, others], ["txnLockFast", 1, []]);
  assert.deepEqual([details.locks, details.requests.has("KvCheckTxnStatus")], [1, false]);
});

test("[TXN-154] what stores measured is added up, and shown in a line", async () => {
  const execDetailsV2Bytes = toBinary(
    ExecDetailsV2Schema,
    create(ExecDetailsV2Schema, {
      scanDetailV2: { processedVersions: 1n, totalVersions: 3n, rocksdbBlockReadCount: 2n },
      timeDetailV2: { processWallTimeNs: 2_000_000n, waitWallTimeNs: 500_000n },
      readPoolTaskDetails: {
        pollCount: 2n,
        totalWallNanos: 3_000_000n,
        totalQueueWaitNanos: 1_000_000n,
        maxQueueWaitNanos: 700_000n,
        pollCpuNanos: 1_500_000n,
      },
    }),
  );
  const { snapshot, clock } = scene(() => ({ ...FOUND, execDetailsV2Bytes }));
  const details = new ReadDetails();
  const one = await snapshot({ details });
  await clock.run(one.get("a"));
  await clock.run(one.get("b"));
  await clock.run(one.get("b"));
  assert.deepEqual([details.scan.processedVersions, details.scan.totalVersions, details.scan.blockReads], [
    2n,
    6n,
    4n,
  ]);
  assert.deepEqual([details.time.processMs, details.time.waitMs], [4, 1]);
  assert.deepEqual(details.pool, { polls: 4, wallMs: 6, queueMs: 2, maxQueueMs: 0.7, cpuMs: 3 });
  assert.equal(
    String(details),
    "requests: 2 KvGet in 0 ms; waits: none; locks: 0 in 0 ms; cache hits: 1; versions: 2 of 6; " +
      "stores: 4 ms after 1 ms",
  );
});

test("[TXN-149] a transaction that is committed later than the read is looked past, not through", async () => {
  const later = { ...COMMITTED, commitVersion: READ_TS + 1n };
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return later;
    return method === "KvGet" && round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
  });
  await clock.run((await snapshot()).get("k"));
  const [, second] = regions.optionsOfAll("KvGet");
  assert.deepEqual([second?.context?.resolvedLocks, second?.context?.committedLocks], [[LOCK_TS], []]);
});

test("[TXN-149] a read that needs the timestamps of commits says so, and reads what the lock was made", async () => {
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    if (method === "KvResolveLock") return NOTHING;
    return round === 1 ? { ...FOUND, error: locked("k") } : { ...FOUND, commitTs: LOCK_TS + 1n };
  });
  const found = await clock.run((await snapshot()).getVersioned("k"));
  assert.equal(found?.commitTs, (LOCK_TS + 1n) as Timestamp);
  const asked = regions.sent.map(({ method }) => method);
  assert.deepEqual(asked, ["KvGet", "KvCheckTxnStatus", "KvResolveLock", "KvGet"]);
  assert.equal((regions.sent[0]?.body as { needCommitTs: boolean }).needCommitTs, true);
});

test("[TXN-155] [TXN-153] [TXN-148] every request of a snapshot says what it is for, and how it is to be read", async () => {
  const { snapshot, clock, regions } = scene(({ method }) =>
    method === "KvGet" ? FOUND : { ...NOTHING, pairs: [pair("a")] }
  );
  const tag = bytes("tag");
  const options = {
    resourceGroup: "analysts",
    resourceGroupTag: tag,
    requestSource: "report",
    priority: "low",
    taskId: 9n,
    fillCache: false,
    isolation: "read-committed",
  } as const;
  const one = await snapshot(options);
  tag.fill(0);
  await clock.run(one.get("k"));
  await clock.run(one.batchGet(["a"]));
  await clock.run(one.scan({}).toArray());
  await clock.run(one.at((READ_TS - 1n) as Timestamp).get("k"));
  const expected = {
    priority: 1,
    isolationLevel: 1,
    notFillCache: true,
    taskId: 9n,
    resourceGroup: "analysts",
    resourceGroupTag: bytes("tag"),
    requestSource: "report",
  };
  assert.deepEqual(regions.sent.map(({ method }) => method), ["KvGet", "KvBatchGet", "KvScan", "KvGet"]);
  for (const { context } of regions.optionsOf) assert.deepEqual({ ...context }, expected);
  // Nothing is said where nothing was asked for: such requests have a context that is kept.
  await clock.run((await snapshot()).get("k"));
  assert.equal(regions.optionsOf.at(-1)?.context, undefined);
});

test("[TXN-155] what a snapshot says of itself is checked", async () => {
  const { snapshot } = scene(() => FOUND);
  for (
    const wrong of [{ resourceGroupTag: "tag" }, { requestSource: 5 }, { resourceGroup: {} }, { taskId: 1 }]
  ) {
    await assert.rejects(snapshot(wrong as object), TypeError);
  }
});

test("[TXN-154] attempts count, those that found the region changed and those that failed included", async () => {
  const { snapshot, clock } = scene(({ method }, round) => {
    if (method === "KvBatchGet") throw new TikvError("connection", "away");
    return round === 1 ? STALE : FOUND;
  });
  const details = new ReadDetails();
  const one = await snapshot({ details });
  await clock.run(one.get("k"));
  await assert.rejects(clock.run(one.batchGet(["a"])), TikvError);
  const counts = [...details.requests].map(([name, { count }]) => [name, count]);
  assert.deepEqual(counts, [["KvGet", 2], ["KvBatchGet", 1]]);
});

test("[TXN-163] the locks of many transactions are taken away side by side", async () => {
  let most = 0;
  const world = scene(async ({ method, operation }) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    most = Math.max(most, world.regions.inFlight);
    await operation.deadline.sleep(10, "take it away");
    return NOTHING;
  });
  const locks = Array.from({ length: 8 }, (_, index) => {
    const { locked: lock } = locked(`k${index}`, { lockVersion: LOCK_TS - BigInt(index) });
    return lock === undefined ? [] : [lock];
  });
  const before = world.clock.now();
  await world.clock.run(
    world.locks.resolve(locks.flat(), { callerTs: 0n, mode: "write" }, world.operation()),
  );
  assert.equal(most, 4);
  assert.equal(world.clock.now() - before, 20);
});

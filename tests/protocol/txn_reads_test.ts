// SPDX-License-Identifier: Apache-2.0
// Reads against stores whose every answer is written by the test.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { KeyErrorSchema } from "../../gen/kvrpcpb_pb.ts";
import { TikvError } from "../../src/errors.ts";
import { STALE } from "../../src/region/send.ts";
import type { Timestamp } from "../../src/types.ts";
import { bytes, text } from "../unit/raw/fake_store.ts";
import { COMMITTED, FOUND, LOCK_TS, locked, NOTHING, pair, READ_TS, scene } from "./txn_scene.ts";

test("[TXN-149] what the resolver found goes along with the next request, for reading through", async () => {
  const { snapshot, regions, clock } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    if (method === "KvGet") return round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
    return NOTHING;
  });
  const one = await snapshot();
  assert.equal(text(await clock.run(one.get("k")) ?? bytes("")), "v");
  const gets = regions.optionsOfAll("KvGet");
  assert.deepEqual(gets.map(({ context }) => context?.committedLocks), [undefined, [LOCK_TS]]);
});

test("[T-49] [T-50] at another moment nothing is known of locks", async () => {
  const { snapshot, regions, clock } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    if (method === "KvGet") return round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
    return NOTHING;
  });
  const one = await snapshot();
  await clock.run(one.get("k"));
  await clock.run(one.at((READ_TS - 100n) as Timestamp).get("k"));
  assert.equal(regions.optionsOfAll("KvGet").at(-1)?.context, undefined);
});

test("[T-51] [TXN-142] an error of the whole answer has every key asked again, one of a pair only that key", async () => {
  const { snapshot, regions, clock } = scene(({ method, body }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    if (method !== "KvBatchGet") return NOTHING;
    const keys = (body as { keys: Uint8Array[] }).keys.map(text);
    if (round === 1) return { ...NOTHING, error: locked("a"), pairs: [pair("a")] };
    const isFirst = keys.length === 3;
    return {
      ...NOTHING,
      pairs: keys.map((key) => pair(key, isFirst && key === "b" ? locked("b") : undefined)),
    };
  });
  const found = await clock.run((await snapshot()).batchGet(["a", "b", "c"]));
  assert.deepEqual([...found.values()].map(text), ["a!", "b!", "c!"]);
  const asked = regions.sent.filter(({ method }) => method === "KvBatchGet")
    .map(({ body }) => (body as { keys: Uint8Array[] }).keys.map(text));
  assert.deepEqual(asked, [["a", "b", "c"], ["a", "b", "c"], ["b"]]);
});

test("[T-54] [TXN-146] an error of a whole page is resolved, and the same page is asked for again", async () => {
  const { snapshot, regions, clock } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    if (method !== "KvScan") return NOTHING;
    return round === 1 ? { ...NOTHING, error: locked("b"), pairs: [pair("a")] } : {
      ...NOTHING,
      pairs: [pair("a"), pair("b")],
    };
  });
  const keys = await clock.run((await snapshot()).scanKeys({ start: "a" }).toArray());
  assert.deepEqual(keys.map(text), ["a", "b"]);
  const starts = regions.sent.filter(({ method }) => method === "KvScan")
    .map(({ body }) => text((body as { startKey: Uint8Array }).startKey));
  assert.deepEqual(starts, ["a", "a"]);
});

test("[TXN-146] a pair that could not be read and is not locked fails the scan", async () => {
  const broken = create(KeyErrorSchema, { abort: "engine is broken" });
  const { snapshot, clock } = scene(() => ({ ...NOTHING, pairs: [pair("a"), pair("b", broken)] }));
  await assert.rejects(
    clock.run((await snapshot()).scan({}).toArray()),
    (error) => TikvError.is(error) && error.kind === "server",
  );
});

test("[T-58] [TXN-145] a value without the timestamp that was asked for is an error, not a value", async () => {
  const { snapshot, clock } = scene(() => FOUND);
  await assert.rejects(
    clock.run((await snapshot()).getVersioned("k")),
    (error) => TikvError.is(error) && error.kind === "unsupported",
  );
});

test("[T-57] [TXN-153] the limit of the first attempt is not that of the try after a lock", async () => {
  const { snapshot, regions, clock } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    return method === "KvGet" && round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
  });
  const one = await snapshot({ firstAttemptTimeoutMs: 50, priority: "high", taskId: 7n, fillCache: false });
  await clock.run(one.get("k"));
  const gets = regions.optionsOfAll("KvGet");
  assert.deepEqual(gets.map(({ firstAttemptTimeoutMs }) => firstAttemptTimeoutMs), [50, undefined]);
  const { priority, taskId, notFillCache } = gets[0]?.context ?? {};
  assert.deepEqual([priority, taskId, notFillCache], [2, 7n, true]);
});

test("[TXN-141] a store that shows the same lock for ever is not asked without end", async () => {
  const { snapshot, regions, clock } = scene(({ method }) =>
    method === "KvGet"
      ? { ...FOUND, error: locked("k") }
      : method === "KvCheckTxnStatus"
      ? COMMITTED
      : NOTHING
  );
  const reading = (await snapshot()).get("k", { timeoutMs: 2_000 });
  const failed = assert.rejects(reading, (error) => TikvError.is(error) && error.kind === "timeout");
  // The first rounds need no time, and more turns than a step of the clock has.
  for (let turn = 0; turn < 20; turn++) await clock.advance(0);
  await clock.run(failed);
  assert.ok(regions.sent.length < 100, String(regions.sent.length));
});

test("[TXN-160] a lock that is not pessimistic and whose primary is another key is a protocol error", async () => {
  const mismatch = create(KeyErrorSchema, { primaryMismatch: {} });
  const { snapshot, clock } = scene(({ method }) =>
    method === "KvGet" ? { ...FOUND, error: locked("k") } : { ...COMMITTED, error: mismatch }
  );
  await assert.rejects(
    clock.run((await snapshot()).get("k")),
    (error) => TikvError.is(error) && error.kind === "protocol",
  );
});

test("[TXN-163] the region of a primary may move while it is asked", async () => {
  let isMoved = false;
  const { snapshot, clock, regions } = scene(({ method }, round) => {
    if (method === "KvGet") return round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
    if (method !== "KvCheckTxnStatus") return NOTHING;
    if (isMoved) return COMMITTED;
    isMoved = true;
    return STALE;
  });
  await clock.run((await snapshot()).get("k"));
  assert.equal(regions.sent.filter(({ method }) => method === "KvCheckTxnStatus").length, 2);
});

test("[T-31] [TXN-164] locks that cannot be cleaned up behind a reader are a warning, not its error", async () => {
  const failed = { ...NOTHING, error: create(KeyErrorSchema, { abort: "no" }) };
  const { snapshot, clock, events } = scene(({ method }, round) => {
    if (method === "KvResolveLock") return failed;
    if (method === "KvCheckTxnStatus") return COMMITTED;
    return round === 1 ? { ...FOUND, error: locked("k") } : FOUND;
  });
  await clock.run((await snapshot()).get("k"));
  await clock.advance(0);
  assert.equal(events.filter(({ type }) => type === "warning").length, 1);
});

test("[TXN-007] [ORA-006] locks are judged by an older timestamp while PD does not answer", async () => {
  const { snapshot, clock, timestamps, events } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    return method === "KvGet" && round % 4 === 1 ? { ...FOUND, error: locked("k") } : FOUND;
  });
  const one = await snapshot({ cacheBytes: 0 });
  await clock.run(one.get("k"));
  assert.equal(timestamps.asked, 1);
  await clock.advance(1_000);
  timestamps.fails = true;
  await clock.run((await snapshot({ cacheBytes: 0 })).get("k"));
  assert.ok(!events.some((event) => event.type === "warning" && /background/.test(event.message)));
});

test("[TXN-012] the safe point is read once for many reads, again when it is old, and waited for when too old", async () => {
  const { snapshot, clock, safePoint } = scene(() => FOUND);
  const one = await snapshot({ cacheBytes: 0 });
  await clock.run(Promise.all([one.get("a"), one.get("b"), one.get("c")]));
  assert.equal(safePoint.asked, 1);
  await clock.advance(9_000);
  await clock.run(one.get("a"));
  assert.equal(safePoint.asked, 1);
  await clock.advance(2_000);
  safePoint.fails = true;
  // Old, but good enough: the read does not wait for PD, nor fail with it.
  await clock.run(one.get("a"));
  assert.equal(safePoint.asked, 2);
  await clock.advance(90_000);
  await assert.rejects(
    clock.run(one.get("a")),
    (error) => TikvError.is(error) && error.kind === "connection",
  );
  safePoint.fails = false;
  safePoint.ts = READ_TS + 1n;
  await assert.rejects(
    clock.run(one.get("a")),
    (error) => TikvError.is(error) && error.kind === "snapshot-too-old",
  );
  const latest = await snapshot({ ts: "latest" });
  assert.equal(text(await clock.run(latest.get("a")) ?? bytes("")), "v");
});

test("[TXN-147] [TXN-146] keys only, samples and page sizes reach the store; a reverse scan names its upper bound", async () => {
  const { snapshot, regions, clock } = scene(() => ({ ...NOTHING, pairs: [] }), { maxKeyBytes: 4 });
  const one = await snapshot();
  await clock.run(one.scanKeys({ start: "a", end: "c" }, { sampleStep: 10, batchSize: 7 }).toArray());
  await clock.run(one.scan({}, { reverse: true }).toArray());
  const [first, second] = regions.sent.map(({ body }) => body as Record<string, unknown>);
  assert.deepEqual([first?.["keyOnly"], first?.["sampleStep"], first?.["limit"]], [true, 10, 7]);
  assert.deepEqual(second?.["startKey"], new Uint8Array(5).fill(0xff));
  assert.deepEqual([second?.["reverse"], second?.["version"]], [true, READ_TS]);
});

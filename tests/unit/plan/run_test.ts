// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Operation } from "../../../src/async/operation.ts";
import { TikvError } from "../../../src/errors.ts";
import { runParts } from "../../../src/plan/run.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { operationOn, untilAborted } from "./fake_regions.ts";

test("[RAW-021] runParts() works on all parts, never on more than the concurrency at a time", async () => {
  let running = 0, most = 0;
  const done: number[] = [];
  await runParts([1, 2, 3, 4, 5, 6, 7], async (part) => {
    most = Math.max(most, ++running);
    await Promise.resolve();
    await Promise.resolve();
    running--;
    done.push(part);
    return undefined;
  }, { operation: operationOn(), concurrency: 3 });
  assert.equal(most, 3);
  assert.deepEqual(done.sort(), [1, 2, 3, 4, 5, 6, 7]);
});

test("runParts() with nothing to do, or one part, needs no account of its own", async () => {
  const operation = operationOn();
  await runParts([], () => assert.fail("there is no part"), { operation, concurrency: 1 });
  const seen: unknown[] = [];
  await runParts(["a"], (part, ofPart) => {
    seen.push(part, ofPart === operation);
    return Promise.resolve(part === "a" ? ["b"] : undefined);
  }, { operation, concurrency: 1 });
  assert.deepEqual(seen, ["a", true, "b", true]);
});

test("[RAW-021] runParts() puts parts in the place of one that fell apart, and does them too", async () => {
  const done: string[] = [];
  await runParts(["a", "b"], (part) => {
    if (part === "a") return Promise.resolve(["a1", "a2"]);
    if (part === "a1") return Promise.resolve(["a1x"]);
    done.push(part);
    return Promise.resolve(undefined);
  }, { operation: operationOn(), concurrency: 2 });
  assert.deepEqual(done.sort(), ["a1x", "a2", "b"]);
});

test("[RAW-021] runParts() ends the rest at the first failure, and waits for what was under way", async () => {
  const failure = new TikvError("server", "no");
  const started: string[] = [];
  let ended = 0;
  const work = async (part: string, operation: Operation): Promise<undefined> => {
    started.push(part);
    if (part === "bad") throw failure;
    try {
      await untilAborted(operation);
    } finally {
      // Later than the rejection, as a transport that takes time to let go.
      await Promise.resolve();
      ended++;
    }
    return undefined;
  };
  const parts = ["slow1", "slow2", "bad", "never"];
  await assert.rejects(runParts(parts, work, { operation: operationOn(), concurrency: 3 }), failure);
  assert.deepEqual(started, ["slow1", "slow2", "bad"]);
  assert.equal(ended, 2);
});

test("runParts() does not blame a failure of one part for what it cut short", async () => {
  const operation = operationOn();
  const work = async (part: string, ofPart: Operation): Promise<undefined> => {
    if (part === "bad") throw new TikvError("unsupported", "no TTL here");
    await untilAborted(ofPart).catch((error) => {
      ofPart.isMaybeExecuted = true;
      throw error;
    });
    return undefined;
  };
  const error = await runParts(["slow", "bad"], work, { operation, concurrency: 2 }).catch((e) =>
    operation.fail(e)
  );
  assert.ok(TikvError.is(error));
  assert.equal(error.kind, "unsupported");
});

test("runParts() is in doubt when any part is in doubt as time runs out", async () => {
  const clock = new ManualClock();
  const operation = operationOn(clock, { timeoutMs: 100 });
  const work = async (part: string, ofPart: Operation): Promise<undefined> => {
    await untilAborted(ofPart).catch((error) => {
      if (part === "written") ofPart.isMaybeExecuted = true;
      throw error;
    });
    return undefined;
  };
  const run = runParts(["read", "written"], work, { operation, concurrency: 2 }).catch((e) =>
    operation.fail(e)
  );
  const error = await clock.run(run);
  assert.ok(TikvError.is(error));
  assert.equal(error.kind, "undetermined");
  assert.equal(clock.pendingTimers, 0);
});

test("runParts() rethrows the caller's own reason and ends every part", async () => {
  const stop = new AbortController();
  const operation = operationOn(new ManualClock(), { signal: stop.signal });
  const reason = new Error("the caller went away");
  let ended = 0;
  const run = runParts([1, 2, 3], async (_, ofPart) => {
    await untilAborted(ofPart).finally(() => ended++);
    return undefined;
  }, { operation, concurrency: 2 });
  stop.abort(reason);
  await assert.rejects(run, reason);
  assert.equal(ended, 2);
});

test("[BO-006] runParts() gives parts their own waits, and charges the longest to the whole", async () => {
  const clock = new ManualClock();
  const operation = operationOn(clock);
  await clock.run(runParts([1, 2, 3], async (part, ofPart) => {
    for (let i = 0; i < part; i++) await ofPart.backoffs.wait("regionMiss", undefined);
    return undefined;
  }, { operation, concurrency: 3 }));
  assert.equal(operation.backoffs.totalWaitMs, 2 + 4 + 8);
  assert.deepEqual(operation.backoffs.causes(), [{ reason: "regionMiss", count: 6, waitedMs: 2 + 6 + 14 }]);
});

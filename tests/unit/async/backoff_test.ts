// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { BackoffKind, BackoffName, BackoffWait } from "../../../src/async/backoff.ts";
import { BACKOFF_KINDS, Backoffs, nextWaitMs } from "../../../src/async/backoff.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { TikvError, TimeoutError } from "../../../src/errors.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

const NEVER = { timeoutMs: Infinity };

interface Setup {
  readonly clock: ManualClock;
  readonly waits: BackoffWait[];
  readonly deadline: Deadline;
  readonly backoffs: Backoffs;
}

function setup({ timeoutMs = Infinity, budgetMs, signal }: {
  timeoutMs?: number;
  budgetMs?: number;
  signal?: AbortSignal;
} = {}): Setup {
  const clock = new ManualClock();
  const waits: BackoffWait[] = [];
  const deadline = Deadline.after(clock, timeoutMs, signal);
  const options = {
    deadline,
    random: new SeededRandom(1),
    budgetMs,
    onWait: (wait: BackoffWait) => waits.push(wait),
  };
  return { clock, waits, deadline, backoffs: new Backoffs(options) };
}

async function failure(clock: ManualClock, promise: Promise<unknown>): Promise<TikvError> {
  const error: unknown = await clock.run(promise.then(() => undefined, (error) => error));
  assert.ok(TikvError.is(error), `expected a TikvError, got ${error}`);
  return error;
}

test("[BO-010] [TXN-014] the curves are those of client-go", () => {
  const rows: Record<BackoffName, readonly [number, number, string]> = {
    tikvRPC: [100, 2000, "equal"],
    txnLock: [100, 3000, "equal"],
    txnLockFast: [10, 3000, "equal"],
    pdRPC: [500, 3000, "equal"],
    regionMiss: [2, 500, "none"],
    regionScheduling: [2, 500, "none"],
    tikvServerBusy: [2000, 10000, "equal"],
    tikvDiskFull: [500, 5000, "none"],
    regionRecoveryInProgress: [100, 10000, "equal"],
    txnNotFound: [2, 500, "none"],
    staleCommand: [2, 1000, "none"],
    maxTsNotSynced: [2, 500, "none"],
    commitTSLag: [2, 500, "none"],
    regionNotInitialized: [2, 1000, "none"],
    isWitness: [1000, 10000, "equal"],
  };
  const seen = Object.entries(BACKOFF_KINDS).map((
    [name, { baseMs, capMs, jitter }],
  ) => [name, [baseMs, capMs, jitter]]);
  assert.deepEqual(Object.fromEntries(seen), rows);
});

const curve = (jitter: BackoffKind["jitter"], baseMs = 100, capMs = 1000): BackoffKind => ({
  baseMs,
  capMs,
  jitter,
  exhausted: "timeout",
});

test("[BO-002] without jitter the wait doubles up to the cap, from 2 ms at least", () => {
  const random = new SeededRandom(1);
  const waits = [0, 1, 2, 3, 4, 5, 1000].map((attempts) =>
    nextWaitMs(curve("none", 1, 50), { attempts, lastMs: 0, random })
  );
  assert.deepEqual(waits, [2, 4, 8, 16, 32, 50, 50]);
});

test("[BO-002] jitter stays within its bounds and reaches most of them", () => {
  const random = new SeededRandom(7);
  const bounds = { equal: [200, 400], full: [0, 400], decorrelated: [100, 900] } as const;
  for (const jitter of ["equal", "full", "decorrelated"] as const) {
    const [low, high] = bounds[jitter];
    const waits = Array.from(
      { length: 2000 },
      () => nextWaitMs(curve(jitter), { attempts: 2, lastMs: 300, random }),
    );
    assert.ok(waits.every((wait) => wait >= low && wait < high), jitter);
    assert.ok(Math.min(...waits) < low + 10 && Math.max(...waits) > high - 10, jitter);
  }
  const capped = nextWaitMs(curve("decorrelated"), {
    attempts: 9,
    lastMs: 1e6,
    random: { next: () => 0.99 },
  });
  assert.equal(capped, 1000);
});

test("[BO-002] each reason has its own curve", async () => {
  const { clock, backoffs, waits } = setup(NEVER);
  for (const name of ["regionMiss", "regionMiss", "txnNotFound", "regionMiss"] as const) {
    await clock.run(backoffs.wait(name, new Error()));
  }
  assert.deepEqual(waits.map(({ reason, attempt, waitMs }) => [reason, attempt, waitMs]), [
    ["regionMiss", 1, 2],
    ["regionMiss", 2, 4],
    ["txnNotFound", 1, 2],
    ["regionMiss", 3, 8],
  ]);
  assert.equal(backoffs.totalWaitMs, 16);
});

test("[BO-002] maxMs caps one wait and leaves the curve alone", async () => {
  const { clock, backoffs, waits } = setup(NEVER);
  for (let attempt = 0; attempt < 6; attempt++) {
    await clock.run(backoffs.wait("regionMiss", new Error(), { maxMs: 5 }));
  }
  await clock.run(backoffs.wait("regionMiss", new Error()));
  assert.deepEqual(waits.map(({ waitMs }) => waitMs), [2, 4, 5, 5, 5, 5, 128]);
});

test("[BO-007] a wait is reported with its region and store before it begins", async () => {
  const { clock, backoffs, waits } = setup(NEVER);
  const waiting = backoffs.wait("tikvDiskFull", new Error(), { regionId: 7n, storeId: 3n });
  assert.deepEqual(waits, [{ reason: "tikvDiskFull", attempt: 1, waitMs: 500, regionId: 7n, storeId: 3n }]);
  await clock.run(waiting);
});

test("[BO-003] [BO-001] [TXN-014] a wait that does not fit the budget fails at once, with the cause", async () => {
  // The budget is used as given: client-go's doubles it behind its caller's back (trap 1).
  const { clock, backoffs } = setup({ budgetMs: 14 });
  for (let attempt = 0; attempt < 3; attempt++) await clock.run(backoffs.wait("regionMiss", new Error()));
  assert.equal(backoffs.totalWaitMs, 14);
  const before = clock.now();
  const cause = new Error("why");
  const error = await failure(clock, backoffs.wait("regionMiss", cause));
  assert.equal(error.kind, "region-unavailable");
  assert.equal(error.cause, cause);
  assert.deepEqual(error.context.causes, [{ reason: "regionMiss", count: 3, waitedMs: 14 }]);
  assert.equal(clock.now(), before);
  assert.equal(clock.pendingTimers, 0);
});

test("[BO-003] a wait that does not fit the deadline fails at once", async () => {
  const { clock, backoffs } = setup({ timeoutMs: 400 });
  const error = await failure(clock, backoffs.wait("tikvDiskFull", new Error()));
  assert.equal(error.kind, "server-busy");
  assert.equal(clock.pendingTimers, 0);
});

test("[BO-003] waits for a busy server count like all others", async () => {
  const { clock, backoffs } = setup({ budgetMs: 20_000 });
  const error = await failure(
    clock,
    (async () => {
      for (;;) await backoffs.wait("tikvServerBusy", new Error());
    })(),
  );
  assert.equal(error.kind, "server-busy");
  assert.ok(backoffs.totalWaitMs <= 20_000);
});

test("[BO-003] [TXN-014] the error is that of the reason that took the longest", async () => {
  const { clock, backoffs } = setup({ budgetMs: 600 });
  const disk = new Error("disk");
  await clock.run(backoffs.wait("tikvDiskFull", disk));
  for (let attempt = 0; attempt < 5; attempt++) {
    await clock.run(backoffs.wait("regionMiss", new Error("miss")));
  }
  const error = await failure(clock, backoffs.wait("regionMiss", new Error("miss")));
  assert.equal(error.kind, "server-busy");
  assert.equal(error.cause, disk);
  assert.deepEqual(error.context.causes?.map(({ reason }) => reason), ["tikvDiskFull", "regionMiss"]);
});

test("[BO-006] a budget of 0 means no retry", async () => {
  const { clock, backoffs, waits } = setup({ budgetMs: 0 });
  assert.equal((await failure(clock, backoffs.wait("pdRPC", new Error()))).kind, "connection");
  assert.deepEqual(waits, []);
});

test("an exhausted reason of kind timeout is a TimeoutError", async () => {
  const { clock, backoffs } = setup({ budgetMs: 0 });
  assert.ok(await failure(clock, backoffs.wait("txnLock", new Error())) instanceof TimeoutError);
});

test("[BO-004] an abort ends the wait with its own reason, before and during it", async () => {
  const controller = new AbortController();
  const { clock, backoffs } = setup({ signal: controller.signal });
  const reason = new Error("stop");
  const waiting = backoffs.wait("pdRPC", new Error());
  controller.abort(reason);
  await assert.rejects(waiting, (error) => error === reason);
  await assert.rejects(backoffs.wait("pdRPC", new Error()), (error) => error === reason);
  assert.equal(clock.pendingTimers, 0);
  // A wait that was cut short does not move the curve, and is not reported as one that was held.
  assert.equal(backoffs.totalWaitMs, 0);
  assert.deepEqual(backoffs.causes(), []);
});

test("[BO-005] a fork starts its curves anew within what is left of the budget", async () => {
  const { clock, backoffs, waits } = setup({ budgetMs: 10 });
  for (let attempt = 0; attempt < 2; attempt++) await clock.run(backoffs.wait("regionMiss", new Error()));
  const fork = backoffs.fork();
  await clock.run(fork.wait("regionMiss", new Error()));
  assert.deepEqual(waits.map(({ waitMs }) => waitMs), [2, 4, 2]);
  assert.equal((await failure(clock, fork.wait("regionMiss", new Error()))).kind, "region-unavailable");
  assert.equal(backoffs.totalWaitMs, 6);
  assert.deepEqual(backoffs.causes(), [{ reason: "regionMiss", count: 3, waitedMs: 8 }]);
});

test("[BO-005] merge() adds forks that ran in turn and takes the longest of those side by side", async () => {
  const { clock, backoffs } = setup(NEVER);
  const first = backoffs.fork();
  await clock.run(first.wait("tikvDiskFull", new Error()));
  backoffs.merge(first);
  backoffs.merge(first);
  assert.equal(backoffs.totalWaitMs, 500);
  const [long, short] = [backoffs.fork(), backoffs.fork()];
  await clock.run(Promise.all([
    long.wait("tikvDiskFull", new Error()),
    short.wait("regionMiss", new Error()),
  ]));
  backoffs.merge(long);
  backoffs.merge(short);
  assert.equal(backoffs.totalWaitMs, 1000);
});

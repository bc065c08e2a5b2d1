// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { type ErrorKind, TikvError, TimeoutError, UndeterminedError } from "../../../src/errors.ts";
import { DeadlockError, WriteConflictError } from "../../../src/txn_errors.ts";
import { ManualClock, SeededRandom } from "../../../src/testing/mod.ts";
import { type AttemptPlan, retryReasonOf, type RunOptions, runTransaction } from "../../../src/txn/run.ts";
import type { Timestamp } from "../../../src/types.ts";

const ZERO = 0n as Timestamp;

function conflict(key: string): WriteConflictError {
  const facts = { startTs: ZERO, conflictTs: ZERO, conflictCommitTs: ZERO, reason: "optimistic" } as const;
  return new WriteConflictError("conflict", { key: utf8Encode(key), ...facts });
}

interface OwnOptions extends Partial<RunOptions<number>> {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Scene {
  readonly clock: ManualClock;
  /** The plans of the attempts so far. */
  readonly plans: AttemptPlan[];
  /** What was done to the attempts, in order. */
  readonly steps: string[];
  readonly retries: string[];
  run<T>(body: (attempt: number) => Promise<T> | T, own?: OwnOptions): Promise<T>;
}

function scene(
  { finish = () => {}, isUndone = true }: { finish?: (attempt: number) => void; isUndone?: boolean } = {},
): Scene {
  const clock = new ManualClock();
  const environment = { clock, random: new SeededRandom(7) };
  const [plans, steps, retries]: [AttemptPlan[], string[], string[]] = [[], [], []];
  return {
    clock,
    plans,
    steps,
    retries,
    run<T>(
      body: (attempt: number) => Promise<T> | T,
      { timeoutMs = 10_000, signal, ...own }: OwnOptions = {},
    ): Promise<T> {
      const deadline = Deadline.after(clock, timeoutMs, signal);
      const operation = new Operation("transaction", { deadline, environment });
      return clock.run(runTransaction(body, {
        maxAttempts: 10,
        pessimisticAfter: Infinity,
        isPessimistic: false,
        closing: new AbortController().signal,
        onRetry: (error, attempt, waitMs) => {
          assert.ok(waitMs >= 0 && waitMs <= 1_000);
          retries.push(`${error.kind} after ${attempt}`);
        },
        begin: (plan) => {
          plans.push(plan);
          return Promise.resolve({
            handle: plan.number,
            isUndone,
            prepare: () => Promise.resolve(void steps.push(`prepare ${plan.number}`)),
            finish: () => {
              steps.push(`finish ${plan.number}`);
              finish(plan.number);
              return Promise.resolve();
            },
            abandon: () => Promise.resolve(void steps.push(`abandon ${plan.number}`)),
          });
        },
        ...own,
      }, operation));
    },
  };
}

test("each attempt has a handle of its own; the failed one is ended before the next begins", async () => {
  const { run, steps, retries, plans } = scene();
  const seen: number[] = [];
  const value = await run((attempt) => {
    seen.push(attempt);
    if (attempt < 3) throw conflict("k");
    return `done in ${attempt}`;
  });
  assert.equal(value, "done in 3");
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(plans.map(({ isPessimistic }) => isPessimistic), [false, false, false]);
  assert.deepEqual(retries, ["write-conflict after 1", "write-conflict after 2"]);
  assert.deepEqual(steps, [
    ...["prepare 1", "abandon 1", "prepare 2", "abandon 2", "prepare 3", "finish 3"],
  ]);
});

const KINDS: Readonly<Record<string, boolean>> = {
  "write-conflict": true,
  "deadlock": true,
  "txn-aborted": true,
  "snapshot-too-old": true,
  "lock-wait-timeout": false,
  "key-exists": false,
  "assertion-failed": false,
  "too-large": false,
  "misuse": false,
  "closed": false,
  "timeout": false,
  "connection": false,
  "server-busy": false,
  "undetermined": false,
  "protocol": false,
};

for (const [kind, isRetried] of Object.entries(KINDS)) {
  test(`[TXN-190] an error of kind "${kind}" ${isRetried ? "makes it run again" : "ends it"}`, async () => {
    const { run, plans } = scene();
    const error = new TikvError(kind as ErrorKind, "x");
    const running = run((attempt) => {
      if (attempt === 1) throw error;
      return "second";
    });
    if (isRetried) assert.equal(await running, "second");
    else await assert.rejects(running, (thrown) => thrown === error);
    assert.equal(plans.length, isRetried ? 2 : 1);
  });
}

test("retryReasonOf() finds the first error of the library behind those of the caller", () => {
  const reason = conflict("k");
  const wrapped = new Error("order failed", { cause: new Error("no stock", { cause: reason }) });
  assert.equal(retryReasonOf(wrapped), reason);
  assert.equal(retryReasonOf(new UndeterminedError("lost", { cause: reason })), undefined);
  assert.equal(
    retryReasonOf(new Error("x", { cause: new TimeoutError("late", { cause: reason }) })),
    undefined,
  );
  for (const other of [undefined, null, "conflict", 7, {}, new Error("x")]) {
    assert.equal(retryReasonOf(other), undefined);
  }
  const circle: { cause?: unknown } = {};
  circle.cause = circle;
  assert.equal(retryReasonOf(circle), undefined);
});

test("attempts are the one budget: the last error comes out, and tells how many there were", async () => {
  const { run, plans } = scene();
  const thrown: unknown = await run(() => {
    throw conflict("k");
  }, { maxAttempts: 4 }).catch((error) => error);
  assert.ok(thrown instanceof WriteConflictError);
  assert.equal(thrown.context.transactionAttempts, 4);
  assert.equal(plans.length, 4);
});

test("time is the other budget: no attempt begins that could not end in it", async () => {
  const { run, clock, plans } = scene();
  const begin = clock.now();
  const thrown: unknown = await run(() => {
    throw conflict("k");
  }, { maxAttempts: Infinity, timeoutMs: 3_000 }).catch((error) => error);
  assert.ok(thrown instanceof TimeoutError);
  assert.ok(thrown.cause instanceof WriteConflictError);
  assert.equal(thrown.context.transactionAttempts, plans.length);
  assert.ok(plans.length > 4);
  assert.ok(clock.now() - begin <= 3_000);
  assert.equal(clock.pendingTimers, 0);
});

test("[TXN-013] the signal is the third: while the body runs, and in the wait between attempts", async () => {
  const reason = new Error("the caller went away");
  const never = scene();
  const whileRunning = new AbortController();
  await assert.rejects(
    never.run((): Promise<void> => {
      queueMicrotask(() => whileRunning.abort(reason));
      return new Promise(() => {});
    }, { signal: whileRunning.signal }),
    (error) => error === reason,
  );
  assert.deepEqual(never.steps, ["prepare 1", "abandon 1"]);

  const between = scene();
  const inTheWait = new AbortController();
  const running = between.run(() => {
    throw conflict("k");
  }, { signal: inTheWait.signal, onRetry: () => queueMicrotask(() => inTheWait.abort(reason)) });
  await assert.rejects(running, (error) => error === reason);
  assert.equal(between.plans.length, 1);
  assert.equal(between.clock.pendingTimers, 0);
});

test("waits between attempts are random and grow, so that those who met do not meet again", async () => {
  const waits: number[] = [];
  const { run } = scene();
  await run(() => {
    throw conflict("k");
  }, {
    maxAttempts: 30,
    timeoutMs: 1_000_000,
    onRetry: (_, __, waitMs) => void waits.push(waitMs),
  }).catch(() => {});
  assert.equal(new Set(waits).size, 29);
  assert.ok(Math.max(...waits.slice(0, 3)) <= 80);
  assert.ok(Math.max(...waits.slice(10)) > 500);
});

test("after k conflicts it is pessimistic, and gets the keys that others were faster with", async () => {
  const { run, plans } = scene();
  const errors = [
    conflict("a"),
    new TikvError("txn-aborted", "x"),
    new DeadlockError("x", {
      key: utf8Encode("b"),
      lockTs: ZERO,
      deadlockKey: utf8Encode("c"),
      deadlockKeyHash: 0n,
      waitChain: [],
    }),
    conflict("a"),
  ];
  await run((attempt) => {
    const error = errors[attempt - 1];
    if (error !== undefined) throw error;
  }, { pessimisticAfter: 2 });
  assert.deepEqual(
    plans.map(({ isPessimistic, contested }) => [isPessimistic, contested.map((key) => utf8Decode(key))]),
    [[false, []], [false, []], [false, []], [true, ["a", "b", "c"]], [true, ["a", "b", "c"]]],
  );
});

test("a body that was asked to be pessimistic stays so, without locks ahead", async () => {
  const { run, plans } = scene();
  await run((attempt) => {
    if (attempt === 1) throw conflict("a");
  }, { isPessimistic: true });
  assert.deepEqual(plans.map(({ isPessimistic, contested }) => [isPessimistic, contested.length]), [
    [true, 0],
    [true, 0],
  ]);
});

test("[T-01] after an undetermined commit the body is never run again, whatever led to it", async () => {
  const lost = new UndeterminedError("lost", { cause: conflict("k") });
  const { run, plans } = scene({
    finish: () => {
      throw lost;
    },
  });
  await assert.rejects(run(() => "x"), (error) => error === lost);
  assert.equal(plans.length, 1);
});

test("[T-01] a body that has committed by itself is never run again, also after a conflict elsewhere", async () => {
  const { run, plans } = scene({ isUndone: false });
  const error = conflict("k");
  await assert.rejects(
    run(() => {
      throw error;
    }),
    (thrown) => thrown === error,
  );
  assert.equal(plans.length, 1);
});

for (const thrown of [undefined, null, 0, "", "text", 7n, Symbol("s"), {}, false]) {
  test(`a body that throws ${String(thrown)} of type ${typeof thrown} has just that thrown`, async () => {
    const { run, steps } = scene();
    const outcome = await run(() => {
      throw thrown;
    }).then(() => ["value"], (error: unknown) => ["error", error]);
    assert.deepEqual(outcome, ["error", thrown]);
    assert.deepEqual(steps, ["prepare 1", "abandon 1"]);
  });
}

test("a body that returns undefined, or nothing at once, is committed", async () => {
  for (const body of [() => undefined, async () => {}]) {
    const { run, steps } = scene();
    assert.equal(await run(body), undefined);
    assert.deepEqual(steps, ["prepare 1", "finish 1"]);
  }
});

test("an attempt whose preparation fails is ended, and another one is made", async () => {
  const { run, plans, steps } = scene();
  let prepared = 0;
  const value = await run((attempt) => attempt, {
    begin: (plan) => {
      plans.push(plan);
      return Promise.resolve({
        handle: plan.number,
        isUndone: true,
        prepare: () => ++prepared === 1 ? Promise.reject(conflict("k")) : Promise.resolve(),
        finish: () => Promise.resolve(),
        abandon: () => Promise.resolve(void steps.push(`abandon ${plan.number}`)),
      });
    },
  });
  assert.equal(value, 2);
  assert.deepEqual(steps, ["abandon 1"]);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import type { RetryEvent } from "../../../src/async/operation.ts";
import { Operation } from "../../../src/async/operation.ts";
import { type ErrorKind, TikvError, TimeoutError, UndeterminedError } from "../../../src/errors.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

interface Setup {
  readonly clock: ManualClock;
  readonly events: RetryEvent[];
  readonly operation: Operation;
}

function setup(signal?: AbortSignal): Setup {
  const clock = new ManualClock();
  const events: RetryEvent[] = [];
  const operation = new Operation("raw.put", {
    deadline: Deadline.after(clock, 10_000, signal),
    environment: { clock, random: new SeededRandom(1) },
    observer: (event) => events.push(event),
  });
  return { clock, events, operation };
}

test("fail() adds what is known of the operation, and keeps what the error knew", async () => {
  const { clock, operation } = setup();
  operation.attempts = 3;
  await clock.run(operation.backoffs.wait("regionMiss", new Error()));
  const error = new TikvError("server", "no", { context: { method: "RawPut", attempts: 1 } });
  assert.equal(operation.fail(error), error);
  assert.deepEqual(error.context, {
    operation: "raw.put",
    method: "RawPut",
    attempts: 1,
    elapsedMs: 2,
    causes: [{ reason: "regionMiss", count: 1, waitedMs: 2 }],
  });
});

test("fail() leaves errors that are not ours alone", () => {
  const { operation } = setup();
  operation.isMaybeExecuted = true;
  const error = new TypeError("x");
  assert.equal(operation.fail(error), error);
});

test("fail() makes a lost answer to a write undetermined, whatever failed after it", () => {
  const kinds: ErrorKind[] = [
    "timeout",
    "connection",
    "region-unavailable",
    "server-busy",
    "server",
    "closed",
  ];
  for (const kind of kinds) {
    const { operation } = setup();
    operation.attempts = 2;
    operation.isMaybeExecuted = true;
    const cause = kind === "timeout" ? new TimeoutError("late") : new TikvError(kind, "no");
    const error = operation.fail(cause);
    assert.ok(error instanceof UndeterminedError, kind);
    assert.equal(error.cause, cause);
    assert.equal(error.context.attempts, 2);
  }
});

test("fail() keeps answers that settle a transaction, and an error that is undetermined already", () => {
  for (const kind of ["write-conflict", "key-exists", "deadlock", "assertion-failed"] as const) {
    const { operation } = setup();
    operation.isMaybeExecuted = true;
    const error = new TikvError(kind, "no");
    assert.equal(operation.fail(error), error);
  }
  const { operation } = setup();
  operation.isMaybeExecuted = true;
  const error = new UndeterminedError("no");
  assert.equal(operation.fail(error), error);
});

test("[BO-004] fail() gives the caller's abort back as it is, unless a write may have happened", () => {
  const controller = new AbortController();
  const { operation } = setup(controller.signal);
  const reason = new Error("stop");
  controller.abort(reason);
  assert.equal(operation.fail(reason), reason);
  operation.isMaybeExecuted = true;
  const error = operation.fail(reason);
  assert.ok(error instanceof UndeterminedError);
  assert.equal(error.cause, reason);
});

test("attempts and doubts of parts count for the whole; an answer to one part clears that part only", () => {
  const { operation } = setup();
  const [first, second] = [operation.fork(), operation.fork()];
  first.attempts++;
  second.attempts += 2;
  second.fork().attempts++;
  assert.equal(operation.attempts, 4);
  first.isMaybeExecuted = false;
  assert.equal(operation.isMaybeExecuted, false);
  first.isMaybeExecuted = true;
  assert.deepEqual([operation.isMaybeExecuted, second.isMaybeExecuted], [true, false]);
  first.isMaybeExecuted = false;
  assert.deepEqual([first.isMaybeExecuted, operation.isMaybeExecuted], [false, true]);
});

test("[BO-005] parts have their own curves, their waits show in the whole and join() charges them", async () => {
  const { clock, events, operation } = setup();
  const part = operation.fork();
  await clock.run(operation.backoffs.wait("regionMiss", new Error()));
  await clock.run(part.backoffs.wait("regionMiss", new Error(), { regionId: 9n }));
  assert.deepEqual(
    events.map((
      { type, operation, attempt, waitMs, regionId },
    ) => [type, operation, attempt, waitMs, regionId]),
    [
      ["retry", "raw.put", 1, 2, undefined],
      ["retry", "raw.put", 1, 2, 9n],
    ],
  );
  assert.deepEqual(operation.backoffs.causes(), [{ reason: "regionMiss", count: 2, waitedMs: 4 }]);
  operation.join(part);
  assert.equal(operation.backoffs.totalWaitMs, 4);
});

test("a part can end earlier and keep its doubts to itself", () => {
  const { clock, operation } = setup();
  const deadline = operation.deadline.within(5);
  const part = operation.fork({ deadline, keepsDoubt: true });
  part.isMaybeExecuted = true;
  assert.equal(operation.isMaybeExecuted, false);
  assert.equal(part.deadline.at, clock.now() + 5);
});

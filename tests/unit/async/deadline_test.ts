// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { TimeoutError } from "../../../src/errors.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";

test("within() only makes a deadline earlier and keeps its start", async () => {
  const clock = new ManualClock();
  const deadline = Deadline.after(clock, 100);
  await clock.advance(10);
  assert.equal(deadline.within(500), deadline);
  const inner = deadline.within(20);
  assert.deepEqual([inner.remainingMs(), inner.elapsedMs()], [20, 10]);
});

test("race() settles as the promise does and leaves nothing behind", async () => {
  const clock = new ManualClock();
  const { signal } = new AbortController();
  assert.equal(await Deadline.after(clock, 5, signal).race(Promise.resolve(7), "wait"), 7);
  await assert.rejects(
    Deadline.after(clock, 5, signal).race(Promise.reject(new RangeError()), "wait"),
    RangeError,
  );
  assert.equal(clock.pendingTimers, 0);
});

test("race() ends with a timeout that says what was not done", async () => {
  const clock = new ManualClock();
  const racing = Deadline.after(clock, 5).race(new Promise(() => {}), "load the region");
  await assert.rejects(clock.run(racing), (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.deepEqual(error.context, { elapsedMs: 5 });
    return error.message.startsWith("Cannot load the region: ");
  });
});

test("an abort ends with the signal's own reason, before and during", async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const deadline = Deadline.after(clock, 50, controller.signal);
  const waits = [deadline.race(new Promise(() => {}), "wait"), deadline.sleep(10, "wait")];
  const reason = new Error("stop");
  controller.abort(reason);
  waits.push(deadline.race(new Promise(() => {}), "wait"), deadline.sleep(10, "wait"));
  for (const wait of waits) await assert.rejects(wait, (error) => error === reason);
  assert.throws(() => deadline.throwIfOver("wait"), (error) => error === reason);
  assert.deepEqual([clock.pendingTimers, deadline.isOver(), deadline.isAborted], [0, true, true]);
});

test("withSignal() ends at either of two signals", async () => {
  const clock = new ManualClock();
  for (const which of [0, 1]) {
    const controllers = [new AbortController(), new AbortController()] as const;
    const deadline = new Deadline(clock, Infinity, controllers[0].signal).withSignal(controllers[1].signal);
    const wait = deadline.race(new Promise(() => {}), "wait");
    controllers[which === 0 ? 0 : 1].abort(which);
    await assert.rejects(wait, (error) => error === which);
  }
});

test("sleep() resolves after its time, or ends at the deadline if that comes first", async () => {
  const clock = new ManualClock();
  const start = clock.now();
  await clock.run(Deadline.after(clock, 100).sleep(30, "wait"));
  assert.equal(clock.now() - start, 30);
  await assert.rejects(clock.run(Deadline.after(clock, 10).sleep(30, "wait")), TimeoutError);
  assert.deepEqual([clock.now() - start, clock.pendingTimers], [40, 0]);
});

test("a deadline that never passes needs no timer", async () => {
  const clock = new ManualClock();
  const never = Deadline.never(clock);
  const promise = Promise.resolve(1);
  assert.equal(never.race(promise, "wait"), promise);
  never.onOver("wait", () => assert.fail("it is over"))();
  assert.deepEqual([clock.pendingTimers, never.remainingMs(), never.isOver()], [0, Infinity, false]);
  await promise;
});

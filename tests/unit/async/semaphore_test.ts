// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { Semaphore } from "../../../src/async/semaphore.ts";
import { TimeoutError } from "../../../src/errors.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";

const clock = new ManualClock();
const never = Deadline.never(clock);

test("acquire() lets in as many as there are permits, the others in order", async () => {
  const semaphore = new Semaphore(2);
  const entered: number[] = [];
  const permits = [0, 1, 2, 3].map(async (index) => {
    const permit = await semaphore.acquire(never, "enter");
    entered.push(index);
    return permit;
  });
  const first = await (permits[0] as (typeof permits)[0]);
  await permits[1];
  assert.deepEqual([entered, semaphore.free, semaphore.waiting], [[0, 1], 0, 2]);
  first.release();
  await permits[2];
  // Released twice, a permit must not let two in.
  first.release();
  assert.deepEqual([entered, semaphore.free, semaphore.waiting], [[0, 1, 2], 0, 1]);
  (await (permits[1] as (typeof permits)[0]))[Symbol.dispose]();
  await permits[3];
  assert.deepEqual(entered, [0, 1, 2, 3]);
});

test("a waiter that runs out of time leaves the queue, with its timer", async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.acquire(never, "enter");
  const late = assert.rejects(semaphore.acquire(Deadline.after(clock, 10), "enter"), TimeoutError);
  const next = semaphore.acquire(never, "enter");
  await clock.advance(10);
  await late;
  assert.deepEqual([semaphore.waiting, clock.pendingTimers], [1, 0]);
  held.release();
  (await next).release();
  assert.equal(semaphore.free, 1);
});

test("a waiter that is let in leaves no timer and no listener", async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.acquire(never, "enter");
  const waiting = semaphore.acquire(Deadline.after(clock, 10, new AbortController().signal), "enter");
  held.release();
  await waiting;
  assert.equal(clock.pendingTimers, 0);
});

test("an aborted caller gets its own reason, even when a permit is free", async () => {
  const reason = new Error("stop");
  const deadline = new Deadline(clock, Infinity, AbortSignal.abort(reason));
  const semaphore = new Semaphore(1);
  await assert.rejects(semaphore.acquire(deadline, "enter"), (error) => error === reason);
  assert.equal(semaphore.free, 1);
});

test("tryAcquire() never waits", () => {
  const semaphore = new Semaphore(1);
  const permit = semaphore.tryAcquire();
  assert.notEqual(permit, undefined);
  assert.equal(semaphore.tryAcquire(), undefined);
  permit?.release();
  assert.notEqual(semaphore.tryAcquire(), undefined);
});

test("close() rejects who waits and who comes later", async () => {
  const semaphore = new Semaphore(1);
  await semaphore.acquire(never, "enter");
  const waiting = semaphore.acquire(Deadline.after(clock, 10), "enter");
  const reason = new Error("closed");
  semaphore.close(reason);
  await assert.rejects(waiting, (error) => error === reason);
  await assert.rejects(semaphore.acquire(never, "enter"), (error) => error === reason);
  assert.equal(semaphore.tryAcquire(), undefined);
  assert.equal(clock.pendingTimers, 0);
});

test("a semaphore without permits is refused", () => {
  assert.throws(() => new Semaphore(0), RangeError);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Background } from "../../../src/async/background.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";

interface Setup {
  readonly clock: ManualClock;
  readonly errors: unknown[];
  readonly background: Background;
}

function setup(): Setup {
  const clock = new ManualClock();
  const errors: unknown[] = [];
  const background = new Background((name, error) => errors.push([name, error]));
  return { clock, errors, background };
}

test("close() waits for what runs and takes no more", async () => {
  const { clock, background, errors } = setup();
  let finish = () => {};
  let ended = false;
  background.start("commit secondaries", async (signal) => {
    await new Promise<void>((resolve) => finish = resolve);
    ended = !signal.aborted;
  });
  assert.equal(background.size, 1);
  const closing = background.close(Deadline.after(clock, 1000));
  assert.equal(background.start("late", () => Promise.resolve()), false);
  finish();
  await closing;
  assert.deepEqual([ended, background.size, errors, clock.pendingTimers], [true, 0, [], 0]);
  await background.close(Deadline.after(clock, 1000));
});

test("close() ends what runs when its time is up", async () => {
  const { clock, background, errors } = setup();
  const reasons: unknown[] = [];
  background.start("heartbeat", async (signal) => {
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    reasons.push("ended");
    throw new Error("because I was ended");
  });
  await clock.run(background.close(Deadline.after(clock, 1000)));
  assert.deepEqual([reasons, errors, background.size], [["ended"], [], 0]);
});

test("an error of the work is reported with its name", async () => {
  const { background, errors } = setup();
  const error = new Error("no");
  background.start("resolve", () => Promise.reject(error));
  while (background.size > 0) await Promise.resolve();
  background.start("throw", () => {
    throw error;
  });
  while (background.size > 0) await Promise.resolve();
  assert.deepEqual(errors, [["resolve", error], ["throw", error]]);
});

test("abort() ends everything at once", () => {
  const { background } = setup();
  background.abort();
  assert.deepEqual([background.signal.aborted, background.start("x", () => Promise.resolve())], [
    true,
    false,
  ]);
});

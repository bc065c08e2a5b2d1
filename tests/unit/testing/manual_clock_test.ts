// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../src/testing/mod.ts";

/** Goes on for many turns of the microtask queue, and then notes that it is done. */
async function chain(log: string[], name: string): Promise<void> {
  for (let turn = 0; turn < 1_000; turn++) await undefined;
  log.push(name);
}

test("advance() lets chains of promises of any length settle between two timers", async () => {
  const clock = new ManualClock(0);
  const log: string[] = [];
  for (const ms of [1, 2]) {
    clock.timer(ms, () => {
      log.push(`timer ${ms}`);
      void chain(log, `chain ${ms}`);
    });
  }
  await clock.advance(2);
  assert.deepEqual(log, ["timer 1", "chain 1", "timer 2", "chain 2"]);
});

test("run() lets a chain of promises settle before it moves on", async () => {
  const clock = new ManualClock(0);
  const log: string[] = [];
  clock.timer(5, () => log.push("timer"));
  await clock.run(chain(log, "chain"));
  assert.deepEqual([log, clock.now()], [["chain"], 0]);
});

test("run() gives up when the time is over, or when nothing is left to wait for", async () => {
  const clock = new ManualClock(0);
  const never = new Promise<never>(() => {});
  await assert.rejects(clock.run(never), /no timer is left/);
  clock.timer(11, () => {});
  await assert.rejects(clock.run(never, 10), /pending after 10 ms/);
  assert.equal(clock.now(), 0);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { SingleFlight } from "../../../src/async/single_flight.ts";
import { TimeoutError } from "../../../src/errors.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";

const clock = new ManualClock();
const never = Deadline.never(clock);

interface Started {
  readonly signal: AbortSignal;
  resolve(value: number): void;
  reject(error: unknown): void;
}

interface Setup {
  readonly flights: SingleFlight<string, number>;
  readonly started: Started[];
  readonly startedAt: (index: number) => Started;
  readonly run: (key: string, deadline?: Deadline) => Promise<number>;
}

function setup(): Setup {
  const flights = new SingleFlight<string, number>();
  const started: Started[] = [];
  const run = (key: string, deadline = never): Promise<number> =>
    flights.run(key, {
      deadline,
      what: "load",
      run: (signal) => new Promise((resolve, reject) => started.push({ signal, resolve, reject })),
    });
  const startedAt = (index: number): Started =>
    started[index] ?? assert.fail(`task ${index} was not started`);
  return { flights, started, startedAt, run };
}

test("run() joins the task of the same key, and starts one for another", async () => {
  const { flights, started, startedAt, run } = setup();
  const calls = [run("a"), run("a"), run("b")];
  assert.deepEqual([started.length, flights.size], [2, 2]);
  startedAt(0).resolve(1);
  startedAt(1).resolve(2);
  assert.deepEqual(await Promise.all(calls), [1, 1, 2]);
  assert.equal(flights.size, 0);
  void run("a");
  assert.equal(started.length, 3);
});

test("an error reaches all who wait, and nobody who comes later", async () => {
  const { startedAt, run } = setup();
  const calls = [run("a"), run("a")];
  const error = new Error("no");
  startedAt(0).reject(error);
  for (const call of calls) await assert.rejects(call, (seen) => seen === error);
  const again = run("a");
  startedAt(1).resolve(7);
  assert.equal(await again, 7);
});

test("one waiter that leaves takes nothing away from the others", async () => {
  const { startedAt, run } = setup();
  const controller = new AbortController();
  const impatient = run("a", new Deadline(clock, Infinity, controller.signal));
  const short = assert.rejects(run("a", Deadline.after(clock, 5)), TimeoutError);
  const patient = run("a");
  const reason = new Error("stop");
  controller.abort(reason);
  await assert.rejects(impatient, (error) => error === reason);
  await clock.advance(5);
  await short;
  assert.equal(startedAt(0).signal.aborted, false);
  startedAt(0).resolve(3);
  assert.equal(await patient, 3);
  assert.equal(clock.pendingTimers, 0);
});

test("the last waiter that leaves ends the task, and the next one starts anew", async () => {
  const { started, startedAt, run } = setup();
  const only = assert.rejects(run("a", Deadline.after(clock, 5)), TimeoutError);
  await clock.advance(5);
  await only;
  assert.equal(startedAt(0).signal.aborted, true);
  const next = run("a");
  assert.equal(started.length, 2);
  // What the dying task still says is heard by nobody.
  startedAt(0).reject(new Error("aborted"));
  startedAt(1).resolve(4);
  assert.equal(await next, 4);
});

test("a task that ended is not aborted", async () => {
  const { startedAt, run } = setup();
  const call = run("a");
  startedAt(0).resolve(1);
  await call;
  assert.equal(startedAt(0).signal.aborted, false);
});

test("a caller whose time is up starts nothing", async () => {
  const { started, run } = setup();
  await assert.rejects(run("a", Deadline.after(clock, 0)), TimeoutError);
  assert.equal(started.length, 0);
});

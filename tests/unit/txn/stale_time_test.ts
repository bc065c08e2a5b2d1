// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Background } from "../../../src/async/background.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { TikvError } from "../../../src/errors.ts";
import type { ClientEvent } from "../../../src/observe/events.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { LockClock } from "../../../src/txn/locks/lock_clock.ts";
import { SafeTs, type SafeTsStore } from "../../../src/txn/snapshot/safe_ts.ts";
import { StaleTime } from "../../../src/txn/snapshot/stale_time.ts";
import { logicalOf, physicalMsOf, type Timestamp, timestampOf } from "../../../src/types.ts";

const NONE: ReadonlyMap<string, string> = new Map();

/** PD and stores by script, on one clock that starts at a million. */
class Scene {
  readonly clock = new ManualClock(1_000_000);
  readonly events: ClientEvent[] = [];
  readonly background = new Background(() => {});
  readonly environment = { clock: this.clock, random: new SeededRandom(1) };
  readonly observe = (event: ClientEvent): void => void this.events.push(event);
  /** How often PD was asked. */
  asked = 0;
  pdFails = false;
  pdDelayMs = 0;
  stores: SafeTsStore[] = [store(1n), store(2n), store(3n)];
  storeCalls: bigint[] = [];
  answer: (id: bigint) => bigint | Promise<bigint> = () => 0n;

  readonly lockClock = new LockClock({
    timestamp: async () => {
      this.asked++;
      const ts = timestampOf(BigInt(this.clock.now()), 7n);
      const delayMs = this.pdDelayMs;
      if (delayMs > 0) await new Promise<void>((resolve) => this.clock.timer(delayMs, resolve));
      if (this.pdFails) throw new TikvError("connection", "PD is away");
      return ts;
    },
  }, this.observe);
  readonly safeTs = new SafeTs({
    stores: () => Promise.resolve(this.stores),
    ask: async ({ id }) => {
      this.storeCalls.push(id);
      return await this.answer(id);
    },
    background: this.background,
    environment: this.environment,
    observe: this.observe,
  });
  readonly time = new StaleTime({
    clock: this.lockClock,
    safeTs: this.safeTs,
    background: this.background,
    environment: this.environment,
    observe: this.observe,
  });

  operation(timeoutMs = 20_000): Operation {
    const deadline = Deadline.after(this.clock, timeoutMs);
    return new Operation("test", { deadline, environment: this.environment, observer: this.observe });
  }

  ago(ms: number): Promise<Timestamp> {
    return this.clock.run(this.time.ago(ms, this.operation()));
  }

  newest(ms: number, labels = NONE): Promise<Timestamp> {
    return this.clock.run(this.time.newest(ms, labels, this.operation()));
  }

  minimum(labels = NONE): Promise<bigint> {
    return this.clock.run(this.safeTs.minimum(labels, this.operation()));
  }
}

function store(id: bigint, zone?: string): SafeTsStore {
  return { id, address: `store-${id}`, labels: zone === undefined ? NONE : new Map([["zone", zone]]) };
}

/** A timestamp this many milliseconds after the clock began. */
const at = (ms: number): bigint => timestampOf(BigInt(1_000_000 + ms), 0n);

test("[TXN-009] [ORA-007] ago() is that long before now, with one timestamp for all who ask", async () => {
  const scene = new Scene();
  assert.equal(await scene.ago(5_000), at(-5_000));
  await scene.clock.advance(2_000);
  assert.equal(await scene.ago(5_000), at(-3_000));
  assert.equal(await scene.ago(4_000), at(-2_000));
  assert.equal(scene.asked, 1);
});

test("[TXN-009] [TXN-008] [ORA-007] [ORA-008] a timestamp is asked for ahead of time, and waited for when it is too old", async () => {
  const scene = new Scene();
  await scene.ago(5_000);
  await scene.clock.advance(2_501);
  // Older than half of what is wanted: good enough, but not for long.
  assert.equal(await scene.ago(5_000), at(-2_499));
  await scene.clock.advance(0);
  assert.equal(scene.asked, 2);
  await scene.clock.advance(5_001);
  assert.equal(await scene.ago(5_000), at(2_502));
  assert.equal(scene.asked, 3);
  // Who wants less of the past asks sooner.
  await scene.clock.advance(600);
  assert.equal(await scene.ago(500), at(7_602));
  assert.equal(scene.asked, 4);
});

test("[TXN-009] ago() never is a moment that the cluster has not reached, however late PD answers", async () => {
  const scene = new Scene();
  scene.pdDelayMs = 900;
  const ago = await scene.ago(100);
  assert.ok(ago <= (scene.lockClock.last?.ts ?? 0n), "it took longer than the time that was asked for");
  assert.equal(ago, timestampOf(1_000_000n, 7n));
  assert.equal(logicalOf(ago), 7);
});

test("[TXN-009] while PD is away the last timestamp serves as long as it is old enough", async () => {
  const scene = new Scene();
  await scene.ago(5_000);
  scene.pdFails = true;
  await scene.clock.advance(4_000);
  assert.equal(physicalMsOf(await scene.ago(5_000)), 999_000);
  await scene.clock.advance(500);
  assert.deepEqual(scene.events.map(({ type }) => type), ["warning"]);
  await scene.clock.advance(600);
  await assert.rejects(scene.ago(5_000), (error) => TikvError.is(error) && error.kind === "connection");
});

test("[TXN-009] [ORA-007] a time before all times is refused", async () => {
  const scene = new Scene();
  await assert.rejects(scene.ago(1_000_000), RangeError);
  assert.equal(await scene.ago(999_999), timestampOf(1n, 0n));
});

test("[ORA-004] [ORA-005] the last timestamp only moves forward", async () => {
  const scene = new Scene();
  const operation = scene.operation();
  scene.pdDelayMs = 100;
  const slow = scene.lockClock.timestamp(operation);
  await scene.clock.advance(50);
  scene.pdDelayMs = 0;
  const fast = await scene.clock.run(scene.lockClock.timestamp(operation));
  await scene.clock.run(slow);
  assert.equal(scene.lockClock.last?.ts, fast);
});

test("[TXN-011] [KV-007] minimum() is the least of the stores that have something", async () => {
  const scene = new Scene();
  scene.answer = (id) => [at(-300), at(-200), 0n][Number(id) - 1] ?? 0n;
  assert.equal(await scene.minimum(), at(-300));
  scene.stores = [];
  assert.equal(await new Scene().minimum(), 0n, "nobody has anything");
});

test("[TXN-011] [KV-007] stores with the labels count, and all when none has them", async () => {
  const scene = new Scene();
  scene.stores = [store(1n, "a"), store(2n, "b"), store(3n, "b")];
  scene.answer = (id) => at(-100 * Number(id));
  assert.equal(await scene.minimum(new Map([["zone", "a"]])), at(-100));
  assert.equal(await scene.minimum(new Map([["zone", "b"]])), at(-300));
  assert.equal(await scene.minimum(new Map([["zone", "c"]])), at(-300));
});

test("[TXN-011] [KV-007] a store's timestamp never goes back, and what is no timestamp does not count", async () => {
  const scene = new Scene();
  scene.answer = (id) => id === 1n ? at(-100) : 0xffff_ffff_ffff_ffffn;
  assert.equal(await scene.minimum(), at(-100));
  scene.answer = (id) => id === 1n ? at(-400) : 0n;
  await scene.clock.advance(20_000);
  assert.equal(await scene.minimum(), at(-100));
});

test("[TXN-011] [KV-007] stores are asked when somebody wants to know, and every two seconds at most", async () => {
  const scene = new Scene();
  scene.answer = () => at(-100);
  await scene.clock.advance(60_000);
  assert.equal(scene.storeCalls.length, 0);
  const both = [1, 2].map(() => scene.safeTs.minimum(NONE, scene.operation()));
  await scene.clock.run(Promise.all(both));
  assert.equal(scene.storeCalls.length, 3);
  await scene.clock.advance(1_999);
  await scene.minimum();
  assert.equal(scene.storeCalls.length, 3);
  await scene.clock.advance(1);
  scene.answer = () => at(60_000);
  assert.equal(await scene.minimum(), at(-100), "it is not waited for");
  await scene.clock.advance(0);
  assert.equal(await scene.minimum(), at(60_000));
  assert.equal(scene.storeCalls.length, 6);
});

test("[TXN-011] [KV-007] after a pause new answers are waited for, but a store that does not answer is left out", async () => {
  const scene = new Scene();
  scene.answer = () => at(-100);
  await scene.minimum();
  await scene.clock.advance(10_000);
  scene.answer = (id) => {
    if (id === 1n) throw new TikvError("connection", "store 1 is away");
    return at(9_000 + Number(id));
  };
  assert.equal(await scene.minimum(), at(9_002));
});

test("[TXN-011] when no store can be asked older answers are used, and it is told", async () => {
  const scene = new Scene();
  scene.answer = () => at(-100);
  await scene.minimum();
  await scene.clock.advance(10_000);
  Object.defineProperty(scene, "stores", {
    get: () => {
      throw new TikvError("connection", "PD is away");
    },
  });
  assert.equal(await scene.minimum(), at(-100));
  assert.deepEqual(scene.events.map(({ type }) => type), ["warning"]);
});

test("[TXN-011] a client that is closed asks nobody", async () => {
  const scene = new Scene();
  scene.background.abort();
  assert.equal(await scene.minimum(), 0n);
  assert.equal(scene.storeCalls.length, 0);
});

test("[TXN-011] [TXN-151] newest() is what all have, not older than wanted and not newer than now", async () => {
  const scene = new Scene();
  scene.answer = () => at(-1_500);
  assert.equal(await scene.newest(5_000), at(-1_500));
  scene.answer = () => at(-60_000);
  const other = new Scene();
  other.answer = () => at(-60_000);
  assert.equal(await other.newest(5_000), at(-5_000));
  const wrong = new Scene();
  wrong.answer = () => at(60_000);
  assert.equal(await wrong.newest(5_000), timestampOf(1_000_000n, 7n));
  const silent = new Scene();
  assert.equal(await silent.newest(5_000), at(-5_000));
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { LockInfoSchema, Op } from "../../../gen/kvrpcpb_pb.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { TikvError } from "../../../src/errors.ts";
import type { ClientEvent } from "../../../src/observe/events.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { LockClock } from "../../../src/txn/locks/lock_clock.ts";
import { type Timestamp, timestampOf } from "../../../src/types.ts";
import { operationOn } from "../plan/fake_regions.ts";
import { SnapshotWorld } from "./snapshot_world.ts";

interface Bench {
  readonly clock: ManualClock;
  readonly locks: LockClock;
  readonly events: ClientEvent[];
  /** What PD answers next; it stays away while there is nothing. */
  readonly answers: (Timestamp | Error)[];
  asked(): number;
  now(timeoutMs?: number): Promise<Timestamp>;
}

function bench(): Bench {
  const clock = new ManualClock();
  const events: ClientEvent[] = [];
  const answers: (Timestamp | Error)[] = [];
  let asked = 0;
  const locks = new LockClock({
    timestamp: (operation) => {
      asked++;
      const answer = answers.shift();
      if (answer === undefined) {
        return new Promise((_, reject) => operation.deadline.onOver("get a timestamp", reject));
      }
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  }, (event) => events.push(event));
  return {
    clock,
    locks,
    events,
    answers,
    asked: () => asked,
    now: (timeoutMs = 10_000) => clock.run(locks.now(operationOn(clock, { timeoutMs }))),
  };
}

const T = (ms: bigint): Timestamp => timestampOf(ms, 0n);
const AWAY = new TikvError("connection", "PD is away");

test("[TXN-007] [ORA-006] one reading serves for a moment, and is then taken anew", async () => {
  const { clock, answers, asked, now } = bench();
  answers.push(T(1_000n), T(2_000n));
  assert.equal(await now(), T(1_000n));
  await clock.advance(199);
  assert.deepEqual([await now(), asked()], [T(1_000n), 1]);
  await clock.advance(1);
  assert.deepEqual([await now(), asked()], [T(2_000n), 2]);
});

test("[TXN-007] [ORA-006] timestamps that others took are readings as well, and none of them goes back", async () => {
  const { clock, locks, answers, now, asked } = bench();
  answers.push(T(5_000n), T(3_000n), T(4_000n));
  const operation = operationOn(clock);
  assert.equal(await locks.timestamp(operation), T(5_000n));
  assert.deepEqual([await now(), asked()], [T(5_000n), 1]);
  // What PD says is passed on as it is; for locks the latest counts.
  assert.equal(await locks.timestamp(operation), T(3_000n));
  assert.equal(await now(), T(5_000n));
});

test("[TXN-007] [ORA-006] an older reading is used while PD is away, but not for a caller whose time is up", async () => {
  const { clock, answers, events, now } = bench();
  answers.push(T(1_000n), AWAY);
  await now();
  await clock.advance(60_000);
  assert.equal(await now(), T(1_000n));
  assert.equal(events.filter(({ type }) => type === "warning").length, 1);
  // PD that does not answer at all holds nobody up for long.
  const before = clock.now();
  assert.equal(await now(), T(1_000n));
  assert.equal(clock.now() - before, 1_000);
  await assert.rejects(now(500), (error) => TikvError.is(error) && error.kind === "timeout");
});

test("[TXN-007] [ORA-006] without any reading nothing is taken for dead: the caller waits for one, or fails", async () => {
  const { answers, now } = bench();
  answers.push(AWAY);
  await assert.rejects(now(), (error) => error === AWAY);
  answers.push(T(7_000n));
  assert.equal(await now(), T(7_000n));
});

test("[T-22] [TXN-007] [ORA-006] locks expire by the cluster's clock alone, however the local ones go", async () => {
  await using world = await SnapshotWorld.start();
  const startTs = await world.ts();
  await world.prewrite(["p", "s"], { startTs, ttlMs: 30_000n });
  const lock = create(LockInfoSchema, {
    key: utf8Encode("s"),
    primaryLock: utf8Encode("p"),
    lockVersion: startTs,
    lockTtl: 30_000n,
    lockType: Op.Put,
  });
  const resolve = async (): Promise<number> => {
    const options = { callerTs: 0n, mode: "write" } as const;
    return (await world.run(world.locks.resolve([lock], options, world.operation()))).waitMs;
  };
  // For this machine the time is over; PD, whose own clock was set back, says that it is not.
  world.clock.jumpWall(-60_000);
  await world.clock.advance(40_000);
  assert.ok(await resolve() > 29_000);
  assert.deepEqual(await world.lockedKeys(), ["p", "s"]);
  // For this machine next to no time passes; for the cluster it does.
  world.cluster.jumpTso(60_000);
  await world.clock.advance(200);
  assert.equal(await resolve(), 0);
  assert.deepEqual(await world.lockedKeys(), []);
});

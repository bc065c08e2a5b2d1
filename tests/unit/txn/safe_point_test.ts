// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { PD } from "../../../gen/pdpb_pb.ts";
import { Background } from "../../../src/async/background.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { TikvError } from "../../../src/errors.ts";
import type { ClientEvent } from "../../../src/observe/events.ts";
import type { SnapshotBound } from "../../../src/pd/cluster_state.ts";
import { fault } from "../../../src/playground/mod.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { SafePoint } from "../../../src/txn/snapshot/safe_point.ts";
import type { Timestamp } from "../../../src/types.ts";
import { unary } from "../playground/gen_client.ts";
import { text } from "../raw/fake_store.ts";
import { SnapshotWorld } from "./snapshot_world.ts";

const NULL_KEYSPACE = 0xffff_ffff;
const UNIMPLEMENTED = 12;

function isTooOld(error: unknown): boolean {
  return TikvError.is(error) && error.kind === "snapshot-too-old";
}

/** Does what a tool for garbage collection does, up to the removal of what is old. */
async function setSafePoint(world: SnapshotWorld, target: bigint, isCollecting = false): Promise<void> {
  const { pd: [address = ""], transport } = world.cluster.connectOptions();
  const request = {
    header: { clusterId: world.parts.clusterId },
    keyspaceScope: { keyspace: { case: "keyspaceId", value: NULL_KEYSPACE } } as const,
    target,
  };
  await world.run(unary(transport, address, PD.method.advanceTxnSafePoint, request));
  if (isCollecting) await world.run(unary(transport, address, PD.method.advanceGCSafePoint, request));
}

test("[TXN-012] [T-55] every kind of read of a moment before the safe point fails, newer ones do not", async () => {
  await using world = await SnapshotWorld.start();
  await world.put("a");
  const old = await world.snapshot({ cacheBytes: 0 });
  const begun = await world.snapshot();
  assert.equal(text(await world.run(begun.get("a")) ?? new Uint8Array(0)), "a!");
  await world.put("a");
  const safe = await world.snapshot();
  await setSafePoint(world, safe.ts);
  // What is known of the safe point is good for a while, as nothing is collected that soon.
  assert.equal(await world.run(old.has("a")), true);
  await world.clock.advance(90_000);
  await assert.rejects(world.run(old.get("a")), isTooOld);
  await assert.rejects(world.run(old.getVersioned("a")), isTooOld);
  await assert.rejects(world.run(old.batchGet(["a", "b"])), isTooOld);
  await assert.rejects(world.run(old.scan({}).toArray()), isTooOld);
  await assert.rejects(world.run(old.scanKeys({}, { reverse: true }).toArray()), isTooOld);
  assert.equal(await world.run(safe.has("a")), true);
  // What was read in time is true for ever.
  assert.equal(text(await world.run(begun.get("a")) ?? new Uint8Array(0)), "a!");
  await assert.rejects(world.run(begun.get("b")), isTooOld);
});

test("[TXN-012] a PD that knows only what is collected at this moment is asked every few seconds", async () => {
  await using world = await SnapshotWorld.start();
  using _old = world.cluster.faults.add({ method: "GetGCState" }, fault.grpcStatus(UNIMPLEMENTED));
  await world.put("a");
  const old = await world.snapshot({ cacheBytes: 0 });
  assert.equal(await world.run(old.has("a")), true);
  const safe = await world.snapshot();
  await setSafePoint(world, safe.ts, true);
  await world.clock.advance(5_000);
  await assert.rejects(world.run(old.get("a")), isTooOld);
  assert.equal(await world.run(safe.has("a")), true);
});

interface Bench {
  readonly clock: ManualClock;
  readonly safePoint: SafePoint;
  readonly events: ClientEvent[];
  readonly background: Background;
  /** Answers of PD that it still owes. */
  readonly asked: { resolve(bound: SnapshotBound): void; reject(error: unknown): void }[];
  check(ts: bigint): Promise<void>;
}

function bench(): Bench {
  const clock = new ManualClock();
  const environment = { clock, random: new SeededRandom(1) };
  const events: ClientEvent[] = [];
  const asked: Bench["asked"] = [];
  const background = new Background(() => {});
  const safePoint = new SafePoint({
    load: () => new Promise((resolve, reject) => asked.push({ resolve, reject })),
    background,
    environment,
    observe: (event) => events.push(event),
  });
  const operation = (): Operation =>
    new Operation("test", { deadline: Deadline.after(clock, 1_000), environment });
  return {
    clock,
    safePoint,
    events,
    background,
    asked,
    check: async (ts) => await safePoint.check(ts as Timestamp, operation()),
  };
}

function bound(ts: bigint): SnapshotBound {
  return { ts: ts as Timestamp, isCollecting: false };
}

test("[TXN-012] readers that do not know the safe point wait for one question, no longer than they may", async () => {
  const { clock, asked, check } = bench();
  const settled = Promise.allSettled([check(5n), check(15n)]);
  const impatient = assert.rejects(check(15n), (error) => TikvError.is(error) && error.kind === "timeout");
  await clock.advance(1_000);
  await impatient;
  assert.equal(asked.length, 1);
  assert.deepEqual((await settled).map(({ status }) => status), ["rejected", "rejected"]);
  const later = [check(5n), check(15n)];
  const ended = Promise.allSettled(later);
  await clock.advance(0);
  asked[0]?.resolve(bound(10n));
  assert.deepEqual((await ended).map(({ status }) => status), ["rejected", "fulfilled"]);
  await assert.rejects(later[0] ?? Promise.resolve(), isTooOld);
});

test("[TXN-012] it is asked for anew after 10 s, at most once a second while that fails, and never goes back", async () => {
  const { clock, asked, events, check } = bench();
  const first = check(50n);
  await clock.advance(0);
  asked[0]?.resolve(bound(10n));
  await first;
  await clock.advance(10_000);
  await check(50n);
  assert.equal(asked.length, 2);
  asked[1]?.reject(new TikvError("connection", "PD is away"));
  await clock.advance(500);
  await check(50n);
  assert.equal(asked.length, 2);
  assert.equal(events.filter(({ type }) => type === "warning").length, 1);
  await clock.advance(500);
  await check(50n);
  assert.equal(asked.length, 3);
  asked[2]?.resolve(bound(9n));
  await clock.advance(0);
  await assert.rejects(check(9n), isTooOld);
  asked.length = 0;
  await clock.advance(90_000);
  const tooLate = check(50n);
  await clock.advance(0);
  assert.equal(asked.length, 1);
  asked[0]?.resolve(bound(60n));
  await assert.rejects(tooLate, isTooOld);
});

test("[TXN-012] what is asked for when the client is closed is a closed error for who waits", async () => {
  const { clock, background, check } = bench();
  await clock.run(background.close(Deadline.after(clock, 0)));
  await assert.rejects(check(5n), (error) => TikvError.is(error) && error.kind === "closed");
});

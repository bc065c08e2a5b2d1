// SPDX-License-Identifier: Apache-2.0
// What the resolver promises besides its table: bounded work behind readers, recovery over regions
// that move, collection of garbage, and clocks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Action, KeyErrorSchema, type LockInfo, LockInfoSchema, Op } from "../../gen/kvrpcpb_pb.ts";
import { Background } from "../../src/async/background.ts";
import { Deadline } from "../../src/async/deadline.ts";
import { TikvError } from "../../src/errors.ts";
import type { ClientEvent } from "../../src/observe/events.ts";
import { STALE } from "../../src/region/send.ts";
import type { BodyOf } from "../../src/rpc/commands.ts";
import { ManualClock } from "../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../src/testing/seeded_random.ts";
import { Transactions } from "../../src/txn/begin.ts";
import { MAX_TS } from "../../src/txn/locks/lock_calls.ts";
import { CleanUp } from "../../src/txn/locks/lock_clean_up.ts";
import type { ResolveOptions } from "../../src/txn/locks/lock_resolver.ts";
import { timestampOf } from "../../src/types.ts";
import { operationOn, type SentRequest } from "../unit/plan/fake_regions.ts";
import { bytes, text } from "../unit/raw/fake_store.ts";
import { COMMITTED, FOUND, LOCK_TS, locked, NOTHING, READ_TS, scene, START_MS } from "./txn_scene.ts";
import { hasKind } from "../helpers/has_kind.ts";

const OLD_TS = timestampOf(START_MS - 10_000n, 1n);
const READ: ResolveOptions = { callerTs: READ_TS, mode: "read" };
const WRITE: ResolveOptions = { callerTs: READ_TS, mode: "write" };

function lockOf(key: string, init: MessageInitShape<typeof LockInfoSchema> = {}): LockInfo {
  return create(LockInfoSchema, {
    key: bytes(key),
    primaryLock: bytes("p"),
    lockVersion: LOCK_TS,
    lockTtl: 3_000n,
    txnSize: 2n,
    ...init,
  });
}

function keysOf({ body }: SentRequest): string[] {
  return ((body as { keys?: Uint8Array[] }).keys ?? []).map(text);
}

test("[TXN-164] [T-69] work behind a reader keeps the source of its request, and not who pays for it", async () => {
  const { snapshot, regions, clock } = scene(({ method }, round) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    if (method === "KvGet" && round === 1) return { ...FOUND, error: locked("k") };
    return method === "KvGet" ? FOUND : NOTHING;
  });
  const one = await snapshot({ requestSource: "report", resourceGroup: "analysts", priority: "low" });
  await clock.run(one.get("k"));
  await clock.advance(0);
  const [ask] = regions.optionsOfAll("KvCheckTxnStatus");
  assert.deepEqual([ask?.context?.requestSource, ask?.context?.resourceGroup], ["report", "analysts"]);
  const [resolve] = regions.optionsOfAll("KvResolveLock");
  assert.deepEqual(resolve?.context, { requestSource: "report" });
});

test("[TXN-164] [T-69] what is done behind a reader does not end with its time, a writer's own work does", async () => {
  for (const options of [READ, WRITE]) {
    const world = scene(({ method, operation }) => {
      if (method === "KvCheckTxnStatus") return COMMITTED;
      return operation.deadline.sleep(1_000, "take it away").then(() => NOTHING);
    });
    const resolving = world.locks.resolve([lockOf("s")], options, world.operation(500));
    if (options.mode === "read") {
      assert.deepEqual((await world.clock.run(resolving)).readThrough, [LOCK_TS]);
      await world.clock.advance(2_000);
      assert.deepEqual(world.events.filter(({ type }) => type === "warning"), []);
    } else {
      await assert.rejects(world.clock.run(resolving), hasKind("timeout"));
    }
    assert.equal(world.regions.inFlight, 0);
  }
});

test("[TXN-164] readers that meet the same lock at the same time have it taken away once", async () => {
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  const world = scene(async ({ method }) => {
    if (method === "KvCheckTxnStatus") return COMMITTED;
    await held;
    return NOTHING;
  });
  const resolve = (key: string): Promise<unknown> =>
    world.clock.run(world.locks.resolve([lockOf(key)], READ, world.operation()));
  await resolve("s");
  await resolve("s");
  await resolve("t");
  const taken = (): string[][] =>
    world.regions.sent.filter(({ method }) => method === "KvResolveLock").map(keysOf);
  assert.deepEqual(taken(), [["s"], ["t"]]);
  // The status is known: nobody asked twice.
  assert.equal(world.regions.sent.filter(({ method }) => method === "KvCheckTxnStatus").length, 1);
  release();
  await world.clock.advance(0);
  await resolve("s");
  assert.deepEqual(taken(), [["s"], ["t"], ["s"]]);
});

test("[TXN-164] so many clean-ups are under way at a time, further ones are done by the readers themselves", async () => {
  const clock = new ManualClock();
  const environment = { clock, random: new SeededRandom(1) };
  const events: ClientEvent[] = [];
  const background = new Background(() => {});
  const cleanUp = new CleanUp({ background, environment, observe: (event) => events.push(event) });
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  const operation = operationOn(clock);
  const job = (id: number, work: () => Promise<void>): Promise<void> =>
    cleanUp.run({ operation, isDetached: true, context: undefined, id: `t${id}`, keys: [bytes("k")], work });
  for (let id = 0; id < 256; id++) await job(id, () => held);
  assert.equal(background.size, 256);
  let isDone = false;
  await job(256, () => {
    isDone = true;
    return Promise.reject(new TikvError("connection", "away"));
  });
  assert.deepEqual([isDone, background.size], [true, 256]);
  // It could not be done, which is no error of a reader.
  assert.equal(events.filter(({ type }) => type === "warning").length, 1);
  release();
  await clock.advance(0);
  const last = new Promise<void>((resolve) => release = resolve);
  await job(257, () => last);
  assert.deepEqual([events.length, background.size], [1, 1]);
  release();
  await clock.run(background.close(Deadline.after(clock, 1_000)));
  // A client that is being closed leaves locks to whoever meets them.
  await job(258, () => Promise.reject(new Error("not called")));
});

test("[TXN-165] the keys of an async commit are asked region by region, at the same time, also when one moves", async () => {
  let isMoved = false;
  const gate: (() => void)[] = [];
  const world = scene(async (sent) => {
    const { method, region } = sent;
    if (method === "KvCheckTxnStatus") {
      const secondaries = ["a", "b", "n", "x"].map(bytes);
      const lockInfo = lockOf("p", { lockVersion: OLD_TS, useAsyncCommit: true, secondaries });
      return { ...NOTHING, lockTtl: 3_000n, commitVersion: 0n, action: Action.NoAction, lockInfo };
    }
    if (method !== "KvCheckSecondaryLocks") return NOTHING;
    if (!isMoved && region.start.length === 0) {
      isMoved = true;
      world.regions.cutAt(["b", "m"]);
      return STALE;
    }
    await new Promise<void>((resolve) => gate.push(resolve));
    const locks = keysOf(sent).map((key) =>
      lockOf(key, {
        lockVersion: OLD_TS,
        useAsyncCommit: true,
        minCommitTs: OLD_TS + (key === "n" ? 9n : 2n),
      })
    );
    return { ...NOTHING, locks, commitTs: 0n };
  });
  world.regions.cutAt(["m"]);
  const lock = lockOf("a", { lockVersion: OLD_TS, useAsyncCommit: true });
  const resolving = world.locks.resolve([lock], READ, world.operation());
  await world.clock.advance(0);
  assert.equal(gate.length, 3);
  for (const open of gate) open();
  assert.deepEqual((await world.clock.run(resolving)).readThrough, [OLD_TS]);
  await world.clock.advance(0);
  const asked = world.regions.sent.filter(({ method }) => method === "KvCheckSecondaryLocks").map(keysOf);
  assert.deepEqual(asked.map((keys) => keys.join("")).sort(), ["a", "ab", "b", "nx"]);
  const ended = world.regions.sent.filter(({ method }) => method === "KvResolveLock");
  assert.deepEqual(ended.flatMap(keysOf).sort(), ["a", "b", "n", "p", "x"]);
  const commits = ended.map(({ body }) => (body as BodyOf<"KvResolveLock">).commitVersion);
  assert.deepEqual([...new Set(commits)], [OLD_TS + 9n]);
});

test("[T-30] [TXN-161] a transaction that ends otherwise than before is a protocol error, not a second opinion", async () => {
  const world = scene(({ method }, round) =>
    method === "KvCheckTxnStatus" ? { ...COMMITTED, commitVersion: LOCK_TS + BigInt(round) } : NOTHING
  );
  const askTwice = (): Promise<unknown> =>
    world.clock.run(Promise.all([
      world.locks.endOf({ startTs: LOCK_TS, primary: bytes("p") }, world.operation()),
      world.locks.resolve([lockOf("s")], WRITE, world.operation()),
    ]));
  await assert.rejects(askTwice(), hasKind("protocol"));
  // What came first is what counts from then on.
  await askTwice();
});

test("[T-30] [TXN-161] what is not final is asked for again every time", async () => {
  const world = scene(() => ({ ...NOTHING, lockTtl: 9_000n, commitVersion: 0n, action: Action.NoAction }));
  for (let round = 0; round < 3; round++) {
    await world.clock.run(world.locks.resolve([lockOf("s")], READ, world.operation()));
  }
  assert.equal(world.regions.sent.length, 3);
});

test("[TXN-168] [T-23] collection asks at the end of time and has rollbacks left, for each transaction once", async () => {
  const commitTs = OLD_TS + 4n;
  const world = scene(({ method, body }) => {
    if (method !== "KvCheckTxnStatus") return { ...NOTHING, errors: [] };
    const { lockTs } = body as BodyOf<"KvCheckTxnStatus">;
    return lockTs === OLD_TS
      ? { ...COMMITTED, commitVersion: commitTs }
      : { ...NOTHING, lockTtl: 0n, commitVersion: 0n, action: Action.TTLExpireRollback };
  });
  const region = await world.regions.locate(bytes("a"));
  const pessimistic = { lockType: Op.PessimisticLock, lockForUpdateTs: LOCK_TS, lockVersion: LOCK_TS + 1n };
  const locks = [
    lockOf("a", { lockVersion: OLD_TS }),
    lockOf("b", { lockVersion: OLD_TS }),
    lockOf("c", { lockVersion: LOCK_TS }),
    lockOf("d", pessimistic),
    lockOf("e", pessimistic),
  ];
  assert.equal(
    await world.clock.run(world.locks.endAll(locks, region, { operation: world.operation() })),
    true,
  );
  const sent = world.regions.sent.map(({ method, body }) => ({
    method,
    body: body as Record<string, unknown>,
  }));
  assert.deepEqual(sent.map(({ method }) => method), [
    "KvCheckTxnStatus",
    "KvCheckTxnStatus",
    "KvCheckTxnStatus",
    "KVPessimisticRollback",
    "KvCheckTxnStatus",
    "KVPessimisticRollback",
    "KvResolveLock",
  ]);
  for (const { method, body } of sent) {
    if (method !== "KvCheckTxnStatus") continue;
    assert.deepEqual([body["currentTs"], body["rollbackIfNotExist"], body["callerStartTs"]], [
      MAX_TS,
      true,
      0n,
    ]);
  }
  assert.deepEqual(sent.at(-1)?.body["txnInfos"], [
    { txn: OLD_TS, status: commitTs, isTxnFile: false },
    { txn: LOCK_TS, status: 0n, isTxnFile: false },
  ]);
});

test("[TXN-168] [TXN-165] collection recovers async commits, and forces those that are none to decide", async () => {
  const lockInfo = lockOf("p", {
    useAsyncCommit: true,
    secondaries: [bytes("s")],
    minCommitTs: LOCK_TS + 3n,
  });
  const alive = { ...NOTHING, lockTtl: 60_000n, commitVersion: 0n, action: Action.NoAction, lockInfo };
  const forced: unknown[] = [];
  for (const useAsyncCommit of [true, false]) {
    const world = scene(({ method, body }) => {
      if (method === "KvCheckSecondaryLocks") {
        return {
          ...NOTHING,
          locks: [lockOf("s", { useAsyncCommit, minCommitTs: LOCK_TS + 5n })],
          commitTs: 0n,
        };
      }
      if (method !== "KvCheckTxnStatus") return NOTHING;
      const isForced = (body as BodyOf<"KvCheckTxnStatus">).forceSyncCommit === true;
      if (isForced) forced.push(useAsyncCommit);
      return isForced
        ? { ...NOTHING, lockTtl: 0n, commitVersion: 0n, action: Action.TTLExpireRollback }
        : alive;
    });
    const region = await world.regions.locate(bytes("s"));
    const lock = lockOf("s", { useAsyncCommit });
    await world.clock.run(world.locks.endAll([lock], region, { operation: world.operation() }));
    const { txnInfos } = world.regions.sent.at(-1)?.body as BodyOf<"KvResolveLock">;
    assert.deepEqual(txnInfos?.map(({ status }) => status), [useAsyncCommit ? LOCK_TS + 5n : 0n]);
  }
  assert.deepEqual(forced, [false]);
});

test("[TXN-168] collection tells when the region has changed, and fails where a transaction does not end", async () => {
  const moved = scene(({ method }) => method === "KvCheckTxnStatus" ? COMMITTED : STALE);
  const region = await moved.regions.locate(bytes("s"));
  const operation = moved.operation();
  assert.equal(await moved.clock.run(moved.locks.endAll([lockOf("s")], region, { operation })), false);
  const stubborn = scene(() => ({ ...NOTHING, lockTtl: 9n, commitVersion: 0n, action: Action.NoAction }));
  await assert.rejects(
    stubborn.clock.run(stubborn.locks.endAll([lockOf("s")], region, { operation: stubborn.operation() })),
    hasKind("protocol"),
  );
});

test("[T-34] [TXN-168] the wrapper of shared locks is never asked about, its locks are, each for itself", async () => {
  const shared = { lockType: Op.SharedPessimisticLock, lockForUpdateTs: LOCK_TS };
  const wrapper = lockOf("s", {
    lockVersion: 77n,
    primaryLock: bytes("meaningless"),
    lockType: Op.SharedLock,
    sharedLockInfos: [
      lockOf("s", { ...shared, primaryLock: bytes("p1") }),
      lockOf("s", { ...shared, primaryLock: bytes("p2"), lockVersion: LOCK_TS + 1n }),
    ],
  });
  for (const isCollection of [false, true]) {
    const world = scene(({ method }) =>
      method === "KvCheckTxnStatus"
        ? { ...NOTHING, lockTtl: 0n, commitVersion: 0n, action: Action.TTLExpirePessimisticRollback }
        : { ...NOTHING, errors: [] }
    );
    const region = await world.regions.locate(bytes("s"));
    const operation = world.operation();
    if (isCollection) await world.clock.run(world.locks.endAll([wrapper], region, { operation }));
    else await world.clock.run(world.locks.resolve([wrapper], WRITE, operation));
    const of = (method: string): Record<string, unknown>[] =>
      world.regions.sent.filter((one) => one.method === method).map(({ body }) =>
        body as Record<string, unknown>
      );
    assert.deepEqual(of("KvCheckTxnStatus").map(({ lockTs }) => lockTs), [LOCK_TS, LOCK_TS + 1n]);
    assert.deepEqual(of("KVPessimisticRollback").map(({ startVersion }) => startVersion), [
      LOCK_TS,
      LOCK_TS + 1n,
    ]);
    assert.deepEqual(of("KvResolveLock"), []);
  }
});

test("[TXN-170] who asks how a transaction ended waits no longer than it may, and is told why", async () => {
  const world = scene(() => ({ ...NOTHING, lockTtl: 60_000n, commitVersion: 0n, action: Action.NoAction }));
  const before = world.clock.now();
  await assert.rejects(
    world.clock.run(world.locks.endOf({ startTs: LOCK_TS, primary: bytes("p") }, world.operation(2_000))),
    (error) => hasKind("timeout")(error) && /still runs/.test(String((error as Error).message)),
  );
  assert.ok(world.clock.now() - before <= 2_000);
});

test("[TXN-160] a primary that answers with another error fails the caller, with that as the cause", async () => {
  const world = scene(() => ({ ...COMMITTED, error: create(KeyErrorSchema, { abort: "broken" }) }));
  await assert.rejects(
    world.clock.run(world.locks.resolve([lockOf("s")], WRITE, world.operation())),
    (error) => hasKind("protocol")(error) && TikvError.is((error as Error).cause),
  );
});

test("[T-33] a lock that was just changed is neither resolved nor taken for free: its owner is at work", async () => {
  const held = (durationToLastUpdateMs: bigint): unknown => {
    const lock = { lockType: Op.PessimisticLock, lockForUpdateTs: LOCK_TS, durationToLastUpdateMs };
    return { ...NOTHING, errors: [locked("k", lock)], results: [], values: [], notFounds: [] };
  };
  const answers = [held(1n), held(299n), held(300n), {
    ...NOTHING,
    errors: [],
    results: [],
    values: [bytes("v")],
    notFounds: [false],
  }];
  const world = scene(({ method }) => {
    if (method === "KvPessimisticLock") return answers.shift();
    const released = {
      ...NOTHING,
      lockTtl: 0n,
      commitVersion: 0n,
      action: Action.TTLExpirePessimisticRollback,
    };
    return method === "KvCheckTxnStatus" ? released : { ...NOTHING, errors: [] };
  });
  const { clock, regions } = world;
  const txn = await clock.run(new Transactions(world.parts, {}).begin({ mode: "pessimistic" }));
  const before = clock.now();
  await clock.run(txn.lock(["k"]));
  assert.deepEqual(regions.sent.map(({ method }) => method), [
    "KvPessimisticLock",
    "KvPessimisticLock",
    "KvPessimisticLock",
    "KvCheckTxnStatus",
    "KVPessimisticRollback",
    "KvPessimisticLock",
  ]);
  // It was waited for shortly, and not asked for without end.
  assert.ok(clock.now() > before && clock.now() - before < 200);
  await clock.run(txn.rollback());
});

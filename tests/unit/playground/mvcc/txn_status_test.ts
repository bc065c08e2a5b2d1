// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CheckTxnStatusResponse } from "../../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../../gen/tikvpb_pb.ts";
import { Action, at, bytes, faultName, Op, text, TxnBench } from "./txn_bench.ts";

const { method } = Tikv;
const LATEST = 0xffff_ffff_ffff_ffffn;

function shown(reply: CheckTxnStatusResponse): string {
  if (reply.error !== undefined) return faultName(reply.error);
  if (reply.commitVersion !== 0n) return `committed@${reply.commitVersion >> 18n}`;
  const action = Object.entries(Action).find(([, value]) => value === reply.action)?.[0];
  return reply.lockTtl === 0n ? `${action}` : `alive ${action}`;
}

interface Case {
  readonly name: string;
  readonly before: (bench: TxnBench) => Promise<unknown>;
  readonly ask?: Record<string, unknown>;
  readonly expect: string;
  readonly writes?: string;
  readonly locks?: number;
}

/** Questions about the transaction at 10 ms by its primary `k`, whose locks live 3000 ms. */
const CASES: readonly Case[] = [
  { name: "nothing", before: async () => {}, expect: "txn-not-found", writes: "" },
  {
    name: "nothing, to be rolled back",
    before: async () => {},
    ask: { rollbackIfNotExist: true },
    expect: "LockNotExistRollback",
    writes: "rollback!@10-10",
  },
  {
    name: "nothing, for a pessimistic lock",
    before: async () => {},
    ask: { rollbackIfNotExist: true, resolvingPessimisticLock: true },
    expect: "LockNotExistDoNothing",
    writes: "",
  },
  {
    name: "a committed transaction",
    before: (b) => b.put({ k: "1" }, at(10), at(20)),
    expect: "committed@20",
    writes: "put@10-20",
  },
  {
    name: "a transaction that was rolled back",
    before: (b) => b.rollback(["k"], at(10)),
    expect: "NoAction",
    writes: "rollback@10-10",
  },
  {
    name: "a living lock",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    expect: "alive NoAction",
    locks: 1,
  },
  {
    name: "a lock in its last millisecond",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    ask: { currentTs: at(3010) },
    expect: "alive NoAction",
    locks: 1,
  },
  {
    name: "an expired lock",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    ask: { currentTs: at(3011) },
    expect: "TTLExpireRollback",
    writes: "rollback!@10-10",
  },
  {
    name: "a lock, as if for ever later",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    ask: { currentTs: LATEST },
    expect: "TTLExpireRollback",
    writes: "rollback!@10-10",
  },
  {
    name: "a lock that a reader pushes",
    before: (b) => b.prewrite({ k: "1" }, at(10), { minCommitTs: at(11) }),
    ask: { callerStartTs: at(50), currentTs: at(40) },
    expect: "alive MinCommitTSPushed",
    locks: 1,
  },
  {
    name: "a lock that cannot be pushed",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    ask: { callerStartTs: at(50) },
    expect: "alive NoAction",
    locks: 1,
  },
  {
    name: "a lock, for a read of the latest data",
    before: (b) => b.prewrite({ k: "1" }, at(10)),
    ask: { callerStartTs: LATEST },
    expect: "alive MinCommitTSPushed",
    locks: 1,
  },
  {
    name: "an expired async commit",
    before: (b) => b.prewrite({ k: "1" }, at(10), { useAsyncCommit: true }),
    ask: { currentTs: LATEST },
    expect: "alive NoAction",
    locks: 1,
  },
  {
    name: "an expired async commit, taken for a plain one",
    before: (b) => b.prewrite({ k: "1" }, at(10), { useAsyncCommit: true }),
    ask: { currentTs: LATEST, forceSyncCommit: true },
    expect: "TTLExpireRollback",
    writes: "rollback!@10-10",
  },
  {
    name: "a secondary",
    before: (b) => b.prewrite({ p: "1", k: "1" }, at(10)),
    expect: "primary-mismatch",
    locks: 2,
  },
  {
    name: "a secondary, unverified",
    before: (b) => b.prewrite({ p: "1", k: "1" }, at(10)),
    ask: { verifyIsPrimary: false },
    expect: "alive NoAction",
    locks: 2,
  },
  {
    name: "an expired pessimistic lock",
    before: (b) => b.lock(["k"], at(10), at(10)),
    ask: { currentTs: LATEST },
    expect: "TTLExpireRollback",
    writes: "rollback!@10-10",
  },
  {
    name: "an expired pessimistic lock, for another one",
    before: (b) => b.lock(["k"], at(10), at(10)),
    ask: { currentTs: LATEST, resolvingPessimisticLock: true },
    expect: "TTLExpirePessimisticRollback",
    writes: "",
  },
  {
    name: "a pessimistic secondary",
    before: (b) => b.lock(["p", "k"], at(10), at(10)),
    ask: { rollbackIfNotExist: true },
    expect: "LockNotExistRollback",
    writes: "rollback!@10-10",
    locks: 1,
  },
  {
    name: "a pessimistic secondary, for another one",
    before: (b) => b.lock(["p", "k"], at(10), at(10)),
    ask: { rollbackIfNotExist: true, resolvingPessimisticLock: true },
    expect: "primary-mismatch",
    locks: 2,
  },
];

for (const { name, before, ask = {}, expect, writes, locks = 0 } of CASES) {
  test(`[TXN-160] the status of ${name}: ${expect}`, async () => {
    await using bench = await TxnBench.start();
    await before(bench);
    assert.equal(shown(await bench.status("k", at(10), ask)), expect);
    if (writes !== undefined) assert.equal(await bench.writes("k"), writes);
    assert.equal((await bench.locks()).length, locks);
  });
}

test("[TXN-160] a living transaction shows its primary lock and secondaries", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ k: "1" }, at(10), { useAsyncCommit: true, secondaries: ["a", "b"].map(bytes) });
  const { lockInfo, lockTtl } = await bench.status("k", at(10));
  assert.deepEqual([lockInfo?.secondaries.map(text), lockInfo?.useAsyncCommit, lockTtl], [
    ["a", "b"],
    true,
    3_000n,
  ]);
});

test("[TXN-149] a pushed transaction commits above the reader, who reads past its lock", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ k: "1" }, at(10), { minCommitTs: at(11) });
  assert.equal(await bench.get("k", at(50)), "<locked>");
  await bench.status("k", at(10), { callerStartTs: at(50) });
  assert.equal(await bench.get("k", at(50)), undefined);
  assert.equal(faultName((await bench.commit(["k"], at(10), at(50))).error), "commit-ts-expired");
  assert.equal(faultName((await bench.commit(["k"], at(10), at(51))).error), "ok");
});

test("[TXN-123] a heartbeat only ever lengthens the time to live", async () => {
  await using bench = await TxnBench.start();
  const beat = async (adviseLockTtl: bigint, startVersion = at(10)) => {
    const reply = await bench.call(method.kvTxnHeartBeat, "k", {
      primaryLock: bytes("k"),
      startVersion,
      adviseLockTtl,
    });
    return reply.error === undefined ? reply.lockTtl : faultName(reply.error);
  };
  await bench.lock(["k"], at(10), at(10));
  assert.equal(await beat(20_000n), 20_000n);
  assert.equal(await beat(5n), 20_000n);
  assert.equal(await beat(20_000n, at(11)), "txn-not-found");
});

test("[TXN-165] all secondaries locked, or one that tells how it ended", async () => {
  await using bench = await TxnBench.start();
  const check = async (keys: string[]) => {
    const reply = await bench.call(method.kvCheckSecondaryLocks, "k", {
      keys: keys.map(bytes),
      startVersion: at(10),
    });
    return `${reply.locks.map(({ key }) => text(key)).join("")}/${reply.commitTs >> 18n}`;
  };
  await bench.prewrite({ p: "1", a: "1", b: "1", c: "1" }, at(10), { useAsyncCommit: true });
  assert.equal(await check(["a", "b"]), "ab/0");
  await bench.commit(["b"], at(10), at(1_000_001));
  assert.equal(await check(["a", "b"]), "/1000001");
  assert.equal(await check(["a", "z", "b"]), "/0");
  assert.equal(await bench.writes("z"), "rollback!@10-10");
  assert.equal(await check(["a"]), "a/0");
});

test("[TXN-165] a pessimistic secondary was never prewritten, so it is rolled back", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const { locks, commitTs } = await bench.call(method.kvCheckSecondaryLocks, "k", {
    keys: [bytes("k")],
    startVersion: at(10),
  });
  assert.deepEqual([locks, commitTs], [[], 0n]);
  assert.equal(await bench.writes("k"), "rollback!@10-10");
  assert.deepEqual(await bench.locks(), []);
});

test("[TXN-124] a shared lock is no primary", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["p"], at(10), at(10));
  await bench.lock(["k"], at(10), at(10), { op: Op.SharedPessimisticLock, primaryLock: bytes("p") });
  assert.equal(shown(await bench.status("k", at(10))), "primary-mismatch");
});

test("[TXN-160] a push goes to the present, when that is after the reader", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ k: "1" }, at(10), { minCommitTs: at(11) });
  await bench.status("k", at(10), { callerStartTs: at(50), currentTs: at(70) });
  assert.equal((await bench.locks())[0]?.minCommitTs, at(70));
});

test("[TXN-123] only the heartbeat of a pipelined transaction moves its commit timestamp", async () => {
  await using bench = await TxnBench.start();
  const beat = async (key: string) => {
    const fields = { startVersion: at(10), adviseLockTtl: 1n, minCommitTs: at(90) };
    await bench.call(method.kvTxnHeartBeat, key, { primaryLock: bytes(key), ...fields });
  };
  const mutations = [{ op: Op.Put, key: bytes("f"), value: bytes("1") }];
  await bench.call(method.kvFlush, "f", {
    mutations,
    primaryKey: bytes("f"),
    startTs: at(10),
    generation: 1n,
  });
  await bench.prewrite({ k: "1" }, at(10), { minCommitTs: at(11) });
  await beat("f");
  await beat("k");
  assert.deepEqual((await bench.locks()).map(({ minCommitTs }) => minCommitTs), [at(90), at(11)]);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionLevel, PrewriteRequest_PessimisticAction } from "../../../../gen/kvrpcpb_pb.ts";
import { at, bytes, faultName, faults, Op, text, TxnBench } from "./txn_bench.ts";

const { SKIP_PESSIMISTIC_CHECK, DO_CONSTRAINT_CHECK } = PrewriteRequest_PessimisticAction;

/** Writes of one key `k` at 30 ms after these. */
interface Case {
  readonly name: string;
  readonly before: (bench: TxnBench) => Promise<unknown>;
  readonly op?: string | null | Op;
  readonly fields?: Record<string, unknown>;
  readonly expect: string;
}

const CASES: readonly Case[] = [
  { name: "a key that nobody has touched", before: async () => {}, expect: "ok" },
  { name: "an older version", before: (b) => b.put({ k: "1" }, at(10), at(20)), expect: "ok" },
  {
    name: "a version that was committed after the start",
    before: (b) => b.put({ k: "1" }, at(31), at(40)),
    expect: "conflict:Optimistic",
  },
  {
    name: "a lock that was committed after the start",
    before: (b) => b.put({ k: Op.Lock }, at(31), at(40)),
    expect: "conflict:Optimistic",
  },
  { name: "its own rollback", before: (b) => b.rollback(["k"], at(30)), expect: "conflict:SelfRolledBack" },
  {
    name: "a version after the start, when the check is skipped",
    before: (b) => b.put({ k: "1" }, at(31), at(40)),
    fields: { skipConstraintCheck: true },
    expect: "ok",
  },
  { name: "another transaction's lock", before: (b) => b.prewrite({ k: "1" }, at(20)), expect: "locked" },
  {
    name: "another transaction's pessimistic lock",
    before: (b) => b.lock(["k"], at(20), at(20)),
    expect: "locked",
  },
  { name: "its own lock", before: (b) => b.prewrite({ k: "1" }, at(30)), expect: "ok" },
  {
    name: "its own pessimistic lock, as an optimistic transaction",
    before: (b) => b.lock(["k"], at(30), at(30)),
    expect: "abort:LockTypeNotMatch",
  },
  { name: "an insert of a free key", before: async () => {}, op: Op.Insert, expect: "ok" },
  {
    name: "an insert of a key that exists",
    before: (b) => b.put({ k: "1" }, at(10), at(20)),
    op: Op.Insert,
    expect: "exists",
  },
  {
    name: "an insert of a key that exists below a lock record",
    before: async (b) => {
      await b.put({ k: "1" }, at(10), at(11));
      await b.put({ k: Op.Lock }, at(12), at(13));
    },
    op: Op.Insert,
    expect: "exists",
  },
  {
    name: "an insert of a deleted key",
    before: async (b) => {
      await b.put({ k: "1" }, at(10), at(11));
      await b.put({ k: null }, at(12), at(13));
    },
    op: Op.Insert,
    expect: "ok",
  },
  {
    name: "a check of a key that exists",
    before: (b) => b.put({ k: "1" }, at(10), at(20)),
    op: Op.CheckNotExists,
    expect: "exists",
  },
];

for (const { name, before, op = "2", fields = {}, expect } of CASES) {
  test(`[TXN-076] a prewrite of ${name}: ${expect}`, async () => {
    await using bench = await TxnBench.start();
    await before(bench);
    assert.equal(faults(await bench.prewrite({ k: op }, at(30), fields)), expect);
  });
}

test("[TXN-076] a conflict names both transactions, the key, the primary and the reason", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(31), at(40));
  const { errors: [error] } = await bench.prewrite({ k: "2" }, at(30));
  const { conflict } = error ?? {};
  assert.deepEqual(
    [
      conflict?.startTs,
      conflict?.conflictTs,
      conflict?.conflictCommitTs,
      text(conflict?.key ?? bytes("")),
      text(conflict?.primary ?? bytes("")),
    ],
    [at(30), at(31), at(40), "k", "k"],
  );
  assert.match(error?.retryable ?? "", /WriteConflict/);
});

test("[TXN-076] a lock error shows the lock, and no time to live to pessimistic transactions", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ p: "1", k: "1" }, at(20), { lockTtl: 77n, txnSize: 2n, minCommitTs: at(21) });
  const { errors: [error] } = await bench.prewrite({ k: "2" }, at(30));
  const { locked } = error ?? {};
  assert.equal(text(locked?.primaryLock ?? bytes("")), "p");
  assert.deepEqual(
    [locked?.lockVersion, locked?.lockTtl, locked?.txnSize, locked?.lockType, locked?.minCommitTs],
    [at(20), 77n, 2n, Op.Put, at(21)],
  );
  const pessimistic = await bench.prewrite({ k: "2" }, at(30), {
    forUpdateTs: at(30),
    pessimisticActions: [SKIP_PESSIMISTIC_CHECK],
  });
  assert.equal(pessimistic.errors[0]?.locked?.lockTtl, 0n);
});

test("a prewrite that finds a lock writes nothing, not even its other keys", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ b: "1" }, at(20));
  assert.equal(faults(await bench.prewrite({ a: "2", b: "2", c: "2" }, at(30))), "locked");
  assert.deepEqual((await bench.locks()).map(({ key }) => text(key)), ["b"]);
});

test("[TXN-082] a key that is only checked gets no lock", async () => {
  await using bench = await TxnBench.start();
  assert.equal(faults(await bench.prewrite({ a: "1", k: Op.CheckNotExists }, at(30))), "ok");
  assert.deepEqual((await bench.locks()).map(({ key }) => text(key)), ["a"]);
});

test("[TXN-093] [TXN-094] an async commit goes above what was read, and falls back above its limit", async () => {
  await using bench = await TxnBench.start({ stores: 1 });
  const now = BigInt(bench.clock.wallNow());
  const start = now << 18n;
  await bench.get("x", start + 500n);
  const fields = { useAsyncCommit: true, secondaries: [bytes("b")] };
  const first = await bench.prewrite({ a: "1" }, start + 10n, fields);
  assert.equal(first.minCommitTs, start + 501n);
  const [lock] = await bench.locks();
  assert.deepEqual([lock?.useAsyncCommit, lock?.minCommitTs, lock?.secondaries.map(text)], [
    true,
    start + 501n,
    ["b"],
  ]);
  const late = await bench.prewrite({ b: "1" }, start + 10n, {
    ...fields,
    secondaries: [],
    maxCommitTs: start + 400n,
  });
  assert.deepEqual([faults(late), late.minCommitTs], ["ok", 0n]);
  assert.equal((await bench.locks())[1]?.useAsyncCommit, false);
});

test("[TXN-094] a repeated async prewrite tells the same timestamp, and 0 of a plain lock", async () => {
  await using bench = await TxnBench.start({ stores: 1 });
  const fields = { useAsyncCommit: true, secondaries: [] };
  const start = BigInt(bench.clock.wallNow()) << 18n;
  const first = await bench.prewrite({ a: "1" }, start, fields);
  await bench.get("x", first.minCommitTs + 10n);
  assert.equal((await bench.prewrite({ a: "1" }, start, fields)).minCommitTs, first.minCommitTs);
  await bench.prewrite({ b: "1" }, start);
  assert.equal((await bench.prewrite({ b: "1" }, start, fields)).minCommitTs, 0n);
});

test("[TXN-095] one phase commits at once above what was read, or falls back to plain locks", async () => {
  await using bench = await TxnBench.start({ stores: 1 });
  const start = BigInt(bench.clock.wallNow()) << 18n;
  await bench.get("x", start + 100n);
  const done = await bench.prewrite({ a: "1", b: "2" }, start, { tryOnePc: true });
  assert.deepEqual([faults(done), done.onePcCommitTs, done.minCommitTs], ["ok", start + 101n, 0n]);
  assert.equal(await bench.scan("", { version: start + 101n }), "a=1 b=2");
  assert.equal(await bench.scan("", { version: start + 100n }), "");
  const late = await bench.prewrite({ c: "1" }, start, { tryOnePc: true, maxCommitTs: start + 50n });
  assert.deepEqual([late.onePcCommitTs, late.minCommitTs], [0n, 0n]);
  assert.deepEqual((await bench.locks()).map(({ key, useAsyncCommit }) => [text(key), useAsyncCommit]), [[
    "c",
    false,
  ]]);
});

test("[TXN-095] one phase releases pessimistic locks", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(10));
  const done = await bench.prewriteLocked({ k: "1" }, at(10), at(10), { tryOnePc: true });
  assert.ok(done.onePcCommitTs > at(10));
  assert.deepEqual(await bench.locks(), []);
});

test("[TXN-077] [TXN-096] a late copy of a committed transaction's prewrite succeeds and writes nothing", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(10), at(20));
  const again = await bench.prewrite({ k: "1" }, at(10), { useAsyncCommit: true });
  assert.deepEqual([faults(again), again.minCommitTs], ["ok", at(20)]);
  const onePc = await bench.prewrite({ k: "1" }, at(10), { tryOnePc: true });
  assert.deepEqual([faults(onePc), onePc.onePcCommitTs], ["ok", at(20)]);
  assert.deepEqual(await bench.locks(), []);
});

test("[TXN-077] a copy of a prewrite that skips checks is checked when it says that it is one", async () => {
  await using bench = await TxnBench.start();
  const fields = { forUpdateTs: at(10), pessimisticActions: [SKIP_PESSIMISTIC_CHECK], tryOnePc: true };
  const { onePcCommitTs } = await bench.prewrite({ k: "1" }, at(10), fields);
  await bench.get("k", onePcCommitTs + 100n);
  // The store remembers for a while that it was committed.
  assert.equal((await bench.prewrite({ k: "1" }, at(10), fields)).onePcCommitTs, onePcCommitTs);
  await bench.put({ k: "2" }, at(10_000_000), at(10_000_001));
  const retry = await bench.prewrite({ k: "1" }, at(10), fields, { isRetryRequest: true });
  assert.equal(retry.onePcCommitTs, onePcCommitTs);
  assert.equal(await bench.get("k", at(20_000_000)), "2");
});

test("[TXN-125] a lazy uniqueness check finds what was committed since the start", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(31), at(40));
  const fields = { forUpdateTs: at(50), pessimisticActions: [DO_CONSTRAINT_CHECK] };
  assert.equal(
    faults(await bench.prewrite({ k: Op.Insert }, at(30), fields)),
    "conflict:LazyUniquenessCheck",
  );
});

test("[TXN-122] a pessimistic lock must be there, be the transaction's, and have the expected timestamp", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(12));
  const constraints = (expectedForUpdateTs: bigint) => ({
    forUpdateTsConstraints: [{ index: 0, expectedForUpdateTs }],
  });
  const lost = "abort:PessimisticLockNotFound";
  assert.equal(faults(await bench.prewriteLocked({ k: "1" }, at(10), at(12), constraints(at(11)))), lost);
  assert.equal(faults(await bench.prewriteLocked({ k: "1" }, at(9), at(12))), lost);
  assert.match(
    faults(
      await bench.prewrite({ k: "1" }, at(10), {
        forUpdateTs: at(12),
        pessimisticActions: [1],
        forUpdateTsConstraints: [{ index: 7, expectedForUpdateTs: 1n }],
      }),
    ),
    /^abort/,
  );
  assert.equal(faults(await bench.prewriteLocked({ k: "1" }, at(10), at(12), constraints(at(12)))), "ok");
});

test("a lost pessimistic lock is made up for when nothing was written since", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ old: "0", newer: "0" }, at(5), at(6));
  await bench.lock(["old", "newer"], at(10), at(10));
  bench.cluster.losePessimisticLocks("old");
  assert.deepEqual(await bench.locks(), []);
  await bench.put({ newer: "1" }, at(11), at(12));
  assert.equal(faults(await bench.prewriteLocked({ old: "1" }, at(10), at(10))), "ok");
  assert.equal(
    faults(await bench.prewriteLocked({ newer: "2" }, at(10), at(10))),
    "abort:PessimisticLockNotFound",
  );
});

test("[TXN-086] assertions: off never fails, fast only where versions are looked at, strict always", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(10), at(20));
  const asserts = async (key: string, assertion: number, assertionLevel: AssertionLevel, fields = {}) =>
    faults(
      await bench.prewrite({}, at(30), {
        mutations: [{ op: Op.Put, key: bytes(key), value: bytes("2"), assertion }],
        primaryLock: bytes(key),
        assertionLevel,
        ...fields,
      }),
    );
  const [exist, notExist] = [1, 2];
  assert.equal(await asserts("k", notExist, AssertionLevel.Off), "ok");
  await bench.rollback(["k"], at(29));
  const fresh = { startVersion: at(40) };
  await bench.commit(["k"], at(30), at(31));
  assert.equal(await asserts("k", notExist, AssertionLevel.Fast, fresh), "assertion-failed");
  assert.equal(await asserts("k", exist, AssertionLevel.Strict, fresh), "ok");
  assert.equal(await asserts("no", exist, AssertionLevel.Fast, fresh), "assertion-failed");
  const skipped = { ...fresh, forUpdateTs: at(40), pessimisticActions: [SKIP_PESSIMISTIC_CHECK] };
  assert.equal(await asserts("no", exist, AssertionLevel.Strict, skipped), "assertion-failed");
  assert.equal(await asserts("no", exist, AssertionLevel.Fast, skipped), "ok");
});

test("[TXN-086] a failed assertion tells what is there", async () => {
  await using bench = await TxnBench.start();
  await bench.put({ k: "1" }, at(10), at(20));
  const { errors: [error] } = await bench.prewrite({}, at(30), {
    mutations: [{ op: Op.Put, key: bytes("k"), value: bytes("2"), assertion: 2 }],
    primaryLock: bytes("k"),
    assertionLevel: AssertionLevel.Strict,
  });
  const failed = error?.assertionFailed;
  assert.deepEqual([failed?.startTs, failed?.existingStartTs, failed?.existingCommitTs, failed?.assertion], [
    at(30),
    at(10),
    at(20),
    2,
  ]);
  assert.equal(faultName(error), "assertion-failed");
});

test("[TXN-132] a flush writes locks of its generation, and an older one changes nothing", async () => {
  await using bench = await TxnBench.start();
  const { kvFlush, kvBufferBatchGet } = (await import("../../../../gen/tikvpb_pb.ts")).Tikv.method;
  const flush = async (value: string | null | Op, generation: bigint) =>
    faults(
      await bench.call(kvFlush, "k", {
        mutations: [
          typeof value === "string"
            ? { op: Op.Put, key: bytes("k"), value: bytes(value) }
            : { op: value ?? Op.Del, key: bytes("k") },
        ],
        primaryKey: bytes("k"),
        startTs: at(10),
        generation,
        lockTtl: 20_000n,
      }),
    );
  const buffered = async () => {
    const { pairs } = await bench.call(kvBufferBatchGet, "k", {
      keys: ["k", "z"].map(bytes),
      version: at(10),
    });
    return pairs.map(({ key, value }) => `${text(key)}=${text(value)}`).join();
  };
  assert.equal(await flush("1", 0n), `abort:${"Other"}`);
  assert.equal(await flush("1", 1n), "ok");
  assert.equal(await flush("2", 2n), "ok");
  assert.equal(await flush("old", 1n), "ok");
  assert.equal(await buffered(), "k=2");
  assert.equal(await flush(Op.Insert, 3n), "exists");
  assert.equal(await flush(null, 3n), "ok");
  assert.equal(await buffered(), "k=");
  assert.equal(await flush(Op.Insert, 4n), "ok");
  const [lock] = await bench.locks();
  assert.deepEqual([lock?.txnSize, lock?.minCommitTs], [0xffff_ffff_ffff_ffffn, at(10) + 1n]);
});

test("[TXN-075] a prewrite keeps the larger time to live and timestamps of the pessimistic lock", async () => {
  await using bench = await TxnBench.start();
  await bench.lock(["k"], at(10), at(20), { lockTtl: 9_000n, minCommitTs: at(21) });
  await bench.prewriteLocked({ k: "1" }, at(10), at(15), { lockTtl: 5n, minCommitTs: at(16) });
  const [lock] = await bench.locks();
  assert.deepEqual([lock?.lockTtl, lock?.minCommitTs, lock?.lockForUpdateTs], [9_000n, at(21), at(20)]);
});

test("[TXN-094] one key that has a plain lock makes the whole request one of a plain commit", async () => {
  await using bench = await TxnBench.start();
  await bench.prewrite({ b: "1" }, at(10));
  const mixed = await bench.prewrite({ a: "1", b: "1", c: "1" }, at(10), { useAsyncCommit: true });
  assert.deepEqual([faults(mixed), mixed.minCommitTs], ["ok", 0n]);
  const kinds = (await bench.locks()).map(({ key, useAsyncCommit }) => `${text(key)}:${useAsyncCommit}`);
  assert.equal(kinds.join(), "a:true,b:false,c:false");
});

test("[TXN-086] in a range without any data, more than 12 keys are not looked at one by one", async () => {
  await using bench = await TxnBench.start();
  const asserts = (count: number) =>
    bench.prewrite({}, at(10), {
      mutations: Array.from({ length: count }, (_, i) => ({ op: Op.Put, key: bytes(`k${i}`), assertion: 1 })),
      assertionLevel: AssertionLevel.Fast,
    });
  assert.equal(faults(await asserts(12)), "assertion-failed");
  assert.equal(faults(await asserts(13)), "ok");
  await bench.rollback(["k0"], at(10));
  assert.equal(faults(await asserts(13)), "conflict:SelfRolledBack");
});

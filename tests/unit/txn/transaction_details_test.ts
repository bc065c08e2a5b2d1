// SPDX-License-Identifier: Apache-2.0

import { create, toBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { test } from "node:test";
import { ExecDetailsV2Schema } from "../../../gen/kvrpcpb_pb.ts";
import { TransactionDetails } from "../../../src/txn/transaction_details.ts";

const MS = 1_000_000n;

/** Notes requests, each with when it was sent and answered. */
function noteAll(
  details: TransactionDetails,
  requests: readonly (readonly [name: string, sentAt: number, endedAt: number, regionId: bigint])[],
): void {
  let time = 0;
  const now = (): number => time;
  const ends = new Map<number, (reply: undefined) => void>();
  const events = requests.flatMap(([name, sentAt, endedAt, regionId], index) => [
    {
      at: sentAt,
      run: () => ends.set(index, details.beginRequest(name, { regionId, storeId: regionId * 10n, now })),
    },
    { at: endedAt, run: () => ends.get(index)?.(undefined) },
  ]);
  for (const { at, run } of events.sort((a, b) => a.at - b.at)) {
    time = at;
    run();
  }
}

test("[TXN-042] requests are tallied by kind: how many, to how many regions, together and at once", () => {
  const details = new TransactionDetails();
  noteAll(details, [
    ["KvPrewrite", 0, 10, 1n],
    ["KvPrewrite", 5, 30, 2n],
    ["KvPrewrite", 50, 55, 1n],
    ["KvCommit", 60, 64, 1n],
  ]);
  assert.deepEqual(
    Object.fromEntries([...details.requests].map(([name, tally]) => {
      const { count, totalMs, busyMs, regions, slowest } = tally;
      return [name, { count, totalMs, busyMs, regions, slowest }];
    })),
    {
      KvPrewrite: {
        count: 3,
        totalMs: 40,
        busyMs: 35,
        regions: 2,
        slowest: { ms: 25, regionId: 2n, storeId: 20n },
      },
      KvCommit: {
        count: 1,
        totalMs: 4,
        busyMs: 4,
        regions: 1,
        slowest: { ms: 4, regionId: 1n, storeId: 10n },
      },
    },
  );
});

test("[TXN-042] merge() adds everything, and leaves the other one as it is", () => {
  const one = new TransactionDetails();
  const two = new TransactionDetails();
  noteAll(one, [["KvPrewrite", 0, 10, 1n]]);
  noteAll(two, [["KvPrewrite", 0, 30, 1n], ["KvPrewrite", 0, 5, 2n], ["KvCommit", 0, 7, 3n]]);
  for (const details of [one, two]) {
    details.addAttempt();
    details.addMutations(2, 20);
    details.addStep("commit", 12);
    details.addLocks(3, 4);
    details.reads.addCacheHits(5);
  }
  two.addStep("lock", 1);
  const before = String(two);
  one.merge(two);
  assert.equal(String(two), before);
  assert.deepEqual([one.attempts, one.writtenKeys, one.writtenBytes], [2, 4, 40]);
  assert.deepEqual([one.locks, one.resolveMs, one.reads.cacheHits], [6, 8, 10]);
  assert.deepEqual([...one.steps], [
    ["commit", { count: 2, totalMs: 24 }],
    ["lock", { count: 1, totalMs: 1 }],
  ]);
  const prewrite = one.requests.get("KvPrewrite");
  assert.deepEqual([prewrite?.count, prewrite?.totalMs, prewrite?.regions], [3, 45, 2]);
  assert.deepEqual(prewrite?.slowest, { ms: 30, regionId: 1n, storeId: 10n });
  assert.deepEqual(one.requests.get("KvCommit")?.count, 1);
});

test("[TXN-042] what stores tell of writes is taken apart and summed up", () => {
  const details = new TransactionDetails();
  const execDetailsV2Bytes = toBinary(
    ExecDetailsV2Schema,
    create(ExecDetailsV2Schema, {
      timeDetailV2: { waitWallTimeNs: 2n * MS, processWallTimeNs: 3n * MS, totalRpcWallTimeNs: 9n * MS },
      writeDetail: {
        storeBatchWaitNanos: 1n * MS,
        proposeSendWaitNanos: 2n * MS,
        persistLogNanos: 4n * MS,
        commitLogNanos: 6n * MS,
        applyBatchWaitNanos: 3n * MS,
        applyLogNanos: 5n * MS,
        latchWaitNanos: 7n * MS,
        processNanos: 8n * MS,
        throttleNanos: 9n * MS,
        pessimisticLockWaitNanos: 10n * MS,
      },
    }),
  );
  for (let round = 0; round < 2; round++) {
    const end = details.beginRequest("KvPrewrite", { regionId: 1n, storeId: 1n, now: () => 0 });
    end({ regionError: undefined, execDetailsV2Bytes });
  }
  assert.deepEqual(details.writeTime, {
    latchMs: 14,
    lockWaitMs: 20,
    processMs: 16,
    throttleMs: 18,
    logMs: 18,
    applyMs: 16,
  });
  assert.deepEqual(details.time, { waitMs: 4, processMs: 6, kvReadMs: 0, rpcMs: 18 });
});

test("[TXN-042] a line for logs says it all, and nothing of keys", () => {
  const details = new TransactionDetails();
  assert.equal(
    String(details),
    "attempts: 0; written: 0 keys, 0 bytes; steps: none; requests: none; waits: none; " +
      `locks: 0 in 0 ms; reads: (${details.reads})`,
  );
  noteAll(details, [["KvPrewrite", 0, 10, 1n]]);
  details.addStep("commit", 12.34);
  assert.match(
    String(details),
    /steps: 1 commit in 12.3 ms; requests: 1 KvPrewrite to 1 regions in 10 ms \(slowest 10 ms\);/,
  );
});

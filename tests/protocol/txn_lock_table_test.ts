// SPDX-License-Identifier: Apache-2.0
// What is done about a lock, row by row: the answers of its primary are written by the test, and
// every request of the resolver is compared.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Action, KeyErrorSchema, type LockInfo, LockInfoSchema, Op } from "../../gen/kvrpcpb_pb.ts";
import { TikvError } from "../../src/errors.ts";
import type { BodyOf } from "../../src/rpc/commands.ts";
import { MAX_TS } from "../../src/txn/locks/lock_calls.ts";
import type { ResolveOptions, ResolveResult } from "../../src/txn/locks/lock_resolver.ts";
import { timestampOf } from "../../src/types.ts";
import { bytes, text } from "../unit/raw/fake_store.ts";
import { COMMITTED, LOCK_TS, NOTHING, READ_TS, type Scene, scene, START_MS } from "./txn_scene.ts";

/** A transaction whose locks of 3 s are over. */
const OLD_TS = timestampOf(START_MS - 10_000n, 1n);
/** What the cluster's clock says. */
const NOW = timestampOf(START_MS, 1_000n);

type LockInit = MessageInitShape<typeof LockInfoSchema>;

function lockOf(init: LockInit = {}): LockInfo {
  return create(LockInfoSchema, {
    key: bytes("s"),
    primaryLock: bytes("p"),
    lockVersion: LOCK_TS,
    lockTtl: 3_000n,
    txnSize: 2n,
    ...init,
  });
}

const PESSIMISTIC = { lockType: Op.PessimisticLock, lockForUpdateTs: LOCK_TS + 5n };
const OLD = { lockVersion: OLD_TS };
const MISSING = { ...NOTHING, error: create(KeyErrorSchema, { txnNotFound: {} }) };
const MISMATCH = { ...NOTHING, error: create(KeyErrorSchema, { primaryMismatch: {} }) };
const ENDED = { ...NOTHING, lockTtl: 0n, commitVersion: 0n };
const ROLLED_BACK = { ...ENDED, action: Action.TTLExpireRollback };
const NEVER_THERE = { ...ENDED, action: Action.LockNotExistRollback };
const RELEASED = { ...ENDED, action: Action.TTLExpirePessimisticRollback };
const NOTHING_DONE = { ...ENDED, action: Action.LockNotExistDoNothing };

function alive(ttlMs: bigint, init?: LockInit, action: Action = Action.NoAction): unknown {
  const lockInfo = lockOf({ key: bytes("p"), lockTtl: ttlMs, ...init });
  return { ...NOTHING, lockTtl: ttlMs, commitVersion: 0n, action, lockInfo };
}

function asyncPrimary(lockVersion: bigint): unknown {
  const secondaries = [bytes("s"), bytes("t")];
  return alive(3_000n, { lockVersion, useAsyncCommit: true, secondaries, minCommitTs: lockVersion + 7n });
}

function held(key: string, lockVersion: bigint, init: LockInit = {}): LockInfo {
  return lockOf({
    key: bytes(key),
    lockVersion,
    useAsyncCommit: true,
    minCommitTs: lockVersion + 9n,
    ...init,
  });
}

interface Row {
  readonly what: string;
  /** Of the inventory, besides those that all rows have. */
  readonly ids?: string;
  readonly lock: LockInfo;
  /** Of the primary, one after the other; the last one for ever. */
  readonly answers: readonly unknown[];
  /** Of the other keys. */
  readonly secondaries?: unknown;
  readonly options?: Partial<ResolveOptions>;
  /** The requests, in order. */
  readonly requests: readonly string[];
  /** What the caller is told; the kind of the error where there is one. */
  readonly result: Partial<ResolveResult> | string;
}

const ROWS: readonly Row[] = [
  {
    what: "missing, the lock's time is up: asked again, with the order to leave a rollback",
    ids: "[TXN-162] [T-24]",
    lock: lockOf(OLD),
    answers: [MISSING, NEVER_THERE],
    requests: ["ask p now", "ask p now, roll back", "resolve s as rolled back"],
    result: { ignored: [OLD_TS] },
  },
  {
    what: "missing, the lock's time is up, pessimistic: released, and no end of the transaction",
    ids: "[TXN-162] [T-24] [TXN-167] [T-26]",
    lock: lockOf({ ...OLD, ...PESSIMISTIC }),
    answers: [MISSING, NOTHING_DONE],
    requests: ["ask p now, pessimistic", "ask p now, roll back, pessimistic", "release s at +5"],
    result: {},
  },
  {
    what: "missing, pessimistic: the lock's own time is waited for",
    ids: "[TXN-162] [T-24] [TXN-167]",
    lock: lockOf(PESSIMISTIC),
    answers: [MISSING],
    requests: ["ask p now, pessimistic"],
    result: { waitMs: 3_001 },
  },
  {
    what: "missing, prewritten: asked again after a short wait, until it is there",
    ids: "[TXN-162] [T-24]",
    lock: lockOf(),
    answers: [MISSING, MISSING, COMMITTED],
    requests: ["ask p now", "ask p now", "ask p now", "resolve s as committed"],
    result: { readThrough: [LOCK_TS] },
  },
  {
    what: "another primary, pessimistic: the lock is released, the transaction is left alone",
    ids: "[TXN-167] [T-26] [T-25]",
    lock: lockOf(PESSIMISTIC),
    answers: [MISMATCH],
    requests: ["ask p now, pessimistic", "release s at +5"],
    result: {},
  },
  {
    what: "another primary, prewritten: TiKV does not do that",
    ids: "[T-25]",
    lock: lockOf(),
    answers: [MISMATCH],
    requests: ["ask p now"],
    result: "protocol",
  },
  {
    what: "alive: the primary's time is waited for, not the lock's",
    ids: "[T-77]",
    lock: lockOf({ lockTtl: 1n }),
    answers: [alive(5_000n)],
    requests: ["ask p now"],
    result: { waitMs: 5_001 },
  },
  {
    what: "alive and pushed behind the reader: looked past",
    ids: "[TXN-149]",
    lock: lockOf(),
    answers: [alive(5_000n, {}, Action.MinCommitTSPushed)],
    requests: ["ask p now"],
    result: { ignored: [LOCK_TS] },
  },
  {
    what: "alive and pushed, for a writer: waited for all the same",
    lock: lockOf(),
    answers: [alive(5_000n, {}, Action.MinCommitTSPushed)],
    options: { mode: "write" },
    requests: ["ask p now"],
    result: { waitMs: 5_001 },
  },
  {
    what: "alive, async commit, its time is not up: waited for",
    ids: "[TXN-165]",
    lock: lockOf(),
    answers: [asyncPrimary(LOCK_TS)],
    requests: ["ask p now"],
    result: { waitMs: 3_001 },
  },
  {
    what: "alive, async commit, its time is up, all keys there: committed at the largest demand",
    ids: "[TXN-165]",
    lock: lockOf(OLD),
    answers: [asyncPrimary(OLD_TS)],
    secondaries: { ...NOTHING, locks: [held("s", OLD_TS), held("t", OLD_TS)], commitTs: 0n },
    requests: ["ask p now", "check s t", "resolve p s t as committed at +9"],
    result: { readThrough: [OLD_TS] },
  },
  {
    what: "alive, async commit, its time is up, a key lacks: rolled back",
    ids: "[TXN-165]",
    lock: lockOf(OLD),
    answers: [asyncPrimary(OLD_TS)],
    secondaries: { ...NOTHING, locks: [held("s", OLD_TS)], commitTs: 0n },
    requests: ["ask p now", "check s t", "resolve p s t as rolled back"],
    result: { ignored: [OLD_TS] },
  },
  {
    what: "alive, async commit, its time is up, a key is committed already: committed as that one",
    ids: "[TXN-165]",
    lock: lockOf(OLD),
    answers: [asyncPrimary(OLD_TS)],
    secondaries: { ...NOTHING, locks: [held("s", OLD_TS)], commitTs: OLD_TS + 12n },
    requests: ["ask p now", "check s t", "resolve p s t as committed at +12"],
    result: { readThrough: [OLD_TS] },
  },
  {
    what: "alive, async commit, its time is up, one lock is none of that: the primary alone decides",
    ids: "[TXN-165] [T-28]",
    lock: lockOf(OLD),
    answers: [asyncPrimary(OLD_TS), ROLLED_BACK],
    secondaries: {
      ...NOTHING,
      locks: [held("s", OLD_TS, { useAsyncCommit: false, minCommitTs: 0n }), held("t", OLD_TS)],
      commitTs: 0n,
    },
    requests: ["ask p now", "check s t", "ask p now, force sync", "resolve s as rolled back"],
    result: { ignored: [OLD_TS] },
  },
  {
    what: "alive, async commit, its keys contradict each other: nobody is told anything",
    ids: "[TXN-165]",
    lock: lockOf(OLD),
    answers: [asyncPrimary(OLD_TS)],
    secondaries: { ...NOTHING, locks: [held("s", OLD_TS)], commitTs: OLD_TS + 8n },
    requests: ["ask p now", "check s t"],
    result: "protocol",
  },
  {
    what: "committed before the read: looked through",
    ids: "[TXN-149]",
    lock: lockOf(),
    answers: [COMMITTED],
    requests: ["ask p now", "resolve s as committed"],
    result: { readThrough: [LOCK_TS] },
  },
  {
    what: "committed after the read: looked past",
    ids: "[TXN-149]",
    lock: lockOf(),
    answers: [{ ...COMMITTED, commitVersion: READ_TS + 1n }],
    requests: ["ask p now", "resolve s as committed at 501"],
    result: { ignored: [LOCK_TS] },
  },
  {
    what: "committed, a large transaction: all of its locks in the region",
    ids: "[T-76]",
    lock: lockOf({ txnSize: 512n }),
    answers: [COMMITTED],
    requests: ["ask p now", "resolve region as committed"],
    result: { readThrough: [LOCK_TS] },
  },
  {
    what: "committed, a large transaction, one key read: that key",
    ids: "[T-76]",
    lock: lockOf({ txnSize: MAX_TS }),
    answers: [COMMITTED],
    options: { isLite: true },
    requests: ["ask p now", "resolve s as committed"],
    result: { readThrough: [LOCK_TS] },
  },
  {
    what: "committed, met at its primary: the question has resolved it",
    lock: lockOf({ key: bytes("p") }),
    answers: [COMMITTED],
    requests: ["ask p now"],
    result: { readThrough: [LOCK_TS] },
  },
  {
    what: "committed, a large transaction met at its primary: the rest of the region is resolved",
    ids: "[T-76]",
    lock: lockOf({ key: bytes("p"), txnSize: 600n }),
    answers: [COMMITTED],
    requests: ["ask p now", "resolve region as committed"],
    result: { readThrough: [LOCK_TS] },
  },
  {
    what: "rolled back",
    lock: lockOf(),
    answers: [ROLLED_BACK],
    requests: ["ask p now", "resolve s as rolled back"],
    result: { ignored: [LOCK_TS] },
  },
  {
    what: "only released, but prewritten: TiKV does not answer so",
    ids: "[T-26]",
    lock: lockOf(),
    answers: [RELEASED],
    requests: ["ask p now"],
    result: "protocol",
  },
  {
    what: "only released, pessimistic: released, and nothing is concluded",
    ids: "[TXN-167] [T-26]",
    lock: lockOf(PESSIMISTIC),
    answers: [RELEASED],
    requests: ["ask p now, pessimistic", "release s at +5"],
    result: {},
  },
  {
    what: "committed, pessimistic: the lock was none of its writes",
    ids: "[TXN-167]",
    lock: lockOf(PESSIMISTIC),
    answers: [COMMITTED],
    options: { mode: "write" },
    requests: ["ask p now, pessimistic", "release s at +5"],
    result: {},
  },
  {
    what: "rolled back, pessimistic, without a timestamp of its own: all that there is",
    ids: "[TXN-167] [T-27]",
    lock: lockOf({ ...PESSIMISTIC, lockForUpdateTs: 0n }),
    answers: [ROLLED_BACK],
    requests: ["ask p now, pessimistic", "release s at the end of time"],
    result: { ignored: [LOCK_TS] },
  },
  {
    what: "rolled back, pessimistic, all that the region has",
    ids: "[TXN-167]",
    lock: lockOf(PESSIMISTIC),
    answers: [ROLLED_BACK],
    options: { mode: "write", releasesRegion: true },
    requests: ["ask p now, pessimistic", "release region at +5"],
    result: {},
  },
  {
    what: "pessimistic and its primary: the question has released it",
    ids: "[TXN-167] [T-26]",
    lock: lockOf({ ...PESSIMISTIC, key: bytes("p") }),
    answers: [RELEASED],
    requests: ["ask p now, pessimistic"],
    result: {},
  },
  {
    what: "shared, pessimistic: as any other of that kind",
    ids: "[TXN-167]",
    lock: lockOf({ ...PESSIMISTIC, lockType: Op.SharedPessimisticLock }),
    answers: [RELEASED],
    requests: ["ask p now, pessimistic", "release s at +5"],
    result: {},
  },
  {
    what: "a time to live of 0: asked for at the end of time, the only case for who is no collector",
    ids: "[TXN-162] [T-23]",
    lock: lockOf({ lockTtl: 0n }),
    answers: [MISSING, NEVER_THERE],
    options: { mode: "write" },
    requests: ["ask p max", "ask p max, roll back", "resolve s as rolled back"],
    result: {},
  },
];

/** The requests in words. */
function requestsOf({ regions }: Scene, startTs: bigint): string[] {
  return regions.sent.map(({ method, body }) => {
    switch (method) {
      case "KvCheckTxnStatus":
        return askText(body as BodyOf<"KvCheckTxnStatus">, startTs);
      case "KvResolveLock": {
        const { keys, commitVersion = 0n } = body as BodyOf<"KvResolveLock">;
        return `resolve ${keysText(keys)} as ${endText(commitVersion, startTs)}`;
      }
      case "KVPessimisticRollback": {
        const { keys, forUpdateTs = 0n } = body as BodyOf<"KVPessimisticRollback">;
        const until = forUpdateTs === MAX_TS ? "the end of time" : `+${forUpdateTs - LOCK_TS}`;
        return `release ${keysText(keys)} at ${until}`;
      }
      case "KvCheckSecondaryLocks":
        return `check ${keysText((body as BodyOf<"KvCheckSecondaryLocks">).keys)}`;
      default:
        return method;
    }
  });
}

function askText(body: BodyOf<"KvCheckTxnStatus">, startTs: bigint): string {
  // Always, or a secondary could be taken for the primary.
  assert.equal(body.verifyIsPrimary, true);
  assert.deepEqual([body.lockTs, body.callerStartTs], [startTs, READ_TS]);
  const { currentTs = 0n } = body;
  // The cluster's time, never the end of it, and never the local one.
  assert.ok(currentTs >= NOW && (currentTs === MAX_TS || currentTs < timestampOf(START_MS + 1_000n, 0n)));
  const flags = [
    body.rollbackIfNotExist === true ? ", roll back" : "",
    body.forceSyncCommit === true ? ", force sync" : "",
    body.resolvingPessimisticLock === true ? ", pessimistic" : "",
  ];
  const primary = text(body.primaryKey ?? bytes(""));
  return `ask ${primary} ${currentTs === MAX_TS ? "max" : "now"}${flags.join("")}`;
}

function keysText(keys: readonly Uint8Array[] | undefined): string {
  return keys === undefined || keys.length === 0 ? "region" : keys.map(text).join(" ");
}

function endText(commitTs: bigint, startTs: bigint): string {
  if (commitTs === 0n) return "rolled back";
  if (commitTs === READ_TS + 1n) return "committed at 501";
  return commitTs === startTs + 1n ? "committed" : `committed at +${commitTs - startTs}`;
}

for (const row of ROWS) {
  const name = ["[C3] [TXN-160] [TXN-163]", row.ids, row.what].filter((part) => part !== undefined);
  test(name.join(" "), async () => {
    const answers = [...row.answers];
    const world = scene(({ method }) => {
      switch (method) {
        case "KvCheckTxnStatus":
          return answers.length > 1 ? answers.shift() : answers[0];
        case "KvCheckSecondaryLocks":
          return row.secondaries;
        case "KVPessimisticRollback":
          return { ...NOTHING, errors: [] };
        default:
          return NOTHING;
      }
    });
    const options: ResolveOptions = { callerTs: READ_TS, mode: "read", ...row.options };
    const resolving = world.locks.resolve([row.lock], options, world.operation());
    if (typeof row.result === "string") {
      await assert.rejects(
        world.clock.run(resolving),
        (error) => TikvError.is(error) && error.kind === row.result,
      );
    } else {
      const result = await world.clock.run(resolving);
      assert.deepEqual(result, { waitMs: 0, ignored: [], readThrough: [], ...row.result });
    }
    await world.clock.advance(0);
    const startTs = row.lock.lockVersion;
    assert.deepEqual(requestsOf(world, startTs), row.requests);
  });
}

// SPDX-License-Identifier: Apache-2.0
// Histories of requests in which every answer is known, as data.

import { Assertion, AssertionLevel, Op } from "../../gen/kvrpcpb_pb.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import type { Capability } from "./backend.ts";

/** A request, and the answer as the suite tells it. */
export type Step = readonly [method: string, body: (play: Play) => object, answer: string];

/** A history of one region. */
export interface History {
  readonly what: string;
  readonly needs?: readonly Capability[];
  readonly steps: readonly Step[];
}

/** The keys and times of one run of a history. */
export interface Play {
  readonly key: (name: string) => Uint8Array;
  /** A timestamp so many milliseconds after the start of the run. */
  readonly at: (ms: number) => bigint;
}

const TTL = 3_000n;

/** A prewrite of puts; options are fields of the request and of its mutations. */
function prewrite(
  keys: readonly string[],
  startMs: number,
  { mutation = {}, ...more }: { readonly mutation?: object } & Record<string, unknown> = {},
): (play: Play) => object {
  return ({ key, at }) => ({
    mutations: keys.map((name) => ({
      op: Op.Put,
      key: key(name),
      value: utf8Encode(`${name}!`),
      ...mutation,
    })),
    primaryLock: key(keys[0] ?? ""),
    startVersion: at(startMs),
    lockTtl: TTL,
    txnSize: BigInt(keys.length),
    minCommitTs: at(startMs + 1),
    ...resolved(more, { key, at }),
  });
}

/** A pessimistic lock that is not waited for. */
function lock(
  keys: readonly string[],
  startMs: number,
  { mutation = {}, ...more }: { readonly mutation?: object } & Record<string, unknown> = {},
): (play: Play) => object {
  return ({ key, at }) => ({
    mutations: keys.map((name) => ({ op: Op.PessimisticLock, key: key(name), ...mutation })),
    primaryLock: key(keys[0] ?? ""),
    startVersion: at(startMs),
    forUpdateTs: at(startMs),
    lockTtl: TTL,
    waitTimeout: -1n,
    ...resolved(more, { key, at }),
  });
}

/** Fields that are functions of the run. */
function resolved(fields: Readonly<Record<string, unknown>>, play: Play): object {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === "function" ? value(play) : value]),
  );
}

function commit(keys: readonly string[], startMs: number, commitMs: number): (play: Play) => object {
  return ({ key, at }) => ({ keys: keys.map(key), startVersion: at(startMs), commitVersion: at(commitMs) });
}

function flush(
  keys: readonly string[],
  startMs: number,
  generation: bigint,
  mutation: object = {},
): (play: Play) => object {
  return ({ key, at }) => ({
    mutations: keys.map((name) => ({
      op: Op.Put,
      key: key(name),
      value: utf8Encode(`${name}!`),
      ...mutation,
    })),
    primaryKey: key("a"),
    startTs: at(startMs),
    generation,
    lockTtl: TTL,
  });
}

function ofKeys(
  keys: readonly string[],
  startMs: number,
  more: Record<string, unknown> = {},
): (play: Play) => object {
  return (play) => ({
    keys: keys.map(play.key),
    startVersion: play.at(startMs),
    ...resolved(more, play),
  });
}

function get(name: string, ms: number, context: (play: Play) => object = () => ({})): (play: Play) => object {
  return (play) => ({ key: play.key(name), version: play.at(ms), context: context(play) });
}

function scan(ms: number, more: object = {}): (play: Play) => object {
  return ({ key, at }) => ({ startKey: key("a"), endKey: key("m"), limit: 10, version: at(ms), ...more });
}

function scanLock(maxMs: number, [start, end] = ["a", "m"], limit = 10): (play: Play) => object {
  return ({ key, at }) => ({
    startKey: key(start ?? ""),
    endKey: key(end ?? ""),
    maxVersion: at(maxMs),
    limit,
  });
}

function status(
  name: string,
  startMs: number,
  { nowMs = 60, callerMs, ...more }: { nowMs?: number; callerMs?: number } & Record<string, unknown> = {},
): (play: Play) => object {
  return ({ key, at }) => ({
    primaryKey: key(name),
    lockTs: at(startMs),
    callerStartTs: callerMs === undefined ? 0n : at(callerMs),
    currentTs: at(nowMs),
    verifyIsPrimary: true,
    ...more,
  });
}

/** Every history. */
export const HISTORIES: readonly History[] = [
  {
    what: "a value appears with its commit, and its lock is in the way until then",
    steps: [
      ["KvGet", get("a", 10), "nothing"],
      ["KvPrewrite", prewrite(["a"], 10), "done"],
      ["KvPrewrite", prewrite(["a"], 10), "done"],
      ["KvGet", get("a", 20), "locked a 10 put min=11"],
      ["KvGet", get("a", 9), "nothing"],
      ["KvGet", get("a", 20, ({ at }) => ({ resolvedLocks: [at(10)] })), "nothing"],
      ["KvGet", get("a", 20, ({ at }) => ({ committedLocks: [at(10)] })), "a!"],
      [
        "KvBatchGet",
        ({ key, at }) => ({ keys: [key("a"), key("b")], version: at(20) }),
        "[locked a 10 put min=11]",
      ],
      ["KvScan", scan(20), "[locked a 10 put min=11]"],
      ["KvPrewrite", prewrite(["a"], 20), "locked a 10 put min=11"],
      ["KvCommit", commit(["a"], 10, 30), "done"],
      ["KvCommit", commit(["a"], 10, 30), "done"],
      ["KvGet", get("a", 29), "nothing"],
      ["KvGet", get("a", 30), "a!"],
      ["KvPrewrite", prewrite(["a"], 20), "conflict a 20 with 10..30 (1)"],
      ["KvBatchRollback", ofKeys(["a"], 10), "over"],
      ["KvCommit", commit(["a"], 40, 50), "over"],
      ["KvCheckTxnStatus", status("a", 10), "committed 30"],
      ["KvCheckSecondaryLocks", ofKeys(["a"], 10), "[] committed 30"],
    ],
  },
  {
    what: "a commit must not be before what readers were told",
    steps: [
      ["KvPrewrite", prewrite(["a"], 10, { minCommitTs: ({ at }: Play) => at(30) }), "done"],
      ["KvCommit", commit(["a"], 10, 20), "too early 20, min 30"],
      ["KvCommit", commit(["a"], 10, 30), "done"],
      ["KvPrewrite", prewrite(["b", "c"], 40), "done"],
      [
        "KvCheckTxnStatus",
        status("b", 40, { nowMs: 60, callerMs: 60 }),
        "alive 3000, pushed: locked b 40 put min=60",
      ],
      ["KvCommit", commit(["b"], 40, 60), "too early 60, min 60"],
      ["KvCommit", commit(["b"], 40, 61), "done"],
      ["KvGet", get("b", 60), "nothing"],
      ["KvGet", get("b", 61), "b!"],
    ],
  },
  {
    what: "what is rolled back stays so, also before it has begun",
    steps: [
      ["KvBatchRollback", ofKeys(["a", "b"], 10), "done"],
      ["KvPrewrite", prewrite(["a"], 10), "over"],
      ["KvPrewrite", prewrite(["a"], 20), "done"],
      ["KvBatchRollback", ofKeys(["a"], 20), "done"],
      ["KvBatchRollback", ofKeys(["a"], 20), "done"],
      ["KvGet", get("a", 40), "nothing"],
      ["KvCommit", commit(["a"], 20, 30), "over"],
      ["KvCheckTxnStatus", status("a", 20), "rolled back (0)"],
      [
        "KvTxnHeartBeat",
        ({ key, at }) => ({ primaryLock: key("a"), startVersion: at(20), adviseLockTtl: 5_000n }),
        "over",
      ],
      ["KvCleanup", ({ key, at }) => ({ key: key("a"), startVersion: at(50), currentTs: at(60) }), "done"],
      ["KvCheckTxnStatus", status("a", 50), "rolled back (0)"],
      ["KvPrewrite", prewrite(["a"], 50), "over"],
    ],
  },
  {
    what: "the state of a transaction is told by its primary",
    steps: [
      ["KvCheckTxnStatus", status("a", 10), "not found"],
      ["KvCheckTxnStatus", status("a", 10, { rollbackIfNotExist: true }), "rolled back (2)"],
      ["KvCheckTxnStatus", status("a", 10, { rollbackIfNotExist: true }), "rolled back (0)"],
      ["KvPrewrite", prewrite(["b", "c"], 20), "done"],
      ["KvCheckTxnStatus", status("c", 20), "not the primary: locked c 20 put min=21"],
      [
        "KvTxnHeartBeat",
        ({ key, at }) => ({ primaryLock: key("b"), startVersion: at(20), adviseLockTtl: 5_000n }),
        "alive 5000",
      ],
      [
        "KvTxnHeartBeat",
        ({ key, at }) => ({ primaryLock: key("b"), startVersion: at(20), adviseLockTtl: 4_000n }),
        "alive 5000",
      ],
      [
        "KvCheckTxnStatus",
        status("b", 20, { nowMs: 5_000, callerMs: 60 }),
        "alive 5000, pushed: locked b 20 put min=5000",
      ],
      ["KvCheckTxnStatus", status("b", 20, { nowMs: 5_021 }), "rolled back (1)"],
      ["KvCheckTxnStatus", status("b", 20, { nowMs: 5_021 }), "rolled back (0)"],
      ["KvResolveLock", ofKeys(["c"], 20), "done"],
      ["KvScan", scan(9_000), "[]"],
      ["KvScanLock", scanLock(9_000), "[]"],
    ],
  },
  {
    what: "inserts and assertions look at what is there",
    steps: [
      ["KvPrewrite", prewrite(["a"], 10), "done"],
      ["KvCommit", commit(["a"], 10, 20), "done"],
      ["KvPrewrite", prewrite(["a"], 30, { mutation: { op: Op.Insert } }), "exists a"],
      ["KvPrewrite", prewrite(["a"], 30, { mutation: { op: Op.CheckNotExists } }), "exists a"],
      ["KvPrewrite", prewrite(["c"], 30, { mutation: { op: Op.CheckNotExists } }), "done"],
      ["KvPrewrite", prewrite(["d"], 32, { mutation: { op: Op.Insert } }), "done"],
      ["KvScanLock", scanLock(32), "[d 32 put min=33]"],
      ["KvScanLock", scanLock(31), "[]"],
      ["KvScanLock", scanLock(40, ["e", "m"]), "[]"],
      [
        "KvPrewrite",
        prewrite(["a"], 40, {
          mutation: { assertion: Assertion.NotExist },
          assertionLevel: AssertionLevel.Strict,
        }),
        "asserted a (2), there 10..20",
      ],
      [
        "KvPrewrite",
        prewrite(["e"], 40, {
          mutation: { assertion: Assertion.Exist },
          assertionLevel: AssertionLevel.Strict,
        }),
        "asserted e (1), there 0..0",
      ],
      [
        "KvPrewrite",
        prewrite(["a"], 40, {
          mutation: { assertion: Assertion.Exist },
          assertionLevel: AssertionLevel.Strict,
        }),
        "done",
      ],
    ],
  },
  {
    what: "locks are resolved by their keys, by their region, and for many transactions at once",
    steps: [
      ["KvPrewrite", prewrite(["a", "b"], 10), "done"],
      ["KvPrewrite", prewrite(["c", "d"], 20), "done"],
      ["KvPrewrite", prewrite(["e", "f"], 30), "done"],
      ["KvScanLock", scanLock(100, ["a", "m"], 3), "[a 10 put min=11, b 10 put min=11, c 20 put min=21]"],
      ["KvResolveLock", ofKeys(["a"], 10, { commitVersion: ({ at }: Play) => at(50) }), "done"],
      ["KvScanLock", scanLock(15), "[b 10 put min=11]"],
      ["KvResolveLock", ({ at }) => ({ startVersion: at(10), commitVersion: at(50) }), "done"],
      [
        "KvResolveLock",
        ({ at }) => ({ txnInfos: [{ txn: at(20), status: at(60) }, { txn: at(30), status: 0n }] }),
        "done",
      ],
      ["KvScanLock", scanLock(100), "[]"],
      ["KvScan", scan(100), "[a=a!, b=b!, c=c!, d=d!]"],
      ["KvScan", scan(59), "[a=a!, b=b!]"],
      ["KvScan", scan(100, { limit: 3 }), "[a=a!, b=b!, c=c!]"],
      ["KvResolveLock", ofKeys(["e"], 30), "done"],
    ],
  },
  {
    what: "deletes and locks without a value",
    steps: [
      ["KvPrewrite", prewrite(["a", "b"], 10), "done"],
      ["KvCommit", commit(["a", "b"], 10, 20), "done"],
      [
        "KvPrewrite",
        ({ key, at }) => ({
          mutations: [{ op: Op.Del, key: key("a") }, { op: Op.Lock, key: key("b") }],
          primaryLock: key("a"),
          startVersion: at(30),
          lockTtl: TTL,
          minCommitTs: at(31),
        }),
        "done",
      ],
      ["KvGet", get("b", 40), "b!"],
      ["KvGet", get("a", 40), "locked a 30 delete min=31"],
      ["KvCommit", commit(["a", "b"], 30, 50), "done"],
      ["KvScan", scan(60), "[b=b!]"],
      ["KvScan", scan(49), "[a=a!, b=b!]"],
      ["KvPrewrite", prewrite(["a"], 40), "conflict a 40 with 30..50 (1)"],
      ["KvPrewrite", prewrite(["a"], 60, { mutation: { op: Op.Insert } }), "done"],
    ],
  },
  {
    what: "a lock that was committed without a value is a conflict for who began before",
    needs: ["lock-records"],
    steps: [
      ["KvPrewrite", prewrite(["b"], 30, { mutation: { op: Op.Lock } }), "done"],
      ["KvCommit", commit(["b"], 30, 50), "done"],
      ["KvPrewrite", prewrite(["b"], 40), "conflict b 40 with 30..50 (1)"],
      ["KvPessimisticLock", lock(["b"], 40), "conflict b 40 with 30..50 (2)"],
      ["KvGet", get("b", 60), "nothing"],
      ["KvPrewrite", prewrite(["b"], 60), "done"],
    ],
  },
  {
    what: "pessimistic locks: values, conflicts, who has them, and how they become others",
    steps: [
      ["KvPrewrite", prewrite(["a"], 10), "done"],
      ["KvCommit", commit(["a"], 10, 20), "done"],
      ["KvPessimisticLock", lock(["a"], 15), "conflict a 15 with 10..20 (2)"],
      [
        "KvPessimisticLock",
        lock(["a", "b"], 15, { forUpdateTs: ({ at }: Play) => at(30), returnValues: true }),
        "[a!, nothing]",
      ],
      [
        "KvPessimisticLock",
        lock(["a"], 15, { forUpdateTs: ({ at }: Play) => at(35), returnValues: true }),
        "[a!]",
      ],
      ["KvPessimisticLock", lock(["a"], 40), "locked a 15 pessimistic for=35"],
      ["KvGet", get("a", 50), "a!"],
      ["KvPrewrite", prewrite(["b"], 50), "locked b 15 pessimistic for=30"],
      ["KVPessimisticRollback", ofKeys(["b"], 15, { forUpdateTs: ({ at }: Play) => at(29) }), "done"],
      ["KvScanLock", scanLock(100), "[a 15 pessimistic for=35, b 15 pessimistic for=30]"],
      ["KVPessimisticRollback", ofKeys(["b"], 15, { forUpdateTs: ({ at }: Play) => at(30) }), "done"],
      ["KvScanLock", scanLock(100), "[a 15 pessimistic for=35]"],
      ["KvCheckTxnStatus", status("a", 15), "alive 3000: locked a 15 pessimistic for=35"],
      [
        "KvPrewrite",
        prewrite(["a", "c"], 15, { forUpdateTs: ({ at }: Play) => at(35), pessimisticActions: [1, 0] }),
        "done",
      ],
      ["KVPessimisticRollback", ofKeys(["a"], 15, { forUpdateTs: ({ at }: Play) => at(90) }), "done"],
      ["KvScanLock", scanLock(100), "[a 15 put for=35 min=16, c 15 put for=35 min=16]"],
      ["KvCommit", commit(["a", "c"], 15, 60), "done"],
      ["KvScan", scan(100), "[a=a!, c=c!]"],
    ],
  },
  {
    what: "pessimistic locks of keys that must or must not be there, and their end",
    steps: [
      ["KvPrewrite", prewrite(["a"], 10), "done"],
      ["KvCommit", commit(["a"], 10, 20), "done"],
      ["KvPessimisticLock", lock(["d"], 70, { lockOnlyIfExists: true, returnValues: true }), "[nothing]"],
      ["KvScanLock", scanLock(100), "[]"],
      ["KvPessimisticLock", lock(["a"], 70, { mutation: { assertion: Assertion.NotExist } }), "exists a"],
      ["KvPessimisticLock", lock(["d"], 70, { mutation: { assertion: Assertion.NotExist } }), "done"],
      [
        "KvPessimisticLock",
        lock(["a", "d"], 70, { primaryLock: ({ key }: Play) => key("d"), checkExistence: true }),
        "[there, nothing]",
      ],
      [
        "KvCheckTxnStatus",
        status("d", 70, { nowMs: 9_000, resolvingPessimisticLock: true, rollbackIfNotExist: true }),
        "rolled back (4)",
      ],
      [
        "KvCheckTxnStatus",
        status("d", 70, { nowMs: 9_000, resolvingPessimisticLock: true, rollbackIfNotExist: true }),
        "rolled back (5)",
      ],
      ["KvCheckTxnStatus", status("d", 70, { nowMs: 9_000, rollbackIfNotExist: true }), "rolled back (2)"],
      ["KvPessimisticLock", lock(["d"], 70, { forUpdateTs: ({ at }: Play) => at(700) }), "over"],
    ],
  },
  {
    what: "an async commit is kept alive, and rolled back once a secondary was missing",
    steps: [
      ["KvPrewrite", prewrite(["a"], 10, asyncCommit(["b", "c"])), "async"],
      [
        "KvPrewrite",
        prewrite(["b"], 10, { ...asyncCommit(), primaryLock: ({ key }: Play) => key("a") }),
        "async",
      ],
      ["KvCheckTxnStatus", status("a", 10, { nowMs: 9_000 }), "alive 3000: locked a 10 put async of b,c"],
      ["KvCheckSecondaryLocks", ofKeys(["b"], 10), "[b 10 put async] committed 0"],
      ["KvCheckSecondaryLocks", ofKeys(["b", "c"], 10), "[] committed 0"],
      ["KvCheckSecondaryLocks", ofKeys(["b", "c"], 10), "[] committed 0"],
      ["KvCheckTxnStatus", status("a", 10, { nowMs: 9_000, forceSyncCommit: true }), "rolled back (1)"],
      ["KvResolveLock", ({ at }) => ({ startVersion: at(10) }), "done"],
      ["KvScan", scan(100), "[]"],
    ],
  },
  {
    what: "a secondary that was found missing cannot be prewritten any more",
    needs: ["secondary-checks"],
    steps: [
      ["KvPrewrite", prewrite(["a"], 10, asyncCommit(["b"])), "async"],
      ["KvCheckSecondaryLocks", ofKeys(["b"], 10), "[] committed 0"],
      [
        "KvPrewrite",
        prewrite(["b"], 10, { ...asyncCommit(), primaryLock: ({ key }: Play) => key("a") }),
        "over",
      ],
    ],
  },
  {
    what: "what is flushed is seen by its own transaction, deletes included, and by nobody else",
    steps: [
      ["KvFlush", flush(["a", "b"], 10, 1n), "done"],
      ["KvFlush", flush(["a"], 10, 2n, { op: Op.Del, value: undefined }), "done"],
      [
        "KvBufferBatchGet",
        ({ key, at }) => ({ keys: [key("a"), key("b"), key("c")], version: at(10) }),
        "[a=, b=b!]",
      ],
      ["KvBufferBatchGet", ({ key, at }) => ({ keys: [key("b")], version: at(11) }), "[]"],
      ["KvFlush", flush(["b"], 20, 1n), "locked b 10 put"],
      ["KvGet", get("b", 9), "nothing"],
      ["KvCommit", commit(["a"], 10, 30), "done"],
      ["KvResolveLock", ({ at }) => ({ startVersion: at(10), commitVersion: at(30) }), "done"],
      ["KvScan", scan(40), "[b=b!]"],
      ["KvFlush", flush(["b"], 20, 1n), "conflict b 20 with 10..30 (1)"],
    ],
  },
  {
    what: "what is known of a key, for debugging",
    steps: [
      ["MvccGetByKey", ({ key }) => ({ key: key("a") }), "no lock, no writes"],
      ["KvPrewrite", prewrite(["a"], 10), "done"],
      ["KvCommit", commit(["a"], 10, 20), "done"],
      ["KvPrewrite", prewrite(["a"], 30), "done"],
      ["MvccGetByKey", ({ key }) => ({ key: key("a") }), "put 30, writes put 10..20"],
      ["MvccGetByStartTs", ({ at }) => ({ startTs: at(10) }), "a: put 30, writes put 10..20"],
    ],
  },
  {
    what: "commits in one phase and async commits fall back when the time for them is over",
    steps: [
      [
        "KvPrewrite",
        prewrite(["a", "b"], 10, { tryOnePc: true, maxCommitTs: ({ at }: Play) => at(-60_000) }),
        "done",
      ],
      [
        "KvPrewrite",
        prewrite(["c"], 10, { ...asyncCommit([]), maxCommitTs: ({ at }: Play) => at(-60_000) }),
        "done",
      ],
      ["KvScanLock", scanLock(100), "[a 10 put min=11, b 10 put min=11, c 10 put min=11]"],
      [
        "KvPrewrite",
        prewrite(["d", "e"], -20, { tryOnePc: true, maxCommitTs: ({ at }: Play) => at(60_000) }),
        "1pc",
      ],
      ["KvScanLock", scanLock(100, ["d", "m"]), "[]"],
      ["KvGet", get("e", 60_000), "e!"],
      ["KvGet", get("e", -20), "nothing"],
    ],
  },
];

function asyncCommit(secondaries: readonly string[] = []): Record<string, unknown> {
  return {
    useAsyncCommit: true,
    secondaries: ({ key }: Play) => secondaries.map(key),
    maxCommitTs: ({ at }: Play) => at(60_000),
  };
}

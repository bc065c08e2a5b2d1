// SPDX-License-Identifier: Apache-2.0
// Laws that hold whatever clients do and wherever they stop.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeBytes } from "../../../../src/bytes/memcomparable.ts";
import { commitKeys, resolveKeys, rollbackKeys } from "../../../../src/playground/mvcc/commit.ts";
import { MvccEngine } from "../../../../src/playground/mvcc/engine.ts";
import type { ReadView } from "../../../../src/playground/mvcc/lock_check.ts";
import { MvccError } from "../../../../src/playground/mvcc/mvcc_error.ts";
import type { MvccTxn } from "../../../../src/playground/mvcc/mvcc_txn.ts";
import { prewrite } from "../../../../src/playground/mvcc/prewrite.ts";
import type { PrewriteResult } from "../../../../src/playground/mvcc/prewrite.ts";
import type { CommitPlan } from "../../../../src/playground/mvcc/prewrite_types.ts";
import { readKey } from "../../../../src/playground/mvcc/read.ts";
import { makeWrite } from "../../../../src/playground/mvcc/records.ts";
import { checkSecondaryLocks } from "../../../../src/playground/mvcc/secondary_locks.ts";
import { Tables } from "../../../../src/playground/mvcc/tables.ts";
import { checkTxnStatus } from "../../../../src/playground/mvcc/txn_status.ts";
import { ManualClock } from "../../../../src/testing/manual_clock.ts";
import { bytes, text } from "../gen_client.ts";

const KEYS = ["a", "b", "c", "d"];
const LATEST = 0xffff_ffff_ffff_ffffn;
const MAX_LENGTH = { numRuns: 300 };

type Path = "2pc" | "async" | "1pc";

/** How far a client gets: prewrites of so many keys, then commits of so many. */
interface Plan {
  readonly path: Path;
  readonly keys: readonly string[];
  readonly prewrites: number;
  readonly commits: number;
  readonly rollsBack: boolean;
  /** A reader looks at all keys in between, and resolves what it meets. */
  readonly readsBefore: boolean;
}

interface Outcome {
  readonly startTs: bigint;
  readonly keys: readonly string[];
  /** What the client was told: undefined when it does not know. */
  readonly commitTs: bigint | undefined;
  readonly isRolledBack: boolean;
}

const PLAN: fc.Arbitrary<Plan> = fc.record({
  path: fc.constantFrom<Path>("2pc", "async", "1pc"),
  keys: fc.subarray(KEYS, { minLength: 1 }).chain((keys) =>
    fc.shuffledSubarray(keys, { minLength: keys.length })
  ),
  prewrites: fc.nat(4),
  commits: fc.nat(4),
  rollsBack: fc.boolean(),
  readsBefore: fc.boolean(),
});

/** A store, timestamps, and clients that keep to the protocol until they stop. */
class World {
  readonly engine: MvccEngine;
  #ts = 1n << 18n;

  constructor() {
    this.engine = new MvccEngine({
      clock: new ManualClock(),
      nextTs: () => this.nextTs(),
      detector: () => undefined,
    });
  }

  nextTs(): bigint {
    return ++this.#ts;
  }

  run<T>(startTs: bigint, action: (txn: MvccTxn) => T): T | MvccError {
    const txn = this.engine.begin(1n, startTs);
    try {
      const result = action(txn);
      this.engine.apply(1n, txn);
      return result;
    } catch (error) {
      if (error instanceof MvccError) return error;
      throw error;
    }
  }

  /** Runs one client as far as its plan goes. */
  client(plan: Plan): Outcome {
    const startTs = this.nextTs();
    if (plan.readsBefore) this.readAll(this.nextTs());
    const { keys } = plan;
    const unknown: Outcome = { startTs, keys, commitTs: undefined, isRolledBack: false };
    if (plan.path === "1pc") {
      const result = this.#prewrite(plan, keys, startTs);
      if (result instanceof MvccError || result.locks.length > 0) return unknown;
      return { ...unknown, commitTs: result.onePcCommitTs === 0n ? undefined : result.onePcCommitTs };
    }
    const stops = Math.min(plan.prewrites, keys.length);
    let minCommitTs = 0n;
    for (const key of keys.slice(0, stops)) {
      const result = this.#prewrite(plan, [key], startTs);
      if (result instanceof MvccError || result.locks.length > 0) return this.#giveUp(plan, startTs, unknown);
      if (result.minCommitTs > minCommitTs) ({ minCommitTs } = result);
    }
    if (stops < keys.length) return this.#giveUp(plan, startTs, unknown);
    // An async commit is committed here, before anything else is sent.
    const commitTs = plan.path === "async" ? minCommitTs : this.nextTs();
    let isCommitted = plan.path === "async";
    for (const key of keys.slice(0, plan.commits)) {
      const result = this.run(startTs, (txn) => commitKeys(txn, [encoded(key)], commitTs, undefined));
      if (result instanceof MvccError) break;
      isCommitted = true;
    }
    return { ...unknown, commitTs: isCommitted ? commitTs : undefined };
  }

  #giveUp({ rollsBack, keys }: Plan, startTs: bigint, unknown: Outcome): Outcome {
    if (!rollsBack) return unknown;
    const result = this.run(startTs, (txn) => rollbackKeys(txn, keys.map(encoded)));
    return { ...unknown, isRolledBack: !(result instanceof MvccError) };
  }

  #prewrite(plan: Plan, keys: readonly string[], startTs: bigint): PrewriteResult | MvccError {
    const [primary = ""] = plan.keys;
    const commit: CommitPlan = plan.path === "2pc" ? { kind: "2pc" } : { kind: plan.path, maxCommitTs: 0n };
    return this.run(startTs, (txn) =>
      prewrite(txn, {
        props: {
          startTs,
          mode: { kind: "optimistic", skipsConstraintCheck: false },
          commit,
          primary: bytes(primary),
          txnSize: 1n,
          lockTtlMs: 1n,
          minCommitTs: startTs + 1n,
          isRetry: false,
          assertionLevel: "off",
          txnSource: 0n,
        },
        mutations: keys.map((key) => ({
          op: "put",
          key: encoded(key),
          value: bytes(String(startTs)),
          assertion: "none",
          action: "skip",
        })),
        secondaries: plan.path === "async" ? plan.keys.slice(1).map((key) => bytes(key)) : undefined,
      }));
  }

  /** Which transaction each key shows at a timestamp, after resolving what stands in the way. */
  readAll(ts: bigint): Map<string, string> {
    this.engine.raiseMaxTs(1n, ts);
    return new Map(KEYS.map((key) => [key, this.#read(key, ts)]));
  }

  #read(key: string, ts: bigint): string {
    const view: ReadView = { ts, isolation: "snapshot", bypass: new Set(), access: new Set() };
    for (let attempt = 0; attempt < 10; attempt++) {
      const found = this.run(ts, () => readKey(this.engine.tables, encoded(key), view)?.value);
      if (!(found instanceof MvccError)) return found === undefined ? "" : text(found);
      if (found.fault.kind !== "locked") throw found;
      const { lockVersion = 0n, primaryLock = bytes("") } = found.fault.lock;
      this.resolve(key, lockVersion, text(primaryLock));
    }
    throw new Error(`cannot read ${key} at ${ts}`);
  }

  /** Ends a transaction that left a lock, as a client does who finds it expired. */
  resolve(key: string, startTs: bigint, primary: string): void {
    const ask = (forcesSyncCommit: boolean) =>
      this.run(startTs, (txn) =>
        checkTxnStatus(txn, encoded(primary), {
          callerStartTs: 0n,
          currentTs: LATEST,
          rollsBackIfMissing: true,
          forcesSyncCommit,
          isResolvingPessimisticLock: false,
          verifiesPrimary: true,
        }));
    let status = ask(false);
    if (status instanceof MvccError) throw status;
    let commitTs = status.kind === "committed" ? status.commitTs : 0n;
    if (status.kind === "alive") {
      const { secondaries, minCommitTs } = status.lock;
      const others = secondaries.map((other) => text(other));
      const seen = this.run(startTs, (txn) => checkSecondaryLocks(txn, others.map(encoded)));
      if (seen instanceof MvccError) throw seen;
      if (seen.kind === "locked" && seen.locks.some(({ useAsyncCommit }) => useAsyncCommit !== true)) {
        status = ask(true);
        commitTs = 0n;
      } else if (seen.kind === "locked") {
        commitTs = seen.locks.reduce((max, { minCommitTs: ts = 0n }) => (ts > max ? ts : max), minCommitTs);
      } else {
        commitTs = seen.kind === "committed" ? seen.commitTs : 0n;
      }
      this.run(startTs, (txn) => resolveKeys(txn, [primary, ...others].map(encoded), commitTs));
    }
    const result = this.run(startTs, (txn) => resolveKeys(txn, [encoded(key)], commitTs));
    if (result instanceof MvccError) throw result;
  }
}

function encoded(key: string): Uint8Array {
  return encodeBytes(bytes(key));
}

function play(plans: readonly Plan[]): { readonly world: World; readonly outcomes: readonly Outcome[] } {
  const world = new World();
  return { world, outcomes: plans.map((plan) => world.client(plan)) };
}

const PLANS = fc.array(PLAN, { minLength: 1, maxLength: 8 });

test("[TXN-165] a reader sees all of a transaction or nothing, wherever its client stopped", () => {
  fc.assert(
    fc.property(PLANS, fc.nat(100), (plans, back) => {
      const { world, outcomes } = play(plans);
      for (const ts of [world.nextTs(), world.nextTs() - BigInt(back)]) {
        world.readAll(ts);
        const ends = outcomes.map(({ startTs, keys }) => commitsOf(world, startTs, keys));
        for (const commits of ends) assert.ok(new Set(commits).size <= 1, `torn: ${commits.join()}`);
      }
    }),
    MAX_LENGTH,
  );
});

/** The commit timestamp on each key that nothing stands in the way of; 0 for none. */
function commitsOf(world: World, startTs: bigint, keys: readonly string[]): bigint[] {
  return keys.flatMap((key) => {
    const { tables } = world.engine;
    const found = tables.versions(encoded(key)).find(({ write }) =>
      write.kind !== "rollback" && write.startTs === startTs
    );
    if (found !== undefined) return [found.commitTs];
    const lock = tables.lock(encoded(key));
    return lock !== undefined && "startTs" in lock && lock.startTs === startTs ? [] : [0n];
  });
}

test("[TXN-094] what a client was told is committed stays committed, at that timestamp", () => {
  fc.assert(
    fc.property(PLANS, (plans) => {
      const { world, outcomes } = play(plans);
      world.readAll(world.nextTs());
      for (const { startTs, keys, commitTs } of outcomes) {
        if (commitTs === undefined) continue;
        for (const key of keys) assert.deepEqual(commitsOf(world, startTs, [key]), [commitTs]);
      }
    }),
    MAX_LENGTH,
  );
});

test("what was rolled back never commits", () => {
  fc.assert(
    fc.property(PLANS, (plans) => {
      const { world, outcomes } = play(plans);
      for (const { startTs, keys, isRolledBack } of outcomes) {
        if (!isRolledBack) continue;
        for (const key of keys) {
          const late = world.run(
            startTs,
            (txn) => commitKeys(txn, [encoded(key)], world.nextTs(), undefined),
          );
          assert.ok(late instanceof MvccError);
        }
        world.readAll(world.nextTs());
        assert.ok(commitsOf(world, startTs, keys).every((commitTs) => commitTs === 0n));
      }
    }),
    MAX_LENGTH,
  );
});

test("[TXN-094] a snapshot that was read once reads the same for ever", () => {
  fc.assert(
    fc.property(PLANS, PLANS, (before, after) => {
      const world = new World();
      for (const plan of before) world.client(plan);
      const ts = world.nextTs();
      const first = world.readAll(ts);
      for (const plan of after) world.client(plan);
      world.readAll(world.nextTs());
      assert.deepEqual(world.readAll(ts), first);
    }),
    MAX_LENGTH,
  );
});

test("[TXN-095] one phase commits on all keys at once", () => {
  fc.assert(
    fc.property(PLANS, (plans) => {
      const { world, outcomes } = play(plans.map((plan) => ({ ...plan, path: "1pc" })));
      for (const { startTs, keys, commitTs } of outcomes) {
        assert.deepEqual(new Set(commitsOf(world, startTs, keys)), new Set([commitTs ?? 0n]));
      }
      assert.equal(world.engine.tables.locks.size, 0);
    }),
    MAX_LENGTH,
  );
});

test("versions are found as in a plain list, whatever is written and deleted", () => {
  const change = fc.record({ ts: fc.bigInt(0n, 20n), isDeletion: fc.boolean() });
  fc.assert(fc.property(fc.array(change), fc.bigInt(0n, 21n), (changes, ts) => {
    const tables = new Tables();
    const model = new Set<bigint>();
    const key = encoded("k");
    for (const { ts: commitTs, isDeletion } of changes) {
      const write = isDeletion ? undefined : makeWrite({ kind: "put", startTs: commitTs });
      tables.apply([{ column: "write", key, commitTs, write }]);
      if (isDeletion) model.delete(commitTs);
      else model.add(commitTs);
    }
    const sorted = [...model].sort((a, b) => (a < b ? -1 : 1));
    assert.deepEqual(tables.versions(key).map(({ commitTs }) => commitTs), sorted);
    assert.equal(tables.seek(key, ts)?.commitTs, sorted.filter((one) => one <= ts).at(-1));
    assert.equal(tables.hasVersionsIn({ start: key, end: encoded("l") }), sorted.length > 0);
  }));
});

// SPDX-License-Identifier: Apache-2.0
// Commits that are given up in each of their phases: by the caller, by the time, by close().

import assert from "node:assert/strict";
import { test } from "node:test";
import { UndeterminedError } from "../../src/errors.ts";
import { fault } from "../../src/playground/mod.ts";
import type { BeginOptions } from "../../src/txn/begin_options.ts";
import type { Transaction } from "../../src/txn/transaction_api.ts";
import { CommitWorld, failureOf } from "../unit/txn/commit_world.ts";

type Commit = NonNullable<BeginOptions["commit"]>;

/** How a commit ended that was given up. */
type End =
  /** It is not committed, and its locks are taken away. */
  | "rolled-back"
  /** Nobody knows. */
  | "undetermined"
  | "committed";

interface Phase {
  readonly what: string;
  /** Makes the commit stay in the phase. */
  readonly stay: (world: CommitWorld) => void;
  readonly ends: Readonly<Partial<Record<Commit, End>>>;
  /** What readers find afterwards. */
  readonly isCommitted?: Readonly<Partial<Record<Commit, boolean>>>;
}

const STAY_MS = 5_000;

const PHASES: readonly Phase[] = [
  {
    what: "before a timestamp has come",
    stay: ({ cluster }) => cluster.stallTso(STAY_MS),
    // In two phases the timestamp comes after the prewrite.
    ends: { "2pc": "rolled-back", "async": "rolled-back", "1pc": "rolled-back" },
  },
  {
    what: "while the prewrite is on its way",
    stay: (world) => world.fault({ method: "KvPrewrite" }, fault.delay(STAY_MS)),
    ends: { "2pc": "rolled-back", "async": "undetermined", "1pc": "undetermined" },
    // Late is not never.
    isCommitted: { "async": true, "1pc": true },
  },
  {
    what: "while the answer to the prewrite is on its way",
    stay: (world) => world.fault({ method: "KvPrewrite" }, fault.dropReply()),
    ends: { "2pc": "rolled-back", "async": "undetermined", "1pc": "undetermined" },
    isCommitted: { "async": true, "1pc": true },
  },
  {
    what: "while the commit of the primary is on its way",
    stay: (world) => world.fault({ method: "KvCommit" }, fault.delay(STAY_MS)),
    ends: { "2pc": "undetermined", "async": "committed", "1pc": "committed" },
    isCommitted: { "2pc": true, "async": true, "1pc": true },
  },
  {
    what: "while the answer to the commit of the primary is on its way",
    stay: (world) => world.fault({ method: "KvCommit" }, fault.dropReply()),
    ends: { "2pc": "undetermined", "async": "committed", "1pc": "committed" },
    isCommitted: { "2pc": true, "async": true, "1pc": true },
  },
  {
    what: "when it is over",
    stay: () => {},
    ends: { "2pc": "committed", "async": "committed", "1pc": "committed" },
    isCommitted: { "2pc": true, "async": true, "1pc": true },
  },
];

/** What gives it up, and the error or cause by which that is known. */
const GIVERS = {
  "the caller": async (
    world: CommitWorld,
    commit: (options: { signal: AbortSignal }) => Promise<unknown>,
  ) => {
    const caller = new AbortController();
    const reason = new Error("gone");
    const committing = commit({ signal: caller.signal });
    committing.catch(() => {});
    await world.settle(1_000);
    caller.abort(reason);
    return { committing, isReason: (error: unknown) => error === reason };
  },
  "the time": (_: CommitWorld, commit: (options: { timeoutMs: number }) => Promise<unknown>) => {
    const committing = commit({ timeoutMs: 1_000 });
    committing.catch(() => {});
    return Promise.resolve({
      committing,
      isReason: (error: unknown) => (error as { kind?: string }).kind === "timeout",
    });
  },
} as const;

for (const [giver, giveUp] of Object.entries(GIVERS)) {
  for (const { what, stay, ends, isCommitted = {} } of PHASES) {
    for (const [commit, end] of Object.entries(ends) as [Commit, End][]) {
      for (const mode of ["optimistic", "pessimistic"] as const) {
        const ids = end === "undetermined" ? "[TXN-070] [T-01] [T-03]" : "[TXN-070] [T-18]";
        test(`${ids} ${giver} gives a commit up ${what}: ${end} (${commit}, ${mode})`, async () => {
          await using world = await CommitWorld.start();
          const txn = await open(world, { commit, mode });
          stay(world);
          const { committing, isReason } = await giveUp(world, (options) => txn.commit(options));
          const failure = await world.run(committing.then(() => undefined, (error: unknown) => error));
          assert.equal(txn.state, end);
          if (end === "committed") assert.equal(failure, undefined);
          else if (end === "rolled-back") assert.ok(isReason(failure), String(failure));
          else assert.ok(failure instanceof UndeterminedError && isReason(failure.cause), String(failure));
          // Whatever is late comes now, and the cluster does what it can by itself.
          await world.settle(STAY_MS);
          world.cluster.faults.clear();
          await world.settle(60_000);
          if (end === "rolled-back") assert.deepEqual(await world.locked(), []);
          const value = isCommitted[commit] === true ? "b" : undefined;
          assert.deepEqual(await world.read("a", "b"), [value === undefined ? undefined : "a", value]);
        });
      }
    }
  }
}

/** A transaction with two keys of one region, in which every lock is taken already. */
async function open(world: CommitWorld, options: BeginOptions): Promise<Transaction> {
  const txn = await world.writing(["a", "b"], options);
  if (options.mode === "pessimistic") await world.run(txn.lock(["a", "b"]));
  world.forget();
  return txn;
}

test("[TXN-070] a signal that is aborted already keeps anything from being sent", async () => {
  await using world = await CommitWorld.start();
  const reason = new Error("gone");
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await open(world, { mode });
    assert.equal(await failureOf(world.run(txn.commit({ signal: AbortSignal.abort(reason) }))), reason);
    await world.settle();
    assert.deepEqual([txn.state, world.order()], [
      "rolled-back",
      mode === "optimistic" ? [] : ["PessimisticRollback"],
    ]);
    assert.deepEqual(await world.locked(), []);
  }
});

for (const commit of ["2pc", "async"] as const) {
  test(`[TXN-070] [TXN-096] an abort between two requests of a prewrite leaves no doubt: one key has no lock (${commit})`, async () => {
    const caller = new AbortController();
    const reason = new Error("gone");
    await using world = await CommitWorld.start({
      client: {
        maxConcurrentParts: 1,
        interceptors: [async (call, next) => {
          const reply = await next(call);
          if (call.method === "KvPrewrite") caller.abort(reason);
          return reply;
        }],
      },
    });
    const txn = await world.writing(["a", "x"], { commit });
    assert.equal(await failureOf(world.run(txn.commit({ signal: caller.signal }))), reason);
    await world.settle();
    assert.deepEqual(world.order(), ["Prewrite", "BatchRollback", "BatchRollback"]);
    assert.equal(txn.state, "rolled-back");
    assert.deepEqual(await world.locked(), []);
    assert.deepEqual(await world.read("a", "x"), [undefined, undefined]);
  });
}

test("[TXN-070] the retrying call does not run the body again when nobody knows how its commit ended", async () => {
  await using world = await CommitWorld.start({ client: { attemptTimeoutMs: 1_000 } });
  let runs = 0;
  const rule = world.fault({ method: "KvPrewrite" }, fault.dropReply());
  const error = await failureOf(world.run(world.txns.run((txn) => {
    runs++;
    txn.put("a", String(runs));
  }, { timeoutMs: 10_000 })));
  rule.remove();
  assert.ok(error instanceof UndeterminedError);
  assert.equal(runs, 1);
  assert.equal((await world.run(error.resolve())).state, "committed");
  assert.deepEqual(await world.read("a"), ["1"]);
});

test("[TXN-070] a commit leaves nothing to do afterwards, and nothing may be done while it runs", async () => {
  await using world = await CommitWorld.start();
  const txn = await world.writing(["a"], { commit: "2pc" });
  world.fault({ method: "KvCommit" }, fault.delay(100));
  const committing = txn.commit();
  for (const early of [() => txn.put("b", "1"), () => txn.delete("a"), () => txn.savepoint()]) {
    assert.throws(early, { kind: "misuse" });
  }
  await assert.rejects(txn.rollback(), { kind: "misuse" });
  await assert.rejects(txn.get("a"), { kind: "misuse" });
  await world.run(committing);
  await assert.rejects(txn.rollback(), { kind: "misuse" });
  assert.throws(() => txn.put("b", "1"), { kind: "misuse" });
  assert.deepEqual(await world.read("a", "b"), ["a", undefined]);
});

test("[TXN-070] after a commit that failed, or that nobody knows of, every call says why", async () => {
  await using world = await CommitWorld.start();
  const failed = await world.writing(["a"], { commit: "2pc" });
  await world.world.put("a");
  const error = await failureOf(world.run(failed.commit()));
  const misuse = await failureOf(failed.get("a")) as { kind: string; cause: unknown };
  assert.deepEqual([misuse.kind, misuse.cause], ["misuse", error]);
  await failed.rollback();

  const lost = await world.writing(["b"], { commit: "2pc" });
  world.fault("KvCommit", fault.undeterminedResult());
  const doubt = await failureOf(world.run(lost.commit()));
  const refused = await failureOf(lost.rollback()) as { kind: string; cause: unknown };
  assert.deepEqual([refused.kind, refused.cause], ["misuse", doubt]);
  await lost[Symbol.asyncDispose]();
  assert.equal(lost.state, "undetermined");
});

const CLOSED: readonly (readonly [what: string, method: string, commit: Commit, end: End])[] = [
  ["the prewrite of two phases", "KvPrewrite", "2pc", "rolled-back"],
  ["the prewrite of an async commit", "KvPrewrite", "async", "undetermined"],
  ["the commit of the primary", "KvCommit", "2pc", "undetermined"],
];

for (const [what, method, commit, end] of CLOSED) {
  test(`[TXN-070] close() during ${what} leaves it ${end}`, async () => {
    await using world = await CommitWorld.start();
    const txn = await world.writing(["a", "b"], { commit });
    world.fault({ method }, fault.dropReply());
    const committing = failureOf(txn.commit());
    await world.settle(100);
    const before = world.clock.now();
    const closing = world.world.parts.close();
    const error = await world.run(committing) as { kind: string; cause: { kind: string } };
    await world.run(closing);
    assert.ok(world.clock.now() - before <= 10_000);
    assert.equal(txn.state, end);
    assert.equal(error.kind, end === "undetermined" ? "undetermined" : "closed");
    if (end === "undetermined") assert.equal(error.cause.kind, "closed");
  });
}

test("[TXN-080] close() waits for secondaries that are being committed", async () => {
  await using world = await CommitWorld.start();
  await using other = await CommitWorld.start({ joins: world });
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  world.fault({ method: "KvCommit", key: "x" }, fault.delay(2_000));
  await world.run(txn.commit());
  await world.run(world.world.parts.close());
  assert.deepEqual(await other.locked(), []);
  assert.deepEqual(await other.read("a", "x"), ["a", "x"]);
});

test("[TXN-080] close() does not wait for ever: what is left is resolved by whoever meets it", async () => {
  await using world = await CommitWorld.start();
  await using other = await CommitWorld.start({ joins: world });
  for (const commit of ["2pc", "async"] as const) {
    const txn = await world.writing(["a", "x"], { commit });
    if (commit === "async") world.fault({ method: "KvCommit" }, fault.dropRequest());
    await world.run(txn.commit());
  }
  const before = world.clock.now();
  await world.run(world.world.parts.close());
  assert.ok(world.clock.now() - before <= 10_000);
  world.cluster.faults.clear();
  assert.deepEqual(await other.locked(), ["a", "x"]);
  world.cluster.jumpTso(60_000);
  assert.deepEqual(await other.read("a", "x"), ["a", "x"]);
});

test("[TXN-081] close() right after a failure lets the locks be taken away", async () => {
  await using world = await CommitWorld.start();
  await using other = await CommitWorld.start({ joins: world });
  const txn = await world.writing(["a", "x"], { commit: "2pc" });
  await world.world.put("x");
  world.fault({ method: "KvBatchRollback" }, fault.delay(500));
  await assert.rejects(world.run(txn.commit()), { kind: "write-conflict" });
  await world.run(world.world.parts.close());
  assert.deepEqual(await other.locked(), []);
});

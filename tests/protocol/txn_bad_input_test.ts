// SPDX-License-Identifier: Apache-2.0
// What a transaction does with writes that contradict each other, with what does not fit, and with
// calls at the wrong time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type BeginOptions, codec, type ErrorKind, TikvError, type Transaction } from "../../mod.ts";
import { throwsKind } from "../helpers/throws_kind.ts";
import { unhandledDuring } from "../helpers/unhandled.ts";
import { startScene } from "./txn_call_scene.ts";

type Step = (txn: Transaction) => void | Promise<unknown>;

const STEPS = {
  put: (txn) => txn.put("k", "put"),
  insert: (txn) => txn.insert("k", "insert"),
  delete: (txn) => txn.delete("k"),
  lock: (txn) => txn.lock(["k"]),
  read: (txn) => txn.getForUpdate("k"),
  exists: (txn) => txn.assertExists("k"),
  missing: (txn) => txn.assertNotExists("k"),
} as const satisfies Record<string, Step>;

type Verb = keyof typeof STEPS;

/** What is there afterwards, or the kind of error that ends it. `now` fails at the last step. */
type End = { readonly value: string | undefined } | { readonly error: ErrorKind } | {
  readonly now: ErrorKind;
};

const value = (text: string | undefined): End => ({ value: text });
const fails = (error: ErrorKind): End => ({ error });
const now = (error: ErrorKind): End => ({ now: error });

/** The steps, and what comes of them where the key is absent and where it is there. */
const INTENTS: readonly (readonly [steps: readonly Verb[], absent: End, present: End])[] = [
  [["put", "put"], value("put"), value("put")],
  [["put", "delete"], value(undefined), value(undefined)],
  [["delete", "put"], value("put"), value("put")],
  [["delete", "delete"], value(undefined), value(undefined)],
  [["put", "insert"], now("key-exists"), now("key-exists")],
  [["insert", "insert"], now("key-exists"), now("key-exists")],
  [["insert", "put"], value("put"), fails("key-exists")],
  [["insert", "delete"], value(undefined), fails("key-exists")],
  [["insert", "delete", "insert"], value("insert"), fails("key-exists")],
  [["insert", "delete", "put"], value("put"), fails("key-exists")],
  [["delete", "insert"], value("insert"), value("insert")],
  [["put", "delete", "insert"], value("insert"), value("insert")],
  [["lock", "put"], value("put"), value("put")],
  [["lock", "delete"], value(undefined), value(undefined)],
  [["delete", "lock"], value(undefined), value(undefined)],
  [["put", "read"], value("put"), value("put")],
  [["insert", "lock"], value("insert"), fails("key-exists")],
  [["lock", "insert"], value("insert"), fails("key-exists")],
  [["read", "insert"], value("insert"), fails("key-exists")],
  [["read", "delete", "insert"], value("insert"), value("insert")],
  [["exists", "put"], fails("assertion-failed"), value("put")],
  [["put", "exists"], fails("assertion-failed"), value("put")],
  [["missing", "put"], value("put"), fails("assertion-failed")],
  [["exists", "delete"], fails("assertion-failed"), value(undefined)],
  [["missing", "insert"], value("insert"), fails("key-exists")],
  [["insert", "missing"], value("insert"), fails("key-exists")],
  [["exists", "missing"], now("misuse"), now("misuse")],
  [["missing", "exists"], now("misuse"), now("misuse")],
  [["insert", "exists"], now("misuse"), now("misuse")],
  [["exists", "insert"], now("misuse"), now("misuse")],
  // An assertion is about a key that is written.
  [["exists"], value(undefined), value("old")],
  [["missing"], value(undefined), value("old")],
  [["lock"], value(undefined), value("old")],
];

for (const mode of ["optimistic", "pessimistic"] as const) {
  for (const [steps, absent, present] of INTENTS) {
    test(`[TXN-034] [TXN-057] a key that is ${steps.join(", ")} (${mode}) ends as the table says`, async () => {
      await using scene = await startScene();
      const { client, run } = scene;
      for (const [end, before] of [[absent, undefined], [present, "old"]] as const) {
        if (before === undefined) await run(client.transaction((txn) => txn.delete("k")));
        else await run(client.transaction((txn) => txn.put("k", before)));
        const txn = await run(client.begin({ mode, assertions: "strict" }));
        txn.put("other", String(before));
        let failed: unknown;
        for (const [index, verb] of steps.entries()) {
          const isLast = index === steps.length - 1;
          try {
            const done = STEPS[verb](txn);
            if (done instanceof Promise) await run<unknown>(done);
            if (isLast && "now" in end) assert.fail(`${verb} was taken`);
          } catch (error) {
            if (!TikvError.is(error)) throw error;
            failed = error;
            if ("error" in end) break;
            assert.ok(isLast && "now" in end, error.message);
          }
        }
        if ("now" in end) {
          assert.equal(TikvError.is(failed) && failed.kind, end.now);
          // Nothing but the step is refused: the transaction goes on as it was.
          assert.equal(txn.state, "active");
          await run(txn.rollback());
          assert.equal(await scene.valueOf("k"), before);
        } else if ("error" in end) {
          // A lock may find out earlier than the commit.
          failed ??= await run(txn.commit()).then(() => undefined, (error) => error);
          assert.equal(TikvError.is(failed) && failed.kind, end.error, String(failed));
          await run(txn.rollback());
          assert.equal(await scene.valueOf("k"), before);
          assert.notEqual(await scene.valueOf("other"), String(before));
        } else {
          assert.equal(failed, undefined);
          await run(txn.commit());
          assert.equal(await scene.valueOf("k"), end.value);
          assert.equal(await scene.valueOf("other"), String(before));
        }
        await run(client.transaction((again) => again.delete("other")));
        await scene.clock.advance(1_000);
        assert.deepEqual(await scene.lockedKeys(), []);
      }
    });
  }
}

test("[TXN-033] [T-74] an empty value is a RangeError at the write, also one that a codec made", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction((txn) => txn.put("k", "old")));
  await run(client.transaction((txn) => {
    const texts = txn.sub("", { key: codec.utf8, value: codec.utf8 });
    for (const write of ["put", "insert"] as const) {
      assert.throws(() => txn[write]("k", ""), RangeError);
      assert.throws(() => txn[write]("k", new Uint8Array(0)), RangeError);
      assert.throws(() => texts[write]("k", ""), RangeError);
      assert.throws(() => texts[write]("new", ""), RangeError);
    }
    assert.deepEqual([txn.keyCount, txn.sizeBytes, txn.isReadOnly], [0, 0, true]);
  }));
  assert.equal(await scene.valueOf("k"), "old");
});

test("a codec that gives no bytes is a TypeError, and nothing is written", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  for (const wrong of ["text", undefined, 7, new ArrayBuffer(3)]) {
    const encode = (): Uint8Array => wrong as unknown as Uint8Array;
    const broken = { encode, decode: (bytes: Uint8Array) => bytes, ordered: true };
    await run(client.transaction((txn) => {
      assert.throws(() => txn.sub("", { value: broken }).put("k", new Uint8Array(1)), TypeError);
      assert.throws(() => txn.sub("", { key: broken }).put(new Uint8Array(1), "v"), TypeError);
      assert.equal(txn.keyCount, 0);
    }));
  }
});

test("the empty key is a key like any other", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction(async (txn) => {
    txn.put("", "v");
    assert.deepEqual(await txn.get(""), new TextEncoder().encode("v"));
  }));
  assert.equal(await scene.valueOf(""), "v");
});

const TOO_LARGE:
  readonly (readonly [name: string, options: BeginOptions, write: (txn: Transaction) => void])[] = [
    ["an entry", { maxEntryBytes: 10 }, (txn) => txn.put("k", "1234567890")],
    ["all writes", { maxTotalBytes: 20 }, (txn) => txn.put("k", "1234567890123456")],
    ["an overwrite", { maxTotalBytes: 20 }, (txn) => txn.put("a", "12345678901234567890")],
    ["the number of keys", { maxKeys: 2 }, (txn) => txn.put("k", "v")],
    ["a delete beyond the number of keys", { maxKeys: 2 }, (txn) => txn.delete("k")],
    ["an insert beyond the number of keys", { maxKeys: 2 }, (txn) => txn.insert("k", "v")],
    ["a key", {}, (txn) => txn.put("k".repeat(9_000), "v")],
  ];

for (const [name, options, write] of TOO_LARGE) {
  test(`[TXN-051] [T-67] ${name} over its limit is refused and not written; the transaction goes on`, async () => {
    await using scene = await startScene();
    const { client, run } = scene;
    const txn = await run(client.begin(options));
    txn.put("a", "1");
    txn.put("b", "2");
    const before = [txn.keyCount, txn.sizeBytes];
    throwsKind(() => write(txn), "too-large");
    assert.deepEqual([txn.keyCount, txn.sizeBytes], before);
    assert.equal(await run(txn.get("k")), undefined);
    await run(txn.commit());
    assert.equal(await scene.valueOf("a"), "1");
    assert.equal(await scene.valueOf("k"), undefined);
  });
}

test("[TXN-051] without a word every limit of a transaction is bounded; Infinity takes one away", async () => {
  await using scene = await startScene({ maxEntryBytes: 1_000 });
  const { client, run } = scene;
  const MIB = 1024 * 1024;
  const txn = await run(client.begin());
  throwsKind(() => txn.put("k", "x".repeat(1_000)), "too-large");
  await run(txn.rollback());
  const large = await run(client.begin({ maxEntryBytes: Infinity }));
  const block = new Uint8Array(50 * MIB).fill(1);
  large.put("a", block);
  throwsKind(() => large.put("b", block), "too-large");
  assert.equal(large.keyCount, 1);
  await run(large.rollback());
  const larger = await run(client.begin({ maxEntryBytes: Infinity, maxTotalBytes: Infinity }));
  larger.put("a", block);
  larger.put("b", block);
  assert.equal(larger.keyCount, 2);
  await run(larger.rollback());
});

test("a lock over the number of keys is refused before it is taken", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  const txn = await run(client.begin({ mode: "pessimistic", maxKeys: 2 }));
  await run(txn.lock(["a", "b"]));
  await assert.rejects(run(txn.lock(["c"])), { kind: "too-large" });
  assert.equal(txn.keyCount, 2);
  assert.deepEqual(await scene.lockedKeys(), ["a", "b"]);
  await run(txn.rollback());
  assert.deepEqual(await scene.lockedKeys(), []);
});

test("[TXN-036] every call after the end is a misuse that says how it ended; the end itself is the same again", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  const ends: Record<string, [end: (txn: Transaction) => Promise<unknown>, words: RegExp]> = {
    committed: [(txn) => txn.commit(), /the transaction was committed$/],
    "rolled-back": [(txn) => txn.rollback(), /the transaction was rolled back$/],
  };
  for (const [state, [end, words]] of Object.entries(ends)) {
    const txn = await run(client.begin());
    assert.deepEqual([txn.state, txn.commitTs, txn.isReadOnly], ["active", undefined, true]);
    txn.put("k", state);
    assert.equal(txn.isReadOnly, false);
    const first = end(txn);
    assert.equal(await run(Promise.all([first, end(txn)]).then(([a, b]) => a === b)), true);
    assert.equal(txn.state, state);
    const sync: (() => void)[] = [
      () => txn.put("k", "v"),
      () => txn.insert("k", "v"),
      () => txn.delete("k"),
      () => txn.assertExists("k"),
      () => txn.assertNotExists("k"),
      () => void txn.savepoint(),
      () => void txn.scan({}),
      () => txn.sub("p").put("k", "v"),
    ];
    for (const use of sync) assert.match(throwsKind(use, "misuse").message, words);
    const later: (() => Promise<unknown>)[] = [
      () => txn.get("k"),
      () => txn.has("k"),
      () => txn.batchGet(["k"]),
      () => txn.lock(["k"]),
      () => txn.getForUpdate("k"),
      () => txn.hasForUpdate("k"),
      () => txn.batchGetForUpdate(["k"]),
      () => txn.statement(() => {}),
    ];
    for (const use of later) {
      await assert.rejects(run(use()), (error) => {
        assert.ok(TikvError.is(error) && error.kind === "misuse");
        assert.match(error.message, words);
        return true;
      });
    }
    const opposite: Promise<unknown> = state === "committed" ? txn.rollback() : txn.commit();
    await assert.rejects(run(opposite), { kind: "misuse" });
    await txn[Symbol.asyncDispose]();
    assert.equal(txn.state, state);
  }
  assert.equal(await scene.valueOf("k"), "committed");
});

test("[T-73] [TXN-061] nothing can be written while the commit runs", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  for (const mode of ["optimistic", "pessimistic"] as const) {
    const txn = await run(client.begin({ mode, commit: "2pc" }));
    txn.put("a", mode);
    const committing = txn.commit();
    throwsKind(() => txn.put("b", mode), "misuse");
    await assert.rejects(txn.rollback(), { kind: "misuse" });
    await run(committing);
    assert.equal(await scene.valueOf("a"), mode);
    assert.equal(await scene.valueOf("b"), undefined);
  }
});

test("[TXN-052] a statement that fails leaves none of its writes, and those before it", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction(async (txn) => {
    txn.put("a", "before");
    await assert.rejects(
      txn.statement(async () => {
        txn.put("a", "in it");
        txn.put("b", "in it");
        await txn.statement(() => txn.put("c", "inside of it"));
        throw new Error("no");
      }),
      /^Error: no$/,
    );
    assert.deepEqual([txn.keyCount], [1]);
    assert.equal(await txn.statement(() => (txn.put("d", "kept"), 7)), 7);
  }));
  const all = await Promise.all(["a", "b", "c", "d"].map((key) => scene.valueOf(key)));
  assert.deepEqual(all, ["before", undefined, undefined, "kept"]);
});

test("[TXN-052] two statements at once end the transaction: nobody could undo one and keep the other", async () => {
  await using scene = await startScene();
  const { client, clock, run } = scene;
  const unhandled = await unhandledDuring(async () => {
    const running = client.transaction(async (txn) => {
      const slow = txn.statement(async () => {
        txn.put("a", "1");
        await new Promise<void>((resolve) => clock.timer(10, resolve));
      });
      const slower = txn.statement(async () => {
        txn.put("b", "2");
        await new Promise<void>((resolve) => clock.timer(20, resolve));
      });
      await Promise.allSettled([slow, slower]);
    });
    await assert.rejects(run(running), (error) => {
      assert.ok(TikvError.is(error) && error.kind === "misuse");
      return TikvError.is(error.cause) && error.cause.kind === "misuse" &&
        /statement/.test(error.cause.message);
    });
  });
  assert.deepEqual(unhandled, []);
  assert.equal(await scene.valueOf("a"), undefined);
});

test("[TXN-053] [T-75] a savepoint takes back an overwrite of the same length; one of elsewhere is refused", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  const other = await run(client.begin());
  await run(client.transaction((txn) => {
    txn.put("k", "v1");
    const place = txn.savepoint();
    txn.put("k", "v2");
    txn.put("new", "x");
    txn.rollbackTo(place);
    assert.equal(txn.keyCount, 1);
    const later = txn.savepoint();
    txn.put("k", "v3");
    txn.rollbackTo(place);
    txn.put("k", "v4");
    txn.rollbackTo(place);
    if (later !== place) throwsKind(() => txn.rollbackTo(later), "misuse");
    throwsKind(() => other.rollbackTo(place), "misuse");
  }));
  await run(other.rollback());
  assert.equal(await scene.valueOf("k"), "v1");
  assert.equal(await scene.valueOf("new"), undefined);
});

test("[TXN-004] options that are wrong are refused with their name, before anything is sent", async () => {
  await using scene = await startScene();
  const { client, calls, run } = scene;
  const types: readonly Record<string, unknown>[] = [
    { mod: "pessimistic" },
    { mode: 1 },
    { startTs: 7 },
    { commit: true },
    { causalConsistency: "yes" },
    { commitWait: {} },
    { onCommit: "log" },
    { acceptsCommitTs: 7n },
    { onMemoryChange: {} },
    { resourceGroup: 7 },
    { resourceGroupTag: "tag" },
    { requestSource: {} },
    { txnSource: 7 },
    { maxKeys: "many" },
    { timeoutMs: "soon" },
    { signal: {} },
  ];
  const ranges: readonly Record<string, unknown>[] = [
    { mode: "eager" },
    { startTs: 0n },
    { startTs: 0xffff_ffff_ffff_ffffn },
    { commit: "3pc" },
    { onLock: "ignore" },
    { assertions: "some" },
    { priority: "highest" },
    { onFullDisk: "try" },
    { txnSource: -1n },
    { maxEntryBytes: 0 },
    { maxTotalBytes: Number.NaN },
    { timeoutMs: 0 },
  ];
  for (const [wrong, expected] of [[types, TypeError], [ranges, RangeError]] as const) {
    for (const options of wrong) {
      const name = Object.keys(options)[0] ?? "";
      const calls: (() => Promise<unknown>)[] = [
        () => client.begin(options),
        () => client.transaction(() => {}, options),
      ];
      for (const call of calls) {
        await assert.rejects(run(call()), (error) => {
          // A transaction that is run again has no timestamp of the caller's.
          if (name !== "startTs") assert.ok(error instanceof expected, `${name}: ${error}`);
          return error instanceof Error && error.message.includes(name);
        });
      }
    }
  }
  for (const own of [{ maxAttempts: 0 }, { pessimisticAfter: 0 }, { maxAttempts: Number.NaN }]) {
    await assert.rejects(run(client.transaction(() => {}, own)), RangeError);
  }
  await assert.rejects(run(client.transaction("no function" as never)), TypeError);
  assert.deepEqual(calls, []);
});

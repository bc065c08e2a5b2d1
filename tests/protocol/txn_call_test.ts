// SPDX-License-Identifier: Apache-2.0
// `client.transaction()` on a cluster: what is run again and what is not, and what is left behind.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  codec,
  type Reader,
  TikvError,
  TimeoutError,
  type Transaction,
  UndeterminedError,
} from "../../mod.ts";
import { fault } from "../../src/playground/mod.ts";
import { unhandledDuring } from "../helpers/unhandled.ts";
import { startScene } from "./txn_call_scene.ts";

const numbers = { key: codec.utf8, value: codec.uint64 };

test("a conflict runs the body again on new data, with a new handle; the old one says why it is dead", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  const handles: Transaction[] = [];
  const value = await run(client.transaction(async (txn) => {
    handles.push(txn);
    const counter = txn.sub("n/", numbers);
    const seen = await counter.get("k") ?? 0n;
    if (handles.length === 1) await client.transaction((other) => other.sub("n/", numbers).put("k", 7n));
    counter.put("k", seen + 1n);
    return seen;
  }));
  assert.equal(value, 7n);
  const [first, second] = handles as [Transaction, Transaction];
  assert.ok(second.startTs > first.startTs);
  assert.deepEqual([first.state, second.state], ["rolled-back", "committed"]);
  assert.equal(first.commitTs, undefined);
  assert.ok((second.commitTs ?? 0n) > second.startTs);
  for (const use of [() => first.put("a", "b"), () => first.delete("a"), () => first.savepoint()]) {
    assert.throws(use, (error) => {
      assert.ok(TikvError.is(error) && error.kind === "misuse");
      assert.match(error.message, /the transaction was rolled back/);
      return TikvError.is(error.cause) && error.cause.kind === "write-conflict";
    });
  }
  await assert.rejects(run(first.get("a")), { kind: "misuse" });
  // The same commit again, and the same end of it.
  await assert.rejects(run(first.commit()), { kind: "write-conflict" });
  await run(first.rollback());
  assert.deepEqual(await scene.lockedKeys(), []);
});

test("a conflict is found behind errors of the caller's own", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  let runs = 0;
  const value = await run(client.transaction(async () => {
    runs++;
    if (runs > 1) return "second";
    const txn = await client.begin();
    await client.transaction((other) => other.put("k", "theirs"));
    txn.put("k", "mine");
    try {
      return await txn.commit();
    } catch (cause) {
      throw new Error("the order cannot be booked", { cause });
    }
  }));
  assert.equal(value, "second");
});

for (const commit of ["auto", "2pc"] as const) {
  test(`[T-01] a commit (${commit}) whose answer is lost is not run again, and its fate can be asked`, async () => {
    await using scene = await startScene();
    const { client, cluster, clock, run } = scene;
    await run(client.transaction((txn) => txn.put("a", "old")));
    let runs = 0;
    const method = commit === "2pc" ? "KvCommit" : "KvPrewrite";
    using _lost = cluster.faults.add({ method }, fault.dropReply());
    const running = client.transaction((txn) => {
      runs++;
      txn.put("a", "new");
      txn.put("z", "new");
    }, { commit, timeoutMs: 3_000 });
    const error: unknown = await run(running).catch((thrown) => thrown);
    assert.ok(error instanceof UndeterminedError, String(error));
    assert.equal(runs, 1);
    _lost.remove();
    const fate = await run(error.resolve({ timeoutMs: 60_000 }));
    assert.equal(fate.state, "committed");
    assert.equal(await scene.valueOf("a"), "new");
    assert.equal(await scene.valueOf("z"), "new");
    assert.ok(clock.now() > 0);
  });
}

test("[T-01] a body that commits by itself and meets a conflict elsewhere is not run again", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  let runs = 0;
  const running = client.transaction(async (txn) => {
    runs++;
    txn.put("orders", String(runs));
    await txn.commit();
    const other = await client.begin();
    await client.transaction((third) => third.put("k", "x"));
    other.put("k", "y");
    await other.commit();
  });
  await assert.rejects(run(running), { kind: "write-conflict" });
  assert.equal(runs, 1);
  assert.equal(await scene.valueOf("orders"), "1");
});

test("a body that ends its transaction itself decides: committed, rolled back, or failed", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  assert.equal(
    await run(client.transaction(async (txn) => {
      txn.put("a", "1");
      return (await txn.commit()).path;
    })),
    "1pc",
  );
  assert.equal(
    await run(client.transaction(async (txn) => {
      txn.put("a", "2");
      await txn.rollback();
      return txn.state;
    })),
    "rolled-back",
  );
  assert.equal(await scene.valueOf("a"), "1");
  // What it did not wait for is waited for.
  await run(client.transaction((txn) => {
    txn.put("a", "3");
    void txn.commit();
  }));
  assert.equal(await scene.valueOf("a"), "3");
  await run(client.transaction((txn) => {
    txn.put("a", "4");
    void txn.rollback();
  }));
  assert.equal(await scene.valueOf("a"), "3");
  // Who swallows the error of the commit is not told that all is well.
  let runs = 0;
  const unhandled = await unhandledDuring(async () => {
    await run(client.transaction(async (txn) => {
      if (++runs === 1) await client.transaction((other) => other.put("a", "theirs"));
      txn.put("a", "mine");
      if (runs === 1) await txn.commit().catch(() => {});
      else void txn.commit();
    }));
  });
  assert.equal(runs, 2);
  assert.deepEqual(unhandled, []);
  assert.equal(await scene.valueOf("a"), "mine");
});

for (const forgotten of ["get", "batchGet", "has", "lock", "getForUpdate", "statement", "scan"] as const) {
  test(`a forgotten await of ${forgotten} ends the attempt with a misuse that names it, and writes nothing`, async () => {
    await using scene = await startScene();
    const { client, run } = scene;
    await run(client.transaction((txn) => txn.put("k", "old")));
    let runs = 0;
    const unhandled = await unhandledDuring(async () => {
      const running = client.transaction((txn) => {
        runs++;
        txn.put("k", "new");
        const calls = {
          get: () => txn.get("other"),
          batchGet: () => txn.batchGet(["x", "y"]),
          has: () => txn.has("other"),
          lock: () => txn.lock(["other"]),
          getForUpdate: () => txn.getForUpdate("other"),
          statement: () => txn.statement(() => new Promise<void>(() => {})),
          scan: () => txn.scan({ prefix: "x" }).toArray(),
        };
        void calls[forgotten]();
        return "early";
      }, { mode: "pessimistic" });
      await assert.rejects(run(running), (error) => {
        assert.ok(TikvError.is(error) && error.kind === "misuse", String(error));
        assert.equal(
          error.message,
          `Cannot commit: "txn.${forgotten}" still runs, expected every call to be awaited`,
        );
        return true;
      });
    });
    assert.deepEqual(unhandled, []);
    assert.equal(runs, 1);
    assert.equal(await scene.valueOf("k"), "old");
    assert.deepEqual(await scene.lockedKeys(), []);
  });
}

test("a body that never settles ends with the time limit, and its locks with it", async () => {
  await using scene = await startScene();
  const { client, clock, run } = scene;
  let handle: Transaction | undefined;
  const begin = clock.now();
  const unhandled = await unhandledDuring(async () => {
    const running = client.transaction(async (txn) => {
      handle = txn;
      await txn.lock(["k"]);
      await new Promise(() => {});
    }, { mode: "pessimistic", timeoutMs: 5_000 });
    await assert.rejects(run(running), (error) => error instanceof TimeoutError);
  });
  assert.deepEqual(unhandled, []);
  assert.equal(clock.now() - begin, 5_000);
  assert.equal(handle?.state, "rolled-back");
  await clock.advance(100);
  assert.deepEqual(await scene.lockedKeys(), []);
});

test("[T-18] an abort ends a body at once, wherever it is; its locks are taken away all the same", async () => {
  await using scene = await startScene();
  const { client, cluster, clock, run } = scene;
  const reason = new Error("the caller went away");
  const bodies: Record<string, (txn: Transaction, abort: () => void) => Promise<unknown>> = {
    "while it waits for something else": (_, abort) => {
      abort();
      return new Promise(() => {});
    },
    "while it reads": (txn, abort) => {
      const read = txn.get("far");
      abort();
      return read;
    },
    "while it locks": (txn, abort) => {
      const lock = txn.lock(["z"]);
      queueMicrotask(abort);
      return lock;
    },
  };
  for (const [where, body] of Object.entries(bodies)) {
    const controller = new AbortController();
    using _slow = cluster.faults.add({ method: ["KvGet", "KvPessimisticLock"] }, fault.delay(50));
    const unhandled = await unhandledDuring(async () => {
      const running = client.transaction(async (txn) => {
        await txn.lock(["a"]);
        txn.put("a", "1");
        return await body(txn, () => controller.abort(reason));
      }, { mode: "pessimistic", signal: controller.signal });
      await assert.rejects(run(running), (error) => error === reason, where);
    });
    assert.deepEqual(unhandled, [], where);
    await clock.advance(1_000);
    assert.deepEqual(await scene.lockedKeys(), [], where);
    assert.equal(await scene.valueOf("a"), undefined, where);
  }
});

test("[TXN-002] close() during a body ends it as closed, and gives its locks back", async () => {
  await using scene = await startScene();
  const { clock, run } = scene;
  const client = await scene.open();
  let handle: Transaction | undefined;
  const unhandled = await unhandledDuring(async () => {
    const running = client.transaction(async (txn) => {
      handle = txn;
      await txn.lock(["a", "z"]);
      txn.put("a", "1");
      await new Promise(() => {});
    }, { mode: "pessimistic" });
    const failed = assert.rejects(running, (error) => TikvError.is(error) && error.kind === "closed");
    await clock.advance(1_000);
    assert.equal((await scene.lockedKeys()).length, 2);
    await run(client.close());
    await run(failed);
  });
  assert.deepEqual(unhandled, []);
  assert.equal(handle?.state, "rolled-back");
  assert.throws(() => handle?.put("b", "2"), (error) => {
    return TikvError.is(error) && error.kind === "misuse" && TikvError.is(error.cause) &&
      error.cause.kind === "closed";
  });
  assert.deepEqual(await scene.lockedKeys(), []);
});

test("[TXN-002] close() gives back the locks of a transaction that was begun and not ended", async () => {
  await using scene = await startScene();
  const { run } = scene;
  const client = await scene.open();
  const txn = await run(client.begin({ mode: "pessimistic" }));
  await run(txn.lock(["a"]));
  await run(client.close());
  assert.deepEqual(await scene.lockedKeys(), []);
  await assert.rejects(run(txn.commit()), { kind: "misuse" });
});

test("[TXN-110] after a conflict it goes on with locks ahead, so that nobody comes in between any more", async () => {
  await using scene = await startScene();
  const { client, clock, calls, run } = scene;
  const other = await scene.open();
  const modes: string[] = [];
  const increment = (by: typeof client) =>
    by.transaction(async (txn) => {
      modes.push(txn.mode);
      const counter = txn.sub("n/", numbers);
      const seen = await counter.get("k") ?? 0n;
      // Long enough that somebody else is always faster without locks.
      await new Promise<void>((resolve) => clock.timer(20, resolve));
      counter.put("k", seen + 1n);
    }, { pessimisticAfter: 1, maxAttempts: 3, timeoutMs: 60_000 });
  await run(
    Promise.all(Array.from({ length: 12 }, (_, index) => increment(index % 2 === 0 ? client : other))),
  );
  const end = await run(client.snapshot());
  assert.equal(await run(end.sub("n/", numbers).get("k")), 12n);
  assert.ok(modes.filter((mode) => mode === "pessimistic").length >= 11);
  // One optimistic run each, one pessimistic: a third would mean that a lock ahead does not help.
  assert.ok(modes.length <= 24, `${modes.length} runs`);
  assert.ok(calls.some(({ method }) => method === "KvPessimisticLock"));
  assert.deepEqual(await scene.lockedKeys(), []);
});

for (const commit of ["1pc", "async"] as const) {
  test(`[TXN-092] [TXN-098] a causal commit (${commit}) comes after everything that its transaction has read`, async () => {
    await using scene = await startScene({}, { splitKeys: ["m"] });
    const { client, cluster, run } = scene;
    await run(cluster.moveLeader("z", cluster.stores().at(-1)?.id));
    // The new leader catches up with the timestamps of the cluster now, and not again.
    await run(client.transaction((other) => other.put("y", "1")));
    const txn = await run(client.begin({ mode: "pessimistic", causalConsistency: true, commit }));
    let theirs = 0n;
    await run(client.transaction((other) => {
      other.put("a", "theirs");
    }, { onCommit: ({ commitTs }) => theirs = commitTs ?? 0n }));
    const seen = await run(txn.statement(() => txn.get("a"), { current: true }));
    assert.equal(new TextDecoder().decode(seen), "theirs");
    // On a store that has seen none of the timestamps since.
    txn.put("z", "after it");
    const { commitTs = 0n } = await run(txn.commit());
    assert.ok(commitTs > theirs, `${commitTs} is not after ${theirs}`);
  });
}

test("functions over a Reader work on transactions, their views and snapshots alike", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  const users = { key: codec.utf8, value: codec.json<{ name: string }>() };
  const nameOf = async (kv: Reader<typeof users.key, typeof users.value>, id: string) => {
    assert.equal(await kv.has(id), (await kv.get(id)) !== undefined);
    assert.equal((await kv.batchGet([id])).get(id)?.name, (await kv.get(id))?.name);
    const page = await kv.scan({ prefix: id }).toArray();
    assert.deepEqual(page.map(({ value }) => value.name), await kv.has(id) ? [(await kv.get(id))?.name] : []);
    return (await kv.get(id))?.name;
  };
  await run(client.transaction(async (txn) => {
    const view = txn.sub("u/", users);
    assert.equal(await nameOf(view, "1"), undefined);
    view.put("1", { name: "Ada" });
    assert.equal(await nameOf(view, "1"), "Ada");
    const inner = txn.sub("u").sub("/", users);
    assert.equal(await nameOf(inner, "1"), "Ada");
    return undefined;
  }));
  const snapshot = await run(client.snapshot());
  assert.equal(await run(nameOf(snapshot.sub("u/", users), "1")), "Ada");
});

test("[TXN-004] begin() with await using rolls back what is not committed, and releases its locks", async () => {
  await using scene = await startScene();
  const { client, clock, run } = scene;
  let left: Transaction | undefined;
  await run((async () => {
    await using txn = await client.begin({ mode: "pessimistic" });
    left = txn;
    await txn.lock(["a"]);
    txn.put("a", "1");
  })());
  assert.equal(left?.state, "rolled-back");
  assert.deepEqual(await scene.lockedKeys(), []);
  const kept = await run((async () => {
    await using txn = await client.begin();
    txn.put("a", "2");
    await txn.commit();
    return txn;
  })());
  assert.equal(kept.state, "committed");
  assert.equal(await scene.valueOf("a"), "2");
  await clock.advance(1_000);
  assert.deepEqual(await scene.lockedKeys(), []);
});

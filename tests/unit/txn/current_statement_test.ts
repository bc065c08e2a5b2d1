// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as codec from "../../../src/codec/mod.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { sendToKey } from "../../../src/plan/dispatch.ts";
import type { PessimisticLockBody } from "../../../src/rpc/batch/messages.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
import { KeyExistsError, TxnAbortedError, WriteConflictError } from "../../../src/txn_errors.ts";
import type { Transaction } from "../../../src/txn/mod.ts";
import { begin, keysOf, locksIn, openWatched, seed, text, valueOf, type Watched } from "./lock_world.ts";
import { startWorld, type World } from "./txn_world.ts";
import { hasKind } from "../../helpers/has_kind.ts";

const CURRENT = { current: true };
const FAIR = [true, false] as const;

test("[TXN-121] a statement reads current data, the rest of its transaction that of its start", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  await seed(world, client, { a: "1", b: "1" });
  const txn = await begin(world, client);
  await seed(world, client, { a: "2", c: "2" });
  txn.put("own", "3");
  const seen = await clock.run(txn.statement(async () => {
    const one = text(await txn.get("a"));
    const many = await txn.batchGet(["a", "b", "own"]);
    // All of its reads are of one moment.
    await seed(world, client, { b: "9" });
    const scanned = await txn.scan({ prefix: "" }).toArray();
    return [one, [...many].map(([, value]) => text(value)), scanned.map(({ value }) => text(value))];
  }, CURRENT));
  assert.deepEqual(seen, ["2", ["2", "1", "3"], ["2", "1", "2", "3"]]);
  assert.equal(text(await clock.run(txn.get("a"))), "1");
  const [, next] = await clock.run(txn.statement(() => Promise.all([txn.get("a"), txn.get("b")]), CURRENT));
  assert.equal(text(next), "9");
  await clock.run(txn.rollback());
});

test("[TXN-121] a statement is run again when what it locks was written after its reads", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const other = await openWatched(world);
  for (const fairLocking of FAIR) {
    await seed(world, other, { a: "1" });
    const client = await openWatched(world);
    const txn = await begin(world, client, { fairLocking });
    const seen: (string | undefined)[] = [];
    client.sent.length = 0;
    const result = await clock.run(txn.statement(async () => {
      const value = text(await txn.get("a"));
      seen.push(value);
      txn.put(`run${seen.length}`, "x");
      if (seen.length === 1) await seed(world, other, { a: "2" });
      await txn.lock(["a"]);
      txn.put("a", `${value} and more`);
      return "done";
    }, CURRENT));
    assert.equal(result, "done");
    assert.deepEqual(seen, ["1", "2"]);
    // With fair locking the key is locked by the first run.
    const locks = client.bodies("KvPessimisticLock").map(keysOf).filter((keys) => keys.includes("a"));
    assert.equal(locks.length, fairLocking ? 1 : 2);
    const retries = client.events.filter((event) =>
      event.type === "retry" && event.operation === "txn.statement"
    );
    assert.equal(retries.length, 1);
    await clock.run(txn.commit());
    assert.equal(await valueOf(world, other, "a"), "2 and more");
    // What the first run wrote is undone.
    assert.equal(await valueOf(world, other, "run1"), undefined);
    assert.equal(await valueOf(world, other, "run2"), "x");
    assert.deepEqual(await locksIn(world, other), []);
  }
});

test("[TXN-121] a statement locks what it has written, as of its reads", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const other = await openWatched(world);
  for (const fairLocking of FAIR) {
    await seed(world, other, { a: "1", b: "1" });
    const client = await openWatched(world);
    const txn = await begin(world, client, { fairLocking });
    let runs = 0;
    const add = async (key: string): Promise<void> => {
      const value = Number(text(await txn.get(key)));
      if (++runs === 1) await seed(world, other, { [key]: "10" });
      txn.put(key, String(value + 1));
    };
    await clock.run(txn.statement(() => add("a"), CURRENT));
    assert.equal(runs, 2);
    assert.deepEqual(await locksIn(world, other), [`a@${txn.startTs}`]);
    runs = 0;
    // Several keys are locked in one request, which a conflict ends.
    await clock.run(txn.statement(async () => {
      await add("b");
      txn.put("c", "1");
    }, CURRENT));
    assert.equal(runs, 2);
    await clock.run(txn.commit());
    assert.deepEqual([await valueOf(world, other, "a"), await valueOf(world, other, "b")], ["11", "11"]);
  }
});

test("[TXN-121] what is locked before anything is read needs no second run, whoever was faster", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const other = await openWatched(world);
  const client = await openWatched(world);
  await seed(world, other, { a: "1" });
  for (const isStatement of [true, false]) {
    const holder = await begin(world, other);
    await clock.run(holder.lock(["a"]));
    const txn = await begin(world, client);
    client.sent.length = 0;
    let runs = 0;
    const body = () => {
      runs++;
      return txn.getForUpdate("a");
    };
    const reading = isStatement ? txn.statement(body, CURRENT) : body();
    await clock.advance(200);
    holder.put("a", `${isStatement}`);
    await clock.run(holder.commit());
    // The store has handed the key over, with its newest value.
    assert.equal(text(await clock.run(reading)), `${isStatement}`);
    assert.equal(runs, 1);
    assert.deepEqual(client.sent.map(({ method }) => method), ["KvPessimisticLock"]);
    txn.put("a", "own");
    await clock.run(txn.commit());
    assert.equal(await valueOf(world, other, "a"), "own");
  }
});

test("[TXN-121] [T-41] an exception undoes a statement: its writes and its locks", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.lock(["before"]));
  txn.put("before", "1");
  const failure = new Error("of the body");
  const failing = [
    () => {
      txn.put("x", "1");
      throw failure;
    },
    async () => {
      await txn.lock(["y"]);
      txn.put("y", "1");
      throw failure;
    },
  ];
  for (const body of failing) {
    await assert.rejects(clock.run(txn.statement(body, CURRENT)), (error) => error === failure);
    await clock.advance(500);
    assert.deepEqual(await locksIn(world, client), [`before@${txn.startTs}`]);
  }
  assert.equal(txn.keyCount, 1);
  // The next one is not taken for the same.
  await clock.run(txn.statement(() => txn.put("z", "1"), CURRENT));
  await clock.run(txn.commit());
  assert.deepEqual(
    [
      await valueOf(world, client, "before"),
      await valueOf(world, client, "y"),
      await valueOf(world, client, "z"),
    ],
    ["1", undefined, "1"],
  );
});

test("[TXN-121] a body that hides the conflict, or fails because of it, is run again all the same", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const other = await openWatched(world);
  const client = await openWatched(world);
  for (const how of ["hides", "fails", "ignores"]) {
    await seed(world, other, { a: "1" });
    const txn = await begin(world, client);
    let runs = 0;
    await clock.run(txn.statement(async () => {
      const value = Number(text(await txn.get("a")));
      if (++runs === 1) await seed(world, other, { a: "10" });
      try {
        await txn.lock(["a"]);
      } catch (error) {
        assert.ok(error instanceof WriteConflictError);
        assert.equal(error.retry, "transaction");
        if (how === "fails") throw new Error("something else");
      }
      txn.put("a", String(value + 1));
    }, CURRENT));
    assert.equal(runs, 2);
    await clock.run(txn.commit());
    assert.equal(await valueOf(world, other, "a"), "11");
  }
});

test("[TXN-121] a statement gives up after so many runs, and with that its transaction begins again", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const other = await openWatched(world);
  const client = await openWatched(world);
  let runs = 0;
  let attempts = 0;
  await clock.run(client.txns.run(async (txn) => {
    attempts++;
    await txn.statement(async () => {
      await txn.get(`a${runs}`);
      // Each run has a conflict with another key, until the third attempt.
      if (runs < 6) await seed(world, other, { [`a${runs}`]: "x" });
      await txn.lock([`a${runs++}`]);
    }, { current: true, maxRuns: 3 });
    txn.put("done", "1");
  }, { mode: "pessimistic" }));
  assert.deepEqual([runs, attempts], [7, 3]);
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, other), []);
  const txn = await begin(world, client);
  await assert.rejects(clock.run(txn.statement(() => {}, { current: true, maxRuns: 0 })), RangeError);
  await assert.rejects(clock.run(txn.statement(() => {}, { currant: true } as never)), TypeError);
  await clock.run(txn.rollback());
});

test("[TXN-121] [T-36] a deadlock that the failed call was part of ends with it, and the statement goes on", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  let letGo = (): void => {};
  let isHeld = true;
  const held = new Promise<void>((resolve) => letGo = resolve);
  const client = await openWatched(world, {
    interceptors: [async (call, next) => {
      if (call.method === "KvPessimisticLock" && isHeld && keysOf(call.request as never).includes("z")) {
        await held;
      }
      return await next(call);
    }],
  });
  const other = await begin(world, await openWatched(world));
  await clock.run(other.lock(["z"]));
  const txn = await begin(world, client);
  let runs = 0;
  const running = txn.statement(async () => {
    runs++;
    await txn.lock(["a", "z"]);
  }, CURRENT);
  await clock.advance(100);
  const waiting = other.lock(["a"]);
  await clock.advance(100);
  isHeld = false;
  letGo();
  await clock.run(waiting);
  await clock.advance(500);
  await clock.run(other.rollback());
  await clock.run(running);
  assert.equal(runs, 2);
  assert.deepEqual(await locksIn(world, client, ["a", "z"]), [`a@${txn.startTs}`, `z@${txn.startTs}`]);
  await clock.run(txn.rollback());
});

test("[TXN-121] a commit waits for no statement that is running: it is refused", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.statement(async () => {
    await txn.lock(["a"]);
    await assert.rejects(txn.commit(), hasKind("misuse"));
  }, CURRENT));
  txn.put("a", "1");
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "a"), "1");
  // Forgotten in the retrying call, it ends the attempt, and nothing stays locked.
  const running = client.txns.run(async (txn) => {
    await txn.lock(["b"]);
    txn.statement(async () => {
      await txn.lock(["c"]);
      await new Promise(() => {});
    }, CURRENT).catch(() => {});
    await txn.get("x");
  }, { mode: "pessimistic" });
  await assert.rejects(clock.run(running), hasKind("misuse"));
  await clock.advance(1_000);
  assert.deepEqual(await locksIn(world, client), []);
});

test("[TXN-119] [TXN-121] a rollback in the middle of a statement gives everything back", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  let runs = 0;
  const running = txn.statement(async () => {
    await txn.get("a");
    if (++runs === 1) await seed(world, client, { a: "1" });
    await txn.lock(["a"]);
    await txn.lock(["b"]);
    // Of the run before and of this one.
    await txn.rollback();
    txn.put("c", "1");
  }, CURRENT);
  await assert.rejects(clock.run(running), hasKind("misuse"));
  assert.equal(runs, 2);
  assert.equal(txn.state, "rolled-back");
  assert.deepEqual(await locksIn(world, client), []);
  await clock.advance(60_000);
  assert.deepEqual(await locksIn(world, client), []);
  assert.deepEqual(client.bodies("KvTxnHeartBeat"), []);
});

test("[TXN-121] statements on current data are no part of each other, nor of an optimistic transaction", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const optimistic = await begin(world, client, { mode: "optimistic" });
  await assert.rejects(clock.run(optimistic.statement(() => {}, CURRENT)), hasKind("misuse"));
  await clock.run(optimistic.statement(() => optimistic.put("a", "1")));
  const txn = await begin(world, client);
  await clock.run(txn.statement(async () => {
    await assert.rejects(txn.statement(() => {}, CURRENT), hasKind("misuse"));
    await assert.rejects(
      txn.statement(() => {
        txn.put("undone", "1");
        throw new Error("of a part");
      }),
      /of a part/,
    );
    await txn.statement(() => txn.put("kept", "1"));
  }, CURRENT));
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "undone"), undefined);
  assert.equal(await valueOf(world, client, "kept"), "1");
});

test("[TXN-121] a call that a run leaves behind ends with the run", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const holder = await begin(world, client);
  await clock.run(holder.lock(["held"]));
  const txn = await begin(world, client);
  const from = clock.now();
  let left: Promise<unknown> | undefined;
  const failing = txn.statement(async () => {
    left = txn.lock(["held"]);
    left.catch(() => {});
    await txn.get("x");
    throw new Error("of the body");
  }, CURRENT);
  await assert.rejects(clock.run(failing), /of the body/);
  await assert.rejects(clock.run(left as Promise<unknown>), hasKind("misuse"));
  assert.ok(clock.now() - from < 1_000);
  await clock.run(holder.rollback());
  await clock.run(txn.lock(["held"]));
  await clock.run(txn.rollback());
});

test("[TXN-121] an insert in a statement fails with the key that exists, also when it came to exist meanwhile", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  let runs = 0;
  const failing = txn.statement(async () => {
    assert.equal(await txn.has("a"), runs > 0);
    if (++runs === 1) await seed(world, client, { a: "1" });
    txn.insert("a", "2");
  }, CURRENT);
  await assert.rejects(clock.run(failing), KeyExistsError);
  assert.equal(runs, 2);
  await clock.run(txn.statement(() => txn.insert("b", "2"), CURRENT));
  await clock.run(txn.commit());
  assert.deepEqual([await valueOf(world, client, "a"), await valueOf(world, client, "b")], ["1", "2"]);
});

test("[TXN-121] [TXN-125] what is left to the commit to check is not locked by a statement", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client);
  await clock.run(txn.statement(() => {
    txn.insert("lazy", "1", { lazy: true });
    txn.insert("gone", "1");
    txn.delete("gone");
    txn.put("a", "1");
  }, CURRENT));
  assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`]);
  await clock.run(txn.commit());
  assert.equal(await valueOf(world, client, "lazy"), "1");
});

test("[TXN-121] nobody's addition is lost, whoever meets, and nobody begins again", async () => {
  await using world = await startWorld();
  const { clock } = world;
  for (const fairLocking of FAIR) {
    const clients = await Promise.all([1, 2, 3, 4].map(() => openWatched(world)));
    let attempts = 0;
    const addAll = async (add: (txn: Transaction) => Promise<unknown>): Promise<void> => {
      await Promise.all(clients.flatMap(({ txns }) =>
        [1, 2, 3].map(() =>
          txns.run(async (txn) => {
            attempts++;
            await add(txn);
          }, { mode: "pessimistic", fairLocking })
        )
      ));
    };
    const counter = (txn: Transaction) =>
      txn.sub(`count/${fairLocking}/`, { key: codec.utf8, value: codec.uint64 });
    await clock.run(addAll((txn) =>
      txn.statement(async () => {
        const counts = counter(txn);
        counts.put("n", (await counts.get("n") ?? 0n) + 1n);
      }, CURRENT)
    ));
    await clock.run(addAll(async (txn) => {
      const counts = counter(txn);
      counts.put("n", (await counts.getForUpdate("n") ?? 0n) + 1n);
    }));
    const [first] = clients;
    const total = first?.txns.run((txn) => counter(txn).get("n"));
    assert.equal(await clock.run(total ?? Promise.resolve(undefined)), 24n);
    assert.equal(attempts, 24);
  }
});

test("[TXN-122] [T-39] a lock of another request than the one that was answered fails the commit", async () => {
  await using world = await startWorld();
  const { clock } = world;
  for (const [fairLocking, isCaught] of [[true, true], [false, false]] as const) {
    const client = await openWatched(world);
    await seed(world, client, { a: "1" });
    const txn = await begin(world, client, { fairLocking });
    client.sent.length = 0;
    await clock.run(txn.getForUpdate("a"));
    const [first] = client.bodies("KvPessimisticLock");
    txn.put("a", "2");
    // The lock is lost, and a request that was sent before comes late, when it is not expected any more.
    world.cluster.losePessimisticLocks("a");
    await sendLate(world, client, first as PessimisticLockBody);
    assert.deepEqual(await locksIn(world, client), [`a@${txn.startTs}`]);
    const committing = clock.run(txn.commit());
    if (isCaught) await assert.rejects(committing, (error) => error instanceof TxnAbortedError);
    else await committing;
    await clock.advance(500);
    assert.equal(await valueOf(world, client, "a"), isCaught ? "1" : "2");
  }
});

async function sendLate(world: World, { parts }: Watched, body: PessimisticLockBody): Promise<void> {
  const { session } = parts.txn();
  const operation = new Operation("test", {
    deadline: Deadline.after(world.clock, 10_000),
    environment: session.settings.environment,
  });
  const forUpdateTs = await world.clock.run(session.oracle.timestamp(operation));
  const request = session.routing.sender.request(COMMANDS.KvPessimisticLock, { ...body, forUpdateTs });
  await world.clock.run(sendToKey(session.routing, utf8Encode("a"), { request, operation }));
}

test("[TXN-122] [T-39] what for-update timestamp each lock must have goes with its key", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const client = await openWatched(world);
  const txn = await begin(world, client, { commit: "2pc" });
  await clock.run(txn.lock(["a"]));
  await seed(world, client, { z: "0" });
  await clock.run(txn.lock(["b", "c"]));
  await clock.run(txn.lock(["z"]));
  for (const key of ["a", "b", "y", "z"]) txn.put(key, "1");
  client.sent.length = 0;
  await clock.run(txn.commit());
  const sent = client.bodies("KvPrewrite").map(({ mutations, forUpdateTsConstraints = [] }) =>
    forUpdateTsConstraints.map(({ index }) => text(mutations[index]?.key))
  );
  // None for what was locked with others, or not at all.
  assert.deepEqual(sent.flat().sort(), ["a", "z"]);
});

// SPDX-License-Identifier: Apache-2.0
// Faults at each request of transactions that lock: with a client that lives on, it commits what it
// should and leaves no lock; with one that vanishes, others get its keys within bounded time. The points
// are found by running each path once and counting its requests.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fault } from "../../src/playground/mod.ts";
import type { TransactionOptions, Transactions } from "../../src/txn/begin.ts";
import type { Transaction } from "../../src/txn/mod.ts";
import { locksIn, type Watched } from "../unit/txn/lock_world.ts";
import { startWorld, type World } from "../unit/txn/txn_world.ts";

const TEXT = new TextDecoder();
const KEYS = ["a", "b", "m", "z"];

const EVENTS = {
  "nothing": () => Promise.resolve(),
  "split": ({ cluster }) => cluster.split("b"),
  "leader-move": async ({ cluster }) => {
    await cluster.moveLeader("a");
    await cluster.moveLeader("z");
  },
  "lost-reply": ({ cluster }, method) => {
    cluster.faults.add({ method, times: 1 }, fault.dropReply());
    return Promise.resolve();
  },
  "lost-request": ({ cluster }, method) => {
    cluster.faults.add({ method, times: 1 }, fault.dropRequest());
    return Promise.resolve();
  },
  "cut-executed": ({ cluster }, method) => {
    cluster.faults.add({ method, times: 1 }, fault.cutStream({ isExecuted: true }));
    return Promise.resolve();
  },
  "locks-lost": ({ cluster }) => {
    cluster.losePessimisticLocks("a");
    return Promise.resolve();
  },
} as const satisfies Record<string, (world: World, method: string) => Promise<void>>;

type EventName = keyof typeof EVENTS;

/** Adds one to each key, in different ways. `interfere` adds ten to "a", once. */
type Path = (txn: Transaction, interfere: () => Promise<void>) => Promise<void>;

const PATHS: Readonly<Record<string, { readonly run: Path; readonly options?: TransactionOptions }>> = {
  "single keys in line": {
    run: async (txn, interfere) => {
      await interfere();
      for (const key of KEYS) txn.put(key, plus(await txn.getForUpdate(key)));
    },
  },
  "single keys by races": {
    options: { fairLocking: false },
    run: async (txn, interfere) => {
      await interfere();
      for (const key of KEYS) txn.put(key, plus(await txn.getForUpdate(key)));
    },
  },
  "many keys at once": {
    run: async (txn, interfere) => {
      await interfere();
      const all = await txn.batchGetForUpdate(KEYS);
      for (const key of KEYS) txn.put(key, plus(all.get(key)));
    },
  },
  "a statement that is run again": {
    run: (txn, interfere) =>
      txn.statement(async () => {
        const values = await txn.batchGet(KEYS);
        await interfere();
        for (const key of KEYS) {
          await txn.lock([key]);
          txn.put(key, plus(values.get(key)));
        }
      }, { current: true }),
  },
  "a statement that locks what it wrote": {
    run: (txn, interfere) =>
      txn.statement(async () => {
        const values = await txn.batchGet(KEYS);
        await interfere();
        for (const key of KEYS) txn.put(key, plus(values.get(key)));
      }, { current: true }),
  },
};

interface Point {
  readonly path: (typeof PATHS)[string];
  readonly event: EventName;
  /** The event comes before the request with this number; 0 is the first. */
  readonly eventAt: number;
  /** The client sends nothing after this many requests. */
  readonly diesAfter: number;
}

/** Plays one point. Returns how many requests the transaction sent. */
async function play({ path, event, eventAt, diesAfter }: Point): Promise<number> {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const other = await world.open({ timeoutMs: 60_000 });
  await clock.run(other.txns.run((txn) => {
    for (const key of KEYS) txn.put(key, "0");
  }));
  let isArmed = false;
  let requests = 0;
  const dead = new Promise<never>(() => {});
  const writer = await world.open({
    interceptors: [async (call, next) => {
      if (!isArmed) return await next(call);
      const number = requests++;
      if (number >= diesAfter) return await dead;
      if (number === eventAt) await EVENTS[event](world, call.method);
      const reply = await next(call);
      return requests > diesAfter ? await dead : reply;
    }],
  });
  // Connections and regions are known before, so that only the transaction itself is counted.
  await clock.run(writer.txns.run(async (txn) => void await txn.batchGet(KEYS)));
  isArmed = true;
  let hasInterfered = false;
  const interfere = async (): Promise<void> => {
    if (hasInterfered) return;
    hasInterfered = true;
    await addTen(other.txns);
  };
  const options: TransactionOptions = { ...path.options, mode: "pessimistic", timeoutMs: 60_000 };
  const running = writer.txns.run((txn) => path.run(txn, interfere), options);
  running.catch(() => {});
  const end = await clock.run(Promise.race([
    running.then(() => "committed", (error) => error.kind as string),
    new Promise<string>((resolve) => clock.timer(90_000, () => resolve("open"))),
  ]));
  const values = await clock.run(readAll(other.txns), 60_000);
  const what = JSON.stringify({ event, eventAt, diesAfter, end, values });
  if (!hasInterfered) await clock.run(addTen(other.txns));
  const after = ["11", "1", "1", "1"];
  const before = [hasInterfered ? "10" : "0", "0", "0", "0"];
  if (diesAfter === Infinity) assert.equal(end, "committed", what);
  if (end === "committed") assert.deepEqual(values, after, what);
  else assert.ok([after, before].some((all) => all.join() === values.join()), what);
  // Whoever comes now has the keys, within the time that locks of the dead live.
  await clock.run(
    other.txns.run((txn) => txn.lock(KEYS), { mode: "pessimistic", timeoutMs: 60_000 }),
    60_000,
  );
  await clock.advance(30_000);
  if (diesAfter === Infinity) {
    assert.deepEqual(await locksIn(world, other as Watched, ["a", "b", "z"]), [], what);
  }
  return requests;
}

function plus(value: Uint8Array | undefined): string {
  return String(Number(TEXT.decode(value)) + 1);
}

async function addTen(txns: Transactions): Promise<void> {
  await txns.run(async (txn) => txn.put("a", String(Number(TEXT.decode(await txn.get("a"))) + 10)));
}

async function readAll(txns: Transactions): Promise<string[]> {
  return await txns.run(async (txn) => {
    const values = await txn.batchGet(KEYS);
    return KEYS.map((key) => TEXT.decode(values.get(key)));
  });
}

let played = 0;

for (const [name, path] of Object.entries(PATHS)) {
  for (const event of Object.keys(EVENTS) as EventName[]) {
    test(`[TXN-116] [TXN-121] [T-35] [T-38] [T-39] [T-70] ${name}, with faults at each request (${event})`, async () => {
      const all = await play({ path, event, eventAt: 0, diesAfter: Infinity });
      assert.ok(all > 0);
      for (let eventAt = 0; eventAt < (event === "nothing" ? 1 : all); eventAt++) {
        const requests = await play({ path, event, eventAt, diesAfter: Infinity });
        played++;
        // A client that vanishes does so after each request in turn; with other events, after some.
        const step = event === "nothing" ? 1 : 4;
        for (let diesAfter = eventAt % step; diesAfter < requests; diesAfter += step) {
          await play({ path, event, eventAt, diesAfter });
          played++;
        }
      }
    });
  }
}

test("the points that were played are many", () => {
  console.log(`${played} points were played`);
  assert.ok(played > 500);
});

// SPDX-License-Identifier: Apache-2.0
// A client that vanishes after any of its requests, while the cluster changes under it: whoever reads
// afterwards finds all of the transaction, or nothing of it. The points are found by running each
// path once and counting its requests.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fault } from "../../src/playground/mod.ts";
import type { BeginOptions } from "../../src/txn/begin_options.ts";
import { startWorld, type World } from "../unit/txn/txn_world.ts";

const TEXT = new TextDecoder();
const KEYS = ["a", "b", "m", "y", "z"];
const NEW = "new";
const OLD = "old";

/** What happens right before one of the requests goes out. */
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
} as const satisfies Record<string, (world: World, method: string) => Promise<void>>;

type EventName = keyof typeof EVENTS;

const PATHS: Readonly<Record<string, { readonly keys: readonly string[]; readonly options: BeginOptions }>> =
  {
    "optimistic in two phases": { keys: KEYS, options: { commit: "2pc" } },
    "optimistic async commit": { keys: KEYS, options: { commit: "async" } },
    "optimistic in one phase": { keys: ["a", "b"], options: { commit: "1pc" } },
    "optimistic, whatever fits": { keys: ["a", "b"], options: {} },
    "pessimistic in two phases": { keys: KEYS, options: { commit: "2pc", mode: "pessimistic" } },
    "pessimistic async commit": { keys: KEYS, options: { commit: "async", mode: "pessimistic" } },
    "pessimistic in one phase": { keys: ["a", "b"], options: { commit: "1pc", mode: "pessimistic" } },
  };

interface Point {
  readonly path: (typeof PATHS)[string];
  /** The client sends nothing after this many requests. */
  readonly diesAfter: number;
  readonly event: EventName;
  /** The event comes before the request with this number; 0 is the first. */
  readonly eventAt: number;
}

/** Plays one point. Returns how many requests the transaction sent. */
async function play(point: Point): Promise<number> {
  const { path, diesAfter, event, eventAt } = point;
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  // Locks live for 20 s at most when nobody keeps them alive.
  const reader = await world.open({ timeoutMs: 60_000 });
  await clock.run(reader.txns.run((txn) => {
    for (const key of path.keys) txn.put(key, OLD);
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
  const txn = await clock.run(writer.txns.begin(path.options));
  for (const key of path.keys) assert.equal(TEXT.decode(await clock.run(txn.get(key))), OLD);
  isArmed = true;
  for (const key of path.keys) txn.put(key, NEW);
  const end: { state: "committed" | "failed" | "undetermined" | "open" } = { state: "open" };
  const committing = txn.commit().then(
    () => end.state = "committed",
    (error) => end.state = error.kind === "undetermined" ? "undetermined" : "failed",
  );
  // A dead client does not settle: its time runs out, or it waits for ever.
  await clock.run(Promise.race([committing, later(world, 25_000)]));
  const seen = await clock.run(readAll(reader.txns, path.keys), 60_000);
  const values = new Set(seen);
  const what = JSON.stringify({ ...point, path: path.options, seen, end: end.state });
  assert.equal(values.size, 1, `half a transaction: ${what}`);
  if (end.state === "committed") assert.deepEqual([...values], [NEW], `a commit is lost: ${what}`);
  if (end.state === "failed") assert.deepEqual([...values], [OLD], `a failure was committed: ${what}`);
  // What was seen stays so, whatever is still on its way.
  await clock.advance(60_000);
  assert.deepEqual(await clock.run(readAll(reader.txns, path.keys), 60_000), seen, what);
  return requests;
}

function later({ clock }: World, ms: number): Promise<void> {
  return new Promise((resolve) => clock.timer(ms, resolve));
}

async function readAll(
  txns: Awaited<ReturnType<World["open"]>>["txns"],
  keys: readonly string[],
): Promise<string[]> {
  const txn = await txns.begin();
  const values: string[] = [];
  for (const key of keys) values.push(TEXT.decode(await txn.get(key)));
  await txn.rollback();
  return values;
}

let played = 0;

for (const [name, path] of Object.entries(PATHS)) {
  for (const event of Object.keys(EVENTS) as EventName[]) {
    test(`[T-01] [T-02] [T-03] [T-20] [T-21] ${name} is all or nothing wherever the client vanishes (${event})`, async () => {
      const all = await play({ path, diesAfter: Infinity, event, eventAt: 0 });
      assert.ok(all > 0);
      for (let eventAt = 0; eventAt < (event === "nothing" ? 1 : all); eventAt++) {
        const requests = await play({ path, diesAfter: Infinity, event, eventAt });
        played++;
        for (let diesAfter = 0; diesAfter < requests; diesAfter++) {
          await play({ path, diesAfter, event, eventAt });
          played++;
        }
      }
    });
  }
}

test("the points that were played are many", () => {
  console.log(`${played} points were played`);
  assert.ok(played > 300);
});

// SPDX-License-Identifier: Apache-2.0
// Two doctors are on call, and each goes off when the other one stays. With snapshot isolation both may
// go; locks on what was read prevent it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Playground } from "../../src/playground/mod.ts";
import { connect } from "../../src/client.ts";
import { utf8Decode } from "../../src/bytes/utf8.ts";
import { ManualClock } from "../../src/testing/mod.ts";
import { TikvError } from "../../src/errors.ts";
import { History, type TxnRecord } from "./history.ts";
import { type RecordedTxn, runSnapshot, runTxn, settleFates, valueOf } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate, type Simulation } from "./simulation.ts";
import { anyOptions, runWorkers, Tally } from "./workers.ts";

const DOCTORS = ["b", "p"];

/** Reads both and locks, in some way, what was read. */
type Look = (txn: RecordedTxn, sim: Simulation) => Promise<ReadonlyMap<string, string | undefined>>;

const LOOKS: Readonly<
  Record<string, { readonly mode: "optimistic" | "pessimistic" | "mixed"; readonly look: Look }>
> = {
  "reads only": { mode: "mixed", look: (txn, sim) => txn.read(DOCTORS, sim.random.int(4)) },
  "lock() of what was read, optimistic": {
    mode: "optimistic",
    look: async (txn, sim) => {
      const seen = await txn.read(DOCTORS, sim.random.int(4));
      await txn.lock(DOCTORS);
      return seen;
    },
  },
  "getForUpdate(), optimistic": {
    mode: "optimistic",
    look: async (txn) => new Map([["b", await txn.getForUpdate("b")], ["p", await txn.getForUpdate("p")]]),
  },
  "batchGetForUpdate(), pessimistic": {
    mode: "pessimistic",
    look: (txn) => txn.batchGetForUpdate(DOCTORS),
  },
  "getForUpdate() in any mode and order": {
    mode: "mixed",
    look: async (txn, sim) => {
      const seen = new Map<string, string | undefined>();
      const order = sim.random.int(2) === 0 ? DOCTORS : [...DOCTORS].reverse();
      for (const key of order) seen.set(key, await txn.getForUpdate(key));
      return seen;
    },
  },
};

for (const [how, { mode, look }] of Object.entries(LOOKS)) {
  const isProtected = how !== "reads only";
  test(`write skew: ${isProtected ? "nobody is left alone" : "it happens"} with ${how}`, async () => {
    const tally = new Tally();
    let skews = 0;
    const isGate = await forEachSeed(
      isProtected ? 2 : 4,
      (seed) =>
        simulate(seed, { hasTrouble: isProtected || seed % 2 === 0 }, async (sim) => {
          const history = new History();
          const alone: TxnRecord[] = [];
          const on = async (txn: RecordedTxn): Promise<void> => {
            await txn.lock(DOCTORS);
            for (const key of DOCTORS) txn.put(key, "on");
          };
          while (await runTxn(sim, history, { client: sim.clientOf(0), body: on }) !== "committed") {
            await sim.sleep(500);
          }
          await runWorkers(sim, {
            workers: 4,
            steps: 10,
            tally,
            step: (client, worker) =>
              runTxn(sim, history, {
                client,
                options: anyOptions(sim, tally, mode),
                body: async (txn) => {
                  const seen = await look(txn, sim);
                  const own = DOCTORS[worker % 2] ?? "";
                  const isOn = [...seen.values()].filter((value) => valueOf(value) === "on");
                  if (isOn.length === 0) alone.push(txn.record);
                  if (isOn.length === 2) txn.put(own, "off");
                  else for (const key of DOCTORS) txn.put(key, "on");
                },
              }),
          });
          return async () => {
            await settleFates(sim, history);
            // One that has lost its locks may see anything; it does not commit.
            skews += alone.filter(({ fate, writes }) => fate === "committed" && writes.size > 0).length;
            const client = await sim.addClient();
            await runSnapshot(sim, history, {
              client,
              body: async (reads) => {
                const values = await reads.read(DOCTORS, 0);
                if (![...values.values()].some((value) => valueOf(value) === "on")) skews++;
              },
            });
            history.check();
          };
        }),
    );
    console.log(`write skew with ${how}: ${skews} times, ${tally}`);
    if (isProtected) assert.equal(skews, 0);
    else if (isGate) assert.ok(skews > 0);
    if (isGate) assert.ok(tally.share > 0.15);
  });
}

test("write skew: two that read what the other one writes both commit, and with lock() one does not", async () => {
  const clock = new ManualClock();
  await using cluster = await Playground.start({ clock, mode: "txn", splitKeys: ["m"], seed: 1 });
  const client = await clock.run(connect(cluster));
  for (const isLocked of [false, true]) {
    await clock.run(client.transaction((txn) => {
      for (const key of DOCTORS) txn.put(key, "on");
    }));
    const [one, two] = [await clock.run(client.begin()), await clock.run(client.begin())];
    for (const [txn, own, other] of [[one, "b", "p"], [two, "p", "b"]] as const) {
      assert.equal(utf8Decode(await clock.run(txn.get(other)) ?? new Uint8Array(0)), "on");
      if (isLocked) await clock.run(txn.lock([other]));
      txn.put(own, "off");
    }
    await clock.run(one.commit());
    const second = two.commit().then(() => "committed", (error) => TikvError.is(error) ? error.kind : error);
    assert.equal(await clock.run(second), isLocked ? "write-conflict" : "committed");
    const snapshot = await clock.run(client.snapshot());
    const off = await clock.run(snapshot.batchGet(DOCTORS));
    assert.deepEqual([...off].map(([, value]) => utf8Decode(value)), ["off", isLocked ? "on" : "off"]);
  }
  await clock.run(client.close());
});

// SPDX-License-Identifier: Apache-2.0
// Each worker has a key that only it writes: what it reads is what it has written last, in its transaction
// before the commit and everywhere after it, whichever client and replica it asks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { History, type TxnRecord } from "./history.ts";
import { type RecordedReads, runCall, runSnapshot, runTxn, settleFates, valueOf } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate, type Simulation } from "./simulation.ts";
import { anyOptions, anyReplica, runWorkers, Tally } from "./workers.ts";

const KEYS = ["a", "e", "l", "t", "v"];

test("sessions: a worker reads its own writes, and never an older one", async () => {
  const tally = new Tally();
  const isGate = await forEachSeed(3, (seed) =>
    simulate(seed, {}, async (sim) => {
      const history = new History();
      // What each worker knows to be there at least, and what it has tried last.
      const known = KEYS.map(() => 0);
      const tried = KEYS.map(() => 0);
      await runWorkers(sim, {
        workers: KEYS.length,
        steps: 12,
        tally,
        step: async (_, worker) => {
          const { random } = sim;
          const key = KEYS[worker] ?? "";
          // Another client than before: what one has committed all see.
          const client = sim.clientOf(random.int(3));
          const look = async (reads: RecordedReads): Promise<void> => {
            const value = await readSomehow(sim, reads, key);
            const count = Number(valueOf(value) ?? "0");
            assert.ok(count >= (known[worker] ?? 0) && count <= (tried[worker] ?? 0), `${key} is ${count}`);
            known[worker] = count;
          };
          if (random.int(2) === 0) {
            return await runSnapshot(sim, history, { client, options: anyReplica(sim), body: look });
          }
          const next = (tried[worker] ?? 0) + 1;
          tried[worker] = next;
          const run = random.int(2) === 0 ? runCall : runTxn;
          const outcome = await run(sim, history, {
            client,
            options: anyOptions(sim, tally),
            body: async (txn) => {
              await look(txn);
              txn.put(key, String(next));
              // It is asserted there that the own write is what is read.
              await readSomehow(sim, txn, key);
            },
          });
          if (outcome === "committed") known[worker] = next;
          return outcome;
        },
      });
      return async () => {
        await settleFates(sim, history);
        history.check();
      };
    }));
  console.log(`sessions: ${tally}`);
  if (isGate) assert.ok(tally.share > 0.15);
});

test("a seed plays the same history each time", async () => {
  const play = async (): Promise<TxnRecord[]> => {
    const history = new History();
    await simulate(7, {}, async (sim) => {
      const tally = new Tally();
      await runWorkers(sim, {
        workers: 4,
        steps: 6,
        tally,
        step: (client, worker) =>
          runTxn(sim, history, {
            client,
            options: { ...anyOptions(sim, tally), onCommit: undefined },
            body: async (txn) => {
              await txn.read(KEYS, worker);
              txn.put(sim.random.pick(KEYS), "1");
            },
          }),
      });
      return () => settleFates(sim, history);
    });
    return history.txns;
  };
  assert.deepEqual(await play(), await play());
});

async function readSomehow(sim: Simulation, reads: RecordedReads, key: string): Promise<string | undefined> {
  const way = sim.random.int(5);
  return way === 4 ? await reads.get(key) : (await reads.read([key], way)).get(key);
}

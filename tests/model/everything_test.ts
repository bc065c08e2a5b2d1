// SPDX-License-Identifier: Apache-2.0
// Anything that a transaction can do, by chance, next to others that do the same. Each read has to be
// what snapshot isolation says, each write has to be there or not as its client was told.

import assert from "node:assert/strict";
import { test } from "node:test";
import { History } from "./history.ts";
import { type RecordedTxn, runCall, runSnapshot, runTxn, settleFates } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate, type Simulation } from "./simulation.ts";
import { anyOptions, anyReplica, runWorkers, someOf, Tally } from "./workers.ts";

const KEYS = ["a", "b", "e", "f", "h", "j", "m", "n", "s", "z"];

test("[T-01] [T-03] [T-21] everything: reads are of one moment, commits are in order, fates are true", async () => {
  const tally = new Tally();
  const isGate = await forEachSeed(6, (seed) =>
    simulate(seed, {}, async (sim) => {
      const history = new History();
      const { random } = sim;
      let value = 0;
      const act = async (txn: RecordedTxn): Promise<void> => {
        for (let i = random.int(5); i >= 0; i--) await actOnce(sim, txn, () => String(value++));
      };
      await runWorkers(sim, {
        workers: 6,
        steps: 10,
        tally,
        step: async (client) => {
          if (random.int(4) === 0) {
            const options = anyReplica(sim);
            return await runSnapshot(sim, history, {
              client,
              options: random.int(4) === 0 ? { ...options, staleMs: random.int(3_000) } : options,
              body: async (reads) => {
                for (let i = random.int(3); i >= 0; i--) {
                  await reads.read(someOf(sim, KEYS, 1 + random.int(5)), random.int(4));
                }
              },
            });
          }
          const options = anyOptions(sim, tally);
          const run = random.int(3) === 0 ? runCall : runTxn;
          const pessimisticAfter = random.pick([1, 2, 10]);
          return await run(sim, history, {
            client,
            options: run === runCall ? { ...options, pessimisticAfter } : options,
            body: act,
          });
        },
      });
      return async () => {
        await settleFates(sim, history);
        const client = await sim.addClient();
        for (let way = 0; way < 4; way++) {
          await runSnapshot(sim, history, {
            client,
            body: async (reads) => void await reads.read(KEYS, way),
          });
        }
        history.check();
      };
    }));
  console.log(`everything: ${tally}`);
  if (isGate) assert.ok(tally.share > 0.15);
  for (const path of ["1pc", "async", "2pc"]) {
    if (isGate) assert.ok((tally.paths[path] ?? 0) > 5, `${path} is rare`);
  }
});

async function actOnce(sim: Simulation, txn: RecordedTxn, next: () => string): Promise<void> {
  const { random } = sim;
  const some = someOf(sim, KEYS, 1 + random.int(3));
  const [key = ""] = some;
  switch (random.int(10)) {
    case 0:
    case 1:
      return void await txn.read(some, random.int(4));
    case 2:
      return void await txn.getForUpdate(key, random.pick([Infinity, 0, 50]));
    case 3:
      return void await txn.batchGetForUpdate(some);
    case 4:
      return await txn.lock(some, random.pick([Infinity, Infinity, 100]));
    case 5:
      return txn.delete(key);
    case 6:
      return txn.insert(key, next());
    case 7:
      return await txn.undone(async () => {
        txn.put(key, next());
        await txn.get(key);
        txn.delete(some.at(-1) ?? "");
      });
    default:
      for (const one of some) txn.put(one, next());
  }
}

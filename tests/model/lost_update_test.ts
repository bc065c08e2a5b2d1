// SPDX-License-Identifier: Apache-2.0
// Counters: as many increments as were committed, whether by retries or by locks.

import assert from "node:assert/strict";
import { test } from "node:test";
import { History } from "./history.ts";
import { runCall, runSnapshot, runTxn, settleFates, valueOf } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate } from "./simulation.ts";
import { anyOptions, runWorkers, Tally } from "./workers.ts";

const COUNTERS = ["c", "k"];

for (const how of ["get()", "getForUpdate()"] as const) {
  test(`[T-01] lost update: a counter is the number of its committed increments (${how})`, async () => {
    const tally = new Tally();
    const isGate = await forEachSeed(3, (seed) =>
      simulate(seed, {}, async (sim) => {
        const history = new History();
        await runWorkers(sim, {
          workers: 5,
          steps: 8,
          tally,
          step: (client) => {
            const { random } = sim;
            const key = random.pick(COUNTERS);
            const options = anyOptions(sim, tally);
            const run = random.int(2) === 0 ? runCall : runTxn;
            return run(sim, history, {
              client,
              options: run === runCall ? { ...options, pessimisticAfter: 3 } : options,
              body: async (txn) => {
                const before = how === "get()" ? await txn.get(key) : await txn.getForUpdate(key);
                txn.put(key, String(1 + Number(valueOf(before) ?? "0")));
              },
            });
          },
        });
        return async () => {
          await settleFates(sim, history);
          const client = await sim.addClient();
          await runSnapshot(sim, history, {
            client,
            body: async (reads) => {
              for (const key of COUNTERS) {
                const successes = history.committed.filter(({ writes }) => writes.has(key)).length;
                assert.equal(Number(valueOf(await reads.get(key)) ?? "0"), successes, `increments of ${key}`);
              }
            },
          });
          history.check();
        };
      }));
    console.log(`lost update, ${how}: ${tally}`);
    if (isGate) assert.ok(tally.share > 0.15);
  });
}

// SPDX-License-Identifier: Apache-2.0
// Transfers between accounts: whoever looks sees all money, whenever and however, in any trouble.

import assert from "node:assert/strict";
import { test } from "node:test";
import { History } from "./history.ts";
import { type RecordedTxn, runCall, runSnapshot, runTxn, settleFates, valueOf } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate, type Simulation } from "./simulation.ts";
import { anyOptions, anyReplica, runWorkers, someOf, Tally } from "./workers.ts";

const ACCOUNTS = ["a", "c", "e", "g", "i", "k", "n", "p"];
const EACH = 100;

for (const mode of ["optimistic", "pessimistic", "mixed"] as const) {
  test(`[T-01] [T-03] bank: no transfer changes how much money there is (${mode})`, async () => {
    const tally = new Tally();
    const isGate = await forEachSeed(3, (seed) =>
      simulate(seed, {}, async (sim) => {
        const history = new History();
        await open(sim, history);
        await runWorkers(sim, {
          workers: 6,
          steps: 10,
          tally,
          step: (client) => {
            if (sim.random.int(4) === 0) {
              const body = (reads: Pick<RecordedTxn, "read">): Promise<void> => audit(sim, reads);
              return runSnapshot(sim, history, { client, options: anyReplica(sim), body });
            }
            const options = anyOptions(sim, tally, mode);
            const run = sim.random.int(3) === 0 ? runCall : runTxn;
            return run(sim, history, { client, options, body: (txn) => transfer(sim, txn) });
          },
        });
        return async () => {
          await settleFates(sim, history);
          const client = await sim.addClient();
          for (let way = 0; way < 4; way++) {
            await runSnapshot(sim, history, { client, body: (reads) => audit(sim, reads, way) });
          }
          history.check();
        };
      }));
    console.log(`bank, ${mode}: ${tally}`);
    if (isGate) assert.ok(tally.share > 0.15);
  });
}

async function open(sim: Simulation, history: History): Promise<void> {
  for (;;) {
    const outcome = await runCall(sim, history, {
      client: sim.clientOf(0),
      body: (txn) => {
        for (const key of ACCOUNTS) txn.put(key, String(EACH));
        return Promise.resolve();
      },
    });
    if (outcome === "committed") return;
    // It may have happened all the same: then nobody has moved anything yet.
    await sim.sleep(1_000);
  }
}

async function audit(
  sim: Simulation,
  reads: Pick<RecordedTxn, "read">,
  way = sim.random.int(4),
): Promise<void> {
  const values = await reads.read(ACCOUNTS, way);
  const total = [...values.values()].reduce((sum, value) => sum + Number(valueOf(value)), 0);
  assert.equal(total, EACH * ACCOUNTS.length, `the total is wrong: ${JSON.stringify([...values])}`);
}

async function transfer(sim: Simulation, txn: RecordedTxn): Promise<void> {
  const { random } = sim;
  const [from = "", to = ""] = someOf(sim, ACCOUNTS, 2);
  if (random.int(3) === 0) await audit(sim, txn);
  const way = random.int(4);
  let both: ReadonlyMap<string, string | undefined>;
  if (way === 0) both = await txn.batchGetForUpdate([from, to]);
  else if (way === 1) {
    both = new Map([[from, await txn.getForUpdate(from)], [to, await txn.getForUpdate(to)]]);
  } else both = await txn.read([from, to], way === 2 ? 0 : 3);
  const amount = 1 + random.int(20);
  const left = Number(valueOf(both.get(from)));
  if (left < amount) return;
  txn.put(from, String(left - amount));
  txn.put(to, String(Number(valueOf(both.get(to))) + amount));
  // In a pessimistic transaction a locked read may be newer than its moment: then the sum is not one.
  if (txn.txn.mode === "optimistic" && random.int(3) === 0) await audit(sim, txn);
}

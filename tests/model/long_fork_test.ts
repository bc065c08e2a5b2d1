// SPDX-License-Identifier: Apache-2.0
// Independent writers and readers of several keys: all readers agree on the order of the writes, and
// what was seen once is not unseen later.

import assert from "node:assert/strict";
import { test } from "node:test";
import { History } from "./history.ts";
import { runSnapshot, runTxn, settleFates, valueOf } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate } from "./simulation.ts";
import { anyOptions, anyReplica, runWorkers, Tally } from "./workers.ts";

const KEYS = ["a", "f", "k", "r"];

/** How far the writer of each key was, as one reader saw it. */
interface Sight {
  readonly beganAt: number;
  readonly doneAt: number;
  readonly counts: readonly number[];
}

test("long fork: all readers see independent writes in one order, and later ones see no less", async () => {
  const tally = new Tally();
  const isGate = await forEachSeed(4, (seed) =>
    simulate(seed, {}, async (sim) => {
      const history = new History();
      const sights: Sight[] = [];
      const written = KEYS.map(() => 0);
      const look = async (
        reads: { read(keys: readonly string[], way: number): Promise<Map<string, string | undefined>> },
        beganAt: number,
      ): Promise<void> => {
        const values = await reads.read(KEYS, sim.random.int(4));
        const counts = KEYS.map((key) => Number(valueOf(values.get(key)) ?? "0"));
        sights.push({ beganAt, doneAt: sim.tick(), counts });
      };
      await runWorkers(sim, {
        workers: 8,
        steps: 10,
        tally,
        step: (client, worker) => {
          const beganAt = sim.tick();
          if (worker < KEYS.length) {
            const count = (written[worker] ?? 0) + 1;
            written[worker] = count;
            return runTxn(sim, history, {
              client,
              options: anyOptions(sim, tally),
              body: (txn) => {
                txn.put(KEYS[worker] ?? "", String(count));
                return Promise.resolve();
              },
            });
          }
          if (sim.random.int(3) > 0) {
            const options = anyReplica(sim);
            return runSnapshot(sim, history, { client, options, body: (reads) => look(reads, beganAt) });
          }
          return runTxn(sim, history, { client, body: (txn) => look(txn, beganAt) });
        },
      });
      return async () => {
        await settleFates(sim, history);
        assertNoFork(sights);
        assertMonotonic(sights);
        history.check();
      };
    }));
  console.log(`long fork: ${tally}`);
  if (isGate) assert.ok(tally.share > 0.15);
});

/** Of two readers one has seen all that the other one has. */
function assertNoFork(sights: readonly Sight[]): void {
  for (const { counts: a } of sights) {
    for (const { counts: b } of sights) {
      const isBehind = a.some((count, i) => count < (b[i] ?? 0));
      const isAhead = a.some((count, i) => count > (b[i] ?? 0));
      assert.ok(!(isBehind && isAhead), `two readers disagree: ${a.join()} and ${b.join()}`);
    }
  }
}

/** Who begins when another reader is done sees as much, in whatever client. */
function assertMonotonic(sights: readonly Sight[]): void {
  for (const before of sights) {
    for (const after of sights) {
      if (after.beganAt <= before.doneAt) continue;
      assert.ok(
        after.counts.every((count, i) => count >= (before.counts[i] ?? 0)),
        `a later reader sees ${after.counts.join()} after ${before.counts.join()}`,
      );
    }
  }
}

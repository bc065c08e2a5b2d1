// SPDX-License-Identifier: Apache-2.0
// Registers with compare-and-swap: their commits are in the order of real time, and who begins when
// a commit has resolved sees it, in every client. With causal consistency only what is related is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Decode } from "../../src/bytes/utf8.ts";
import { connect } from "../../src/client.ts";
import { Playground } from "../../src/playground/mod.ts";
import { ManualClock } from "../../src/testing/mod.ts";
import type { Timestamp } from "../../src/types.ts";
import { History } from "./history.ts";
import { runSnapshot, runTxn, settleFates, valueOf } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate } from "./simulation.ts";
import { anyOptions, anyReplica, runWorkers, Tally } from "./workers.ts";

const REGISTERS = ["e", "o"];

/** A swap that was done. */
interface Swap {
  readonly register: string;
  readonly from: string | undefined;
  readonly to: string;
  readonly commitTs: bigint;
  readonly calledAt: number;
  readonly resolvedAt: number;
}

test("register: swaps follow each other, in the order of their timestamps and of real time", async () => {
  const tally = new Tally();
  const isGate = await forEachSeed(3, (seed) =>
    simulate(seed, {}, async (sim) => {
      const history = new History();
      const tried = new Map<number, Pick<Swap, "register" | "from" | "to">>();
      await runWorkers(sim, {
        workers: 6,
        steps: 12,
        tally,
        step: (client) => {
          const { random } = sim;
          const register = random.pick(REGISTERS);
          if (random.int(3) === 0) {
            const body = async (reads: { get(key: string): Promise<unknown> }): Promise<void> => {
              await reads.get(register);
            };
            return runSnapshot(sim, history, { client, options: anyReplica(sim), body });
          }
          const causalConsistency = random.int(8) === 0;
          return runTxn(sim, history, {
            client,
            options: { ...anyOptions(sim, tally), causalConsistency },
            body: async (txn) => {
              const from = random.int(2) === 0 ? await txn.get(register) : await txn.getForUpdate(register);
              const to = String(Number(valueOf(from) ?? "0") + 1);
              txn.put(register, to);
              tried.set(txn.record.id, { register, from: valueOf(from), to });
            },
          });
        },
      });
      return async () => {
        await settleFates(sim, history);
        history.check();
        for (const register of REGISTERS) {
          const swaps = history.committed.flatMap((txn): Swap[] => {
            const swap = tried.get(txn.id);
            if (swap?.register !== register) return [];
            const { commitTs = 0n, commitCalledAt = 0, commitResolvedAt = Infinity } = txn;
            return [{ ...swap, commitTs, calledAt: commitCalledAt, resolvedAt: commitResolvedAt }];
          });
          assertLinear(swaps.sort((a, b) => (a.commitTs < b.commitTs ? -1 : 1)));
        }
      };
    }));
  console.log(`register: ${tally}`);
  if (isGate) assert.ok(tally.share > 0.15);
});

/** Swaps in the order of their commits: each takes what the one before has left, and none came too late. */
function assertLinear(swaps: readonly Swap[]): void {
  let value: string | undefined;
  let calledAt = 0;
  for (const swap of swaps) {
    assert.equal(swap.from, value, `a swap of ${swap.register} at ${swap.commitTs}`);
    assert.ok(
      swap.resolvedAt > calledAt,
      `${swap.register} had resolved before one that comes first was called`,
    );
    calledAt = Math.max(calledAt, swap.calledAt);
    value = swap.to;
  }
}

for (const commit of ["1pc", "async"] as const) {
  for (const causalConsistency of [false, true]) {
    const name = causalConsistency ? "may be ordered before" : "is ordered after";
    const how = causalConsistency ? " with causal consistency" : "";
    test(`[T-10] [TXN-092] a commit that is called ${name} an unrelated one that has resolved (${commit}${how})`, async () => {
      const clock = new ManualClock();
      await using cluster = await Playground.start({ clock, mode: "txn", splitKeys: ["m"], seed: 1 });
      const [first, second] = [await clock.run(connect(cluster)), await clock.run(connect(cluster))];
      // A store that begins to lead a region takes a timestamp of its own; that is over then.
      await clock.run(first.transaction((txn) => ["a", "z"].forEach((key) => txn.put(key, "0"))));
      const late = await clock.run(first.begin({ commit, causalConsistency }));
      late.put("a", "1");
      await clock.advance(100);
      const early = await clock.run(second.begin());
      early.put("z", "1");
      const { commitTs: earlyTs } = await clock.run(early.commit());
      const { commitTs: lateTs } = await clock.run(late.commit());
      assert.ok(earlyTs !== undefined && lateTs !== undefined);
      assert.equal(lateTs < earlyTs, causalConsistency);
      // Whoever begins now sees both, in any case; only a moment in between tells.
      const seenAt = async (ts: Timestamp | undefined): Promise<string[]> => {
        const found = await clock.run((await clock.run(second.snapshot({ ts }))).batchGet(["a", "z"]));
        return [...found].map(([, value]) => utf8Decode(value));
      };
      assert.deepEqual(await seenAt(undefined), ["1", "1"]);
      const between = lateTs < earlyTs ? lateTs : earlyTs;
      assert.deepEqual(await seenAt(between), causalConsistency ? ["1", "0"] : ["0", "1"]);
      for (const client of [first, second]) await clock.run(client.close());
    });

    test(`[TXN-092] a commit is ordered after what its transaction has read (${commit}${how})`, async () => {
      const clock = new ManualClock();
      await using cluster = await Playground.start({ clock, mode: "txn", splitKeys: ["m"], seed: 1 });
      const [first, second] = [await clock.run(connect(cluster)), await clock.run(connect(cluster))];
      const { commitTs: causeTs = 0n } = await clock.run((async () => {
        const txn = await first.begin();
        txn.put("z", "1");
        return await txn.commit();
      })());
      const txn = await clock.run(second.begin({ commit, causalConsistency }));
      assert.notEqual(await clock.run(txn.get("z")), undefined);
      txn.put("a", "1");
      const { commitTs: effectTs = 0n } = await clock.run(txn.commit());
      assert.ok(effectTs > causeTs);
      for (const client of [first, second]) await clock.run(client.close());
    });
  }
}

// SPDX-License-Identifier: Apache-2.0
// Transactions read lists and append to them. What they have read tells in what order they must have
// been; the timestamps are not looked at. With snapshot isolation that order has no circle, apart from
// those in which two that follow each other each have missed a write of the next one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { History, type TxnRecord } from "./history.ts";
import { runCall, runSnapshot, runTxn, settleFates } from "./recorded.ts";
import { forEachSeed } from "./seeds.ts";
import { simulate } from "./simulation.ts";
import { anyOptions, anyReplica, runWorkers, someOf, Tally } from "./workers.ts";

const LISTS = ["b", "g", "j", "q"];

/** What one transaction has seen of a list, and that it has added itself to it. */
interface Look {
  readonly txn: TxnRecord;
  readonly list: string;
  readonly seen: readonly number[];
  readonly appends: boolean;
}

test("list-append: what transactions have read and appended fits into one order", async () => {
  const tally = new Tally();
  let edges = 0;
  const isGate = await forEachSeed(4, (seed) =>
    simulate(seed, {}, async (sim) => {
      const history = new History();
      const looks: Look[] = [];
      await runWorkers(sim, {
        workers: 6,
        steps: 10,
        tally,
        step: (client) => {
          const { random } = sim;
          const lists = someOf(sim, LISTS, 1 + random.int(3));
          if (random.int(4) === 0) {
            return runSnapshot(sim, history, {
              client,
              options: anyReplica(sim),
              body: async (reads) => {
                const values = await reads.read(lists, random.int(4));
                for (const [list, value] of values) {
                  looks.push({ txn: reads.record, list, seen: itemsOf(value), appends: false });
                }
              },
            });
          }
          const options = anyOptions(sim, tally);
          const run = random.int(3) === 0 ? runCall : runTxn;
          return run(sim, history, {
            client,
            options,
            body: async (txn) => {
              const values = random.int(3) === 0
                ? await txn.batchGetForUpdate(lists)
                : await txn.read(lists, random.int(4));
              for (const [list, value] of values) {
                const appends = random.int(3) > 0;
                const seen = itemsOf(value);
                looks.push({ txn: txn.record, list, seen, appends });
                if (appends) txn.put(list, [...seen, txn.record.id].join());
              }
            },
          });
        },
      });
      return async () => {
        await settleFates(sim, history);
        // What readers of a transaction that failed have seen is true as well.
        edges += assertNoCircle(looks, ({ fate, what }) => fate === "committed" || what === "snapshot");
        history.check();
      };
    }));
  console.log(`list-append: ${tally}, ${edges} edges`);
  if (isGate) assert.ok(tally.share > 0.15 && edges > 300);
});

/** A list with what makes it unique cut off. */
function itemsOf(value: string | undefined): number[] {
  if (value === undefined) return [];
  return value.slice(0, value.lastIndexOf("/")).split(",").map(Number);
}

/**
 * Puts the transactions in an order: who appended after whom, who saw whom, and who missed whom. There
 * must be no circle of edges in which each miss is right behind an edge of another kind (Cerone and
 * Gotsman, "Analysing Snapshot Isolation", 2016). Returns how many edges there were.
 */
function assertNoCircle(looks: readonly Look[], counts: (txn: TxnRecord) => boolean): number {
  const longest = new Map<string, readonly number[]>();
  for (const { txn, list, seen, appends } of looks) {
    if (!counts(txn)) continue;
    const items = appends ? [...seen, txn.id] : seen;
    const known = longest.get(list) ?? [];
    const [short, long] = items.length < known.length ? [items, known] : [known, items];
    assert.deepEqual(long.slice(0, short.length), short, `two ways in which list ${list} has grown`);
    longest.set(list, long);
  }
  const depends = new Map<number, Set<number>>();
  const misses = new Map<number, Set<number>>();
  for (const items of longest.values()) {
    items.forEach((item, index) => {
      const before = items[index - 1];
      if (before !== undefined) add(depends, before, item);
    });
  }
  for (const { txn, list, seen } of looks) {
    if (!counts(txn)) continue;
    const last = seen.at(-1);
    if (last !== undefined) add(depends, last, txn.id);
    const next = longest.get(list)?.[seen.length];
    if (next !== undefined && next !== txn.id) add(misses, txn.id, next);
  }
  const order = new Map<number, Set<number>>();
  for (const [from, tos] of depends) {
    for (const to of tos) {
      add(order, from, to);
      for (const missed of misses.get(to) ?? []) add(order, from, missed);
    }
  }
  assertAcyclic(order);
  return [...depends.values(), ...misses.values()].reduce((sum, tos) => sum + tos.size, 0);
}

function add(edges: Map<number, Set<number>>, from: number, to: number): void {
  const tos = edges.get(from);
  if (tos === undefined) edges.set(from, new Set([to]));
  else tos.add(to);
}

function assertAcyclic(edges: ReadonlyMap<number, ReadonlySet<number>>): void {
  const state = new Map<number, "open" | "done">();
  const path: number[] = [];
  const visit = (node: number): void => {
    if (state.get(node) === "done") return;
    assert.notEqual(
      state.get(node),
      "open",
      `a circle: ${[...path.slice(path.indexOf(node)), node].join(" → ")}`,
    );
    state.set(node, "open");
    path.push(node);
    for (const next of edges.get(node) ?? []) visit(next);
    path.pop();
    state.set(node, "done");
  };
  for (const node of edges.keys()) visit(node);
}

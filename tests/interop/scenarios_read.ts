// SPDX-License-Identifier: Apache-2.0
// Snapshots and scans, over what the other client wrote.

import assert from "node:assert/strict";
import { type Scenario, write } from "./scenario.ts";
import { type Entries, type ScanWith, type SnapshotDriver } from "./txn_client.ts";

/** Lengths around the groups of eight bytes that keys are encoded in, and bytes that look like their ends. */
const ODD_NAMES = ["a", "a\0", "a\0\0", "aaaaaaa", "aaaaaaaa", "aaaaaaaa\0", "aaaaaaaaa", "m", "m\x7f", "t"];

const RANGES: readonly ScanWith[] = [
  {},
  { limit: 1 },
  { limit: 4 },
  { start: "a\0" },
  { end: "m" },
  { start: "aaaaaaaa", end: "t" },
  { start: "b", end: "c" },
  { start: "m", end: "m\0" },
];

/** What a scan of the names has to find. */
function expectedOf(entries: Entries, { start, end, limit = Infinity, reverse = false }: ScanWith): Entries {
  const found = entries.filter(([key]) => {
    return (start === undefined || key >= start) && (end === undefined || key < end);
  });
  return (reverse ? found.toReversed() : found).slice(0, limit);
}

async function assertScans(
  reader: SnapshotDriver,
  entries: Entries,
  { key, range }: { key(name: string): string; range: Required<Pick<ScanWith, "start" | "end">> },
): Promise<void> {
  for (const wanted of RANGES) {
    for (const reverse of [false, true]) {
      const { start, end } = wanted;
      const own: ScanWith = {
        ...wanted,
        reverse,
        start: start === undefined ? range.start : key(start),
        end: end === undefined ? range.end : key(end),
      };
      assert.deepEqual(await reader.scan(own), expectedOf(entries, own), JSON.stringify(own));
    }
  }
}

export const READ_SCENARIOS: readonly Scenario[] = [
  {
    name: "keys of all lengths are found by get, batchGet and scans both ways, now and as of before",
    play: async (stage) => {
      const { one, other, key } = stage;
      const old = await write(one, Object.fromEntries(ODD_NAMES.map((name) => [key(name), `old ${name}`])));
      const fresh = ODD_NAMES.filter((_, i) => i % 2 === 0);
      const removal = await other.begin();
      for (const name of ODD_NAMES) {
        if (fresh.includes(name)) await removal.put(key(name), `new ${name}`);
        else await removal.delete(key(name));
      }
      const { commitTs } = await removal.commit();
      for (const client of [one, other]) {
        for (const [ts, names, word] of [[old, ODD_NAMES, "old"], [commitTs, fresh, "new"]] as const) {
          const reader = client.snapshot(ts);
          const entries = names.map((name) => [key(name), `${word} ${name}`] as const);
          await assertScans(reader, entries, stage);
          const all = [...ODD_NAMES, "none"].map(key);
          const sorted = [...entries].sort(([a], [b]) => a < b ? -1 : 1);
          assert.deepEqual(await reader.batchGet(all), Object.fromEntries(sorted));
          for (const name of ODD_NAMES) {
            assert.equal(await reader.get(key(name)), Object.fromEntries(entries)[key(name)], name);
          }
        }
      }
    },
  },
  {
    name: "a transaction reads its own writes over what the other committed, both ways",
    play: async (stage) => {
      const { one, other, key } = stage;
      await write(other, Object.fromEntries(ODD_NAMES.map((name) => [key(name), "old"])));
      const txn = await one.begin();
      await write(other, { [key("a")]: "too late", [key("n")]: "too late" });
      const expected = new Map(ODD_NAMES.map((name) => [name, "old"]));
      for (const name of ["a\0", "aaaaaaaa", "t"]) {
        await txn.delete(key(name));
        expected.delete(name);
      }
      for (const name of ["", "aaaaaaaa\0", "aaaaaaaa\0\0", "q"]) {
        await txn.put(key(name), "own");
        expected.set(name, "own");
      }
      const entries = [...expected].map(([name, value]) => [key(name), value] as const)
        .sort(([a], [b]) => a < b ? -1 : 1);
      await assertScans(txn, entries, stage);
      assert.deepEqual(
        await txn.batchGet([...ODD_NAMES, "q", "n"].map(key)),
        Object.fromEntries(
          entries.filter(([name]) => [...ODD_NAMES, "q"].map(key).includes(name)),
        ),
      );
      await txn.rollback();
    },
  },
  {
    name: "scans over more than one page, each way, as of before a removal",
    play: async (stage) => {
      const { one, other, key, range } = stage;
      const names = Array.from({ length: 700 }, (_, i) => `${"amt"[i % 3]}${String(i).padStart(3, "0")}`)
        .sort();
      const ts = await write(one, Object.fromEntries(names.map((name) => [key(name), name])));
      const removal = await one.begin();
      for (const name of names) await removal.delete(key(name));
      await removal.commit();
      const entries = names.map((name) => [key(name), name] as const);
      for (const client of [one, other]) {
        assert.deepEqual(await client.snapshot(ts).scan(range), entries);
        assert.deepEqual(await client.snapshot(ts).scan({ ...range, reverse: true }), entries.toReversed());
        assert.deepEqual(await client.snapshot(ts).scan({ ...range, limit: 333 }), entries.slice(0, 333));
        assert.deepEqual(await client.snapshot(await client.timestamp()).scan(range), []);
      }
    },
  },
];

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { hex } from "../../../src/bytes/hex.ts";
import { ALL_KEYS, contains, type KeyRange } from "../../../src/bytes/key_range.ts";
import { SortedEntries } from "../../../src/txn/sorted_entries.ts";
import { keys } from "../../helpers/arbitrary_keys.ts";

interface Item {
  readonly key: Uint8Array;
}

const keyOf = (n: number) => Uint8Array.of(n >> 8, n & 0xff);
const numberOf = ({ key }: Item) => ((key[0] ?? 0) << 8) + (key[1] ?? 0);

function filled(numbers: Iterable<number>): SortedEntries<Item> {
  const entries = new SortedEntries<Item>();
  for (const n of numbers) entries.insert({ key: keyOf(n) });
  return entries;
}

test("entries are in the order of their keys when they come in order, in reverse and mixed", () => {
  const sorted = Array.from({ length: 1000 }, (_, n) => n);
  const mixed = sorted.map((n) => (n * 617) % 1000);
  for (const numbers of [sorted, sorted.toReversed(), mixed]) {
    const entries = filled(numbers);
    assert.equal(entries.size, 1000);
    assert.deepEqual([...entries.ascending(ALL_KEYS)].map(numberOf), sorted);
    assert.deepEqual([...entries.descending(ALL_KEYS)].map(numberOf), sorted.toReversed());
    for (const n of sorted) assert.deepEqual(entries.find(keyOf(n)), { key: keyOf(n) });
    assert.equal(entries.find(keyOf(1000)), undefined);
    for (const n of mixed) entries.remove(keyOf(n));
    assert.equal(entries.size, 0);
    assert.deepEqual([...entries.ascending(ALL_KEYS)], []);
    assert.deepEqual([...entries.descending(ALL_KEYS)], []);
  }
});

test("a key that is not there can be removed without effect", () => {
  const entries = filled([1, 3]);
  for (const n of [0, 2, 4]) entries.remove(keyOf(n));
  assert.deepEqual([...entries.ascending(ALL_KEYS)].map(numberOf), [1, 3]);
});

test("walks over any range give what a sorted list gives", () => {
  const range: fc.Arbitrary<KeyRange> = fc.record({ start: keys(4), end: keys(4) });
  fc.assert(
    fc.property(
      fc.uniqueArray(keys(4), { maxLength: 600, minLength: 0, selector: hex, size: "max" }),
      range,
      (list, bounds) => {
        const entries = new SortedEntries<Item>();
        for (const key of list) entries.insert({ key });
        const expected = list.filter((key) => contains(bounds, key)).toSorted(compareBytes).map(hex);
        assert.deepEqual([...entries.ascending(bounds)].map(({ key }) => hex(key)), expected);
        assert.deepEqual([...entries.descending(bounds)].map(({ key }) => hex(key)), expected.toReversed());
      },
    ),
    { numRuns: 200 },
  );
});

test("[TXN-061] a walk gives every key that stays, none twice, in order, while others come and go", () => {
  const numbers = fc.integer({ min: 0, max: 1023 });
  const steps = fc.array(fc.array(numbers, { maxLength: 12 }), { maxLength: 80, size: "max" });
  fc.assert(
    fc.property(
      fc.uniqueArray(numbers, { maxLength: 700, size: "max" }),
      steps,
      fc.boolean(),
      (list, toggles, isReverse) => {
        const entries = filled(list);
        const present = new Set(list);
        const stays = new Set(list);
        const given: number[] = [];
        const walk = isReverse ? entries.descending(ALL_KEYS) : entries.ascending(ALL_KEYS);
        for (const item of walk) {
          assert.ok(present.has(numberOf(item)), "a removed key was given");
          given.push(numberOf(item));
          for (const n of toggles[given.length] ?? []) {
            stays.delete(n);
            if (present.delete(n)) {
              entries.remove(keyOf(n));
            } else {
              present.add(n);
              entries.insert({ key: keyOf(n) });
            }
          }
        }
        const ordered = [...new Set(given)].toSorted((a, b) => isReverse ? b - a : a - b);
        assert.deepEqual(given, ordered);
        for (const n of stays) assert.ok(given.includes(n), `${n} was skipped`);
      },
    ),
    { numRuns: 200 },
  );
});

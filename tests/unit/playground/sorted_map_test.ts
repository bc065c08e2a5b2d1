// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { SortedMap } from "../../../src/playground/sorted_map.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";

const SEED = 20_260_822;
const EMPTY = new Uint8Array(0);

test(`SortedMap answers as a sorted list does, through thousands of random changes (seed ${SEED})`, () => {
  const random = new SeededRandom(SEED);
  const map = new SortedMap<number>();
  const model = new Map<string, number>();
  const keyOf = () => Uint8Array.from({ length: random.int(3) }, () => random.int(40));
  const name = (key: Uint8Array) => [...key].join();
  const expected = (start: Uint8Array, end: Uint8Array) =>
    [...model.entries()]
      .map(([text, value]) => ({
        key: Uint8Array.from(text === "" ? [] : text.split(",").map(Number)),
        value,
      }))
      .filter(({ key }) => compareBytes(key, start) >= 0 && (end.length === 0 || compareBytes(key, end) < 0))
      .sort((a, b) => compareBytes(a.key, b.key));
  for (let step = 0; step < 6_000; step++) {
    const key = keyOf();
    const action = random.next();
    if (action < 0.7) {
      map.set(key, step);
      model.set(name(key), step);
    } else if (action < 0.95) {
      assert.equal(map.delete(key), model.delete(name(key)));
    } else {
      const range = { start: key, end: keyOf() };
      const found = expected(range.start, range.end);
      if (random.next() < 0.1) {
        assert.equal(map.deleteRange(range), found.length);
        for (const entry of found) model.delete(name(entry.key));
      } else {
        assert.deepEqual([...map.ascending(range)], found);
        assert.deepEqual([...map.descending(range)], found.reverse());
      }
    }
    assert.equal(map.size, model.size);
    assert.equal(map.get(key), model.get(name(key)));
  }
  assert.deepEqual([...map.ascending({ start: EMPTY, end: EMPTY })], expected(EMPTY, EMPTY));
});

test("SortedMap.clear() leaves nothing", () => {
  const map = new SortedMap<number>();
  for (let i = 0; i < 2_000; i++) map.set(Uint8Array.from([i >> 8, i & 0xff]), i);
  map.clear();
  assert.equal(map.size, 0);
  assert.deepEqual([...map.ascending({ start: EMPTY, end: EMPTY })], []);
});

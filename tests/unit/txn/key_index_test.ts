// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { hex, parseHex } from "../../../src/bytes/hex.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { KeyIndex } from "../../../src/txn/buffer/key_index.ts";

const EMPTY = new Uint8Array(0);

/** The numbers of all keys, in order. */
function forward(index: KeyIndex): number[] {
  const numbers: number[] = [];
  for (let at = index.first(); at !== 0; at = index.after(at)) numbers.push(index.at(at));
  return numbers;
}

function backward(index: KeyIndex): number[] {
  const numbers: number[] = [];
  for (let at = index.last(); at !== 0; at = index.before(at)) numbers.push(index.at(at));
  return numbers;
}

function insertAll(keys: Iterable<Uint8Array>): KeyIndex {
  const index = new KeyIndex();
  for (const key of keys) if (index.find(key) === 0) index.insert(key);
  return index;
}

/** Asserts that the index has these keys and no other, in order, and finds them and what is between them. */
function assertHas(index: KeyIndex, keys: readonly Uint8Array[]): void {
  const names = [...new Set(keys.map(hex))];
  const sorted = names.toSorted();
  const numberOf = new Map(names.map((name, i) => [name, i + 1]));
  const numbers = sorted.map((name) => numberOf.get(name));
  assert.deepEqual(forward(index), numbers);
  assert.deepEqual(backward(index), numbers.toReversed());
  assert.equal(index.count, names.length);
  for (const [at, name] of sorted.entries()) {
    const key = parseHex(name);
    const number = numbers[at] ?? 0;
    assert.equal(index.find(key), number);
    assert.deepEqual(index.key(number), key);
    assert.equal(index.keyLength(number), key.length);
    assert.equal(index.at(index.seek(key)), number);
    const [before, after] = [index.seekBefore(key), index.seek(Uint8Array.of(...key, 0))];
    assert.equal(before === 0 ? undefined : index.at(before), numbers[at - 1]);
    assert.equal(after === 0 ? undefined : index.at(after), numbers[at + 1]);
  }
}

test("[TXN-050] an empty index has no first, last or any key", () => {
  const index = new KeyIndex();
  assert.deepEqual([index.first(), index.last(), index.seek(EMPTY), index.seekBefore(utf8Encode("z"))], [
    0,
    0,
    0,
    0,
  ]);
  assert.equal(index.find(EMPTY), 0);
  assert.equal(index.capacityBytes, 0);
});

test("[TXN-050] keys are found and ordered by content, whatever they share with each other", () => {
  const byte = fc.constantFrom(0, 1, 0x61, 0xff);
  const tail = fc.array(byte, { maxLength: 7 });
  // Zeros at the end, keys that begin with others, and long common parts are what four bytes do not tell.
  const prefix = fc.constantFrom("", "t\0\0\0", "table/rows/", "\0\0\0\0\0\0\0\0");
  const key = fc.tuple(prefix, tail).map(([start, end]) => Uint8Array.of(...utf8Encode(start), ...end));
  fc.assert(
    fc.property(fc.array(key, { maxLength: 400, size: "max" }), (keys) => {
      assertHas(insertAll(keys), keys);
    }),
    { numRuns: 150, seed: SEED },
  );
});

test("[TXN-050] many keys keep their order, in whatever order they come", () => {
  const random = new SeededRandom(SEED);
  const numbered = Array.from({ length: 20_000 }, (_, i) => {
    const key = new Uint8Array(12);
    key.set(utf8Encode("t_"));
    new DataView(key.buffer).setUint32(4, i * 7919);
    return key;
  });
  const shuffled = numbered.map((key) => ({ key, at: random.next() })).toSorted((a, b) => a.at - b.at)
    .map(({ key }) => key);
  for (const keys of [numbered, numbered.toReversed(), shuffled]) assertHas(insertAll(keys), keys);
});

test("[TXN-050] keys of the greatest length are told apart by their last byte", () => {
  const keys = Array.from({ length: 200 }, (_, i) => new Uint8Array(65_535).fill(i, 65_534));
  const index = insertAll(keys);
  assert.deepEqual(forward(index), keys.map((_, i) => i + 1));
  for (const [i, key] of keys.entries()) assert.equal(index.find(key), i + 1);
  assert.ok(index.compare(1, 65_534, keys[1] ?? EMPTY) < 0);
});

test("[TXN-050] keys in ascending order fill the nodes: little memory goes to gaps", () => {
  const keys = Array.from({ length: 50_000 }, (_, i) => utf8Encode(`row/${String(i).padStart(8, "0")}`));
  const index = insertAll(keys);
  assert.ok(compareBytes(keys[0] ?? EMPTY, keys[1] ?? EMPTY) < 0);
  assert.ok(index.capacityBytes < 50_000 * (12 + 40), `${index.capacityBytes} bytes`);
});

const SEED = 20_261_124;

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { CachedStore } from "../../../src/region/store.ts";
import { peerOf, Region } from "../../../src/region/region.ts";
import { RegionIndex } from "../../../src/region/region_index.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { bytes, peerMeta, regionMeta, type RegionSketch } from "./region_world.ts";

function region(id: bigint, start: string, end: string, sketch?: RegionSketch): Region {
  const meta = regionMeta(id, start, end, sketch);
  return new Region({ meta, peers: [peerOf(peerMeta(id, 1n), new CachedStore(1n))], leaderIndex: 0 });
}

function indexOf(...regions: Region[]): RegionIndex {
  const index = new RegionIndex();
  for (const one of regions) assert.ok(index.insert(one));
  return index;
}

const ids = (regions: readonly Region[] | undefined): bigint[] | undefined => regions?.map(({ id }) => id);

describe("RegionIndex", () => {
  it("[REG-003] find() takes the start of a region and leaves its end out", () => {
    const [a, b, c] = [region(1n, "", "b"), region(2n, "b", "d"), region(3n, "f", "")];
    const index = indexOf(c, a, b);
    for (
      const [key, found] of [["", a], ["a", a], ["b", b], ["c", b], ["d", undefined], [
        "e",
        undefined,
      ]] as const
    ) {
      assert.equal(index.find(bytes(key)), found, key);
    }
    assert.equal(index.find(bytes("f")), c);
    assert.equal(index.find(bytes("zzz")), c);
  });

  it("[REG-003] findByEnd() leaves the start out and takes the end; an empty key is the end of all", () => {
    const [a, b, c] = [region(1n, "", "b"), region(2n, "b", "d"), region(3n, "f", "")];
    const index = indexOf(a, b, c);
    assert.equal(index.findByEnd(bytes("b")), a);
    assert.equal(index.findByEnd(bytes("d")), b);
    assert.equal(index.findByEnd(bytes("f")), undefined);
    assert.equal(index.findByEnd(bytes("g")), c);
    assert.equal(index.findByEnd(bytes("")), c);
    assert.equal(indexOf(a, b).findByEnd(bytes("")), undefined);
  });

  it("[REG-004] insert() replaces the regions that start inside the new one", () => {
    const index = indexOf(region(1n, "a", "c"), region(2n, "c", "e"), region(3n, "e", "g"));
    const merged = region(2n, "a", "e", { version: 2n });
    assert.deepEqual(ids(index.insert(merged)), [1n, 2n]);
    assert.equal(index.size, 2);
    assert.equal(index.find(bytes("d")), merged);
    assert.equal(index.byId(1n), undefined);
    assert.equal(index.byId(2n), merged);
  });

  it("[REG-004] insert() refuses an older version or configuration of a region", () => {
    const index = indexOf(region(1n, "a", "c", { version: 3n, confVer: 4n }));
    assert.equal(index.insert(region(1n, "a", "c", { version: 2n, confVer: 9n })), undefined);
    assert.equal(index.insert(region(1n, "a", "c", { version: 3n, confVer: 3n })), undefined);
    assert.deepEqual(ids(index.insert(region(1n, "a", "c", { version: 3n, confVer: 4n }))), [1n]);
  });

  it("[REG-004] insert() refuses a region that overlaps one with a larger version, from either side", () => {
    const right = indexOf(region(1n, "c", "e", { version: 5n }));
    assert.equal(right.insert(region(2n, "a", "d", { version: 4n })), undefined);
    const left = indexOf(region(1n, "a", "z", { version: 5n }));
    assert.equal(left.insert(region(2n, "c", "d", { version: 4n })), undefined);
    assert.equal(left.size, 1);
  });

  it("[REG-004] trap 15: a right half leaves the older whole in place for its left half", () => {
    const whole = region(1n, "a", "z");
    const right = region(2n, "m", "z", { version: 2n });
    const index = indexOf(whole);
    assert.equal(index.find(bytes("n")), whole);
    assert.deepEqual(index.insert(right), []);
    assert.equal(index.find(bytes("b")), whole);
    assert.equal(index.find(bytes("n")), right);
    // The search for a key of the left half must not make the whole the answer for the right one.
    assert.equal(index.find(bytes("b")), whole);
    assert.equal(index.find(bytes("y")), right);
    assert.equal(index.findByEnd(bytes("z")), right);
    assert.equal(index.findByEnd(bytes("m")), whole);
  });

  it("gapAt() is bounded by the neighbours, and by the region itself where there is one", () => {
    const index = indexOf(region(1n, "c", "e"), region(2n, "g", "i"));
    assert.deepEqual(index.gapAt(bytes("a")), { start: bytes(""), end: bytes("c") });
    assert.deepEqual(index.gapAt(bytes("f")), { start: bytes("e"), end: bytes("g") });
    assert.deepEqual(index.gapAt(bytes("x")), { start: bytes("i"), end: bytes("") });
    assert.deepEqual(index.gapAt(bytes("d")), { start: bytes("c"), end: bytes("e") });
  });

  it("remove() takes out the region that is meant, not its successor with the same id", () => {
    const old = region(1n, "a", "c");
    const index = indexOf(old);
    const next = region(1n, "a", "c", { version: 2n });
    index.insert(next);
    index.remove(old);
    assert.equal(index.find(bytes("b")), next);
    index.remove(next);
    assert.equal(index.find(bytes("b")), undefined);
    assert.equal(index.byId(1n), undefined);
  });

  it("[REG-003] agrees with a list that is searched one by one", () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 60; round++) {
      const index = new RegionIndex();
      let model: Region[] = [];
      for (let step = 0; step < 40; step++) {
        const [start, end] = [random.int(30), random.int(30)].sort((a, b) => a - b) as [number, number];
        if (start === end) continue;
        const next = region(BigInt(step), letters(start), letters(end), { version: BigInt(step) });
        index.insert(next);
        model = model.filter(({ start }) =>
          compareBytes(start, next.start) < 0 || compareBytes(start, next.end) >= 0
        );
        model.push(next);
        model.sort((a, b) => compareBytes(a.start, b.start));
        if (random.next() < 0.2) {
          const gone = random.pick(model);
          index.remove(gone);
          model = model.filter((one) => one !== gone);
        }
        for (let at = 0; at < 30; at++) {
          const key = bytes(letters(at));
          const found = model.findLast(({ start }) => compareBytes(start, key) <= 0);
          const before = model.findLast(({ start }) => compareBytes(start, key) < 0);
          assert.equal(index.find(key), found?.contains(key) === true ? found : undefined, `find ${at}`);
          assert.equal(
            index.findByEnd(key),
            before?.containsByEnd(key) === true ? before : undefined,
            `end ${at}`,
          );
        }
      }
      assert.deepEqual(index.from(bytes(""), 1_000), model);
    }
  });
});

function letters(at: number): string {
  return String.fromCharCode(0x61 + Math.floor(at / 5)) + String.fromCharCode(0x61 + at % 5);
}

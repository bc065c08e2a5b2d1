// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Region } from "../../../src/playground/regions.ts";
import { clampToRegion, RegionMap, regionsIn } from "../../../src/playground/regions.ts";
import { bytes, text } from "./gen_client.ts";

function newMap(storeIds: readonly bigint[] = [1n, 2n, 3n]): RegionMap {
  let last = 100n;
  return new RegionMap(() => ++last, storeIds);
}

function bounds(regions: readonly Region[]): string[] {
  return regions.map(({ start, end }) => `${text(start)}..${text(end)}`);
}

test("RegionMap starts with one region over all keys, led by the first store", () => {
  const map = newMap();
  const [region] = map.all();
  assert.deepEqual(bounds(map.all()), [".."]);
  assert.equal(region?.leader?.storeId, 1n);
  assert.deepEqual([region?.confVer, region?.version], [1n, 1n]);
  assert.deepEqual(region?.peers.map(({ storeId }) => storeId), [1n, 2n, 3n]);
});

test("[TST-002] split() keeps the id on the right and gives every part the version plus the cuts", () => {
  const map = newMap();
  const old = map.byKey(bytes("x"));
  const parts = map.split(old.id, [bytes("m"), bytes("c")]);
  assert.deepEqual(bounds(parts), ["..c", "c..m", "m.."]);
  assert.deepEqual(parts.map(({ version }) => version), [3n, 3n, 3n]);
  assert.deepEqual(parts.map(({ confVer }) => confVer), [1n, 1n, 1n]);
  assert.equal(parts[2]?.id, old.id);
  assert.notEqual(parts[0]?.id, old.id);
  assert.deepEqual(parts.map(({ leader }) => leader?.storeId), [1n, 1n, 1n]);
  const peerIds = parts.flatMap(({ peers }) => peers.map(({ id }) => id));
  assert.equal(new Set(peerIds).size, 9);
  assert.deepEqual(bounds(map.all()), ["..c", "c..m", "m.."]);
});

test("split() refuses keys outside the region or on its start", () => {
  const map = newMap();
  map.split(map.byKey(bytes("")).id, [bytes("m")]);
  const right = map.byKey(bytes("z"));
  assert.throws(() => map.split(right.id, [bytes("a")]), RangeError);
  assert.throws(() => map.split(right.id, [bytes("m")]), RangeError);
  assert.throws(() => map.split(right.id, [bytes("")]), RangeError);
  assert.deepEqual(bounds(map.all()), ["..m", "m.."]);
});

test("[TST-002] merge() keeps the target and raises its version above both", () => {
  const map = newMap();
  map.split(map.byKey(bytes("")).id, [bytes("m")]);
  const [left, right] = map.all();
  if (left === undefined || right === undefined) throw new Error("two regions expected");
  const merged = map.merge(right.id, left.id);
  assert.equal(merged.id, left.id);
  // Preparing raises the source from 2 to 3; committing takes the larger of 3 and 2 and adds one.
  assert.equal(merged.version, 4n);
  assert.deepEqual(bounds(map.all()), [".."]);
  assert.equal(map.byId(right.id), undefined);
});

test("merge() joins in both directions and refuses regions that are not neighbours", () => {
  const map = newMap();
  map.split(map.byKey(bytes("")).id, [bytes("b"), bytes("d"), bytes("f")]);
  const [first, second, third] = map.all();
  if (first === undefined || second === undefined || third === undefined) throw new Error("regions expected");
  assert.throws(() => map.merge(first.id, third.id), RangeError);
  map.merge(first.id, second.id);
  assert.deepEqual(bounds(map.all()), ["..d", "d..f", "f.."]);
  assert.equal(map.all()[0]?.id, second.id);
});

test("setLeader() changes the term and what PD hears of, and nothing else", () => {
  const map = newMap();
  const before = map.byKey(bytes("k"));
  const after = map.setLeader(before.id, 3n);
  assert.deepEqual(
    { ...after, leader: before.leader, reportedLeader: before.leader, term: before.term },
    before,
  );
  assert.equal(after.leader?.storeId, 3n);
  assert.equal(after.term, before.term + 1n);
  const without = map.setLeader(before.id, undefined);
  assert.deepEqual([without.leader, without.reportedLeader?.storeId], [undefined, 3n]);
  assert.throws(() => map.setLeader(before.id, 9n), RangeError);
});

test("addPeer() and removePeer() raise conf_ver, and a removed leader leaves none", () => {
  const map = newMap([1n, 2n]);
  const id = map.byKey(bytes("k")).id;
  assert.equal(map.addPeer(id, 3n, "learner").confVer, 2n);
  assert.throws(() => map.setLeader(id, 3n), RangeError);
  assert.equal(map.addPeer(id, 3n).confVer, 3n);
  assert.equal(map.addPeer(id, 3n).confVer, 3n);
  const after = map.removePeer(id, 1n);
  assert.equal(after.confVer, 4n);
  assert.equal(after.leader, undefined);
  assert.equal(after.version, 1n);
});

test("byKey() finds the region on both sides of every bound", () => {
  const map = newMap();
  map.split(map.byKey(bytes("")).id, [bytes("b"), bytes("d")]);
  for (
    const [key, expected] of [["", "..b"], ["azz", "..b"], ["b", "b..d"], ["czz", "b..d"], ["d", "d.."], [
      "zz",
      "d..",
    ]] as const
  ) {
    assert.deepEqual(bounds([map.byKey(bytes(key))]), [expected], key);
  }
});

test("regionsIn() takes regions that touch the range, up to the limit", () => {
  const map = newMap();
  map.split(map.byKey(bytes("")).id, [bytes("b"), bytes("d"), bytes("f")]);
  const inRange = (start: string, end: string, limit = 0) =>
    bounds(regionsIn(map.all(), { start: bytes(start), end: bytes(end) }, limit));
  assert.deepEqual(inRange("", ""), ["..b", "b..d", "d..f", "f.."]);
  assert.deepEqual(inRange("c", "d"), ["b..d"]);
  assert.deepEqual(inRange("c", "dd"), ["b..d", "d..f"]);
  assert.deepEqual(inRange("", "", 2), ["..b", "b..d"]);
});

test("clampToRegion() keeps what is inside, with an empty end as the largest", () => {
  const map = newMap();
  const [, middle] = map.split(map.byKey(bytes("")).id, [bytes("b"), bytes("d")]);
  if (middle === undefined) throw new Error("region expected");
  const clamped = clampToRegion(middle, { start: bytes("a"), end: bytes("") });
  assert.deepEqual([text(clamped.start), text(clamped.end)], ["b", "d"]);
});

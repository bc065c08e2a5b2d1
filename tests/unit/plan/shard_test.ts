// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeyRange } from "../../../src/bytes/key_range.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { sendItems, sendRange, sendToKey } from "../../../src/plan/dispatch.ts";
import { cutByBytes, cutByCount, shardRange } from "../../../src/plan/shard.ts";
import { STALE } from "../../../src/region/send.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
import { FakeRegions, operationOn } from "./fake_regions.ts";

const reply = { regionError: undefined, error: "" };

function rangeOf(start: string, end: string): KeyRange {
  return { start: utf8Encode(start), end: utf8Encode(end) };
}

function shown({ start, end }: { readonly start: Uint8Array; readonly end: Uint8Array }): string {
  return `${utf8Decode(start)}-${utf8Decode(end)}`;
}

test("[RAW-020] cutByCount() makes pieces of at most the limit, trap 42: not one more", () => {
  assert.deepEqual(cutByCount([1, 2, 3, 4, 5], 2), [[1, 2], [3, 4], [5]]);
  assert.deepEqual(cutByCount([1, 2], 2), [[1, 2]]);
  const sizes = cutByCount(Array.from({ length: 1025 }, (_, i) => i), 512).map((piece) => piece.length);
  assert.deepEqual(sizes, [512, 512, 1]);
});

test("[RAW-020] cutByBytes() closes a piece once it has reached the limit", () => {
  const size = (item: number): number => item;
  assert.deepEqual(cutByBytes([5, 5, 5, 5], size, 10), [[5, 5], [5, 5]]);
  assert.deepEqual(cutByBytes([9, 9, 9], size, 10), [[9, 9], [9]]);
  assert.deepEqual(cutByBytes([100, 1], size, 10), [[100], [1]]);
  assert.deepEqual(cutByBytes([], size, 10), []);
});

test("shardRange() cuts at the borders and leaves what it did not look up in a part of its own", async () => {
  const regions = new FakeRegions(["b", "d", "f"], () => reply);
  const parts = await shardRange(rangeOf("a", "e"), regions, operationOn());
  assert.deepEqual(parts.map(({ range }) => shown(range)), ["a-b", "b-d", "d-e"]);
  regions.window = 2;
  const first = await shardRange(rangeOf("a", ""), regions, operationOn());
  assert.deepEqual(first.map(({ region, range }) => [region === undefined, shown(range)]), [
    [false, "a-b"],
    [false, "b-d"],
    [true, "d-"],
  ]);
});

test("shardRange() of an empty range has no parts", async () => {
  const regions = new FakeRegions(["b"], () => assert.fail("nothing is to be sent"));
  assert.deepEqual(await shardRange(rangeOf("a", "a"), regions, operationOn()), []);
});

test("sendToKey() looks the region up again when it was stale", async () => {
  let isStale = true;
  const regions = new FakeRegions(["b"], () => {
    if (!isStale) return reply;
    isStale = false;
    regions.cutAt(["c"]);
    return STALE;
  });
  const key = utf8Encode("b");
  const request = regions.request(COMMANDS.RawDelete, { key });
  assert.deepEqual(await sendToKey(regions.routing, key, { request, operation: operationOn() }), reply);
  assert.deepEqual(regions.targets, ["b-", "-c"]);
});

test("[RAW-021] sendItems() regroups only the part whose region was stale", async () => {
  let isStale = true;
  const regions = new FakeRegions(["m"], ({ region }) => {
    if (utf8Decode(region.start) !== "m" || !isStale) return reply;
    isStale = false;
    regions.cutAt(["m", "t"]);
    return STALE;
  });
  const taken: string[] = [];
  await sendItems(regions.routing, {
    items: ["a", "n", "z"],
    keyOf: utf8Encode,
    cut: (items) => [items],
    request: (items) => regions.request(COMMANDS.RawBatchDelete, { keys: items.map(utf8Encode) }),
    take: (_, items) => taken.push(items.join()),
  }, operationOn());
  assert.deepEqual(taken.sort(), ["a", "n", "z"]);
  assert.deepEqual(regions.targets.sort(), ["-m", "m-", "m-t", "t-"]);
});

test("[RAW-011] sendRange() clamps to each region, trap 43: it does not lean on the store for that", async () => {
  const sent: string[] = [];
  const regions = new FakeRegions(["b", "d"], () => reply);
  await sendRange(regions.routing, {
    range: rangeOf("a", ""),
    request: (range) => {
      sent.push(shown(range));
      return regions.request(COMMANDS.RawDeleteRange, { startKey: range.start, endKey: range.end });
    },
    take: () => {},
  }, operationOn());
  assert.deepEqual(sent, ["a-b", "b-d", "d-"]);
});

test("[RAW-011] sendRange() walks a long range in windows and cuts a stale part anew", async () => {
  let isStale = true;
  const regions = new FakeRegions(["b", "d", "f", "h"], ({ region }) => {
    if (utf8Decode(region.start) !== "d" || !isStale) return reply;
    isStale = false;
    regions.cutAt(["b", "d", "e", "f", "h"]);
    return STALE;
  });
  regions.window = 2;
  let taken = 0;
  await sendRange(regions.routing, {
    range: rangeOf("", ""),
    request: (range) =>
      regions.request(COMMANDS.RawDeleteRange, { startKey: range.start, endKey: range.end }),
    take: () => taken++,
  }, operationOn());
  assert.equal(taken, 6);
  assert.deepEqual(regions.targets.sort(), ["-b", "b-d", "d-e", "d-f", "e-f", "f-h", "h-"]);
  assert.ok(regions.maxInFlight <= 4);
});

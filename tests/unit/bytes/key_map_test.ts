// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { hex } from "../../../src/bytes/hex.ts";
import { KeyMap, KeySet, type ReadonlyKeyMap, TypedKeyMap } from "../../../src/bytes/key_map.ts";
import { toBytes, utf8Encode } from "../../../src/bytes/utf8.ts";
import { keys, texts } from "../../helpers/arbitrary_keys.ts";

const b = (...bytes: number[]) => Uint8Array.from(bytes);

test("KeyMap finds a key by content, as bytes or as a string", () => {
  const map = new KeyMap<number>().set("k1", 1).set(b(0xff, 0), 2).set("é", 3).set("", 4);
  assert.equal(map.get(utf8Encode("k1")), 1);
  assert.equal(map.get("k1"), 1);
  assert.equal(map.get(b(0xff, 0)), 2);
  assert.equal(map.get(b(9, 0xff, 0).subarray(1)), 2);
  assert.equal(map.get(utf8Encode("é")), 3);
  assert.equal(map.get(b()), 4);
  assert.equal(map.get("k3"), undefined);
  assert.equal(map.has("k1"), true);
  assert.equal(map.has(b(0xff)), false);
  assert.equal(map.size, 4);
});

test("KeyMap does not mistake a string for the bytes of its UTF-16 units", () => {
  assert.equal(new KeyMap([["é", 1]]).has(b(0xe9)), false);
  assert.equal(new KeyMap([[b(0xe9), 1]]).has("é"), false);
  assert.equal(new KeyMap([[b(0x80), 1]]).has("€"), false);
});

test("KeyMap tells all 256 bytes apart", () => {
  const set = new KeySet(Array.from({ length: 256 }, (_, byte) => b(byte)));
  assert.equal(set.size, 256);
  const content = new TextDecoder("latin1").decode(Uint8Array.from({ length: 256 }, (_, byte) => byte));
  assert.equal(content.length, 256);
  assert.equal(new Set(content).size, 256);
  // The fast path for ASCII strings takes the string for its own content.
  for (let byte = 0; byte < 128; byte++) assert.equal(content.charCodeAt(byte), byte);
});

test("KeyMap keeps the order in which keys were first set", () => {
  const map = new KeyMap([["b", 1], ["a", 2], ["c", 3]]);
  map.set("a", 9);
  const [, first] = map.keys();
  map.set(utf8Encode("a"), 9);
  assert.equal([...map.keys()][1], first);
  map.delete("b");
  map.set("b", 4);
  const expected: [Uint8Array, number][] = [[b(0x61), 9], [b(0x63), 3], [b(0x62), 4]];
  assert.deepEqual([...map], expected);
  assert.deepEqual([...map.entries()], expected);
  assert.deepEqual([...map.keys()], expected.map(([key]) => key));
  assert.deepEqual([...map.values()], [9, 3, 4]);
  const seen: [Uint8Array, number][] = [];
  map.forEach((value, key, self) => {
    assert.equal(self, map);
    seen.push([key, value]);
  });
  assert.deepEqual(seen, expected);
});

test("KeyMap behaves like a Map over the hex of its keys", () => {
  const key = fc.oneof(
    keys(2),
    texts().map((text) => text.slice(0, 1)).filter((text) => text.isWellFormed()),
  );
  const step = fc.record({ op: fc.constantFrom("set", "delete", "get"), key, value: fc.nat() });
  const content = (key: Uint8Array | string) => hex(typeof key === "string" ? utf8Encode(key) : key);
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const map = new KeyMap<number>();
    const model = new Map<string, number>();
    for (const { op, key, value } of steps) {
      const name = content(key);
      if (op === "set") {
        map.set(key, value);
        model.set(name, value);
      } else if (op === "delete") {
        assert.equal(map.delete(key), model.delete(name));
      }
      assert.equal(map.get(key), model.get(name));
      assert.equal(map.has(key), model.has(name));
      assert.equal(map.size, model.size);
    }
    assert.deepEqual([...map].map(([key, value]) => [hex(key), value]), [...model]);
    map.clear();
    assert.equal(map.size, 0);
  }));
});

test("KeyMap tells a stored undefined from an absent key", () => {
  const map = new KeyMap<undefined>([["a", undefined]]);
  assert.equal(map.has("a"), true);
  assert.equal(map.has("b"), false);
});

test("KeyMap can be changed while it is iterated, like Map", () => {
  const map = new KeyMap([["a", 1], ["b", 2]]);
  const seen: number[] = [];
  for (const [, value] of map) {
    seen.push(value);
    if (value === 1) map.set("c", 3);
  }
  assert.deepEqual(seen, [1, 2, 3]);
});

test("KeyMap refuses keys that are no bytes with a TypeError", () => {
  for (const key of [1, null, undefined, [1], "\ud800"] as unknown[]) {
    const map = new KeyMap<number>();
    assert.throws(() => map.set(key as string, 1), TypeError);
    assert.throws(() => map.get(key as string), TypeError);
    assert.equal(map.size, 0);
  }
});

test("TypedKeyMap finds keys by their encoded content and gives them back decoded", () => {
  const coding = {
    encode: (key: readonly [string, number]) => utf8Encode(JSON.stringify(key)),
    decode: (bytes: Uint8Array): readonly [string, number] => JSON.parse(new TextDecoder().decode(bytes)),
  };
  const map = new TypedKeyMap<string, readonly [string, number]>(coding).set(["a", 1], "x").set(
    ["b", 2],
    "y",
  );
  map.set(["a", 1], "z");
  assert.equal(map.get(["a", 1]), "z");
  assert.equal(map.has(["b", 1]), false);
  assert.equal(map.size, 2);
  assert.deepEqual([...map], [[["a", 1], "z"], [["b", 2], "y"]]);
  assert.deepEqual([...map.keys()], [["a", 1], ["b", 2]]);
  assert.deepEqual([...map.values()], ["z", "y"]);
  const seen: string[] = [];
  map.forEach((value, [name]) => seen.push(name + value));
  assert.deepEqual(seen, ["az", "by"]);
  assert.equal(map.delete(["a", 1]), true);
  assert.equal(map.size, 1);
  map.clear();
  assert.equal(map.size, 0);
});

test("TypedKeyMap may take keys in a wider form than it gives them back", () => {
  const coding = { encode: (key: Uint8Array | string) => toBytes(key), decode: (bytes: Uint8Array) => bytes };
  const map: ReadonlyKeyMap<number> = new TypedKeyMap<number, Uint8Array, Uint8Array | string>(coding).set(
    "a",
    1,
  );
  assert.equal(map.get(b(0x61)), 1);
  assert.deepEqual([...map.keys()], [b(0x61)]);
});

test("both maps are read through one interface", () => {
  const bytesMap: ReadonlyKeyMap<number> = new KeyMap([["a", 1]]);
  const coding = { encode: utf8Encode, decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes) };
  const typedMap: ReadonlyKeyMap<number, string> = new TypedKeyMap(coding, new KeyMap([["a", 1]]));
  assert.deepEqual([...bytesMap.keys()], [b(0x61)]);
  assert.deepEqual([...typedMap.keys()], ["a"]);
  assert.equal(typedMap.get("a"), 1);
  // @ts-expect-error a typed map is not looked up by bytes
  assert.throws(() => typedMap.get(b(0x61)));
});

test("KeySet holds each content once, in order", () => {
  const set = new KeySet(["b", b(0x61), "b", utf8Encode("a")]);
  assert.deepEqual([...set], [b(0x62), b(0x61)]);
  assert.deepEqual([...set.values()], [b(0x62), b(0x61)]);
  assert.equal(set.has("a"), true);
  assert.equal(set.has("c"), false);
  assert.equal(set.delete(b(0x62)), true);
  assert.equal(set.delete("b"), false);
  assert.deepEqual([...set.add("b")], [b(0x61), b(0x62)]);
  set.clear();
  assert.equal(set.size, 0);
});

test("KeyMap.add() leaves a key that is there as it is", () => {
  const map = new KeyMap<number>();
  assert.equal(map.add("a", 1), true);
  assert.equal(map.add(new Uint8Array([0x61]), 2), false);
  assert.deepEqual([...map.values()], [1]);
});

test("KeyMap.mapValues() and mapDefined() keep keys and order, and leave the map as it is", () => {
  const long = new Uint8Array(300).fill(0xff);
  const map = new KeyMap<number>([["b", 1], [long, 2], ["a", 3]]);
  const doubled = map.mapValues((value) => value * 2);
  assert.deepEqual([...doubled.values()], [2, 4, 6]);
  assert.equal(doubled.get(long.slice()), 4);
  const odd = map.mapDefined((value) => value % 2 === 1 ? `${value}` : undefined);
  assert.deepEqual([...odd.values()], ["1", "3"]);
  assert.equal(odd.has(long), false);
  assert.deepEqual([...map.values()], [1, 2, 3]);
});

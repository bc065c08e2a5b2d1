// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { json, tuple, uint64, utf8 } from "../../../src/codec/mod.ts";
import { TikvError } from "../../../src/errors.ts";
import { bytes, fakeStore, text } from "./fake_store.ts";

interface User {
  readonly name: string;
}

test("[RAW-026] a view puts its prefix before keys and takes it off again", async () => {
  const { raw, data } = fakeStore();
  const view = raw.sub("user/");
  await view.put("ada", "1");
  await view.batchPut([["bob", "2"]]);
  await raw.put("zoe", "3");
  assert.deepEqual([...data.keys()].map(text), ["user/ada", "user/bob", "zoe"]);
  assert.deepEqual(await view.get("ada"), bytes("1"));
  assert.deepEqual((await view.scanKeys({}).toArray()).map(text), ["ada", "bob"]);
  assert.deepEqual((await view.scanKeys({ start: "b" }, { reverse: true }).toArray()).map(text), ["bob"]);
  const found = await view.batchGet(["bob", "nobody"]);
  assert.deepEqual([...found].map(([key, value]) => [text(key), text(value)]), [["bob", "2"]]);
  assert.equal(found.has(bytes("bob")), true);
  await view.deletePrefix("a");
  await view.deleteRange({});
});

test("a view with codecs takes and gives typed keys and values", async () => {
  const { raw, data } = fakeStore();
  const users = raw.sub("user/", { key: utf8, value: json<User>() });
  await users.put("ada", { name: "Ada" });
  await users.batchPut([["bob", { name: "Bob" }], { key: "cy", value: { name: "Cy" } }]);
  assert.equal(text(data.get("user/ada") ?? bytes("")), '{"name":"Ada"}');
  assert.deepEqual(await users.get("ada"), { name: "Ada" });
  assert.equal(await users.get("nobody"), undefined);
  const found = await users.batchGet(["cy", "nobody", "ada"]);
  assert.deepEqual([...found], [["cy", { name: "Cy" }], ["ada", { name: "Ada" }]]);
  assert.deepEqual(found.get("ada"), { name: "Ada" });
  const last = await users.scan({ prefix: "" }, { reverse: true, limit: 1 }).toArray();
  assert.deepEqual(last, [{ key: "cy", value: { name: "Cy" } }]);
  assert.deepEqual(await users.scanKeys({ start: "b", end: "c" }).toArray(), ["bob"]);
  assert.deepEqual(await users.batchScanKeys([{ prefix: "a" }, { prefix: "b" }], { eachLimit: 1 }), [
    ["ada"],
    ["bob"],
  ]);
});

test("a view with tuple keys scans by the first items of the tuple", async () => {
  const { raw } = fakeStore();
  const events = raw.sub("event/", { key: tuple<[string, bigint]>(), value: utf8 });
  await events.batchPut([[["mon", 10n], "b"], [["mon", 9n], "a"], [["tue", 1n], "c"]]);
  const found: [string, bigint, string][] = [];
  for await (const { key: [day, seq], value } of events.scan({ prefix: ["mon"] })) {
    found.push([day, seq, value]);
  }
  assert.deepEqual(found, [["mon", 9n, "a"], ["mon", 10n, "b"]]);
  const byKey = await events.batchGet([["tue", 1n]]);
  assert.equal(byKey.get(["tue", 1n]), "c");
});

test("a view of a view has both prefixes, and the codecs that it was not given", async () => {
  const { raw, data } = fakeStore();
  const users = raw.sub("user/", { key: utf8, value: json<User>() });
  const german = users.sub("de/");
  await german.put("max", { name: "Max" });
  const counts = german.sub("n/", { value: uint64 });
  await counts.put("max", 7n);
  assert.deepEqual([...data.keys()].map(text), ["user/de/max", "user/de/n/max"]);
  assert.equal(await counts.get("max"), 7n);
  assert.deepEqual(await users.get("de/max"), { name: "Max" });
});

test("a view of a prefix does not follow later changes of the array that it was made with", async () => {
  const { raw, data } = fakeStore();
  const prefix = bytes("a/");
  const view = raw.sub(prefix);
  prefix.fill(0x7a);
  await view.put("k", "v");
  assert.deepEqual([...data.keys()].map(text), ["a/k"]);
});

test("atomic() of a typed view compares and swaps typed values", async () => {
  const { raw } = fakeStore();
  const counters = raw.sub("n/", { key: utf8, value: uint64 }).atomic();
  assert.deepEqual(await counters.compareAndSwap("visits", { expect: null, value: 1n }), {
    swapped: true,
    previous: undefined,
  });
  assert.deepEqual(await counters.compareAndSwap("visits", { expect: 5n, value: 6n }), {
    swapped: false,
    previous: 1n,
  });
  assert.equal(await counters.sub("x/").get("visits"), undefined);
});

test("a value that the codec did not write is a codec error, and the view goes on", async () => {
  const { raw, data } = fakeStore();
  data.set("user/ada", bytes("{"));
  const users = raw.sub("user/", { key: utf8, value: json<User>() });
  const isCodec = (error: unknown): boolean => TikvError.is(error) && error.kind === "codec";
  await assert.rejects(users.get("ada"), isCodec);
  await assert.rejects(users.scan({}).toArray(), isCodec);
  await users.put("ada", { name: "Ada" });
  assert.deepEqual(await users.get("ada"), { name: "Ada" });
});

test("with() makes a view with other defaults and leaves the first one alone", async () => {
  const { raw, regions, clock } = fakeStore();
  const stop = new AbortController();
  const view = raw.with({ timeoutMs: 50, signal: stop.signal }).with({ timeoutMs: 70 });
  await view.get("k");
  await view.get("k", { timeoutMs: 90 });
  await raw.get("k");
  const limits = regions.sent.map(({ operation }) => operation.deadline.at - clock.now());
  assert.deepEqual(limits, [70, 90, 20_000]);
  const reason = new Error("enough");
  stop.abort(reason);
  await assert.rejects(view.get("k"), reason);
  await assert.rejects(view.get("k", { signal: new AbortController().signal }), reason);
  await raw.get("k");
});

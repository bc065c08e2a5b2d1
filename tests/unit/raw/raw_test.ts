// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import { bytes, fakeStore, text } from "./fake_store.ts";

test("[RAW-004] get() tells absent from empty", async () => {
  const { raw, data } = fakeStore();
  data.set("empty", new Uint8Array(0));
  assert.deepEqual(await raw.get("empty"), new Uint8Array(0));
  assert.equal(await raw.get("absent"), undefined);
  assert.deepEqual([await raw.has("empty"), await raw.has("absent")], [true, false]);
});

test("[RAW-006] [RAW-019] put() sends the TTL in seconds, and none as 0", async () => {
  const { raw, bodies } = fakeStore();
  await raw.put("k", "v", { ttlSeconds: 90 });
  await raw.put("k", "", { ttlSeconds: Infinity });
  await raw.put("k", "v");
  assert.deepEqual(bodies("RawPut").map(({ ttl }) => ttl), [90n, 0n, 0n]);
  assert.deepEqual(bodies("RawPut")[0], {
    key: bytes("k"),
    value: bytes("v"),
    cf: undefined,
    ttl: 90n,
    forCas: false,
  });
});

test("[RAW-007] ttl() tells never, seconds left, and no such key apart", async () => {
  const replies: Record<string, object> = {
    "for-ever": { error: "", notFound: false, ttl: 0n },
    "a-while": { error: "", notFound: false, ttl: 42n },
    "gone": { error: "", notFound: true, ttl: 0n },
  };
  const { raw } = fakeStore({
    answer: ({ body }) => replies[text((body as { key: Uint8Array }).key)],
    client: { apiVersion: "v1ttl" },
  });
  assert.deepEqual(
    [await raw.ttl("for-ever"), await raw.ttl("a-while"), await raw.ttl("gone")],
    [Infinity, 42, undefined],
  );
});

test("[RAW-005] batchGet() is in the order of the request, without what is absent, each key once", async () => {
  const { raw, data, bodies } = fakeStore({ borders: ["m"] });
  for (const key of ["z", "a", "b"]) data.set(key, bytes(`${key}!`));
  data.set("empty", new Uint8Array(0));
  const found = await raw.batchGet(["z", "b", "absent", "z", "a", "empty"]);
  assert.deepEqual([...found].map(([key, value]) => [text(key), text(value)]), [
    ["z", "z!"],
    ["b", "b!"],
    ["a", "a!"],
    ["empty", ""],
  ]);
  assert.equal(found.has("absent"), false);
  assert.deepEqual(found.get(bytes("a")), bytes("a!"));
  const asked = bodies("RawBatchGet").map(({ keys }) => keys.map(text));
  assert.deepEqual(asked, [["b", "absent", "a", "empty"], ["z"]]);
});

test("[RAW-005] batchGet() fails when a pair could not be read, trap 42: it is not taken for absent", async () => {
  const pair = { key: bytes(""), value: bytes(""), error: { abort: "engine is broken", retryable: "" } };
  const { raw } = fakeStore({ answer: () => ({ pairs: [pair], kvs: [pair] }) });
  const isServer = (error: unknown): boolean =>
    TikvError.is(error) && error.kind === "server" && /engine is broken/.test(error.message);
  await assert.rejects(raw.batchGet(["a"]), isServer);
  await assert.rejects(raw.scan({}).toArray(), isServer);
});

test("[RAW-008] batchPut() sends one TTL for each pair, and of equal keys the last one only, trap 42", async () => {
  const { raw, bodies, data } = fakeStore();
  await raw.batchPut([["a", "1"], { key: "b", value: "2", ttlSeconds: 7 }, ["a", "3"]], { ttlSeconds: 60 });
  const [body] = bodies("RawBatchPut");
  assert.deepEqual(body, {
    pairs: [{ key: bytes("a"), value: bytes("3") }, { key: bytes("b"), value: bytes("2") }],
    cf: undefined,
    ttl: 60n,
    ttls: [60n, 7n],
    forCas: false,
  });
  assert.equal(text(data.get("a") ?? bytes("")), "3");
});

test("[RAW-020] batches are cut at 16 KiB of puts and 512 keys", async () => {
  const { raw, bodies, bodiesOf } = fakeStore();
  const value = "x".repeat(1020);
  const entries = Array.from(
    { length: 40 },
    (_, i): [string, string] => [`k${String(i).padStart(3, "0")}`, value],
  );
  await raw.batchPut(entries);
  assert.deepEqual(bodies("RawBatchPut").map(({ pairs }) => pairs.length), [16, 16, 8]);
  const keys = Array.from({ length: 1100 }, (_, i) => `k${i}`);
  await raw.batchGet(keys);
  await raw.batchDelete(keys);
  assert.deepEqual(bodies("RawBatchGet").map((body) => body.keys.length), [512, 512, 76]);
  assert.deepEqual(bodiesOf("RawBatchDelete").map((body) => (body["keys"] as unknown[]).length), [
    512,
    512,
    76,
  ]);
});

test("[RAW-009] [RAW-010] delete() and batchDelete() remove, whether the keys are there or not", async () => {
  const { raw, data } = fakeStore();
  for (const key of ["a", "b", "c"]) data.set(key, bytes("1"));
  await raw.delete("a");
  await raw.delete("absent");
  await raw.batchDelete(["b", "absent", "b"]);
  assert.deepEqual([...data.keys()].map(text), ["c"]);
});

test("[RAW-013] a reverse scan swaps the bounds on the wire, trap 43: unbounded is not empty", async () => {
  const v1 = fakeStore();
  for (const key of ["a", "b"]) v1.data.set(key, bytes(key));
  const found = await v1.raw.scanKeys({ start: "a" }, { reverse: true }).toArray();
  assert.deepEqual(found.map(text), ["b", "a"]);
  const [body] = v1.bodies("RawScan");
  assert.deepEqual(body?.endKey, bytes("a"));
  assert.deepEqual(body?.startKey, new Uint8Array(8193).fill(0xff));
  const v2 = fakeStore({ client: { apiVersion: 2 } });
  await v2.raw.scanKeys({ start: "a" }, { reverse: true }).toArray();
  assert.deepEqual(
    v2.bodies("RawScan")[0]?.startKey,
    new Uint8Array(0),
    "the keyspace's end is put there later",
  );
});

test("[RAW-014] scanKeys() leaves the values at the store", async () => {
  const { raw, data, bodies } = fakeStore();
  data.set("a", bytes("long"));
  assert.deepEqual((await raw.scanKeys({}).toArray()).map(text), ["a"]);
  assert.equal(bodies("RawScan")[0]?.keyOnly, true);
});

test("[RAW-026] [RAW-027] batchScan() reads the first entries of each range, in the order of the ranges", async () => {
  const { raw, data } = fakeStore({ borders: ["b"] });
  for (const key of ["a1", "a2", "a3", "b1", "c1"]) data.set(key, bytes(key));
  const found = await raw.batchScan([{ start: "b" }, { prefix: "a" }, { prefix: "x" }], { eachLimit: 2 });
  assert.deepEqual(found.map((entries) => entries.map(({ value }) => text(value))), [["b1", "c1"], [
    "a1",
    "a2",
  ], []]);
  const keys = await raw.batchScanKeys([{}, { prefix: "a" }], { eachLimit: 3, reverse: true });
  assert.deepEqual(keys.map((list) => list.map(text)), [["c1", "b1", "a3"], ["a3", "a2", "a1"]]);
});

test("[RAW-016] compareAndSwap() compares with a value or with nothing, and tells what was there", async () => {
  const { raw, bodiesOf } = fakeStore();
  const atomic = raw.atomic();
  assert.deepEqual(await atomic.compareAndSwap("k", { expect: null, value: "1", ttlSeconds: 9 }), {
    swapped: true,
    previous: undefined,
  });
  assert.deepEqual(await atomic.compareAndSwap("k", { expect: "", value: "2" }), {
    swapped: false,
    previous: bytes("1"),
  });
  assert.deepEqual(await atomic.compareAndSwap("k", { expect: "1", value: "" }), {
    swapped: true,
    previous: bytes("1"),
  });
  assert.deepEqual(await atomic.putIfAbsent("k", "3"), { swapped: false, previous: bytes("") });
  const sent = bodiesOf("RawCompareAndSwap").map((body) => [body["previousNotExist"], body["ttl"]]);
  assert.deepEqual(sent, [[true, 9n], [false, 0n], [false, 0n], [true, 0n]]);
});

test("[RAW-017] writes of an atomic view take part in compare-and-swap, trap 45; others do not", async () => {
  const { raw, bodies, bodiesOf } = fakeStore();
  for (const view of [raw, raw.atomic(), raw.atomic().sub("x/"), raw.atomic().with({ timeoutMs: 5 })]) {
    await view.put("k", "v");
    await view.batchPut([["k", "v"]]);
    await view.delete("k");
    await view.batchDelete(["k"]);
  }
  const expected = [false, true, true, true];
  assert.deepEqual(bodies("RawPut").map(({ forCas }) => forCas), expected);
  assert.deepEqual(bodies("RawBatchPut").map(({ forCas }) => forCas), expected);
  for (const method of ["RawDelete", "RawBatchDelete"]) {
    assert.deepEqual(bodiesOf(method).map((body) => body["forCas"]), expected);
  }
  assert.equal("compareAndSwap" in raw, false);
});

test("[RAW-018] columnFamily() sends the name with every request", async () => {
  const { raw, regions } = fakeStore({ client: { apiVersion: "v1ttl" } });
  const view = raw.columnFamily("write");
  await view.get("k");
  await view.put("k", "v");
  await view.delete("k");
  await view.batchGet(["k"]);
  await view.batchPut([["k", "v"]]);
  await view.batchDelete(["k"]);
  await view.scan({}).toArray();
  await view.ttl("k");
  await view.deleteRange({});
  await view.atomic().compareAndSwap("k", { expect: null, value: "v" });
  assert.deepEqual(new Set(regions.sent.map(({ body }) => (body as { cf?: string }).cf)), new Set(["write"]));
  await assert.rejects(view.checksum({}), (error) => TikvError.is(error) && error.kind === "unsupported");
});

test("[RAW-015] checksum() combines what the regions answer, trap 44: an error text is not zero", async () => {
  let sent = 0;
  const { raw } = fakeStore({
    borders: ["m"],
    answer: () =>
      ++sent === 1
        ? { error: "", checksum: 0b1100n, totalKvs: 2n, totalBytes: 10n }
        : { error: "", checksum: 0b1010n, totalKvs: 3n, totalBytes: 20n },
  });
  assert.deepEqual(await raw.checksum({}), { checksum: 0b0110n, totalKeys: 5n, totalBytes: 30n });
  const broken = fakeStore({ answer: () => ({ error: "no", checksum: 0n, totalKvs: 0n, totalBytes: 0n }) });
  await assert.rejects(broken.raw.checksum({}), (error) => TikvError.is(error) && error.kind === "server");
});

test("[RAW-011] deletePrefix() removes what begins with the prefix and nothing else", async () => {
  const { raw, bodiesOf } = fakeStore();
  await raw.deletePrefix("a");
  await raw.deleteRange({ start: "a", end: "a" });
  assert.deepEqual(bodiesOf("RawDeleteRange").map(({ startKey, endKey }) => [startKey, endKey]), [
    [bytes("a"), bytes("b")],
  ]);
});

test("[RAW-027] coprocessor() asks each region for its ranges, and answers in their order", async () => {
  const { raw, bodiesOf } = fakeStore({
    borders: ["m"],
    answer: ({ body }) => ({ error: "", data: (body as { data: Uint8Array }).data }),
  });
  const replies = await raw.coprocessor("sum", {
    version: "^1.0",
    ranges: [{ start: "x", end: "z" }, { start: "a", end: "n" }],
    data: (ranges) => bytes(ranges.map(({ start, end }) => `${text(start)}-${text(end)}`).join()),
  });
  assert.deepEqual(replies.map(({ data }) => text(data)).sort(), ["a-m", "x-z,m-n"]);
  assert.deepEqual(
    bodiesOf("RawCoprocessor").map(({ coprName, coprVersionReq }) => [coprName, coprVersionReq]),
    [["sum", "^1.0"], ["sum", "^1.0"]],
  );
});

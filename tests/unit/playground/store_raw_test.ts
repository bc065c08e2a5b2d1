// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import type { PlaygroundOptions } from "../../../src/playground/mod.ts";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import { bytes, contextFor, leaderAddress, text, unary } from "./gen_client.ts";

const { method } = Tikv;

interface Caller extends AsyncDisposable {
  readonly cluster: Playground;
  /** Calls the leader of the region of `at` with the right Context. */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    at: string,
    request: Record<string, unknown>,
  ): Promise<MessageShape<O>>;
}

async function start(options: PlaygroundOptions = {}): Promise<Caller> {
  const cluster = await Playground.start({ stores: 3, mode: "raw", clock: new ManualClock(), ...options });
  const { transport } = cluster.connectOptions();
  const apiVersion = options.apiVersion === "v2" ? 2 : 0;
  return {
    cluster,
    call: async (method, at, request) => {
      const region = cluster.regionOf(at);
      const context = contextFor(region, { apiVersion });
      const init = { context, ...request } as unknown as MessageInitShape<typeof method.input>;
      return await unary(transport, leaderAddress(cluster, region), method, init);
    },
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

async function filled(options: PlaygroundOptions = {}): Promise<Caller> {
  const caller = await start(options);
  for (const key of ["a", "b", "c", "d", "e"]) {
    await caller.call(method.rawPut, key, { key: bytes(key), value: bytes(`v${key}`) });
  }
  await caller.cluster.split("b");
  await caller.cluster.split("d");
  return caller;
}

const keysOf = (pairs: readonly { readonly key: Uint8Array }[]) => pairs.map(({ key }) => text(key)).join("");

test("[RAW-004] RawGet tells a missing value from an empty one", async () => {
  await using caller = await start();
  await caller.call(method.rawPut, "k", { key: bytes("k") });
  const empty = await caller.call(method.rawGet, "k", { key: bytes("k") });
  assert.deepEqual([empty.notFound, empty.value.length], [false, 0]);
  const missing = await caller.call(method.rawGet, "k", { key: bytes("other") });
  assert.equal(missing.notFound, true);
});

test("[RAW-005] RawBatchGet leaves missing keys out and puts a foreign key's error in its pair", async () => {
  await using caller = await filled();
  const reply = await caller.call(method.rawBatchGet, "b", { keys: ["b", "x", "c", "nope"].map(bytes) });
  assert.equal(reply.regionError, undefined);
  assert.deepEqual(reply.pairs.map(({ key, error }) => [text(key), error !== undefined]), [
    ["b", false],
    ["", true],
    ["c", false],
    ["", true],
  ]);
});

test("[RAW-012] RawScan stays in its region, [start, end), up to the limit", async () => {
  await using caller = await filled();
  const scan = async (at: string, request: Record<string, unknown>) => {
    const reply = await caller.call(method.rawScan, at, { limit: 10, ...request });
    return reply.regionError === undefined ? keysOf(reply.kvs) : "region error";
  };
  assert.equal(await scan("b", { startKey: bytes("b") }), "bc");
  assert.equal(await scan("b", { startKey: bytes("b"), endKey: bytes("c") }), "b");
  assert.equal(await scan("b", { startKey: bytes("b"), endKey: bytes("z") }), "bc");
  assert.equal(await scan("b", { startKey: bytes("b"), limit: 1 }), "b");
  assert.equal(await scan("b", { startKey: bytes("b"), limit: 0 }), "");
  // A scan may begin where the region ends, and not further.
  assert.equal(await scan("b", { startKey: bytes("d") }), "");
  assert.equal(await scan("b", { startKey: bytes("d\0") }), "region error");
  assert.equal(await scan("b", { startKey: bytes("a") }), "region error");
});

test("[RAW-013] RawScan in reverse goes down from the exclusive start to the inclusive end", async () => {
  await using caller = await filled();
  const scan = async (at: string, startKey: string, endKey: string) => {
    const request = { reverse: true, limit: 10, startKey: bytes(startKey), endKey: bytes(endKey) };
    return keysOf((await caller.call(method.rawScan, at, request)).kvs);
  };
  assert.equal(await scan("b", "d", "b"), "cb");
  assert.equal(await scan("b", "c", ""), "b");
  assert.equal(await scan("d", "z", ""), "ed");
  assert.equal(await scan("a", "", ""), "");
});

test("[RAW-014] RawScan with key_only leaves values out", async () => {
  await using caller = await filled();
  const { kvs } = await caller.call(method.rawScan, "b", { startKey: bytes("b"), limit: 9, keyOnly: true });
  assert.deepEqual(kvs.map(({ value }) => value.length), [0, 0]);
});

test("[RAW-027] RawBatchScan scans each range, an open end reaches the next start", async () => {
  await using caller = await filled();
  await caller.cluster.merge("b");
  await caller.cluster.merge("d");
  const scan = (ranges: readonly (readonly [string, string])[], more: Record<string, unknown> = {}) =>
    caller.call(method.rawBatchScan, "a", {
      eachLimit: 2,
      ranges: ranges.map(([startKey, endKey]) => ({ startKey: bytes(startKey), endKey: bytes(endKey) })),
      ...more,
    });
  assert.equal(keysOf((await scan([["a", ""], ["c", ""]])).kvs), "abcd");
  assert.equal(keysOf((await scan([["c", "a"], ["e", ""]], { reverse: true })).kvs), "badc");
  const refused = await scan([["c", "a"]]);
  assert.match(refused.kvs[0]?.error?.abort ?? "", /Invalid KeyRanges/);
});

test("[RAW-011] RawDeleteRange deletes inside its region and refuses to leave it", async () => {
  await using caller = await filled();
  const remove = async (at: string, startKey: string, endKey: string) =>
    (await caller.call(method.rawDeleteRange, at, { startKey: bytes(startKey), endKey: bytes(endKey) }))
      .regionError;
  assert.equal(await remove("b", "b", "c"), undefined);
  assert.notEqual((await remove("b", "b", "e"))?.keyNotInRegion, undefined);
  // An empty end is behind every key, so only the last region may be asked for it.
  assert.notEqual((await remove("b", "b", ""))?.keyNotInRegion, undefined);
  assert.equal(await remove("d", "e", ""), undefined);
  const left = await Promise.all(
    ["a", "b", "c", "d", "e"].map((key) => caller.call(method.rawGet, key, { key: bytes(key) })),
  );
  assert.deepEqual(left.map(({ notFound }) => notFound), [false, true, false, false, true]);
});

test("[RAW-008] RawBatchPut takes one TTL for all pairs, or one for each", async () => {
  await using caller = await start({ apiVersion: "v1ttl" });
  const pairs = ["a", "b"].map((key) => ({ key: bytes(key), value: bytes("v") }));
  const put = async (ttls: bigint[]) => (await caller.call(method.rawBatchPut, "a", { pairs, ttls })).error;
  const ttls = async () =>
    await Promise.all(
      ["a", "b"].map(async (key) => (await caller.call(method.rawGetKeyTTL, key, { key: bytes(key) })).ttl),
    );
  assert.equal(await put([]), "");
  assert.deepEqual(await ttls(), [0n, 0n]);
  assert.equal(await put([7n]), "");
  assert.deepEqual(await ttls(), [7n, 7n]);
  assert.equal(await put([3n, 5n]), "");
  assert.deepEqual(await ttls(), [3n, 5n]);
  assert.equal(await put([1n, 2n, 3n]), "The length of ttls does not equal to the length of pairs");
});

test("[RAW-007] [RAW-019] without TTL a store refuses pairs that expire, and questions about it", async () => {
  await using caller = await start();
  const put = await caller.call(method.rawPut, "k", { key: bytes("k"), ttl: 5n });
  assert.equal(put.error, "ttl is not enabled, but get put request with ttl");
  const ttl = await caller.call(method.rawGetKeyTTL, "k", { key: bytes("k") });
  assert.equal(ttl.error, "get ttl on non-ttl store");
});

test("[RAW-007] RawGetKeyTTL tells a missing key from one that never expires", async () => {
  await using caller = await start({ apiVersion: "v1ttl" });
  await caller.call(method.rawPut, "k", { key: bytes("k") });
  const forever = await caller.call(method.rawGetKeyTTL, "k", { key: bytes("k") });
  assert.deepEqual([forever.notFound, forever.ttl], [false, 0n]);
  assert.equal((await caller.call(method.rawGetKeyTTL, "k", { key: bytes("x") })).notFound, true);
});

test("a key that is too large is refused, except from atomic writes", async () => {
  await using caller = await start({ limits: { maxKeyBytes: 4 } });
  const put = async (key: string, forCas: boolean) =>
    (await caller.call(method.rawPut, "k", { key: bytes(key), forCas })).error;
  assert.equal(await put("1234", false), "");
  assert.equal(await put("12345", false), "max key size exceeded, size: 5, limit: 4");
  assert.equal(await put("12345", true), "");
});

test("a write that does not fit in a raft entry is refused and nothing of it is written", async () => {
  await using caller = await start({ limits: { maxEntryBytes: 1_000 } });
  const value = new Uint8Array(600);
  const pairs = ["a", "b"].map((key) => ({ key: bytes(key), value }));
  const { regionError } = await caller.call(method.rawBatchPut, "a", { pairs });
  assert.equal(regionError?.raftEntryTooLarge?.regionId, caller.cluster.regionOf("a").id);
  assert.equal((regionError?.raftEntryTooLarge?.entrySize ?? 0n) > 1_000n, true);
  assert.equal((await caller.call(method.rawGet, "a", { key: bytes("a") })).notFound, true);
  assert.equal(
    (await caller.call(method.rawBatchPut, "a", { pairs: pairs.slice(1) })).regionError,
    undefined,
  );
});

test("a batch with a key outside the region writes nothing", async () => {
  await using caller = await filled();
  const pairs = ["b", "e"].map((key) => ({ key: bytes(key), value: bytes("new") }));
  const { regionError } = await caller.call(method.rawBatchPut, "b", { pairs });
  assert.notEqual(regionError?.keyNotInRegion, undefined);
  assert.equal(text((await caller.call(method.rawGet, "b", { key: bytes("b") })).value), "vb");
});

test("[RAW-010] RawBatchDelete and RawDelete take absent keys in their stride", async () => {
  await using caller = await filled();
  await caller.call(method.rawBatchDelete, "b", { keys: ["b", "bb"].map(bytes) });
  await caller.call(method.rawDelete, "c", { key: bytes("c") });
  const { kvs } = await caller.call(method.rawScan, "b", { startKey: bytes("b"), limit: 9 });
  assert.equal(keysOf(kvs), "");
});

test("[RAW-016] RawCompareAndSwap tells what was there", async () => {
  await using caller = await start({ apiVersion: "v1ttl" });
  const swap = (request: Record<string, unknown>) =>
    caller.call(method.rawCompareAndSwap, "n", { key: bytes("n"), ...request });
  const first = await swap({ previousNotExist: true, value: bytes("1"), ttl: 9n });
  assert.deepEqual([first.succeed, first.previousNotExist], [true, true]);
  const second = await swap({ previousNotExist: true, value: bytes("2") });
  assert.deepEqual([second.succeed, second.previousNotExist, text(second.previousValue)], [
    false,
    false,
    "1",
  ]);
  const third = await swap({ previousValue: bytes("1"), value: bytes("2") });
  assert.deepEqual([third.succeed, text(third.previousValue)], [true, "1"]);
  const gone = await swap({ previousValue: bytes("2"), delete: true });
  assert.equal(gone.succeed, true);
  assert.equal((await caller.call(method.rawGet, "n", { key: bytes("n") })).notFound, true);
});

test("[RAW-015] RawChecksum counts what is in the region only", async () => {
  await using caller = await filled();
  const reply = await caller.call(method.rawChecksum, "b", { ranges: [{ startKey: bytes("b") }] });
  assert.deepEqual([reply.totalKvs, reply.totalBytes], [2n, 6n]);
});

test("[RAW-027] RawCoprocessor answers as a store without plugins", async () => {
  await using caller = await start();
  const reply = await caller.call(method.rawCoprocessor, "k", { coprName: "x" });
  assert.equal(reply.error, "Coprocessor plugin is disabled!");
});

test("[RAW-023] in V2 keys carry the keyspace, checksums count it, and regions are found by encoded bounds", async () => {
  await using caller = await start({ apiVersion: "v2", keyspaces: ["orders"] });
  const key = (name: string) => bytes(`r\0\0\0${name}`);
  for (const name of ["a", "b"]) {
    await caller.call(method.rawPut, name, { key: key(name), value: bytes("v") });
  }
  await caller.cluster.split("b");
  assert.equal((await caller.call(method.rawGet, "b", { key: key("b") })).notFound, false);
  const wrongRegion = await caller.call(method.rawGet, "a", { key: key("b") });
  assert.notEqual(wrongRegion.regionError?.keyNotInRegion, undefined);
  const ranges = [{ startKey: key(""), endKey: bytes("r\0\0\x01") }];
  const sum = await caller.call(method.rawChecksum, "a", { ranges });
  assert.deepEqual([sum.totalKvs, sum.totalBytes], [1n, 6n]);
  const scanned = await caller.call(method.rawScan, "a", {
    startKey: key(""),
    endKey: bytes("r\0\0\x01"),
    limit: 9,
  });
  assert.equal(keysOf(scanned.kvs), "r\0\0\0a");
  assert.match((await caller.call(method.rawPut, "a", { key: bytes("a") })).error, /Key mode mismatched/);
});

test("a command that stores do not have answers UNIMPLEMENTED with its name", async () => {
  await using caller = await start();
  await assert.rejects(caller.call(method.kvGC, "k", {}), { code: 12, message: /KvGC/ });
});

test("[TST-002] SplitRegion cuts at plain or encoded keys and shows every part", async () => {
  await using caller = await start();
  const plain = await caller.call(method.splitRegion, "k", {
    splitKeys: ["f", "c"].map(bytes),
    isRawKv: true,
  });
  assert.deepEqual(plain.regions.map(({ startKey }) => text(startKey)), ["", "c", "f"]);
  assert.deepEqual([plain.left, plain.right], [undefined, undefined]);
  const single = await caller.call(method.splitRegion, "x", { splitKeys: [bytes("x")], isRawKv: false });
  assert.deepEqual(single.right?.startKey, Uint8Array.from([...bytes("x"), 0, 0, 0, 0, 0, 0, 0, 0xf8]));
  const split = async (key: string) =>
    (await caller.call(method.splitRegion, "x", { splitKeys: [bytes(key)], isRawKv: true })).regionError;
  assert.notEqual((await split("a"))?.keyNotInRegion, undefined);
  assert.equal((await split("f"))?.message, "no valid key found for split");
});

// SPDX-License-Identifier: Apache-2.0
// What has to compile, and what must not. The bodies never run.

import { test } from "node:test";
import type { ByteValues, Client, Entry, Raw, ReadonlyKeyMap, SwapResult } from "../../mod.ts";
import { codec, Kv } from "../../mod.ts";

interface User {
  readonly name: string;
}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

/** `same<A>()(value, true)` compiles only if the value has exactly this type. */
function same<A>(): <B>(value: B, isSame: Equal<A, B>) => void {
  return () => {};
}

function ofBytes(raw: Raw): void {
  same<Promise<Uint8Array | undefined>>()(raw.get("k"), true);
  same<Promise<Uint8Array | undefined>>()(raw.get(new Uint8Array(1)), true);
  same<Promise<ReadonlyKeyMap<Uint8Array>>>()(raw.batchGet(["a", new Uint8Array(1)]), true);
  same<Promise<Entry[]>>()(raw.scan({ prefix: "a" }).toArray(), true);
  same<Promise<Uint8Array[]>>()(raw.scanKeys({ start: "a", end: new Uint8Array(1) }).toArray(), true);
  same<Promise<SwapResult<ByteValues>>>()(raw.atomic().putIfAbsent("k", "v"), true);
  void raw.batchPut(new Map([["a", "1"]]));
  // @ts-expect-error a number is no key
  void raw.get(5);
  // @ts-expect-error a number is no value
  void raw.put("k", 5);
  // @ts-expect-error compare-and-swap is on atomic() only
  void raw.compareAndSwap;
  // @ts-expect-error no such option
  void raw.get("k", { timeout: 5 });
  // @ts-expect-error a range has a prefix or bounds, not both
  void raw.scan({ prefix: "a", start: "b" });
  // @ts-expect-error every scan of several ranges has a limit
  void raw.batchScan([{}], {});
}

function ofViews(raw: Raw): void {
  const users = raw.sub("user/", { key: codec.utf8, value: codec.json<User>() });
  same<Promise<User | undefined>>()(users.get("ada"), true);
  same<Promise<ReadonlyKeyMap<User, string>>>()(users.batchGet(["ada"]), true);
  same<Promise<Entry<string, User>[]>>()(users.scan({}).toArray(), true);
  // @ts-expect-error a key is a string here
  void users.get(new Uint8Array(1));
  // @ts-expect-error a value is a user here
  void users.put("ada", "Ada");
  const german = users.sub("de/");
  same<Promise<User | undefined>>()(german.get("max"), true);
  const counts = users.sub("n/", { value: codec.uint64 }).atomic();
  same<Promise<bigint | undefined>>()(counts.get("max"), true);
  void counts.compareAndSwap("max", { expect: null, value: 1n });
  // @ts-expect-error a value is a bigint here
  void counts.compareAndSwap("max", { expect: 1, value: 2n });
  // @ts-expect-error what is expected has to be said
  void counts.compareAndSwap("max", { value: 2n });
  const events = raw.sub("event/", { key: codec.tuple<[string, bigint]>(), value: codec.utf8 });
  void events.scan({ prefix: ["2026"] });
  void events.get(["2026", 1n]);
  // @ts-expect-error a key has all items
  void events.get(["2026"]);
  const numbers = raw.sub("f/", { key: codec.float64 });
  void numbers.scan({ start: 1, end: 2 });
  // @ts-expect-error numbers have no prefixes
  void numbers.scan({ prefix: 1 });
}

function ofPlans(client: Client): void {
  const start = client.plan(Kv.rawChecksum, { algorithm: 0 });
  // @ts-expect-error a plan without a target cannot be run
  void start.run;
  const plan = start.toRegionsOf({}, ({ start, end }) => ({ ranges: [{ startKey: start, endKey: end }] }));
  same<Promise<bigint>>()(plan.merge(0n, (sum, reply) => sum ^ reply.checksum).run(), true);
  // @ts-expect-error the request has no such field
  client.plan(Kv.rawChecksum, { algorithms: 0 });
}

test("the types of raw data, views and plans hold", () => {
  void [ofBytes, ofViews, ofPlans];
});

// SPDX-License-Identifier: Apache-2.0
// Reads of a transaction, which show its own writes, against a sorted list.

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import { fault } from "../../../src/playground/mod.ts";
import { SeededRandom } from "../../../src/testing/mod.ts";
import type { Transaction } from "../../../src/txn/transaction_api.ts";
import { text } from "../raw/fake_store.ts";
import { startWorld, type World } from "./txn_world.ts";
import { hasKind } from "../../helpers/has_kind.ts";

const SEEDS = 40;
const KEYS = Array.from({ length: 64 }, (_, index) => `k${String(index).padStart(2, "0")}`);

interface Expected {
  readonly key: string;
  readonly value: string;
}

/** What a transaction sees: what was there when it began, and over it what it has written. */
class Model {
  readonly #there: ReadonlyMap<string, string>;
  readonly #own = new Map<string, string | undefined>();

  constructor(there: ReadonlyMap<string, string>) {
    this.#there = new Map(there);
  }

  write(key: string, value: string | undefined): void {
    this.#own.set(key, value);
  }

  get(key: string): string | undefined {
    return this.#own.has(key) ? this.#own.get(key) : this.#there.get(key);
  }

  /** All of a range, in the order of the scan. */
  range(start: string, end: string, isReverse: boolean): Expected[] {
    const keys = [...new Set([...this.#there.keys(), ...this.#own.keys()])].sort();
    const found = keys.flatMap((key) => {
      const value = this.get(key);
      return value === undefined || key < start || (end !== "" && key >= end) ? [] : [{ key, value }];
    });
    return isReverse ? found.reverse() : found;
  }
}

class Dice {
  readonly #random: SeededRandom;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  below(bound: number): number {
    return Math.floor(this.#random.next() * bound);
  }

  key(): string {
    return KEYS[this.below(KEYS.length)] ?? "";
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

interface Run {
  readonly world: World;
  readonly dice: Dice;
  readonly txn: Transaction;
  readonly model: Model;
  readonly note: string;
}

function writeSome({ dice, txn, model }: Run, count: number): void {
  for (let index = 0; index < count; index++) {
    const key = dice.key();
    if (dice.chance(40)) {
      txn.delete(key);
      model.write(key, undefined);
    } else {
      const value = `own${dice.below(1_000)}`;
      txn.put(key, value);
      model.write(key, value);
    }
  }
}

/** One scan, with writes and splits between its pages. Each page is right for what was written before it. */
async function scanOnce(run: Run): Promise<void> {
  const { world, dice, txn, model } = run;
  const [a, b] = [dice.chance(30) ? "" : dice.key(), dice.chance(30) ? "" : dice.key()];
  const [start, end] = b !== "" && a > b ? [b, a] : [a, b];
  const reverse = dice.chance(50);
  const limit = dice.chance(50) ? Infinity : 1 + dice.below(12);
  const batchSize = dice.chance(30) ? undefined : 1 + dice.below(9);
  const isKeysOnly = dice.chance(30);
  const range = { ...(start === "" ? {} : { start }), ...(end === "" ? {} : { end }) };
  const options = { reverse, limit, batchSize };
  const note = `${run.note} ${JSON.stringify({ ...range, ...options, isKeysOnly })}`;
  const pages = isKeysOnly
    ? onlyKeys(txn.scanKeys(range, options).pages())
    : txn.scan(range, options).pages();
  let last: string | undefined;
  let seen = 0;
  const rest = (): Expected[] =>
    model.range(start, end, reverse).filter(({ key }) =>
      last === undefined || (reverse ? key < last : key > last)
    );
  for (;;) {
    const expected = rest();
    const { done, value: page } = await world.clock.run(pages.next());
    if (done === true) {
      assert.deepEqual(seen === limit ? [] : expected, [], `more was expected: ${note}`);
      return;
    }
    assert.ok(page.length > 0 && page.length <= (batchSize ?? Infinity), note);
    const found = page.map(({ key, value }) => ({ key: text(key), value: isKeysOnly ? "" : text(value) }));
    const wanted = expected.slice(0, page.length).map((one) => isKeysOnly ? { ...one, value: "" } : one);
    assert.deepEqual(found, wanted, note);
    seen += page.length;
    assert.ok(seen <= limit, note);
    last = found.at(-1)?.key;
    if (dice.chance(40)) writeSome(run, dice.below(4));
    if (dice.chance(5)) await world.cluster.split(dice.key());
    if (dice.chance(3)) {
      await pages.return();
      return;
    }
  }
}

async function* onlyKeys(
  pages: AsyncGenerator<readonly Uint8Array[], void, undefined>,
): AsyncGenerator<readonly { readonly key: Uint8Array; readonly value: Uint8Array }[], void, undefined> {
  for await (const page of pages) yield page.map((key) => ({ key, value: new Uint8Array(0) }));
}

async function readOnce({ world, dice, txn, model, note }: Run): Promise<void> {
  const key = dice.key();
  const value = await world.clock.run(txn.get(key));
  assert.equal(value === undefined ? undefined : text(value), model.get(key), note);
  assert.equal(await world.clock.run(txn.has(key)), model.get(key) !== undefined, note);
  const keys = Array.from({ length: dice.below(12) }, () => dice.key());
  const found = await world.clock.run(txn.batchGet(keys));
  const expected = [...new Set(keys)].flatMap((one) => {
    const there = model.get(one);
    return there === undefined ? [] : [[one, there]];
  });
  assert.deepEqual([...found].map(([one, there]) => [text(one), text(there)]), expected, note);
}

test("[TXN-030] [TXN-031] [TXN-032] [T-73] reads and scans show a transaction's writes, as in a sorted list", async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    await using world = await startWorld();
    const { txns } = await world.open();
    const dice = new Dice(seed);
    const there = new Map<string, string>();
    for (const key of KEYS) if (dice.chance(60)) there.set(key, `there${dice.below(1_000)}`);
    await world.clock.run(txns.run((txn) => {
      for (const [key, value] of there) txn.put(key, value);
    }));
    for (let splits = dice.below(5); splits > 0; splits--) await world.cluster.split(dice.key());
    const txn = await world.clock.run(txns.begin());
    // What others commit after it began is none of its business.
    await world.clock.run(txns.run((other) => {
      for (let count = 0; count < 10; count++) other.put(dice.key(), "too late");
    }));
    const run: Run = { world, dice, txn, model: new Model(there), note: `seed ${seed}` };
    for (let round = 0; round < 12; round++) {
      writeSome(run, dice.below(8));
      await scanOnce(run);
      await readOnce(run);
    }
    await world.clock.run(txn.rollback());
  }
});

test("[TXN-030] [TXN-031] what was written or deleted here is not asked for, and comes in the order of the keys", async () => {
  await using world = await startWorld();
  const asked: string[] = [];
  const { txns } = await world.open({
    interceptors: [(call, next) => {
      const { key, keys } = call.request as { key?: Uint8Array; keys?: readonly Uint8Array[] };
      if (call.method === "KvGet" && key !== undefined) asked.push(text(key));
      if (call.method === "KvBatchGet") asked.push((keys ?? []).map(text).join(" "));
      return next(call);
    }],
  });
  await world.clock.run(txns.run((txn) => {
    for (const key of ["a", "b", "c"]) txn.put(key, "there");
  }));
  const txn = await world.clock.run(txns.begin());
  txn.put("b", "own");
  txn.put("n", "own");
  txn.delete("c");
  txn.delete("none");
  const found = await world.clock.run(txn.batchGet(["n", "x", "c", "a", "none", "b", "a"]));
  assert.deepEqual([...found].map(([key, value]) => [text(key), text(value)]), [
    ["n", "own"],
    ["a", "there"],
    ["b", "own"],
  ]);
  assert.deepEqual(asked.splice(0), ["x a"]);
  assert.equal((await world.clock.run(txn.batchGet(["b", "c"]))).size, 1);
  assert.equal(await world.clock.run(txn.has("c")), false);
  assert.equal(text(await world.clock.run(txn.get("n")) ?? new Uint8Array(0)), "own");
  assert.deepEqual(asked, []);
  // What is undone is as it was.
  const savepoint = txn.savepoint();
  txn.delete("a");
  assert.equal(await world.clock.run(txn.get("a")), undefined);
  txn.rollbackTo(savepoint);
  assert.equal(text(await world.clock.run(txn.get("a")) ?? new Uint8Array(0)), "there");
  await world.clock.run(txn.rollback());
});

test("[TXN-032] a limit over many deleted keys is read in rounds that double", async () => {
  await using world = await startWorld();
  const asked: number[] = [];
  const { txns } = await world.open({
    interceptors: [(call, next) => {
      if (call.method === "KvScan") asked.push((call.request as { limit: number }).limit);
      return next(call);
    }],
  });
  const keys = Array.from({ length: 600 }, (_, index) => `t${String(index).padStart(3, "0")}`);
  await world.clock.run(txns.run((txn) => {
    for (const key of keys) txn.put(key, "v");
  }));
  const txn = await world.clock.run(txns.begin());
  for (const key of keys.slice(0, -1)) txn.delete(key);
  const found = await world.clock.run(txn.scanKeys({}, { limit: 1 }).toArray());
  assert.deepEqual(found.map(text), ["t599"]);
  assert.deepEqual(asked.slice(0, 6), [1, 2, 4, 8, 16, 32]);
  assert.ok(asked.length < 15, asked.join(" "));
  await world.clock.run(txn.rollback());
});

test("[TXN-032] what is deleted while it is scanned does not come, and leaving early ends the read-ahead", async () => {
  await using world = await startWorld();
  const { txns } = await world.open();
  await world.clock.run(txns.run((txn) => {
    for (const key of ["a", "b", "c", "d"]) txn.put(key, key);
  }));
  const txn = await world.clock.run(txns.begin());
  const seen: string[] = [];
  const pages = txn.scanKeys({}, { batchSize: 1 }).pages();
  for (let page = await world.clock.run(pages.next()); page.done !== true;) {
    const [key = new Uint8Array(0)] = page.value;
    seen.push(text(key));
    txn.delete(text(key));
    if (text(key) === "a") txn.delete("c");
    if (text(key) === "b") txn.put("bb", "new");
    page = await world.clock.run(pages.next());
  }
  assert.deepEqual(seen, ["a", "b", "bb", "d"]);
  await world.clock.run(txn.rollback());
});

test("[TXN-032] a scan that is left, or has what it wanted, waits for nothing", async () => {
  await using world = await startWorld();
  let underWay = 0;
  const { txns } = await world.open({
    interceptors: [async (call, next) => {
      underWay++;
      try {
        return await next(call);
      } finally {
        underWay--;
      }
    }],
  });
  await world.clock.run(txns.run((txn) => {
    for (const key of ["b", "c", "d", "e"]) txn.put(key, key);
  }));
  const txn = await world.clock.run(txns.begin());
  txn.put("a", "own");
  const left = txn.scanKeys({}, { batchSize: 1 }).pages();
  await world.clock.run(left.next());
  await world.clock.run(left.next());
  using _slow = world.cluster.faults.add({ method: "KvScan", skip: 1 }, fault.delay(60_000));
  const limited = txn.scanKeys({ start: "a" }, { batchSize: 1, limit: 2 });
  const before = world.clock.now();
  assert.deepEqual((await world.clock.run(limited.toArray())).map(text), ["a", "b"]);
  await world.clock.run(left.return());
  await world.clock.advance(0);
  assert.equal(underWay, 0);
  assert.ok(world.clock.now() - before < 1_000);
  await world.clock.run(txn.rollback());
});

test("[TXN-032] a scan ends with its transaction, and a commit does not go on beside one", async () => {
  await using world = await startWorld();
  const { txns } = await world.open();
  const txn = await world.clock.run(txns.begin());
  for (const key of ["a", "b", "c"]) txn.put(key, "own");
  const half = txn.scanKeys({}, { batchSize: 1 }).pages();
  assert.equal((await world.clock.run(half.next())).done, false);
  using slow = world.cluster.faults.add({ method: "KvScan" }, fault.delay(60_000));
  const ended = assert.rejects(txn.scanKeys({}).toArray(), hasKind("misuse"));
  await world.clock.advance(10);
  await assert.rejects(world.clock.run(txn.commit()), hasKind("misuse"));
  const before = world.clock.now();
  await world.clock.run(txn.rollback());
  await world.clock.run(ended);
  assert.ok(world.clock.now() - before < 1_000);
  assert.ok(slow.hits > 0);
  await assert.rejects(world.clock.run(half.next()), hasKind("misuse"));
});

test("[TXN-032] a scan does not go on beside a commit", async () => {
  await using world = await startWorld();
  const { txns } = await world.open();
  const txn = await world.clock.run(txns.begin());
  txn.put("a", "own");
  const [before, begun] = [txn.scanKeys({}), txn.scanKeys({}, { batchSize: 1 }).pages()];
  await world.clock.run(begun.next());
  using _slow = world.cluster.faults.add({ method: "KvPrewrite" }, fault.delay(100));
  const committing = txn.commit();
  await assert.rejects(world.clock.run(begun.next()), hasKind("misuse"));
  await assert.rejects(world.clock.run(before.pages().next()), hasKind("misuse"));
  assert.notEqual((await world.clock.run(committing)).commitTs, undefined);
});

test("[TXN-032] an empty range, an empty buffer, and a range of own keys only", async () => {
  await using world = await startWorld();
  const { txns } = await world.open();
  const txn = await world.clock.run(txns.begin());
  const keys = async (...args: Parameters<typeof txn.scanKeys>): Promise<string[]> =>
    (await world.clock.run(txn.scanKeys(...args).toArray())).map(text);
  assert.deepEqual(await keys({}), []);
  txn.put("b", "1");
  txn.put("a", "2");
  txn.delete("c");
  assert.deepEqual(await keys({}), ["a", "b"]);
  assert.deepEqual(await keys({}, { reverse: true }), ["b", "a"]);
  assert.deepEqual(await keys({ start: "b", end: "b" }), []);
  assert.deepEqual(await keys({ prefix: "b" }), ["b"]);
  assert.deepEqual(await keys({}, { limit: 1, reverse: true }), ["b"]);
  const first = await world.clock.run(txn.scan({}).toArray());
  // The caller's bytes are the caller's.
  first[0]?.value.fill(0);
  first[0]?.key.fill(0);
  assert.deepEqual(await keys({}), ["a", "b"]);
  assert.equal(text(await world.clock.run(txn.get("a")) ?? new Uint8Array(0)), "2");
  await world.clock.run(txn.rollback());
  assert.throws(() => txn.scan({}), (error) => TikvError.is(error) && error.kind === "misuse");
});

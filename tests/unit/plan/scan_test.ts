// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes } from "../../../src/bytes/compare.ts";
import { contains, type KeyRange } from "../../../src/bytes/key_range.ts";
import { utf8Decode, utf8Encode } from "../../../src/bytes/utf8.ts";
import { TikvError } from "../../../src/errors.ts";
import { type PageRequest, type ScanOptions, scanPages } from "../../../src/plan/scan.ts";
import { ScanResult } from "../../../src/plan/scan_result.ts";
import { STALE } from "../../../src/region/send.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { ManualClock } from "../../../src/testing/manual_clock.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import type { Entry } from "../../../src/types.ts";
import { FakeRegions, untilAborted } from "./fake_regions.ts";

const clock = new ManualClock();

function keysOf(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => utf8Encode(`k${String(i).padStart(5, "0")}`));
}

function rangeOf(start: string, end: string): KeyRange {
  return { start: utf8Encode(start), end: utf8Encode(end) };
}

interface Table {
  readonly regions: FakeRegions;
  readonly requests: { range: string; limit: number }[];
  read(page: PageRequest, isReverse: boolean): Entry[];
  scan(options?: Partial<ScanOptions<Entry>>): AsyncGenerator<readonly Entry[], void>;
}

/** A table in regions, and the requests that were sent for it. */
function tableOf(
  { borders = [], keys, valueBytes = 0 }: {
    readonly borders?: readonly string[];
    readonly keys: readonly Uint8Array[];
    readonly valueBytes?: number;
  },
): Table {
  const regions = new FakeRegions(borders, () => undefined);
  const requests: { range: string; limit: number }[] = [];
  const value = new Uint8Array(valueBytes);
  const read = ({ range, limit }: PageRequest, isReverse: boolean): Entry[] => {
    requests.push({ range: `${utf8Decode(range.start)}-${utf8Decode(range.end)}`, limit });
    const found = keys.filter((key) => contains(range, key)).sort(compareBytes);
    if (isReverse) found.reverse();
    return found.slice(0, limit).map((key) => ({ key, value }));
  };
  const scan = (options: Partial<ScanOptions<Entry>> = {}): AsyncGenerator<readonly Entry[], void> => {
    const isReverse = options.isReverse ?? false;
    return scanPages<Entry>({
      range: rangeOf("", ""),
      isReverse,
      limit: Infinity,
      batchSize: undefined,
      pageBytes: 1024 * 1024,
      regions,
      signal: undefined,
      startOperation: (signal) =>
        new Operation("scan", {
          deadline: Deadline.after(clock, 1_000, signal),
          environment: { clock, random: new SeededRandom(1) },
        }),
      load: (page) => Promise.resolve(read(page, isReverse)),
      sizeOf: (entry) => entry.key.length + entry.value.length,
      ...options,
    });
  };
  return { regions, requests, read, scan };
}

async function drain(pages: AsyncIterable<readonly Entry[]>): Promise<string[]> {
  const found: string[] = [];
  for await (const page of pages) {
    assert.ok(page.length > 0, "a page is never empty");
    for (const { key } of page) found.push(utf8Decode(key));
  }
  return found;
}

test("[RAW-012] a scan reads over regions, empty ones too, and stops at the end of its range", async () => {
  const table = tableOf({ borders: ["b", "c", "d"], keys: ["a", "a2", "d1", "e"].map(utf8Encode) });
  assert.deepEqual(await drain(table.scan({ range: rangeOf("a", "e") })), ["a", "a2", "d1"]);
  assert.deepEqual(table.requests.map(({ range }) => range), ["a-b", "b-c", "c-d", "d-e"]);
});

test("[RAW-013] a reverse scan reads the same range from its end, trap 43: unbounded too", async () => {
  const table = tableOf({ borders: ["b", "d"], keys: ["", "a", "b", "c", "z"].map(utf8Encode) });
  assert.deepEqual(await drain(table.scan({ isReverse: true })), ["z", "c", "b", "a", ""]);
  table.requests.length = 0;
  assert.deepEqual(await drain(table.scan({ isReverse: true, range: rangeOf("b", "d") })), ["c", "b"]);
  assert.deepEqual(table.requests.map(({ range }) => range), ["b-d"]);
});

test("[RAW-012] a limit ends the scan, is what the last request asks for, and needs no further one", async () => {
  const table = tableOf({ borders: ["k00005"], keys: keysOf(10) });
  assert.deepEqual((await drain(table.scan({ limit: 7 }))).length, 7);
  assert.deepEqual(table.requests.map(({ limit }) => limit), [7, 2]);
});

test("[RAW-012] a page has as many entries as asked for, and the next begins right behind it", async () => {
  const table = tableOf({ keys: keysOf(5) });
  const sizes: number[] = [];
  for await (const page of table.scan({ batchSize: 2 })) sizes.push(page.length);
  assert.deepEqual(sizes, [2, 2, 1]);
  assert.deepEqual(table.requests.map(({ range }) => range), ["-", "k00001\0-", "k00003\0-"]);
});

test("the size of pages follows the bytes of the entries", async () => {
  const small = tableOf({ keys: keysOf(6000) });
  await drain(small.scan());
  assert.deepEqual(small.requests.map(({ limit }) => limit), [256, 1024, 4096, 10_240]);
  const large = tableOf({ keys: keysOf(300), valueBytes: 100_000 });
  await drain(large.scan());
  assert.deepEqual(large.requests.slice(0, 3).map(({ limit }) => limit), [256, 10, 10]);
});

test("a page that is too large is asked for again with half the entries, and not above that later", async () => {
  const table = tableOf({ keys: keysOf(300) });
  const load = (page: PageRequest): Promise<Entry[]> => {
    const entries = table.read(page, false);
    return page.limit > 100
      ? Promise.reject(new TikvError("too-large", "the answer is too large"))
      : Promise.resolve(entries);
  };
  assert.equal((await drain(table.scan({ load }))).length, 300);
  assert.deepEqual(table.requests.map(({ limit }) => limit), [256, 128, 64, 64, 64, 64, 64]);
});

test("a single entry that is too large ends the scan with that error", async () => {
  const table = tableOf({ keys: keysOf(3) });
  const load = (): Promise<Entry[]> => Promise.reject(new TikvError("too-large", "the answer is too large"));
  await assert.rejects(
    drain(table.scan({ load })),
    (error) => TikvError.is(error) && error.kind === "too-large",
  );
});

test("[RAW-012] a region that has split is looked up again, and nothing is lost or read twice", async () => {
  const table = tableOf({ borders: ["k00050"], keys: keysOf(100) });
  let isStale = true;
  const load = (page: PageRequest): Promise<Entry[] | typeof STALE> => {
    if (isStale && utf8Decode(page.range.start) === "k00050") {
      isStale = false;
      table.regions.cutAt(["k00050", "k00070"]);
      return Promise.resolve(STALE);
    }
    return Promise.resolve(table.read(page, false));
  };
  assert.equal((await drain(table.scan({ load }))).length, 100);
  assert.deepEqual(table.requests.map(({ range }) => range), ["-k00050", "k00050-k00070", "k00070-"]);
});

test("the next page is read while the caller has one, and not the one after it", async () => {
  const table = tableOf({ keys: keysOf(10) });
  const pages = table.scan({ batchSize: 2 });
  await pages.next();
  for (let turn = 0; turn < 20; turn++) await undefined;
  assert.equal(table.requests.length, 2);
  await pages.return();
});

test("leaving early cancels the request that is under way", async () => {
  const table = tableOf({ keys: keysOf(10) });
  let cancelled = 0;
  const load = async (page: PageRequest, operation: Operation): Promise<Entry[]> => {
    if (page.range.start.length === 0) return table.read(page, false);
    return await untilAborted(operation).finally(() => cancelled++);
  };
  for await (const page of table.scan({ batchSize: 2, load })) {
    assert.equal(page.length, 2);
    break;
  }
  assert.equal(cancelled, 1);
  assert.equal(clock.pendingTimers, 0);
});

test("an abort ends the scan with the caller's reason, also when the next page is there", async () => {
  const table = tableOf({ keys: keysOf(10) });
  const stop = new AbortController();
  const reason = new Error("enough");
  const pages = table.scan({ batchSize: 2, signal: stop.signal });
  await pages.next();
  for (let turn = 0; turn < 20; turn++) await undefined;
  stop.abort(reason);
  await assert.rejects(pages.next(), reason);
  assert.equal((await pages.next()).done, true);
  assert.equal(clock.pendingTimers, 0);
});

test("a failure while the caller is busy is not unhandled: it comes when the page is asked for", async () => {
  const table = tableOf({ keys: keysOf(10) });
  const failure = new TikvError("server", "broken");
  const load = (page: PageRequest): Promise<Entry[]> =>
    page.range.start.length === 0 ? Promise.resolve(table.read(page, false)) : Promise.reject(failure);
  const pages = table.scan({ batchSize: 2, load });
  await pages.next();
  await new Promise((resolve) => setImmediate(resolve));
  await assert.rejects(pages.next(), failure);
});

test("ScanResult reads nothing before it is asked, and each pass anew", async () => {
  const table = tableOf({ keys: keysOf(3) });
  const result = new ScanResult(() => table.scan());
  assert.equal(table.requests.length, 0);
  assert.equal((await result.toArray()).length, 3);
  const found: Entry[] = [];
  for await (const entry of result) found.push(entry);
  assert.equal(found.length, 3);
  assert.equal(table.requests.length, 2);
});

test("ScanResult gives entries in order also to a caller that does not wait for each", async () => {
  const table = tableOf({ keys: keysOf(5) });
  const iterator = new ScanResult(() => table.scan({ batchSize: 2 }))[Symbol.asyncIterator]();
  const results = await Promise.all([1, 2, 3, 4, 5, 6, 7].map(() => iterator.next()));
  assert.deepEqual(results.map(({ done }) => done), [false, false, false, false, false, true, true]);
  const keys = results.flatMap((result) => result.done === true ? [] : [utf8Decode(result.value.key)]);
  assert.deepEqual(keys, ["k00000", "k00001", "k00002", "k00003", "k00004"]);
});

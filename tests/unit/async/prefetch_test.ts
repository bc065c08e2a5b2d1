// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { prefetch } from "../../../src/async/prefetch.ts";

function source(pages: number, log: string[], failAt = -1): AsyncIterable<number> {
  return (async function* (): AsyncGenerator<number> {
    try {
      for (let page = 0; page < pages; page++) {
        log.push(`read ${page}`);
        await Promise.resolve();
        if (page === failAt) throw new Error(`no ${page}`);
        yield page;
      }
    } finally {
      log.push("returned");
    }
  })();
}

test("the next page is read while the caller holds one, and no more than one", async () => {
  const log: string[] = [];
  for await (const page of prefetch(source(3, log))) {
    log.push(`use ${page}`);
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  }
  assert.deepEqual(log, ["read 0", "read 1", "use 0", "read 2", "use 1", "returned", "use 2"]);
});

test("nothing is read before the caller asks", () => {
  const log: string[] = [];
  prefetch(source(3, log));
  assert.deepEqual(log, []);
});

test("an error comes after the pages before it", async () => {
  const log: string[] = [];
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const page of prefetch(source(3, log, 1))) {
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
      seen.push(page);
    }
  }, /no 1/);
  assert.deepEqual(seen, [0]);
});

test("a caller that leaves early ends the read under way and returns the source", async () => {
  const log: string[] = [];
  const controller = new AbortController();
  const endless = (async function* (): AsyncGenerator<number> {
    try {
      yield 0;
      log.push("reading");
      await new Promise((_, reject) =>
        controller.signal.addEventListener("abort", () => reject(controller.signal.reason))
      );
      yield 1;
    } finally {
      log.push("returned");
    }
  })();
  for await (const _ of prefetch(endless, () => controller.abort(new Error("left")))) {
    await Promise.resolve();
    break;
  }
  assert.deepEqual(log, ["reading", "returned"]);
});

test("a read-ahead that fails after the caller left is nobody's error", async () => {
  const log: string[] = [];
  for await (const _ of prefetch(source(3, log, 1))) break;
  assert.deepEqual(log, ["read 0", "read 1", "returned"]);
});

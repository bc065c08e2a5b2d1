// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Queue } from "../../../src/async/queue.ts";

async function all<T>(queue: Queue<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of queue) items.push(item);
  return items;
}

test("a reader gets what was pushed before and while it waits, undefined too", async () => {
  const queue = new Queue<number | undefined>();
  queue.push(1);
  const reading = all(queue);
  queue.push(undefined);
  await Promise.resolve();
  queue.push(3);
  queue.close();
  assert.deepEqual(await reading, [1, undefined, 3]);
  assert.equal(queue.size, 0);
});

test("push() refuses what is over the capacity, but takes one item of any size", async () => {
  const queue = new Queue<string>({ capacity: 5, sizeOf: (item) => item.length });
  assert.deepEqual([queue.push("123456"), queue.push("")], [true, false]);
  assert.deepEqual(await queue.next(), { done: false, value: "123456" });
  assert.deepEqual([queue.push("12"), queue.push("345"), queue.push("6"), queue.size], [
    true,
    true,
    false,
    5,
  ]);
});

test("fail() throws after what was pushed, once", async () => {
  const queue = new Queue<number>();
  const error = new Error("no");
  queue.push(1);
  queue.fail(error);
  queue.fail(new Error("later"));
  assert.deepEqual([queue.push(2), queue.isClosed], [false, true]);
  assert.deepEqual(await queue.next(), { done: false, value: 1 });
  await assert.rejects(queue.next(), (seen) => seen === error);
  assert.deepEqual(await queue.next(), { done: true, value: undefined });
});

test("a reader that leaves early stops whoever pushes, once", async () => {
  let returns = 0;
  const queue = new Queue<number>({ onReturn: () => returns++ });
  queue.push(1);
  queue.push(2);
  for await (const _ of queue) break;
  assert.deepEqual([returns, queue.push(3), queue.size], [1, false, 0]);
  await queue.return();
  assert.equal(returns, 1);
});

test("a reader that reads to the end is no early one", async () => {
  let returns = 0;
  const queue = new Queue<number>({ onReturn: () => returns++ });
  queue.push(1);
  queue.close();
  await all(queue);
  await queue.return();
  assert.equal(returns, 0);
});

test("reads that wait at the same time each get one item", async () => {
  const queue = new Queue<number>();
  const reads = [queue.next(), queue.next(), queue.next()];
  queue.push(1);
  queue.push(2);
  queue.close();
  assert.deepEqual((await Promise.all(reads)).map(({ value }) => value), [1, 2, undefined]);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import type { SpanLike, SpanValue, TracerLike } from "../../../src/observe/tracer.ts";
import { begin, openWatched, seed } from "./lock_world.ts";
import { startWorld } from "./txn_world.ts";

interface Span {
  readonly name: string;
  readonly attributes: Readonly<Record<string, SpanValue>>;
  isError: boolean;
  ends: number;
}

function recorder(): { readonly spans: Span[]; readonly tracer: TracerLike } {
  const spans: Span[] = [];
  return {
    spans,
    tracer: {
      startSpan(name, options): SpanLike {
        const span: Span = { name, attributes: options?.attributes ?? {}, isError: false, ends: 0 };
        spans.push(span);
        return {
          setAttribute: () => {},
          setStatus: () => span.isError = true,
          end: () => void span.ends++,
        };
      },
    },
  };
}

test("each call of a transaction is a span, and each page of a scan; no key is in one", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const { spans, tracer } = recorder();
  await seed(world, await openWatched(world), { secret1: "1", secret2: "2", secret3: "3" });
  const client = await openWatched(world, { tracer });
  await clock.run(client.txns.run(async (txn) => {
    await txn.get("secret1");
    await txn.getForUpdate("secret2");
    await txn.scan({ prefix: "secret" }, { batchSize: 2 }).toArray();
    txn.put("secret1", "4");
  }, { mode: "pessimistic" }));
  assert.deepEqual(spans.map(({ name }) => name), [
    "transaction",
    "txn.get",
    "txn.getForUpdate",
    "txn.scan",
    "txn.scan",
  ]);
  for (const { name, attributes, ends, isError } of spans) {
    assert.deepEqual(attributes, { "db.system.name": "tikv", "db.operation.name": name });
    assert.deepEqual([ends, isError], [1, false]);
  }
});

test("a call that fails ends its span with an error", async () => {
  await using world = await startWorld();
  const { clock } = world;
  const { spans, tracer } = recorder();
  const client = await openWatched(world, { tracer });
  const other = await openWatched(world);
  const txn = await begin(world, client, { mode: "optimistic" });
  txn.put("a", "1");
  await seed(world, other, { a: "2" });
  await assert.rejects(clock.run(txn.commit()));
  assert.deepEqual(spans.map(({ name, isError, ends }) => [name, isError, ends]), [
    ["begin", false, 1],
    ["txn.commit", true, 1],
  ]);
});

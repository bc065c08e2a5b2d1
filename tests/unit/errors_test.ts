// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError, TimeoutError, UndeterminedError } from "../../src/errors.ts";
import { WriteConflictError } from "../../src/txn_errors.ts";
import type { Timestamp } from "../../src/types.ts";

test("JSON.stringify() of an error tells what is printed of it: 64-bit numbers as text, causes, no keys", () => {
  const conflict = new WriteConflictError("Cannot write key 7365…: x", {
    key: new TextEncoder().encode("secret"),
    startTs: 9_007_199_254_740_993n as Timestamp,
    conflictTs: 5n as Timestamp,
    conflictCommitTs: 0n as Timestamp,
    reason: "optimistic",
    context: { operation: "txn.commit", attempts: 2, regionId: 7n, storeId: undefined },
    cause: new TimeoutError("late", {
      context: { causes: [{ reason: "regionMiss", count: 2, waitedMs: 6 }] },
      cause: new RangeError("user's own"),
    }),
  });
  assert.deepEqual(JSON.parse(JSON.stringify(conflict)), {
    name: "WriteConflictError",
    message: "Cannot write key 7365…: x",
    kind: "write-conflict",
    retry: "transaction",
    startTs: "9007199254740993",
    conflictTs: "5",
    conflictCommitTs: "0",
    reason: "optimistic",
    context: { operation: "txn.commit", attempts: 2, regionId: "7" },
    cause: {
      name: "TimeoutError",
      message: "late",
      kind: "timeout",
      retry: "call",
      context: { causes: [{ reason: "regionMiss", count: 2, waitedMs: 6 }] },
      cause: { name: "RangeError", message: "user's own" },
    },
  });
});

test("JSON.stringify() takes any cause, and ends where causes go round", () => {
  const jsonOf = (cause: unknown): unknown =>
    JSON.parse(JSON.stringify(new UndeterminedError("x", { cause, startTs: 1n as Timestamp }))).cause;
  assert.equal(jsonOf("text"), "text");
  assert.equal(jsonOf(null), "null");
  assert.equal(jsonOf(Symbol("s")), "Symbol(s)");
  assert.equal(jsonOf(undefined), undefined);
  const circle = new TikvError("server", "round");
  Object.defineProperty(circle, "cause", { value: circle });
  assert.ok(JSON.stringify(circle).split("round").length < 20);
});

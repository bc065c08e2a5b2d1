// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { MinCommitTs } from "../../../src/txn/commit/min_commit_ts.ts";

test("[TXN-098] the least timestamp of a commit only grows", () => {
  const least = new MinCommitTs();
  assert.equal(least.value, 0n);
  least.raise(10n, "heartbeat");
  least.raise(7n, "heartbeat");
  assert.equal(least.value, 10n);
});

test("[TXN-098] [T-64] a sign of life does not raise it any more once the commit has begun", () => {
  const least = new MinCommitTs();
  least.raise(10n, "heartbeat");
  least.beginCommit();
  least.raise(20n, "heartbeat");
  assert.equal(least.value, 10n);
  least.raise(15n, "commit");
  least.raise(12n, "commit");
  assert.equal(least.value, 15n);
});

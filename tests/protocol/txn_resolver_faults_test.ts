// SPDX-License-Identifier: Apache-2.0
// Two clients that vanish: one in its commit, after any of its requests, and the one that comes next and
// meets the locks, after any of its own. What a third one finds is all of each transaction, or nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type HelperKind, play } from "./txn_fault_points.ts";

const LEAVE_LOCKS = [
  "optimistic in two phases",
  "optimistic async commit",
  "pessimistic in two phases",
  "pessimistic async commit",
];
const KINDS: readonly HelperKind[] = ["reads", "writes", "locks"];

/** Requests that are looked at from both ends. */
const EDGE = 10;

let played = 0;

for (const path of LEAVE_LOCKS) {
  for (const kind of KINDS) {
    test(`[T-21] [T-28] [T-29] ${path} is all or nothing though who ${kind} next vanishes as well`, async () => {
      const whole = { path, event: "nothing", eventAt: 0 } as const;
      const { requests } = await play({ ...whole, diesAfter: Infinity });
      for (let diesAfter = 0; diesAfter < requests; diesAfter++) {
        const { helperRequests } = await play({
          ...whole,
          diesAfter,
          helper: { kind, diesAfter: Infinity },
        });
        played++;
        for (let helperDies = 0; helperDies < helperRequests; helperDies++) {
          // In between it only tries the same again, until the time of a lock is up.
          if (helperDies >= EDGE && helperDies < helperRequests - EDGE) continue;
          await play({ ...whole, diesAfter, helper: { kind, diesAfter: helperDies } });
          played++;
        }
      }
    });
  }
}

test("the points that were played with two clients are many", () => {
  console.log(`${played} points were played`);
  assert.ok(played > 300);
});

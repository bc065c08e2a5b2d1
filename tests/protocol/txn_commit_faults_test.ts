// SPDX-License-Identifier: Apache-2.0
// A client that vanishes after any of its requests, while the cluster changes under it: whoever reads
// afterwards finds all of the transaction, or nothing of it, and does not wait for long. The points are
// found by running each path once and counting its requests.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type EventName, EVENTS, type Fate, PATHS, play, type Point } from "./txn_fault_points.ts";

const fates = new Map<Fate, number>();
let played = 0;
let committed = 0;

/** Plays a point; returns how many requests can be the last one. */
async function count(point: Point): Promise<number> {
  const { requests, fate, isCommitted } = await play(point);
  played++;
  if (isCommitted) committed++;
  fates.set(fate, (fates.get(fate) ?? 0) + 1);
  return requests;
}

for (const path of Object.keys(PATHS)) {
  for (const event of Object.keys(EVENTS) as EventName[]) {
    test(`[T-01] [T-02] [T-03] [T-20] [T-21] ${path} is all or nothing wherever the client vanishes (${event})`, async () => {
      const isOfRequest = !("act" in EVENTS[event]);
      const all = await count({ path, diesAfter: Infinity, event: "nothing", eventAt: 0 });
      assert.ok(all > 0);
      for (let eventAt = 0; eventAt < (event === "nothing" ? 1 : all); eventAt++) {
        const requests = await count({ path, diesAfter: Infinity, event, eventAt });
        // Before the event it is as if there was none.
        const first = event === "nothing" ? 0 : isOfRequest ? eventAt + 1 : eventAt;
        for (let diesAfter = first; diesAfter < requests; diesAfter++) {
          await count({ path, diesAfter, event, eventAt });
        }
      }
    });
  }
}

test("the points that were played are many, and end in every way", () => {
  console.log(`${played} points were played, ${committed} were committed: ${JSON.stringify([...fates])}`);
  assert.ok(played > 1_000 && committed > 100);
  for (const fate of ["committed", "failed", "undetermined"] as const) {
    assert.ok((fates.get(fate) ?? 0) > 50, `${fate} is rare`);
  }
});

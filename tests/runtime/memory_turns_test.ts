// SPDX-License-Identifier: Apache-2.0
// A loop over the network in memory must not keep the runtime from its timers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../mod.ts";
import { Playground } from "../../src/playground/mod.ts";

/** Far more calls than any machine does in the time of the timer. */
const ENOUGH_CALLS = 200_000;

test("a loop of calls to a cluster in memory lets timers fire", async () => {
  await using cluster = await Playground.start();
  await using client = await connect(cluster);
  let hasFired = false;
  const timer = setTimeout(() => hasFired = true, 1);
  let calls = 0;
  for (; !hasFired && calls < ENOUGH_CALLS; calls++) await client.raw.get("k");
  clearTimeout(timer);
  assert.ok(hasFired, `no timer fired within ${calls} calls`);
});

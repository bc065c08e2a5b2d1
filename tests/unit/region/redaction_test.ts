// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../../mod.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { TikvError } from "../../../src/errors.ts";
import { fault, ManualClock, Playground } from "../../../src/playground/mod.ts";

/** The messages of an error and of all that led to it. */
function messagesOf(error: unknown): string[] {
  const found: string[] = [];
  for (let at = error; typeof at === "object" && at !== null; at = (at as { cause?: unknown }).cause) {
    found.push(String((at as { message?: unknown }).message));
  }
  return found;
}

for (const revealKeys of [false, true]) {
  test(`a store's text about a region ${revealKeys ? "has" : "has no"} keys with revealKeys ${revealKeys}`, async () => {
    const clock = new ManualClock();
    await using cluster = await Playground.start({ stores: 1, clock, mode: "txn" });
    const client = await clock.run(connect(cluster, { revealKeys, timeoutMs: 2_000 }));
    cluster.faults.add(
      { method: "KvGet" },
      fault.regionError({
        message: "key 736563726574 is not in region key range [, 6d)",
        keyNotInRegion: { key: utf8Encode("secret") },
      }),
    );
    const error = await clock.run(client.transaction((txn) => txn.get("secret")).catch((error) => error));
    assert.ok(TikvError.is(error));
    assert.equal(messagesOf(error).some((message) => message.includes("736563726574")), revealKeys);
    await clock.run(client.close());
  });
}

// SPDX-License-Identifier: Apache-2.0
// What a transaction reads of what it has written itself.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startWorld } from "../unit/txn/txn_world.ts";

const TEXT = new TextDecoder();

test("[TXN-031] a key that the transaction has deleted is missing, however often a batch names it", async () => {
  await using world = await startWorld({ splitKeys: ["m"] });
  const { clock } = world;
  const { txns } = await world.open();
  await clock.run(txns.run((txn) => ["a", "b", "m"].forEach((key) => txn.put(key, "old"))));
  const txn = await clock.run(txns.begin());
  txn.delete("a");
  txn.put("b", "own");
  const found = await clock.run(txn.batchGet(["a", "m", "b", "a", "a", "m", "b"]));
  const texts = [...found].map(([key, value]) => [TEXT.decode(key), TEXT.decode(value)]);
  assert.deepEqual(texts.sort(), [["b", "own"], ["m", "old"]]);
  await clock.run(txn.rollback());
});

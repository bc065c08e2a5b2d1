// SPDX-License-Identifier: Apache-2.0
// What plans promise, on any cluster.

import assert from "node:assert/strict";
import { Kv } from "../../mod.ts";
import { type Backend, contract } from "./backend.ts";

/** Registers the tests of plans. */
export function planSuite(backend: Backend): void {
  contract(backend, "[RAW-015] a plan over the regions of a range does what checksum() does", {
    needs: ["split", "checksum"],
  }, async ({ client, prefix, control }) => {
    await client.raw.sub(prefix).batchPut([["a", "1"], ["b", "2"], ["c", "3"]]);
    await client.warmUp({ ranges: [{ prefix }] });
    await control.split(`${prefix}b`);
    const plan = client.plan(Kv.rawChecksum, { algorithm: 0 })
      .toRegionsOf({ prefix }, ({ start, end }) => ({ ranges: [{ startKey: start, endKey: end }] }))
      .retryRegionErrors()
      .concurrency(2);
    const sum = await plan.merge(0n, (total, reply) => total ^ reply.checksum).run();
    assert.equal(sum, (await client.raw.checksum({ prefix })).checksum);
    const replies = await plan.run({ timeoutMs: 5_000 });
    assert.deepEqual(replies.map((reply) => reply.totalKvs).sort(), [1n, 2n]);
  });

  contract(backend, "a plan for keys sends each region its own", { needs: ["split"] }, async (scene) => {
    const { client, prefix, control } = scene;
    const raw = client.raw.sub(prefix);
    await raw.batchPut([["a", "1"], ["m", "2"], ["z", "3"]]);
    await control.split(`${prefix}m`);
    const found = await client.plan(Kv.rawBatchGet, {})
      .toKeys([`${prefix}a`, `${prefix}z`, `${prefix}m`, `${prefix}a`], (keys) => ({ keys }))
      .retryRegionErrors()
      .merge(0, (count, reply) => count + reply.pairs.length)
      .run();
    assert.equal(found, 3);
  });

  contract(backend, "a plan without retries says when a region has changed", {
    needs: ["faults"],
  }, async ({ client, prefix, control }) => {
    await client.raw.put(prefix, "v");
    control.fail("RawBatchGet", "epoch-not-match", { times: 1 });
    const plan = client.plan(Kv.rawBatchGet, {}).toKeys([prefix], (keys) => ({ keys }));
    await assert.rejects(plan.run(), { kind: "region-unavailable" });
    control.fail("RawBatchGet", "epoch-not-match", { times: 1 });
    const [reply] = await plan.retryRegionErrors().run();
    assert.equal(reply?.pairs.length, 1);
  });

  contract(
    backend,
    "a plan for stores asks each of them",
    { needs: ["faults"] },
    async ({ client, control }) => {
      const replies = await client.plan(Kv.getStoreSafeTS, {}).toStores().run();
      assert.equal(replies.length, control.storeIds().length);
    },
  );
}

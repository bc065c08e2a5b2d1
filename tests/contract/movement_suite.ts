// SPDX-License-Identifier: Apache-2.0
// What stays true while the cluster changes under the client.

import assert from "node:assert/strict";
import type { Raw } from "../../mod.ts";
import { type Backend, contract } from "./backend.ts";

const TEXT = new TextDecoder();

function namesOf(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `k${String(i).padStart(4, "0")}`);
}

/** Writes, reads, scans and removes over all names, and checks each answer. */
async function useAll(raw: Raw, names: readonly string[]): Promise<void> {
  await raw.batchPut(names.map((name): [string, string] => [name, name]));
  const found = await raw.batchGet(names);
  assert.deepEqual(Array.from(found.keys(), (key) => TEXT.decode(key)), names);
  await Promise.all(
    names.slice(0, 50).map(async (name) => {
      assert.equal(TEXT.decode(await raw.get(name)), name);
      await raw.put(name, `${name}!`);
      assert.equal(TEXT.decode(await raw.get(name)), `${name}!`);
    }),
  );
  const keys = await raw.scanKeys({}).toArray();
  assert.deepEqual(keys.map((key) => TEXT.decode(key)), names);
  await raw.batchDelete(names.slice(100));
  await raw.deleteRange({});
  assert.equal((await raw.batchGet(names)).size, 0);
}

/** Registers the tests of changes to the cluster. */
export function movementSuite(backend: Backend): void {
  contract(backend, "[RAW-021] everything works on regions that were split, merged and moved since", {
    needs: ["split", "merge", "leaders"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const names = namesOf(300);
    await useAll(raw, names);
    for (const name of ["k0050", "k0100", "k0200"]) await control.split(prefix + name);
    await useAll(raw, names);
    for (const name of ["k0000", "k0060", "k0250"]) await control.moveLeader(prefix + name);
    await useAll(raw, names);
    await control.merge(`${prefix}k0100`);
    await useAll(raw, names);
  });

  contract(backend, "[RAW-021] everything works while regions split and leaders move", {
    needs: ["split", "leaders"],
  }, async ({ prefix, control, connect }) => {
    const names = namesOf(200);
    let attempts = 0;
    let changes = 0;
    // In between requests, so that it happens on every cluster, however fast it is.
    const client = await connect({
      interceptors: [async (call, next) => {
        if (++attempts % 120 === 0) {
          const name = `k${String((changes * 37) % 200).padStart(4, "0")}`;
          if (changes++ % 3 === 0) await control.split(`${prefix}b/${name}`);
          else await control.moveLeader(`${prefix}a/${name}`);
        }
        return await next(call);
      }],
    });
    const views = ["a/", "b/", "c/"].map((name) => client.raw.sub(`${prefix}${name}`));
    for (let round = 0; round < 3; round++) await Promise.all(views.map((raw) => useAll(raw, names)));
    assert.ok(changes > 10, `the cluster changed ${changes} times only`);
  });

  contract(backend, "[RAW-024] a store that stops and comes back is got over", {
    needs: ["stores"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const names = namesOf(120);
    await useAll(raw, names);
    for (const id of control.storeIds()) {
      await control.stopStore(id);
      await useAll(raw, names);
      await control.startStore(id);
      await useAll(raw, names);
    }
  });

  contract(backend, "[RAW-024] a store that moves to another address is found there", {
    needs: ["stores"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const names = namesOf(120);
    await useAll(raw, names);
    for (const id of control.storeIds()) {
      await control.readdressStore(id);
      await useAll(raw, names);
    }
  });

  contract(backend, "[RAW-024] the whole cluster at other addresses is found again", {
    needs: ["stores"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.put("k", "v");
    for (const id of control.storeIds()) await control.readdressStore(id);
    assert.equal(TEXT.decode(await raw.get("k")), "v");
  });
}

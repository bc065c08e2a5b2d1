// SPDX-License-Identifier: Apache-2.0
// What scans and requests for ranges promise, on any cluster.

import assert from "node:assert/strict";
import type { Client } from "../../mod.ts";
import { type Backend, contract } from "./backend.ts";

const TEXT = new TextDecoder();

function texts(keys: Iterable<Uint8Array>): string[] {
  return Array.from(keys, (key) => TEXT.decode(key));
}

function namesOf(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `k${String(i).padStart(5, "0")}`);
}

async function fill(client: Client, prefix: string, names: readonly string[]): Promise<void> {
  await client.raw.sub(prefix).batchPut(names.map((name): [string, string] => [name, `value of ${name}`]));
}

/** Registers the tests of scans and ranges. */
export function scanSuite(backend: Backend): void {
  contract(backend, "[RAW-012] a scan reads [start, end) in order", {}, async ({ client, prefix }) => {
    const raw = client.raw.sub(prefix);
    await fill(client, prefix, ["a", "b", "b1", "c", "d"]);
    const found = await raw.scan({ start: "b", end: "d" }).toArray();
    assert.deepEqual(found.map(({ key, value }) => [TEXT.decode(key), TEXT.decode(value)]), [
      ["b", "value of b"],
      ["b1", "value of b1"],
      ["c", "value of c"],
    ]);
    assert.deepEqual(texts(await raw.scanKeys({ prefix: "b" }).toArray()), ["b", "b1"]);
    assert.deepEqual(texts(await raw.scanKeys({ start: "c" }).toArray()), ["c", "d"]);
    assert.deepEqual(texts(await raw.scanKeys({ end: "b" }).toArray()), ["a"]);
    assert.deepEqual(await raw.scanKeys({ start: "b", end: "b" }).toArray(), []);
    assert.deepEqual(await raw.scanKeys({ prefix: "x" }).toArray(), []);
  });

  contract(
    backend,
    "[RAW-013] reverse changes the order and nothing else, trap 43",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      await fill(client, prefix, ["a", "b", "c", "d"]);
      for (const range of [{}, { start: "b" }, { end: "c" }, { start: "b", end: "d" }, { prefix: "c" }]) {
        const forward = texts(await raw.scanKeys(range).toArray());
        assert.deepEqual(texts(await raw.scanKeys(range, { reverse: true }).toArray()), forward.toReversed());
      }
      assert.deepEqual(texts(await raw.scanKeys({}, { reverse: true, limit: 2 }).toArray()), ["d", "c"]);
    },
  );

  contract(
    backend,
    "[RAW-013] a reverse scan begins at the very last key",
    { needs: ["own-cluster"] },
    async (scene) => {
      const { raw } = scene.client;
      const last = new Uint8Array(40).fill(0xff);
      await raw.batchPut([["a", "1"], [last, "2"]]);
      const [first] = await raw.scan({}, { reverse: true, limit: 1 }).toArray();
      assert.deepEqual(first?.key, last);
    },
  );

  contract(backend, "[RAW-012] [RAW-013] scans go over regions, empty ones too, also when cut meanwhile", {
    needs: ["split"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const names = namesOf(200);
    await fill(client, prefix, names);
    for (const border of ["k00050", "k00050a", "k00050b", "k00120", "x"]) {
      await control.split(prefix + border);
    }
    assert.deepEqual(texts(await raw.scanKeys({}).toArray()), names);
    assert.deepEqual(texts(await raw.scanKeys({}, { reverse: true }).toArray()), names.toReversed());
    const seen: string[] = [];
    for await (const page of raw.scanKeys({}, { batchSize: 10 }).pages()) {
      assert.ok(page.length > 0 && page.length <= 10);
      seen.push(...texts(page));
      if (seen.length % 30 === 0) {
        await control.split(`${prefix}k${String(seen.length + 25).padStart(5, "0")}`);
      }
    }
    assert.deepEqual(seen, names);
  });

  contract(
    backend,
    "[RAW-012] a scan has no limit but the one that is given",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      const names = namesOf(12_000);
      await fill(client, prefix, names);
      let count = 0;
      for await (const { key } of raw.scan({})) assert.equal(TEXT.decode(key), names[count++]);
      assert.equal(count, 12_000);
      assert.equal((await raw.scanKeys({}, { limit: 11_000 }).toArray()).length, 11_000);
      assert.equal((await raw.scanKeys({}, { limit: 1 }).toArray()).length, 1);
    },
  );

  contract(backend, "[RAW-012] large values come in pages that fit", {
    client: { maxResponseBytes: 2_000_000 },
  }, async (scene) => {
    const raw = scene.client.raw.sub(scene.prefix);
    const value = new Uint8Array(300_000).fill(7);
    const names = namesOf(20);
    for (const name of names) await raw.put(name, value);
    const found = await raw.scan({}).toArray();
    assert.deepEqual(found.map(({ key }) => TEXT.decode(key)), names);
    assert.ok(found.every((entry) => entry.value.length === value.length));
  });

  contract(
    backend,
    "[RAW-012] leaving a scan early leaves nothing behind",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      await fill(client, prefix, namesOf(100));
      for await (const { key } of raw.scan({}, { batchSize: 3 })) {
        if (TEXT.decode(key) === "k00004") break;
      }
      const pages = raw.scanKeys({}, { batchSize: 3 }).pages();
      await pages.next();
      await pages.return();
      assert.equal((await pages.next()).done, true);
    },
  );

  contract(backend, "[RAW-014] scanKeys() gives keys only", {}, async ({ client, prefix }) => {
    await fill(client, prefix, ["a", "b"]);
    assert.deepEqual(texts(await client.raw.sub(prefix).scanKeys({}).toArray()), ["a", "b"]);
  });

  contract(
    backend,
    "[RAW-026] batchScan() gives the first entries of each range",
    { needs: ["split"] },
    async (scene) => {
      const raw = scene.client.raw.sub(scene.prefix);
      await fill(scene.client, scene.prefix, ["a1", "a2", "a3", "b1", "c1", "c2"]);
      await scene.control.split(`${scene.prefix}a2`);
      const ranges = [{ prefix: "c" }, { prefix: "a" }, { prefix: "none" }, {}];
      const found = await raw.batchScan(ranges, { eachLimit: 2 });
      assert.deepEqual(found.map((entries) => entries.map(({ key }) => TEXT.decode(key))), [
        ["c1", "c2"],
        ["a1", "a2"],
        [],
        ["a1", "a2"],
      ]);
      const keys = await raw.batchScanKeys(ranges, { eachLimit: 2, reverse: true });
      assert.deepEqual(keys.map(texts), [["c2", "c1"], ["a3", "a2"], [], ["c2", "c1"]]);
    },
  );

  contract(
    backend,
    "[RAW-011] deleteRange() removes [start, end) over regions",
    { needs: ["split"] },
    async (scene) => {
      const { client, prefix, control } = scene;
      const raw = client.raw.sub(prefix);
      await fill(client, prefix, namesOf(40));
      for (const border of ["k00010", "k00020", "k00030"]) await control.split(prefix + border);
      await raw.deleteRange({ start: "k00005", end: "k00035" });
      assert.deepEqual(texts(await raw.scanKeys({}).toArray()), [...namesOf(5), ...namesOf(40).slice(35)]);
      await raw.deleteRange({ start: "k00000", end: "k00000" });
      assert.equal((await raw.scanKeys({}).toArray()).length, 10);
      await raw.deletePrefix("k0000");
      assert.deepEqual(texts(await raw.scanKeys({}).toArray()), namesOf(40).slice(35));
      await raw.deleteRange({});
      assert.deepEqual(await raw.scanKeys({}).toArray(), []);
    },
  );

  contract(
    backend,
    "[RAW-011] deleteRange({}) of a view leaves its neighbours alone",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      await fill(client, prefix, ["a/1", "b/1", "c/1"]);
      await raw.sub("b/").deleteRange({});
      assert.deepEqual(texts(await raw.scanKeys({}).toArray()), ["a/1", "c/1"]);
    },
  );
}

// SPDX-License-Identifier: Apache-2.0
// What the raw client promises, on any cluster.

import assert from "node:assert/strict";
import { codec, type Raw, TikvError } from "../../mod.ts";
import { concatBytes } from "../../src/bytes/concat.ts";
import { crc64 } from "../../src/bytes/crc64.ts";
import { hasKind } from "../helpers/has_kind.ts";
import { type Backend, contract } from "./backend.ts";

const TEXT = new TextDecoder();

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function texts(keys: Iterable<Uint8Array>): string[] {
  return Array.from(keys, (key) => TEXT.decode(key));
}

/** Registers the tests of single keys and batches. */
export function rawSuite(backend: Backend): void {
  contract(
    backend,
    "[RAW-004] [RAW-006] get() gives back what put() wrote",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      assert.equal(await raw.get("k"), undefined);
      await raw.put("k", "v1");
      assert.deepEqual(await raw.get("k"), bytes("v1"));
      await raw.put("k", new Uint8Array([0, 255, 1]));
      assert.deepEqual(await raw.get("k"), new Uint8Array([0, 255, 1]));
    },
  );

  contract(backend, "[RAW-004] [RAW-006] an empty value is a value", {}, async ({ client, prefix }) => {
    const raw = client.raw.sub(prefix);
    await raw.put("k", "");
    assert.deepEqual(await raw.get("k"), new Uint8Array(0));
    assert.equal(await raw.has("k"), true);
    assert.equal(await raw.has("absent"), false);
    const found = await raw.batchGet(["k", "absent"]);
    assert.deepEqual(found.get("k"), new Uint8Array(0));
    assert.equal(found.has("absent"), false);
  });

  contract(backend, "[RAW-004] the empty key is a key", { needs: ["own-cluster"] }, async ({ client }) => {
    await client.raw.put("", "nothing");
    assert.deepEqual(await client.raw.get(""), bytes("nothing"));
    assert.deepEqual(texts(await client.raw.scanKeys({}).toArray()), [""]);
    assert.deepEqual(texts(await client.raw.scanKeys({}, { reverse: true }).toArray()), [""]);
    await client.raw.delete("");
    assert.equal(await client.raw.get(""), undefined);
  });

  contract(
    backend,
    "[RAW-006] large values, one after the other and at once",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      const valueOf = (seed: number): Uint8Array => new Uint8Array(500_000).fill(seed);
      for (let i = 0; i < 8; i++) await raw.put(`k${i}`, valueOf(i));
      await Promise.all([8, 9, 10, 11].map((i) => raw.put(`k${i}`, valueOf(i))));
      const values = await Promise.all(Array.from({ length: 12 }, (_, i) => raw.get(`k${i}`)));
      values.forEach((value, i) => assert.deepEqual(value, valueOf(i)));
    },
  );

  contract(
    backend,
    "[RAW-009] delete() removes a key, and one that is not there",
    {},
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      await raw.put("k", "v");
      await raw.delete("k");
      await raw.delete("k");
      assert.equal(await raw.get("k"), undefined);
    },
  );

  contract(
    backend,
    "[RAW-005] [RAW-008] [RAW-010] batches write, read and remove many keys",
    {},
    async (scene) => {
      const raw = scene.client.raw.sub(scene.prefix);
      const names = Array.from({ length: 1200 }, (_, i) => `k${String(i).padStart(4, "0")}`);
      await raw.batchPut(names.map((name): [string, string] => [name, `value of ${name}`]));
      const asked = ["absent", ...names.toReversed(), "k0000"];
      const found = await raw.batchGet(asked);
      assert.deepEqual(texts(found.keys()), names.toReversed());
      assert.ok(names.every((name) => TEXT.decode(found.get(name)) === `value of ${name}`));
      await raw.batchDelete([...names.slice(1), "absent"]);
      assert.deepEqual(texts((await raw.batchGet(asked)).keys()), ["k0000"]);
    },
  );

  contract(backend, "[RAW-008] of equal keys in a batch the last value wins, trap 42", {}, async (scene) => {
    const raw = scene.client.raw.sub(scene.prefix);
    await raw.batchPut([["k", "1"], ["k", "2"], ["k", "3"]]);
    assert.deepEqual(await raw.get("k"), bytes("3"));
  });

  contract(backend, "[RAW-020] [RAW-021] batches over regions, with values above a request's size", {
    needs: ["split"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const names = Array.from({ length: 60 }, (_, i) => `k${String(i).padStart(2, "0")}`);
    await raw.put("warm", "cache");
    for (const border of ["k10", "k20", "k30", "k45"]) await control.split(prefix + border);
    const value = "x".repeat(3000);
    await raw.batchPut(names.map((name): [string, string] => [name, `${name}${value}`]));
    const found = await raw.batchGet(names);
    assert.deepEqual(
      Array.from(found, ([key, stored]) => TEXT.decode(stored) === TEXT.decode(key) + value),
      names.map(() => true),
    );
    await raw.batchDelete(names);
    assert.equal((await raw.batchGet(names)).size, 0);
  });

  contract(
    backend,
    "[RAW-007] [RAW-019] a TTL counts down, and none is for ever",
    { needs: ["ttl"] },
    async (scene) => {
      const raw = scene.client.raw.sub(scene.prefix);
      await raw.put("for-ever", "v");
      await raw.put("hour", "v", { ttlSeconds: 3600 });
      await raw.batchPut([["batch", "v"], { key: "own", value: "v", ttlSeconds: 50 }], { ttlSeconds: 7200 });
      assert.equal(await raw.ttl("for-ever"), Infinity);
      assert.equal(await raw.ttl("absent"), undefined);
      for (const [key, limit] of [["hour", 3600], ["batch", 7200], ["own", 50]] as const) {
        const left = await raw.ttl(key) ?? 0;
        assert.ok(left > limit - 30 && left <= limit, `${key}: ${left}`);
      }
      await raw.put("hour", "v");
      assert.equal(await raw.ttl("hour"), Infinity, "a new value ends the TTL of the one before");
    },
  );

  contract(
    backend,
    "[RAW-019] an entry is gone when its TTL has passed",
    { needs: ["ttl"] },
    async (scene) => {
      const raw = scene.client.raw.sub(scene.prefix);
      await raw.batchPut([{ key: "short", value: "v", ttlSeconds: 1 }, ["long", "v"]]);
      await eventually(async () => await raw.get("short") === undefined);
      assert.equal(await raw.ttl("short"), undefined);
      assert.deepEqual(texts((await raw.batchGet(["short", "long"])).keys()), ["long"]);
      assert.deepEqual(texts(await raw.scanKeys({}).toArray()), ["long"]);
      const swap = await raw.atomic().compareAndSwap("short", { expect: null, value: "again" });
      assert.deepEqual(swap, { swapped: true, previous: undefined });
    },
  );

  contract(backend, "[RAW-019] a TTL where the stores keep none is refused, and says what to do", {
    needs: ["no-ttl"],
  }, async ({ client, prefix }) => {
    const raw = client.raw.sub(prefix);
    const saysHow = (error: unknown): boolean =>
      hasKind("unsupported")(error) && /v1ttl/.test((error as Error).message);
    await assert.rejects(raw.put("k", "v", { ttlSeconds: 5 }), saysHow);
    const entries = Array.from({ length: 40 }, (_, i): [string, string] => [`k${i}`, "x".repeat(1000)]);
    await assert.rejects(raw.batchPut(entries, { ttlSeconds: 5 }), saysHow);
    await assert.rejects(
      raw.atomic().compareAndSwap("k", { expect: null, value: "v", ttlSeconds: 5 }),
      saysHow,
    );
    await raw.put("k", "v");
    assert.deepEqual(await raw.get("k"), bytes("v"));
  });

  contract(backend, "[RAW-007] stores without TTL are never asked for one: TiKV would panic", {
    needs: ["plain-v1"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.put("k", "v");
    await assert.rejects(raw.ttl("k"), hasKind("unsupported"));
    assert.equal(control.calls?.("RawGetKeyTTL") ?? 0, 0);
  });

  contract(
    backend,
    "[RAW-016] compareAndSwap() swaps only what was expected",
    { needs: ["atomic"] },
    async (scene) => {
      const raw = scene.client.raw.sub(scene.prefix).atomic();
      assert.deepEqual(await raw.compareAndSwap("k", { expect: "x", value: "1" }), {
        swapped: false,
        previous: undefined,
      });
      assert.deepEqual(await raw.compareAndSwap("k", { expect: null, value: "1" }), {
        swapped: true,
        previous: undefined,
      });
      assert.deepEqual(await raw.compareAndSwap("k", { expect: null, value: "2" }), {
        swapped: false,
        previous: bytes("1"),
      });
      assert.deepEqual(await raw.compareAndSwap("k", { expect: "1", value: "" }), {
        swapped: true,
        previous: bytes("1"),
      });
      assert.deepEqual(await raw.compareAndSwap("k", { expect: "", value: "3" }), {
        swapped: true,
        previous: bytes(""),
      });
      assert.deepEqual(await raw.putIfAbsent("k", "4"), { swapped: false, previous: bytes("3") });
      assert.deepEqual(await raw.get("k"), bytes("3"));
    },
  );

  contract(
    backend,
    "[RAW-016] [RAW-017] concurrent counters lose no step",
    { needs: ["atomic"] },
    async (scene) => {
      const counters = scene.client.raw.sub(scene.prefix, { key: codec.utf8, value: codec.uint64 }).atomic();
      let refused = 0;
      const countTo = async (steps: number): Promise<void> => {
        for (let step = 0; step < steps;) {
          const now = await counters.get("n");
          const { swapped } = await counters.compareAndSwap("n", {
            expect: now ?? null,
            value: (now ?? 0n) + 1n,
          });
          if (swapped) step++;
          else refused++;
        }
      };
      await Promise.all([countTo(20), countTo(20), countTo(20)]);
      assert.equal(await counters.get("n"), 60n);
      assert.ok(refused > 0, "the writers never met");
    },
  );

  contract(
    backend,
    "[RAW-016] a swap can have a TTL",
    { needs: ["atomic", "ttl"] },
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix).atomic();
      await raw.compareAndSwap("k", { expect: null, value: "v", ttlSeconds: 3600 });
      const left = await raw.ttl("k") ?? 0;
      assert.ok(left > 3500 && left <= 3600, String(left));
    },
  );

  contract(backend, "[RAW-018] column families are apart", { needs: ["column-families"] }, async (scene) => {
    const raw = scene.client.raw.sub(scene.prefix);
    const write = raw.columnFamily("write");
    await raw.put("k", "default");
    await write.put("k", "write");
    assert.deepEqual(await raw.get("k"), bytes("default"));
    assert.deepEqual(await raw.columnFamily("default").get("k"), bytes("default"));
    assert.deepEqual(await write.get("k"), bytes("write"));
    await write.delete("k");
    assert.deepEqual(texts(await write.scanKeys({}).toArray()), []);
    assert.deepEqual(texts(await raw.scanKeys({}).toArray()), ["k"]);
  });

  contract(backend, "[RAW-018] a column family that is not there is refused", {
    needs: ["column-families", "strict-api"],
  }, async ({ client, prefix }) => {
    const raw = client.raw.sub(prefix).columnFamily("x");
    await assert.rejects(raw.get("k"), hasKind("unsupported"));
    await assert.rejects(raw.put("k", "v"), hasKind("unsupported"));
    await assert.rejects(raw.batchGet(["k"]), hasKind("unsupported"));
    await assert.rejects(raw.scan({}).toArray(), hasKind("unsupported"));
  });

  contract(backend, "[RAW-015] checksum() is what TiKV defines, over regions", {
    needs: ["checksum", "split", "column-families"],
  }, async ({ client, prefix, control }) => {
    const entries: [string, string][] = [["a", "1"], ["b", ""], ["c", "333"], ["d", "4"]];
    const raw = client.raw.sub(prefix);
    await raw.batchPut(entries);
    await control.split(`${prefix}c`);
    let checksum = 0n, totalBytes = 0n;
    for (const [key, value] of entries) {
      const pair = concatBytes(bytes(prefix + key), bytes(value));
      checksum ^= crc64(pair);
      totalBytes += BigInt(pair.length);
    }
    assert.deepEqual(await raw.checksum({}), { checksum, totalKeys: 4n, totalBytes });
    assert.deepEqual(await raw.checksum({ start: "x" }), { checksum: 0n, totalKeys: 0n, totalBytes: 0n });
  });

  contract(
    backend,
    "[RAW-015] checksum() of a copy is the same",
    { needs: ["checksum"] },
    async ({ client, prefix }) => {
      const raw = client.raw.sub(prefix);
      await raw.batchPut([["a", "1"], ["b", "2"]]);
      const before = await raw.checksum({});
      assert.equal(before.totalKeys, 2n);
      await raw.put("b", "other");
      assert.notDeepEqual(await raw.checksum({}), before);
      await raw.put("b", "2");
      assert.deepEqual(await raw.checksum({}), before);
    },
  );

  contract(backend, "[RAW-027] a coprocessor that is not there is said to be missing", {
    needs: ["coprocessor"],
  }, async (scene) => {
    // Also beside others, and in a stream that is in use.
    const raw = scene.client.raw.sub(scene.prefix);
    await raw.put("k", "v");
    const beside = [raw.put("a", "1"), raw.get("k")];
    const asked = scene.client.raw.coprocessor("none", {
      version: "*",
      ranges: [{ prefix: scene.prefix }],
      data: bytes(""),
    });
    await assert.rejects(asked, hasKind("unsupported"));
    assert.deepEqual((await Promise.all(beside))[1], bytes("v"));
  });

  contract(
    backend,
    "[RAW-022] [RAW-023] [RPC-010] keyspaces are apart",
    { needs: ["keyspaces"] },
    async (scene) => {
      await scene.control.createKeyspace("other");
      const other = await scene.connect({ keyspace: "other" });
      await scene.client.raw.put("k", "default");
      await other.raw.put("k", "other");
      assert.deepEqual(await scene.client.raw.get("k"), bytes("default"));
      assert.deepEqual(await other.raw.get("k"), bytes("other"));
      assert.deepEqual(texts(await other.raw.scanKeys({}, { reverse: true }).toArray()), ["k"]);
      await other.raw.deleteRange({});
      assert.deepEqual(await scene.client.raw.get("k"), bytes("default"));
      await assert.rejects(scene.connect({ keyspace: "nowhere" }), hasKind("keyspace-not-found"));
    },
  );

  contract(
    backend,
    "[RAW-022] a client of another API version is told so",
    { needs: ["column-families", "strict-api"] },
    async (scene) => {
      const mistaken = await scene.connect({ apiVersion: 2 }).catch((error) => error as unknown);
      // Without keyspaces PD may refuse at once; otherwise the stores do at the first call.
      const failed = TikvError.is(mistaken)
        ? Promise.reject(mistaken)
        : (mistaken as { raw: Raw }).raw.get("k");
      await assert.rejects(failed, (error) => {
        assert.ok(TikvError.is(error));
        assert.ok(
          ["unsupported", "keyspace-not-found", "server", "codec"].includes(error.kind),
          `${error.kind}: ${error.message}`,
        );
        return true;
      });
    },
  );
}

/** Waits until a condition holds on a cluster whose clock cannot be moved. */
async function eventually(condition: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000;
  while (!await condition()) {
    assert.ok(performance.now() < end, "the condition did not become true");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

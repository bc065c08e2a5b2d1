// SPDX-License-Identifier: Apache-2.0
// What a statement can read that must not see its own writes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { codec, type Reader } from "../../mod.ts";
import { startScene } from "./txn_call_scene.ts";

const texts = { key: codec.utf8, value: codec.utf8 };
type Texts = Reader<typeof texts.key, typeof texts.value>;

/** All that there is to see. */
async function contentOf(kv: Texts): Promise<string> {
  const entries = await kv.scan({}).toArray();
  const back = await kv.scan({}, { reverse: true, batchSize: 1 }).toArray();
  assert.deepEqual(back.reverse(), entries);
  assert.deepEqual(await kv.scanKeys({}).toArray(), entries.map(({ key }) => key));
  const all = await kv.batchGet([..."abcdef"]);
  assert.deepEqual([...all].map(([key, value]) => ({ key, value })), entries);
  for (const key of "abcdef") {
    assert.equal(await kv.get(key), all.get(key));
    assert.equal(await kv.has(key), all.has(key));
  }
  return entries.map(({ key, value }) => key + value).join(" ");
}

for (const mode of ["optimistic", "pessimistic"] as const) {
  test(`[TXN-056] the reader of a statement sees what was there when it began (${mode})`, async () => {
    await using scene = await startScene({}, { splitKeys: ["c"] });
    const { client, run } = scene;
    await run(client.transaction((txn) => {
      const kv = txn.sub("", texts);
      for (const key of "abc") kv.put(key, "0");
    }));
    await run(client.transaction(async (txn) => {
      const kv = txn.sub("", texts);
      kv.put("b", "1");
      kv.delete("c");
      kv.put("d", "1");
      await kv.statement(async (before) => {
        assert.equal(await contentOf(before), "a0 b1 d1");
        kv.put("a", "2");
        kv.put("c", "2");
        kv.delete("d");
        kv.put("e", "2");
        assert.equal(await contentOf(before), "a0 b1 d1");
        assert.equal(await contentOf(kv), "a2 b1 c2 e2");
        assert.equal(await contentOf(before.sub("", texts)), "a0 b1 d1");
        await kv.statement(async (inner) => {
          kv.put("f", "3");
          kv.delete("a");
          assert.equal(await contentOf(inner), "a2 b1 c2 e2");
          assert.equal(await contentOf(before), "a0 b1 d1");
        });
        assert.equal(await contentOf(kv), "b1 c2 e2 f3");
        assert.equal(await contentOf(before), "a0 b1 d1");
      });
      assert.equal(await contentOf(kv), "b1 c2 e2 f3");
    }, { mode }));
  });
}

test("[TXN-056] a statement that writes what it reads does not meet its own writes", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction(async (txn) => {
    const kv = txn.sub("", texts);
    for (let index = 0; index < 300; index++) kv.put(`k${String(index).padStart(3, "0")}`, "x");
    let seen = 0;
    await kv.statement(async (before) => {
      for await (const { key, value } of before.scan({ prefix: "k" }, { batchSize: 7 })) {
        seen++;
        kv.put(`${key}+`, value);
      }
    });
    assert.equal(seen, 300);
    assert.equal((await kv.scanKeys({}).toArray()).length, 600);
  }));
});

test("[TXN-056] the reader ends with its statement, whether that was kept or undone", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction(async (txn) => {
    const kv = txn.sub("", texts);
    const readers: Texts[] = [];
    await kv.statement((before) => (kv.put("a", "1"), void readers.push(before)));
    await kv.statement((before) => {
      kv.put("b", "1");
      readers.push(before);
      throw new Error("undone");
    }).catch(() => {});
    for (const reader of readers) {
      await assert.rejects(reader.get("a"), { kind: "misuse" });
      await assert.rejects(reader.batchGet(["a"]), { kind: "misuse" });
      await assert.rejects(reader.scan({}).toArray(), { kind: "misuse" });
    }
    assert.equal(await contentOf(kv), "a1");
  }));
});

test("[TXN-056] [TXN-121] in a statement on current data it sees that, without the statement's writes", async () => {
  await using scene = await startScene();
  const { client, run } = scene;
  await run(client.transaction((txn) => txn.put("a", "0")));
  await run(client.transaction(async (txn) => {
    const kv = txn.sub("", texts);
    assert.equal(await kv.get("a"), "0");
    await client.transaction((other) => other.put("a", "theirs"));
    kv.put("b", "own");
    await kv.statement(async (before) => {
      kv.put("c", "new");
      assert.equal(await contentOf(before), "atheirs bown");
    }, { current: true });
    assert.equal(await contentOf(kv), "a0 bown cnew");
  }, { mode: "pessimistic" }));
});

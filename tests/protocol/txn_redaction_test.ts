// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { type Client, type ClientEvent, TikvError, type Transaction } from "../../mod.ts";
import { startScene } from "./txn_call_scene.ts";

const SECRET = "secret-customer-4711";
const OTHER = "secret-customer-4712";

/** Ways to an error that is about a key, by its kind. */
const WAYS: Readonly<Record<string, (client: Client) => Promise<unknown>>> = {
  "write-conflict": async (client) => {
    const txn = await client.begin();
    await client.transaction((other) => other.put(SECRET, "theirs"));
    txn.put(SECRET, "mine");
    await txn.commit();
  },
  "key-exists": async (client) => {
    await client.transaction((txn) => txn.put(SECRET, "v"));
    await client.transaction((txn) => txn.insert(SECRET, "v"));
  },
  "assertion-failed": (client) =>
    client.transaction((txn) => (txn.assertNotExists(SECRET), txn.put(SECRET, "v")), {
      assertions: "strict",
    }),
  "lock-wait-timeout": async (client) => {
    await using holder = await client.begin({ mode: "pessimistic" });
    await holder.lock([SECRET]);
    await client.transaction((txn) => txn.lock([SECRET], { waitMs: 0 }), { mode: "pessimistic" });
  },
  "too-large": (client) => client.transaction((txn) => txn.put(SECRET.repeat(1_000), "v")),
  "misuse": (client) =>
    client.transaction((txn) => {
      txn.assertExists(SECRET);
      txn.assertNotExists(SECRET);
    }),
  "deadlock": async (client) => {
    await using one = await client.begin({ mode: "pessimistic" });
    await using two = await client.begin({ mode: "pessimistic" });
    const locking = async (txn: Transaction, first: string, second: string): Promise<void> => {
      await txn.lock([first]);
      await txn.lock([second]);
    };
    await locking(one, SECRET, `${SECRET}-free`);
    await two.lock([OTHER]);
    const waiting = one.lock([OTHER]).catch(() => {});
    try {
      await two.lock([SECRET]);
    } finally {
      await two.rollback();
      await waiting;
    }
  },
};

for (const [kind, way] of Object.entries(WAYS)) {
  for (const revealKeys of [false, true]) {
    test(`[TXN-191] an error of kind "${kind}" shows its keys only where that was asked for (${revealKeys})`, async () => {
      const events: ClientEvent[] = [];
      await using scene = await startScene({ revealKeys, observe: (event) => events.push(event) });
      await scene.run(scene.client.transaction((txn) => txn.put(SECRET, "before")));
      const error: unknown = await scene.run(way(scene.client)).then(() => undefined, (thrown) => thrown);
      assert.ok(TikvError.is(error), `${error}`);
      assert.equal(error.kind, kind);
      const shown = [inspect(error, { depth: 10 }), JSON.stringify(error), String(error), inspect(events)]
        .join("\n");
      const hex = [...new TextEncoder().encode("secret-customer")].map((byte) => byte.toString(16)).join("");
      const isShown = shown.includes("secret-customer") || shown.includes(hex);
      assert.equal(isShown && !revealKeys, false, shown);
      if (kind === "write-conflict") assert.equal(isShown, revealKeys, shown);
      if ("key" in error) {
        assert.ok(error.key instanceof Uint8Array);
        assert.match(new TextDecoder().decode(error.key), /^secret-customer/);
      }
    });
  }
}

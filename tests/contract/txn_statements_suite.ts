// SPDX-License-Identifier: Apache-2.0
// What statements on current data promise, and keys that are handed on in line.

import assert from "node:assert/strict";
import { codec, KeyExistsError } from "../../mod.ts";
import { until } from "../helpers/until.ts";
import { type Backend, contract } from "./backend.ts";
import { allOf, lockedKeys, settle, text, untilUnlocked, write } from "./txn_scene.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const CURRENT = { current: true };
const COUNTS = { key: codec.utf8, value: codec.uint64 };

/** Registers the tests of statements. */
export function txnStatementsSuite(backend: Backend): void {
  contract(
    backend,
    "[TXN-121] [TXN-122] a statement goes on with what others wrote meanwhile, and loses nothing of it",
    {},
    async (scene) => {
      for (const fairLocking of [true, false]) {
        await write(scene, { a: "1", b: "1" });
        const txn = await scene.client.begin({ mode: "pessimistic", fairLocking });
        const view = txn.sub(scene.prefix);
        let runs = 0;
        await txn.statement(async () => {
          const [a, b] = [text(await view.get("a")), text(await view.get("b"))];
          if (++runs === 1) await write(scene, { a: "2", c: "2" });
          await view.lock(["a"]);
          view.put("a", `${a}+`);
          view.put("b", `${b}+`);
        }, CURRENT);
        assert.equal(runs, 2);
        assert.deepEqual(await lockedKeys(scene), ["a", "b"]);
        assert.equal(text(await view.get("c")), fairLocking ? undefined : "2");
        await txn.commit();
        await settle(scene);
        assert.deepEqual(await allOf(scene), { a: "2+", b: "1+", c: "2" });
        await untilUnlocked(scene);
      }
    },
  );

  contract(
    backend,
    "[TXN-121] [T-41] a statement that fails leaves neither writes nor locks",
    {},
    async (scene) => {
      await write(scene, { a: "1" });
      const txn = await scene.client.begin({ mode: "pessimistic" });
      const view = txn.sub(scene.prefix);
      await view.lock(["kept"]);
      const failing = txn.statement(async () => {
        view.put("b", "1");
        await view.lock(["c"]);
        view.insert("a", "2");
      }, CURRENT);
      await assert.rejects(failing, (error) => error instanceof KeyExistsError);
      await until(
        async () => (await lockedKeys(scene)).join() === "kept",
        "its locks are given back",
        10_000,
      );
      await txn.statement(() => view.put("a", "3"), CURRENT);
      await txn.commit();
      await settle(scene);
      assert.deepEqual(await allOf(scene), { a: "3" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-121] a key that many want goes from one to the next, and every addition counts",
    {},
    async (scene) => {
      const { client, prefix } = scene;
      const ways = [true, false].flatMap((fairLocking) =>
        [true, false].map((isStatement) => ({ fairLocking, isStatement }))
      );
      let attempts = 0;
      await Promise.all(
        ways.flatMap(({ fairLocking, isStatement }) =>
          [1, 2, 3].map(() =>
            client.transaction(async (txn) => {
              attempts++;
              const counts = txn.sub(prefix, COUNTS);
              const add = (count: bigint | undefined): void => counts.put("n", (count ?? 0n) + 1n);
              if (isStatement) await txn.statement(async () => add(await counts.get("n")), CURRENT);
              else add(await counts.getForUpdate("n"));
              // In one phase not every store keeps who comes next from what is being committed.
            }, { mode: "pessimistic", fairLocking, commit: "2pc" })
          )
        ),
      );
      const total = await client.transaction((txn) => txn.sub(prefix, COUNTS).get("n"));
      assert.equal(total, 12n);
      assert.equal(attempts, 12);
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-125] what is inserted lazily is checked when it is committed",
    {},
    async (scene) => {
      await write(scene, { old: "1" });
      const insert = async (key: string): Promise<void> => {
        const txn = await scene.client.begin({ mode: "pessimistic" });
        const view = txn.sub(scene.prefix);
        await view.lock(["own"]);
        view.insert(key, "2", { lazy: true });
        assert.deepEqual(await lockedKeys(scene), ["own"]);
        if (key === "late") await write(scene, { late: "1" });
        await txn.commit();
      };
      await insert("new");
      await rejectsKind(insert("old"), "key-exists");
      await settle(scene);
      await rejectsKind(insert("late"), "write-conflict");
      await settle(scene);
      assert.deepEqual(await allOf(scene), { late: "1", new: "2", old: "1" });
      await untilUnlocked(scene);
    },
  );
}

// SPDX-License-Identifier: Apache-2.0
// Transactions of clients that vanish, on clusters that change or lose answers: all of them or nothing.

import assert from "node:assert/strict";
import { type Client, type InterceptedCall, UndeterminedError } from "../../mod.ts";
import { until } from "../helpers/until.ts";
import { type Backend, contract, type FaultName, type Scene } from "./backend.ts";
import {
  allOf,
  entriesOf,
  livingFor,
  lockedKeys,
  namesOf,
  now,
  settle,
  splitAt,
  text,
  untilUnlocked,
  vanish,
  write,
} from "./txn_scene.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const OLD = { a: "old", n: "old", z: "old" };
const NEW = { a: "new", n: "new", z: "new" };

/** Writes all keys anew, which are in three regions, the primary in the first. */
function rewrite({ prefix }: Scene, commit: "2pc" | "async" | "1pc"): (client: Client) => Promise<unknown> {
  return (client) =>
    client.transaction((txn) => {
      const view = txn.sub(prefix);
      for (const [key, value] of Object.entries(NEW)) view.put(key, value);
    }, { commit, maxAttempts: 1 });
}

/** The ways in which a reader may come upon what was left behind. */
const READERS: Readonly<Record<string, (scene: Scene) => Promise<Record<string, string>>>> = {
  "get()": async (scene) => {
    const snapshot = await now(scene);
    const found: [string, string][] = [];
    for (const key of ["z", "n", "a"]) found.unshift([key, text(await snapshot.get(key)) ?? ""]);
    return Object.fromEntries(found);
  },
  "batchGet()": async (scene) => entriesOf(await (await now(scene)).batchGet(["a", "n", "z"])),
  "scan()": allOf,
};

/** Registers the tests of what goes wrong. */
export function txnTroubleSuite(backend: Backend): void {
  for (const [how, read] of Object.entries(READERS)) {
    contract(
      backend,
      `[TXN-163] [TXN-165] ${how} finds all of the transaction of a client that vanished, or nothing of it`,
      { needs: ["split"] },
      async (scene) => {
        await splitAt(scene, "m", "y");
        const cases = [
          { commit: "2pc", before: { KvPrewrite: 1 }, fate: OLD },
          { commit: "2pc", before: { KvPrewrite: 2 }, fate: OLD },
          { commit: "2pc", before: { KvCommit: 0 }, fate: OLD },
          // Somebody has seen it as committed.
          { commit: "2pc", before: { KvCommit: 1 }, fate: NEW },
          { commit: "2pc", before: { KvCommit: 2 }, fate: NEW },
          { commit: "async", before: { KvPrewrite: 1 }, fate: OLD },
          { commit: "async", before: { KvPrewrite: 2 }, fate: OLD },
          { commit: "async", before: { KvCommit: 0 }, fate: NEW },
          { commit: "async", before: { KvCommit: 1 }, fate: NEW },
        ] as const;
        for (const { commit, before, fate } of cases) {
          await write(scene, OLD);
          await untilUnlocked(scene);
          await vanish(scene, { before }, rewrite(scene, commit));
          assert.notDeepEqual(await lockedKeys(scene), []);
          assert.deepEqual(await read(scene), fate, `${commit}, ${JSON.stringify(before)}`);
          assert.deepEqual(await allOf(scene), fate);
          await settle(scene);
        }
      },
    );
  }

  contract(
    backend,
    "[TXN-163] a writer takes what a vanished client has left out of its way",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m", "y");
      for (const mode of ["optimistic", "pessimistic"] as const) {
        for (const [before, fate] of [[{ KvCommit: 0 }, OLD], [{ KvCommit: 1 }, NEW]] as const) {
          await write(scene, OLD);
          await untilUnlocked(scene);
          await vanish(scene, { before }, rewrite(scene, "2pc"));
          await scene.client.transaction((txn) => txn.sub(scene.prefix).put("z", mode), { mode });
          assert.deepEqual(await allOf(scene), { ...fate, z: mode });
          await settle(scene);
        }
      }
    },
  );

  contract(
    backend,
    "[TXN-075] [T-22] the locks of somebody who vanished are respected for their time",
    {},
    async (scene) => {
      await write(scene, OLD);
      await vanish(scene, { before: { KvCommit: 0 }, ttlMs: 1_500 }, rewrite(scene, "2pc"));
      const start = performance.now();
      await write(scene, { a: "later" });
      const elapsed = performance.now() - start;
      assert.ok(elapsed > 300, `it has waited ${elapsed} ms only`);
      assert.deepEqual(await allOf(scene), { ...OLD, a: "later" });
    },
  );

  contract(
    backend,
    "[TXN-081] what fails in a prewrite is cleaned up, in every region",
    { needs: ["split"] },
    async (scene) => {
      const names = namesOf(60);
      await splitAt(scene, ...[10, 20, 30, 40, 50].map((i) => names[i] ?? ""));
      for (const commit of ["2pc", "async"] as const) {
        const txn = await scene.client.begin({ commit });
        for (const name of names) txn.sub(scene.prefix).put(name, "loser");
        await write(scene, { k45: "winner" });
        await rejectsKind(txn.commit(), "write-conflict");
        await untilUnlocked(scene);
        assert.deepEqual(await allOf(scene), { k45: "winner" });
      }
    },
  );

  contract(
    backend,
    "[TXN-015] regions that split and move between the steps of a transaction change nothing of it",
    { needs: ["split", "leaders"] },
    async (scene) => {
      const names = namesOf(40);
      const { prefix, control } = scene;
      await write(scene, Object.fromEntries(names.map((name) => [name, "0"])));
      let round = 0;
      for (const mode of ["optimistic", "pessimistic"] as const) {
        for (const commit of ["1pc", "async", "2pc"] as const) {
          const at = (i: number): string => `${prefix}${names[i]}`;
          round++;
          let changes = 0;
          const change = async (): Promise<void> => {
            // Elsewhere each time: splits of one place happen once.
            await control.split(at(round * 6 - 2 + changes));
            await control.moveLeader(at(changes * 20));
          };
          const seen = new Set<string>();
          const client = await scene.connect({
            interceptors: [async (call: InterceptedCall, next) => {
              if (STEPS.has(call.method) && !seen.has(call.method)) {
                seen.add(call.method);
                await change();
                changes++;
              }
              return await next(call);
            }],
          });
          await using txn = await client.begin({ mode, commit });
          const view = txn.sub(prefix);
          const found = await view.batchGet(names);
          if (mode === "pessimistic") await view.lock(names.slice(0, 30));
          for (const name of names) view.put(name, String(Number(text(found.get(name))) + 1));
          const { path } = await txn.commit();
          assert.equal(path === "1pc", false, "the keys are in several regions");
          await until(() => changes === seen.size, "the cluster has changed", 20_000);
          assert.ok(changes >= 2, [...seen].join());
          assert.deepEqual(
            await allOf(scene),
            Object.fromEntries(names.map((name) => [name, String(round)])),
          );
          await untilUnlocked(scene);
        }
      }
    },
  );

  contract(
    backend,
    "[T-06] a commit in one phase whose region is split meanwhile is done otherwise, as a whole",
    { needs: ["split"] },
    async (scene) => {
      let splits = 0;
      const client = await scene.connect({
        interceptors: [async (call, next) => {
          if (call.method === "KvPrewrite" && splits++ === 0) await scene.control.split(`${scene.prefix}m`);
          return await next(call);
        }],
      });
      await client.warmUp({ ranges: [{ prefix: scene.prefix }] });
      const txn = await client.begin({ commit: "1pc" });
      for (const key of ["a", "z"]) txn.sub(scene.prefix).put(key, "1");
      const { path, commitTs } = await txn.commit();
      assert.equal(path, "2pc");
      assert.ok(splits > 1, "the prewrite was not refused");
      const at = (await scene.client.snapshot({ ts: commitTs })).sub(scene.prefix);
      assert.deepEqual(entriesOf(await at.scan({}).toArray()), { a: "1", z: "1" });
      await untilUnlocked(scene);
    },
  );

  contract(
    backend,
    "[TXN-015] a merge between read and commit changes nothing",
    { needs: ["split", "merge"] },
    async (scene) => {
      for (const commit of ["1pc", "async", "2pc"] as const) {
        await splitAt(scene, "m");
        await using txn = await scene.client.begin({ commit });
        const view = txn.sub(scene.prefix);
        await view.batchGet(["a", "z"]);
        for (const key of ["a", "z"]) view.put(key, commit);
        await scene.control.merge(`${scene.prefix}m`);
        await txn.commit();
        assert.deepEqual(await allOf(scene), { a: commit, z: commit });
        await untilUnlocked(scene);
      }
    },
  );

  contract(
    backend,
    "[TXN-002] [TXN-080] close() waits for the secondaries of what was committed",
    { needs: ["split"] },
    async (scene) => {
      await splitAt(scene, "m", "y");
      for (const commit of ["2pc", "async"] as const) {
        let commits = 0;
        const client = await scene.connect({
          interceptors: [async (call, next) => {
            // That of the primary is what makes it one.
            if (call.method === "KvCommit" && (commit === "async" || commits++ > 0)) {
              await new Promise((resolve) => setTimeout(resolve, 100));
            }
            return await next(call);
          }],
        });
        await rewrite(scene, commit)(client);
        await client.close();
        assert.deepEqual(await lockedKeys(scene), [], commit);
        await rejectsKind(client.begin(), "closed");
        await rejectsKind(client.transaction(() => {}), "closed");
      }
      assert.deepEqual(await allOf(scene), NEW);
    },
  );

  for (const [commit, needs] of [["2pc", []], ["auto", ["memory-locks"]]] as const) {
    contract(
      backend,
      `concurrent transfers keep the sum of all accounts, in every snapshot (${commit})`,
      { needs: ["split", ...needs] },
      (scene) => transferMoney(scene, commit),
    );
  }

  for (const how of ["cut", "cut-executed", "epoch-not-match"] as const satisfies readonly FaultName[]) {
    contract(
      backend,
      `[TXN-077] [T-02] "${how}" in the middle of a commit is got over where the next answer decides`,
      { needs: ["faults", "split"] },
      async (scene) => {
        await splitAt(scene, "m", "y");
        const { control, client } = scene;
        for (const commit of ["2pc", "async", "1pc"] as const) {
          for (
            const [method, skip] of [["KvPrewrite", 0], ["KvPrewrite", 2], ["KvCommit", 0], [
              "KvCommit",
              2,
            ]] as const
          ) {
            await write(scene, OLD);
            await untilUnlocked(scene);
            control.fail(method, how, { times: 1, skip });
            await rewrite(scene, commit)(client);
            assert.deepEqual(await allOf(scene), NEW, `${commit}, ${method}`);
            await untilUnlocked(scene);
          }
        }
      },
    );
  }

  for (const { commit, method, skip } of UNDETERMINED) {
    contract(
      backend,
      `[T-01] [T-03] an abort while ${method} decides (${commit}) leaves it undetermined, and resolve() tells`,
      { needs: ["faults", "split"] },
      async (scene) => {
        if (commit !== "1pc") await splitAt(scene, "m", "y");
        await write(scene, OLD);
        await untilUnlocked(scene);
        const client = await scene.connect({ interceptors: [livingFor(1)] });
        for (const how of ["drop-request", "drop-reply"] as const) {
          const { control } = scene;
          control.fail(method, how, { times: 1, skip });
          const before = control.calls(method);
          const stop = new AbortController();
          const reason = new Error("the caller went away");
          const txn = await client.begin({ commit });
          for (const [key, value] of Object.entries(NEW)) txn.sub(scene.prefix).put(key, value);
          const committing = rejectsKind(txn.commit({ signal: stop.signal }), "undetermined");
          await until(() => control.calls(method) > before + skip, "the request arrives");
          await new Promise((resolve) => setTimeout(resolve, 20));
          stop.abort(reason);
          const error = await committing;
          assert.ok(error instanceof UndeterminedError);
          assert.equal(error.cause, reason);
          assert.equal(error.startTs, txn.startTs);
          assert.equal(text(error.primary), `${scene.prefix}a`);
          assert.equal(error.retry, "never");
          assert.equal(txn.state, "undetermined");
          const fate = await error.resolve({ timeoutMs: 20_000 });
          const isThere = how === "drop-reply";
          assert.equal(fate.state, isThere ? "committed" : "rolled-back");
          assert.deepEqual(await allOf(scene), isThere ? NEW : OLD);
          if (fate.state === "committed") assert.ok(fate.commitTs > txn.startTs);
          await settle(scene);
        }
      },
    );
  }

  contract(
    backend,
    "a store that stops in the middle is got over: all is committed",
    { needs: ["stores", "split"] },
    async (scene) => {
      const { control, prefix } = scene;
      await splitAt(scene, "m", "y");
      const [id] = control.storeIds();
      assert.ok(id !== undefined);
      for (const method of ["KvPrewrite", "KvCommit"]) {
        let stops = 0;
        const client = await scene.connect({
          interceptors: [async (call, next) => {
            if (call.method === method && stops++ === 0) await control.stopStore(id);
            return await next(call);
          }],
        });
        await client.transaction((txn) => {
          for (const key of Object.keys(NEW)) txn.sub(prefix).put(key, method);
        }, { commit: "2pc" });
        await control.startStore(id);
        assert.deepEqual(await allOf(scene), { a: method, n: method, z: method });
        await untilUnlocked(scene);
      }
    },
  );
}

const STEPS: ReadonlySet<string> = new Set(["KvBatchGet", "KvPessimisticLock", "KvPrewrite", "KvCommit"]);

/** The requests that decide, with how many of them come before. */
const UNDETERMINED = [
  { commit: "1pc", method: "KvPrewrite", skip: 0 },
  { commit: "async", method: "KvPrewrite", skip: 0 },
  { commit: "async", method: "KvPrewrite", skip: 2 },
  { commit: "2pc", method: "KvCommit", skip: 0 },
] as const;

/** Transfers between six accounts in three regions, half of them with locks, under the eyes of a reader. */
async function transferMoney(scene: Scene, commit: "2pc" | "auto"): Promise<void> {
  const accounts = namesOf(6, "account");
  const total = accounts.length * 100;
  await splitAt(scene, "account2", "account4");
  await write(scene, Object.fromEntries(accounts.map((name) => [name, "100"])));
  let isOver = false;
  let reads = 0;
  let runs = 0;
  let transfers = 0;
  const transfer = async (worker: number): Promise<void> => {
    const client = await scene.connect();
    const mode = worker % 2 === 0 ? "optimistic" : "pessimistic";
    // On until somebody was in somebody's way.
    for (let round = 0; round < 6 || (runs === transfers && round < 200); round++) {
      const [from = "", to = ""] = [accounts[(worker + round) % 6], accounts[(worker * 2 + round + 1) % 6]];
      if (from === to) continue;
      transfers++;
      await client.transaction(async (txn) => {
        runs++;
        const view = txn.sub(scene.prefix);
        const read = async (key: string): Promise<number> =>
          Number(text(await (mode === "optimistic" ? view.get(key) : view.getForUpdate(key))));
        const [ofFrom, ofTo] = [await read(from), await read(to)];
        view.put(from, String(ofFrom - 7));
        view.put(to, String(ofTo + 7));
      }, { mode, commit, maxAttempts: 1_000, timeoutMs: 60_000 });
    }
  };
  const watch = async (): Promise<void> => {
    const client = await scene.connect();
    while (!isOver) {
      const snapshot = await now({ ...scene, client });
      const found = reads++ % 2 === 0
        ? [...(await snapshot.batchGet(accounts)).values()]
        : (await snapshot.scan({}).toArray()).map(({ value }) => value);
      assert.equal(found.reduce((sum, value) => sum + Number(text(value)), 0), total);
      // In memory nothing else would get a turn.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const all = Promise.all([0, 1, 2, 3].map(transfer)).finally(() => isOver = true);
  await Promise.all([watch(), all]);
  assert.ok(reads > 0, "nobody has read meanwhile");
  assert.ok(runs > transfers, "the writers never met");
  await settle(scene);
}

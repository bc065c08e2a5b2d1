// SPDX-License-Identifier: Apache-2.0
// What only this project's client does, with client-go as the one that it meets.

import assert from "node:assert/strict";
import { UndeterminedError } from "../../mod.ts";
import { fault } from "../../src/playground/mod.ts";
import { assertContent, type Scenario, write } from "./scenario.ts";

const TEXT = new TextDecoder();

export const OUR_SCENARIOS: readonly Scenario[] = [
  {
    name: "a statement on current data runs again when the other was faster, within its transaction",
    play: async (stage) => {
      const { pair: { ours, go }, key } = stage;
      await write(go, { [key("a")]: "1", [key("m")]: "1" });
      const txn = (await ours.begin({ mode: "pessimistic" })).inner;
      await txn.lock([key("t")]);
      let runs = 0;
      await txn.statement(async () => {
        const value = Number(TEXT.decode(await txn.get(key("a"))));
        // It comes between the read and the lock at the end, but only once.
        if (++runs === 1) await write(go, { [key("a")]: "10" });
        txn.put(key("a"), String(value + 1));
      }, { current: true });
      assert.equal(runs, 2);
      txn.put(key("t"), "beside");
      await txn.commit();
      await assertContent(stage, { a: "11", m: "1", t: "beside" });
    },
  },
  ...([true, false] as const).map((isExecuted): Scenario => ({
    name: `a commit that ${isExecuted ? "was" : "was not"} executed, nobody knows: both find out the same`,
    play: async (stage) => {
      const { pair: { ours, go, cluster }, key } = stage;
      await write(go, { [key("a")]: "old", [key("m")]: "old" });
      const txn = (await ours.begin()).inner;
      for (const name of ["a", "m"]) txn.put(key(name), "new");
      const commit = { method: "KvCommit", key: key("a") };
      if (isExecuted) cluster.faults.add({ ...commit, times: 1 }, fault.cutStream({ isExecuted }));
      using _lost = cluster.faults.add(commit, fault.undeterminedResult());
      const error: unknown = await txn.commit().catch((thrown) => thrown);
      assert.ok(error instanceof UndeterminedError, String(error));
      cluster.jumpTso(30_000);
      const seen = await go.snapshot(await go.timestamp()).get(key("m"));
      assert.equal(seen, isExecuted ? "new" : "old");
      const fate = await error.resolve();
      assert.equal(fate.state, isExecuted ? "committed" : "rolled-back");
      if (fate.state === "committed") {
        assert.equal(await go.snapshot(fate.commitTs).get(key("a")), "new");
        assert.equal(await go.snapshot(fate.commitTs - 1n).get(key("a")), "old");
      }
      await assertContent(stage, { a: seen, m: seen });
    },
  })),
];

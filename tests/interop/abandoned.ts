// SPDX-License-Identifier: Apache-2.0
// What a client leaves that dies at a step of a transaction: which requests never arrive, which locks
// are there then, and whether the transaction counts as committed.

import { fault, type FaultRule } from "../../src/playground/mod.ts";
import type { SeenLock } from "./locks.ts";
import type { Pair } from "./pair.ts";
import type { BeginWith, TxnClientDriver } from "./txn_client.ts";

/** A step at which a client dies. The keys are in regions of their own, `a` is the primary. */
export interface Abandoned {
  readonly name: string;
  readonly begin: BeginWith;
  /** The keys that are written; with locks before in a pessimistic transaction. */
  readonly names: readonly string[];
  /** How the client wanted to end it. */
  readonly end: "commit" | "rollback" | "none";
  /** Requests that never arrive: the method, and the keys. */
  readonly lost?: readonly (readonly [method: string, names: readonly string[]])[];
  /** Requests that are executed, and whose answers are lost. */
  readonly unanswered?: readonly (readonly [method: string, names: readonly string[]])[];
  /** The locks that are there then. */
  readonly left: Readonly<Record<string, SeenLock["kind"]>>;
  /** What whoever reads afterwards must find: all of it, or nothing. */
  readonly outcome: "old" | "new";
}

const ALL = ["a", "m", "t"];
const PUTS = { a: "put", m: "put", t: "put" } as const;

function after(
  name: string,
  fields: Omit<Abandoned, "name" | "names" | "end"> & Partial<Abandoned>,
): Abandoned {
  return { name, names: ALL, end: "commit", ...fields };
}

/** The same steps of an optimistic and of a pessimistic transaction. */
function ofBothModes(mode: "optimistic" | "pessimistic"): readonly Abandoned[] {
  const isPessimistic = mode === "pessimistic";
  const unwritten = (...names: readonly string[]): Abandoned["left"] =>
    isPessimistic ? Object.fromEntries(names.map((name) => [name, "pessimistic"])) : {};
  return [
    after(`${mode}, two phases: only the primary is prewritten`, {
      begin: { mode, commit: "2pc" },
      lost: [["KvPrewrite", ["m", "t"]]],
      left: { a: "put", ...unwritten("m", "t") },
      outcome: "old",
    }),
    after(`${mode}, two phases: all but the primary is prewritten`, {
      begin: { mode, commit: "2pc" },
      lost: [["KvPrewrite", ["a"]]],
      left: { ...unwritten("a"), m: "put", t: "put" },
      outcome: "old",
    }),
    after(`${mode}, two phases: all is prewritten`, {
      begin: { mode, commit: "2pc" },
      lost: [["KvCommit", ["a"]]],
      left: PUTS,
      outcome: "old",
    }),
    after(`${mode}, two phases: the primary is committed`, {
      begin: { mode, commit: "2pc" },
      lost: [["KvCommit", ["m", "t"]]],
      left: { m: "put", t: "put" },
      outcome: "new",
    }),
    after(`${mode}, two phases: the primary is committed, the answer to that is lost`, {
      begin: { mode, commit: "2pc" },
      unanswered: [["KvCommit", ["a"]]],
      left: { m: "put", t: "put" },
      outcome: "new",
    }),
    after(`${mode}, async commit: a secondary is missing`, {
      begin: { mode, commit: "async" },
      lost: [["KvPrewrite", ["m"]]],
      left: { a: "put", ...unwritten("m"), t: "put" },
      outcome: "old",
    }),
    after(`${mode}, async commit: the primary is missing`, {
      begin: { mode, commit: "async" },
      lost: [["KvPrewrite", ["a"]]],
      left: { ...unwritten("a"), m: "put", t: "put" },
      outcome: "old",
    }),
    after(`${mode}, async commit: all is prewritten, an answer is lost`, {
      begin: { mode, commit: "async" },
      unanswered: [["KvPrewrite", ["t"]]],
      left: PUTS,
      outcome: "new",
    }),
    after(`${mode}, async commit: all is prewritten, nothing committed`, {
      begin: { mode, commit: "async" },
      lost: [["KvCommit", ALL]],
      left: PUTS,
      outcome: "new",
    }),
    after(`${mode}, async commit: all but the primary is committed`, {
      begin: { mode, commit: "async" },
      lost: [["KvCommit", ["a"]]],
      left: { a: "put" },
      outcome: "new",
    }),
    after(`${mode}, async commit: only the primary is committed`, {
      begin: { mode, commit: "async" },
      lost: [["KvCommit", ["m", "t"]]],
      left: { m: "put", t: "put" },
      outcome: "new",
    }),
    after(`${mode}, one phase: the request is lost`, {
      begin: { mode, commit: "1pc" },
      names: ["a"],
      lost: [["KvPrewrite", ["a"]]],
      left: unwritten("a"),
      outcome: "old",
    }),
    after(`${mode}, one phase: the answer is lost`, {
      begin: { mode, commit: "1pc" },
      names: ["a"],
      unanswered: [["KvPrewrite", ["a"]]],
      left: {},
      outcome: "new",
    }),
  ];
}

/** More keys than are resolved one by one, in two regions. */
const MANY = Array.from({ length: 60 }, (_, i) => `${i < 30 ? "a" : "m"}${String(i).padStart(2, "0")}`);
const MANY_PUTS: Abandoned["left"] = Object.fromEntries(MANY.map((name) => [name, "put"]));

/** Every step at which a client dies here. */
export const ABANDONED: readonly Abandoned[] = [
  ...ofBothModes("optimistic"),
  ...ofBothModes("pessimistic"),
  after("60 keys, two phases: all is prewritten", {
    begin: { commit: "2pc" },
    names: MANY,
    lost: [["KvCommit", ["a00"]]],
    left: MANY_PUTS,
    outcome: "old",
  }),
  after("60 keys, two phases: the region of the primary is committed", {
    begin: { commit: "2pc" },
    names: MANY,
    lost: [["KvCommit", ["m30"]]],
    left: Object.fromEntries(MANY.filter((name) => name >= "m").map((name) => [name, "put"])),
    outcome: "new",
  }),
  after("60 keys, async commit: all is prewritten, nothing committed", {
    begin: { commit: "async" },
    names: MANY,
    lost: [["KvCommit", ["a00", "m30"]]],
    left: MANY_PUTS,
    outcome: "new",
  }),
  after("pessimistic: all is locked", {
    begin: { mode: "pessimistic" },
    end: "none",
    left: { a: "pessimistic", m: "pessimistic", t: "pessimistic" },
    outcome: "old",
  }),
  after("pessimistic: only the primary is locked", {
    begin: { mode: "pessimistic" },
    end: "none",
    lost: [["KvPessimisticLock", ["m", "t"]]],
    left: { a: "pessimistic" },
    outcome: "old",
  }),
  after("pessimistic: the primary is unlocked again", {
    begin: { mode: "pessimistic" },
    end: "rollback",
    lost: [["KVPessimisticRollback", ["m", "t"]]],
    left: { m: "pessimistic", t: "pessimistic" },
    outcome: "old",
  }),
];

/** Begins the transaction, in a way that it comes to its step. The rules are all hit when it is there. */
export function abandon(
  client: TxnClientDriver,
  { begin, names, end, lost = [], unanswered = [] }: Abandoned,
  { key, pair }: { key(name: string): string; readonly pair: Pair },
): { readonly rules: readonly FaultRule[] } {
  const rules = [[lost, fault.dropRequest()] as const, [unanswered, fault.dropReply()] as const]
    .flatMap(([which, effect]) =>
      which.flatMap(([method, hit]) =>
        hit.map((name) => {
          // Secondaries name their primary too; only the region tells whose request it is.
          return pair.cluster.faults.add(
            { method, key: key(name), regionId: pair.regionOf(key(name)) },
            effect,
          );
        })
      )
    );
  const run = async (): Promise<void> => {
    const txn = await client.begin(begin);
    if (begin.mode === "pessimistic") await txn.lock(names.map(key));
    for (const name of names) await txn.put(key(name), "new");
    if (end !== "none") await txn[end]();
  };
  // It hangs, or fails, or is told a success in the background of which something is lost.
  run().catch(() => {});
  return { rules };
}

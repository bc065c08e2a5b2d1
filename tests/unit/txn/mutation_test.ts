// SPDX-License-Identifier: Apache-2.0
// The table of what a buffered write becomes, row by row.

import assert from "node:assert/strict";
import { test } from "node:test";
import { applyFlagChanges, type FlagChange } from "../../../src/txn/buffer/key_flags.ts";
import { assertionOf, checkOf, type MutationFacts, opOf } from "../../../src/txn/commit/mutation.ts";
import { bytes } from "../raw/fake_store.ts";

type Row = readonly [
  what: string,
  write: MutationFacts["write"]["kind"],
  flags: readonly FlagChange[],
  more: Partial<Pick<MutationFacts, "isPessimistic" | "lock" | "isFiltered">>,
  op: ReturnType<typeof opOf>,
];

const ROWS: readonly Row[] = [
  ["flags alone of a key that is not locked", "lock-only", [], {}, undefined],
  ["a key that is locked only", "lock-only", [], { lock: "exclusive" }, "lock"],
  ["a key that is locked in share mode only", "lock-only", [], { lock: "shared" }, "shared-lock"],
  ["a value", "value", [], {}, "put"],
  ["a value of a locked key", "value", [], { lock: "exclusive" }, "put"],
  ["a value that must be new", "value", ["presume-not-exists"], {}, "insert"],
  ["a value that is filtered out", "value", [], { isFiltered: true }, undefined],
  [
    "a value that is filtered out of a locked key",
    "value",
    [],
    { isFiltered: true, lock: "exclusive" },
    "lock",
  ],
  [
    "a value that is filtered out of a key locked in share mode",
    "value",
    [],
    { isFiltered: true, lock: "shared" },
    "shared-lock",
  ],
  ["a delete", "tombstone", [], {}, "delete"],
  ["a delete that is filtered out", "tombstone", [], { isFiltered: true }, undefined],
  [
    "a delete that is filtered out of a locked key",
    "tombstone",
    [],
    { isFiltered: true, lock: "exclusive" },
    "lock",
  ],
  ["a delete of what was to be new", "tombstone", ["presume-not-exists"], {}, "check-not-exists"],
  [
    "a delete of what was to be new, inserted here",
    "tombstone",
    ["presume-not-exists", "newly-inserted"],
    {},
    "check-not-exists",
  ],
  [
    "a delete of what was to be new, in a pessimistic transaction",
    "tombstone",
    ["presume-not-exists"],
    { isPessimistic: true },
    "delete",
  ],
  ["a delete of what is new here", "tombstone", ["newly-inserted"], {}, undefined],
  [
    "a delete of what is new here, in a pessimistic transaction",
    "tombstone",
    ["presume-not-exists", "newly-inserted"],
    { isPessimistic: true },
    undefined,
  ],
  [
    "a delete of what is new here and locked",
    "tombstone",
    ["newly-inserted"],
    { isPessimistic: true, lock: "exclusive" },
    "lock",
  ],
];

for (const [what, kind, flags, more, op] of ROWS) {
  const ids = more.isFiltered === true && more.lock !== undefined
    ? "[TXN-034] [TXN-037] [T-44]"
    : flags.includes("newly-inserted")
    ? "[TXN-034] [T-45]"
    : "[TXN-034]";
  test(`${ids} ${what} is committed as ${op ?? "nothing"}`, () => {
    const facts: MutationFacts = {
      isPessimistic: false,
      flags: applyFlagChanges(0, flags),
      write: kind === "value" ? { kind, value: bytes("v") } : { kind },
      lock: "none",
      isFiltered: false,
      ...more,
    };
    assert.equal(opOf(facts), op);
  });
}

test("[TXN-034] [TXN-086] a key is asserted to exist or not to; with both nothing is asserted", () => {
  const of = (...changes: FlagChange[]): string => assertionOf(applyFlagChanges(0, changes));
  assert.equal(of(), "none");
  assert.equal(of("assert-exist"), "exists");
  assert.equal(of("assert-not-exist"), "not-exists");
  assert.equal(of("assert-unknown"), "none");
});

test("[TXN-034] [TXN-074] the prewrite finds a lock, checks a constraint, or neither", () => {
  const of = (isPessimistic: boolean, lock: MutationFacts["lock"], ...changes: FlagChange[]): string =>
    checkOf({
      isPessimistic,
      lock,
      flags: applyFlagChanges(0, changes),
      write: { kind: "tombstone" },
      isFiltered: false,
    });
  assert.equal(of(true, "exclusive"), "lock");
  assert.equal(of(true, "shared"), "lock");
  assert.equal(of(true, "exclusive", "need-constraint-check"), "lock");
  assert.equal(of(true, "none", "need-constraint-check"), "constraint");
  assert.equal(of(true, "none"), "none");
  // An optimistic transaction checks every key anyway.
  assert.equal(of(false, "none", "need-constraint-check"), "none");
  assert.equal(of(false, "exclusive"), "none");
});

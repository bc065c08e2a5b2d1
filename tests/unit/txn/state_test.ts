// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import {
  active,
  committed,
  committing,
  moveTransaction,
  rolledBack,
  rollingBack,
  TRANSACTION_MOVES,
  type TransactionState,
  type TransactionStateName,
  undetermined,
} from "../../../src/txn/state.ts";
import { timestampOf } from "../../../src/types.ts";

const CAUSE = new Error("the reason");

const STATES: Readonly<Record<TransactionStateName, TransactionState>> = {
  "active": active(),
  "committing": committing(),
  "committed": committed(timestampOf(1n, 2n)),
  "undetermined": undetermined(CAUSE),
  "rolling-back": rollingBack(CAUSE),
  "rolled-back": rolledBack(CAUSE),
};

// Written out again, and not taken from the table under test: a changed table has to fail here.
const ALLOWED: ReadonlySet<string> = new Set([
  "active > committing",
  "active > rolling-back",
  "committing > committed",
  "committing > undetermined",
  "committing > rolling-back",
  "rolling-back > rolled-back",
]);

test("every constructor makes the state it is named after, with what is known there", () => {
  for (const [name, state] of Object.entries(STATES)) assert.equal(state.name, name);
  assert.deepEqual(committed(undefined), { name: "committed", commitTs: undefined });
  assert.deepEqual(committed(timestampOf(1n, 2n)), { name: "committed", commitTs: timestampOf(1n, 2n) });
  assert.deepEqual(undetermined(CAUSE), { name: "undetermined", cause: CAUSE });
  assert.deepEqual(rollingBack(), { name: "rolling-back", cause: undefined });
  assert.deepEqual(rolledBack(CAUSE), { name: "rolled-back", cause: CAUSE });
});

test("the table of moves lists exactly the allowed ones", () => {
  const listed = Object.entries(TRANSACTION_MOVES).flatMap(([from, moves]) =>
    moves.map((to) => `${from} > ${to}`)
  );
  assert.deepEqual(new Set(listed), ALLOWED);
  assert.equal(listed.length, ALLOWED.size);
});

for (const from of Object.values(STATES)) {
  for (const to of Object.values(STATES)) {
    const move = `${from.name} > ${to.name}`;
    if (ALLOWED.has(move)) {
      test(`moveTransaction() goes ${move}`, () => {
        assert.equal(moveTransaction(from, to), to);
      });
    } else {
      test(`moveTransaction() refuses ${move} as a misuse that names both states`, () => {
        assert.throws(() => moveTransaction(from, to), (error: unknown) => {
          assert.ok(TikvError.is(error));
          assert.equal(error.kind, "misuse");
          assert.ok(error.message.includes(`"${from.name}"`) && error.message.includes(`"${to.name}"`));
          assert.equal(error.cause, "cause" in from ? CAUSE : undefined);
          return true;
        });
      });
    }
  }
}

test("a transaction that ended in any way never moves again", () => {
  for (const name of ["committed", "undetermined", "rolled-back"] as const) {
    assert.deepEqual(TRANSACTION_MOVES[name], []);
  }
});

test("what may be committed can be reached by the commit only, and is never rolled back", () => {
  const into = Object.entries(TRANSACTION_MOVES).filter(([, moves]) =>
    (moves as readonly string[]).includes("undetermined")
  );
  assert.deepEqual(into.map(([from]) => from), ["committing"]);
  assert.throws(() => moveTransaction(STATES.undetermined, rollingBack()), { kind: "misuse" });
});

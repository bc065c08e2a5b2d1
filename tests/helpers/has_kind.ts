// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { type ErrorKind, TikvError } from "../../src/errors.ts";

/** For `assert.rejects()` and `assert.throws()`: a {@linkcode TikvError} of this kind, and no other. */
export function hasKind(kind: ErrorKind): (error: unknown) => true {
  return (error) => {
    assert.ok(TikvError.is(error), `expected a TikvError of kind "${kind}", got ${error}`);
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}

/** Asserts that a promise rejects with a {@linkcode TikvError} of one of these kinds, and returns that. */
export async function rejectsKind(promise: Promise<unknown>, ...kinds: ErrorKind[]): Promise<TikvError> {
  const error = await promise.then(
    (value) => assert.fail(`expected an error of kind ${kinds}, got ${value}`),
    (reason) => reason as unknown,
  );
  assert.ok(TikvError.is(error), `expected a TikvError of kind ${kinds}, got ${error}`);
  assert.ok(kinds.includes(error.kind), `expected kind ${kinds}, got ${error.kind}: ${error.message}`);
  return error;
}

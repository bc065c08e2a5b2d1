// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { type ErrorKind, TikvError } from "../../src/errors.ts";

/** Asserts that `action` throws a {@linkcode TikvError} of this kind, and returns it. */
export function throwsKind(action: () => unknown, kind: ErrorKind, why = ""): TikvError {
  try {
    action();
  } catch (error) {
    assert.ok(TikvError.is(error), `expected a TikvError, got ${error}`);
    assert.equal(error.kind, kind, why);
    return error;
  }
  assert.fail(`expected a TikvError of kind "${kind}", nothing was thrown ${why}`);
}

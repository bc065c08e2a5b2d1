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

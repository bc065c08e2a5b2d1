// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";
import type { TransactionCore } from "./transaction_core.ts";

/** Runs a part of a transaction, and undoes its writes when it fails. Statements may be in one another. */
export async function runStatement<T>(core: TransactionCore, body: () => Promise<T> | T): Promise<T> {
  if (typeof body !== "function") throw new TypeError("Cannot run the statement: expected a function");
  core.assertActive("begin a statement");
  const { buffer } = core;
  const stage = buffer.stage();
  let result: T;
  try {
    result = await body();
  } catch (error) {
    // Whoever is over has nothing to undo.
    if (core.state.name === "active") {
      assertInnermost(core, stage, error);
      buffer.cleanup(stage);
    }
    throw error;
  }
  core.assertActive("end a statement");
  assertInnermost(core, stage);
  buffer.release(stage);
  return result;
}

/** Two statements at once have mixed writes: there is no way to undo one and keep the other. */
function assertInnermost(core: TransactionCore, stage: number, cause?: unknown): void {
  if (core.buffer.depth === stage) return;
  const error = new TikvError(
    "misuse",
    "Cannot end a statement: one that began after it still runs, expected every statement to be awaited",
    { cause },
  );
  core.fail(error);
  throw error;
}

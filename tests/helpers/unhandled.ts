// SPDX-License-Identifier: Apache-2.0

import process from "node:process";

/** Does work and returns what was rejected meanwhile without anybody to take it. */
export async function unhandledDuring(work: () => Promise<void>): Promise<unknown[]> {
  const seen: unknown[] = [];
  const note = (reason: unknown): void => {
    seen.push(reason);
  };
  process.on("unhandledRejection", note);
  try {
    await work();
    // Runtimes look for them when the microtasks are done.
    for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  } finally {
    process.off("unhandledRejection", note);
  }
  return seen;
}

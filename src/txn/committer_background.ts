// SPDX-License-Identifier: Apache-2.0

import { Deadline } from "../async/deadline.ts";
import { Operation } from "../async/operation.ts";
import type { TxnIdentity } from "./committer_run.ts";

/** What is done, and how long it may take. */
export interface BackgroundWork {
  /** As in events, such as `"txn.commitSecondaries"`. */
  readonly name: string;
  readonly budgetMs: number;
}

/**
 * Does work of a transaction that its caller does not wait for, and whose time and signal are not
 * the caller's. A client that is closing starts none: what is left is resolved by whoever meets it.
 */
export function startInBackground(
  { session }: Pick<TxnIdentity, "session">,
  { name, budgetMs }: BackgroundWork,
  work: (operation: Operation) => Promise<void>,
): void {
  const { environment, observe: observer } = session.settings;
  session.background.start(name, async (signal) => {
    const deadline = Deadline.after(environment.clock, budgetMs, signal);
    await work(new Operation(name, { deadline, environment, observer }));
  });
}

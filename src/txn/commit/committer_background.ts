// SPDX-License-Identifier: Apache-2.0

import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import type { TxnIdentity } from "./committer_run.ts";

/** Work of a transaction that goes on after the call that started it. */
export interface BackgroundTask {
  /** `commit`: of keys that others must not wait for; `clean-up`, `release`: locks are taken away. */
  readonly kind: "commit" | "clean-up" | "release";
  /** Resolves when it is over, however it ended: what is left is resolved by whoever meets it. */
  readonly done: Promise<void>;
}

/** What is done, and how long it may take. */
export interface BackgroundWork {
  readonly kind: BackgroundTask["kind"];
  readonly budgetMs: number;
}

/**
 * Does work of a transaction that its caller does not wait for, and whose time and signal are not
 * the caller's. A client that is closing, or that has too much of it, starts none: what is left is
 * resolved by whoever meets it.
 * The promise resolves when it is over, however it ended.
 */
export function startInBackground(
  { session, onBackground }: Pick<TxnIdentity, "session" | "onBackground">,
  { kind, budgetMs }: BackgroundWork,
  work: (operation: Operation) => Promise<void>,
): Promise<void> {
  const { environment, observe: observer } = session.settings;
  const name = NAMES[kind];
  let finish: () => void = () => {};
  const done = new Promise<void>((resolve) => finish = resolve);
  if (session.background.size >= MAX_RUNNING) {
    const message =
      `Cannot do "${name}": ${MAX_RUNNING} pieces of work run already, whoever meets the locks resolves them`;
    observer({ type: "warning", message });
    finish();
    return done;
  }
  const isStarted = session.background.start(name, async (signal) => {
    try {
      tell({ session, onBackground }, { kind, done });
      const deadline = Deadline.after(environment.clock, budgetMs, signal);
      await work(new Operation(name, { deadline, environment, observer }));
    } finally {
      finish();
    }
  });
  if (!isStarted) finish();
  return done;
}

function tell(
  { session, onBackground }: Pick<TxnIdentity, "session" | "onBackground">,
  task: BackgroundTask,
): void {
  try {
    onBackground?.(task);
  } catch (cause) {
    // Whoever looks on must not turn what is committed into an error.
    session.settings.observe({ type: "warning", message: 'Ignored an error of "onBackground"', cause });
  }
}

/** The operations, as events name them. */
const NAMES: Readonly<Record<BackgroundTask["kind"], string>> = {
  "commit": "txn.commitSecondaries",
  "clean-up": "txn.cleanUp",
  "release": "txn.releaseLocks",
};

/**
 * More than a busy client has at a time, and a bound on its memory when a store hangs for which all of
 * them wait. (client-go's pool of 128 workers is there to reuse them, not to refuse work.)
 */
const MAX_RUNNING = 4_096;

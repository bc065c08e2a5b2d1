// SPDX-License-Identifier: Apache-2.0
// What a transaction hands to the committer, and what it tells of the end.

import type { CommitInfo, TxnSettings } from "./begin_options.ts";
import type { CommitRun, CommitterOptions, CommitWait, TxnIdentity } from "./commit/committer_run.ts";
import type { CommitPlan } from "./transaction_plan.ts";

/** The parts of a transaction that a commit needs. */
export interface CommitSource {
  readonly txn: TxnIdentity;
  readonly settings: TxnSettings;
  /** The largest for-update timestamp of its locks. */
  readonly forUpdateTs: bigint;
  readonly constraints: CommitterOptions["constraints"];
  readonly commitWait: CommitWait | undefined;
  /** Begins to keep the primary alive. */
  readonly keepAlive: (primary: Uint8Array) => void;
}

/** What is committed, and how. */
export function committerOptionsOf(
  { txn, settings, forUpdateTs, constraints, commitWait, keepAlive }: CommitSource,
  plan: CommitPlan,
): CommitterOptions {
  const { isPessimistic, isCausal, acceptsCommitTs, checkSchema, failsOnLock, assertionLevel } = settings;
  return {
    txn,
    ...plan,
    isPessimistic,
    forUpdateTs: isPessimistic ? forUpdateTs : 0n,
    constraints,
    assertionLevel,
    isCausal,
    commitWait,
    acceptsCommitTs,
    checkSchema,
    failsOnLock,
    keepAlive: () => keepAlive(plan.primary),
  };
}

/** What `onCommit` is told. */
export function commitInfoOf(
  run: CommitRun,
  { commitTs, error }: Pick<CommitInfo, "commitTs" | "error">,
): CommitInfo {
  const { txn, canUseAsyncCommit, canUseOnePc } = run.options;
  const { path, lag } = run;
  return {
    startTs: txn.startTs,
    commitTs,
    path,
    hasAsyncFallback: canUseAsyncCommit && !run.usesAsyncCommit,
    hasOnePcFallback: canUseOnePc && path !== "1pc",
    lag,
    error,
  };
}

/** Tells a callback of the caller's. What it throws turns nothing into an error that is none. */
export function tellCaller<T>(
  { session }: Pick<TxnIdentity, "session">,
  { name, callback }: { readonly name: string; readonly callback: ((value: T) => void) | undefined },
  value: T,
): void {
  try {
    callback?.(value);
  } catch (cause) {
    session.settings.observe({ type: "warning", message: `Ignored an error of "${name}"`, cause });
  }
}

// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { KeySet } from "../bytes/key_map.ts";
import { measured } from "./measured.ts";
import type { CommitMutation } from "./commit/committer_run.ts";
import type { CommitResult, TransactionCore } from "./transaction_core.ts";

/**
 * Commits under the latches of the client, if it has any. A pessimistic transaction has locked its keys
 * in the cluster, which keeps others away for longer than a latch would.
 */
export async function commitLatched(
  core: TransactionCore,
  { mutations, operation, commit }: {
    readonly mutations: readonly CommitMutation[];
    readonly operation: Operation;
    readonly commit: () => Promise<CommitResult>;
  },
): Promise<CommitResult> {
  const { session, startTs } = core.txn;
  const { latches, closing, settings } = session;
  if (latches === undefined || core.settings.isPessimistic) return await commit();
  const { details } = core.settings;
  const hold = await measured(
    { details, session },
    { step: "latch" },
    () =>
      latches.acquire(mutations.map(({ key }) => key), {
        startTs,
        deadline: operation.deadline.withSignal(closing),
        revealKeys: settings.revealKeys,
      }),
  );
  try {
    const result = await commit();
    const checked = mutations.filter(({ op }) => op === "check-not-exists").map(({ key }) => key);
    hold.release(result.commitTs, new KeySet(checked));
    return result;
  } finally {
    // What failed, or may have, teaches the others nothing.
    hold.release();
  }
}

// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import { physicalMsOf, type Timestamp } from "../types.ts";
import type { CommitRun } from "./committer_run.ts";

/**
 * A timestamp for the commit. When it has to be above one that another cluster gave out, it is
 * waited for, unless that is further ahead than the caller wants to wait.
 */
export async function commitTimestamp(run: CommitRun, operation: Operation): Promise<Timestamp> {
  const { txn, commitWait } = run.options;
  const first = await txn.session.oracle.timestamp(operation);
  if (commitWait === undefined || first > commitWait.untilTs) return first;
  const { untilTs, timeoutMs } = commitWait;
  const lagMs = physicalMsOf(untilTs) - physicalMsOf(first);
  if (timeoutMs <= 0 || lagMs > timeoutMs) throw lagError(lagMs);
  const part = operation.fork({ deadline: operation.deadline.within(timeoutMs) });
  for (;;) {
    await part.backoffs.wait("commitTSLag", lagError(lagMs));
    const next = await txn.session.oracle.timestamp(part);
    if (next > untilTs) return next;
  }
}

function lagError(lagMs: number): TikvError<"timeout"> {
  return new TikvError(
    "timeout",
    `Cannot commit: timestamps of the cluster are ${lagMs} ms behind the one that was to be waited for`,
  );
}

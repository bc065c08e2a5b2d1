// SPDX-License-Identifier: Apache-2.0
// Ending transactions before garbage collection: all of a page of locks, dead or alive.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import type { Region } from "../../region/region.ts";
import type { ContextFields } from "../../rpc/context.ts";
import { isPessimisticLock } from "./lock.ts";
import { type Ending, MAX_TS, queryOf } from "./lock_calls.ts";
import { recover } from "./lock_recovery.ts";
import type { ResolverParts } from "./lock_settlement.ts";

/** The locks of one region, each of one transaction. */
export interface LockPage {
  readonly locks: readonly LockInfo[];
  readonly region: Region;
  readonly context: ContextFields | undefined;
}

/** Ends the transactions of all locks of a page; false when its region has changed meanwhile. */
export async function endAll(
  parts: ResolverParts,
  { locks, region, context }: LockPage,
  operation: Operation,
): Promise<boolean> {
  const endings = new Map<bigint, Ending>();
  for (const lock of locks) {
    if (isPessimisticLock(lock)) {
      // After the question, which has to come first: the primary's lock may protect newer ones.
      await askToEnd(parts, { lock, forcesSyncCommit: false, context }, operation);
      // Not through its transaction's ending: the primary of such a lock may be the wrong one.
      await parts.calls.release(lock, { operation, context });
      continue;
    }
    if (endings.has(lock.lockVersion)) continue;
    const commitTs = await commitTsOf(parts, { lock, context }, operation);
    endings.set(lock.lockVersion, { startTs: lock.lockVersion, commitTs, isTxnFile: lock.isTxnFile });
  }
  if (endings.size === 0) return true;
  return await parts.calls.resolveTransactions(region, [...endings.values()], { operation, context });
}

async function commitTsOf(
  parts: ResolverParts,
  { lock, context }: { readonly lock: LockInfo; readonly context: ContextFields | undefined },
  operation: Operation,
): Promise<bigint> {
  let answer = await askToEnd(parts, { lock, forcesSyncCommit: false, context }, operation);
  if (answer.state === "alive" && answer.asyncPrimary !== undefined) {
    const end = await recover(parts.calls, answer.asyncPrimary, { operation, context });
    if (end.state !== "sync") return end.state === "committed" ? end.commitTs : 0n;
    answer = await askToEnd(parts, { lock, forcesSyncCommit: true, context }, operation);
  }
  if (answer.state === "committed") return answer.commitTs;
  if (answer.state === "rolled-back") return 0n;
  const seen = `its primary is "${answer.state}" although it was told to end`;
  throw new TikvError("protocol", `Cannot end transaction ${lock.lockVersion}: ${seen}`);
}

function askToEnd(
  { calls }: ResolverParts,
  { lock, forcesSyncCommit, context }: {
    readonly lock: LockInfo;
    readonly forcesSyncCommit: boolean;
    readonly context: ContextFields | undefined;
  },
  operation: Operation,
): ReturnType<ResolverParts["calls"]["askPrimary"]> {
  const query = queryOf(lock, {
    callerTs: 0n,
    currentTs: MAX_TS,
    rollsBackIfMissing: true,
    forcesSyncCommit,
  });
  return calls.askPrimary(query, operation, context);
}

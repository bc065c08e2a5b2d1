// SPDX-License-Identifier: Apache-2.0

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Background } from "../../async/background.ts";
import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import type { Routing } from "../../plan/dispatch.ts";
import type { Region } from "../../region/region.ts";
import type { ContextFields } from "../../rpc/context.ts";
import type { Settings } from "../../settings.ts";
import { endAll } from "./lock_batch.ts";
import { LockCalls, MAX_TS } from "./lock_calls.ts";
import { CleanUp } from "./lock_clean_up.ts";
import type { LockClock } from "./lock_clock.ts";
import { remainingMs } from "./lock_decision.ts";
import { groupLocks, singleLocksOf } from "./lock.ts";
import { keysOf, recover } from "./lock_recovery.ts";
import { LockRegistry } from "./lock_registry.ts";
import {
  LockSettlement,
  type ResolveOptions,
  type ResolveResult,
  type ResolverParts,
} from "./lock_settlement.ts";
import { type FinalStatus, isFinal, TxnStatusCache } from "./txn_status.ts";

export type { ResolveOptions, ResolveResult } from "./lock_settlement.ts";

/** Options of a new {@linkcode LockResolver}. */
export interface LockResolverOptions {
  readonly routing: Routing;
  readonly settings: Pick<Settings, "environment" | "observe" | "revealKeys">;
  readonly clock: LockClock;
  readonly background: Pick<Background, "start">;
}

/** Who meets locks, and what it wants of them; see {@linkcode ResolveOptions}. */
export interface LockCaller extends Pick<ResolveOptions, "releasesRegion" | "resolvesRegion" | "context"> {
  readonly startTs: bigint;
}

/** A transaction whose end is asked for. */
export interface AskedTransaction {
  readonly startTs: bigint;
  readonly primary: Uint8Array;
  /** It is the caller's own, and the caller does nothing for it any more: its time is up. */
  readonly isGivenUp?: boolean | undefined;
}

/**
 * Finds out what became of transactions whose locks are in the way, and takes the locks of those
 * that are over away. The primary key of a transaction decides; the time by which a transaction
 * that is not heard of any more is over is that of the cluster.
 */
export class LockResolver {
  readonly #parts: ResolverParts;
  /** Who waits for which locks. */
  readonly waits: LockRegistry = new LockRegistry();

  constructor({ routing, settings, clock, background }: LockResolverOptions) {
    const { environment, observe } = settings;
    this.#parts = {
      calls: new LockCalls({ routing, settings }),
      clock,
      known: new TxnStatusCache(),
      cleanUp: new CleanUp({ background, environment, observe }),
      concurrency: routing.concurrency,
    };
  }

  /** Resolves what can be resolved. Its requests are no writes of the caller: they leave no doubt behind. */
  async resolve(
    locks: readonly LockInfo[],
    options: ResolveOptions,
    operation: Operation,
  ): Promise<ResolveResult> {
    return await apart(
      operation,
      (part) => new LockSettlement(this.#parts, options).run(groupLocks(locks), part),
    );
  }

  /** As {@linkcode LockResolver.resolve} for whoever writes: the milliseconds to wait, 0 to try again at once. */
  async breakLocks(
    locks: readonly LockInfo[],
    caller: LockCaller,
    operation: Operation,
  ): Promise<number> {
    const { startTs: callerTs, ...rest } = caller;
    return (await this.resolve(locks, { callerTs, mode: "write", ...rest }, operation)).waitMs;
  }

  /**
   * How a transaction ended. One that its primary has nothing of is rolled back by the question,
   * so that the answer stays true; one that lives is waited for, or rolled back as well where its
   * owner asks.
   */
  async endOf(txn: AskedTransaction, operation: Operation, context?: ContextFields): Promise<FinalStatus> {
    return await apart(operation, (part) => this.#endOf(txn, part, context));
  }

  /**
   * Ends the transactions of locks whether their time is up or not, for garbage collection: nothing
   * older than its safe point may stay undecided. False when the region has changed and has to be
   * scanned again.
   */
  async endAll(
    locks: readonly LockInfo[],
    region: Region,
    { operation, context }: { readonly operation: Operation; readonly context?: ContextFields | undefined },
  ): Promise<boolean> {
    const found = { locks: locks.flatMap(singleLocksOf), region, context };
    return await apart(operation, (part) => endAll(this.#parts, found, part));
  }

  async #endOf(
    { startTs, primary, isGivenUp = false }: AskedTransaction,
    operation: Operation,
    context: ContextFields | undefined,
  ): Promise<FinalStatus> {
    const { calls, clock, known } = this.#parts;
    let forcesSyncCommit = false;
    for (;;) {
      operation.deadline.throwIfOver("ask how a transaction ended");
      const before = known.get(startTs);
      if (before !== undefined) return before.status;
      const now = await clock.now(operation);
      const answer = await calls.askPrimary(
        {
          primary,
          startTs,
          callerTs: 0n,
          // No request of the owner can commit it any more that has not arrived by now.
          currentTs: isGivenUp ? MAX_TS : now,
          rollsBackIfMissing: true,
          forcesSyncCommit,
          isPessimistic: false,
          isTxnFile: false,
        },
        operation,
        context,
      );
      if (isFinal(answer)) {
        known.add(startTs, answer);
        return answer;
      }
      if (answer.state !== "alive") {
        const seen = `its primary is "${answer.state}"`;
        throw new TikvError("protocol", `Cannot tell how transaction ${startTs} ended: ${seen}`);
      }
      const leftMs = isGivenUp ? 0 : remainingMs(startTs, answer.ttlMs, now);
      const { asyncPrimary } = answer;
      if (asyncPrimary !== undefined && !forcesSyncCommit && leftMs <= 0) {
        const end = await recover(calls, asyncPrimary, { operation, context });
        if (end.state === "sync") {
          forcesSyncCommit = true;
          continue;
        }
        const keys = keysOf(asyncPrimary, primary);
        known.add(startTs, end, keys);
        const commitTs = end.state === "committed" ? end.commitTs : 0n;
        await calls.resolveKeys(keys, { startTs, commitTs, isTxnFile: false }, { operation, context });
        known.settle(startTs);
        return end;
      }
      const cause = new TikvError("timeout", `Transaction ${startTs} still runs`);
      await operation.backoffs.wait("txnLock", cause, { maxMs: Math.max(1, leftMs) });
    }
  }
}

/** Whatever becomes of other transactions' locks leaves no doubt about what the caller has written. */
async function apart<T>(operation: Operation, work: (part: Operation) => Promise<T>): Promise<T> {
  const part = operation.fork({ keepsDoubt: true });
  try {
    return await work(part);
  } finally {
    operation.join(part);
  }
}

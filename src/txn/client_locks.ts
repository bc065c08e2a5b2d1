// SPDX-License-Identifier: Apache-2.0

import { type LockInfo, LockInfoSchema } from "../../gen/kvrpcpb_pb.ts";
import { isMessage } from "@bufbuild/protobuf";
import type { WriteFate } from "../errors.ts";
import { type KeyInput, nameOf, toBytes } from "../bytes/utf8.ts";
import { CALL_NAMES, checkBoolean, checkCallOptions, checkText } from "../options.ts";
import { runOperation } from "../plan/session.ts";
import type { CallOptions, Timestamp } from "../types.ts";
import { fateOf } from "./locks/txn_status.ts";
import type { ResolvingLock } from "./locks/lock_registry.ts";
import { checkReadTs } from "./snapshot/snapshot_options.ts";
import type { SnapshotParts } from "./snapshot/snapshot_reads.ts";

/** Options of {@linkcode Locks.resolve}. */
export interface ResolveLocksOptions extends CallOptions {
  /**
   * For a read at this timestamp, which may go on before the locks are gone.
   *
   * @default {undefined} for a write, which may not
   */
  readonly readTs?: Timestamp | undefined;
  /**
   * Takes only these locks away, however large their transactions are. Without it all locks that a
   * large transaction has in the region go.
   *
   * @default {false}
   */
  readonly onlyThese?: boolean | undefined;
  /** What it is for, in the statistics of stores. */
  readonly requestSource?: string | undefined;
}

/** What came of {@linkcode Locks.resolve}. */
export interface ResolvedLocks {
  /**
   * Time in milliseconds until the first of the transactions that live can be over, or is looked at
   * again; 0 when what is left can be tried again at once.
   */
  readonly waitMs: number;
  /** When the transactions began whose locks a read may look past: `resolved_locks` of its requests. */
  readonly ignored: readonly Timestamp[];
  /** Those that it may look through, at what they wrote: `committed_locks` of its requests. */
  readonly readThrough: readonly Timestamp[];
}

/**
 * Locks of transactions, for tools and for libraries that read by requests of their own. The reads and
 * writes of the client do all of this by themselves.
 */
export interface Locks {
  /** Who waits for which lock at this moment, among the transactions and snapshots of this client. */
  waiting(): readonly ResolvingLock[];

  /**
   * Tells how a transaction ended. One that lives is waited for, within the time of the call. One that
   * its primary key has nothing of is rolled back by the question, so that the answer stays true: ask
   * about transactions that were seen, not about those that are about to write.
   *
   * @example What became of a transaction
   * ```ts
   * import assert from "node:assert/strict";
   *
   * const txn = await client.begin();
   * txn.put("greeting", "hello");
   * const { commitTs } = await txn.commit();
   * const fate = await client.locks.endOf({ startTs: txn.startTs, primary: "greeting" });
   * assert.deepEqual(fate, { state: "committed", commitTs });
   * ```
   */
  endOf(
    txn: { readonly startTs: Timestamp; readonly primary: KeyInput },
    options?: CallOptions,
  ): Promise<WriteFate>;

  /**
   * Finds out what became of the transactions of locks, which stores tell of in the errors of keys, and
   * takes the locks of those that are over away. Transactions that live are left alone: for them the
   * result has a time to wait.
   *
   * Costs a round trip for each transaction, more for async commits whose owner is gone, and for
   * writes one for each region besides.
   */
  resolve(locks: Iterable<LockInfo>, options?: ResolveLocksOptions): Promise<ResolvedLocks>;
}

/** The locks of a client. */
export function createLocks({ session, locks }: SnapshotParts, defaults: CallOptions): Locks {
  return {
    waiting: () => locks.waits.list(),

    async endOf({ startTs, primary }, options): Promise<WriteFate> {
      checkCallOptions(options);
      const checked = checkReadTs(startTs);
      if (checked === undefined) {
        throw new TypeError(`Cannot use undefined as "startTs": expected a timestamp`);
      }
      const txn = { startTs: checked, primary: toBytes(primary) };
      const start = { name: "locks.endOf", options, defaults };
      return await runOperation(
        session,
        start,
        async (operation) => fateOf(await locks.endOf(txn, operation)),
      );
    },

    async resolve(found, options = {}): Promise<ResolvedLocks> {
      checkCallOptions(options, RESOLVE_NAMES);
      const { readTs, onlyThese, requestSource, ...call } = options;
      const callerTs = checkReadTs(readTs);
      const source = checkText("requestSource", requestSource);
      const isLite = checkBoolean("onlyThese", onlyThese ?? false);
      const list = Array.from(found, checkLock);
      const start = { name: "locks.resolve", options: call, defaults };
      const { waitMs, ignored, readThrough } = await runOperation(
        session,
        start,
        (operation) =>
          locks.resolve(list, {
            // Nobody's commit is pushed behind a caller that has no snapshot.
            callerTs: callerTs ?? 0n,
            mode: callerTs === undefined ? "write" : "read",
            isLite,
            context: source === undefined ? undefined : { requestSource: source },
          }, operation),
      );
      return {
        waitMs,
        ignored: ignored as readonly Timestamp[],
        readThrough: readThrough as readonly Timestamp[],
      };
    },
  };
}

function checkLock(lock: unknown): LockInfo {
  if (isMessage(lock, LockInfoSchema)) return lock;
  throw new TypeError(`Cannot resolve ${nameOf(lock)}: expected a lock as stores tell of it`);
}

const RESOLVE_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "readTs", "onlyThese", "requestSource"]);

// SPDX-License-Identifier: Apache-2.0
// One call of the lock resolver: asks the primaries, follows the table, and takes locks away.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import { runParts } from "../../plan/run.ts";
import type { ContextFields } from "../../rpc/context.ts";
import { isPessimisticLock, isPrimaryLock, type LockGroup } from "./lock.ts";
import type { CleanRegions, Ending, LockCalls } from "./lock_calls.ts";
import { MAX_TS, queryOf } from "./lock_calls.ts";
import type { CleanUp } from "./lock_clean_up.ts";
import type { LockClock } from "./lock_clock.ts";
import { caseOf, LOCK_STEPS, remainingMs, resolveModeOf, verdictOf } from "./lock_decision.ts";
import { keysOf, recover } from "./lock_recovery.ts";
import { type FinalStatus, isFinal, type TxnStatus, type TxnStatusCache } from "./txn_status.ts";

/** What is to be done about locks, and for whom. */
export interface ResolveOptions {
  /**
   * When the caller reads, or began. 0 for a caller that has no snapshot: nobody's commit is
   * pushed behind it then.
   */
  readonly callerTs: bigint;
  /** A read may go on before the locks are gone; a write needs them gone. */
  readonly mode: "read" | "write";
  /** Takes only these locks away, however large their transaction is. */
  readonly isLite?: boolean | undefined;
  /** Takes all locks of a transaction that is over away that the region has, however small it is. */
  readonly resolvesRegion?: boolean | undefined;
  /** A read that cannot look through locks: it goes on when they are gone. */
  readonly needsCleanUp?: boolean | undefined;
  /** Takes all pessimistic locks of a transaction that is over away that the region has. */
  readonly releasesRegion?: boolean | undefined;
  /** What the caller's requests say of themselves. */
  readonly context?: ContextFields | undefined;
}

/** What came of it. */
export interface ResolveResult {
  /** Time until the first of the transactions that live has to be over; 0: try again at once. */
  readonly waitMs: number;
  /** Transactions whose locks the reader may look past. */
  readonly ignored: readonly bigint[];
  /** Transactions whose locks the reader may look through: they are committed. */
  readonly readThrough: readonly bigint[];
}

/** What calls of one resolver share. */
export interface ResolverParts {
  readonly calls: LockCalls;
  readonly clock: LockClock;
  readonly known: TxnStatusCache;
  readonly cleanUp: CleanUp;
  readonly concurrency: number;
}

/** What was found out about one transaction. */
interface Finding {
  readonly step: "wait" | "resolve" | "release";
  /** Absent when its primary is another key. */
  readonly status: TxnStatus | undefined;
  /** How long it lives at most, for `wait`. */
  readonly waitMs: number;
  /** The primary was asked just now, which has resolved its own lock. */
  readonly isFresh: boolean;
  /** All keys of an async commit, which are resolved together. */
  readonly allKeys: readonly Uint8Array[];
}

/** Resolves the locks that somebody met. */
export class LockSettlement {
  readonly #parts: ResolverParts;
  readonly #options: ResolveOptions;
  readonly #clean: CleanRegions = new Set();
  readonly #lite = new Map<bigint, { readonly ending: Ending; readonly keys: Uint8Array[] }>();
  readonly #ignored = new Set<bigint>();
  readonly #readThrough = new Set<bigint>();
  #waitMs: number | undefined;

  constructor(parts: ResolverParts, options: ResolveOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  async run(groups: readonly LockGroup[], operation: Operation): Promise<ResolveResult> {
    await runParts(groups, async (group, ofGroup) => {
      await this.#settle(group, ofGroup);
      return undefined;
    }, { operation, concurrency: this.#parts.concurrency });
    await runParts([...this.#lite.values()], async ({ ending, keys }, ofPart) => {
      await this.#cleanUpKeys(ending, keys, ofPart);
      return undefined;
    }, { operation, concurrency: this.#parts.concurrency });
    return {
      waitMs: this.#waitMs ?? 0,
      ignored: [...this.#ignored],
      readThrough: [...this.#readThrough],
    };
  }

  async #settle(group: LockGroup, operation: Operation): Promise<void> {
    const finding = await this.#find(group.first, operation);
    if (finding.step === "resolve") await this.#resolve(group, finding, operation);
    else if (finding.step === "release") await this.#release(group, finding, operation);
    this.#judge(group.first, finding);
    this.#parts.cleanUp.tell(operation.name, {
      lockTs: group.first.lockVersion,
      locks: group.locks.length,
      state: finding.status?.state ?? (finding.step === "wait" ? "missing" : "mismatch"),
      action: finding.step,
      waitMs: finding.step === "wait" ? finding.waitMs : 0,
    });
  }

  /** Asks until it is clear what has to be done. */
  async #find(lock: LockInfo, operation: Operation): Promise<Finding> {
    const { calls, clock, known } = this.#parts;
    const startTs = lock.lockVersion;
    const before = known.get(startTs);
    if (before !== undefined) {
      return over(lock, before.status, { isFresh: false, allKeys: before.lockedKeys });
    }
    let rollsBackIfMissing = false;
    let forcesSyncCommit = false;
    for (;;) {
      operation.deadline.throwIfOver("resolve a lock");
      const now = await clock.now(operation);
      // A store says 0 to a pessimistic transaction that writes: this lock must go in any case.
      const isUnconditional = lock.lockTtl === 0n;
      const answer = await calls.askPrimary(
        queryOf(lock, {
          callerTs: this.#options.callerTs,
          currentTs: isUnconditional ? MAX_TS : now,
          rollsBackIfMissing,
          forcesSyncCommit,
        }),
        operation,
        this.#options.context,
      );
      if (isFinal(answer)) known.add(startTs, answer);
      const ownMs = isUnconditional ? 0 : remainingMs(startTs, Number(lock.lockTtl), now);
      const primaryMs = answer.state === "alive" ? remainingMs(startTs, answer.ttlMs, now) : 0;
      const found = caseOf(lock, answer, {
        isLockExpired: ownMs <= 0,
        isPrimaryExpired: primaryMs <= 0,
        isSyncForced: forcesSyncCommit,
      });
      const step = LOCK_STEPS[found];
      const status = answer.state === "missing" || answer.state === "mismatch" ? undefined : answer;
      switch (step) {
        case "wait":
          // Heartbeats reach the primary only, so its time is the one that counts.
          return { step, status, waitMs: Math.max(1, primaryMs), isFresh: true, allKeys: [] };
        case "wait-own":
          return { step: "wait", status, waitMs: Math.max(1, ownMs), isFresh: true, allKeys: [] };
        case "resolve":
        case "release":
          return { step, status, waitMs: 0, isFresh: true, allKeys: [] };
        case "ask-again":
          await operation.backoffs.wait("txnNotFound", unfound(lock, found), { maxMs: Math.max(1, ownMs) });
          break;
        case "ask-to-roll-back":
          if (rollsBackIfMissing) throw unfound(lock, found);
          rollsBackIfMissing = true;
          break;
        case "recover": {
          if (answer.state !== "alive" || answer.asyncPrimary === undefined) throw unfound(lock, found);
          const { context } = this.#options;
          const end = await recover(calls, answer.asyncPrimary, { operation, context });
          if (end.state === "sync") {
            forcesSyncCommit = true;
            break;
          }
          const allKeys = keysOf(answer.asyncPrimary, lock.primaryLock);
          known.add(startTs, end, allKeys);
          return over(lock, end, { isFresh: false, allKeys });
        }
        case "fail":
          throw unfound(lock, found);
      }
    }
  }

  async #resolve({ first, locks }: LockGroup, finding: Finding, operation: Operation): Promise<void> {
    const ending = endingOf(first, finding.status);
    if (finding.allKeys.length > 0) return await this.#resolveAll(ending, finding, operation);
    const keys = [];
    const inRegions = [];
    const { isLite = false, resolvesRegion = false } = this.#options;
    for (const lock of locks) {
      const mode = resolvesRegion ? "region" : resolveModeOf(lock, isLite);
      if (mode === "region") inRegions.push(lock.key);
      else if (mode === "keys" || !finding.isFresh) keys.push(lock.key);
    }
    if (keys.length > 0) this.#addLite(ending, keys);
    if (inRegions.length === 0) return;
    const { calls, cleanUp } = this.#parts;
    await cleanUp.run({
      ...this.#howToCleanUp(operation),
      id: `region/${ending.startTs}`,
      keys: inRegions,
      work: async (ofWork, context, rest) => {
        const clean = this.#isDetached ? new Set<string>() : this.#clean;
        for (const key of rest) await calls.resolveRegion(key, ending, { operation: ofWork, context, clean });
      },
    });
  }

  /** All keys of an async commit: whoever meets another one would have to find out anew. */
  async #resolveAll(ending: Ending, { allKeys }: Finding, operation: Operation): Promise<void> {
    const { known } = this.#parts;
    await this.#cleanUpKeys(ending, allKeys, operation, () => known.settle(ending.startTs));
  }

  async #release({ first, locks }: LockGroup, finding: Finding, operation: Operation): Promise<void> {
    const { context, releasesRegion } = this.#options;
    if (finding.allKeys.length > 0 && finding.status !== undefined) {
      await this.#resolveAll(endingOf(first, finding.status), finding, operation);
    }
    const clean = releasesRegion === true ? this.#clean : undefined;
    for (const lock of locks) {
      if (finding.isFresh && isPrimaryLock(lock)) continue;
      await this.#parts.calls.release(lock, { operation, context, clean });
    }
  }

  #addLite(ending: Ending, keys: readonly Uint8Array[]): void {
    const one = this.#lite.get(ending.startTs);
    if (one === undefined) this.#lite.set(ending.startTs, { ending, keys: [...keys] });
    else one.keys.push(...keys);
  }

  async #cleanUpKeys(
    ending: Ending,
    keys: readonly Uint8Array[],
    operation: Operation,
    onDone?: () => void,
  ): Promise<void> {
    const { calls, cleanUp } = this.#parts;
    await cleanUp.run({
      ...this.#howToCleanUp(operation),
      id: `keys/${ending.startTs}`,
      keys,
      work: async (ofWork, context, rest) => {
        await calls.resolveKeys(rest, ending, { operation: ofWork, context });
        onDone?.();
      },
    });
  }

  /** Nobody waits for the locks to be gone. */
  get #isDetached(): boolean {
    return this.#options.mode === "read" && this.#options.needsCleanUp !== true;
  }

  #howToCleanUp(operation: Operation): {
    readonly operation: Operation;
    readonly isDetached: boolean;
    readonly context: ContextFields | undefined;
  } {
    return { operation, isDetached: this.#isDetached, context: this.#options.context };
  }

  #judge(lock: LockInfo, { step, status, waitMs }: Finding): void {
    const startTs = lock.lockVersion;
    if (this.#options.mode === "write") {
      if (step === "wait") this.#wait(waitMs);
      return;
    }
    const verdict = status === undefined
      ? step === "wait" ? "wait" : "retry"
      : verdictOf(status, this.#options.callerTs);
    if (verdict === "wait") this.#wait(waitMs);
    else if (verdict === "ignore") this.#ignored.add(startTs);
    else if (verdict === "read-through") this.#readThrough.add(startTs);
  }

  #wait(ms: number): void {
    this.#waitMs = Math.min(this.#waitMs ?? Infinity, ms);
  }
}

function over(
  lock: LockInfo,
  status: FinalStatus,
  facts: Pick<Finding, "isFresh" | "allKeys">,
): Finding {
  return { step: isPessimisticLock(lock) ? "release" : "resolve", status, waitMs: 0, ...facts };
}

function endingOf(lock: LockInfo, status: TxnStatus | undefined): Ending {
  const commitTs = status?.state === "committed" ? status.commitTs : 0n;
  return { startTs: lock.lockVersion, commitTs, isTxnFile: lock.isTxnFile };
}

function unfound(lock: LockInfo, found: string): TikvError {
  const message = `Cannot tell how transaction ${lock.lockVersion} ended: its primary is "${found}"`;
  return new TikvError("protocol", message);
}

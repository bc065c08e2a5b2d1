// SPDX-License-Identifier: Apache-2.0
// The requests that find out about locks and take them away. Sent twice they end as sent once, so
// a lost answer is no doubt of whoever met the lock: the request is sent again.

import type { LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import type { Environment } from "../../async/clock.ts";
import { Deadline } from "../../async/deadline.ts";
import { Operation } from "../../async/operation.ts";
import { SingleFlight } from "../../async/single_flight.ts";
import { TikvError } from "../../errors.ts";
import { type RequestSender, type Routing, sendItems, sendToKey } from "../../plan/dispatch.ts";
import { cutByCount } from "../../plan/shard.ts";
import type { Region } from "../../region/region.ts";
import type { RegionRequest } from "../../region/request.ts";
import { STALE } from "../../region/stale.ts";
import { type BodyOf, COMMANDS, type ReplyOf } from "../../rpc/commands.ts";
import type { ContextFields } from "../../rpc/context.ts";
import { keyErrorOf } from "./key_error.ts";
import { isPessimisticLock } from "./lock.ts";
import { answerOf, type PrimaryAnswer } from "./txn_status.ts";

/** What is asked of a primary. */
export interface StatusQuery {
  readonly primary: Uint8Array;
  readonly startTs: bigint;
  /** Whoever reads at this timestamp need not wait if the transaction can be committed later; 0: nobody. */
  readonly callerTs: bigint;
  /** Locks that are older than their time to live at this timestamp are rolled back. */
  readonly currentTs: bigint;
  /** Leaves a rollback where there is nothing of the transaction. */
  readonly rollsBackIfMissing: boolean;
  /** Takes an async commit for a plain one. */
  readonly forcesSyncCommit: boolean;
  readonly isPessimistic: boolean;
  readonly isTxnFile: boolean;
}

/** How a transaction ended, for the requests that make its locks so. */
export interface Ending {
  readonly startTs: bigint;
  /** 0: it was rolled back. */
  readonly commitTs: bigint;
  readonly isTxnFile: boolean;
}

/** Regions that have no lock of a transaction any more, by version. */
export type CleanRegions = Set<string>;

/** Options of {@linkcode LockCalls}. */
export interface LockCallsOptions {
  readonly routing: Routing;
  readonly settings: { readonly revealKeys: boolean; readonly environment: Environment };
}

/** Sends the requests; all keys are those of the caller. */
export class LockCalls {
  readonly routing: Routing;
  readonly #settings: LockCallsOptions["settings"];
  readonly #flights = new SingleFlight<string, ReplyOf<"KvResolveLock"> | typeof STALE>();

  constructor({ routing, settings }: LockCallsOptions) {
    this.#settings = settings;
    this.routing = { ...routing, sender: repeating(routing.sender) };
  }

  /** Asks the primary of a transaction how that is doing. */
  async askPrimary(
    query: StatusQuery,
    operation: Operation,
    context?: ContextFields,
  ): Promise<PrimaryAnswer> {
    const request = this.routing.sender.request(COMMANDS.KvCheckTxnStatus, {
      primaryKey: query.primary,
      lockTs: query.startTs,
      callerStartTs: query.callerTs,
      currentTs: query.currentTs,
      rollbackIfNotExist: query.rollsBackIfMissing,
      forceSyncCommit: query.forcesSyncCommit,
      resolvingPessimisticLock: query.isPessimistic,
      // Without it a secondary could be taken for the primary, and its rollback for that of all.
      verifyIsPrimary: true,
      isTxnFile: query.isTxnFile,
    }, { context });
    const reply = await sendToKey(this.routing, query.primary, { request, operation });
    const answer = answerOf(reply);
    if (answer !== undefined) return answer;
    throw this.#errorOf("KvCheckTxnStatus", reply.error);
  }

  /** Looks at keys of an async commit. One that has no lock of it is kept from ever having one. */
  async checkSecondaries(
    keys: readonly Uint8Array[],
    startTs: bigint,
    { operation, context, take }: {
      readonly operation: Operation;
      readonly context?: ContextFields | undefined;
      readonly take: (reply: ReplyOf<"KvCheckSecondaryLocks">, keys: readonly Uint8Array[]) => void;
    },
  ): Promise<void> {
    const { sender } = this.routing;
    await sendItems(this.routing, {
      items: keys,
      keyOf: same,
      cut: (items) => cutByCount(items, KEYS_PER_REQUEST),
      request: (items) => {
        const body: BodyOf<"KvCheckSecondaryLocks"> = { keys: [...items], startVersion: startTs };
        return sender.request(COMMANDS.KvCheckSecondaryLocks, body, { context });
      },
      take: (reply, items) => {
        if (reply.error !== undefined) throw this.#errorOf("KvCheckSecondaryLocks", reply.error);
        take(reply, items);
      },
    }, operation);
  }

  /** Makes the locks of keys what their transaction is. */
  async resolveKeys(
    keys: readonly Uint8Array[],
    ending: Ending,
    { operation, context }: { readonly operation: Operation; readonly context?: ContextFields | undefined },
  ): Promise<void> {
    const { sender } = this.routing;
    await sendItems(this.routing, {
      items: keys,
      keyOf: same,
      cut: (items) => cutByCount(items, KEYS_PER_REQUEST),
      request: (items) => sender.request(COMMANDS.KvResolveLock, resolveBody(ending, items), { context }),
      take: ({ error }) => {
        if (error !== undefined) throw this.#errorOf("KvResolveLock", error);
      },
    }, operation);
  }

  /**
   * Makes all locks of a transaction in the region of a key what the transaction is. Whoever asks
   * for the same at the same time shares one request.
   */
  async resolveRegion(
    key: Uint8Array,
    ending: Ending,
    { operation, context, clean }: {
      readonly operation: Operation;
      readonly context?: ContextFields | undefined;
      readonly clean: CleanRegions;
    },
  ): Promise<void> {
    const { regions, sender } = this.routing;
    for (;;) {
      operation.deadline.throwIfOver("resolve locks");
      const region = regions.peek(key) ?? await regions.locate(key, operation);
      const id = `${versionOf(region)}/${ending.startTs}`;
      if (clean.has(id)) return;
      const { environment } = this.#settings;
      const reply = await this.#flights.run(`${id}/${ending.commitTs}`, {
        deadline: operation.deadline,
        what: "resolve locks",
        // Those who share it have deadlines of their own, so it must not end with that of the first.
        run: (signal) => {
          const deadline = Deadline.after(environment.clock, FLIGHT_MS, signal);
          const flight = new Operation(operation.name, { deadline, environment });
          operation.attempts++;
          const request = sender.request(COMMANDS.KvResolveLock, resolveBody(ending, []), { context });
          return sender.send(region, request, flight);
        },
      });
      if (reply === STALE) continue;
      if (reply.error !== undefined) throw this.#errorOf("KvResolveLock", reply.error);
      clean.add(id);
      return;
    }
  }

  /** Takes a pessimistic lock away, or all of its transaction in the region. Newer ones stay. */
  async release(
    lock: LockInfo,
    { operation, context, clean }: {
      readonly operation: Operation;
      readonly context?: ContextFields | undefined;
      /** Absent: this lock only. */
      readonly clean?: CleanRegions | undefined;
    },
  ): Promise<void> {
    const { regions, sender } = this.routing;
    const request = sender.request(COMMANDS.KVPessimisticRollback, {
      startVersion: lock.lockVersion,
      forUpdateTs: lock.lockForUpdateTs === 0n ? MAX_TS : lock.lockForUpdateTs,
      keys: clean === undefined ? [lock.key] : [],
    }, { context });
    for (;;) {
      operation.deadline.throwIfOver("release a lock");
      const region = regions.peek(lock.key) ?? await regions.locate(lock.key, operation);
      const id = `${versionOf(region)}/${lock.lockVersion}/pessimistic`;
      if (clean?.has(id) === true) return;
      const reply = await sender.send(region, request, operation);
      if (reply === STALE) continue;
      const [error] = reply.errors;
      if (error !== undefined) throw this.#errorOf("KVPessimisticRollback", error);
      clean?.add(id);
      return;
    }
  }

  /** Ends many transactions in one region; false when the region has changed, so that it has to be scanned again. */
  async resolveTransactions(
    region: Region,
    endings: readonly Ending[],
    { operation, context }: { readonly operation: Operation; readonly context?: ContextFields | undefined },
  ): Promise<boolean> {
    const { sender } = this.routing;
    const request = sender.request(COMMANDS.KvResolveLock, {
      txnInfos: endings.map(({ startTs, commitTs, isTxnFile }) => ({
        txn: startTs,
        status: commitTs,
        isTxnFile,
      })),
    }, { context });
    const reply = await sender.send(region, request, operation);
    if (reply === STALE) return false;
    if (reply.error !== undefined) throw this.#errorOf("KvResolveLock", reply.error);
    return true;
  }

  #errorOf(method: string, error: Parameters<typeof keyErrorOf>[0] | undefined): TikvError {
    const { revealKeys } = this.#settings;
    if (error === undefined) return new TikvError("protocol", `Cannot use the reply to ${method}`);
    // None of these requests is one of the transaction that the caller has: whatever is wrong with the
    // other one is nothing that the caller's own could be retried for.
    const cause = keyErrorOf(error, { method, revealKeys });
    const message = `Cannot resolve a lock of another transaction: ${cause.message}`;
    return new TikvError(cause.kind === "unsupported" ? "unsupported" : "protocol", message, {
      cause,
      context: cause.context,
    });
  }
}

/** Tells what to ask the primary of a lock. */
export function queryOf(
  lock: LockInfo,
  facts: Pick<StatusQuery, "callerTs" | "currentTs" | "rollsBackIfMissing" | "forcesSyncCommit">,
): StatusQuery {
  return {
    primary: lock.primaryLock,
    startTs: lock.lockVersion,
    isPessimistic: isPessimisticLock(lock),
    isTxnFile: lock.isTxnFile,
    ...facts,
  };
}

/** From here on there are no timestamps of the cluster: they mean something of their own to stores. */
export const FIRST_RESERVED_TS = 0x7fff_ffff_ffff_ffffn;

/** The largest timestamp there can be: later than every time to live. */
export const MAX_TS = 0xffff_ffff_ffff_ffffn;

function resolveBody({ startTs, commitTs, isTxnFile }: Ending, keys: readonly Uint8Array[]): BodyOf<
  "KvResolveLock"
> {
  return { startVersion: startTs, commitVersion: commitTs, keys: [...keys], isTxnFile };
}

function versionOf({ id, confVer, version }: Region): string {
  return `${id}/${confVer}/${version}`;
}

/** Sends again what may have been executed: for requests that do no harm the second time. */
export function repeating(sender: RequestSender): RequestSender {
  return {
    request: (command, body, options) => sender.request(command, body, options),
    async send<I, O>(
      region: Region,
      request: RegionRequest<I, O>,
      operation: Operation,
    ): Promise<O | typeof STALE> {
      try {
        return await sender.send(region, request, operation);
      } catch (error) {
        if (!TikvError.is(error) || error.kind !== "undetermined") throw error;
        operation.isMaybeExecuted = false;
        await operation.backoffs.wait("regionMiss", error, { regionId: region.id });
        return STALE;
      }
    },
  };
}

function same<T>(value: T): T {
  return value;
}

/** Far below what a store takes in one request; a region has rarely as many of one transaction. */
const KEYS_PER_REQUEST = 4096;
/** As long as a lock that is in the way is waited for. */
const FLIGHT_MS = 20_000;

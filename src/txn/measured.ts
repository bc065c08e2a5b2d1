// SPDX-License-Identifier: Apache-2.0
// What a transaction is built on, with a note of what everything takes. Nothing of this is there for
// those who do not ask.

import type { Operation } from "../async/operation.ts";
import type { RequestSender } from "../plan/dispatch.ts";
import type { Region } from "../region/region.ts";
import { type RegionRequest, STALE } from "../region/send.ts";
import type { LockBreaker } from "./commit/committer_run.ts";
import type { TransactionDetails, TransactionStep } from "./transaction_details.ts";
import type { TxnSession } from "./txn_session.ts";

/** The session whose requests and timestamps are counted. */
export function measuredSession(session: TxnSession, details: TransactionDetails): TxnSession {
  const { routing, oracle, settings } = session;
  const now = (): number => settings.environment.clock.now();
  return {
    ...session,
    routing: { ...routing, sender: measuredSender(routing.sender, { details, now }) },
    oracle: {
      get latest() {
        return oracle.latest;
      },
      timestamp: (operation) =>
        measured({ details, session }, { step: "timestamp" }, () => oracle.timestamp(operation)),
    },
  };
}

/** The resolver of locks, with a note of what it is asked. */
export function measuredLocks(
  locks: LockBreaker,
  { session, details }: { readonly session: TxnSession; readonly details: TransactionDetails },
): LockBreaker {
  const { clock } = session.settings.environment;
  return {
    waits: locks.waits,
    breakLocks: async (found, caller, operation) => {
      const metAt = clock.now();
      try {
        return await locks.breakLocks(found, caller, operation);
      } finally {
        details.addLocks(found.length, clock.now() - metAt);
      }
    },
  };
}

/** What is measured, and the operation whose waits belong to it. */
export interface MeasuredStep {
  readonly step: TransactionStep;
  readonly operation?: Operation | undefined;
}

/** Does something that a caller waits for, and notes how long that took. */
export async function measured<T>(
  { details, session }: {
    readonly details: TransactionDetails | undefined;
    readonly session: Pick<TxnSession, "settings">;
  },
  { step, operation }: MeasuredStep,
  work: () => Promise<T>,
): Promise<T> {
  if (details === undefined) return await work();
  const { clock } = session.settings.environment;
  const beganAt = clock.now();
  try {
    return await work();
  } finally {
    details.addStep(step, clock.now() - beganAt);
    if (operation !== undefined) details.addWaits(operation);
  }
}

function measuredSender(
  sender: RequestSender,
  { details, now }: { readonly details: TransactionDetails; readonly now: () => number },
): RequestSender {
  return {
    request: (command, body, options) => sender.request(command, body, options),
    async send<I, O>(
      region: Region,
      request: RegionRequest<I, O>,
      operation: Operation,
    ): Promise<O | typeof STALE> {
      const end = details.beginRequest(request.command.name, {
        regionId: region.id,
        storeId: region.leader.store.id,
        now,
      });
      let reply: O | typeof STALE = STALE;
      try {
        reply = await sender.send(region, request, operation);
        return reply;
      } finally {
        end(reply === STALE ? undefined : reply as object);
      }
    },
  };
}

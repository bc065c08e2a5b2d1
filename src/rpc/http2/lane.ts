// SPDX-License-Identifier: Apache-2.0

import type { Clock, Random } from "../../async/clock.ts";
import { TikvError } from "../../errors.ts";
import type { Observer } from "../../observe/events.ts";
import type { ConnectionId } from "../transport.ts";
import { ConnectionLost } from "./connection_lost.ts";
import type { SessionOwner, SessionPlan } from "./session.ts";
import { Session } from "./session.ts";

/** Waits for a connection on which it may open a stream. */
export interface Waiter {
  /** Opens its stream; false when the session did not take it and another has to be found. */
  start(session: Session): boolean;
  /** There will be no connection. */
  refuse(loss: ConnectionLost, connection: ConnectionId | undefined): void;
}

/** What a lane is made of. */
export interface LanePlan {
  readonly address: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer: Observer;
  readonly maxWaitingCalls: number;
  /** Everything a session needs, with a version of its own. */
  readonly sessionPlan: () => SessionPlan;
}

/**
 * One of the connections to an address: the session in use, the older ones that drain, and the
 * calls that wait.
 *
 * Any number of callers share one dial. When it fails they all get its error at once. Failed dials
 * are spaced out: after the first the next call dials at once, then the pause grows from 100 ms to
 * 3 s. A call that comes during the pause fails with the error of the last dial instead of waiting:
 * its caller knows better than we whether to wait or to ask another store.
 */
export class Lane implements SessionOwner {
  readonly #plan: LanePlan;
  /** In the order in which they came. */
  readonly #waiting: Set<Waiter> = new Set();
  readonly #sessions: Set<Session> = new Set();
  #current: Session | undefined;
  #failures = 0;
  #retryAt = 0;
  #lastFailure: { readonly loss: ConnectionLost; readonly id: ConnectionId } | undefined;

  constructor(plan: LanePlan) {
    this.#plan = plan;
  }

  get sessions(): Iterable<Session> {
    return this.#sessions;
  }

  get waitingCalls(): number {
    return this.#waiting.size;
  }

  /** Nothing is here that would be missed. */
  isDisposable(): boolean {
    return this.#sessions.size === 0 && this.#waiting.size === 0 && this.#failures === 0;
  }

  /** Starts the call on the session in use, or as soon as there is one. */
  submit(waiter: Waiter): void {
    const session = this.#current;
    if (session !== undefined && this.#waiting.size === 0 && session.canOpen() && waiter.start(session)) {
      return;
    }
    if (this.#waiting.size >= this.#plan.maxWaitingCalls) {
      const error = new TikvError(
        "overloaded",
        `Cannot send the request: ${this.#waiting.size} others wait for the connection to it`,
      );
      waiter.refuse(new ConnectionLost(error.message, { cause: error }), undefined);
      return;
    }
    if (this.#current !== undefined) {
      this.#waiting.add(waiter);
    } else if (this.#lastFailure !== undefined && this.#now() < this.#retryAt) {
      waiter.refuse(this.#lastFailure.loss, this.#lastFailure.id);
    } else {
      this.#waiting.add(waiter);
      this.#dial();
    }
  }

  /** The call does not wait any more. */
  leave(waiter: Waiter): void {
    this.#waiting.delete(waiter);
  }

  /** Closes the sessions up to a version. Calls that still wait get a new one. */
  closeSessions(version: number, loss: ConnectionLost): void {
    for (const session of [...this.#sessions]) if (session.id.version <= version) session.close(loss);
  }

  /** Refuses what waits and closes everything. */
  close(loss: ConnectionLost): void {
    this.#refuseAll(loss, undefined);
    this.closeSessions(Infinity, loss);
  }

  sessionHasRoom(session: Session): void {
    if (session !== this.#current) return;
    for (const waiter of this.#waiting) {
      if (!session.canOpen()) return;
      this.#waiting.delete(waiter);
      if (waiter.start(session)) continue;
      this.#waiting.add(waiter);
      if (this.#current === undefined) this.#dial();
      return;
    }
  }

  sessionMoved(session: Session, reason: string | undefined): void {
    const { state } = session;
    if (state === "connecting") return;
    this.#plan.observer({ type: "connection", address: this.#plan.address, state, reason });
    if (state === "ready") {
      this.#failures = 0;
      this.#lastFailure = undefined;
      this.sessionHasRoom(session);
      return;
    }
    if (state === "closed") this.#sessions.delete(session);
    if (session !== this.#current) return;
    this.#current = undefined;
    if (session.loss !== undefined && !session.wasReady) this.#dialFailed(session, session.loss);
    else if (this.#waiting.size > 0) this.#dial();
  }

  #dial(): void {
    const session = new Session(this.#plan.sessionPlan(), this);
    this.#current = session;
    this.#sessions.add(session);
    this.#plan.observer({ type: "connection", address: this.#plan.address, state: "connecting" });
  }

  #dialFailed(session: Session, loss: ConnectionLost): void {
    this.#failures++;
    this.#lastFailure = { loss, id: session.id };
    this.#retryAt = this.#now() + pauseMs(this.#failures, this.#plan.random);
    this.#refuseAll(loss, session.id);
  }

  #refuseAll(loss: ConnectionLost, connection: ConnectionId | undefined): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) waiter.refuse(loss, connection);
  }

  #now(): number {
    return this.#plan.clock.now();
  }
}

/** The pause before the next dial: none after the first failure, then growing, ± 20 %. */
export function pauseMs(failures: number, random: Random): number {
  if (failures <= 1) return 0;
  const base = Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * PAUSE_FACTOR ** (failures - 2));
  return base * (0.8 + 0.4 * random.next());
}

// The constants of client-go (RPC-004), except that the first retry does not wait.
const FIRST_PAUSE_MS = 100;
const PAUSE_FACTOR = 1.6;
const MAX_PAUSE_MS = 3000;

// SPDX-License-Identifier: Apache-2.0

import http2 from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import type { Clock, Timer } from "../../async/clock.ts";
import type { ConnectionId } from "../transport.ts";
import { ConnectionLost } from "./connection_lost.ts";
import type { Connected, Dialing, DialPlan } from "./dial.ts";
import { dial } from "./dial.ts";

/** Time limits of a connection. */
export interface SessionLimits {
  readonly connectTimeoutMs: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  readonly idleCloseMs: number;
}

/** What a session is made of. */
export interface SessionPlan extends DialPlan {
  readonly id: ConnectionId;
  readonly limits: SessionLimits;
}

/** A call that has a stream on a session. */
export interface SessionCall {
  /** The connection is gone; nothing comes from the stream any more. */
  lost(loss: ConnectionLost): void;
  /** The peer takes more on new streams than on this one. */
  windowGrew(): void;
}

/** Hears what happens to a session. */
export interface SessionOwner {
  /** The session changed its state. */
  sessionMoved(session: Session, reason: string | undefined): void;
  /** A stream can be opened where before there was no room, or no certainty. */
  sessionHasRoom(session: Session): void;
}

/** Dialling. Ends by SETTINGS of the peer, by a failure or by the connect timeout. */
interface Connecting {
  readonly t: "connecting";
  readonly dialing: Dialing;
  readonly timer: Timer;
}

/** Takes streams. Ends by GOAWAY or idleness (draining), or by a loss. */
interface Ready {
  readonly t: "ready";
  readonly h2: ClientHttp2Session;
  readonly socket: Socket;
}

/** Takes no new streams, those that are open go on. Ends with the last of them, or by a loss. */
interface Draining {
  readonly t: "draining";
  readonly h2: ClientHttp2Session;
  readonly socket: Socket;
}

/** Over, for good. */
interface Closed {
  readonly t: "closed";
  readonly loss: ConnectionLost;
}

type State = Connecting | Ready | Draining | Closed;

/** The names of the states. */
export type SessionState = State["t"];

/** From each state, where a session may go. */
export const SESSION_MOVES: Readonly<Record<SessionState, readonly SessionState[]>> = {
  connecting: ["ready", "closed"],
  ready: ["draining", "closed"],
  draining: ["closed"],
  closed: [],
};

/** One HTTP/2 connection, from the dial to its end. */
export class Session {
  readonly id: ConnectionId;
  readonly #plan: SessionPlan;
  readonly #owner: SessionOwner;
  readonly #clock: Clock;
  readonly #calls: Set<SessionCall> = new Set();
  #state: State;
  /** Negative before the SETTINGS. */
  #maxStreams = -1;
  /** Bytes that the peer takes on a new stream before it makes room. */
  #windowBytes = Infinity;
  /** Streams above it were never seen by the peer (RFC 9113 6.8). */
  #lastStreamId = Infinity;
  #lastReadAt = 0;
  #lastUsedAt = 0;
  /** Waits for an answer to a ping before the next stream. */
  #isVerifying = false;
  #pingTimer: Timer | undefined;
  #wakeTimer: Timer | undefined;
  #wakeAt = Infinity;

  /** Starts to dial; `owner` hears how it goes, never before the constructor has returned. */
  constructor(plan: SessionPlan, owner: SessionOwner) {
    this.id = plan.id;
    this.#plan = plan;
    this.#owner = owner;
    this.#clock = plan.clock;
    this.#state = this.#connecting();
  }

  get state(): SessionState {
    return this.#state.t;
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#calls.size;
  }

  /** True from the peer's SETTINGS on. */
  get wasReady(): boolean {
    return this.#maxStreams >= 0;
  }

  /** Why the session ended; undefined before. */
  get loss(): ConnectionLost | undefined {
    return this.#state.t === "closed" ? this.#state.loss : undefined;
  }

  /**
   * Whether a stream may be opened. On a connection that was silent for long it starts a ping
   * instead and says no; the owner hears of the room when the answer is there. So the first call
   * after a pause does not fail on a connection that died meanwhile.
   */
  canOpen(): boolean {
    if (this.#state.t !== "ready" || this.#isVerifying) return false;
    if (this.#calls.size > 0) return this.#calls.size < this.#maxStreams;
    if (this.#maxStreams <= 0) return false;
    if (this.#clock.now() - this.#lastReadAt < this.#plan.limits.pingIntervalMs) return true;
    this.#isVerifying = true;
    this.#ping(this.#state.h2);
    return false;
  }

  /** Opens a stream after `canOpen()`; undefined when the session turned out to be ending. */
  open(call: SessionCall, headers: OutgoingHttpHeaders): ClientHttp2Stream | undefined {
    if (this.#state.t !== "ready") return undefined;
    let stream: ClientHttp2Stream;
    try {
      stream = this.#state.h2.request(headers);
    } catch {
      // The runtime knew of the end, or of a GOAWAY, before its event came.
      this.drain("the connection was about to close");
      return undefined;
    }
    this.#calls.add(call);
    this.#wakeWithin(this.#plan.limits.pingIntervalMs);
    return stream;
  }

  /** The stream of the call has closed. */
  release(call: SessionCall): void {
    const wasFull = this.#calls.size >= this.#maxStreams;
    if (!this.#calls.delete(call)) return;
    if (this.#calls.size === 0) {
      this.#lastUsedAt = this.#clock.now();
      if (this.#state.t === "draining") return this.close(drained());
      this.#wakeWithin(this.#plan.limits.idleCloseMs);
    }
    if (wasFull && this.#state.t === "ready") this.#owner.sessionHasRoom(this);
  }

  /** Something arrived on a stream. */
  noteRead(): void {
    this.#lastReadAt = this.#clock.now();
  }

  /** True when the peer said that it never looked at this stream. */
  isBeyondGoaway(streamId: number | undefined): boolean {
    return streamId === undefined || streamId > this.#lastStreamId;
  }

  /** False once the connection is known to be unusable, also before its end was reported. */
  isIntact(): boolean {
    const state = this.#state;
    return (state.t === "ready" || state.t === "draining") && !state.h2.destroyed && !state.socket.destroyed;
  }

  /** Takes no more streams and closes after the last of those that are open. */
  drain(reason: string): void {
    if (this.#state.t !== "ready") return;
    const { h2, socket } = this.#state;
    this.#move({ t: "draining", h2, socket }, reason);
    if (this.#calls.size === 0) this.close(drained());
  }

  /** Ends the connection and every call on it. */
  close(loss: ConnectionLost): void {
    const state = this.#state;
    if (state.t === "closed") return;
    this.#wakeTimer?.cancel();
    this.#pingTimer?.cancel();
    // Moved first: Bun reports the end from within destroy().
    this.#move({ t: "closed", loss }, loss.message);
    if (state.t === "connecting") {
      state.timer.cancel();
      state.dialing.cancel();
      return;
    }
    // Not from within an event of the session, there it takes Deno's process down.
    this.#clock.timer(0, () => {
      // Without an error the streams of Node and Deno just end, and their callers wait for ever.
      state.h2.destroy(loss, http2.constants.NGHTTP2_CANCEL);
      state.socket.destroy();
      for (const call of [...this.#calls]) call.lost(loss);
      this.#calls.clear();
    });
  }

  #connecting(): Connecting {
    const { connectTimeoutMs } = this.#plan.limits;
    const dialing = dial(this.#plan, {
      connected: (connected) => this.#connected(connected),
      lost: (loss) => this.close(loss),
    });
    const timer = this.#clock.timer(connectTimeoutMs, () => {
      this.close(new ConnectionLost(`${dialing.describeStage()} within ${connectTimeoutMs} ms`));
    });
    return { t: "connecting", dialing, timer };
  }

  #connected({ h2, socket }: Connected): void {
    if (this.#state.t !== "connecting") return;
    this.#state.timer.cancel();
    this.#takeSettings(h2);
    h2.on("remoteSettings", () => this.#takeSettings(h2));
    h2.on("goaway", (code: number, lastStreamId: number) => {
      this.#lastStreamId = Math.min(this.#lastStreamId, lastStreamId);
      this.drain(`the peer sent GOAWAY with code ${code}`);
    });
    this.#lastReadAt = this.#lastUsedAt = this.#clock.now();
    this.#move({ t: "ready", h2, socket }, undefined);
    this.#wakeWithin(this.#plan.limits.idleCloseMs);
  }

  #takeSettings(h2: ClientHttp2Session): void {
    const hadRoom = this.#calls.size < this.#maxStreams;
    this.#maxStreams = h2.remoteSettings.maxConcurrentStreams ?? Infinity;
    const before = this.#windowBytes;
    this.#windowBytes = h2.remoteSettings.initialWindowSize ?? Infinity;
    if (this.#windowBytes > before) { for (const call of [...this.#calls]) call.windowGrew(); }
    if (!hadRoom && this.#state.t === "ready") this.#owner.sessionHasRoom(this);
  }

  /** The one function that moves. */
  #move(next: State, reason: string | undefined): void {
    const from = this.#state.t;
    if (!SESSION_MOVES[from].includes(next.t)) throw new Error(`Cannot move from ${from} to ${next.t}`);
    this.#state = next;
    this.#owner.sessionMoved(this, reason);
  }

  /**
   * One timer serves the pings and the idle close. It is not moved on every call: when it fires
   * it looks how long the silence was, and sleeps again for the rest.
   */
  #wakeWithin(ms: number): void {
    const at = this.#clock.now() + ms;
    if (this.#wakeAt <= at || this.#state.t === "closed") return;
    this.#wakeTimer?.cancel();
    this.#wakeAt = at;
    this.#wakeTimer = this.#clock.timer(ms, () => this.#wake(), { background: true });
  }

  #wake(): void {
    this.#wakeAt = Infinity;
    const state = this.#state;
    if (state.t !== "ready" && state.t !== "draining") return;
    const { pingIntervalMs, idleCloseMs } = this.#plan.limits;
    const now = this.#clock.now();
    if (this.#calls.size > 0) {
      const left = this.#lastReadAt + pingIntervalMs - now;
      if (left <= 0) this.#ping(state.h2);
      this.#wakeWithin(left > 0 ? left : pingIntervalMs);
      return;
    }
    const left = this.#lastUsedAt + idleCloseMs - now;
    // A call that waits for the ping is about to use it.
    if (this.#isVerifying) return this.#wakeWithin(pingIntervalMs);
    if (left > 0) return this.#wakeWithin(left);
    this.drain(`it was idle for ${idleCloseMs} ms`);
  }

  #ping(h2: ClientHttp2Session): void {
    if (this.#pingTimer !== undefined) return;
    const { pingTimeoutMs } = this.#plan.limits;
    const expire = (): void => {
      this.close(new ConnectionLost(`the peer did not answer a ping within ${pingTimeoutMs} ms`));
    };
    // When the program kept the event loop busy for that long, the answer may lie in the socket
    // unread: timers fire before input is read, so the verdict waits for one more turn.
    this.#pingTimer = this.#clock.timer(pingTimeoutMs, () => {
      this.#pingTimer = this.#clock.timer(GRACE_MS, expire, { background: true });
    }, { background: true });
    try {
      h2.ping((error) => this.#pinged(error));
    } catch (error) {
      this.close(new ConnectionLost("the connection was about to close", { cause: error }));
    }
  }

  #pinged(error: Error | null): void {
    // An error means that the session is being destroyed; its own events tell why.
    if (error !== null && error !== undefined) return;
    this.#pingTimer?.cancel();
    this.#pingTimer = undefined;
    this.#lastReadAt = this.#clock.now();
    if (!this.#isVerifying) return;
    this.#isVerifying = false;
    if (this.#state.t === "ready") this.#owner.sessionHasRoom(this);
  }
}

/** Enough for a turn of the event loop. */
const GRACE_MS = 5;

function drained(): ConnectionLost {
  return new ConnectionLost("the connection was closed after its last call");
}

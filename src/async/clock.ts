// SPDX-License-Identifier: Apache-2.0
// The only file of the library that touches the runtime's clock, timers and random source.

/** A timer that has not fired yet. */
export interface Timer {
  /** Prevents the callback; does nothing when it has run or was cancelled. */
  cancel(): void;
}

/** Where time comes from. Simulations and tests pass their own. */
export interface Clock {
  /** Milliseconds on a clock that never goes back; only differences mean anything. */
  now(): number;
  /** Milliseconds since 1970, for what the protocol sends as wall time. Never used for decisions. */
  wallNow(): number;
  /**
   * Runs the callback once after `ms`. A `background` timer does not keep the process alive
   * where the runtime can tell the two apart.
   */
  timer(ms: number, callback: () => void, options?: { readonly background?: boolean }): Timer;
  /**
   * Runs the callback in a later turn of the runtime's loop, after timers and sockets that are due. A
   * clock that stands still unless it is moved leaves it out.
   */
  turn?(callback: () => void): void;
}

/** Where chance comes from. */
export interface Random {
  /** A number in `[0, 1)`. */
  next(): number;
}

/** Everything from outside that the library depends on besides the network. */
export interface Environment {
  /** Where time comes from. */
  readonly clock: Clock;
  /** Where chance comes from. */
  readonly random: Random;
}

/** The largest delay that a runtime's timer takes; a longer one would fire at once. */
const MAX_DELAY_MS = 2_147_483_647;

function systemTimer(ms: number, callback: () => void, options?: { readonly background?: boolean }): Timer {
  if (ms > MAX_DELAY_MS) {
    // Waits in steps: the part that does not fit is waited for after the first.
    let rest: Timer | undefined;
    const first = systemTimer(MAX_DELAY_MS, () => {
      rest = systemTimer(ms - MAX_DELAY_MS, callback, options);
    }, options);
    return {
      cancel(): void {
        first.cancel();
        rest?.cancel();
      },
    };
  }
  const handle: unknown = setTimeout(callback, Math.max(0, ms));
  if (options?.background === true && isUnrefable(handle)) handle.unref();
  return {
    cancel(): void {
      clearTimeout(handle as Parameters<typeof clearTimeout>[0]);
    },
  };
}

function isUnrefable(handle: unknown): handle is { unref(): void } {
  return typeof handle === "object" && handle !== null && "unref" in handle &&
    typeof handle.unref === "function";
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  timer: systemTimer,
  turn: (callback) => {
    setImmediate(callback);
  },
};

/** The runtime's own random source. */
export const systemRandom: Random = { next: () => Math.random() };

/** What a client uses unless told otherwise. */
export const systemEnvironment: Environment = { clock: systemClock, random: systemRandom };

/** Resolves when all that is ready to go on has done so: in a turn of the runtime's loop of its own. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

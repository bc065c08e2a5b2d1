// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import type { Environment, Timer } from "../../src/async/clock.ts";
import { systemEnvironment } from "../../src/async/clock.ts";

/** An environment that knows which timers wait. */
export interface CountingEnvironment extends Environment {
  /** Where each timer that waits was made. */
  pendingTimers(): readonly string[];
}

/** The system's clock and chance, with every timer counted until it fires or is cancelled. */
export function countingEnvironment(base: Environment = systemEnvironment): CountingEnvironment {
  const pending = new Map<number, string>();
  let next = 0;
  return {
    random: base.random,
    clock: {
      now: () => base.clock.now(),
      wallNow: () => base.clock.wallNow(),
      timer(ms, callback, options): Timer {
        const id = next++;
        pending.set(id, new Error(`timer of ${ms} ms`).stack ?? "");
        const timer = base.clock.timer(ms, () => {
          pending.delete(id);
          callback();
        }, options);
        return {
          cancel(): void {
            pending.delete(id);
            timer.cancel();
          },
        };
      },
    },
    pendingTimers: () => [...pending.values()],
  };
}

/** Fails when a timer is left, and tells where it was made. Those that are due get a moment to fire. */
export async function assertNoTimers(environment: CountingEnvironment): Promise<void> {
  for (let turn = 0; turn < 20 && environment.pendingTimers().length > 0; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const left = environment.pendingTimers();
  assert.equal(left.length, 0, `${left.length} timers are left:\n${left.join("\n")}`);
}

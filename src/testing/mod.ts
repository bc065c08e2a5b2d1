// SPDX-License-Identifier: Apache-2.0

/**
 * Time and chance that a test controls: a clock that moves when it is told to, and random numbers
 * that depend on a seed only. Pass them to the client or the playground as their environment.
 *
 * @example A timer fires when the clock is moved
 * ```ts
 * import { ManualClock } from "@tikv/client/testing";
 * import assert from "node:assert/strict";
 *
 * const clock = new ManualClock();
 * let hasFired = false;
 * clock.timer(1_000, () => hasFired = true);
 * await clock.advance(999);
 * assert.equal(hasFired, false);
 * await clock.advance(1);
 * assert.equal(hasFired, true);
 * ```
 *
 * @module
 */

export { ManualClock } from "./manual_clock.ts";
export { SeededRandom } from "./seeded_random.ts";
export type { Clock, Environment, Random, Timer } from "../async/clock.ts";

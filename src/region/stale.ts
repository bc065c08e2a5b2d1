// SPDX-License-Identifier: Apache-2.0

/**
 * Stands for "the region has moved on": look it up again and send again. Keys that were in it may
 * be in several regions now.
 */
export const STALE: unique symbol = Symbol("stale region");

/** The type of {@linkcode STALE}. */
export type Stale = typeof STALE;

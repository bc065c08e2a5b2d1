// SPDX-License-Identifier: Apache-2.0

/** A timestamp of the cluster: milliseconds since 1970 shifted left by 18, plus a counter. */
export type Timestamp = bigint & { readonly __brand: "Timestamp" };

/** Identifier of a region. */
export type RegionId = bigint;

/** Identifier of a store. */
export type StoreId = bigint;

/** Makes a {@linkcode Timestamp} of its parts. */
export function timestampOf(physicalMs: bigint, logical: bigint): Timestamp {
  return ((physicalMs << 18n) + logical) as Timestamp;
}

/** The wall-clock part of a timestamp, in milliseconds since 1970. */
export function physicalMsOf(timestamp: Timestamp): number {
  return Number(timestamp >> 18n);
}

/** The counter part of a timestamp. */
export function logicalOf(timestamp: Timestamp): number {
  return Number(timestamp & 0x3ffffn);
}

/** Options that every call takes. */
export interface CallOptions {
  /** Ends the call when aborted; the call then rejects with the signal's own reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Time for the whole call with all its retries, in milliseconds.
   *
   * @default {20000} the budget that client-go gives a raw call
   */
  readonly timeoutMs?: number | undefined;
}

/** A key with its value. */
export interface Entry<K = Uint8Array, V = Uint8Array> {
  /** The key. */
  readonly key: K;
  /** The value of the key. */
  readonly value: V;
}

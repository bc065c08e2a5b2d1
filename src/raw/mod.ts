// SPDX-License-Identifier: Apache-2.0

/**
 * Raw data alone: the types of `client.raw`, for programs that use nothing else. A client is made
 * with `connect` of the main entry.
 *
 * @example A function over raw data
 * ```ts
 * import assert from "node:assert/strict";
 * import type { Raw } from "@tikv/client/raw";
 *
 * async function rename(raw: Raw, from: string, to: string): Promise<boolean> {
 *   const value = await raw.get(from);
 *   if (value === undefined) return false;
 *   await raw.put(to, value);
 *   await raw.delete(from);
 *   return true;
 * }
 *
 * await client.raw.put("a", "1");
 * assert.equal(await rename(client.raw, "a", "b"), true);
 * assert.deepEqual(await client.raw.get("b"), new TextEncoder().encode("1"));
 * ```
 *
 * @module
 */

export type {
  AtomicRaw,
  CoprocessorRange,
  CoprocessorReply,
  CoprocessorRequest,
  PrefixIn,
  PutEntry,
  Raw,
  RawView,
  Swap,
  SwapResult,
} from "./api.ts";
export type {
  ByteKeys,
  ByteValues,
  KeyIn,
  KeyOut,
  RawRange,
  ValueIn,
  ValueOut,
  ViewCodecs,
} from "../codec/coding.ts";
export type { BatchScanOptions, PutOptions } from "./options.ts";
export type { RawChecksum } from "./range.ts";
export type { ViewOptions } from "./scope.ts";
export type { ScanOptions } from "../plan/scan_options.ts";
export type { ScanResult } from "../plan/scan_result.ts";

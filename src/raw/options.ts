// SPDX-License-Identifier: Apache-2.0

import { CALL_NAMES, checkBoolean, checkCallOptions, checkNames, checkNumber } from "../options.ts";
import { PAGE_RULE } from "../plan/scan_options.ts";
import type { CallOptions } from "../types.ts";

/** Options of a call that writes values. */
export interface PutOptions extends CallOptions {
  /**
   * After how many seconds the store drops the entry. 0 and `Infinity` mean never. The stores must
   * keep a TTL: API version `"v1ttl"` or 2, otherwise the call fails with `unsupported`.
   *
   * @default {0} as in every TiKV client
   */
  readonly ttlSeconds?: number | undefined;
}

/** Options of a scan of several ranges. */
export interface BatchScanOptions extends CallOptions {
  /** Entries of each range. */
  readonly eachLimit: number;
  /**
   * From the end of each range to its start.
   *
   * @default {false}
   */
  readonly reverse?: boolean | undefined;
}

/** The TTL of a write as it is sent: 0 for never. */
export function checkTtl(ttlSeconds: number | undefined): bigint {
  if (ttlSeconds === undefined || ttlSeconds === Infinity) return 0n;
  return BigInt(checkNumber("ttlSeconds", ttlSeconds, TTL_RULE));
}

/** The options of a put, checked. */
export function checkPutOptions(options: PutOptions | undefined): bigint {
  if (options === undefined) return 0n;
  checkCallOptions(options, PUT_NAMES);
  return checkTtl(options.ttlSeconds);
}

/** The options of a scan of several ranges, checked and completed. */
export function checkBatchScanOptions(
  options: BatchScanOptions,
): { readonly eachLimit: number; readonly isReverse: boolean } {
  checkNames("the options of the scan", options, BATCH_SCAN_NAMES);
  return {
    eachLimit: checkNumber("eachLimit", options.eachLimit, PAGE_RULE),
    isReverse: checkBoolean("reverse", options.reverse ?? false),
  };
}

const TTL_RULE = { min: 0, max: Number.MAX_SAFE_INTEGER, isWhole: true };

const PUT_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "ttlSeconds"]);
const BATCH_SCAN_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "eachLimit", "reverse"]);

// SPDX-License-Identifier: Apache-2.0

import { checkBoolean, checkNames, checkNumber, checkSignal, checkTimeout } from "../options.ts";
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

/** Options of a scan. */
export interface ScanOptions extends CallOptions {
  /**
   * Entries in all.
   *
   * @default {Infinity} the loop that reads them ends the scan
   */
  readonly limit?: number | undefined;
  /**
   * From the end of the range to its start. The range itself is written the same way.
   *
   * @default {false}
   */
  readonly reverse?: boolean | undefined;
  /**
   * Entries of one request, and so of one page.
   *
   * @default {undefined} found by itself: about `scanPageBytes` a page
   */
  readonly batchSize?: number | undefined;
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

/** Refuses call options that are not known. */
export function checkCallOptions(options: CallOptions | undefined): void {
  if (options !== undefined) checkNames("the options of the call", options, CALL_NAMES);
}

/** The TTL of a write as it is sent: 0 for never. */
export function checkTtl(ttlSeconds: number | undefined): bigint {
  if (ttlSeconds === undefined || ttlSeconds === Infinity) return 0n;
  return BigInt(checkNumber("ttlSeconds", ttlSeconds, TTL_RULE));
}

/** The options of a put, checked. */
export function checkPutOptions(options: PutOptions | undefined): bigint {
  if (options === undefined) return 0n;
  checkNames("the options of the call", options, PUT_NAMES);
  return checkTtl(options.ttlSeconds);
}

/** The options of a scan, checked and completed. */
export function checkScanOptions(options: ScanOptions | undefined): {
  readonly limit: number;
  readonly isReverse: boolean;
  readonly batchSize: number | undefined;
} {
  if (options !== undefined) {
    checkNames("the options of the scan", options, SCAN_NAMES);
    // At once, and not first when the scan is read.
    checkSignal(options.signal);
    if (options.timeoutMs !== undefined) checkTimeout("timeoutMs", options.timeoutMs);
  }
  const { limit = Infinity, reverse = false, batchSize } = options ?? {};
  return {
    limit: limit === Infinity ? limit : checkNumber("limit", limit, COUNT_RULE),
    isReverse: checkBoolean("reverse", reverse),
    batchSize: batchSize === undefined ? undefined : checkNumber("batchSize", batchSize, PAGE_RULE),
  };
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
const COUNT_RULE = { min: 1, max: Number.MAX_SAFE_INTEGER, isWhole: true };
// The wire has 32 bits for it.
const PAGE_RULE = { min: 1, max: 0xffff_ffff, isWhole: true };

const CALL_NAMES: ReadonlySet<string> = new Set(["signal", "timeoutMs"]);
const PUT_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "ttlSeconds"]);
const SCAN_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "limit", "reverse", "batchSize"]);
const BATCH_SCAN_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "eachLimit", "reverse"]);

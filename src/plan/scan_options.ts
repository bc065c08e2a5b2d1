// SPDX-License-Identifier: Apache-2.0

import { CALL_NAMES, checkBoolean, checkCallEnd, checkNames, checkNumber } from "../options.ts";
import type { CallOptions } from "../types.ts";

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

/** A scan, checked and completed. */
export interface CheckedScan {
  readonly limit: number;
  readonly isReverse: boolean;
  readonly batchSize: number | undefined;
}

/** Checks options of a scan, at once and not first when it is read. */
export function checkScanOptions(
  options: ScanOptions | undefined,
  names: ReadonlySet<string> = SCAN_NAMES,
): CheckedScan {
  if (options !== undefined) {
    checkNames("the options of the scan", options, names);
    checkCallEnd(options);
  }
  const { limit = Infinity, reverse = false, batchSize } = options ?? {};
  return {
    limit: limit === Infinity ? limit : checkNumber("limit", limit, COUNT_RULE),
    isReverse: checkBoolean("reverse", reverse),
    batchSize: batchSize === undefined ? undefined : checkNumber("batchSize", batchSize, PAGE_RULE),
  };
}

/** The options that every scan has. */
export const SCAN_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "limit", "reverse", "batchSize"]);

const COUNT_RULE = { min: 1, max: Number.MAX_SAFE_INTEGER, isWhole: true };
/** How many entries a request may ask for: the wire has 32 bits for it. */
export const PAGE_RULE = { min: 1, max: 0xffff_ffff, isWhole: true } as const;

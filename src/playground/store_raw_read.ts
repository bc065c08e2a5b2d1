// SPDX-License-Identifier: Apache-2.0
// The raw commands that read. Each makes the checks of TiKV's `src/storage/mod.rs` in its order.

import { create } from "@bufbuild/protobuf";
import {
  ChecksumAlgorithm,
  type Context,
  type KeyRange,
  RawBatchGetResponseSchema,
  RawBatchScanResponseSchema,
  RawChecksumResponseSchema,
  RawCoprocessorResponseSchema,
  RawGetKeyTTLResponseSchema,
  RawGetResponseSchema,
  RawScanResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import type { RequestRange } from "./api_version.ts";
import { StorageError } from "./api_version.ts";
import type { RawPair } from "./raw_engine.ts";
import { checkKeyInRegion, checkRegion, checkSeekInRegion } from "./region_check.ts";
import type { Region } from "./regions.ts";
import { clampToRegion } from "./regions.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { storeCommand } from "./store_command.ts";
import { abortOf } from "./store_refusal.ts";

const EMPTY = new Uint8Array(0);

/** The raw commands that do not write. */
export const RAW_READS: readonly StoreCommand[] = [
  storeCommand(Tikv.method.rawGet, "RawGet", (scope, { context, cf, key }) => {
    const { rules, raw } = scope.cluster;
    rules.checkKeys("raw_get", "raw", context?.apiVersion ?? 0, [key]);
    const region = read(scope, context);
    const family = rules.columnFamily(cf);
    const encoded = rules.encodeRawKey(key);
    checkKeyInRegion(region, encoded);
    const value = raw.get(family, encoded);
    return create(RawGetResponseSchema, value === undefined ? { notFound: true } : { value });
  }),

  storeCommand(Tikv.method.rawBatchGet, "RawBatchGet", (scope, { context, cf, keys }) => {
    const { rules, raw } = scope.cluster;
    rules.checkKeys("raw_batch_get", "raw", context?.apiVersion ?? 0, keys);
    const region = read(scope, context);
    const family = rules.columnFamily(cf);
    const pairs: PairInit[] = [];
    for (const key of keys) {
      const encoded = rules.encodeRawKey(key);
      try {
        checkKeyInRegion(region, encoded);
      } catch (error) {
        // TiKV reports this inside the pair, not as a region error of the whole.
        pairs.push({ error: { abort: abortOf(error) } });
        continue;
      }
      const value = raw.get(family, encoded);
      if (value !== undefined) pairs.push({ key, value });
    }
    return create(RawBatchGetResponseSchema, { pairs });
  }),

  storeCommand(Tikv.method.rawScan, "RawScan", (scope, request) => {
    const { context, cf, startKey, endKey, limit, keyOnly, reverse } = request;
    const { rules } = scope.cluster;
    const range: RequestRange = { start: startKey, end: endKey.length === 0 ? undefined : endKey };
    rules.checkRanges("raw_scan", "raw", context?.apiVersion ?? 0, [range]);
    const region = read(scope, context);
    const scan = { family: rules.columnFamily(cf), limit, keysOnly: keyOnly, isReverse: reverse };
    return create(RawScanResponseSchema, { kvs: scanRange(scope, region, range, scan) });
  }),

  storeCommand(Tikv.method.rawBatchScan, "RawBatchScan", (scope, request) => {
    const { context, cf, ranges, eachLimit, keyOnly, reverse } = request;
    const { rules } = scope.cluster;
    rules.checkRanges("raw_batch_scan", "raw", context?.apiVersion ?? 0, ranges.map(rangeOf));
    const region = read(scope, context);
    const scan = { family: rules.columnFamily(cf), limit: eachLimit, keysOnly: keyOnly, isReverse: reverse };
    checkBatchRanges(ranges, reverse);
    const kvs = ranges.flatMap((range, index) => {
      // An absent end reaches to the start of the next range.
      const end = range.endKey.length > 0 ? range.endKey : ranges[index + 1]?.startKey;
      return scanRange(scope, region, { start: range.startKey, end }, scan);
    });
    return create(RawBatchScanResponseSchema, { kvs });
  }),

  storeCommand(Tikv.method.rawGetKeyTTL, undefined, (scope, { context, cf, key }) => {
    const { rules, raw } = scope.cluster;
    rules.checkKeys("raw_get_key_ttl", "raw", context?.apiVersion ?? 0, [key]);
    const region = read(scope, context);
    const family = rules.columnFamily(cf);
    // TiKV itself panics here; no client can tell more than that it failed.
    if (!rules.hasTtl) {
      throw new StorageError("get ttl on non-ttl store", `Other("get ttl on non-ttl store")`);
    }
    const encoded = rules.encodeRawKey(key);
    checkKeyInRegion(region, encoded);
    const ttl = raw.ttl(family, encoded);
    return create(RawGetKeyTTLResponseSchema, ttl === undefined ? { notFound: true } : { ttl });
  }),

  storeCommand(Tikv.method.rawChecksum, undefined, (scope, { context, algorithm, ranges }) => {
    const { rules, raw } = scope.cluster;
    if (algorithm !== ChecksumAlgorithm.Crc64_Xor) {
      throw new StorageError(
        `unknown checksum algorithm ${algorithm}`,
        `Other("unknown checksum algorithm")`,
      );
    }
    rules.checkRanges("raw_checksum", "raw", context?.apiVersion ?? 0, ranges.map(rangeOf));
    const region = read(scope, context);
    const total = { checksum: 0n, totalKvs: 0n, totalBytes: 0n };
    for (const { startKey, endKey } of ranges) {
      const start = rules.encodeRawKey(startKey);
      checkSeekInRegion(region, start);
      const end = endKey.length === 0 ? EMPTY : rules.encodeRawKey(endKey);
      const part = raw.checksum(clampToRegion(region, { start, end }), (key) => rules.decodeRawKey(key));
      total.checksum ^= part.checksum;
      total.totalKvs += part.pairs;
      total.totalBytes += part.bytes;
    }
    return create(RawChecksumResponseSchema, total);
  }),

  // The answer of a store that was started without plugins, which is the default.
  storeCommand(
    Tikv.method.rawCoprocessor,
    "RawCoprocessor",
    () => create(RawCoprocessorResponseSchema, { error: "Coprocessor plugin is disabled!" }),
  ),
];

interface PairInit {
  readonly key?: Uint8Array;
  readonly value?: Uint8Array;
  readonly error?: { readonly abort: string };
}

interface ScanShape {
  readonly family: "default" | "lock" | "write";
  readonly limit: number;
  readonly keysOnly: boolean;
  readonly isReverse: boolean;
}

function read(scope: StoreScope, context: Context | undefined): Region {
  return checkRegion(scope.cluster, scope.storeId, context, { isWrite: false });
}

/** One scan, cut at the bounds of the region. A reverse scan goes from `start` down to `end`. */
function scanRange(scope: StoreScope, region: Region, range: RequestRange, scan: ScanShape): RawPair[] {
  const { rules, raw } = scope.cluster;
  if (scan.limit === 0) return [];
  const start = rules.encodeRawKey(range.start);
  checkSeekInRegion(region, start);
  const bound = range.end === undefined ? EMPTY : rules.encodeRawKey(range.end);
  // Nothing is before the empty key, so a reverse scan from there finds nothing.
  if (scan.isReverse && start.length === 0) return [];
  const span = clampToRegion(region, scan.isReverse ? { start: bound, end: start } : { start, end: bound });
  if (span.end.length > 0 && compareBytes(span.start, span.end) >= 0) return [];
  const pairs = raw.scan(scan.family, { range: span, ...scan });
  return pairs.map(({ key, value }) => ({ key: rules.decodeRawKey(key), value }));
}

/** Ranges of a batch scan must not be empty or overlap at the place where an end is left out. */
function checkBatchRanges(ranges: readonly KeyRange[], isReverse: boolean): void {
  ranges.forEach(({ startKey, endKey }, index) => {
    const end = endKey.length === 0 ? ranges[index + 1]?.startKey ?? EMPTY : endKey;
    if (end.length === 0) return;
    const order = compareBytes(startKey, end);
    if (isReverse ? order <= 0 : order >= 0) {
      throw new StorageError("Invalid KeyRanges", `Other("Invalid KeyRanges")`);
    }
  });
}

function rangeOf({ startKey, endKey }: KeyRange): RequestRange {
  return { start: startKey, end: endKey };
}

// SPDX-License-Identifier: Apache-2.0
// The raw commands that write. Each makes the checks of TiKV's `src/storage/mod.rs` in its order,
// which differs from command to command.

import { create } from "@bufbuild/protobuf";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import {
  RawBatchDeleteResponseSchema,
  RawBatchPutResponseSchema,
  RawCASResponseSchema,
  RawDeleteRangeResponseSchema,
  RawDeleteResponseSchema,
  RawPutResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import { StorageError } from "./api_version.ts";
import type { Cluster } from "./cluster.ts";
import type { ColumnFamily } from "./raw_engine.ts";
import {
  checkEntrySize,
  checkKeyInRegion,
  checkRangeInRegion,
  checkRegion,
  RegionRefusal,
} from "./region_check.ts";
import type { Region } from "./regions.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { storeCommand } from "./store_command.ts";

/** The raw commands that write. */
export const RAW_WRITES: readonly StoreCommand[] = [
  storeCommand(Tikv.method.rawPut, "RawPut", (scope, { context, cf, key, value, ttl, forCas }) => {
    const { cluster } = scope;
    cluster.rules.checkKeys(forCas ? "raw_atomic_store" : "raw_put", "raw", context?.apiVersion ?? 0, [key]);
    // Atomic writes go through the scheduler, where TiKV does not look at the size of keys.
    if (!forCas) checkKeySizes(cluster, [key]);
    checkTtlAllowed(cluster, [ttl]);
    const family = cluster.rules.columnFamily(cf);
    put(scope, context, family, [{ key, value, ttl }]);
    return create(RawPutResponseSchema);
  }),

  storeCommand(Tikv.method.rawBatchPut, "RawBatchPut", (scope, { context, cf, pairs, ttls, forCas }) => {
    const { cluster } = scope;
    const keys = pairs.map((pair) => pair.key);
    cluster.rules.checkKeys(
      forCas ? "raw_atomic_store" : "raw_batch_put",
      "raw",
      context?.apiVersion ?? 0,
      keys,
    );
    const family = cluster.rules.columnFamily(cf);
    if (!forCas) checkKeySizes(cluster, keys);
    const each = spreadTtls(ttls, pairs.length);
    checkTtlAllowed(cluster, each);
    if (cluster.rules.hasTtl && each.length !== pairs.length) {
      throw new StorageError(
        "The length of ttls does not equal to the length of pairs",
        "TtlLenNotEqualsToPairs",
      );
    }
    put(
      scope,
      context,
      family,
      pairs.map(({ key, value }, index) => ({ key, value, ttl: each[index] ?? 0n })),
    );
    return create(RawBatchPutResponseSchema);
  }),

  storeCommand(Tikv.method.rawDelete, "RawDelete", (scope, { context, cf, key, forCas }) => {
    const { cluster } = scope;
    cluster.rules.checkKeys(forCas ? "raw_atomic_store" : "raw_delete", "raw", context?.apiVersion ?? 0, [
      key,
    ]);
    if (!forCas) checkKeySizes(cluster, [key]);
    remove(scope, context, cluster.rules.columnFamily(cf), [key]);
    return create(RawDeleteResponseSchema);
  }),

  storeCommand(Tikv.method.rawBatchDelete, "RawBatchDelete", (scope, { context, cf, keys, forCas }) => {
    const { cluster } = scope;
    cluster.rules.checkKeys(
      forCas ? "raw_atomic_store" : "raw_batch_delete",
      "raw",
      context?.apiVersion ?? 0,
      keys,
    );
    const family = cluster.rules.columnFamily(cf);
    if (!forCas) checkKeySizes(cluster, keys);
    remove(scope, context, family, keys);
    return create(RawBatchDeleteResponseSchema);
  }),

  storeCommand(Tikv.method.rawDeleteRange, "RawDeleteRange", (scope, { context, cf, startKey, endKey }) => {
    const { cluster } = scope;
    const { rules } = cluster;
    checkKeySizes(cluster, [startKey, endKey]);
    rules.checkRanges("raw_delete_range", "raw", context?.apiVersion ?? 0, [{
      start: startKey,
      end: endKey,
    }]);
    const family = rules.columnFamily(cf);
    const region = write(scope, context);
    const start = rules.encodeRawKey(startKey);
    const end = endKey.length === 0 ? endKey : rules.encodeRawKey(endKey);
    if (end.length > 0 && compareBytes(start, end) >= 0) {
      // Refused while the entry is applied, where the text becomes a region error without a kind.
      throw new RegionRefusal({ message: "invalid delete range command, start_key is not before end_key" });
    }
    checkRangeInRegion(region, { start, end });
    cluster.raw.deleteRange(family, { start, end });
    return create(RawDeleteRangeResponseSchema);
  }),

  storeCommand(Tikv.method.rawCompareAndSwap, undefined, (scope, request) => {
    const { cluster } = scope;
    const { rules } = cluster;
    const { context, key, value, ttl } = request;
    rules.checkKeys("raw_compare_and_swap", "raw", context?.apiVersion ?? 0, [key]);
    const family = rules.columnFamily(request.cf);
    checkTtlAllowed(cluster, [ttl]);
    const region = write(scope, context);
    const encoded = rules.encodeRawKey(key);
    checkKeyInRegion(region, encoded);
    checkEntrySize(cluster, region, entryBytes([{ key: encoded, value }]));
    const { previous, hasSwapped } = cluster.raw.compareAndSwap(family, { key: encoded, value }, {
      expected: request.previousNotExist ? undefined : request.previousValue,
      ttlSeconds: ttl,
      deletes: request.delete,
    });
    return create(
      RawCASResponseSchema,
      previous === undefined
        ? { succeed: hasSwapped, previousNotExist: true }
        : { succeed: hasSwapped, previousValue: previous },
    );
  }),
];

interface Written {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly ttl: bigint;
}

/** About what protobuf adds to each pair, and to the whole, in an entry of the raft log. */
const PAIR_OVERHEAD_BYTES = 16;
const ENTRY_OVERHEAD_BYTES = 64;

function write(scope: StoreScope, context: Context | undefined): Region {
  return checkRegion(scope.cluster, scope.storeId, context, { isWrite: true });
}

/** All pairs of one request are written or none: they are one entry of the raft log. */
function put(
  scope: StoreScope,
  context: Context | undefined,
  family: ColumnFamily,
  pairs: readonly Written[],
): void {
  const { cluster } = scope;
  const region = write(scope, context);
  const encoded = pairs.map((pair) => ({ ...pair, key: cluster.rules.encodeRawKey(pair.key) }));
  checkEntrySize(cluster, region, entryBytes(encoded));
  for (const { key } of encoded) checkKeyInRegion(region, key);
  for (const pair of encoded) cluster.raw.put(family, pair, pair.ttl);
}

function remove(
  scope: StoreScope,
  context: Context | undefined,
  family: ColumnFamily,
  keys: readonly Uint8Array[],
): void {
  const { cluster } = scope;
  const region = write(scope, context);
  const encoded = keys.map((key) => cluster.rules.encodeRawKey(key));
  for (const key of encoded) checkKeyInRegion(region, key);
  for (const key of encoded) cluster.raw.delete(family, key);
}

function entryBytes(pairs: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[]): number {
  let bytes = ENTRY_OVERHEAD_BYTES;
  for (const { key, value } of pairs) bytes += key.length + value.length + PAIR_OVERHEAD_BYTES;
  return bytes;
}

function checkKeySizes({ limits }: Cluster, keys: readonly Uint8Array[]): void {
  for (const { length } of keys) {
    if (length <= limits.maxKeyBytes) continue;
    throw new StorageError(
      `max key size exceeded, size: ${length}, limit: ${limits.maxKeyBytes}`,
      `KeyTooLarge { size: ${length}, limit: ${limits.maxKeyBytes} }`,
    );
  }
}

function checkTtlAllowed({ rules }: Cluster, ttls: readonly bigint[]): void {
  if (rules.hasTtl || ttls.every((ttl) => ttl === 0n)) return;
  throw new StorageError("ttl is not enabled, but get put request with ttl", "TtlNotEnabled");
}

/** No TTL stands for zeros, and a single one for all pairs (`future_raw_batch_put`). */
function spreadTtls(ttls: readonly bigint[], pairs: number): readonly bigint[] {
  const first = ttls[0];
  if (first === undefined) return new Array<bigint>(pairs).fill(0n);
  return ttls.length === 1 ? new Array<bigint>(pairs).fill(first) : ttls;
}

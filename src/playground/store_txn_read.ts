// SPDX-License-Identifier: Apache-2.0
// The transactional commands that read.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { ExecDetailsV2Schema, KvPairSchema } from "../../gen/kvrpcpb_pb.ts";
import {
  BatchGetResponseSchema,
  BufferBatchGetResponseSchema,
  GetResponseSchema,
  MvccGetByKeyResponseSchema,
  MvccGetByStartTsResponseSchema,
  ScanLockResponseSchema,
  ScanResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { mvccInfoOf, rawKey } from "./mvcc/lock_info.ts";
import { keyErrorOf, MvccError } from "./mvcc/mvcc_error.ts";
import type { ScanItem } from "./mvcc/read.ts";
import { readFlushed, readKey, scanKeys } from "./mvcc/read.ts";
import { scanLocks } from "./mvcc/scan_locks.ts";
import type { Tables } from "./mvcc/tables.ts";
import { checkKeyInRegion, checkSeekInRegion, RegionRefusal } from "./region_check.ts";
import type { Region } from "./regions.ts";
import { clampToRegion } from "./regions.ts";
import type { SortedRange } from "./sorted_map.ts";
import type { StoreCommand } from "./store_command.ts";
import { abortOf } from "./store_refusal.ts";
import {
  checkTxnKeys,
  openForRead,
  openForWrite,
  readCommand,
  txnCommand,
  viewOf,
} from "./store_txn_access.ts";

type PairInit = MessageInitShape<typeof KvPairSchema>;

const EMPTY = new Uint8Array(0);

/** The transactional commands that read. */
export const TXN_READS: readonly StoreCommand[] = [
  readCommand(Tikv.method.kvGet, "Get", {
    tsOf: ({ version }) => version,
    run: (scope, { context, key, version, needCommitTs }) => {
      const encoded = encodeBytes(key);
      checkTxnKeys(scope, "get", context, [encoded]);
      const { region } = openForRead(scope, context, version);
      checkKeyInRegion(region, encoded);
      const { tables } = scope.cluster.mvcc;
      const found = readKey(tables, encoded, viewOf(context, version), needCommitTs);
      const execDetailsV2 = detailsOf([[key, found?.value]], tables.versions(encoded).length);
      if (found === undefined) return create(GetResponseSchema, { notFound: true, execDetailsV2 });
      const commitTs = needCommitTs ? found.commitTs ?? 0n : 0n;
      return create(GetResponseSchema, { value: found.value, commitTs, execDetailsV2 });
    },
  }),

  readCommand(Tikv.method.kvBatchGet, "BatchGet", {
    tsOf: ({ version }) => version,
    run: (scope, { context, keys, version, needCommitTs }) => {
      const encoded = keys.map((key) => ({ key, encoded: encodeBytes(key) }));
      checkTxnKeys(scope, "batch_get", context, encoded.map((one) => one.encoded));
      const { region } = openForRead(scope, context, version);
      const { tables } = scope.cluster.mvcc;
      const view = viewOf(context, version);
      const pairs: PairInit[] = [];
      let versions = 0;
      for (const { key, encoded: at } of encoded) {
        versions += tables.versions(at).length;
        try {
          checkKeyInRegion(region, at);
          const found = readKey(tables, at, view, needCommitTs);
          if (found === undefined) continue;
          const commitTs = needCommitTs ? found.commitTs ?? 0n : 0n;
          pairs.push({ key, value: found.value, commitTs });
        } catch (error) {
          pairs.push({ error: pairError(error) });
        }
      }
      const read = pairs.map(({ key, value }) => [key ?? EMPTY, value] as const);
      return create(BatchGetResponseSchema, { pairs, execDetailsV2: detailsOf(read, versions) });
    },
  }),

  readCommand(Tikv.method.kvScan, "Scan", {
    tsOf: ({ version }) => version,
    run: (scope, request) => {
      const { context, startKey, endKey, limit, version, keyOnly, reverse, sampleStep } = request;
      const { rules, mvcc } = scope.cluster;
      const end = endKey.length === 0 ? undefined : endKey;
      rules.checkRanges("scan", "txn", context?.apiVersion ?? 0, [{ start: startKey, end }]);
      const { region } = openForRead(scope, context, version);
      const first = encodeBytes(startKey);
      const last = end === undefined ? undefined : encodeBytes(end);
      // A reverse scan starts at its upper bound.
      const [lower, upper] = reverse ? [last, first] : [first, last];
      const range = scanRange(region, lower, upper);
      checkSeekInRegion(region, first);
      const isReverse = reverse;
      const items = scanKeys(
        mvcc.tables,
        { range, limit, isReverse, keysOnly: keyOnly, sampleStep },
        viewOf(context, version),
      );
      return create(ScanResponseSchema, { pairs: items.map(pairOf) });
    },
  }),

  readCommand(Tikv.method.kvBufferBatchGet, "BufferBatchGet", {
    tsOf: ({ version }) => version,
    run: (scope, { context, keys, version }) => {
      const encoded = uniqueSorted(keys.map((key) => encodeBytes(key)));
      checkTxnKeys(scope, "buffer_batch_get", context, encoded);
      const { region } = openForRead(scope, context, version);
      const pairs = encoded.flatMap((key): PairInit[] => {
        try {
          checkKeyInRegion(region, key);
          const value = readFlushed(scope.cluster.mvcc.tables, key, version);
          return value === undefined ? [] : [{ key: rawKey(key), value }];
        } catch (error) {
          return [{ error: pairError(error) }];
        }
      });
      return create(BufferBatchGetResponseSchema, { pairs });
    },
  }),

  readCommand(Tikv.method.kvScanLock, "ScanLock", {
    tsOf: ({ maxVersion }) => maxVersion,
    run: (scope, { context, maxVersion, startKey, endKey, limit }) => {
      const { region } = openForRead(scope, context, maxVersion);
      const start = startKey.length === 0 ? region.start : encodeBytes(startKey);
      checkSeekInRegion(region, start);
      const range = clampToRegion(region, { start, end: endKey.length === 0 ? EMPTY : encodeBytes(endKey) });
      const locks = isNothing(range) ? [] : scanLocks(scope.cluster.mvcc.tables, range, maxVersion, limit);
      return create(ScanLockResponseSchema, { locks });
    },
  }),

  txnCommand(Tikv.method.mvccGetByKey, undefined, (scope, { context, key }) => {
    const encoded = encodeBytes(key);
    openForWrite(scope, context, [encoded]);
    return create(MvccGetByKeyResponseSchema, { info: mvccInfoOf(scope.cluster.mvcc.tables, encoded) });
  }),

  txnCommand(Tikv.method.mvccGetByStartTs, undefined, (scope, { context, startTs }) => {
    const { region } = openForWrite(scope, context, []);
    const { tables } = scope.cluster.mvcc;
    const key = keyByStartTs(tables, region, startTs);
    if (key === undefined) return create(MvccGetByStartTsResponseSchema, { info: {} });
    return create(MvccGetByStartTsResponseSchema, { key: rawKey(key), info: mvccInfoOf(tables, key) });
  }),
];

/** TiKV refuses ranges that leave the region; clients cut them at its bounds. */
function scanRange(
  region: Region,
  lower: Uint8Array | undefined,
  upper: Uint8Array | undefined,
): SortedRange {
  const isBefore = lower !== undefined && compareBytes(lower, region.start) < 0;
  const isBehind = upper !== undefined && region.end.length > 0 && compareBytes(upper, region.end) > 0;
  if (isBefore || isBehind) {
    const shown = [lower, upper, region.start, region.end].map((key) =>
      key === undefined ? "None" : `Some([${[...key].join(", ")}])`
    );
    const debug = `InvalidReqRange { start: ${shown[0]}, end: ${shown[1]}, lower_bound: ${
      shown[2]
    }, upper_bound: ${shown[3]} }`;
    throw new MvccError({ kind: "abort", debug: `Error(Txn(Error(${debug})))` });
  }
  return { start: lower ?? region.start, end: upper ?? region.end };
}

function isNothing({ start, end }: SortedRange): boolean {
  return end.length > 0 && compareBytes(start, end) >= 0;
}

function pairOf(item: ScanItem): PairInit {
  return item.kind === "pair" ? { key: item.key, value: item.value } : { error: keyErrorOf(item.fault) };
}

function pairError(error: unknown): NonNullable<PairInit["error"]> {
  if (error instanceof RegionRefusal) return { abort: abortOf(error) };
  if (error instanceof MvccError) return keyErrorOf(error.fault);
  throw error;
}

/** Only committed keys are found by their start timestamp. */
function keyByStartTs(tables: Tables, region: Region, startTs: bigint): Uint8Array | undefined {
  for (const key of tables.versionedKeys(region)) {
    if (tables.versions(key).some(({ write }) => write.startTs === startTs)) return key;
  }
  return undefined;
}

function uniqueSorted(keys: readonly Uint8Array[]): Uint8Array[] {
  const sorted = [...keys].sort(compareBytes);
  return sorted.filter((key, index) => index === 0 || compareBytes(key, sorted[index - 1] ?? EMPTY) !== 0);
}

/** What the read took. Time does not pass inside a command, so there is none to tell. */
function detailsOf(
  pairs: readonly (readonly [Uint8Array, Uint8Array | undefined])[],
  versions: number,
): MessageInitShape<typeof ExecDetailsV2Schema> {
  const found = pairs.filter(([, value]) => value !== undefined);
  const size = found.reduce((sum, [key, value]) => sum + key.length + (value?.length ?? 0), 0);
  return {
    timeDetail: {},
    timeDetailV2: {},
    scanDetailV2: {
      processedVersions: BigInt(found.length),
      processedVersionsSize: BigInt(size),
      totalVersions: BigInt(versions),
    },
  };
}

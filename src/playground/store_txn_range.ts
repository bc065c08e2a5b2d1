// SPDX-License-Identifier: Apache-2.0
// Commands that change ranges at once, and what stores tell each other about transactions.

import { create } from "@bufbuild/protobuf";
import {
  BroadcastTxnStatusResponseSchema,
  DeleteRangeResponseSchema,
  FlashbackToVersionResponseSchema,
  PrepareFlashbackToVersionResponseSchema,
  UnsafeDestroyRangeResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { finishFlashback, prepareFlashback } from "./mvcc/flashback.ts";
import { checkRangeInRegion, checkRegion, RegionRefusal } from "./region_check.ts";
import { clampToRegion } from "./regions.ts";
import type { StoreCommand } from "./store_command.ts";
import { finish, malformed, openForWrite, txnCommand } from "./store_txn_access.ts";

const EMPTY = new Uint8Array(0);

/** Commands over ranges, and the broadcast. */
export const TXN_RANGES: readonly StoreCommand[] = [
  txnCommand(Tikv.method.kvDeleteRange, "DeleteRange", (scope, { context, startKey, endKey, notifyOnly }) => {
    const { rules, mvcc } = scope.cluster;
    rules.checkRanges("delete_range", "txn", context?.apiVersion ?? 0, [{ start: startKey, end: endKey }]);
    const range = { start: encodeBytes(startKey), end: encodeBytes(endKey) };
    const { region } = openForWrite(scope, context, []);
    checkRegion(scope.cluster, scope.storeId, context, { isWrite: true });
    if (compareBytes(range.start, range.end) >= 0) {
      throw new RegionRefusal({ message: "invalid delete range command, start_key is not before end_key" });
    }
    checkRangeInRegion(region, range);
    if (!notifyOnly) mvcc.tables.deleteRange(range);
    return create(DeleteRangeResponseSchema);
  }),

  txnCommand(Tikv.method.unsafeDestroyRange, undefined, ({ cluster }, { startKey, endKey }) => {
    if (startKey.length === 0 || endKey.length === 0) throw malformed("the range must have both bounds");
    // Below the regions: whatever the store has of the range, transactional or raw.
    const range = { start: encodeBytes(startKey), end: encodeBytes(endKey) };
    if (compareBytes(range.start, range.end) < 0) cluster.mvcc.tables.deleteRange(range);
    return create(UnsafeDestroyRangeResponseSchema);
  }),

  txnCommand(Tikv.method.kvPrepareFlashbackToVersion, "PrepareFlashbackToVersion", (scope, request) => {
    const { context, startKey, endKey, startTs, version } = request;
    const { cluster, storeId } = scope;
    const region = checkRegion(cluster, storeId, context, { isWrite: true });
    cluster.mvcc.flashbacks.set(region.id, startTs);
    const end = endKey.length === 0 ? EMPTY : encodeBytes(endKey);
    const range = clampToRegion(region, { start: encodeBytes(startKey), end });
    const txn = cluster.mvcc.begin(storeId, startTs);
    prepareFlashback(txn, { range, version, startTs });
    finish({ ...scope, region, context }, txn, { isSplit: true });
    return create(PrepareFlashbackToVersionResponseSchema);
  }),

  txnCommand(Tikv.method.kvFlashbackToVersion, "FlashbackToVersion", (scope, request) => {
    const { context, startKey, endKey, startTs, version, commitTs } = request;
    const { cluster, storeId } = scope;
    const region = checkRegion(cluster, storeId, context, { isWrite: true });
    const end = endKey.length === 0 ? EMPTY : encodeBytes(endKey);
    const range = clampToRegion(region, { start: encodeBytes(startKey), end });
    const txn = cluster.mvcc.begin(storeId, startTs);
    const isPrepared = cluster.mvcc.flashbacks.has(region.id) &&
      finishFlashback(txn, { range, version, startTs }, commitTs);
    if (!isPrepared) {
      throw new RegionRefusal({
        message: `region ${region.id} not prepared the flashback`,
        FlashbackNotPrepared: { regionId: region.id },
      });
    }
    finish({ ...scope, region, context }, txn, { isSplit: true });
    cluster.mvcc.flashbacks.delete(region.id);
    return create(FlashbackToVersionResponseSchema);
  }),

  txnCommand(Tikv.method.broadcastTxnStatus, "BroadcastTxnStatus", ({ cluster, storeId }, { txnStatus }) => {
    for (const { startTs, commitTs } of txnStatus) {
      if (commitTs !== 0n) cluster.mvcc.statuses(storeId).add(startTs, commitTs);
    }
    return create(BroadcastTxnStatusResponseSchema);
  }),
];

// SPDX-License-Identifier: Apache-2.0

import type { Message } from "@bufbuild/protobuf";
import { RegionRefusal } from "./region_check.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { contextOf } from "./store_command.ts";

/** Refuses a read that is not willing to wait for as long as the reads of a store have to. */
export function checkBusy(
  { cluster, storeId }: StoreScope,
  { method }: StoreCommand,
  request: Message,
): void {
  const estimatedWaitMs = cluster.stores.get(storeId)?.estimatedWaitMs ?? 0;
  if (estimatedWaitMs === 0 || !QUEUED.has(method.name)) return;
  const thresholdMs = contextOf(request)?.busyThresholdMs ?? 0;
  if (thresholdMs === 0 || estimatedWaitMs <= thresholdMs) return;
  const reason = "estimated wait time exceeds threshold";
  throw new RegionRefusal({ serverIsBusy: { reason, estimatedWaitMs } });
}

/** What TiKV's pool of reading threads runs. */
const QUEUED: ReadonlySet<string> = new Set([
  "KvGet",
  "KvBatchGet",
  "KvBufferBatchGet",
  "KvScan",
  "RawGet",
  "RawBatchGet",
  "RawScan",
  "RawBatchScan",
  "RawGetKeyTTL",
  "Coprocessor",
]);

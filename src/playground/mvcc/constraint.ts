// SPDX-License-Identifier: Apache-2.0

import { rawKey } from "./lock_info.ts";
import { MvccError } from "./mvcc_error.ts";
import type { Version } from "./records.ts";
import type { Tables } from "./tables.ts";
import { latestPut } from "./versions.ts";

/** Throws when a key that should not exist does, given its newest version (`check_data_constraint`). */
export function checkNotExists(
  tables: Tables,
  key: Uint8Array,
  { commitTs, write }: Version,
  startTs: bigint,
  shouldNotExist: boolean,
): void {
  const isCollected = write.gcFence !== undefined && write.gcFence !== 0n;
  if (!shouldNotExist || write.kind === "delete" || isCollected) return;
  const existing = write.kind === "put" ? write : latestPut(tables, key, commitTs - 1n, startTs)?.write;
  if (existing === undefined) return;
  throw new MvccError({ kind: "already-exists", key: rawKey(key), existingStartTs: existing.startTs });
}

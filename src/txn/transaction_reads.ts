// SPDX-License-Identifier: Apache-2.0
// Reads of a transaction: what it has written itself, over what was there when it began.

import type { Operation } from "../async/operation.ts";
import { KeyMap } from "../bytes/key_map.ts";
import type { Entry, Timestamp } from "../types.ts";
import type { BufferView } from "./buffer/pending_write.ts";
import type { PageCalls, SnapshotScan } from "./snapshot/snapshot_scan.ts";
import type { TransactionCore } from "./transaction_core.ts";

/** How a transaction reads. */
export interface TransactionRead {
  readonly operation: Operation;
  /** Its writes. */
  readonly writes: BufferView;
  /** Instead of the moment that the transaction reads at, for keys that are locked. */
  readonly ts?: bigint | undefined;
}

/** Reads one key. */
export async function readOne(
  core: TransactionCore,
  key: Uint8Array,
  { operation, writes }: TransactionRead,
): Promise<Uint8Array | undefined> {
  const pending = writes.get(key);
  if (pending?.kind === "value") return pending.value;
  if (pending?.kind === "tombstone") return undefined;
  const source = core.statement === undefined ? core.snapshot : await core.source(operation);
  return await source.get(key, operation);
}

/** Reads many keys; those without a value are not in the map. */
export async function readMany(
  core: TransactionCore,
  keys: readonly Uint8Array[],
  { operation, writes, ts }: TransactionRead,
): Promise<KeyMap<Uint8Array>> {
  const own = new KeyMap<Uint8Array>();
  const rest: Uint8Array[] = [];
  for (const key of keys) {
    const pending = writes.get(key);
    if (pending?.kind === "value") own.set(key, pending.value);
    else if (pending?.kind !== "tombstone") rest.push(key);
  }
  if (rest.length === 0) return own;
  const source = ts === undefined ? await core.source(operation) : core.snapshotAt(ts as Timestamp);
  const found = await source.batchGet(rest, operation);
  if (own.size === 0 && rest.length === keys.length) return found;
  const all = new KeyMap<Uint8Array>();
  for (const key of keys) {
    const value = own.get(key) ?? found.get(key);
    if (value !== undefined) all.set(key, value);
  }
  return all;
}

/** What was there at one timestamp, in bytes. */
export interface SnapshotSource {
  get(key: Uint8Array, operation: Operation): Promise<Uint8Array | undefined>;
  /** Those without a value are not in the map. */
  batchGet(keys: readonly Uint8Array[], operation: Operation): Promise<KeyMap<Uint8Array>>;
  /** The pages of a range, read one ahead. */
  scanPages(scan: SnapshotScan, calls: PageCalls): AsyncGenerator<readonly Entry[], void, undefined>;
}

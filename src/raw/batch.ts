// SPDX-License-Identifier: Apache-2.0
// Requests for many keys, in bytes: grouped by region, cut into requests of bounded size.

import type { Operation } from "../async/operation.ts";
import { KeyMap, KeySet } from "../bytes/key_map.ts";
import { sendItems } from "../plan/dispatch.ts";
import { cutByBytes, cutByCount } from "../plan/shard.ts";
import { COMMANDS } from "../rpc/commands.ts";
import type { RawScope } from "./scope.ts";
import { assertNoError, assertNoPairError } from "./server_error.ts";

/** One write of a batch. */
export interface BatchEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** In seconds; 0: none. */
  readonly ttl: bigint;
}

/** The values of those keys that exist. */
export async function getValues(
  scope: RawScope,
  keys: readonly Uint8Array[],
  operation: Operation,
): Promise<KeyMap<Uint8Array>> {
  const { routing } = scope.session;
  const found = new KeyMap<Uint8Array>();
  await sendItems(routing, {
    items: [...new KeySet(keys)],
    keyOf: same,
    cut: (items) => cutByCount(items, KEYS_PER_REQUEST),
    request: (items) => routing.sender.request(COMMANDS.RawBatchGet, { keys: items, cf: scope.columnFamily }),
    take: ({ pairs }) => {
      for (const pair of pairs) {
        // client-go takes a pair that could not be read for one that is not there.
        assertNoPairError("RawBatchGet", pair.error);
        found.set(pair.key, pair.value);
      }
    },
  }, operation);
  return found;
}

/** Writes entries. Of several with the same key only the last is sent. */
export async function putValues(
  scope: RawScope,
  entries: readonly BatchEntry[],
  operation: Operation,
): Promise<void> {
  const { routing } = scope.session;
  const last = new KeyMap<BatchEntry>();
  for (const entry of entries) last.set(entry.key, entry);
  await sendItems(routing, {
    items: [...last.values()],
    keyOf: (entry) => entry.key,
    cut: (items) => cutByBytes(items, ({ key, value }) => key.length + value.length, PUT_BYTES_PER_REQUEST),
    request: (items) =>
      routing.sender.request(COMMANDS.RawBatchPut, {
        pairs: items.map(({ key, value }) => ({ key, value })),
        cf: scope.columnFamily,
        // Stores that keep a TTL want one for each pair; those of old read the first one only.
        ttl: items[0]?.ttl ?? 0n,
        ttls: items.map((entry) => entry.ttl),
        forCas: scope.isAtomic,
      }),
    take: ({ error }) => assertNoError("RawBatchPut", error),
  }, operation);
}

/** Removes keys, whether they are there or not. */
export async function deleteKeys(
  scope: RawScope,
  keys: readonly Uint8Array[],
  operation: Operation,
): Promise<void> {
  const { routing } = scope.session;
  await sendItems(routing, {
    items: [...new KeySet(keys)],
    keyOf: same,
    cut: (items) => cutByCount(items, KEYS_PER_REQUEST),
    request: (items) =>
      routing.sender.request(COMMANDS.RawBatchDelete, {
        keys: items,
        cf: scope.columnFamily,
        forCas: scope.isAtomic,
      }),
    take: ({ error }) => assertNoError("RawBatchDelete", error),
  }, operation);
}

function same<T>(value: T): T {
  return value;
}

// client-go's `rawBatchPairCount`.
const KEYS_PER_REQUEST = 512;
// client-go's `rawBatchPutSize`.
const PUT_BYTES_PER_REQUEST = 16 * 1024;

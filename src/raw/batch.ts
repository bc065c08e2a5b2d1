// SPDX-License-Identifier: Apache-2.0
// Requests for many keys, in bytes: grouped by region, cut into requests of bounded size.

import type { Operation } from "../async/operation.ts";
import { equalBytes } from "../bytes/compare.ts";
import { KeyMap, KeySet } from "../bytes/key_map.ts";
import { sendItems } from "../plan/dispatch.ts";
import { cutByBytes, cutByCount } from "../plan/shard.ts";
import type { KvPairReply } from "../rpc/batch/messages.ts";
import { COMMANDS } from "../rpc/commands.ts";
import type { RawScope } from "./scope.ts";
import { assertNoError, assertNoPairError } from "./server_error.ts";
import { writeCommandsOf } from "./write_commands.ts";

/** One write of a batch. */
export interface BatchEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** In seconds; 0: none. */
  readonly ttl: bigint;
}

/** A key that is read, with its value once there is one. */
export interface ReadSlot {
  readonly key: Uint8Array;
  value: Uint8Array | undefined;
}

/** Reads each of the keys once, in their order; a slot without a value is a key that does not exist. */
export async function getValues(
  scope: RawScope,
  keys: readonly Uint8Array[],
  operation: Operation,
): Promise<readonly ReadSlot[]> {
  const { routing } = scope.session;
  const slots = Array.from(new KeySet(keys), (key): ReadSlot => ({ key, value: undefined }));
  await sendItems(routing, {
    items: slots,
    keyOf: ({ key }) => key,
    cut: (items) => cutByCount(items, KEYS_PER_REQUEST),
    request: (items) => {
      const body = { keys: items.map(({ key }) => key), cf: scope.columnFamily };
      return routing.sender.request(COMMANDS.RawBatchGet, body);
    },
    take: ({ pairs }, items) => fillSlots(items, pairs),
  }, operation);
  return slots;
}

/** Puts values where they belong. Stores answer in the order of the request, without what is missing. */
function fillSlots(slots: readonly ReadSlot[], pairs: readonly KvPairReply[]): void {
  let at = 0;
  let byKey: KeyMap<ReadSlot> | undefined;
  for (const { key, value, error } of pairs) {
    // client-go takes a pair that could not be read for one that is not there.
    assertNoPairError("RawBatchGet", error);
    let next = at;
    while (next < slots.length && !equalBytes((slots[next] as ReadSlot).key, key)) next++;
    let slot = slots[next];
    if (slot !== undefined) at = next + 1;
    else slot = (byKey ??= new KeyMap(slots.map((one) => [one.key, one]))).get(key);
    if (slot !== undefined) slot.value = value;
  }
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
      routing.sender.request(writeCommandsOf(scope).RawBatchPut, {
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
      routing.sender.request(writeCommandsOf(scope).RawBatchDelete, {
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

// SPDX-License-Identifier: Apache-2.0
// Requests for one key, in bytes.

import type { Operation } from "../async/operation.ts";
import { EMPTY } from "../bytes/concat.ts";
import { TikvError } from "../errors.ts";
import { sendToKey } from "../plan/dispatch.ts";
import { STALE } from "../region/send.ts";
import { COMMANDS } from "../rpc/commands.ts";
import type { RawScope } from "./scope.ts";
import { assertNoError } from "./server_error.ts";
import { writeCommandsOf } from "./write_commands.ts";

/** The value of a key; undefined if there is none. */
export async function getValue(
  scope: RawScope,
  key: Uint8Array,
  operation: Operation,
): Promise<Uint8Array | undefined> {
  const { routing } = scope.session;
  const request = routing.sender.request(COMMANDS.RawGet, { key, cf: scope.columnFamily });
  // The first try is written out: a cached region that is right costs no further promise.
  const region = routing.regions.peek(key);
  const first = region === undefined ? STALE : await routing.sender.send(region, request, operation);
  const reply = first === STALE ? await sendToKey(routing, key, { request, operation }) : first;
  assertNoError("RawGet", reply.error);
  return reply.notFound ? undefined : reply.value;
}

/** Writes a value, with a TTL in seconds (0: none). */
export async function putValue(
  scope: RawScope,
  { key, value, ttl }: { readonly key: Uint8Array; readonly value: Uint8Array; readonly ttl: bigint },
  operation: Operation,
): Promise<void> {
  const { routing } = scope.session;
  const body = { key, value, cf: scope.columnFamily, ttl, forCas: scope.isAtomic };
  const request = routing.sender.request(writeCommandsOf(scope).RawPut, body);
  const region = routing.regions.peek(key);
  const first = region === undefined ? STALE : await routing.sender.send(region, request, operation);
  const reply = first === STALE ? await sendToKey(routing, key, { request, operation }) : first;
  assertNoError("RawPut", reply.error);
}

/** Removes a key, whether it is there or not. */
export async function deleteKey(scope: RawScope, key: Uint8Array, operation: Operation): Promise<void> {
  const { routing } = scope.session;
  const body = { key, cf: scope.columnFamily, forCas: scope.isAtomic };
  const request = routing.sender.request(writeCommandsOf(scope).RawDelete, body);
  const reply = await sendToKey(routing, key, { request, operation });
  assertNoError("RawDelete", reply.error);
}

/** The seconds that a key has left: `Infinity` if it never expires, undefined if it is not there. */
export async function getTtl(
  scope: RawScope,
  key: Uint8Array,
  operation: Operation,
): Promise<number | undefined> {
  const { routing, settings } = scope.session;
  // A store without TTL does not refuse the question: its process panics (`RawStore::V1` of
  // `raw_get_key_ttl` in `src/storage/raw/store.rs` of TiKV). So it must never be asked.
  if (settings.apiVersion === "v1") throw noTtlError();
  const body = { key, cf: scope.columnFamily ?? "" };
  const request = routing.sender.request(COMMANDS.RawGetKeyTTL, body);
  const reply = await sendToKey(routing, key, { request, operation });
  assertNoError("RawGetKeyTTL", reply.error);
  if (reply.notFound) return undefined;
  return reply.ttl === 0n ? Infinity : Number(reply.ttl);
}

function noTtlError(): TikvError {
  const hint = 'set "apiVersion" to "v1ttl" if they have "storage.enable-ttl", or use API version 2';
  return new TikvError("unsupported", `Cannot tell a TTL: stores of plain API version 1 keep none; ${hint}`, {
    context: { method: "RawGetKeyTTL" },
  });
}

/** What a compare-and-swap compares with and writes; `expect` is undefined for "no such key". */
export interface SwapRequest {
  readonly key: Uint8Array;
  readonly expect: Uint8Array | undefined;
  readonly value: Uint8Array;
  readonly ttl: bigint;
}

/** Writes the value if the key has the expected one, and tells what it had. */
export async function swapValue(
  scope: RawScope,
  { key, expect, value, ttl }: SwapRequest,
  operation: Operation,
): Promise<{ readonly isSwapped: boolean; readonly previous: Uint8Array | undefined }> {
  const { routing } = scope.session;
  const request = routing.sender.request(COMMANDS.RawCompareAndSwap, {
    key,
    value,
    previousNotExist: expect === undefined,
    previousValue: expect ?? EMPTY,
    cf: scope.columnFamily ?? "",
    ttl,
  });
  const reply = await sendToKey(routing, key, { request, operation });
  assertNoError("RawCompareAndSwap", reply.error);
  return {
    isSwapped: reply.succeed,
    previous: reply.previousNotExist ? undefined : reply.previousValue,
  };
}

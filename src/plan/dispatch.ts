// SPDX-License-Identifier: Apache-2.0
// How requests find their regions, with the same promise in each form: what comes back because its
// region has changed is sent again, that part of it alone.

import type { Operation } from "../async/operation.ts";
import type { KeyRange } from "../bytes/key_range.ts";
import type { Region } from "../region/region.ts";
import { type RegionRequest, type RequestOptions, STALE } from "../region/send.ts";
import type { Command } from "../rpc/commands.ts";
import { runParts } from "./run.ts";
import { type RangePart, type RegionSource, shardItems, shardRange } from "./shard.ts";

/** Sends a request to a region; the region sender is one. */
export interface RequestSender {
  /** Makes a request of a body in the caller's keys. */
  request<I, O>(command: Command<I, O>, body: I, options?: RequestOptions): RegionRequest<I, O>;
  /** The reply, or `STALE` when the region has to be looked up again. */
  send<I, O>(region: Region, request: RegionRequest<I, O>, operation: Operation): Promise<O | typeof STALE>;
}

/** What requests are routed with. */
export interface Routing {
  readonly regions: RegionSource;
  readonly sender: RequestSender;
  /** Parts of one operation that are under way at a time. */
  readonly concurrency: number;
}

/** Sends a request to the region that has the key. */
export async function sendToKey<I, O>(
  { regions, sender }: Routing,
  key: Uint8Array,
  { request, operation }: { readonly request: RegionRequest<I, O>; readonly operation: Operation },
): Promise<O> {
  for (;;) {
    const region = regions.peek(key) ?? await regions.locate(key, operation);
    const reply = await sender.send(region, request, operation);
    if (reply !== STALE) return reply;
  }
}

/** What is sent for items with keys. */
export interface ItemsWork<T, I, O> {
  readonly items: readonly T[];
  readonly keyOf: (item: T) => Uint8Array;
  /** Cuts the items of one region into requests. */
  readonly cut: (items: readonly T[]) => readonly (readonly T[])[];
  readonly request: (items: readonly T[]) => RegionRequest<I, O>;
  /** Takes the reply to the request of these items; what it throws ends the operation. */
  readonly take: (reply: O, items: readonly T[]) => void;
}

/** Sends items to the regions of their keys, several requests at a time. */
export async function sendItems<T, I, O>(
  { regions, sender, concurrency }: Routing,
  work: ItemsWork<T, I, O>,
  operation: Operation,
): Promise<void> {
  const { keyOf, cut, request, take } = work;
  const parts = await shardItems(work.items, { regions, operation, keyOf, cut });
  await runParts(parts, async ({ region, items }, ofPart) => {
    const reply = await sender.send(region, request(items), ofPart);
    if (reply === STALE) return await shardItems(items, { regions, operation: ofPart, keyOf, cut });
    take(reply, items);
    return undefined;
  }, { operation, concurrency });
}

/** What is sent for a range. */
export interface RangeWork<I, O> {
  readonly range: KeyRange;
  readonly request: (range: KeyRange) => RegionRequest<I, O>;
  /** Takes the reply for a part of the range; what it throws ends the operation. */
  readonly take: (reply: O) => void;
}

/** Sends a request to every region of a range, several at a time, each for its part of the range. */
export async function sendRange<I, O>(
  { regions, sender, concurrency }: Routing,
  { range, request, take }: RangeWork<I, O>,
  operation: Operation,
): Promise<void> {
  const all: RangePart = { region: undefined, range };
  await runParts([all], async (part, ofPart) => {
    const reply = part.region === undefined
      ? STALE
      : await sender.send(part.region, request(part.range), ofPart);
    // Only this part is cut anew: the others are under way or done.
    if (reply === STALE) return await shardRange(part.range, regions, ofPart);
    take(reply);
    return undefined;
  }, { operation, concurrency });
}

// SPDX-License-Identifier: Apache-2.0
// Requests for ranges that go to each of their regions, in bytes.

import type { Operation } from "../async/operation.ts";
import { compareBytes } from "../bytes/compare.ts";
import type { KeyRange } from "../bytes/key_range.ts";
import { type Routing, sendRange } from "../plan/dispatch.ts";
import { runParts } from "../plan/run.ts";
import { shardRange } from "../plan/shard.ts";
import type { Region } from "../region/region.ts";
import { STALE } from "../region/send.ts";
import { COMMANDS } from "../rpc/commands.ts";
import type { RawScope } from "./scope.ts";
import { assertNoError } from "./server_error.ts";
import { writeCommandsOf } from "./write_commands.ts";

/** Removes all keys of a range, region by region. */
export async function deleteRange(scope: RawScope, range: KeyRange, operation: Operation): Promise<void> {
  const { routing } = scope.session;
  await sendRange(routing, {
    range,
    request: ({ start, end }) =>
      routing.sender.request(writeCommandsOf(scope).RawDeleteRange, {
        startKey: start,
        endKey: end,
        cf: scope.columnFamily ?? "",
      }),
    take: ({ error }) => assertNoError("RawDeleteRange", error),
  }, operation);
}

/** A digest of the entries of a range. */
export interface RawChecksum {
  /**
   * The CRC-64 of every key with its value, combined by exclusive or, so that it does not depend
   * on how the range is cut into regions.
   */
  readonly checksum: bigint;
  /** How many keys the range has. */
  readonly totalKeys: bigint;
  /** Bytes of keys and values. In API version 2 each key counts with its 4 bytes of prefix. */
  readonly totalBytes: bigint;
}

/** The digest of a range. */
export async function checksumOf(
  scope: RawScope,
  range: KeyRange,
  operation: Operation,
): Promise<RawChecksum> {
  let checksum = 0n, totalKeys = 0n, totalBytes = 0n;
  const { routing } = scope.session;
  await sendRange(routing, {
    range,
    request: ({ start, end }) =>
      routing.sender.request(COMMANDS.RawChecksum, {
        algorithm: 0,
        ranges: [{ startKey: start, endKey: end }],
      }),
    take: (reply) => {
      assertNoError("RawChecksum", reply.error);
      checksum ^= reply.checksum;
      totalKeys += reply.totalKvs;
      totalBytes += reply.totalBytes;
    },
  }, operation);
  return { checksum, totalKeys, totalBytes };
}

/** What is asked of a coprocessor plugin. */
export interface PluginRequest {
  readonly plugin: string;
  readonly version: string;
  readonly ranges: readonly KeyRange[];
  readonly dataOf: (ranges: readonly KeyRange[]) => Uint8Array;
}

/** What a plugin answered for the ranges of one region. */
export interface PluginReply {
  readonly ranges: readonly KeyRange[];
  readonly data: Uint8Array;
}

/** Asks a coprocessor plugin, one request for each region with ranges. */
export async function askPlugin(
  scope: RawScope,
  { plugin, version, ranges, dataOf }: PluginRequest,
  operation: Operation,
): Promise<PluginReply[]> {
  const { routing } = scope.session;
  const { sender, concurrency } = routing;
  const replies: PluginReply[] = [];
  const all: RangesPart = { region: undefined, ranges };
  await runParts([all], async (part, ofPart) => {
    if (part.region === undefined) return await groupByRegion(part.ranges, routing, ofPart);
    const request = sender.request(COMMANDS.RawCoprocessor, {
      coprName: plugin,
      coprVersionReq: version,
      ranges: part.ranges.map(({ start, end }) => ({ startKey: start, endKey: end })),
      data: dataOf(part.ranges),
    });
    const reply = await sender.send(part.region, request, ofPart);
    if (reply === STALE) return await groupByRegion(part.ranges, routing, ofPart);
    assertNoError("RawCoprocessor", reply.error);
    replies.push({ ranges: part.ranges, data: reply.data });
    return undefined;
  }, { operation, concurrency });
  return replies.sort((a, b) => compareBytes(startOf(a), startOf(b)));
}

interface RangesPart {
  /** Absent while the regions of the ranges are not looked up yet. */
  readonly region: Region | undefined;
  readonly ranges: readonly KeyRange[];
}

async function groupByRegion(
  ranges: readonly KeyRange[],
  { regions }: Routing,
  operation: Operation,
): Promise<RangesPart[]> {
  const groups = new Map<Region | undefined, KeyRange[]>();
  for (const range of ranges) {
    for (const part of await shardRange(range, regions, operation)) {
      const group = groups.get(part.region);
      if (group === undefined) groups.set(part.region, [part.range]);
      else group.push(part.range);
    }
  }
  return [...groups].map(([region, ofRegion]) => ({ region, ranges: ofRegion }));
}

function startOf({ ranges }: PluginReply): Uint8Array {
  // Each part has at least one range.
  return (ranges[0] as KeyRange).start;
}

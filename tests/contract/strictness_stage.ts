// SPDX-License-Identifier: Apache-2.0
// The place where requests are refused: the keys of the test in two regions of their own.

import assert from "node:assert/strict";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import { PD } from "../../gen/pdpb_pb.ts";
import { concatBytes } from "../../src/bytes/concat.ts";
import { encodeBytes } from "../../src/bytes/memcomparable.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { until } from "../helpers/until.ts";
import type { Scene } from "./backend.ts";
import { contextOf, type DirectCalls, directCalls, methodOf, type Place } from "./direct_calls.ts";
import type { RequestMode, RequestOfKey } from "./strictness_requests.ts";

/** Everything that a row can use. */
export interface Stage extends AsyncDisposable {
  readonly calls: DirectCalls;
  readonly mode: RequestMode;
  /** The region with the lower keys of the test, and its neighbour. */
  readonly place: Place;
  readonly right: Place;
  /** The bytes of a key of the test as they travel. */
  readonly key: (text: string) => Uint8Array;
  /** A key as the stores keep it, which is how they tell of it. */
  readonly stored: (text: string) => Uint8Array;
  /** The context that the leader of a place accepts. */
  readonly contextAt: (place: Place) => Context;
  /** The context that the leader of `place` accepts. */
  readonly context: Context;
  /** A peer of `place` that does not lead. */
  readonly follower: { readonly id: bigint; readonly storeId: bigint } | undefined;
  /** Sends a request alone, to the leader of `place`. */
  alone(request: RequestOfKey, body: object): Promise<unknown>;
  /** Sends a request alone, and in a batch where that is possible, and hands each reply over. */
  send(
    request: RequestOfKey,
    body: object,
    options: { readonly address?: string; readonly check: (reply: unknown, how: string) => void },
  ): Promise<void>;
}

/** A key in the left region, and one in the right. */
export const LEFT_KEY = "a";
export const RIGHT_KEY = "p";
const SPLIT_KEY = "m";

const PREFIXES = { raw: 0x72, txn: 0x78 } as const;

/** Splits the keys of the test, of one mode, in two regions. */
export async function stageOf({ client, cluster, prefix }: Scene, mode: RequestMode): Promise<Stage> {
  const calls = await directCalls(cluster);
  const isV2 = cluster.options.apiVersion === 2;
  const keyspaceId = isV2 ? (await client.pd.keyspaces.getEnabled("DEFAULT")).id : 0;
  const keyspace = [keyspaceId >> 16, keyspaceId >> 8, keyspaceId].map((byte) => byte & 0xff);
  const start = isV2 ? new Uint8Array([PREFIXES[mode], ...keyspace]) : new Uint8Array();
  const key = (text: string): Uint8Array => concatBytes(start, utf8Encode(`${prefix}${text}`));
  const isEncoded = isV2 || mode === "txn";
  const stored = (text: string): Uint8Array => isEncoded ? encodeBytes(key(text)) : key(text);

  const header = { clusterId: calls.clusterId };
  await calls.unary(calls.pdAddress, PD.method.splitRegions, {
    header,
    splitKeys: [stored(""), stored(SPLIT_KEY)],
    retryLimit: 10n,
  });
  // PD answers a split when it has seen it, but may then still tell of an older leader or epoch.
  const contextAt = (place: Place): Context => {
    const context = contextOf(place);
    if (isV2) Object.assign(context, { apiVersion: 2, keyspace: { case: "keyspaceId", value: keyspaceId } });
    return context;
  };
  let place = await calls.placeOf(stored(LEFT_KEY));
  let right = await calls.placeOf(stored(RIGHT_KEY));
  await until(async () => {
    place = await calls.placeOf(stored(LEFT_KEY));
    right = await calls.placeOf(stored(RIGHT_KEY));
    const ready = await Promise.all([[place, LEFT_KEY] as const, [right, RIGHT_KEY] as const].map(
      async ([{ leader, addressOf }, text], index) => {
        const name = mode === "raw" ? "RawGet" : "KvGet";
        const context = contextAt(index === 0 ? place : right);
        const request = { context, key: key(text), version: 1n };
        const reply = await calls.unary(addressOf(leader.storeId), methodOf(name), request as never);
        return (reply as { regionError?: unknown }).regionError === undefined;
      },
    ));
    return place.region.id !== right.region.id && ready.every(Boolean);
  }, "both regions serve");

  return {
    calls,
    mode,
    place,
    right,
    key,
    stored,
    contextAt,
    context: contextAt(place),
    follower: place.region.peers.find((peer) => peer.id !== place.leader.id),
    alone: ({ name }, body) =>
      calls.unary(place.addressOf(place.leader.storeId), methodOf(name), body as never),
    send: async ({ name, batchCase }, body, { address = place.addressOf(place.leader.storeId), check }) => {
      check(await calls.unary(address, methodOf(name), body as never), `${name} alone`);
      if (batchCase !== undefined) check(await calls.batched(address, batchCase, body), `${name} in a batch`);
    },
    [Symbol.asyncDispose]: () => calls.close(),
  };
}

/** The peer that a context names. */
export function peerOf(context: Context): NonNullable<Context["peer"]> {
  return context.peer ?? assert.fail("the context has no peer");
}

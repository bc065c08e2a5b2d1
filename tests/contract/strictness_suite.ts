// SPDX-License-Identifier: Apache-2.0
// What a store refuses, as a table: each row is sent with each request, alone and in a batch, and
// must be refused with the same error and the same fields by every cluster.

import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { type Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import { PD } from "../../gen/pdpb_pb.ts";
import { concatBytes } from "../../src/bytes/concat.ts";
import { encodeBytes } from "../../src/bytes/memcomparable.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { RegionEpochSchema } from "../../gen/metapb_pb.ts";
import { RpcError } from "../../src/rpc/grpc_status.ts";
import { plain } from "../helpers/arbitrary_message.ts";
import { type Backend, type Capability, contract, type Scene } from "./backend.ts";
import { contextOf, type DirectCalls, directCalls, methodOf, type Place } from "./direct_calls.ts";

/** Everything that a row can use. */
interface Stage {
  readonly calls: DirectCalls;
  /** The left half of the keys of the test. */
  readonly place: Place;
  /** The bytes of a key of the test as they travel. */
  readonly key: (text: string) => Uint8Array;
  /** A key as the stores keep it, which is how they tell of it. */
  readonly stored: (text: string) => Uint8Array;
  /** The context that the leader accepts. */
  readonly context: Context;
  /** A store that has the region but does not lead it. */
  readonly follower: { readonly id: bigint; readonly storeId: bigint } | undefined;
}

/** One refusal: what is wrong with the request, and the region error that answers it. */
interface Row {
  readonly what: string;
  readonly context: (stage: Stage) => Context;
  /** The store that is asked; the leader's unless the row says otherwise. */
  readonly storeId?: (stage: Stage) => bigint;
  readonly error: (stage: Stage) => Record<string, unknown>;
  /** Requests for which it holds; all of them when absent. */
  readonly only?: readonly string[];
  readonly needs?: Capability;
  /** It is about the peer that the request names. */
  readonly isAboutPeer?: boolean;
  /** Key of the request, by default one in the region. */
  readonly key?: string;
}

const WRONG_ID = 987_654_321n;
const IN_REGION = "a";
const OUTSIDE = "z";

/** A request that has a key in it. */
interface RequestOfKey {
  readonly isBatched: boolean;
  /** It goes to whoever leads the region on the store: TiKV asks neither for the store nor the peer. */
  readonly ignoresPeer?: boolean;
  readonly body: (key: Uint8Array) => object;
}

/** Each request with a key, as data. */
const REQUESTS: Readonly<Record<string, RequestOfKey>> = {
  RawGet: { isBatched: true, body: (key) => ({ key }) },
  RawBatchGet: { isBatched: true, body: (key) => ({ keys: [key] }) },
  RawPut: { isBatched: true, body: (key) => ({ key, value: utf8Encode("v") }) },
  RawBatchPut: { isBatched: true, body: (key) => ({ pairs: [{ key, value: utf8Encode("v") }] }) },
  RawDelete: { isBatched: true, body: (key) => ({ key }) },
  RawBatchDelete: { isBatched: true, body: (key) => ({ keys: [key] }) },
  RawDeleteRange: {
    isBatched: true,
    body: (key) => ({ startKey: key, endKey: concatBytes(key, new Uint8Array([0])) }),
  },
  RawScan: {
    isBatched: true,
    body: (key) => ({ startKey: key, endKey: concatBytes(key, new Uint8Array([0])), limit: 1 }),
  },
  RawBatchScan: {
    isBatched: true,
    body: (key) => ({
      ranges: [{ startKey: key, endKey: concatBytes(key, new Uint8Array([0])) }],
      eachLimit: 1,
    }),
  },
  RawGetKeyTTL: { isBatched: false, body: (key) => ({ key }) },
  RawChecksum: {
    isBatched: false,
    body: (key) => ({ ranges: [{ startKey: key, endKey: concatBytes(key, new Uint8Array([0])) }] }),
  },
  SplitRegion: { isBatched: false, ignoresPeer: true, body: (key) => ({ splitKeys: [key], isRawKv: true }) },
  RawCompareAndSwap: {
    isBatched: false,
    body: (key) => ({ key, value: utf8Encode("v"), previousNotExist: true }),
  },
};

const POINTS = ["RawGet", "RawPut", "RawDelete", "RawBatchPut", "RawBatchDelete", "RawCompareAndSwap"];

function withEpoch(
  { context }: Stage,
  { confVer = 0n, version = 0n }: { confVer?: bigint; version?: bigint },
): Context {
  const epoch = context.regionEpoch ?? assert.fail("the context has no epoch");
  const changed = { confVer: epoch.confVer + confVer, version: epoch.version + version };
  return { ...context, regionEpoch: create(RegionEpochSchema, changed) };
}

function epochNotMatch({ place: { region } }: Stage): Record<string, unknown> {
  return { epochNotMatch: { currentRegions: [region.id] } };
}

const ROWS: readonly Row[] = [
  {
    what: "for another store",
    isAboutPeer: true,
    context: ({ context }) => ({ ...context, peer: { ...peerOf(context), storeId: WRONG_ID } }),
    error: ({ place }) => ({
      storeNotMatch: { requestStoreId: WRONG_ID, actualStoreId: place.leader.storeId },
    }),
  },
  {
    what: "for a region that is not there",
    context: ({ context }) => ({ ...context, regionId: WRONG_ID }),
    error: () => ({ regionNotFound: { regionId: WRONG_ID } }),
  },
  {
    what: "for another peer",
    isAboutPeer: true,
    needs: "peer-checks",
    context: ({ context }) => ({ ...context, peer: { ...peerOf(context), id: WRONG_ID } }),
    error: ({ place }) => ({ mismatchPeerId: { requestPeerId: WRONG_ID, storePeerId: place.leader.id } }),
  },
  {
    what: "to a peer that does not lead",
    needs: "peer-checks",
    context: ({ context, follower }) => ({ ...context, peer: { ...peerOf(context), ...follower } }),
    storeId: ({ follower, place }) => follower?.storeId ?? place.leader.storeId,
    error: ({ place }) => ({
      notLeader: {
        regionId: place.region.id,
        leader: { id: place.leader.id, storeId: place.leader.storeId },
      },
    }),
  },
  {
    what: "from before a split",
    context: (stage) => withEpoch(stage, { version: -1n }),
    error: epochNotMatch,
  },
  {
    what: "from after a split that did not happen",
    context: (stage) => withEpoch(stage, { version: 1n }),
    error: epochNotMatch,
  },
  {
    what: "with a key outside the region",
    context: ({ context }) => context,
    key: OUTSIDE,
    only: POINTS,
    error: ({ place: { region } }) => ({ keyNotInRegion: boundsOf(region) }),
  },
  {
    what: "with a key outside the region, which is told as it is kept,",
    needs: "stored-keys",
    context: ({ context }) => context,
    key: OUTSIDE,
    only: POINTS,
    error: ({ place: { region }, stored }) => ({
      keyNotInRegion: { ...boundsOf(region), key: stored(OUTSIDE) },
    }),
  },
];

function boundsOf(region: Place["region"]): Record<string, unknown> {
  return { regionId: region.id, startKey: region.startKey, endKey: region.endKey };
}

function peerOf(context: Context): NonNullable<Context["peer"]> {
  return context.peer ?? assert.fail("the context has no peer");
}

/** The one error of a reply with its fields; of regions the ids of the wanted ones only. */
function errorOf(reply: unknown, wanted: Record<string, unknown>): unknown {
  const { regionError } = reply as { regionError?: RegionError };
  if (regionError === undefined) return `no region error: ${JSON.stringify(plain(reply), bigints)}`;
  const { message: _, ...fields } = plain(regionError) as Record<string, unknown>;
  const regions = (fields["epochNotMatch"] as { currentRegions?: { id: bigint }[] } | undefined)
    ?.currentRegions;
  if (regions === undefined) return withoutDefaults(fields, wanted);
  const [id] = (wanted["epochNotMatch"] as { currentRegions: bigint[] } | undefined)?.currentRegions ?? [];
  return { epochNotMatch: { currentRegions: regions.map((one) => one.id).filter((one) => one === id) } };
}

/** Leaves out what the wanted error does not speak of, such as the role of a peer. */
function withoutDefaults(seen: unknown, wanted: unknown): unknown {
  if (typeof seen !== "object" || seen === null || seen instanceof Uint8Array) return seen;
  const keys = Object.keys(wanted as object ?? {});
  return Object.fromEntries(
    Object.entries(seen).filter(([name]) => keys.includes(name))
      .map(([name, value]) => [name, withoutDefaults(value, (wanted as Record<string, unknown>)[name])]),
  );
}

function bigints(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

/** Splits the keys of the test in two regions and finds the left one. */
async function stageOf({ control, prefix, cluster, client }: Scene): Promise<Stage & AsyncDisposable> {
  await control.split(`${prefix}m`);
  // A plain write settles that the split is known everywhere.
  await client.raw.put(`${prefix}${IN_REGION}`, "v");
  const calls = await directCalls(cluster);
  const isV2 = cluster.options.apiVersion === 2;
  const keyspaceId = isV2 ? (await client.pd.keyspaces.getEnabled("DEFAULT")).id : 0;
  const key = (text: string): Uint8Array => {
    const plainKey = utf8Encode(`${prefix}${text}`);
    const id = [keyspaceId >> 16, keyspaceId >> 8, keyspaceId].map((byte) => byte & 0xff);
    return isV2 ? concatBytes(new Uint8Array([0x72, ...id]), plainKey) : plainKey;
  };
  const stored = (text: string): Uint8Array => isV2 ? encodeBytes(key(text)) : key(text);
  const place = await calls.placeOf(stored(IN_REGION));
  const context = contextOf(place);
  if (isV2) Object.assign(context, { apiVersion: 2, keyspace: { case: "keyspaceId", value: keyspaceId } });
  const follower = place.region.peers.find((peer) => peer.id !== place.leader.id);
  return { calls, place, key, stored, context, follower, [Symbol.asyncDispose]: () => calls.close() };
}

/** Registers the table for a backend. */
export function strictnessSuite(backend: Backend): void {
  for (const row of ROWS) {
    contract(
      backend,
      `a request ${row.what} is refused with its fields`,
      { needs: row.needs === undefined ? ["split"] : ["split", row.needs] },
      async (scene) => {
        await using stage = await stageOf(scene);
        const { calls, place, key } = stage;
        const address = place.addressOf(row.storeId?.(stage) ?? place.leader.storeId);
        for (const [name, { isBatched, ignoresPeer, body }] of Object.entries(REQUESTS)) {
          if (ignoresPeer === true && row.isAboutPeer === true) continue;
          if (row.only !== undefined && !row.only.includes(name)) continue;
          const request = { ...body(key(row.key ?? IN_REGION)), context: row.context(stage) };
          const want = row.error(stage);
          const alone = await calls.unary(address, methodOf(name), request as never);
          assert.deepEqual(errorOf(alone, want), want, `${name} alone`);
          if (!isBatched) continue;
          const batched = await calls.batched(address, name, request);
          assert.deepEqual(errorOf(batched, want), want, `${name} in a batch`);
        }
        // What was refused left no trace.
        const value = await scene.client.raw.get(`${scene.prefix}${IN_REGION}`);
        assert.deepEqual(value, utf8Encode("v"));
      },
    );
  }

  // Only admin commands care (`NORMAL_REQ_CHECK_CONF_VER` in raftstore's `util.rs` of TiKV).
  contract(
    backend,
    "a request from before a change of peers is served",
    { needs: ["split", "peer-checks"] },
    async (scene) => {
      await using stage = await stageOf(scene);
      const { calls, place, key } = stage;
      const request = { key: key(IN_REGION), context: withEpoch(stage, { confVer: -1n }) };
      const reply = await calls.unary(
        place.addressOf(place.leader.storeId),
        methodOf("RawGet"),
        request as never,
      );
      assert.deepEqual((reply as unknown as { value: Uint8Array }).value, utf8Encode("v"));
    },
  );

  contract(backend, "PD refuses a request for another cluster", {}, async ({ cluster }) => {
    const calls = await directCalls(cluster);
    try {
      const place = await calls.placeOf(new Uint8Array());
      assert.ok(place.region.id > 0n);
      const { target } = cluster;
      const isEmbedded = typeof target === "object" && "connectOptions" in target;
      const seeds = isEmbedded ? target.connectOptions().pd : typeof target === "string" ? [target] : target;
      const seed = (seeds[0] ?? "").replace(/^https?:\/\//, "");
      const header = { clusterId: calls.clusterId + 1n };
      await assert.rejects(
        calls.unary(seed, PD.method.getRegion, { header, regionKey: new Uint8Array() }),
        (error) => {
          assert.ok(error instanceof RpcError);
          const FAILED_PRECONDITION = 9;
          assert.equal(error.code, FAILED_PRECONDITION);
          return true;
        },
      );
    } finally {
      await calls.close();
    }
  });

  contract(
    backend,
    "an entry above the limit of the log is refused",
    { needs: ["split", "strict-api"] },
    async (scene) => {
      await using stage = await stageOf(scene);
      const { calls, place, key, context } = stage;
      const request = { key: key(IN_REGION), value: new Uint8Array(9 * 1024 * 1024), context };
      const reply = await calls.unary(
        place.addressOf(place.leader.storeId),
        methodOf("RawPut"),
        request as never,
      );
      const { regionError } = reply as unknown as { regionError?: RegionError };
      assert.equal(regionError?.raftEntryTooLarge?.regionId, place.region.id);
    },
  );

  contract(backend, "a key above the limit is refused", { needs: ["split", "strict-api"] }, async (scene) => {
    await using stage = await stageOf(scene);
    const { calls, place, key, context } = stage;
    const request = { key: key(`${IN_REGION}${"k".repeat(9 * 1024)}`), value: utf8Encode("v"), context };
    const reply = await calls.unary(
      place.addressOf(place.leader.storeId),
      methodOf("RawPut"),
      request as never,
    );
    assert.notEqual((reply as unknown as { error: string }).error, "");
  });

  contract(backend, "another API version is refused", { needs: ["split", "strict-api"] }, async (scene) => {
    await using stage = await stageOf(scene);
    const { calls, place, key, context } = stage;
    const apiVersion = context.apiVersion === 2 ? 0 : 2;
    const request = { key: key(IN_REGION), context: { ...context, apiVersion } };
    const reply = await calls.unary(
      place.addressOf(place.leader.storeId),
      methodOf("RawGet"),
      request as never,
    );
    assert.notEqual((reply as unknown as { error: string }).error, "");
  });
}

// SPDX-License-Identifier: Apache-2.0
// What a store refuses because of the region, as a table: each row is sent with each request, alone
// and in a batch, and must be refused with the same error and the same fields by every cluster.

import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { Context } from "../../gen/kvrpcpb_pb.ts";
import { RegionEpochSchema } from "../../gen/metapb_pb.ts";
import { equalBytes } from "../../src/bytes/compare.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { plain } from "../helpers/arbitrary_message.ts";
import { type Backend, type Capability, contract } from "./backend.ts";
import { methodOf, type Place } from "./direct_calls.ts";
import { type RequestOfKey, REQUESTS } from "./strictness_requests.ts";
import { LEFT_KEY, peerOf, RIGHT_KEY, type Stage, stageOf } from "./strictness_stage.ts";

/** One refusal: what is wrong with the request, and the region error that answers it. */
interface Row {
  readonly what: string;
  readonly needs?: readonly Capability[];
  /** Requests for which it holds; all of them when absent. */
  readonly holdsFor?: (request: RequestOfKey) => boolean;
  readonly context: (stage: Stage) => Context;
  /** The store that is asked; the one that leads the left region unless the row says otherwise. */
  readonly storeId?: (stage: Stage) => bigint;
  /** Key of the request, by default one in the left region. */
  readonly key?: string;
  /** What the error has, all of it. */
  readonly error: (stage: Stage) => Record<string, unknown>;
}

const WRONG_ID = 987_654_321n;

const asksPeer = ({ ignoresPeer }: RequestOfKey): boolean => ignoresPeer !== true;
const isBound = ({ isBoundToRegion }: RequestOfKey): boolean => isBoundToRegion === true;

function withEpoch(
  { contextAt, place }: Stage,
  { at = place, confVer = 0n, version = 0n }: { at?: Place; confVer?: bigint; version?: bigint },
): Context {
  const context = contextAt(at);
  const epoch = context.regionEpoch ?? assert.fail("the context has no epoch");
  const changed = { confVer: epoch.confVer + confVer, version: epoch.version + version };
  return { ...context, regionEpoch: create(RegionEpochSchema, changed) };
}

function withPeer({ context }: Stage, changes: { readonly id?: bigint; readonly storeId?: bigint }): Context {
  return { ...context, peer: { ...peerOf(context), ...changes } };
}

function boundsOf({ region: { id, startKey, endKey } }: Place): Record<string, unknown> {
  return { regionId: id, startKey, endKey };
}

const ROWS: readonly Row[] = [
  {
    what: "for another store",
    holdsFor: asksPeer,
    context: (stage) => withPeer(stage, { storeId: WRONG_ID }),
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
    needs: ["peer-checks"],
    holdsFor: asksPeer,
    context: (stage) => withPeer(stage, { id: WRONG_ID }),
    error: ({ place }) => ({ mismatchPeerId: { requestPeerId: WRONG_ID, storePeerId: place.leader.id } }),
  },
  {
    what: "to a peer that does not lead",
    needs: ["followers"],
    context: (stage) => withPeer(stage, stage.follower ?? {}),
    storeId: ({ follower, place }) => follower?.storeId ?? place.leader.storeId,
    error: ({ place }) => ({ notLeader: { regionId: place.region.id, leader: peerIn(place) } }),
  },
  {
    what: "from before a split",
    context: (stage) => withEpoch(stage, { at: stage.right, version: -1n }),
    storeId: ({ right }) => right.leader.storeId,
    key: RIGHT_KEY,
    // Both halves, so that a client needs not ask PD.
    error: ({ place, right }) => ({ epochNotMatch: { currentRegions: [right.region, place.region] } }),
    holdsFor: ({ name }) => name !== "SplitRegion",
  },
  {
    what: "to split a region from before a split",
    context: (stage) => withEpoch(stage, { at: stage.right, version: -1n }),
    storeId: ({ right }) => right.leader.storeId,
    key: RIGHT_KEY,
    error: ({ right }) => ({ epochNotMatch: { currentRegions: [right.region] } }),
    holdsFor: ({ name }) => name === "SplitRegion",
  },
  {
    what: "from after a split that did not happen",
    context: (stage) => withEpoch(stage, { version: 1n }),
    error: ({ place }) => ({ epochNotMatch: { currentRegions: [place.region] } }),
  },
  {
    what: "with a key outside the region",
    context: ({ context }) => context,
    key: RIGHT_KEY,
    holdsFor: (request) => isBound(request) && request.name !== "SplitRegion",
    // How the key is told is the next row's business, unless there is only one form of it.
    error: ({ place, key, stored }) => {
      const [sent, kept] = [key(RIGHT_KEY), stored(RIGHT_KEY)];
      return { keyNotInRegion: { ...boundsOf(place), ...(equalBytes(sent, kept) ? { key: sent } : {}) } };
    },
  },
  {
    what: "to delete a range outside the region",
    needs: ["range-checks"],
    context: ({ context }) => context,
    key: RIGHT_KEY,
    holdsFor: ({ name }) => name === "KvDeleteRange",
    error: ({ place, stored }) => ({ keyNotInRegion: { ...boundsOf(place), key: stored(RIGHT_KEY) } }),
  },
  {
    what: "to split a region at a key outside of it",
    needs: ["split-checks"],
    context: ({ context }) => context,
    key: RIGHT_KEY,
    holdsFor: ({ name }) => name === "SplitRegion",
    error: ({ place, stored }) => ({ keyNotInRegion: { ...boundsOf(place), key: stored(RIGHT_KEY) } }),
  },
  {
    what: "with a key outside the region, which is told as it is kept,",
    needs: ["stored-keys"],
    context: ({ context }) => context,
    key: RIGHT_KEY,
    holdsFor: (request) => isBound(request) && request.name !== "SplitRegion",
    error: ({ place, stored }) => ({ keyNotInRegion: { ...boundsOf(place), key: stored(RIGHT_KEY) } }),
  },
  {
    what: "of an old term",
    needs: ["peer-checks"],
    holdsFor: asksPeer,
    // A region has had more elections than one when it is made.
    context: ({ context }) => ({ ...context, term: 1n }),
    error: () => ({ staleCommand: {} }),
  },
];

function peerIn({ leader }: Place): Record<string, unknown> {
  return { id: leader.id, storeId: leader.storeId };
}

/** The error of a reply, without its text. */
function errorOf(reply: unknown, wanted: Record<string, unknown>): unknown {
  const { regionError } = reply as { regionError?: RegionError };
  if (regionError === undefined) return `no region error: ${JSON.stringify(plain(reply), bigints)}`;
  const { message: _, ...error } = plain(regionError) as RefusalFields;
  const { notLeader, keyNotInRegion, epochNotMatch } = error;
  if (notLeader?.leader !== undefined) {
    const { id, storeId } = notLeader.leader;
    return { ...error, notLeader: { ...notLeader, leader: { id, storeId } } };
  }
  // One row is about where the key is, another about the form in which it is told.
  const isKeyWanted = "key" in (wanted["keyNotInRegion"] as object | undefined ?? {});
  if (keyNotInRegion !== undefined && !isKeyWanted) {
    const { key: _, ...bounds } = keyNotInRegion;
    return { ...error, keyNotInRegion: bounds };
  }
  const regions = (wanted["epochNotMatch"] as RefusalFields["epochNotMatch"])?.currentRegions;
  if (epochNotMatch === undefined || regions === undefined) return error;
  // More neighbours than those that came of the last split may follow.
  return {
    ...error,
    epochNotMatch: { currentRegions: epochNotMatch.currentRegions.slice(0, regions.length) },
  };
}

interface RefusalFields {
  readonly message?: string;
  readonly notLeader?: { readonly leader?: { readonly id: bigint; readonly storeId: bigint } };
  readonly keyNotInRegion?: { readonly key: Uint8Array };
  readonly epochNotMatch?: { readonly currentRegions: readonly unknown[] };
}

function bigints(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

async function assertRefused(stage: Stage, row: Row): Promise<void> {
  const { key, mode, place } = stage;
  const address = place.addressOf(row.storeId?.(stage) ?? place.leader.storeId);
  const want = plain(row.error(stage)) as Record<string, unknown>;
  for (const request of REQUESTS) {
    if (request.mode !== mode || row.holdsFor?.(request) === false) continue;
    const body = request.body(key(row.key ?? LEFT_KEY), utf8Encode("v"));
    const check = (reply: unknown, how: string): void => assert.deepEqual(errorOf(reply, want), want, how);
    await stage.send(request, { ...body, context: row.context(stage) }, { address, check });
  }
}

/** What was refused left no trace. */
async function assertUntouched({ mode, calls, place, key, context }: Stage): Promise<void> {
  const address = place.addressOf(place.leader.storeId);
  const name = mode === "raw" ? "RawGet" : "KvGet";
  const request = { key: key(LEFT_KEY), version: 2n ** 62n, context };
  const reply = await calls.unary(address, methodOf(name), request as never);
  // Not every store says "not found" of a transaction's key.
  const { value, error } = reply as unknown as { value: Uint8Array; error: unknown };
  assert.deepEqual([value.length, error === "" ? undefined : error], [0, undefined]);
}

/** Registers the table for a backend. */
export function strictnessSuite(backend: Backend): void {
  for (const mode of ["raw", "txn"] as const) {
    const ofMode: Capability[] = mode === "raw" ? ["split"] : ["split", "transactions"];
    const kind = mode === "raw" ? "a raw request" : "a transaction's request";
    for (const row of ROWS) {
      if (!REQUESTS.some((request) => request.mode === mode && row.holdsFor?.(request) !== false)) continue;
      const needs = [...ofMode, ...row.needs ?? []];
      contract(backend, `${kind} ${row.what} is refused with its fields`, { needs }, async (scene) => {
        await using stage = await stageOf(scene, mode);
        await assertRefused(stage, row);
        await assertUntouched(stage);
      });
    }

    // Only admin commands care (`NORMAL_REQ_CHECK_CONF_VER` in raftstore's `util.rs` of TiKV).
    contract(
      backend,
      `${kind} from before a change of peers is served`,
      { needs: [...ofMode, "peer-checks"] },
      async (scene) => {
        await using stage = await stageOf(scene, mode);
        const read = REQUESTS.find(({ name }) => name === (mode === "raw" ? "RawGet" : "KvGet"));
        assert.ok(read !== undefined);
        const body = { ...read.body(stage.key(LEFT_KEY), utf8Encode("")) };
        await stage.send(read, { ...body, context: withEpoch(stage, { confVer: -1n }) }, {
          check: (reply) => assert.equal((reply as { regionError?: RegionError }).regionError, undefined),
        });
      },
    );
  }
  contract(
    backend,
    "a store that does not lead any more tells of the new leader",
    { needs: ["split", "leaders"] },
    async (scene) => {
      await using stage = await stageOf(scene, "raw");
      const { calls, place, stored } = stage;
      const regionId = place.region.id;
      await scene.control.moveLeader(`${scene.prefix}${LEFT_KEY}`);
      const moved = await calls.placeOf(stored(LEFT_KEY));
      assert.notEqual(moved.leader.id, place.leader.id);
      await assertRefused(stage, {
        what: "to the old leader",
        context: ({ context }) => context,
        error: () => ({ notLeader: { regionId, leader: peerIn(moved) } }),
      });
    },
  );

  contract(
    backend,
    "a store that knows no leader says so",
    { needs: ["split", "leaderless"] },
    async (scene) => {
      await using stage = await stageOf(scene, "raw");
      const regionId = stage.place.region.id;
      await scene.control.dropLeader(`${scene.prefix}${LEFT_KEY}`);
      await assertRefused(stage, {
        what: "to a follower",
        context: ({ context }) => context,
        error: () => ({ notLeader: { regionId } }),
      });
    },
  );
}

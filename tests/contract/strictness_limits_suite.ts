// SPDX-License-Identifier: Apache-2.0
// What a store refuses because of the request itself: sizes, versions, prefixes, clusters. Most of it
// has no code in the protocol but a text, in one of three places of the answer.

import assert from "node:assert/strict";
import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import { encodeBytes } from "../../src/bytes/memcomparable.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { GRPC, RpcError } from "../../src/rpc/grpc_status.ts";
import { type Backend, type Capability, contract } from "./backend.ts";
import { type RequestOfKey, REQUESTS } from "./strictness_requests.ts";
import { LEFT_KEY, RIGHT_KEY, type Stage, stageOf } from "./strictness_stage.ts";

/** The default of `raft-entry-max-size`, and of `storage.max-key-size`. */
const MAX_ENTRY_BYTES = 8 * 1024 * 1024;
const MAX_KEY_BYTES = 8 * 1024;

/** What stands in an answer that refuses without a region error. */
interface TextRefusal {
  readonly what: string;
  readonly needs: readonly Capability[];
  readonly holdsFor: (request: RequestOfKey) => boolean;
  /** Changes to the context. */
  readonly context?: (stage: Stage) => object;
  readonly key: (stage: Stage) => Uint8Array;
  /** How TiKV names it, in its short and its long form. */
  readonly text: RegExp;
}

const KEY_MODE = /Key mode mismatched|InvalidKeyMode|InvalidKeyRangeMode/;

const V1 = 0;
const V1TTL = 1;
const V2 = 2;
const V3 = 3;

const RAW_PREFIX = 0x72;
const TXN_PREFIX = 0x78;

const ROWS: readonly TextRefusal[] = [
  {
    what: "with a key above the limit",
    needs: ["size-limits"],
    holdsFor: ({ limitsKeys }) => limitsKeys === true,
    key: ({ key }) => key(`${LEFT_KEY}${"k".repeat(MAX_KEY_BYTES)}`),
    text: /max key size exceeded|KeyTooLarge/,
  },
  {
    what: "of a later API version",
    needs: ["strict-api", "no-prefixes"],
    holdsFor: ({ isOfVersion }) => isOfVersion === true,
    context: () => ({ apiVersion: V2 }),
    key: ({ key }) => key(LEFT_KEY),
    text: /Api version in request does not match|ApiVersionNotMatched/,
  },
  {
    what: "of an earlier API version",
    needs: ["strict-api", "prefixes"],
    holdsFor: ({ isOfVersion }) => isOfVersion === true,
    context: () => ({ apiVersion: V1TTL }),
    key: ({ key }) => key(LEFT_KEY),
    text: /Api version in request does not match|ApiVersionNotMatched/,
  },
  {
    what: "of an API version that is not there yet",
    needs: ["strict-api"],
    holdsFor: ({ isOfVersion }) => isOfVersion === true,
    context: () => ({ apiVersion: V3 }),
    key: ({ key }) => key(LEFT_KEY),
    text: /Api version in request does not match|ApiVersionNotMatched/,
  },
  {
    // TiDB may, with prefixes of its own, so that it is the key which is refused.
    what: "of version 1 to stores of version 2",
    needs: ["strict-api", "prefixes"],
    holdsFor: ({ isOfVersion, mode }) => isOfVersion === true && mode === "txn",
    context: () => ({ apiVersion: V1 }),
    key: ({ key }) => key(LEFT_KEY),
    text: KEY_MODE,
  },
  {
    what: "with a key without the prefix of its mode",
    needs: ["strict-api", "prefixes"],
    holdsFor: ({ isOfVersion }) => isOfVersion === true,
    key: () => utf8Encode("no prefix"),
    text: KEY_MODE,
  },
  {
    what: "with a key of the other mode",
    needs: ["strict-api", "prefixes"],
    holdsFor: ({ isOfVersion }) => isOfVersion === true,
    key: ({ key }) => {
      const mine = key(LEFT_KEY);
      const other = mine.slice();
      other[0] = mine[0] === RAW_PREFIX ? TXN_PREFIX : RAW_PREFIX;
      return other;
    },
    text: KEY_MODE,
  },
  {
    what: "with the empty key",
    needs: ["strict-api", "prefixes"],
    holdsFor: ({ isOfVersion }) => isOfVersion === true,
    key: () => new Uint8Array(),
    text: KEY_MODE,
  },
];

/** The text of a refusal, wherever the answer has its place for one. */
function textOf(reply: unknown): string {
  const { regionError, error, errors, pairs, kvs } = reply as RefusalPlaces;
  if (regionError !== undefined) return `a region error: ${regionError.message}`;
  if (typeof error === "string") return error;
  return error?.abort ?? errors?.[0]?.abort ?? [...pairs ?? [], ...kvs ?? []][0]?.error?.abort ?? "";
}

interface RefusalPlaces {
  readonly regionError?: RegionError;
  readonly error?: string | { readonly abort: string };
  readonly errors?: readonly { readonly abort: string }[];
  readonly pairs?: readonly { readonly error?: { readonly abort: string } }[];
  readonly kvs?: readonly { readonly error?: { readonly abort: string } }[];
}

/** Registers the tables for a backend. */
export function strictnessLimitsSuite(backend: Backend): void {
  for (const mode of ["raw", "txn"] as const) {
    const requests = REQUESTS.filter((request) => request.mode === mode);
    const ofMode: Capability[] = mode === "raw" ? ["split"] : ["split", "transactions"];
    const kind = mode === "raw" ? "a raw request" : "a transaction's request";

    for (const { what, needs, holdsFor, context, key, text } of ROWS) {
      const held = requests.filter(holdsFor);
      if (held.length === 0) continue;
      contract(backend, `${kind} ${what} is refused`, { needs: [...ofMode, ...needs] }, async (scene) => {
        await using stage = await stageOf(scene, mode);
        for (const request of held) {
          const body = request.body(key(stage), utf8Encode("v"));
          await stage.send(request, { ...body, context: { ...stage.context, ...context?.(stage) } }, {
            check: (reply, how) => assert.match(textOf(reply), text, how),
          });
        }
      });
    }

    contract(
      backend,
      `${kind} above the limit of an entry is refused with the region`,
      { needs: [...ofMode, "size-limits"] },
      async (scene) => {
        await using stage = await stageOf(scene, mode);
        for (const request of requests.filter(({ isSized }) => isSized === true)) {
          const body = request.body(stage.key(LEFT_KEY), new Uint8Array(MAX_ENTRY_BYTES));
          await stage.send(request, { ...body, context: stage.context }, {
            check: (reply, how) => {
              const { regionError } = reply as { regionError?: RegionError };
              const { regionId, entrySize } = regionError?.raftEntryTooLarge ?? assert.fail(how);
              assert.equal(regionId, stage.place.region.id, how);
              assert.ok(entrySize > BigInt(MAX_ENTRY_BYTES), how);
            },
          });
        }
      },
    );

    contract(
      backend,
      `${kind} for another cluster ends the call, and the stream of its batch`,
      { needs: [...ofMode, "cluster-checks"] },
      async (scene) => {
        await using stage = await stageOf(scene, mode);
        const { calls, place, context, key } = stage;
        const address = place.addressOf(place.leader.storeId);
        for (const request of requests) {
          const body = { ...request.body(key(LEFT_KEY), utf8Encode("v")) };
          const sent = { ...body, context: { ...context, clusterId: calls.clusterId + 1n } };
          const isRefused = (error: unknown): boolean => {
            assert.ok(error instanceof RpcError, `${request.name}: ${error}`);
            assert.equal(error.code, GRPC.INVALID_ARGUMENT, request.name);
            return true;
          };
          await assert.rejects(stage.alone(request, sent), isRefused);
          const { batchCase } = request;
          if (batchCase !== undefined) {
            await assert.rejects(calls.batched(address, batchCase, sent), isRefused);
          }
        }
      },
    );
  }

  for (const mode of ["raw", "txn"] as const) {
    contract(
      backend,
      `a store takes a ${mode} request of a keyspace that is not there: only PD knows which there are`,
      { needs: ["prefixes", "split", "transactions"] },
      async (scene) => {
        await using stage = await stageOf(scene, mode);
        const { calls, contextAt, key } = stage;
        const elsewhere = key(LEFT_KEY).slice();
        elsewhere.set([0xab, 0xcd, 0xef], 1);
        const place = await calls.placeOf(encodeBytes(elsewhere));
        const context = { ...contextAt(place), keyspace: { case: "keyspaceId", value: 0xabcdef } };
        for (const request of REQUESTS.filter(({ name }) => name === "RawGet" || name === "KvGet")) {
          if (request.mode !== mode) continue;
          const body = { ...request.body(elsewhere, utf8Encode("")), context };
          await stage.send(request, body, {
            address: place.addressOf(place.leader.storeId),
            check: (reply, how) => {
              const { regionError, value } = reply as { regionError?: unknown; value: Uint8Array };
              assert.deepEqual([regionError, textOf(reply), value.length], [undefined, "", 0], how);
            },
          });
        }
      },
    );
  }

  contract(
    backend,
    "a batch of a transaction's reads tells of a key outside the region beside the others",
    { needs: ["split", "transactions", "pair-errors"] },
    async (scene) => {
      await using stage = await stageOf(scene, "txn");
      const { context, key } = stage;
      for (const request of REQUESTS) {
        if (request.name !== "KvBatchGet" && request.name !== "KvBufferBatchGet") continue;
        const body = request.body(key(RIGHT_KEY), utf8Encode(""));
        await stage.send(request, { ...body, context }, {
          check: (reply, how) => {
            const { regionError, error } = reply as { regionError?: unknown; error?: unknown };
            assert.deepEqual([regionError, error], [undefined, undefined], how);
            assert.match(textOf(reply), /not in region/, how);
          },
        });
      }
    },
  );

  contract(
    backend,
    "a region is not split at keys where it cannot be",
    { needs: ["split"] },
    async (scene) => {
      await using stage = await stageOf(scene, "raw");
      const { context, key } = stage;
      const split = REQUESTS.find(({ name }) => name === "SplitRegion") ?? assert.fail("no such request");
      // At none, and where the region begins.
      for (const splitKeys of [[], [key("")]]) {
        const { regionError } = await stage.alone(split, { context, splitKeys, isRawKv: true }) as {
          regionError?: RegionError;
        };
        const { message, $typeName: _, ...kinds } = regionError ?? assert.fail("no region error");
        assert.notEqual(message, "");
        assert.deepEqual(kinds, {});
      }
    },
  );
}

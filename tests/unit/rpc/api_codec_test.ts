// SPDX-License-Identifier: Apache-2.0
// Walks every command by its descriptors, with a list of its own of the fields that hold keys.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  clone,
  create,
  type DescField,
  type DescMessage,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { ErrorSchema } from "../../../gen/errorpb_pb.ts";
import { KeyErrorSchema, LockInfoSchema } from "../../../gen/kvrpcpb_pb.ts";
import {
  BatchCommandsEmptyRequestSchema,
  BatchCommandsEmptyResponseSchema,
  Tikv,
} from "../../../gen/tikvpb_pb.ts";
import { concatBytes } from "../../../src/bytes/concat.ts";
import { encodeBytes } from "../../../src/bytes/memcomparable.ts";
import { utf8Encode as bytes } from "../../../src/bytes/utf8.ts";
import { v1Codec, v1TtlCodec, v2Codec } from "../../../src/codec/keyspace.ts";
import { createApiCodec } from "../../../src/rpc/api_codec.ts";
import { type CommandName, COMMANDS } from "../../../src/rpc/commands.ts";
import { SeededRandom } from "../../../src/testing/seeded_random.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const PREFIX = Uint8Array.of(0x72, 0, 0, 7);
const END = Uint8Array.of(0x72, 0, 0, 8);
const FOREIGN = Uint8Array.of(0x72, 0, 0, 9, 0x61);
const V2 = createApiCodec(v2Codec("raw", 7), "orders");
const NAMES = Object.keys(COMMANDS) as CommandName[];

/** What each field of bytes is; `Type.field` overrules the name of the field alone. */
const FIELDS: Readonly<Record<string, "key" | "border" | "opaque">> = {
  key: "key",
  keys: "key",
  primary: "key",
  primaryKey: "key",
  primaryLock: "key",
  secondaries: "key",
  startKey: "key",
  endKey: "key",
  start: "key",
  end: "key",
  splitKey: "key",
  splitKeys: "key",
  lockKey: "key",
  deadlockKey: "key",
  "Region.startKey": "border",
  "Region.endKey": "border",
  "KeyNotInRegion.startKey": "border",
  "KeyNotInRegion.endKey": "border",
  "BucketVersionNotMatch.keys": "border",
  "CompactRequest.startKey": "opaque",
  "CompactResponse.compactedStartKey": "opaque",
  "CompactResponse.compactedEndKey": "opaque",
  "EncryptionMeta.iv": "opaque",
  value: "opaque",
  values: "opaque",
  previousValue: "opaque",
  shortValue: "opaque",
  data: "opaque",
  resourceGroupTag: "opaque",
};

/** Left out: the context has its own encoding, a region error replaces the rest, TiCI is not served. */
const SKIPPED = new Set(["context", "regionError", "Request.tableShardInfos"]);
const DEPTH = 5;

function classOf(field: DescField): "key" | "border" | "opaque" {
  const name = `${field.parent.name}.${field.localName}`;
  const found = FIELDS[name] ?? FIELDS[field.localName];
  assert.ok(found !== undefined, `${name} is not in the list of the test: does it hold a key?`);
  return found;
}

/** A message with something in every field, and the same message in the keys of the cluster. */
function pairOf(desc: DescMessage, random: SeededRandom, depth = DEPTH): { user: Message; cluster: Message } {
  const user = reflect(desc, create(desc));
  const cluster = reflect(desc, create(desc));
  for (const field of desc.fields) {
    const name = `${desc.name}.${field.localName}`;
    if (SKIPPED.has(name) || (depth === DEPTH && SKIPPED.has(field.localName))) continue;
    const kind = field.fieldKind === "list" ? field.listKind : field.fieldKind;
    const count = field.fieldKind === "list" ? 2 : 1;
    for (let i = 0; i < count; i++) {
      let pair: { user: unknown; cluster: unknown };
      if (kind === "message" && field.message !== undefined) {
        if (depth === 0) continue;
        const inner = pairOf(field.message, random, depth - 1);
        pair = { user: reflect(field.message, inner.user), cluster: reflect(field.message, inner.cluster) };
      } else if (kind === "scalar" && field.scalar === ScalarType.BYTES) {
        const key = bytes(`${field.localName}-${random.int(1_000)}`);
        const wire = {
          key: concatBytes(PREFIX, key),
          border: encodeBytes(concatBytes(PREFIX, key)),
          opaque: key,
        };
        pair = { user: key, cluster: wire[classOf(field)] };
      } else if (kind === "scalar" && field.scalar === ScalarType.UINT64) {
        const value = BigInt(random.int(1_000));
        pair = { user: value, cluster: value };
      } else if (kind === "scalar" && field.scalar === ScalarType.STRING) {
        pair = { user: field.localName, cluster: field.localName };
      } else {
        continue;
      }
      if (field.fieldKind === "list") {
        user.get(field).add(pair.user as never);
        cluster.get(field).add(pair.cluster as never);
      } else {
        user.set(field, pair.user as never);
        cluster.set(field, pair.cluster as never);
      }
    }
  }
  return { user: user.message, cluster: cluster.message };
}

function messagesOf(name: CommandName): { input: DescMessage; output: DescMessage } {
  if (name === "Empty") {
    return { input: BatchCommandsEmptyRequestSchema, output: BatchCommandsEmptyResponseSchema };
  }
  const method = Tikv.methods.find((one) => one.name === name);
  assert.ok(method !== undefined, name);
  return method;
}

describe("ApiCodec of V2", () => {
  for (const name of NAMES) {
    it(`[KS-007] [KS-009] ${name}: each key of the request gets the prefix, and the request stays as it is`, () => {
      const { input } = messagesOf(name);
      const { user, cluster } = pairOf(input, new SeededRandom(1));
      // Pairs have errors in answers only.
      for (const body of [user, cluster]) {
        for (const pair of (body as { pairs?: { error?: unknown }[] }).pairs ?? []) delete pair.error;
      }
      const before = clone(input, user);
      assert.deepEqual({ ...V2.encodeRequest(name, user) }, { ...cluster });
      assert.deepEqual(user, before);
    });

    it(`[KS-008] ${name}: each key of the reply loses the prefix, and the reply stays as it is`, () => {
      const { output } = messagesOf(name);
      const { user, cluster } = pairOf(output, new SeededRandom(2));
      const before = clone(output, cluster);
      assert.deepEqual({ ...V2.decodeReply(name, cluster) }, { ...user });
      assert.deepEqual(cluster, before);
    });

    it(`[KS-008] ${name}: a region error is decoded, whatever the command is`, () => {
      const { output } = messagesOf(name);
      if (!output.fields.some(({ localName }) => localName === "regionError")) return;
      const { user, cluster } = pairOf(ErrorSchema, new SeededRandom(3));
      const decoded = V2.decodeReply(name, create(output, { regionError: cluster } as never));
      assert.deepEqual({ ...(decoded as { regionError?: unknown }).regionError as object }, { ...user });
    });
  }

  it("[KS-005] unbounded ranges become those of the keyspace, in either direction", () => {
    const empty = new Uint8Array(0);
    const scan = { startKey: empty, endKey: empty, limit: 1 };
    assert.deepEqual(V2.encodeRequest("RawScan", scan), { ...scan, startKey: PREFIX, endKey: END });
    const reversed = { ...scan, reverse: true };
    assert.deepEqual(V2.encodeRequest("RawScan", reversed), { ...reversed, startKey: END, endKey: PREFIX });
    assert.deepEqual(V2.encodeRequest("KvScan", reversed), { ...reversed, startKey: END, endKey: PREFIX });
    const batch = { ranges: [{}, { startKey: bytes("b"), endKey: bytes("a") }], reverse: true };
    assert.deepEqual(V2.encodeRequest("RawBatchScan", batch), {
      reverse: true,
      ranges: [
        { startKey: END, endKey: PREFIX },
        { startKey: concatBytes(PREFIX, bytes("b")), endKey: concatBytes(PREFIX, bytes("a")) },
      ],
    });
    assert.deepEqual(V2.encodeRequest("RawDeleteRange", {}), { startKey: PREFIX, endKey: END });
    assert.deepEqual(V2.encodeRequest("RawChecksum", { ranges: [{}] }), {
      ranges: [{ startKey: PREFIX, endKey: END }],
    });
  });

  it("[KS-007] keys that were not set stay so where that means something", () => {
    const commit = { keys: [], startVersion: 1n, commitVersion: 2n };
    assert.deepEqual(V2.encodeRequest("KvCommit", commit), commit);
    assert.equal("primaryKey" in V2.encodeRequest("KvFlush", { mutations: [] }), false);
    assert.deepEqual(V2.encodeRequest("GetStoreSafeTS", {}), {});
  });

  it("[KS-008] trap 41: a key of another keyspace is an error in an answer about keys", () => {
    throwsKind(() => V2.decodeReply("RawScan", { kvs: [{ key: FOREIGN, value: FOREIGN }] }), "codec");
    const error = create(KeyErrorSchema, { alreadyExist: { key: FOREIGN } });
    throwsKind(() => V2.decodeReply("KvGet", { error }), "codec");
    const lock = create(LockInfoSchema, { key: FOREIGN });
    throwsKind(() => V2.decodeReply("KvScanLock", { locks: [lock] }), "codec");
  });

  it("trap 41: what a store tells of other keyspaces is left out of an answer about all of them", () => {
    const locks = [FOREIGN, concatBytes(PREFIX, bytes("k"))].map((key) => create(LockInfoSchema, { key }));
    for (const name of ["PhysicalScanLock", "CheckLockObserver"] as const) {
      const { locks: own } = V2.decodeReply(name, { locks });
      assert.deepEqual(own.map(({ key }) => key), [bytes("k")]);
    }
    assert.deepEqual(V2.decodeReply("GetLockWaitInfo", { entries: [{ key: FOREIGN }] }), { entries: [] });
  });

  it("[KS-008] trap 41: regions of an epoch-not-match error are clamped to the keyspace or left out", () => {
    const border = (prefix: Uint8Array, key = "") => encodeBytes(concatBytes(prefix, bytes(key)));
    const regionError = create(ErrorSchema, {
      epochNotMatch: {
        currentRegions: [
          { id: 1n, startKey: border(FOREIGN), endKey: new Uint8Array(0) },
          { id: 2n, startKey: new Uint8Array(0), endKey: border(PREFIX, "m") },
          { id: 3n, startKey: border(PREFIX, "m"), endKey: border(FOREIGN) },
          { id: 4n, startKey: new Uint8Array(0), endKey: border(PREFIX) },
        ],
      },
    });
    const decoded = V2.decodeReply("RawGet", { regionError }).regionError.epochNotMatch?.currentRegions;
    const range = (start: string, end: string) => ({ startKey: bytes(start), endKey: bytes(end) });
    assert.deepEqual(decoded?.map(({ id, startKey, endKey }) => ({ id, startKey, endKey })), [
      { id: 2n, ...range("", "m") },
      { id: 3n, ...range("m", "") },
    ]);
  });

  it("[KS-008] borders of an epoch-not-match error that cannot be read are an error", () => {
    const currentRegions = [{ id: 1n, startKey: Uint8Array.of(1, 2, 3) }];
    const regionError = create(ErrorSchema, { epochNotMatch: { currentRegions } });
    throwsKind(() => V2.decodeReply("RawGet", { regionError }), "codec");
  });

  it("[KS-008] a foreign key in a key-not-in-region error is shown as it is", () => {
    const regionError = create(ErrorSchema, { keyNotInRegion: { key: FOREIGN } });
    assert.deepEqual(V2.decodeReply("RawGet", { regionError }).regionError.keyNotInRegion?.key, FOREIGN);
  });

  it("[KS-004] names version and keyspace in the context", () => {
    assert.deepEqual(V2.context, { apiVersion: 2, keyspaceId: 7, keyspaceName: "orders" });
  });
});

describe("ApiCodec of V1", () => {
  it("[KS-002] passes requests and replies through as they are", () => {
    for (const codec of [createApiCodec(v1Codec("raw")), createApiCodec(v1TtlCodec())]) {
      for (const name of NAMES) {
        const body = { key: bytes("k") };
        assert.equal(codec.encodeRequest(name, body), body);
        const reply = { kvs: [], regions: [], errors: [] };
        if (name === "SplitRegion") assert.deepEqual(codec.decodeReply(name, reply), reply);
        else assert.equal(codec.decodeReply(name, reply), reply);
      }
    }
  });

  it("[KS-002] [RAW-022] trap 37: says version 1, with a TTL too, and the null keyspace", () => {
    assert.deepEqual(createApiCodec(v1Codec("raw")).context, { apiVersion: 0, keyspaceId: 0xffff_ffff });
    assert.deepEqual(createApiCodec(v1TtlCodec()).context, { apiVersion: 0, keyspaceId: 0xffff_ffff });
  });

  it("[KS-002] trap 38: borders are plain for raw data and memcomparable for transactions", () => {
    const startKey = encodeBytes(bytes("k"));
    const regionError = create(ErrorSchema, {
      epochNotMatch: { currentRegions: [{ startKey }] },
      keyNotInRegion: { key: bytes("k"), startKey },
    });
    for (const mode of ["raw", "txn"] as const) {
      const decoded = createApiCodec(v1Codec(mode)).decodeReply("KvGet", { regionError }).regionError;
      const expected = mode === "raw" ? startKey : bytes("k");
      assert.deepEqual(decoded.epochNotMatch?.currentRegions[0]?.startKey, expected);
      assert.deepEqual(decoded.keyNotInRegion?.startKey, expected);
      assert.deepEqual(decoded.keyNotInRegion?.key, bytes("k"));
    }
  });

  it("borders of regions that were split are decoded as all borders are", () => {
    const regions = [{ id: 1n, startKey: encodeBytes(bytes("k")), endKey: new Uint8Array(0) }];
    const reply = createApiCodec(v1Codec("txn")).decodeReply("SplitRegion", { regions, errors: [] });
    assert.deepEqual(reply.regions.map((region) => region.startKey), [bytes("k")]);
  });
});

// SPDX-License-Identifier: Apache-2.0
// Every command against its generated messages: a bytes field with the name of a key is translated,
// every other is left alone. So a key that is added to the definitions cannot be forgotten.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescField, type DescMessage, type Message, toJson } from "@bufbuild/protobuf";
import { ErrorSchema } from "../../../gen/errorpb_pb.ts";
import { RegionSchema } from "../../../gen/metapb_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import { concatBytes } from "../../../src/bytes/concat.ts";
import { encodeBytes } from "../../../src/bytes/memcomparable.ts";
import { utf8Encode } from "../../../src/bytes/utf8.ts";
import { v1Codec, v2Codec } from "../../../src/codec/keyspace.ts";
import { type ApiCodec, createApiCodec } from "../../../src/rpc/api_codec.ts";
import { type CommandName, COMMANDS } from "../../../src/rpc/commands.ts";
import { plain } from "../../helpers/arbitrary_message.ts";
import { throwsKind } from "../../helpers/throws_kind.ts";

const KEYSPACE = 0x010203;
const KEY = utf8Encode("k");
const RAW = new Uint8Array([0x72, 1, 2, 3]);
const TXN = new Uint8Array([0x78, 1, 2, 3]);
const FOREIGN = new Uint8Array([0x72, 9, 9, 9, 0x6b]);

/** What the definitions call a key. */
const KEY_NAME =
  /^(key|keys|startKey|endKey|start|end|primary|primaryLock|primaryKey|secondaries|lockKey|deadlockKey|splitKey|splitKeys)$/;

/** Bytes fields with the name of a key that are none of the user's, with the reason. */
const NOT_TRANSLATED: Readonly<Record<string, string>> = {
  "Compact.startKey": "a position that the store gave",
  "RawBatchPut.pairs.error": "pairs have errors in replies only",
  "Coprocessor.tableShardInfos": "tables of TiFlash, which is not supported",
};

function isTranslated(path: string): boolean {
  return !Object.keys(NOT_TRANSLATED).some((prefix) => path === prefix || path.startsWith(`${prefix}.`));
}

const MESSAGE_DEPTH = 5;

interface Translated {
  readonly path: string;
  readonly isKey: boolean;
  readonly bytes: Uint8Array;
}

/** A message in which every field is set and every bytes field has the bytes that `give` gives. */
function full(
  desc: DescMessage,
  give: (field: DescField, owner: DescMessage) => Uint8Array,
  depth = MESSAGE_DEPTH,
): Message {
  const message = create(desc);
  const target = message as unknown as Record<string, unknown>;
  for (const field of desc.fields) {
    if (field.localName === "context" || field.localName === "regionError") continue;
    const one = fill(field, desc, give, depth);
    if (one === undefined) continue;
    if (field.oneof !== undefined) target[field.oneof.localName] = { case: field.localName, value: one };
    else target[field.localName] = field.fieldKind === "list" ? [one] : one;
  }
  return message;
}

function fill(
  field: DescField,
  owner: DescMessage,
  give: (field: DescField, owner: DescMessage) => Uint8Array,
  depth: number,
): unknown {
  const kind = field.fieldKind === "list" ? field.listKind : field.fieldKind;
  if (kind === "message" && field.message !== undefined) {
    return depth === 0 ? undefined : full(field.message, give, depth - 1);
  }
  return isBytes(field) ? give(field, owner) : undefined;
}

function isBytes(field: DescField): boolean {
  const BYTES = 12;
  return (field.fieldKind === "scalar" || field.fieldKind === "list") && field.scalar === BYTES;
}

/** Every bytes field of a message with its path. */
function bytesOf(desc: DescMessage, value: unknown, path: string): Translated[] {
  const found: Translated[] = [];
  const record = value as Record<string, unknown>;
  for (const field of desc.fields) {
    const held = field.oneof === undefined
      ? record[field.localName]
      : (record[field.oneof.localName] as { value?: unknown } | undefined)?.value;
    for (const one of Array.isArray(held) ? held : held === undefined ? [] : [held]) {
      const inner = `${path}.${field.localName}`;
      if (one instanceof Uint8Array) {
        found.push({ path: inner, isKey: KEY_NAME.test(field.localName), bytes: one });
      } else if (field.message !== undefined && typeof one === "object") {
        found.push(...bytesOf(field.message, one, inner));
      }
    }
  }
  return found;
}

/** The messages of a command; undefined for those that are not in the service. */
function messagesOf(name: CommandName): { request: DescMessage; reply: DescMessage } | undefined {
  const method = Tikv.methods.find((one) => one.name === name);
  return method === undefined ? undefined : { request: method.input, reply: method.output };
}

const NAMES = Object.keys(COMMANDS) as CommandName[];

function isRaw(name: CommandName): boolean {
  return name.startsWith("Raw");
}

function v2Of(name: CommandName): { api: ApiCodec; prefix: Uint8Array } {
  const mode = isRaw(name) ? "raw" : "txn";
  return { api: createApiCodec(v2Codec(mode, KEYSPACE), "ks"), prefix: mode === "raw" ? RAW : TXN };
}

function assertBytes(seen: Uint8Array, want: Uint8Array, what: string): void {
  assert.deepEqual([...seen], [...want], what);
}

for (const name of NAMES) {
  const messages = messagesOf(name);
  if (messages === undefined) continue;

  test(`[KS-007] [KS-009] ${name}: each key of the request gets the prefix, nothing else changes`, () => {
    const { api, prefix } = v2Of(name);
    const request = full(messages.request, () => KEY);
    const before = toJson(messages.request, request);
    const encoded = api.encodeRequest(name, request);
    assert.deepEqual(toJson(messages.request, request), before, "the request that was given");
    const fields = bytesOf(messages.request, encoded, name);
    assert.equal(fields.length, bytesOf(messages.request, request, name).length);
    for (const { path, isKey, bytes } of fields) {
      const want = isKey && isTranslated(path) ? concatBytes(prefix, KEY) : KEY;
      assertBytes(bytes, want, path);
    }
  });

  test(`[KS-008] ${name}: each key of the reply loses the prefix, nothing else changes`, () => {
    const { api, prefix } = v2Of(name);
    const inCluster = concatBytes(prefix, KEY);
    const reply = full(messages.reply, (field, owner) => {
      if (!KEY_NAME.test(field.localName)) return KEY;
      return owner.typeName === RegionSchema.typeName ? encodeBytes(inCluster) : inCluster;
    });
    const before = toJson(messages.reply, reply);
    const decoded = api.decodeReply(name, reply);
    assert.deepEqual(toJson(messages.reply, reply), before, "the reply that was given");
    for (const { path, bytes } of bytesOf(messages.reply, decoded, name)) assertBytes(bytes, KEY, path);
  });

  test(`[KS-002] ${name}: in version 1 the request is the one that was given`, () => {
    const api = createApiCodec(v1Codec(isRaw(name) ? "raw" : "txn"));
    const request = full(messages.request, () => KEY);
    assert.ok(api.encodeRequest(name, request) === request);
  });
}

test("[KS-004] [KS-002] the context of each version", () => {
  assert.deepEqual(createApiCodec(v2Codec("raw", KEYSPACE), "ks").context, {
    apiVersion: 2,
    keyspaceId: KEYSPACE,
    keyspaceName: "ks",
  });
  assert.deepEqual(createApiCodec(v1Codec("raw")).context, { apiVersion: 0, keyspaceId: 0xffff_ffff });
});

test("[KS-007] unbounded ranges are bounded by the keyspace, in both directions", () => {
  const { api } = v2Of("RawScan");
  const none = new Uint8Array();
  const end = new Uint8Array([0x72, 1, 2, 4]);
  const forward = api.encodeRequest("RawScan", { startKey: none, endKey: none, limit: 1 });
  assert.deepEqual([...forward.startKey], [...RAW]);
  assert.deepEqual([...forward.endKey], [...end]);
  const backward = api.encodeRequest("RawScan", { startKey: none, endKey: none, limit: 1, reverse: true });
  assert.deepEqual([...backward.startKey], [...end]);
  assert.deepEqual([...backward.endKey], [...RAW]);
});

test("[KS-008] a pair of another keyspace is a codec error", () => {
  const { api } = v2Of("RawScan");
  const kvs = [{ key: FOREIGN, value: KEY }];
  throwsKind(() => api.decodeReply("RawScan", { kvs }), "codec");
});

test("[KS-008] regions of an EpochNotMatch outside the keyspace are dropped, others clamped, trap 41", () => {
  const { api } = v2Of("RawGet");
  const region = (id: bigint, startKey: Uint8Array, endKey: Uint8Array): Message =>
    create(RegionSchema, { id, startKey, endKey });
  const none = new Uint8Array();
  const inside = encodeBytes(concatBytes(RAW, utf8Encode("m")));
  const regionError = create(ErrorSchema, {
    epochNotMatch: {
      currentRegions: [
        region(1n, none, encodeBytes(new Uint8Array([0x72, 1, 2, 2]))),
        region(2n, encodeBytes(new Uint8Array([0x72, 1, 2, 2])), inside),
        region(3n, inside, none),
        region(4n, encodeBytes(new Uint8Array([0x72, 1, 2, 4])), none),
      ] as never,
    },
  });
  const decoded = api.decodeReply("RawGet", { regionError }) as { regionError: typeof regionError };
  assert.deepEqual(
    plain(
      decoded.regionError.epochNotMatch?.currentRegions.map(({ id, startKey, endKey }) => ({
        id,
        startKey: [...startKey],
        endKey: [...endKey],
      })),
    ),
    [
      { id: 2n, startKey: [], endKey: [...utf8Encode("m")] },
      { id: 3n, startKey: [...utf8Encode("m")], endKey: [] },
    ],
  );
});

test("[KS-008] the keys of a KeyNotInRegion are the user's", () => {
  const { api } = v2Of("RawGet");
  const regionError = create(ErrorSchema, {
    keyNotInRegion: {
      key: concatBytes(RAW, KEY),
      regionId: 7n,
      startKey: encodeBytes(concatBytes(RAW, utf8Encode("a"))),
      endKey: encodeBytes(concatBytes(RAW, utf8Encode("z"))),
    },
  });
  const decoded = api.decodeReply("RawGet", { regionError }) as { regionError: typeof regionError };
  const { key, startKey, endKey } = decoded.regionError.keyNotInRegion ?? assert.fail();
  assert.deepEqual([key, startKey, endKey].map((one) => String.fromCharCode(...one)), ["k", "a", "z"]);
});

// SPDX-License-Identifier: Apache-2.0
// The hot raw requests and their replies, by hand. Tests hold them equal to the generated code.

import type { Error as RegionError } from "../../../gen/errorpb_pb.ts";
import { EMPTY } from "../../bytes/concat.ts";
import type { Reader } from "../../bytes/reader.ts";
import type * as hot from "./messages.ts";
import {
  BYTES,
  type HandCodec,
  handCodec,
  readPair,
  readRegionError,
  VARINT,
  writeBytes,
  writeEach,
  writeFlag,
  writePacked,
  writePairs,
  writeText,
  writeUint32,
  writeUint64,
} from "./wire_fields.ts";

export const rawGet: HandCodec<hot.RawGetBody, hot.RawGetReply> = handCodec((writer, body) => {
  writeBytes(writer, 2 << 3 | BYTES, body.key);
  writeText(writer, 3 << 3 | BYTES, body.cf);
}, readRawGet);

export const rawPut: HandCodec<hot.RawPutBody, hot.RawReply> = handCodec((writer, body) => {
  writeBytes(writer, 2 << 3 | BYTES, body.key);
  writeBytes(writer, 3 << 3 | BYTES, body.value);
  writeText(writer, 4 << 3 | BYTES, body.cf);
  writeUint64(writer, 5 << 3 | VARINT, body.ttl);
  writeFlag(writer, 6 << 3 | VARINT, body.forCas);
}, readRawReply);

export const rawDelete: HandCodec<hot.RawDeleteBody, hot.RawReply> = handCodec((writer, body) => {
  writeBytes(writer, 2 << 3 | BYTES, body.key);
  writeText(writer, 3 << 3 | BYTES, body.cf);
  writeFlag(writer, 4 << 3 | VARINT, body.forCas);
}, readRawReply);

export const rawBatchGet: HandCodec<hot.RawBatchGetBody, hot.RawBatchGetReply> = handCodec(
  (writer, body) => {
    writeEach(writer, 2 << 3 | BYTES, body.keys);
    writeText(writer, 3 << 3 | BYTES, body.cf);
  },
  (reader) => {
    const { regionError, pairs } = readPairsReply(reader);
    return { regionError, pairs };
  },
);

export const rawBatchPut: HandCodec<hot.RawBatchPutBody, hot.RawReply> = handCodec((writer, body) => {
  writePairs(writer, 2 << 3 | BYTES, body.pairs);
  writeText(writer, 3 << 3 | BYTES, body.cf);
  writeUint64(writer, 4 << 3 | VARINT, body.ttl);
  writeFlag(writer, 5 << 3 | VARINT, body.forCas);
  writePacked(writer, 6 << 3 | BYTES, body.ttls);
}, readRawReply);

export const rawBatchDelete: HandCodec<hot.RawBatchDeleteBody, hot.RawReply> = handCodec((writer, body) => {
  writeEach(writer, 2 << 3 | BYTES, body.keys);
  writeText(writer, 3 << 3 | BYTES, body.cf);
  writeFlag(writer, 4 << 3 | VARINT, body.forCas);
}, readRawReply);

export const rawScan: HandCodec<hot.RawScanBody, hot.RawScanReply> = handCodec((writer, body) => {
  writeBytes(writer, 2 << 3 | BYTES, body.startKey);
  writeUint32(writer, 3 << 3 | VARINT, body.limit);
  writeFlag(writer, 4 << 3 | VARINT, body.keyOnly);
  writeText(writer, 5 << 3 | BYTES, body.cf);
  writeFlag(writer, 6 << 3 | VARINT, body.reverse);
  writeBytes(writer, 7 << 3 | BYTES, body.endKey);
}, (reader) => {
  const { regionError, pairs } = readPairsReply(reader);
  return { regionError, kvs: pairs };
});

/** region_error 1, error 2, value 3, not_found 4. */
function readRawGet(reader: Reader): hot.RawGetReply {
  let regionError: RegionError | undefined;
  let error = "";
  let value = EMPTY;
  let notFound = false;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (3 << 3 | BYTES)) value = reader.ownBytes();
    else if (tag === (4 << 3 | VARINT)) notFound = reader.bool();
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (2 << 3 | BYTES)) error = reader.string();
    else reader.skip(tag);
  }
  return { regionError, error, value, notFound };
}

/** region_error 1, error 2: every raw write answers this. */
function readRawReply(reader: Reader): hot.RawReply {
  let regionError: RegionError | undefined;
  let error = "";
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (2 << 3 | BYTES)) error = reader.string();
    else reader.skip(tag);
  }
  return { regionError, error };
}

/** region_error 1, pairs 2. */
function readPairsReply(reader: Reader): hot.RawBatchGetReply {
  let regionError: RegionError | undefined;
  const pairs: hot.KvPairReply[] = [];
  reader.startSharing();
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (2 << 3 | BYTES)) pairs.push(readPair(reader));
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else reader.skip(tag);
  }
  return { regionError, pairs };
}

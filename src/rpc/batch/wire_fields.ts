// SPDX-License-Identifier: Apache-2.0
// Fields that the hot messages have in common, written as the generated code writes them: a field
// with its default is left out. Numbers in comments are the field numbers of kvrpcpb.proto.

import { fromBinary } from "@bufbuild/protobuf";
import type { Error as RegionError } from "../../../gen/errorpb_pb.ts";
import { ErrorSchema } from "../../../gen/errorpb_pb.ts";
import type { KeyError } from "../../../gen/kvrpcpb_pb.ts";
import { KeyErrorSchema } from "../../../gen/kvrpcpb_pb.ts";
import { EMPTY } from "../../bytes/concat.ts";
import { Reader } from "../../bytes/reader.ts";
import { varintSize, Writer } from "../../bytes/writer.ts";
import type { KvPairBody, KvPairReply, MutationBody } from "./messages.ts";

export const VARINT = 0;
export const BYTES = 2;

/** Both halves of a hot command's codec, by hand. */
export interface HandCodec<I, O> {
  encode(body: I): Uint8Array;
  decode(bytes: Uint8Array): O;
  decodeFrom(reader: Reader): O;
}

// Memory that bodies are cut from. Nothing is read back from it, so clients can share it.
const BODIES = new Writer();

/** Makes a codec of a function that writes the body and one that reads the reply. */
export function handCodec<I, O>(
  write: (writer: Writer, body: I) => void,
  read: (reader: Reader) => O,
): HandCodec<I, O> {
  return {
    encode(body: I): Uint8Array {
      // Also clears what a body that could not be written left behind.
      BODIES.reset();
      write(BODIES, body);
      return BODIES.finish();
    },
    decode: (bytes) => read(new Reader(bytes)),
    decodeFrom: read,
  };
}

export function writeBytes(writer: Writer, tag: number, bytes: Uint8Array | undefined): void {
  if (bytes !== undefined && bytes.length > 0) writer.varint(tag).bytes(bytes);
}

export function writeText(writer: Writer, tag: number, text: string | undefined): void {
  if (text !== undefined && text !== "") writer.varint(tag).string(text);
}

export function writeFlag(writer: Writer, tag: number, flag: boolean | undefined): void {
  if (flag === true) writer.varint(tag).varint(1);
}

export function writeUint64(writer: Writer, tag: number, value: bigint | undefined): void {
  if (value !== undefined && value !== 0n) writer.varint(tag).varint64(value);
}

export function writeUint32(writer: Writer, tag: number, value: number | undefined): void {
  if (value === undefined || value === 0) return;
  if (value >>> 0 !== value) {
    throw new RangeError(`Cannot write ${value} as a uint32: expected an integer from 0 to 2^32 - 1`);
  }
  writer.varint(tag).varint(value);
}

export function writeEnum(writer: Writer, tag: number, value: number | undefined): void {
  if (value !== undefined && value !== 0) writer.varint(tag).int32(value);
}

/** A repeated `bytes` field, in which an empty element counts. */
export function writeEach(writer: Writer, tag: number, list: readonly Uint8Array[] | undefined): void {
  if (list === undefined) return;
  for (const bytes of list) writer.varint(tag).bytes(bytes);
}

/** A repeated `uint64` field, packed. */
export function writePacked(writer: Writer, tag: number, list: readonly bigint[] | undefined): void {
  if (list === undefined || list.length === 0) return;
  const mark = writer.varint(tag).fork(list.length);
  for (const value of list) writer.varint64(value);
  writer.join(mark);
}

function bytesSize(bytes: Uint8Array): number {
  return bytes.length === 0 ? 0 : 1 + varintSize(bytes.length) + bytes.length;
}

/** A repeated `KvPair`: key 2, value 3. */
export function writePairs(writer: Writer, tag: number, pairs: readonly KvPairBody[]): void {
  for (const { key, value } of pairs) {
    writer.varint(tag).varint(bytesSize(key) + bytesSize(value));
    writeBytes(writer, 2 << 3 | BYTES, key);
    writeBytes(writer, 3 << 3 | BYTES, value);
  }
}

/** A repeated `Mutation`: op 1, key 2, value 3, assertion 4. */
export function writeMutations(writer: Writer, tag: number, mutations: readonly MutationBody[]): void {
  for (const { op, key, value = EMPTY, assertion } of mutations) {
    const mark = writer.varint(tag).fork(8 + key.length + value.length);
    writeEnum(writer, 1 << 3 | VARINT, op);
    writeBytes(writer, 2 << 3 | BYTES, key);
    writeBytes(writer, 3 << 3 | BYTES, value);
    writeEnum(writer, 4 << 3 | VARINT, assertion);
    writer.join(mark);
  }
}

/**
 * A `KvPair`: error 1, key 2, value 3, commit_ts 4. After `reader.startSharing()`: the pairs of one
 * reply share blocks of memory.
 */
export function readPair(reader: Reader): KvPairReply {
  const outer = reader.enter();
  let error: KeyError | undefined;
  let key = EMPTY;
  let value = EMPTY;
  let commitTs = 0n;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (2 << 3 | BYTES)) key = reader.sharedBytes();
    else if (tag === (3 << 3 | BYTES)) value = reader.sharedBytes();
    else if (tag === (4 << 3 | VARINT)) commitTs = reader.varint64();
    else if (tag === (1 << 3 | BYTES)) error = readKeyError(reader);
    else reader.skip(tag);
  }
  reader.leave(outer);
  return { error, key, value, commitTs };
}

// Errors are rare: the generated code reads them.

export function readRegionError(reader: Reader): RegionError {
  return fromBinary(ErrorSchema, reader.ownBytes());
}

export function readKeyError(reader: Reader): KeyError {
  return fromBinary(KeyErrorSchema, reader.ownBytes());
}

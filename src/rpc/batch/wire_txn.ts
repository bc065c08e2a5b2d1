// SPDX-License-Identifier: Apache-2.0
// The hot transactional requests and their replies, by hand. Tests hold them equal to the generated
// code. Execution details stay bytes until somebody asks for them: decoding them costs more than the
// rest of the reply.

import { fromBinary } from "@bufbuild/protobuf";
import type { Error as RegionError } from "../../../gen/errorpb_pb.ts";
import type { ExecDetailsV2, KeyError } from "../../../gen/kvrpcpb_pb.ts";
import { ExecDetailsV2Schema } from "../../../gen/kvrpcpb_pb.ts";
import { EMPTY } from "../../bytes/concat.ts";
import type { Reader } from "../../bytes/reader.ts";
import type { Writer } from "../../bytes/writer.ts";
import type * as hot from "./messages.ts";
import {
  BYTES,
  type HandCodec,
  handCodec,
  readKeyError,
  readPair,
  readRegionError,
  VARINT,
  writeBytes,
  writeEach,
  writeEnum,
  writeFlag,
  writeMutations,
  writePacked,
  writeUint32,
  writeUint64,
} from "./wire_fields.ts";
import { readPessimisticLock } from "./wire_lock_reply.ts";

/** The measurements of a reply, when the store sent them. */
export function execDetailsOf(reply: hot.DetailedReply): ExecDetailsV2 | undefined {
  const bytes = reply.execDetailsV2Bytes;
  return bytes === undefined ? undefined : fromBinary(ExecDetailsV2Schema, bytes);
}

export const get: HandCodec<hot.GetBody, hot.GetReply> = handCodec((writer, body) => {
  writeBytes(writer, 2 << 3 | BYTES, body.key);
  writeUint64(writer, 3 << 3 | VARINT, body.version);
  writeFlag(writer, 4 << 3 | VARINT, body.needCommitTs);
}, readGet);

export const batchGet: HandCodec<hot.BatchGetBody, hot.BatchGetReply> = handCodec((writer, body) => {
  writeEach(writer, 2 << 3 | BYTES, body.keys);
  writeUint64(writer, 3 << 3 | VARINT, body.version);
  writeFlag(writer, 4 << 3 | VARINT, body.needCommitTs);
}, readBatchGet);

export const scan: HandCodec<hot.ScanBody, hot.ScanReply> = handCodec((writer, body) => {
  writeBytes(writer, 2 << 3 | BYTES, body.startKey);
  writeUint32(writer, 3 << 3 | VARINT, body.limit);
  writeUint64(writer, 4 << 3 | VARINT, body.version);
  writeFlag(writer, 5 << 3 | VARINT, body.keyOnly);
  writeFlag(writer, 6 << 3 | VARINT, body.reverse);
  writeBytes(writer, 7 << 3 | BYTES, body.endKey);
  writeUint32(writer, 8 << 3 | VARINT, body.sampleStep);
}, readScan);

export const prewrite: HandCodec<hot.PrewriteBody, hot.PrewriteReply> = handCodec(
  writePrewrite,
  readPrewrite,
);

export const commit: HandCodec<hot.CommitBody, hot.CommitReply> = handCodec((writer, body) => {
  writeUint64(writer, 2 << 3 | VARINT, body.startVersion);
  writeEach(writer, 3 << 3 | BYTES, body.keys);
  writeUint64(writer, 4 << 3 | VARINT, body.commitVersion);
  writeEnum(writer, 6 << 3 | VARINT, body.commitRole);
  writeBytes(writer, 7 << 3 | BYTES, body.primaryKey);
  writeFlag(writer, 8 << 3 | VARINT, body.useAsyncCommit);
  writeFlag(writer, 100 << 3 | VARINT, body.isTxnFile);
}, readCommit);

export const pessimisticLock: HandCodec<hot.PessimisticLockBody, hot.PessimisticLockReply> = handCodec(
  writePessimisticLock,
  readPessimisticLock,
);

function writePrewrite(writer: Writer, body: hot.PrewriteBody): void {
  writeMutations(writer, 2 << 3 | BYTES, body.mutations);
  writeBytes(writer, 3 << 3 | BYTES, body.primaryLock);
  writeUint64(writer, 4 << 3 | VARINT, body.startVersion);
  writeUint64(writer, 5 << 3 | VARINT, body.lockTtl);
  writeFlag(writer, 6 << 3 | VARINT, body.skipConstraintCheck);
  const { pessimisticActions = [], forUpdateTsConstraints = [] } = body;
  if (pessimisticActions.length > 0) {
    const mark = writer.varint(7 << 3 | BYTES).fork(pessimisticActions.length);
    for (const action of pessimisticActions) writer.int32(action);
    writer.join(mark);
  }
  writeUint64(writer, 8 << 3 | VARINT, body.txnSize);
  writeUint64(writer, 9 << 3 | VARINT, body.forUpdateTs);
  writeUint64(writer, 10 << 3 | VARINT, body.minCommitTs);
  writeFlag(writer, 11 << 3 | VARINT, body.useAsyncCommit);
  writeEach(writer, 12 << 3 | BYTES, body.secondaries);
  writeFlag(writer, 13 << 3 | VARINT, body.tryOnePc);
  writeUint64(writer, 14 << 3 | VARINT, body.maxCommitTs);
  writeEnum(writer, 15 << 3 | VARINT, body.assertionLevel);
  for (const { index, expectedForUpdateTs } of forUpdateTsConstraints) {
    const mark = writer.varint(16 << 3 | BYTES).fork();
    writeUint32(writer, 1 << 3 | VARINT, index);
    writeUint64(writer, 2 << 3 | VARINT, expectedForUpdateTs);
    writer.join(mark);
  }
  writePacked(writer, 100 << 3 | BYTES, body.txnFileChunks);
}

function writePessimisticLock(writer: Writer, body: hot.PessimisticLockBody): void {
  writeMutations(writer, 2 << 3 | BYTES, body.mutations);
  writeBytes(writer, 3 << 3 | BYTES, body.primaryLock);
  writeUint64(writer, 4 << 3 | VARINT, body.startVersion);
  writeUint64(writer, 5 << 3 | VARINT, body.lockTtl);
  writeUint64(writer, 6 << 3 | VARINT, body.forUpdateTs);
  writeFlag(writer, 7 << 3 | VARINT, body.isFirstLock);
  if (body.waitTimeout !== undefined && body.waitTimeout !== 0n) {
    writer.varint(8 << 3 | VARINT).int64(body.waitTimeout);
  }
  writeFlag(writer, 9 << 3 | VARINT, body.force);
  writeFlag(writer, 10 << 3 | VARINT, body.returnValues);
  writeUint64(writer, 11 << 3 | VARINT, body.minCommitTs);
  writeFlag(writer, 12 << 3 | VARINT, body.checkExistence);
  writeFlag(writer, 13 << 3 | VARINT, body.lockOnlyIfExists);
  writeEnum(writer, 14 << 3 | VARINT, body.wakeUpMode);
}

/** region_error 1, error 2, value 3, not_found 4, exec_details_v2 6, commit_ts 7. */
function readGet(reader: Reader): hot.GetReply {
  let regionError: RegionError | undefined;
  let error: KeyError | undefined;
  let value = EMPTY;
  let notFound = false;
  let execDetailsV2Bytes: Uint8Array | undefined;
  let commitTs = 0n;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (3 << 3 | BYTES)) value = reader.ownBytes();
    else if (tag === (4 << 3 | VARINT)) notFound = reader.bool();
    else if (tag === (6 << 3 | BYTES)) execDetailsV2Bytes = reader.ownBytes();
    else if (tag === (7 << 3 | VARINT)) commitTs = reader.varint64();
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (2 << 3 | BYTES)) error = readKeyError(reader);
    else reader.skip(tag);
  }
  return { regionError, error, value, notFound, execDetailsV2Bytes, commitTs };
}

/** region_error 1, pairs 2, exec_details_v2 4, error 5. */
function readBatchGet(reader: Reader): hot.BatchGetReply {
  let regionError: RegionError | undefined;
  let error: KeyError | undefined;
  let execDetailsV2Bytes: Uint8Array | undefined;
  const pairs: hot.KvPairReply[] = [];
  reader.startSharing();
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (2 << 3 | BYTES)) pairs.push(readPair(reader));
    else if (tag === (4 << 3 | BYTES)) execDetailsV2Bytes = reader.ownBytes();
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (5 << 3 | BYTES)) error = readKeyError(reader);
    else reader.skip(tag);
  }
  return { regionError, pairs, execDetailsV2Bytes, error };
}

/** region_error 1, pairs 2, error 3. */
function readScan(reader: Reader): hot.ScanReply {
  let regionError: RegionError | undefined;
  let error: KeyError | undefined;
  const pairs: hot.KvPairReply[] = [];
  reader.startSharing();
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (2 << 3 | BYTES)) pairs.push(readPair(reader));
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (3 << 3 | BYTES)) error = readKeyError(reader);
    else reader.skip(tag);
  }
  return { regionError, pairs, error };
}

/** region_error 1, errors 2, min_commit_ts 3, one_pc_commit_ts 4, exec_details_v2 5. */
function readPrewrite(reader: Reader): hot.PrewriteReply {
  let regionError: RegionError | undefined;
  const errors: KeyError[] = [];
  let minCommitTs = 0n;
  let onePcCommitTs = 0n;
  let execDetailsV2Bytes: Uint8Array | undefined;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (3 << 3 | VARINT)) minCommitTs = reader.varint64();
    else if (tag === (4 << 3 | VARINT)) onePcCommitTs = reader.varint64();
    else if (tag === (5 << 3 | BYTES)) execDetailsV2Bytes = reader.ownBytes();
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (2 << 3 | BYTES)) errors.push(readKeyError(reader));
    else reader.skip(tag);
  }
  return { regionError, errors, minCommitTs, onePcCommitTs, execDetailsV2Bytes };
}

/** region_error 1, error 2, commit_version 3, exec_details_v2 4. */
function readCommit(reader: Reader): hot.CommitReply {
  let regionError: RegionError | undefined;
  let error: KeyError | undefined;
  let commitVersion = 0n;
  let execDetailsV2Bytes: Uint8Array | undefined;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (3 << 3 | VARINT)) commitVersion = reader.varint64();
    else if (tag === (4 << 3 | BYTES)) execDetailsV2Bytes = reader.ownBytes();
    else if (tag === (1 << 3 | BYTES)) regionError = readRegionError(reader);
    else if (tag === (2 << 3 | BYTES)) error = readKeyError(reader);
    else reader.skip(tag);
  }
  return { regionError, error, commitVersion, execDetailsV2Bytes };
}

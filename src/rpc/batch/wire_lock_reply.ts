// SPDX-License-Identifier: Apache-2.0

import type { Error as RegionError } from "../../../gen/errorpb_pb.ts";
import type { KeyError, PessimisticLockKeyResultType } from "../../../gen/kvrpcpb_pb.ts";
import { EMPTY } from "../../bytes/concat.ts";
import type { Reader } from "../../bytes/reader.ts";
import type { PessimisticLockKeyResultReply, PessimisticLockReply } from "./messages.ts";
import { BYTES, readKeyError, readRegionError, VARINT } from "./wire_fields.ts";

/**
 * region_error 1, errors 2, commit_ts 3, value 4, values 5, not_founds 6, exec_details_v2 7,
 * results 8.
 */
export function readPessimisticLock(reader: Reader): PessimisticLockReply {
  const reply: PessimisticLockReply = {
    regionError: undefined as RegionError | undefined,
    errors: [] as KeyError[],
    commitTs: 0n,
    value: EMPTY,
    values: [],
    notFounds: [],
    execDetailsV2Bytes: undefined,
    results: [],
  };
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (8 << 3 | BYTES)) reply.results.push(readKeyResult(reader));
    else if (tag === (5 << 3 | BYTES)) reply.values.push(reader.ownBytes());
    else if (tag === (6 << 3 | BYTES)) readFlags(reader, reply.notFounds);
    else if (tag === (6 << 3 | VARINT)) reply.notFounds.push(reader.bool());
    else if (tag === (7 << 3 | BYTES)) reply.execDetailsV2Bytes = reader.ownBytes();
    else if (tag === (1 << 3 | BYTES)) reply.regionError = readRegionError(reader);
    else if (tag === (2 << 3 | BYTES)) reply.errors.push(readKeyError(reader));
    else if (tag === (3 << 3 | VARINT)) reply.commitTs = reader.varint64();
    else if (tag === (4 << 3 | BYTES)) reply.value = reader.ownBytes();
    else reader.skip(tag);
  }
  return reply;
}

function readFlags(reader: Reader, flags: boolean[]): void {
  const outer = reader.enter();
  while (reader.pos < reader.end) flags.push(reader.bool());
  reader.leave(outer);
}

/** type 1, value 2, existence 3, locked_with_conflict_ts 4, skip_resolving_lock 11. */
function readKeyResult(reader: Reader): PessimisticLockKeyResultReply {
  const outer = reader.enter();
  let type: PessimisticLockKeyResultType = 0;
  let value = EMPTY;
  let existence = false;
  let lockedWithConflictTs = 0n;
  let skipResolvingLock = false;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (1 << 3 | VARINT)) type = (reader.varint32() | 0) as PessimisticLockKeyResultType;
    else if (tag === (2 << 3 | BYTES)) value = reader.ownBytes();
    else if (tag === (3 << 3 | VARINT)) existence = reader.bool();
    else if (tag === (4 << 3 | VARINT)) lockedWithConflictTs = reader.varint64();
    else if (tag === (11 << 3 | VARINT)) skipResolvingLock = reader.bool();
    else reader.skip(tag);
  }
  reader.leave(outer);
  return { type, value, existence, lockedWithConflictTs, skipResolvingLock };
}

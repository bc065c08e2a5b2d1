// SPDX-License-Identifier: Apache-2.0
// The two messages of the timestamp stream, by hand: they are sent for every transaction.

import { Reader } from "../bytes/reader.ts";
import { Writer } from "../bytes/writer.ts";
import type { PdHeader } from "./pd_link.ts";
import type { PdRefusal } from "./pd_error.ts";

/** What PD answers to a request for timestamps. */
export interface TsoReply {
  readonly clusterId: bigint;
  readonly refusal: PdRefusal | undefined;
  readonly count: number;
  readonly physicalMs: bigint;
  /** The largest of the batch; the others come before it. */
  readonly logical: bigint;
  /** Low bits of the counter that stay as they are from one timestamp to the next. */
  readonly suffixBits: number;
}

/** Encodes `pdpb.TsoRequest`. */
export function encodeTsoRequest(header: PdHeader, count: number): Uint8Array {
  const writer = new Writer(64);
  writer.tag(1, LENGTH);
  const mark = writer.fork();
  if (header.clusterId !== 0n) writer.tag(1, VARINT).varint64(header.clusterId);
  if (header.callerId !== "") writer.tag(3, LENGTH).string(header.callerId);
  writer.join(mark);
  if (count !== 0) writer.tag(2, VARINT).varint(count);
  return writer.finish();
}

/** Decodes `pdpb.TsoResponse`. What is not protobuf is a `protocol` error. */
export function decodeTsoResponse(bytes: Uint8Array): TsoReply {
  const reader = new Reader(bytes);
  const reply = {
    clusterId: 0n,
    refusal: undefined as PdRefusal | undefined,
    count: 0,
    physicalMs: 0n,
    logical: 0n,
    suffixBits: 0,
  };
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === HEADER) {
      const outer = reader.enter();
      while (reader.pos < reader.end) {
        const inner = reader.tag();
        if (inner === (1 << 3 | VARINT)) reply.clusterId = reader.varint64();
        else if (inner === (2 << 3 | LENGTH)) reply.refusal = readRefusal(reader);
        else reader.skip(inner);
      }
      reader.leave(outer);
    } else if (tag === COUNT) {
      reply.count = reader.varint32();
    } else if (tag === TIMESTAMP) {
      const outer = reader.enter();
      while (reader.pos < reader.end) {
        const inner = reader.tag();
        if (inner === (1 << 3 | VARINT)) reply.physicalMs = reader.int64();
        else if (inner === (2 << 3 | VARINT)) reply.logical = reader.int64();
        else if (inner === (3 << 3 | VARINT)) reply.suffixBits = reader.varint32();
        else reader.skip(inner);
      }
      reader.leave(outer);
    } else {
      reader.skip(tag);
    }
  }
  return reply;
}

function readRefusal(reader: Reader): PdRefusal {
  const outer = reader.enter();
  let type = 0;
  let message = "";
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (1 << 3 | VARINT)) type = reader.varint32() | 0;
    else if (tag === (2 << 3 | LENGTH)) message = reader.string();
    else reader.skip(tag);
  }
  reader.leave(outer);
  return { type, message };
}

const VARINT = 0;
const LENGTH = 2;
const HEADER = 1 << 3 | LENGTH;
const COUNT = 2 << 3 | VARINT;
const TIMESTAMP = 3 << 3 | LENGTH;

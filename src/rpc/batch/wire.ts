// SPDX-License-Identifier: Apache-2.0
// The envelope of BatchCommands by hand: requests that are encoded already are put one behind the
// other, answers are found without being decoded. Field numbers are those of tikvpb.proto.

import { TikvError } from "../../errors.ts";
import { concatBytes } from "../../bytes/concat.ts";
import { Reader } from "../../bytes/reader.ts";
import { varintSize, Writer } from "../../bytes/writer.ts";

/** A request of a batch: what goes in front of its body, and how it is to be found. */
export interface BatchItem {
  readonly id: number;
  /** Number of its field in `BatchCommandsRequest.Request`. */
  readonly tag: number;
  /** The bytes of its `Context`; none when it has no context. */
  readonly context: Uint8Array;
  readonly body: Uint8Array;
}

/** Bytes of a request's message: its context as field 1, then the body. */
export function messageSize(context: Uint8Array, body: Uint8Array): number {
  return context.length === 0 ? body.length : 1 + varintSize(context.length) + context.length + body.length;
}

/** A request's message on its own, for an RPC that carries nothing else. */
export function wholeMessage(context: Uint8Array, body: Uint8Array): Uint8Array {
  if (context.length === 0) return body;
  const head = new Writer(1 + 10 + context.length);
  head.varint(CONTEXT).bytes(context);
  return concatBytes(head.finish(), body);
}

/** Writes `requests` 1, `request_ids` 2 and `client_send_time_ns` 3. */
export function writeBatchRequest(writer: Writer, items: readonly BatchItem[], wallMs: number): Uint8Array {
  writer.reset();
  let idBytes = 0;
  for (const { id, tag, context, body } of items) {
    const size = messageSize(context, body);
    const field = (tag << 3 | BYTES) >>> 0;
    writer.varint(REQUESTS).varint(varintSize(field) + varintSize(size) + size).varint(field).varint(size);
    if (context.length > 0) writer.varint(CONTEXT).bytes(context);
    writer.raw(body);
    idBytes += varintSize(id);
  }
  if (items.length > 0) {
    writer.varint(REQUEST_IDS).varint(idBytes);
    for (const { id } of items) writer.varint(id);
  }
  if (wallMs > 0) writer.varint(SEND_TIME).varint64(BigInt(wallMs) * 1_000_000n);
  return writer.finish();
}

/** What a store says of its own health along with answers. */
export interface HealthReport {
  readonly storeId: bigint;
  readonly sequence: bigint;
  /** 1 is healthy, 100 is as slow as it gets. */
  readonly slowScore: number;
}

/**
 * The answers of one message: where each begins and ends, and whose it is. The object is filled
 * anew for each message, so that no arrays are allocated.
 */
export class BatchAnswers {
  /** Answers in the message; the arrays may be longer. */
  count = 0;
  readonly ids: number[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  /** How busy the store's connections are; 0 when it did not say. */
  transportLayerLoad = 0;
  /** The bytes of the `HealthFeedback`, if one came; a view on the message. */
  health: Uint8Array | undefined;

  /** Reads a `BatchCommandsResponse`. Throws a `protocol` error when it cannot be used. */
  read(reader: Reader): void {
    let answers = 0;
    let ids = 0;
    this.count = 0;
    this.transportLayerLoad = 0;
    this.health = undefined;
    while (reader.pos < reader.end) {
      const tag = reader.tag();
      if (tag === RESPONSES) {
        const outer = reader.enter();
        this.starts[answers] = reader.pos;
        this.ends[answers++] = reader.end;
        reader.leave(outer);
      } else if (tag === REQUEST_IDS) {
        const outer = reader.enter();
        // An id above 2^53 was never given out; it is refused, not rounded.
        while (reader.pos < reader.end) this.ids[ids++] = reader.varintNumber();
        reader.leave(outer);
      } else if (tag === REQUEST_ID) this.ids[ids++] = reader.varintNumber();
      else if (tag === LOAD) this.transportLayerLoad = reader.varintNumber();
      else if (tag === HEALTH) this.health = reader.bytes();
      else reader.skip(tag);
    }
    if (ids !== answers) {
      throw new TikvError("protocol", `Cannot read the batch: it has ${answers} answers for ${ids} ids`);
    }
    this.count = answers;
  }
}

/** store_id 1, feedback_seq_no 2, slow_score 3. */
export function readHealthReport(bytes: Uint8Array): HealthReport {
  const reader = new Reader(bytes);
  let storeId = 0n;
  let sequence = 0n;
  let slowScore = 0;
  while (reader.pos < reader.end) {
    const tag = reader.tag();
    if (tag === (1 << 3 | VARINT)) storeId = reader.varint64();
    else if (tag === (2 << 3 | VARINT)) sequence = reader.varint64();
    else if (tag === (3 << 3 | VARINT)) slowScore = reader.varint32() | 0;
    else reader.skip(tag);
  }
  return { storeId, sequence, slowScore };
}

const VARINT = 0;
const BYTES = 2;

const CONTEXT = 1 << 3 | BYTES;
const REQUESTS = 1 << 3 | BYTES;
const RESPONSES = 1 << 3 | BYTES;
const REQUEST_IDS = 2 << 3 | BYTES;
const REQUEST_ID = 2 << 3 | VARINT;
const SEND_TIME = 3 << 3 | VARINT;
const LOAD = 3 << 3 | VARINT;
const HEALTH = 4 << 3 | BYTES;

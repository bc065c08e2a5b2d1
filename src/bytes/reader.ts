// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";
import { EMPTY } from "./concat.ts";

/**
 * Reads protobuf wire format without allocating, forwards, within bounds.
 *
 * Everything that does not fit the bytes is a `protocol` error; nothing is read behind `end`.
 * The usual loop is `while (reader.pos < reader.end) switch (reader.tag()) …`, with the tag as
 * `field << 3 | wireType`.
 */
export class Reader {
  /** Where the next read starts. */
  pos: number;
  /** Where reading ends; {@linkcode Reader.enter} narrows it to one nested message. */
  end: number;
  readonly #buf: Uint8Array;
  // The upper half of the varint that #varintHalves() read last; a field, so that no pair is allocated.
  #high = 0;
  // Memory of sharedBytes(): a copy of [#blockStart, #blockEnd) of the buffer.
  #block: Uint8Array<ArrayBuffer> = EMPTY_BLOCK;
  #blockStart = 0;
  #blockEnd = 0;
  #shareEnd = 0;

  constructor(buf: Uint8Array) {
    // A view of a subclass, such as Node's Buffer, would be one too; bytes() gives plain ones.
    const isPlain = buf.constructor === Uint8Array;
    this.#buf = isPlain ? buf : new Uint8Array(buf.buffer, buf.byteOffset, buf.byteLength);
    this.pos = 0;
    this.end = buf.length;
  }

  /** Field number and wire type of the next field, as `field << 3 | wireType`. */
  tag(): number {
    const tag = this.varint32();
    if (tag < 8) throw malformed(`field number 0 at byte ${this.pos}`);
    return tag;
  }

  /** The low 32 bits of a varint, unsigned. For `int32` and enums add `| 0`. */
  varint32(): number {
    const buf = this.#buf;
    const end = this.end;
    let pos = this.pos;
    if (pos < end) {
      const byte = buf[pos] as number;
      if (byte < 0x80) {
        this.pos = pos + 1;
        return byte;
      }
    }
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (pos >= end) throw truncated("a varint", end);
      const byte = buf[pos++] as number;
      // What is above 32 bits is dropped, as every protobuf parser does: an int32 of -1 has 10 bytes.
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.pos = pos;
        return value >>> 0;
      }
    }
    throw malformed(`a varint of more than 10 bytes ends at byte ${pos}`);
  }

  /** A `uint64`. For `int64` see {@linkcode Reader.int64}. */
  varint64(): bigint {
    const low = this.#varintHalves();
    const high = this.#high;
    if (high === 0) return BigInt(low);
    if (high <= MAX_EXACT_HIGH) return BigInt(high * TWO_32 + low);
    SCRATCH.setUint32(0, low, true);
    SCRATCH.setUint32(4, high, true);
    return SCRATCH.getBigUint64(0, true);
  }

  /** A `uint64` as a number; one above 2^53 - 1 is a `protocol` error, never rounded. */
  varintNumber(): number {
    const low = this.#varintHalves();
    const high = this.#high;
    if (high === 0) return low;
    if (high > MAX_EXACT_HIGH) throw malformed(`a number above 2^53 - 1 ends at byte ${this.pos}`);
    return high * TWO_32 + low;
  }

  /** An `int64`. */
  int64(): bigint {
    return BigInt.asIntN(64, this.varint64());
  }

  /** A `bool`: any varint but zero is true. */
  bool(): boolean {
    const low = this.#varintHalves();
    return low !== 0 || this.#high !== 0;
  }

  /** A `fixed32`. */
  fixed32(): number {
    const at = this.#take(4, "a fixed32");
    const buf = this.#buf;
    return ((buf[at] as number) | ((buf[at + 1] as number) << 8) | ((buf[at + 2] as number) << 16) |
      ((buf[at + 3] as number) << 24)) >>> 0;
  }

  /** A `fixed64`. */
  fixed64(): bigint {
    const at = this.#take(8, "a fixed64");
    return this.#view().getBigUint64(at, true);
  }

  /** A `double`. */
  double(): number {
    const at = this.#take(8, "a double");
    return this.#view().getFloat64(at, true);
  }

  /** A `bytes` field, as a view into the buffer: copy what outlives it. */
  bytes(): Uint8Array {
    const length = this.#size();
    const at = this.#take(length, "a bytes field");
    return this.#buf.subarray(at, at + length);
  }

  /** A `bytes` field in memory of its own. */
  ownBytes(): Uint8Array {
    const length = this.#size();
    if (length === 0) return EMPTY;
    const at = this.#take(length, "a bytes field");
    const buf = this.#buf;
    const copy = new Uint8Array(length);
    if (length > SHORT) copy.set(buf.subarray(at, at + length));
    else for (let i = 0; i < length; i++) copy[i] = buf[at + i] as number;
    return copy;
  }

  /**
   * Before many {@linkcode Reader.sharedBytes} of one message: they share memory with each other,
   * and with nothing else.
   */
  startSharing(): void {
    this.#blockEnd = 0;
    this.#shareEnd = this.end;
  }

  /**
   * A `bytes` field as {@linkcode Reader.ownBytes}, except that those that follow each other share
   * blocks of 8 KiB. Memory of its own for each of many small fields costs several times as much
   * as everything else about them; what is kept of a block keeps 8 KiB at most.
   */
  sharedBytes(): Uint8Array {
    const length = this.#size();
    if (length === 0) return EMPTY;
    const at = this.#take(length, "a bytes field");
    const end = at + length;
    if (length > MAX_SHARED_BYTES) return this.#buf.slice(at, end);
    if (end > this.#blockEnd || at < this.#blockStart) {
      this.#blockStart = at;
      this.#blockEnd = Math.max(end, Math.min(at + BLOCK_BYTES, this.#shareEnd));
      this.#block = new Uint8Array(this.#buf.subarray(at, this.#blockEnd));
    }
    return new Uint8Array(this.#block.buffer, at - this.#blockStart, length);
  }

  /** A `string` field. Malformed UTF-8 is replaced, not refused: servers' texts are for people. */
  string(): string {
    return DECODER.decode(this.bytes());
  }

  /**
   * Enters a nested message: from here on `end` is its end. Returns the outer `end`, which
   * {@linkcode Reader.leave} takes back.
   */
  enter(): number {
    const outer = this.end;
    const length = this.#size();
    if (length > outer - this.pos) throw truncated(`a message of ${length} bytes`, outer);
    this.end = this.pos + length;
    return outer;
  }

  /** Leaves a nested message, with what `enter()` returned; what was not read of it is skipped. */
  leave(outer: number): void {
    this.pos = this.end;
    this.end = outer;
  }

  /** Skips the value of a field whose tag was read; takes the tag or its wire type. */
  skip(tag: number): void {
    this.#skip(tag, 0);
  }

  #varintHalves(): number {
    const buf = this.#buf;
    const end = this.end;
    let pos = this.pos;
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      if (pos >= end) throw truncated("a varint", end);
      const byte = buf[pos++] as number;
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.pos = pos;
        this.#high = 0;
        return low;
      }
    }
    if (pos >= end) throw truncated("a varint", end);
    let byte = buf[pos++] as number;
    low = (low | (byte << 28)) >>> 0; // the fifth byte has 4 bits for either half
    let high = (byte & 0x7f) >>> 4;
    for (let shift = 3; byte >= 0x80; shift += 7) {
      if (shift > 31) throw malformed(`a varint of more than 10 bytes ends at byte ${pos}`);
      if (pos >= end) throw truncated("a varint", end);
      byte = buf[pos++] as number;
      high |= (byte & 0x7f) << shift;
    }
    this.pos = pos;
    this.#high = high >>> 0;
    return low;
  }

  // A length with bits above 32 is refused by the bounds check: cut down, it could fit by chance.
  #size(): number {
    const byte = this.#buf[this.pos];
    if (byte === undefined || byte >= 0x80) return this.varintNumber();
    // Behind `end` already? Then nothing fits, and the caller's check says so.
    this.pos++;
    return byte;
  }

  #take(length: number, what: string): number {
    const at = this.pos;
    if (length > this.end - at) throw truncated(`${what} of ${length} bytes`, this.end);
    this.pos = at + length;
    return at;
  }

  #view(): DataView {
    const buf = this.#buf;
    return new DataView(buf.buffer, buf.byteOffset, buf.byteLength);
  }

  #skip(tag: number, depth: number): void {
    switch (tag & 7) {
      case WIRE_VARINT:
        this.#varintHalves();
        return;
      case WIRE_FIXED64:
        this.#take(8, "a fixed64");
        return;
      case WIRE_BYTES:
        this.#take(this.#size(), "a field");
        return;
      case WIRE_FIXED32:
        this.#take(4, "a fixed32");
        return;
      case WIRE_GROUP_START:
        if (depth >= MAX_DEPTH) throw malformed(`groups are nested deeper than ${MAX_DEPTH}`);
        for (;;) {
          const inner = this.tag();
          if ((inner & 7) === WIRE_GROUP_END) {
            // Skipping by wire type alone (tag < 8) there is no field number to compare.
            if (tag >= 8 && inner >>> 3 !== tag >>> 3) {
              throw malformed(`a group ends as field ${inner >>> 3}`);
            }
            return;
          }
          this.#skip(inner, depth + 1);
        }
      default:
        throw malformed(`wire type ${tag & 7} at byte ${this.pos}`);
    }
  }
}

function truncated(what: string, end: number): TikvError {
  return malformed(`${what} does not end before byte ${end}`);
}

function malformed(what: string): TikvError {
  return new TikvError("protocol", `Cannot read the message: ${what}`);
}

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_GROUP_START = 3;
const WIRE_GROUP_END = 4;
const WIRE_FIXED32 = 5;

// Up to here a loop beats the call into the engine's copy.
const SHORT = 64;

const MAX_DEPTH = 100;
const BLOCK_BYTES = 8 * 1024;
// A larger field is worth an allocation, and would waste the rest of a block.
const MAX_SHARED_BYTES = 1024;
const EMPTY_BLOCK = new Uint8Array(0);
const TWO_32 = 0x1_0000_0000;
const MAX_EXACT_HIGH = 0x1f_ffff; // the upper half of 2^53 - 1

// Never read across calls: each use writes it first.
const SCRATCH = new DataView(new ArrayBuffer(8));
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

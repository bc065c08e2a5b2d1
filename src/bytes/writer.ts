// SPDX-License-Identifier: Apache-2.0

import { utf8Encode } from "./utf8.ts";

/**
 * Writes protobuf wire format into memory that grows.
 *
 * Messages are cut from one chunk after the other, so that a small message costs no allocation
 * of its own. {@linkcode Writer.finish} gives the message away as a view that is never written
 * again: it may be queued on a socket as it is. Whatever keeps one for long should copy it,
 * because a view keeps its whole chunk alive.
 */
export class Writer {
  readonly #chunkBytes: number;
  #buf: Uint8Array;
  #view: DataView | undefined;
  // The message under way is [#start, #pos) of the chunk.
  #start = 0;
  #pos = 0;

  /** `chunkBytes` is the least size of a chunk. */
  constructor(chunkBytes = 16 * 1024) {
    this.#chunkBytes = chunkBytes;
    this.#buf = new Uint8Array(chunkBytes);
  }

  /** Bytes written since the last `finish()` or `reset()`. */
  get length(): number {
    return this.#pos - this.#start;
  }

  /** The tag of a field: `field << 3 | wireType`. */
  tag(field: number, wireType: number): this {
    return this.varint((field << 3 | wireType) >>> 0);
  }

  /** A `uint32`, or a `uint64` up to 2^53 - 1. Anything else is a `RangeError`. */
  varint(value: number): this {
    this.#reserve(MAX_VARINT);
    const buf = this.#buf;
    let pos = this.#pos;
    if (value >>> 0 !== value) {
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new RangeError(`Cannot write ${value} as a varint: expected an integer from 0 to 2^53 - 1`);
      }
      while (value >= 0x1_0000_0000) {
        buf[pos++] = (value % 0x80) | 0x80;
        value = Math.floor(value / 0x80);
      }
    }
    while (value > 0x7f) {
      buf[pos++] = (value & 0x7f) | 0x80;
      value >>>= 7;
    }
    buf[pos++] = value;
    this.#pos = pos;
    return this;
  }

  /** A `uint64`. Anything else is a `RangeError`. */
  varint64(value: bigint): this {
    if (value < 0n || value > MAX_UINT64) {
      throw new RangeError(`Cannot write ${value} as a uint64: expected an integer from 0 to 2^64 - 1`);
    }
    if (value <= MAX_SAFE) return this.varint(Number(value));
    SCRATCH.setBigUint64(0, value, true);
    return this.#halves(SCRATCH.getUint32(0, true), SCRATCH.getUint32(4, true));
  }

  /** An `int64`; negative ones take 10 bytes. */
  int64(value: bigint): this {
    if (BigInt.asIntN(64, value) !== value) {
      throw new RangeError(`Cannot write ${value} as an int64: expected an integer from -2^63 to 2^63 - 1`);
    }
    return this.varint64(BigInt.asUintN(64, value));
  }

  /** An `int32` or an enum; negative ones take 10 bytes. */
  int32(value: number): this {
    if ((value | 0) !== value) {
      throw new RangeError(`Cannot write ${value} as an int32: expected an integer from -2^31 to 2^31 - 1`);
    }
    return value >= 0 ? this.varint(value) : this.#halves(value >>> 0, 0xffff_ffff);
  }

  /** A `bool`. */
  bool(value: boolean): this {
    return this.varint(value ? 1 : 0);
  }

  /** A `fixed32`. Anything but an unsigned 32-bit integer is a `RangeError`. */
  fixed32(value: number): this {
    if (value >>> 0 !== value) {
      throw new RangeError(`Cannot write ${value} as a fixed32: expected an integer from 0 to 2^32 - 1`);
    }
    this.#reserve(4);
    this.#dataView().setUint32(this.#pos, value, true);
    this.#pos += 4;
    return this;
  }

  /** A `fixed64`. Anything but an unsigned 64-bit integer is a `RangeError`. */
  fixed64(value: bigint): this {
    if (value < 0n || value > MAX_UINT64) {
      throw new RangeError(`Cannot write ${value} as a fixed64: expected an integer from 0 to 2^64 - 1`);
    }
    this.#reserve(8);
    this.#dataView().setBigUint64(this.#pos, value, true);
    this.#pos += 8;
    return this;
  }

  /** A `double`. */
  double(value: number): this {
    this.#reserve(8);
    this.#dataView().setFloat64(this.#pos, value, true);
    this.#pos += 8;
    return this;
  }

  /** A `bytes` field or an encoded message: its length, then its bytes. */
  bytes(bytes: Uint8Array): this {
    this.varint(bytes.length);
    return this.raw(bytes);
  }

  /** A `string` field. A lone surrogate is a `TypeError`. */
  string(text: string): this {
    return this.bytes(utf8Encode(text));
  }

  /** Bytes as they are, without a length: fields that are encoded already. */
  raw(bytes: Uint8Array): this {
    const length = bytes.length;
    this.#reserve(length);
    const pos = this.#pos;
    if (length > SHORT) {
      this.#buf.set(bytes, pos);
    } else {
      const buf = this.#buf;
      for (let i = 0; i < length; i++) buf[pos + i] = bytes[i] as number;
    }
    this.#pos = pos + length;
    return this;
  }

  /**
   * Starts a nested message and returns a mark for {@linkcode Writer.join}.
   *
   * Room is left for the length that is expected. If the real one needs another number of
   * bytes, the nested message is moved once; by default it is expected to be below 128 bytes.
   */
  fork(expectedBytes = 0): number {
    const room = varintSize(expectedBytes);
    this.#reserve(room);
    this.#pos += room;
    // Relative to the message: the chunk may be another one at join().
    return (this.#pos - this.#start) * 16 + room;
  }

  /** Ends the nested message that `mark` belongs to, and writes its length before it. */
  join(mark: number): this {
    const room = mark % 16;
    const offset = (mark - room) / 16;
    const length = this.length - offset;
    const size = varintSize(length);
    if (size !== room) {
      this.#reserve(MAX_VARINT);
      const from = this.#start + offset;
      this.#buf.copyWithin(from + size - room, from, this.#pos);
      this.#pos += size - room;
    }
    const buf = this.#buf;
    let at = this.#start + offset - room;
    let rest = length;
    while (rest > 0x7f) {
      buf[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buf[at] = rest;
    return this;
  }

  /** The message, in a view that stays as it is. The writer starts the next one behind it. */
  finish(): Uint8Array {
    const message = this.#buf.subarray(this.#start, this.#pos);
    this.#start = this.#pos;
    return message;
  }

  /** Forgets what was written since the last `finish()`. */
  reset(): void {
    this.#pos = this.#start;
  }

  #halves(low: number, high: number): this {
    this.#reserve(MAX_VARINT);
    const buf = this.#buf;
    let pos = this.#pos;
    while (high !== 0) {
      buf[pos++] = (low & 0x7f) | 0x80;
      low = (low >>> 7 | high << 25) >>> 0;
      high >>>= 7;
    }
    this.#pos = pos;
    return this.varint(low);
  }

  #reserve(bytes: number): void {
    if (this.#pos + bytes > this.#buf.length) this.#grow(bytes);
  }

  #grow(bytes: number): void {
    const length = this.length;
    const next = new Uint8Array(Math.max(this.#chunkBytes, 2 * length, length + bytes + SLACK));
    next.set(this.#buf.subarray(this.#start, this.#pos));
    this.#buf = next;
    this.#view = undefined;
    this.#start = 0;
    this.#pos = length;
  }

  #dataView(): DataView {
    return this.#view ??= new DataView(this.#buf.buffer, this.#buf.byteOffset, this.#buf.byteLength);
  }
}

/** Number of bytes of a varint, for an integer from 0 to 2^53 - 1. */
export function varintSize(value: number): number {
  let size = 1;
  while (value >= 0x80) {
    value = Math.floor(value / 0x80);
    size++;
  }
  return size;
}

const MAX_VARINT = 10;
const SLACK = 64; // for the tags and lengths that follow a large value
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const MAX_UINT64 = 0xffff_ffff_ffff_ffffn;

// Up to here a loop beats the call into the engine's copy.
const SHORT = 32;

// Never read across calls: each use writes it first.
const SCRATCH = new DataView(new ArrayBuffer(8));

// SPDX-License-Identifier: Apache-2.0
// gRPC's length-prefixed messages: one byte of flags, four bytes of length, then the message.

import { TikvError } from "../errors.ts";

/** Bytes in front of every message. */
export const FRAME_HEADER_BYTES = 5;

/** Flag bit of a compressed message. */
const COMPRESSED = 1;

/** The header of a frame for a message of `length` bytes. */
export function frameHeader(length: number): Uint8Array {
  const header = new Uint8Array(FRAME_HEADER_BYTES);
  writeLength(header, length);
  return header;
}

/** One frame: the header and the message in one piece. */
export function encodeFrame(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + message.byteLength);
  writeLength(frame, message.byteLength);
  frame.set(message, FRAME_HEADER_BYTES);
  return frame;
}

/**
 * Cuts a stream of bytes into messages. The length is checked when the header is there, before
 * anything of the message is buffered, so it never holds more than one message within the limit.
 */
export class FrameDecoder {
  readonly #maxMessageBytes: number;
  readonly #onMessage: (message: Uint8Array) => void;
  // The header is collected here when a chunk ends in the middle of it.
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  // The message that is being filled, when a chunk ends in the middle of it.
  #body: Uint8Array | undefined;
  #bodyBytes = 0;

  /** @param onMessage gets a view on the chunk, or a buffer of its own when chunks had to be joined */
  constructor(maxMessageBytes: number, onMessage: (message: Uint8Array) => void) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#onMessage = onMessage;
  }

  /** Bytes that wait for the rest of their frame. */
  get pendingBytes(): number {
    return this.#headerBytes + this.#bodyBytes;
  }

  /** Takes the next bytes; throws a {@linkcode TikvError} for a frame that cannot be taken. */
  push(chunk: Uint8Array): void {
    let offset = 0;
    const end = chunk.byteLength;
    while (offset < end) {
      if (this.#body !== undefined) {
        offset = this.#fillBody(this.#body, chunk, offset);
        continue;
      }
      let length: number;
      if (this.#headerBytes === 0 && end - offset >= FRAME_HEADER_BYTES) {
        length = this.#lengthAt(chunk, offset);
        offset += FRAME_HEADER_BYTES;
      } else {
        offset = this.#fillHeader(chunk, offset);
        if (this.#headerBytes < FRAME_HEADER_BYTES) return;
        length = this.#lengthAt(this.#header, 0);
        this.#headerBytes = 0;
      }
      if (end - offset >= length) {
        this.#onMessage(chunk.subarray(offset, offset + length));
        offset += length;
      } else {
        this.#body = new Uint8Array(length);
        this.#bodyBytes = 0;
      }
    }
  }

  /** Throws a {@linkcode TikvError} when the bytes ended in the middle of a frame. */
  finish(): void {
    if (this.#body !== undefined) {
      const { byteLength } = this.#body;
      throw new TikvError(
        "protocol",
        `Cannot read the message: the stream ended after ${this.#bodyBytes} of ${byteLength} bytes`,
      );
    }
    if (this.#headerBytes > 0) {
      throw new TikvError("protocol", "Cannot read the message: the stream ended inside a frame header");
    }
  }

  #fillHeader(chunk: Uint8Array, offset: number): number {
    const taken = Math.min(FRAME_HEADER_BYTES - this.#headerBytes, chunk.byteLength - offset);
    this.#header.set(chunk.subarray(offset, offset + taken), this.#headerBytes);
    this.#headerBytes += taken;
    return offset + taken;
  }

  #fillBody(body: Uint8Array, chunk: Uint8Array, offset: number): number {
    const taken = Math.min(body.byteLength - this.#bodyBytes, chunk.byteLength - offset);
    body.set(chunk.subarray(offset, offset + taken), this.#bodyBytes);
    this.#bodyBytes += taken;
    if (this.#bodyBytes === body.byteLength) {
      this.#body = undefined;
      this.#bodyBytes = 0;
      this.#onMessage(body);
    }
    return offset + taken;
  }

  #lengthAt(bytes: Uint8Array, offset: number): number {
    const flags = bytes[offset] ?? 0;
    const length = (bytes[offset + 1] ?? 0) * 0x1000000 +
      (((bytes[offset + 2] ?? 0) << 16) | ((bytes[offset + 3] ?? 0) << 8) | (bytes[offset + 4] ?? 0));
    if (flags === COMPRESSED) {
      throw new TikvError(
        "protocol",
        'Cannot read the message: it is compressed, and only the encoding "identity" was offered',
      );
    }
    if (flags !== 0) {
      throw new TikvError("protocol", `Cannot read the message: unknown frame flags ${flags}`);
    }
    if (length > this.#maxMessageBytes) {
      throw new TikvError(
        "too-large",
        `Cannot read the message: it has ${length} bytes, the limit is ${this.#maxMessageBytes}`,
      );
    }
    return length;
  }
}

function writeLength(target: Uint8Array, length: number): void {
  target[1] = length >>> 24;
  target[2] = length >>> 16;
  target[3] = length >>> 8;
  target[4] = length;
}

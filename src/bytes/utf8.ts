// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";

/** What may be given as a key or a raw value: bytes, or a string that stands for its UTF-8 bytes. */
export type KeyInput = Uint8Array | string;

/**
 * The UTF-8 bytes of a string.
 *
 * A lone surrogate has no UTF-8 form and would come back as another string: it is a `TypeError`.
 */
export function utf8Encode(text: string): Uint8Array {
  const length = text.length;
  if (length <= SHORT) {
    const bytes = new Uint8Array(length);
    let i = 0;
    for (; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) break;
      bytes[i] = code;
    }
    if (i === length) return bytes;
  }
  if (!text.isWellFormed()) {
    throw new TypeError("Cannot encode the string as UTF-8: it contains a lone surrogate");
  }
  return ENCODER.encode(text);
}

/** The string of UTF-8 bytes; malformed bytes are a `codec` error. A byte order mark is kept. */
export function utf8Decode(bytes: Uint8Array): string {
  try {
    return DECODER.decode(bytes);
  } catch (cause) {
    throw new TikvError("codec", `Cannot decode ${bytes.length} bytes as UTF-8: they are malformed`, {
      cause,
    });
  }
}

/** The bytes of a key; bytes are returned as they are, not copied. */
export function toBytes(input: KeyInput): Uint8Array {
  if (typeof input === "string") return utf8Encode(input);
  if (input instanceof Uint8Array) return input;
  // A Uint8Array of another realm (vm contexts, some test runners) is one too.
  const view: unknown = input;
  if (ArrayBuffer.isView(view) && Object.prototype.toString.call(view) === "[object Uint8Array]") {
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  }
  throw new TypeError(`Cannot use ${nameOf(input)} as bytes: expected a Uint8Array or a string`);
}

/** Says what a value of the wrong type is, without showing its content. */
export function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  const name = value.constructor?.name;
  return name === undefined || name === "" ? "an object" : `an object of class "${name}"`;
}

// Up to here a loop beats the call into the engine's encoder.
const SHORT = 48;

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

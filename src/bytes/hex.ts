// SPDX-License-Identifier: Apache-2.0

import { utf8Encode } from "./utf8.ts";

/** Two lower-case digits per byte. */
export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** The bytes of hex digits of either case; anything else is a `TypeError`. */
export function parseHex(text: string): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) {
    throw new TypeError(`Cannot parse "${text}" as hex: expected two hex digits per byte`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Printable ASCII as it is, a backslash doubled, every other byte as `\xNN`. */
export function escapeBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (byte === BACKSLASH) text += "\\\\";
    else if (byte >= 0x20 && byte <= 0x7e) text += String.fromCharCode(byte);
    else text += `\\x${HEX[byte]}`;
  }
  return text;
}

/**
 * Reads what {@linkcode escapeBytes} wrote.
 *
 * Characters that it never writes stand for their UTF-8 bytes, so that keys can be typed by hand.
 * A backslash that starts neither `\\` nor `\xNN` is a `TypeError`.
 */
export function parseEscaped(text: string): Uint8Array {
  const plain = utf8Encode(text);
  const bytes = new Uint8Array(plain.length);
  let length = 0;
  for (let i = 0; i < plain.length; i++) {
    let byte = plain[i] as number;
    if (byte === BACKSLASH) {
      const digits = /^\\(?:\\|x([0-9a-fA-F]{2}))/.exec(asciiAt(plain, i));
      if (digits === null) {
        throw new TypeError(`Cannot parse "${text}": expected "\\\\" or "\\xNN" after byte ${i}`);
      }
      if (digits[1] !== undefined) byte = Number.parseInt(digits[1], 16);
      i += digits[0].length - 1;
    }
    bytes[length++] = byte;
  }
  return bytes.slice(0, length);
}

/**
 * A key as messages, logs and spans show it.
 *
 * Unless `reveal` is set it tells the length only; otherwise hex, cut after 32 bytes.
 */
export function shortKey(key: Uint8Array, reveal: boolean): string {
  const unit = key.length === 1 ? "byte" : "bytes";
  if (!reveal) return `? (${key.length} ${unit})`;
  if (key.length <= SHOWN_BYTES) return key.length === 0 ? "(empty)" : hex(key);
  return `${hex(key.subarray(0, SHOWN_BYTES))}... (${key.length} ${unit})`;
}

function asciiAt(bytes: Uint8Array, start: number): string {
  return String.fromCharCode(...bytes.subarray(start, start + 4));
}

const BACKSLASH = 0x5c;
const SHOWN_BYTES = 32;
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

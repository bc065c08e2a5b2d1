// SPDX-License-Identifier: Apache-2.0

/** No bytes: the smallest key, and the unbounded end of a range. It has no element to change. */
export const EMPTY: Uint8Array = new Uint8Array(0);

/** All parts one after the other, in bytes of their own. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * The same content in a plain `Uint8Array` of its own.
 *
 * Unlike `slice()`, which on a Node `Buffer` shares the memory, it always copies.
 */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}

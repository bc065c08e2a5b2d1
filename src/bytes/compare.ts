// SPDX-License-Identifier: Apache-2.0

/**
 * The order of keys in TiKV: byte by byte, unsigned, a prefix before what it is a prefix of.
 *
 * Returns a negative number, zero or a positive number, as `Array.prototype.sort` wants it.
 */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = a.length < b.length ? a.length : b.length;
  for (let i = 0; i < length; i++) {
    // Both are in bounds, so neither is undefined; a check here would cost a tenth of the loop.
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Tells whether both have the same content. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  return a.length === b.length && startsWith(a, b);
}

/** Tells whether the first bytes are those of `prefix`. */
export function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  const length = prefix.length;
  if (bytes.length < length) return false;
  // Keys that differ mostly differ at the end: they share table and keyspace prefixes.
  for (let i = length - 1; i >= 0; i--) {
    if (bytes[i] !== prefix[i]) return false;
  }
  return true;
}

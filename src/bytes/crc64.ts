// SPDX-License-Identifier: Apache-2.0

/**
 * The CRC-64/XZ checksum (polynomial ECMA-182, reflected), which TiKV's `RawChecksum` uses.
 *
 * `seed` continues an earlier one: `crc64(b, crc64(a))` is the checksum of `a` followed by `b`.
 * The checksum of a range is the XOR of that of each key followed by its value.
 *
 * @see the `tikv_util` crate of TiKV, `checksum.rs`, and the `crc64fast` crate
 */
export function crc64(bytes: Uint8Array, seed: bigint = 0n): bigint {
  // Two halves of 32 bits: 64-bit bigint arithmetic per byte would be fifty times slower.
  let low = ~Number(seed & 0xffffffffn);
  let high = ~Number((seed >> 32n) & 0xffffffffn);
  for (let i = 0; i < bytes.length; i++) {
    const slot = (low ^ (bytes[i] as number)) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ (LOW[slot] as number);
    high = (high >>> 8) ^ (HIGH[slot] as number);
  }
  return (BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0);
}

const POLYNOMIAL_LOW = 0xd7870f42;
const POLYNOMIAL_HIGH = 0xc96c5795;

const LOW = new Int32Array(256);
const HIGH = new Int32Array(256);

for (let slot = 0; slot < 256; slot++) {
  let low = slot;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const odd = (low & 1) === 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (odd) {
      low ^= POLYNOMIAL_LOW;
      high ^= POLYNOMIAL_HIGH;
    }
  }
  LOW[slot] = low;
  HIGH[slot] = high;
}

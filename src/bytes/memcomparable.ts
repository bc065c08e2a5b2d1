// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../errors.ts";

/**
 * Encodes bytes so that encoded keys keep their order whatever follows them.
 *
 * Groups of 8 bytes, each padded with zeros and followed by 0xff minus the number of padding
 * bytes. The last group is always padded, so that the end can be seen: "" becomes 8 zeros and
 * 0xf7, and 8 bytes become two groups.
 *
 * @see the `codec` crate of TiKV, `MemComparableByteCodec`
 */
export function encodeBytes(key: Uint8Array): Uint8Array {
  const fullGroups = key.length >>> 3;
  const encoded = new Uint8Array((fullGroups + 1) * GROUP);
  let from = 0;
  let to = 0;
  for (let group = 0; group < fullGroups; group++) {
    for (let i = 0; i < DATA; i++) encoded[to++] = key[from++] as number;
    encoded[to++] = MARKER;
  }
  while (from < key.length) encoded[to++] = key[from++] as number;
  encoded[encoded.length - 1] = MARKER - DATA + (key.length & 7);
  return encoded;
}

/**
 * Decodes what {@linkcode encodeBytes} wrote, and only that: a missing group, padding that is
 * not zero, a marker below 0xf7 or bytes after the last group are a `codec` error.
 */
export function decodeBytes(encoded: Uint8Array): Uint8Array {
  const groups = encoded.length / GROUP;
  if (groups === 0 || !Number.isInteger(groups)) {
    throw malformed(encoded, `${encoded.length} bytes, expected a positive multiple of ${GROUP}`);
  }
  const marker = encoded[encoded.length - 1] as number;
  if (marker < MARKER - DATA || marker === MARKER) {
    throw malformed(encoded, `last marker 0x${marker.toString(16)}, expected 0xf7 to 0xfe`);
  }
  const length = groups * DATA - (MARKER - marker);
  const key = new Uint8Array(length);
  let from = 0;
  for (let to = 0; to < groups * DATA; from++) {
    const byte = encoded[from] as number;
    if (from % GROUP === DATA) {
      if (byte !== MARKER) throw malformed(encoded, `marker 0x${byte.toString(16)} before the last group`);
    } else if (to < length) {
      key[to++] = byte;
    } else {
      if (byte !== 0) throw malformed(encoded, `padding byte 0x${byte.toString(16)}, expected 0x00`);
      to++;
    }
  }
  return key;
}

function malformed(encoded: Uint8Array, what: string): TikvError {
  return new TikvError("codec", `Cannot decode a memcomparable key of ${encoded.length} bytes: ${what}`);
}

const DATA = 8;
const GROUP = DATA + 1;
const MARKER = 0xff;

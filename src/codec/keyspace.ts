// SPDX-License-Identifier: Apache-2.0

import { compareBytes, startsWith } from "../bytes/compare.ts";
import { concatBytes, EMPTY } from "../bytes/concat.ts";
import { shortKey } from "../bytes/hex.ts";
import type { KeyRange } from "../bytes/key_range.ts";
import { decodeBytes, encodeBytes } from "../bytes/memcomparable.ts";
import { TikvError } from "../errors.ts";

/** How a cluster stores keys: as they are (`v1`), with a TTL per value, or in keyspaces (`v2`). */
export type ApiVersion = "v1" | "v1ttl" | "v2";

/** Which of TiKV's two kinds of data: raw pairs or transactional ones. */
export type KeyMode = "raw" | "txn";

/**
 * The keys of one API version, mode and keyspace: what the user sees on one side, what requests
 * and region borders hold on the other.
 */
export interface ApiKeyCodec {
  readonly apiVersion: ApiVersion;
  readonly mode: KeyMode;
  /** {@linkcode NULL_KEYSPACE_ID} unless the API version is `v2`. */
  readonly keyspaceId: number;

  /** A key as requests hold it. */
  encodeKey(key: Uint8Array): Uint8Array;
  /**
   * A key of an answer as the user knows it; a view where nothing has to change. An empty key
   * is a field that was not set, and stays empty. A key of another keyspace is a `codec` error.
   */
  decodeKey(encoded: Uint8Array): Uint8Array;
  /** A range as requests hold it; unbounded becomes the end of the keyspace. */
  encodeRange(range: KeyRange): KeyRange;
  /** The part of a range that is in the keyspace; `undefined` if all of it is outside. */
  decodeRange(encoded: KeyRange): KeyRange | undefined;
  /** A key as PD and region borders hold it. */
  encodeRegionKey(key: Uint8Array): Uint8Array;
  /** A key of PD or a region border; malformed or foreign bytes are a `codec` error. */
  decodeRegionKey(encoded: Uint8Array): Uint8Array;
  /** A range as PD holds it. */
  encodeRegionRange(range: KeyRange): KeyRange;
  /**
   * The part of a region that is in the keyspace; `undefined` if all of it is outside.
   * Malformed borders are a `codec` error.
   */
  decodeRegionRange(encoded: KeyRange): KeyRange | undefined;
  /** The borders of a region's buckets, clamped to the keyspace. */
  decodeBucketKeys(encoded: readonly Uint8Array[]): Uint8Array[];
}

/** The keyspace id that stands for "no keyspace" in the request context. */
export const NULL_KEYSPACE_ID = 0xffff_ffff;

/** The keyspace that exists in every cluster of API version 2. */
export const DEFAULT_KEYSPACE_ID = 0;

/** The name of {@linkcode DEFAULT_KEYSPACE_ID}. */
export const DEFAULT_KEYSPACE_NAME = "DEFAULT";

/** The largest id that fits the key prefix. */
export const MAX_KEYSPACE_ID = 0xff_ffff;

/** The name of the keyspace that an empty name stands for. */
export function keyspaceNameOf(name: string): string {
  return name === "" ? DEFAULT_KEYSPACE_NAME : name;
}

/** The first bytes of all keys of API version 2, in order. */
export function v2Prefixes(): Uint8Array[] {
  return [Uint8Array.of(MODE_BYTE.raw), Uint8Array.of(MODE_BYTE.txn)];
}

/**
 * The first bytes that no key of API version 1 has where both versions share a cluster. The
 * same list as {@linkcode v2Prefixes}, but what it is asked for may change apart.
 */
export function v1ExcludedPrefixes(): Uint8Array[] {
  return v2Prefixes();
}

/** The keyspace of a key of API version 2; any other key is a `codec` error. */
export function parseKeyspaceId(encoded: Uint8Array): number {
  const [mode, high, middle, low] = encoded;
  if (low === undefined || (mode !== MODE_BYTE.raw && mode !== MODE_BYTE.txn)) {
    throw new TikvError(
      "codec",
      `Cannot read the keyspace of key ${shortKey(encoded, false)}: it is no key of API V2`,
    );
  }
  return ((high ?? 0) << 16) | ((middle ?? 0) << 8) | low;
}

/** A stored key in its two parts; the prefix is empty in API version 1. */
export function splitKey(
  encoded: Uint8Array,
  apiVersion: ApiVersion,
): { prefix: Uint8Array; key: Uint8Array } {
  if (apiVersion !== "v2") return { prefix: EMPTY, key: encoded };
  parseKeyspaceId(encoded);
  return { prefix: encoded.subarray(0, PREFIX_BYTES), key: encoded.subarray(PREFIX_BYTES) };
}

/** The codec of API version 1: keys are stored as they are. */
export function v1Codec(mode: KeyMode): ApiKeyCodec {
  return plainCodec("v1", mode);
}

/** The codec of API version 1 with TTL: the keys of version 1. Only raw data can have a TTL. */
export function v1TtlCodec(): ApiKeyCodec {
  return plainCodec("v1ttl", "raw");
}

/**
 * The codec of API version 2: each key begins with a byte for the mode and three for the
 * keyspace. An id above {@linkcode MAX_KEYSPACE_ID} is a `RangeError`.
 */
export function v2Codec(mode: KeyMode, keyspaceId: number): ApiKeyCodec {
  if (!Number.isInteger(keyspaceId) || keyspaceId < 0 || keyspaceId > MAX_KEYSPACE_ID) {
    throw new RangeError(
      `Cannot use keyspace id ${keyspaceId}: expected an integer from 0 to ${MAX_KEYSPACE_ID}`,
    );
  }
  const space = MODE_BYTE[mode] * 2 ** 24 + keyspaceId;
  const prefix = fourBytes(space);
  const end = fourBytes(space + 1);

  function encodeKey(key: Uint8Array): Uint8Array {
    return concatBytes(prefix, key);
  }

  function decodeKey(encoded: Uint8Array): Uint8Array {
    if (encoded.length === 0) return EMPTY;
    if (!startsWith(encoded, prefix)) {
      const seen = shortKey(encoded, false);
      throw new TikvError("codec", `Cannot decode key ${seen}: it is outside of keyspace ${keyspaceId}`);
    }
    return encoded.subarray(PREFIX_BYTES);
  }

  function encodeRange(range: KeyRange): KeyRange {
    return {
      start: encodeKey(range.start),
      end: range.end.length === 0 ? end.slice() : encodeKey(range.end),
    };
  }

  function decodeRange(encoded: KeyRange): KeyRange | undefined {
    const startsBehind = compareBytes(encoded.start, end) >= 0;
    const endsBefore = encoded.end.length > 0 && compareBytes(encoded.end, prefix) <= 0;
    if (startsBehind || endsBefore) return undefined;
    return { start: stripOrClamp(encoded.start), end: stripOrClamp(encoded.end) };
  }

  // A border inside the keyspace loses the prefix; one outside is a border of the keyspace itself.
  function stripOrClamp(border: Uint8Array): Uint8Array {
    return startsWith(border, prefix) ? border.subarray(PREFIX_BYTES) : EMPTY;
  }

  function decodeBucketKeys(encoded: readonly Uint8Array[]): Uint8Array[] {
    const keys: Uint8Array[] = [];
    encoded.forEach((border, i) => {
      const key = decodeBorder(border);
      const isLast = i === encoded.length - 1;
      if (i === 0 && compareBytes(key, prefix) < 0) {
        keys.push(EMPTY);
      } else if (isLast && (key.length === 0 || compareBytes(key, end) >= 0)) {
        keys.push(EMPTY);
      } else if (startsWith(key, prefix)) {
        const inner = key.subarray(PREFIX_BYTES);
        // The first key of the keyspace is there already, as the border that was clamped to it.
        if (inner.length > 0 || keys[0]?.length !== 0) keys.push(inner);
      }
    });
    return keys;
  }

  return Object.freeze({
    apiVersion: "v2",
    mode,
    keyspaceId,
    encodeKey,
    decodeKey,
    encodeRange,
    decodeRange,
    encodeRegionKey: (key: Uint8Array) => encodeBytes(encodeKey(key)),
    decodeRegionKey: (encoded: Uint8Array) => decodeKey(decodeBorder(encoded)),
    encodeRegionRange: (range: KeyRange) => {
      const { start, end } = encodeRange(range);
      return { start: encodeBytes(start), end: encodeBytes(end) };
    },
    decodeRegionRange: (encoded: KeyRange) =>
      decodeRange({ start: decodeBorder(encoded.start), end: decodeBorder(encoded.end) }),
    decodeBucketKeys,
  });
}

// Raw data of version 1 is cut into regions at plain keys, transactional data at memcomparable ones.
function plainCodec(apiVersion: "v1" | "v1ttl", mode: KeyMode): ApiKeyCodec {
  const encodeRegionKey = mode === "raw" ? same : encodeBytes;
  const decodeRegionKey = mode === "raw" ? same : decodeBorder;
  return Object.freeze({
    apiVersion,
    mode,
    keyspaceId: NULL_KEYSPACE_ID,
    encodeKey: same,
    decodeKey: same,
    encodeRange: same,
    decodeRange: same,
    encodeRegionKey,
    decodeRegionKey,
    encodeRegionRange: (range: KeyRange) => ({
      start: encodeRegionKey(range.start),
      end: range.end.length === 0 ? EMPTY : encodeRegionKey(range.end),
    }),
    decodeRegionRange: (encoded: KeyRange) => ({
      start: decodeRegionKey(encoded.start),
      end: decodeRegionKey(encoded.end),
    }),
    decodeBucketKeys: (encoded: readonly Uint8Array[]) => encoded.map(decodeRegionKey),
  });
}

// An empty border is unbounded and never encoded.
function decodeBorder(encoded: Uint8Array): Uint8Array {
  return encoded.length === 0 ? EMPTY : decodeBytes(encoded);
}

function same<T>(value: T): T {
  return value;
}

function fourBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

const MODE_BYTE = { raw: 0x72, txn: 0x78 } as const satisfies Record<KeyMode, number>;
const PREFIX_BYTES = 4;

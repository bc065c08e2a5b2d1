// SPDX-License-Identifier: Apache-2.0
// The data behind the raw commands: what is stored, when it expires, what a scan sees. Keys here
// are as TiKV writes them to disk (see `api_version.ts`); requests are checked before they get here.

import type { Clock } from "../async/clock.ts";
import { equalBytes } from "../bytes/compare.ts";
import { crc64 } from "../bytes/crc64.ts";
import { concatBytes } from "../bytes/concat.ts";
import type { SortedRange } from "./sorted_map.ts";
import { SortedMap } from "./sorted_map.ts";

/** The column families that raw commands may name. */
export type ColumnFamily = "default" | "lock" | "write";

/** A pair as it is stored. */
export interface RawPair {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** What one scan asks for. */
export interface RawScan {
  readonly range: SortedRange;
  readonly limit: number;
  readonly isReverse: boolean;
  readonly keysOnly: boolean;
}

/** Totals over some pairs; checksums of disjoint sets are joined by XOR. */
export interface RawChecksum {
  readonly checksum: bigint;
  readonly pairs: bigint;
  readonly bytes: bigint;
}

/** What compare-and-swap found, and whether it wrote. */
export interface SwapResult {
  readonly previous: Uint8Array | undefined;
  readonly hasSwapped: boolean;
}

interface Stored {
  readonly value: Uint8Array;
  /** Second since 1970 in which the pair stops to exist; undefined for never. */
  readonly expiresAt: bigint | undefined;
}

const MAX_U64 = 0xffff_ffff_ffff_ffffn;
const EMPTY = new Uint8Array(0);

/** The raw data of the cluster, shared by all stores: replicas never lag. */
export class RawEngine {
  readonly #clock: Clock;
  readonly #families: Readonly<Record<ColumnFamily, SortedMap<Stored>>> = {
    default: new SortedMap(),
    lock: new SortedMap(),
    write: new SortedMap(),
  };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Stored pairs, expired ones included. */
  get size(): number {
    return this.#families.default.size + this.#families.lock.size + this.#families.write.size;
  }

  get(family: ColumnFamily, key: Uint8Array): Uint8Array | undefined {
    return this.#live(family, key)?.value;
  }

  /** Seconds that the pair still has, 0 if it never expires, undefined if there is none. */
  ttl(family: ColumnFamily, key: Uint8Array): bigint | undefined {
    const stored = this.#live(family, key);
    if (stored === undefined) return undefined;
    return stored.expiresAt === undefined ? 0n : stored.expiresAt - this.#nowSeconds();
  }

  /** @param ttlSeconds 0 for a pair that never expires */
  put(family: ColumnFamily, pair: RawPair, ttlSeconds: bigint): void {
    // Requests are decoded as views on network buffers, which are not ours to keep.
    this.#families[family].set(pair.key.slice(), {
      value: pair.value.slice(),
      expiresAt: this.#expiryOf(ttlSeconds),
    });
  }

  delete(family: ColumnFamily, key: Uint8Array): void {
    this.#families[family].delete(key);
  }

  deleteRange(family: ColumnFamily, range: SortedRange): void {
    this.#families[family].deleteRange(range);
  }

  scan(family: ColumnFamily, scan: RawScan): RawPair[] {
    const found: RawPair[] = [];
    if (scan.limit <= 0) return found;
    const now = this.#nowSeconds();
    const map = this.#families[family];
    for (const { key, value } of scan.isReverse ? map.descending(scan.range) : map.ascending(scan.range)) {
      if (isExpired(value, now)) continue;
      found.push({ key, value: scan.keysOnly ? EMPTY : value.value });
      if (found.length >= scan.limit) break;
    }
    return found;
  }

  /** Writes when the present value is `expected`, where undefined stands for "no such key". */
  compareAndSwap(
    family: ColumnFamily,
    pair: RawPair,
    options: {
      readonly expected: Uint8Array | undefined;
      readonly ttlSeconds: bigint;
      readonly deletes: boolean;
    },
  ): SwapResult {
    const previous = this.get(family, pair.key);
    const isSame = previous === undefined || options.expected === undefined
      ? previous === options.expected
      : equalBytes(previous, options.expected);
    if (!isSame) return { previous, hasSwapped: false };
    if (options.deletes) this.delete(family, pair.key);
    else this.put(family, pair, options.ttlSeconds);
    return { previous, hasSwapped: true };
  }

  /**
   * CRC-64 of key and value, joined over the pairs by XOR.
   *
   * @param decodeKey turns a stored key into the one that clients know, which is what TiKV counts
   */
  checksum(range: SortedRange, decodeKey: (key: Uint8Array) => Uint8Array): RawChecksum {
    let checksum = 0n;
    let pairs = 0n;
    let bytes = 0;
    const now = this.#nowSeconds();
    for (const { key, value } of this.#families.default.ascending(range)) {
      if (isExpired(value, now)) continue;
      const both = concatBytes(decodeKey(key), value.value);
      checksum ^= crc64(both);
      pairs += 1n;
      bytes += both.length;
    }
    return { checksum, pairs, bytes: BigInt(bytes) };
  }

  #live(family: ColumnFamily, key: Uint8Array): Stored | undefined {
    const stored = this.#families[family].get(key);
    return stored === undefined || isExpired(stored, this.#nowSeconds()) ? undefined : stored;
  }

  #nowSeconds(): bigint {
    return BigInt(Math.floor(this.#clock.wallNow() / 1000));
  }

  /** TiKV adds with saturation (`ttl_to_expire_ts`), so the largest TTLs never pass. */
  #expiryOf(ttlSeconds: bigint): bigint | undefined {
    if (ttlSeconds === 0n) return undefined;
    const at = this.#nowSeconds() + ttlSeconds;
    return at > MAX_U64 ? MAX_U64 : at;
  }
}

function isExpired(stored: Stored, nowSeconds: bigint): boolean {
  return stored.expiresAt !== undefined && stored.expiresAt <= nowSeconds;
}

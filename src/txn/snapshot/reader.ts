// SPDX-License-Identifier: Apache-2.0
// What transactions and snapshots have in common for who only reads.

import type { ReadonlyKeyMap } from "../../bytes/key_map.ts";
import type { KeyInput } from "../../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../../codec/codec.ts";
import type {
  ByteKeys,
  ByteValues,
  KeyIn,
  KeyOut,
  RawRange,
  ValueOut,
  ViewCodecs,
} from "../../codec/coding.ts";
import type { ScanOptions } from "../../plan/scan_options.ts";
import type { ScanResult } from "../../plan/scan_result.ts";
import type { CallOptions, Entry } from "../../types.ts";

/** Options of a scan at one timestamp. */
export type ReadScanOptions = ScanOptions;

/**
 * Reads of one moment: every call sees what was committed at the same timestamp, and nothing else.
 * Snapshots are readers, and so are transactions, which see their own writes as well.
 *
 * All calls take `signal` and `timeoutMs`. Locks of transactions that are being committed are waited
 * for, or got out of the way when their time is up.
 */
export interface Reader<K extends KeyCodec<unknown> = ByteKeys, V extends Codec<unknown> = ByteValues> {
  /** Reads the value of a key; `undefined` if there is none. */
  get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined>;

  /** Tells whether a key has a value. Costs as much as reading it. */
  has(key: KeyIn<K>, options?: CallOptions): Promise<boolean>;

  /**
   * Reads many keys: one request for each region, several at a time. The map finds keys by their
   * content, has them in the order of the request, and lacks those that do not exist.
   */
  batchGet(keys: Iterable<KeyIn<K>>, options?: CallOptions): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>>;

  /**
   * Reads the entries of a range in the order of their keys, page by page as they are asked for.
   * `timeoutMs` is for each page, `signal` for all.
   */
  scan(range: RawRange<K>, options?: ReadScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>>;

  /** Reads the keys of a range only; values do not travel. */
  scanKeys(range: RawRange<K>, options?: ReadScanOptions): ScanResult<KeyOut<K>>;

  /** A view of the keys that begin with `prefix`, with codecs of its own, of the same moment. */
  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs?: ViewCodecs<K2, V2>,
  ): Reader<K2, V2>;
}

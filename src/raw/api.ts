// SPDX-License-Identifier: Apache-2.0
// What users see of raw data. The implementation is in `view.ts`.

import type { ReadonlyKeyMap } from "../bytes/key_map.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
import type {
  ByteKeys,
  ByteValues,
  KeyIn,
  KeyOut,
  RawRange,
  ValueIn,
  ValueOut,
  ViewCodecs,
} from "../codec/coding.ts";
import type { ScanOptions } from "../plan/scan_options.ts";
import type { ScanResult } from "../plan/scan_result.ts";
import type { CallOptions, Entry } from "../types.ts";
import type { BatchScanOptions, PutOptions } from "./options.ts";
import type { RawChecksum } from "./range.ts";
import type { ViewOptions } from "./scope.ts";

/** One write of a batch: a pair, or an object that may have a TTL of its own. */
export type PutEntry<K, V> =
  | readonly [key: KeyIn<K>, value: ValueIn<V>]
  | { readonly key: KeyIn<K>; readonly value: ValueIn<V>; readonly ttlSeconds?: number | undefined };

/**
 * What every view of raw data can do. Keys and values are bytes (strings stand for their UTF-8), or
 * what the codecs of the view make of them.
 *
 * Each call is a request of its own: there is no snapshot over several calls or several regions. A
 * read sees every write that was answered before it began. All calls take `signal` and `timeoutMs`,
 * are tried again while the cluster moves regions, and fail with `timeout`, `connection`,
 * `region-unavailable` or `server-busy` when it does not serve them in time. A write that fails
 * with `undetermined` may have happened; an abort while a write is in flight ends in it too, with the
 * signal's reason as its `cause`.
 *
 * Bytes that go in must stay as they are until the call has settled: they are not copied.
 */
export interface RawView<K extends KeyCodec<unknown> = ByteKeys, V extends Codec<unknown> = ByteValues> {
  /** Reads the value of a key; `undefined` if there is none. An empty value is a value. */
  get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined>;

  /** Tells whether a key has a value. Costs as much as reading it. */
  has(key: KeyIn<K>, options?: CallOptions): Promise<boolean>;

  /**
   * Writes a value, over any that is there, whose TTL ends with it.
   *
   * When the answer is lost the same value is sent again, so it can be written twice: a value that
   * somebody else wrote in between is then overwritten. Use {@linkcode AtomicRaw.compareAndSwap}
   * where that matters. An entry above the limits fails with `too-large` and is not sent.
   */
  put(key: KeyIn<K>, value: ValueIn<V>, options?: PutOptions): Promise<void>;

  /** Removes a key, whether it is there or not. */
  delete(key: KeyIn<K>, options?: CallOptions): Promise<void>;

  /**
   * Reads many keys: one request for each region and 512 keys, several at a time.
   *
   * The map finds keys by their content, has them in the order of the request, and lacks those
   * that do not exist. Small values of one answer share memory, as the entries of a page do: see
   * {@linkcode RawView.scan}.
   */
  batchGet(keys: Iterable<KeyIn<K>>, options?: CallOptions): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>>;

  /**
   * Writes many entries: one request for each region and 16 KiB, several at a time. Of several
   * entries with the same key the last one counts.
   *
   * Not atomic: when it fails, some may have been written. `ttlSeconds` of an entry wins over that
   * of the options.
   */
  batchPut(entries: Iterable<PutEntry<K, V>>, options?: PutOptions): Promise<void>;

  /** Removes many keys, as {@linkcode RawView.batchPut} writes them. */
  batchDelete(keys: Iterable<KeyIn<K>>, options?: CallOptions): Promise<void>;

  /**
   * Removes all keys of a range, region by region. Not atomic: when it fails, parts of the range
   * may be empty. `{}` empties the whole view.
   *
   * The store does this below its latches and change feeds. Never mix it with compare-and-swap on
   * the same keys, and do not expect it in a change feed.
   */
  deleteRange(range: RawRange<K>, options?: CallOptions): Promise<void>;

  /** Removes all keys with a prefix: `deleteRange({ prefix })`. */
  deletePrefix(prefix: PrefixIn<K>, options?: CallOptions): Promise<void>;

  /**
   * Reads the entries of a range in the order of their keys, page by page as they are asked for.
   * There is no limit but the one that is given. Each page is read at its own time.
   *
   * `timeoutMs` is for each page, `signal` for all. Bad arguments throw at once.
   *
   * Small keys and values of one page share blocks of 8 KiB, so `bytes.buffer` has more in it than
   * `bytes`. Copy with `slice()` what is handed to another thread by transfer.
   *
   * @example Read until something is found
   * ```ts
   * import assert from "node:assert/strict";
   * await client.raw.batchPut([["fruit/apple", "3"], ["fruit/pear", "7"], ["tree/oak", "1"]]);
   * const names: string[] = [];
   * for await (const { key } of client.raw.scan({ prefix: "fruit/" })) {
   *   names.push(new TextDecoder().decode(key));
   * }
   * assert.deepEqual(names, ["fruit/apple", "fruit/pear"]);
   * const [last] = await client.raw.scan({}, { reverse: true, limit: 1 }).toArray();
   * assert.equal(new TextDecoder().decode(last?.key), "tree/oak");
   * ```
   */
  scan(range: RawRange<K>, options?: ScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>>;

  /** Reads the keys of a range only; values do not travel. */
  scanKeys(range: RawRange<K>, options?: ScanOptions): ScanResult<KeyOut<K>>;

  /** Reads the first entries of several ranges; one list for each range, in their order. */
  batchScan(
    ranges: Iterable<RawRange<K>>,
    options: BatchScanOptions,
  ): Promise<Entry<KeyOut<K>, ValueOut<V>>[][]>;

  /** Reads the first keys of several ranges; one list for each range, in their order. */
  batchScanKeys(ranges: Iterable<RawRange<K>>, options: BatchScanOptions): Promise<KeyOut<K>[][]>;

  /**
   * Digests a range on the stores, to compare it with another copy. Of the default column family
   * only. In API version 2 the prefix of the keyspace is part of it, so the digest differs from
   * that of the same entries in version 1 or in another keyspace.
   */
  checksum(range: RawRange<K>, options?: CallOptions): Promise<RawChecksum>;

  /**
   * Tells how many seconds a key has left: `Infinity` if it never expires, `undefined` if there is
   * no such key. Fails with `unsupported` in plain API version 1: its stores keep no TTL, and end their
   * process when they are asked for one, so this client does not ask.
   */
  ttl(key: KeyIn<K>, options?: CallOptions): Promise<number | undefined>;
}

/** The type of a view's prefixes as they go in. */
export type PrefixIn<K> = Extract<RawRange<K>, { readonly prefix: unknown }>["prefix"];

/** Raw data: see {@linkcode RawView} for what it can do. */
export interface Raw<K extends KeyCodec<unknown> = ByteKeys, V extends Codec<unknown> = ByteValues>
  extends RawView<K, V> {
  /**
   * The same view with compare-and-swap. Its writes wait for each other on the stores, which makes
   * them slower: whoever writes the keys that are swapped has to write through such a view.
   *
   * A write through it whose answer was lost is not sent again, because the value may have been
   * swapped in between; it fails with `undetermined`.
   */
  atomic(): AtomicRaw<K, V>;

  /**
   * A view of the keys that begin with `prefix`, with codecs of its own. Keys go in and come out
   * without the prefix.
   *
   * @example Typed keys and values
   * ```ts
   * import assert from "node:assert/strict";
   * import { codec } from "@tikv/client";
   * const users = client.raw.sub("user/", { key: codec.utf8, value: codec.json<{ age: number }>() });
   * await users.put("ada", { age: 36 });
   * assert.deepEqual(await users.get("ada"), { age: 36 });
   * assert.deepEqual(await client.raw.scanKeys({}).toArray(), [new TextEncoder().encode("user/ada")]);
   * ```
   */
  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs?: ViewCodecs<K2, V2>,
  ): Raw<K2, V2>;

  /** The same view with other defaults for its calls. */
  with(options: ViewOptions): Raw<K, V>;

  /** The same view of another column family: `"default"`, `"write"` or `"lock"`, not in version 2. */
  columnFamily(name: string): Raw<K, V>;

  /**
   * Asks a coprocessor plugin of the stores, one request for each region with ranges. The answers
   * come in the order of their ranges.
   *
   * @param plugin name of the plugin
   * @param request what to ask; `version` is a SemVer range that the plugin has to meet
   */
  coprocessor(
    plugin: string,
    request: CoprocessorRequest<K>,
    options?: CallOptions,
  ): Promise<CoprocessorReply[]>;
}

/** Raw data with compare-and-swap; its writes take part in it. */
export interface AtomicRaw<K extends KeyCodec<unknown> = ByteKeys, V extends Codec<unknown> = ByteValues>
  extends RawView<K, V> {
  /**
   * Writes a value if the key has the one that is expected, in one step.
   *
   * Never sent again when its answer is lost: the second try could find its own first one. It then
   * fails with `undetermined`.
   *
   * @example Count without losing a step
   * ```ts
   * import assert from "node:assert/strict";
   * import { codec } from "@tikv/client";
   * const counters = client.raw.sub("n/", { key: codec.utf8, value: codec.uint64 }).atomic();
   * const first = await counters.compareAndSwap("visits", { expect: null, value: 1n });
   * assert.deepEqual(first, { swapped: true, previous: undefined });
   * const second = await counters.compareAndSwap("visits", { expect: 7n, value: 8n });
   * assert.deepEqual(second, { swapped: false, previous: 1n });
   * ```
   */
  compareAndSwap(key: KeyIn<K>, swap: Swap<V>, options?: CallOptions): Promise<SwapResult<V>>;

  /** Writes a value if the key has none: `compareAndSwap` with `expect: null`. */
  putIfAbsent(key: KeyIn<K>, value: ValueIn<V>, options?: PutOptions): Promise<SwapResult<V>>;

  /** As {@linkcode Raw.sub}. */
  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs?: ViewCodecs<K2, V2>,
  ): AtomicRaw<K2, V2>;

  /** As {@linkcode Raw.with}. */
  with(options: ViewOptions): AtomicRaw<K, V>;

  /** As {@linkcode Raw.columnFamily}. */
  columnFamily(name: string): AtomicRaw<K, V>;
}

/** What is compared with, and what is written. */
export interface Swap<V> {
  /** The value that the key must have; `null`: the key must not exist. */
  readonly expect: ValueIn<V> | null;
  /** The value to write. */
  readonly value: ValueIn<V>;
  /** As in {@linkcode PutOptions}. */
  readonly ttlSeconds?: number | undefined;
}

/** Whether the value was written, and what was there before. */
export interface SwapResult<V> {
  /** Whether the value was written. */
  readonly swapped: boolean;
  /** The value before; `undefined` if there was none. */
  readonly previous: ValueOut<V> | undefined;
}

/** What is asked of a coprocessor plugin. */
export interface CoprocessorRequest<K extends KeyCodec<unknown> = ByteKeys> {
  /** Such as `"^1.0"`. */
  readonly version: string;
  /** What the plugin is to look at. */
  readonly ranges: Iterable<RawRange<K>>;
  /** The plugin's own request, the same for all regions or made for the ranges of one. */
  readonly data: Uint8Array | ((ranges: readonly CoprocessorRange[]) => Uint8Array);
}

/** A range of whole keys, with the view's prefix, as a plugin gets it. */
export interface CoprocessorRange {
  /** The first key. */
  readonly start: Uint8Array;
  /** Exclusive; empty when unbounded. */
  readonly end: Uint8Array;
}

/** What a plugin answered for one region. */
export interface CoprocessorReply {
  /** The ranges that the region has, in the order in which they were given. */
  readonly ranges: readonly CoprocessorRange[];
  /** The plugin's own answer. */
  readonly data: Uint8Array;
}

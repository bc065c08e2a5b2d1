// SPDX-License-Identifier: Apache-2.0

import type { KeyMap, ReadonlyKeyMap } from "../../bytes/key_map.ts";
import type { KeyInput } from "../../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../../codec/codec.ts";
import {
  type ByteKeys,
  type ByteValues,
  type Coding,
  iterable,
  type KeyIn,
  type KeyOut,
  type RawRange,
  ROOT_CODING,
  subCoding,
  type ValueOut,
  type ViewCodecs,
} from "../../codec/coding.ts";
import type { Operation } from "../../async/operation.ts";
import { CALL_NAMES, checkCallOptions, checkNames } from "../../options.ts";
import { ScanResult } from "../../plan/scan_result.ts";
import { eitherOf, narrowDefaults, runOperation, spanFor, startOperation } from "../../plan/session.ts";
import type { CallOptions, Entry, Timestamp } from "../../types.ts";
import { MAX_TS } from "../locks/lock_calls.ts";
import type { Reader } from "./reader.ts";
import type { Versioned } from "./snapshot_cache.ts";
import {
  checkMoment,
  checkReadTs,
  checkSnapshotOptions,
  checkSnapshotScan,
  type Moment,
  type SnapshotOptions,
  type SnapshotScanOptions,
} from "./snapshot_options.ts";
import { type SnapshotParts, SnapshotReads } from "./snapshot_reads.ts";

/** A value and since when it is there. */
export interface VersionedValue<V = Uint8Array> {
  /** The value. */
  readonly value: V;
  /** When the transaction was committed that wrote it. */
  readonly commitTs: Timestamp;
}

/**
 * The data at one moment. It does not change while it is read, costs nothing to keep, and needs no
 * end; reads of a moment that garbage collection has passed fail with `snapshot-too-old`.
 *
 * It remembers what `get` and `batchGet` have read, and what it has found out about transactions
 * whose locks were in its way.
 */
export interface Snapshot<K extends KeyCodec<unknown> = ByteKeys, V extends Codec<unknown> = ByteValues>
  extends Reader<K, V> {
  /** The moment; all bits are set for `"latest"`. */
  readonly ts: Timestamp;

  /**
   * Reads a value with the timestamp of its commit; `undefined` if there is none. A lock of a
   * transaction that is committed is waited for: the timestamp is not in it.
   *
   * Fails with `unsupported` where stores do not tell it.
   *
   * @example Which of two values is newer
   * ```ts
   * import assert from "node:assert/strict";
   *
   * const before = await client.pd.timestamp();
   * await client.transaction((txn) => txn.put("greeting", "hello"));
   * const snapshot = await client.snapshot();
   * const found = await snapshot.getVersioned("greeting");
   * assert.ok(found !== undefined && found.commitTs > before && found.commitTs <= snapshot.ts);
   * ```
   */
  getVersioned(key: KeyIn<K>, options?: CallOptions): Promise<VersionedValue<ValueOut<V>> | undefined>;

  /** As {@linkcode Snapshot.getVersioned}, for many keys. */
  batchGetVersioned(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<VersionedValue<ValueOut<V>>, KeyOut<K>>>;

  /**
   * Reads the entries of a range in the order of their keys, page by page as they are asked for.
   * `timeoutMs` is for each page, `signal` for all. Bad arguments throw at once.
   */
  scan(range: RawRange<K>, options?: SnapshotScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>>;

  /** Reads the keys of a range only; values do not travel. */
  scanKeys(range: RawRange<K>, options?: SnapshotScanOptions): ScanResult<KeyOut<K>>;

  /**
   * A view of the keys that begin with `prefix`, with codecs of its own. Keys go in and come out
   * without the prefix. It shares what this one remembers.
   */
  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs?: ViewCodecs<K2, V2>,
  ): Snapshot<K2, V2>;

  /** The same snapshot with other defaults for its calls. */
  with(options: CallOptions): Snapshot<K, V>;

  /**
   * The same keys at another moment. Nothing that this one remembers goes along. The first read fails
   * with a `RangeError` where the cluster has not reached it.
   */
  at(ts: Timestamp): Snapshot<K, V>;
}

/** Makes snapshots of a client; `ts` is asked for unless the options have it. */
export async function openSnapshot(
  parts: SnapshotParts,
  options: SnapshotOptions,
  { defaults, timestamp }: {
    readonly defaults: CallOptions;
    readonly timestamp: (operation: Operation) => Promise<Timestamp>;
  },
): Promise<Snapshot> {
  const settings = checkSnapshotOptions(options, parts.session.settings.labels);
  const moment = checkMoment(options);
  const { signal, timeoutMs } = options;
  const ofSnapshot = narrowDefaults(defaults, { signal, timeoutMs });
  const { staleTime } = parts;
  const labels = settings.routes?.labels ?? new Map();
  const tsOf = async (
    { ts, staleMs, maxStaleMs }: Moment,
    operation: Operation,
  ): Promise<Timestamp | undefined> => {
    if (staleMs !== undefined) return await staleTime.ago(staleMs, operation);
    if (maxStaleMs !== undefined) return await staleTime.newest(maxStaleMs, labels, operation);
    return ts;
  };
  const reads = await runOperation(
    parts.session,
    { name: "snapshot", options: undefined, defaults: ofSnapshot },
    async (operation) => {
      const ts = await tsOf(moment, operation);
      const opened = new SnapshotReads(parts, ts ?? await timestamp(operation), settings);
      await opened.prepare(operation);
      return opened;
    },
  );
  return new SnapshotView<ByteKeys, ByteValues>(reads, ROOT_CODING, ofSnapshot);
}

class SnapshotView<K extends KeyCodec<unknown>, V extends Codec<unknown>> implements Snapshot<K, V> {
  readonly #reads: SnapshotReads;
  readonly #coding: Coding<K, V>;
  readonly #defaults: CallOptions;

  constructor(reads: SnapshotReads, coding: Coding<K, V>, defaults: CallOptions) {
    this.#reads = reads;
    this.#coding = coding;
    this.#defaults = defaults;
  }

  get ts(): Timestamp {
    return this.#reads.ts;
  }

  async get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined> {
    const found = await this.#getBytes("snapshot.get", key, options);
    return found === undefined ? undefined : this.#coding.decodeValue(found);
  }

  async has(key: KeyIn<K>, options?: CallOptions): Promise<boolean> {
    return await this.#getBytes("snapshot.has", key, options) !== undefined;
  }

  async batchGet(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    const found = await this.#batchGet("snapshot.batchGet", keys, { options, needsCommitTs: false });
    return this.#coding.decodeMap(found, ({ value }) => this.#coding.decodeValue(value));
  }

  async getVersioned(
    key: KeyIn<K>,
    options?: CallOptions,
  ): Promise<VersionedValue<ValueOut<V>> | undefined> {
    checkCallOptions(options);
    const encoded = this.#coding.encodeKey(key);
    const found = await this.#run(
      "snapshot.getVersioned",
      options,
      (operation) => this.#reads.getVersioned(encoded, operation, { needsCommitTs: true }),
    );
    return found === undefined ? undefined : this.#decodeVersioned(found);
  }

  async batchGetVersioned(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<VersionedValue<ValueOut<V>>, KeyOut<K>>> {
    const found = await this.#batchGet("snapshot.batchGetVersioned", keys, { options, needsCommitTs: true });
    return this.#coding.decodeMap(found, (one) => this.#decodeVersioned(one));
  }

  scan(range: RawRange<K>, options?: SnapshotScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>> {
    return this.#scan({ name: "snapshot.scan", range, options, isKeysOnly: false }, ({ key, value }) => ({
      key: this.#coding.decodeKey(key),
      value: this.#coding.decodeValue(value),
    }));
  }

  scanKeys(range: RawRange<K>, options?: SnapshotScanOptions): ScanResult<KeyOut<K>> {
    const scan = { name: "snapshot.scanKeys", range, options, isKeysOnly: true };
    return this.#scan(scan, ({ key }) => this.#coding.decodeKey(key));
  }

  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs: ViewCodecs<K2, V2> = {},
  ): Snapshot<K2, V2> {
    return new SnapshotView(this.#reads, subCoding<K2, V2>(this.#coding, prefix, codecs), this.#defaults);
  }

  with(options: CallOptions): Snapshot<K, V> {
    checkNames("the options of a view", options, CALL_NAMES);
    return new SnapshotView(this.#reads, this.#coding, narrowDefaults(this.#defaults, options));
  }

  at(ts: Timestamp): Snapshot<K, V> {
    const { parts, settings } = this.#reads;
    const checked = checkReadTs(ts) ?? MAX_TS as Timestamp;
    if (checked === MAX_TS && settings.routes?.isStale === true) {
      throw new RangeError("Cannot read the latest data without the leader: expected a timestamp");
    }
    return new SnapshotView(new SnapshotReads(parts, checked, settings), this.#coding, this.#defaults);
  }

  async #getBytes(
    name: string,
    key: KeyIn<K>,
    options: CallOptions | undefined,
  ): Promise<Uint8Array | undefined> {
    checkCallOptions(options);
    const encoded = this.#coding.encodeKey(key);
    return await this.#run(name, options, (operation) => this.#reads.get(encoded, operation));
  }

  async #batchGet(
    name: string,
    keys: Iterable<KeyIn<K>>,
    { options, needsCommitTs }: {
      readonly options: CallOptions | undefined;
      readonly needsCommitTs: boolean;
    },
  ): Promise<KeyMap<Versioned>> {
    checkCallOptions(options);
    const encoded = Array.from(iterable(keys, "keys"), (key) => this.#coding.encodeKey(key));
    return await this.#run(
      name,
      options,
      (operation) => this.#reads.batchGetVersioned(encoded, operation, { needsCommitTs }),
    );
  }

  #run<T>(
    name: string,
    options: CallOptions | undefined,
    work: (operation: Operation) => Promise<T>,
  ): Promise<T> {
    return runOperation(this.#reads.parts.session, { name, options, defaults: this.#defaults }, work);
  }

  #decodeVersioned({ value, commitTs }: Versioned): VersionedValue<ValueOut<V>> {
    return { value: this.#coding.decodeValue(value), commitTs: commitTs as Timestamp };
  }

  #scan<T>(
    { name, range, options, isKeysOnly }: {
      readonly name: string;
      readonly range: RawRange<K>;
      readonly options: SnapshotScanOptions | undefined;
      readonly isKeysOnly: boolean;
    },
    decode: (entry: Entry) => T,
  ): ScanResult<T> {
    const reads = this.#reads;
    const defaults = this.#defaults;
    // At once, and not first when the scan is read.
    reads.assertOneMoment("scan");
    const scan = { range: this.#coding.encodeRange(range), isKeysOnly, ...checkSnapshotScan(options) };
    const { timeoutMs, signal } = options ?? {};
    return new ScanResult(async function* (): AsyncGenerator<readonly T[], void, undefined> {
      const pages = reads.scanPages(scan, {
        signal: eitherOf(defaults.signal, signal),
        inSpan: spanFor(reads.parts.session, name),
        startOperation: (either) =>
          startOperation(reads.parts.session, {
            name,
            options: { timeoutMs },
            defaults: { ...defaults, signal: either },
          }),
      });
      for await (const page of pages) yield page.map(decode);
    });
  }
}

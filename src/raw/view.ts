// SPDX-License-Identifier: Apache-2.0

import { KeyMap, type ReadonlyKeyMap } from "../bytes/key_map.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
import {
  type Coding,
  iterable,
  type KeyIn,
  type KeyOut,
  type RawRange,
  type ValueIn,
  type ValueOut,
} from "../codec/coding.ts";
import { TikvError } from "../errors.ts";
import { checkCallOptions } from "../options.ts";
import { checkScanOptions, type ScanOptions } from "../plan/scan_options.ts";
import { ScanResult } from "../plan/scan_result.ts";
import type { CallOptions, Entry } from "../types.ts";
import type { PrefixIn, PutEntry, RawView } from "./api.ts";
import { deleteKeys, getValues, putValues } from "./batch.ts";
import { type BatchScanOptions, checkBatchScanOptions, checkPutOptions, type PutOptions } from "./options.ts";
import { deleteKey, getTtl, getValue, putValue } from "./point.ts";
import { checksumOf, deleteRange, type RawChecksum } from "./range.ts";
import { type RawScanSpec, scanRange, scanRanges } from "./scan.ts";
import { ViewEncoder } from "./encode.ts";
import { type RawScope, runCall } from "./scope.ts";

/** The calls that all views have; see `api.ts` for what each promises. */
export class BaseView<K extends KeyCodec<unknown>, V extends Codec<unknown>> implements RawView<K, V> {
  readonly #scope: RawScope;
  readonly #coding: Coding<K, V>;
  readonly #encode: ViewEncoder<K, V>;

  constructor(scope: RawScope, coding: Coding<K, V>) {
    this.#scope = scope;
    this.#coding = coding;
    this.#encode = new ViewEncoder(scope, coding);
  }

  async get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined> {
    const value = await this.#read("raw.get", key, options);
    return value === undefined ? undefined : this.#coding.decodeValue(value);
  }

  async has(key: KeyIn<K>, options?: CallOptions): Promise<boolean> {
    return await this.#read("raw.has", key, options) !== undefined;
  }

  async put(key: KeyIn<K>, value: ValueIn<V>, options?: PutOptions): Promise<void> {
    const entry = this.#encode.entry(key, value, checkPutOptions(options));
    await runCall(this.#scope, "raw.put", {
      options,
      work: (operation) => putValue(this.#scope, entry, operation),
    });
  }

  async delete(key: KeyIn<K>, options?: CallOptions): Promise<void> {
    checkCallOptions(options);
    const encoded = this.#encode.key(key);
    await runCall(this.#scope, "raw.delete", {
      options,
      work: (operation) => deleteKey(this.#scope, encoded, operation),
    });
  }

  async batchGet(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    checkCallOptions(options);
    const encoded = this.#encode.keys(keys);
    const found = await runCall(this.#scope, "raw.batchGet", {
      options,
      work: (operation) => getValues(this.#scope, encoded, operation),
    });
    const ordered = new KeyMap<ValueOut<V>>();
    for (const { key, value } of found) {
      if (value !== undefined) ordered.set(this.#coding.stripPrefix(key), this.#coding.decodeValue(value));
    }
    return this.#coding.mapOf(ordered);
  }

  async batchPut(entries: Iterable<PutEntry<K, V>>, options?: PutOptions): Promise<void> {
    const encoded = this.#encode.entries(entries, checkPutOptions(options));
    await runCall(this.#scope, "raw.batchPut", {
      options,
      work: (operation) => putValues(this.#scope, encoded, operation),
    });
  }

  async batchDelete(keys: Iterable<KeyIn<K>>, options?: CallOptions): Promise<void> {
    checkCallOptions(options);
    const encoded = this.#encode.keys(keys);
    await runCall(this.#scope, "raw.batchDelete", {
      options,
      work: (operation) => deleteKeys(this.#scope, encoded, operation),
    });
  }

  async deleteRange(range: RawRange<K>, options?: CallOptions): Promise<void> {
    checkCallOptions(options);
    refuseUndefinedBounds(range);
    const encoded = this.#coding.encodeRange(range);
    await runCall(this.#scope, "raw.deleteRange", {
      options,
      work: (operation) => deleteRange(this.#scope, encoded, operation),
    });
  }

  async deletePrefix(prefix: PrefixIn<K>, options?: CallOptions): Promise<void> {
    await this.deleteRange({ prefix }, options);
  }

  scan(range: RawRange<K>, options?: ScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>> {
    const spec = this.#scanSpec(range, options, false);
    return this.#scan(spec, { name: "raw.scan", options }, (entry) => this.#decodeEntry(entry));
  }

  scanKeys(range: RawRange<K>, options?: ScanOptions): ScanResult<KeyOut<K>> {
    const spec = this.#scanSpec(range, options, true);
    return this.#scan(spec, { name: "raw.scanKeys", options }, ({ key }) => this.#coding.decodeKey(key));
  }

  async batchScan(
    ranges: Iterable<RawRange<K>>,
    options: BatchScanOptions,
  ): Promise<Entry<KeyOut<K>, ValueOut<V>>[][]> {
    const specs = this.#batchScanSpecs(ranges, options, false);
    const found = await runCall(this.#scope, "raw.batchScan", {
      options,
      work: (operation) => scanRanges(this.#scope, specs, operation),
    });
    return found.map((entries) => entries.map((entry) => this.#decodeEntry(entry)));
  }

  async batchScanKeys(ranges: Iterable<RawRange<K>>, options: BatchScanOptions): Promise<KeyOut<K>[][]> {
    const specs = this.#batchScanSpecs(ranges, options, true);
    const found = await runCall(this.#scope, "raw.batchScanKeys", {
      options,
      work: (operation) => scanRanges(this.#scope, specs, operation),
    });
    return found.map((entries) => entries.map(({ key }) => this.#coding.decodeKey(key)));
  }

  async checksum(range: RawRange<K>, options?: CallOptions): Promise<RawChecksum> {
    checkCallOptions(options);
    if ((this.#scope.columnFamily ?? "") !== "") {
      throw new TikvError(
        "unsupported",
        "Cannot digest a column family: the request is for the default one only",
      );
    }
    const encoded = this.#coding.encodeRange(range);
    return await runCall(this.#scope, "raw.checksum", {
      options,
      work: (operation) => checksumOf(this.#scope, encoded, operation),
    });
  }

  async ttl(key: KeyIn<K>, options?: CallOptions): Promise<number | undefined> {
    checkCallOptions(options);
    const encoded = this.#encode.key(key);
    return await runCall(this.#scope, "raw.ttl", {
      options,
      work: (operation) => getTtl(this.#scope, encoded, operation),
    });
  }

  async #read(
    name: string,
    key: KeyIn<K>,
    options: CallOptions | undefined,
  ): Promise<Uint8Array | undefined> {
    checkCallOptions(options);
    const encoded = this.#encode.key(key);
    return await runCall(this.#scope, name, {
      options,
      work: (operation) => getValue(this.#scope, encoded, operation),
    });
  }

  #decodeEntry({ key, value }: Entry): Entry<KeyOut<K>, ValueOut<V>> {
    return { key: this.#coding.decodeKey(key), value: this.#coding.decodeValue(value) };
  }

  #scanSpec(range: RawRange<K>, options: ScanOptions | undefined, isKeysOnly: boolean): RawScanSpec {
    return { range: this.#coding.encodeRange(range), isKeysOnly, ...checkScanOptions(options) };
  }

  #batchScanSpecs(
    ranges: Iterable<RawRange<K>>,
    options: BatchScanOptions,
    isKeysOnly: boolean,
  ): RawScanSpec[] {
    const { eachLimit: limit, isReverse } = checkBatchScanOptions(options);
    const specs: RawScanSpec[] = [];
    for (const range of iterable(ranges, "ranges")) {
      specs.push({
        range: this.#coding.encodeRange(range),
        isKeysOnly,
        isReverse,
        limit,
        // A range rarely has more than its limit, so a first page of that size is the last one.
        batchSize: undefined,
      });
    }
    return specs;
  }

  #scan<T>(
    spec: RawScanSpec,
    call: { readonly name: string; readonly options: ScanOptions | undefined },
    decode: (entry: Entry) => T,
  ): ScanResult<T> {
    const scope = this.#scope;
    return new ScanResult(async function* (): AsyncGenerator<readonly T[], void, undefined> {
      for await (const page of scanRange(scope, spec, call)) yield page.map(decode);
    });
  }
}

// A bound that was named but is undefined is a variable that was not set: taken for "no bound", it
// would empty more than was meant, for good.
function refuseUndefinedBounds(range: object): void {
  for (const [name, bound] of Object.entries(range)) {
    if (bound === undefined) {
      throw new TypeError(`Cannot delete a range whose "${name}" is undefined: leave it out for no bound`);
    }
  }
}

// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import type { ReadonlyKeyMap } from "../bytes/key_map.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
import {
  type Coding,
  iterable,
  type KeyIn,
  type KeyOut,
  type RawRange,
  subCoding,
  type ValueOut,
  type ViewCodecs,
} from "../codec/coding.ts";
import type { ScanResult } from "../plan/scan_result.ts";
import type { CallOptions, Entry } from "../types.ts";
import type { BufferView } from "./buffer/pending_write.ts";
import type { Reader, ReadScanOptions } from "./snapshot/reader.ts";
import { checkCallOptions } from "../options.ts";
import { assertKeySize } from "../plan/key_size.ts";
import type { TransactionCore } from "./transaction_core.ts";
import { readMany, readOne } from "./transaction_reads.ts";
import { scanPagesOf, TransactionScanResult } from "./transaction_scan.ts";

/** The reads of a transaction, with its writes as they are now, or as a statement of it has found them. */
export class TransactionReader<K extends KeyCodec<unknown>, V extends Codec<unknown>>
  implements Reader<K, V> {
  readonly #core: TransactionCore;
  readonly #coding: Coding<K, V>;
  readonly #writes: BufferView;

  constructor(core: TransactionCore, coding: Coding<K, V>, writes: BufferView = core.buffer) {
    this.#core = core;
    this.#coding = coding;
    this.#writes = writes;
  }

  get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined> {
    return this.#core.call({ name: "txn.get" }, async () => {
      const value = await this.#read("txn.get", key, options);
      return value === undefined ? undefined : this.#coding.decodeValue(value);
    });
  }

  has(key: KeyIn<K>, options?: CallOptions): Promise<boolean> {
    return this.#core.call({ name: "txn.has" }, async () => {
      return await this.#read("txn.has", key, options) !== undefined;
    });
  }

  batchGet(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    const name = "txn.batchGet";
    return this.#core.call({ name }, async () => {
      checkCallOptions(options);
      const encoded = Array.from(iterable(keys, "keys"), (key) => this.#keyOf(key));
      const read = (operation: Operation) =>
        readMany(this.#core, encoded, { operation, writes: this.#writes });
      const found = await this.#core.run(name, options, read);
      return this.#coding.decodeMap(found, (value) => this.#coding.decodeValue(value));
    });
  }

  scan(range: RawRange<K>, options?: ReadScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>> {
    return this.#scan("txn.scan", range, {
      options,
      isKeysOnly: false,
      decode: ({ key, value }) => ({
        key: this.#coding.decodeKey(key),
        value: this.#coding.decodeValue(value),
      }),
    });
  }

  scanKeys(range: RawRange<K>, options?: ReadScanOptions): ScanResult<KeyOut<K>> {
    const decode = ({ key }: Entry): KeyOut<K> => this.#coding.decodeKey(key);
    return this.#scan("txn.scanKeys", range, { options, isKeysOnly: true, decode });
  }

  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs: ViewCodecs<K2, V2> = {},
  ): Reader<K2, V2> {
    const coding = subCoding<K2, V2>(this.#coding, prefix, codecs);
    return new TransactionReader(this.#core, coding, this.#writes);
  }

  async #read(
    name: string,
    key: KeyIn<K>,
    options: CallOptions | undefined,
  ): Promise<Uint8Array | undefined> {
    checkCallOptions(options);
    const encoded = this.#keyOf(key);
    return await this.#core.run(
      name,
      options,
      (operation) => readOne(this.#core, encoded, { operation, writes: this.#writes }),
    );
  }

  #scan<T>(
    name: string,
    range: RawRange<K>,
    { options, isKeysOnly, decode }: {
      readonly options: ReadScanOptions | undefined;
      readonly isKeysOnly: boolean;
      readonly decode: (entry: Entry) => T;
    },
  ): ScanResult<T> {
    const core = this.#core;
    core.assertActive(name);
    const writes = this.#writes;
    const start = scanPagesOf(core, this.#coding.encodeRange(range), { name, options, isKeysOnly, writes });
    return new TransactionScanResult(
      core,
      name,
      async function* (): AsyncGenerator<readonly T[], void, undefined> {
        for await (const page of start()) yield page.map(decode);
      },
    );
  }

  #keyOf(key: KeyIn<K>): Uint8Array {
    const encoded = this.#coding.encodeKey(key);
    assertKeySize(this.#core.txn.session.settings, encoded);
    return encoded;
  }
}

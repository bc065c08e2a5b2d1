// SPDX-License-Identifier: Apache-2.0

import { KeyMap, type ReadonlyKeyMap } from "../bytes/key_map.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
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
  type ValueIn,
  type ValueOut,
  type ViewCodecs,
} from "../codec/coding.ts";
import { checkBoolean, checkNames, checkNumber } from "../options.ts";
import { ScanResult } from "../plan/scan_result.ts";
import type { CallOptions, Entry, Timestamp } from "../types.ts";
import type { FlagChange } from "./key_flags.ts";
import type { ReadScanOptions } from "./reader.ts";
import type { TransactionStateName } from "./state.ts";
import type {
  InsertOptions,
  LockOptions,
  ReadLockOptions,
  Savepoint,
  Transaction,
} from "./transaction_api.ts";
import type { CommitResult, TransactionCore } from "./transaction_core.ts";
import { lockKeys, type LockRequest } from "./transaction_locks.ts";
import { readMany, readOne } from "./transaction_reads.ts";
import { scanPagesOf } from "./transaction_scan.ts";

/** The transaction as its user sees it: all keys, as bytes. */
export function faceOf(core: TransactionCore): Transaction {
  return new TransactionView<ByteKeys, ByteValues>(core, ROOT_CODING);
}

/** A transaction through codecs; see `transaction_api.ts` for what each call promises. */
class TransactionView<K extends KeyCodec<unknown>, V extends Codec<unknown>> implements Transaction<K, V> {
  readonly #core: TransactionCore;
  readonly #coding: Coding<K, V>;

  constructor(core: TransactionCore, coding: Coding<K, V>) {
    this.#core = core;
    this.#coding = coding;
  }

  get startTs(): Timestamp {
    return this.#core.txn.startTs;
  }

  get mode(): "optimistic" | "pessimistic" {
    return this.#core.settings.isPessimistic ? "pessimistic" : "optimistic";
  }

  get state(): TransactionStateName {
    return this.#core.state.name;
  }

  get sizeBytes(): number {
    return this.#core.buffer.sizeBytes;
  }

  get keyCount(): number {
    return this.#core.buffer.keyCount;
  }

  async get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined> {
    const value = await this.#read("txn.get", key, options);
    return value === undefined ? undefined : this.#coding.decodeValue(value);
  }

  async has(key: KeyIn<K>, options?: CallOptions): Promise<boolean> {
    return await this.#read("txn.has", key, options) !== undefined;
  }

  async batchGet(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    checkCall(options, CALL_NAMES);
    const encoded = this.#keysOf(keys);
    const found = await this.#core.run(
      "txn.batchGet",
      options,
      (operation) => readMany(this.#core, encoded, operation),
    );
    return this.#mapOf(found);
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

  put(key: KeyIn<K>, value: ValueIn<V>): void {
    this.#core.assertActive("put");
    this.#core.buffer.put(this.#keyOf(key), this.#coding.encodeValue(value));
  }

  insert(key: KeyIn<K>, value: ValueIn<V>, options: InsertOptions = {}): void {
    checkNames("the options of the insert", options, INSERT_NAMES);
    const isLazy = checkBoolean("lazy", options.lazy ?? false);
    this.#core.insert(this.#keyOf(key), this.#coding.encodeValue(value), { isLazy });
  }

  delete(key: KeyIn<K>): void {
    this.#core.assertActive("delete");
    this.#core.buffer.delete(this.#keyOf(key));
  }

  assertExists(key: KeyIn<K>): void {
    this.#flag("assertExists", key, "assert-exist");
  }

  assertNotExists(key: KeyIn<K>): void {
    this.#flag("assertNotExists", key, "assert-not-exist");
  }

  async lock(keys: Iterable<KeyIn<K>>, options: LockOptions = {}): Promise<void> {
    checkCall(options, LOCK_NAMES);
    const isShared = checkBoolean("shared", options.shared ?? false);
    await this.#lock("txn.lock", { keys: this.#keysOf(keys), isShared, wants: "nothing", options });
  }

  async getForUpdate(key: KeyIn<K>, options: ReadLockOptions = {}): Promise<ValueOut<V> | undefined> {
    checkCall(options, READ_LOCK_NAMES);
    const encoded = this.#keyOf(key);
    const locked = await this.#lock("txn.getForUpdate", { keys: [encoded], wants: "values", options });
    const value = locked.get(encoded)?.value;
    return value === undefined ? undefined : this.#coding.decodeValue(value);
  }

  async hasForUpdate(key: KeyIn<K>, options: ReadLockOptions = {}): Promise<boolean> {
    checkCall(options, READ_LOCK_NAMES);
    const encoded = this.#keyOf(key);
    const locked = await this.#lock("txn.hasForUpdate", { keys: [encoded], wants: "existence", options });
    return locked.get(encoded)?.exists === true;
  }

  async batchGetForUpdate(
    keys: Iterable<KeyIn<K>>,
    options: ReadLockOptions = {},
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    checkCall(options, READ_LOCK_NAMES);
    const encoded = this.#keysOf(keys);
    const locked = await this.#lock("txn.batchGetForUpdate", { keys: encoded, wants: "values", options });
    const found = new KeyMap<Uint8Array>();
    for (const key of encoded) {
      const value = locked.get(key)?.value;
      if (value !== undefined) found.set(key, value);
    }
    return this.#mapOf(found);
  }

  savepoint(): Savepoint {
    this.#core.assertActive("make a savepoint");
    return this.#core.buffer.checkpoint();
  }

  rollbackTo(savepoint: Savepoint): void {
    this.#core.assertActive("go back to a savepoint");
    this.#core.buffer.revert(savepoint);
  }

  async statement<T>(body: () => Promise<T> | T): Promise<T> {
    this.#core.assertActive("begin a statement");
    const { buffer } = this.#core;
    const stage = buffer.stage();
    try {
      const result = await body();
      this.#core.assertActive("end a statement");
      buffer.release(stage);
      return result;
    } catch (error) {
      // Whoever is over has nothing to undo.
      if (this.#core.state.name === "active") buffer.cleanup(stage);
      throw error;
    }
  }

  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs: ViewCodecs<K2, V2> = {},
  ): Transaction<K2, V2> {
    return new TransactionView(this.#core, subCoding<K2, V2>(this.#coding, prefix, codecs));
  }

  async commit(options?: CallOptions): Promise<CommitResult> {
    checkCall(options, CALL_NAMES);
    return await this.#core.commit(options);
  }

  async rollback(options?: CallOptions): Promise<void> {
    checkCall(options, CALL_NAMES);
    await this.#core.rollback(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#core.dispose();
  }

  async #read(
    name: string,
    key: KeyIn<K>,
    options: CallOptions | undefined,
  ): Promise<Uint8Array | undefined> {
    checkCall(options, CALL_NAMES);
    const encoded = this.#keyOf(key);
    return await this.#core.run(name, options, (operation) => readOne(this.#core, encoded, operation));
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
    const start = scanPagesOf(core, this.#coding.encodeRange(range), { name, options, isKeysOnly });
    return new ScanResult(async function* (): AsyncGenerator<readonly T[], void, undefined> {
      for await (const page of start()) yield page.map(decode);
    });
  }

  async #lock(
    name: string,
    { options, keys, wants, isShared = false }: {
      readonly options: ReadLockOptions & LockOptions;
      readonly keys: readonly Uint8Array[];
      readonly wants: LockRequest["wants"];
      readonly isShared?: boolean;
    },
  ): ReturnType<typeof lockKeys> {
    const { waitMs = Infinity, onlyIfExists = false, shared: _, ...call } = options;
    const request: LockRequest = {
      keys,
      wants,
      isShared,
      waitMs: checkNumber("waitMs", waitMs, { min: 0, max: Infinity }),
      onlyIfExists: checkBoolean("onlyIfExists", onlyIfExists),
    };
    return await this.#core.run(name, call, (operation) => lockKeys(this.#core, request, operation));
  }

  #flag(name: string, key: KeyIn<K>, change: FlagChange): void {
    this.#core.assertActive(name);
    this.#core.buffer.updateFlags(this.#keyOf(key), [change]);
  }

  #keyOf(key: KeyIn<K>): Uint8Array {
    const encoded = this.#coding.encodeKey(key);
    this.#core.assertKeySize(encoded);
    return encoded;
  }

  #keysOf(keys: Iterable<KeyIn<K>>): Uint8Array[] {
    return Array.from(iterable(keys, "keys"), (key) => this.#keyOf(key));
  }

  #mapOf(found: KeyMap<Uint8Array>): ReadonlyKeyMap<ValueOut<V>, KeyOut<K>> {
    const decoded = new KeyMap<ValueOut<V>>();
    for (const [key, value] of found) {
      decoded.set(this.#coding.stripPrefix(key), this.#coding.decodeValue(value));
    }
    return this.#coding.mapOf(decoded);
  }
}

function checkCall(options: CallOptions | undefined, names: ReadonlySet<string>): void {
  if (options !== undefined) checkNames("the options of the call", options, names);
}

const INSERT_NAMES: ReadonlySet<string> = new Set(["lazy"]);
const CALL_NAMES: ReadonlySet<string> = new Set(["signal", "timeoutMs"]);
const LOCK_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "waitMs", "shared"]);
const READ_LOCK_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "waitMs", "onlyIfExists"]);

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
import { CALL_NAMES, checkBoolean, checkCallOptions, checkNames, checkNumber } from "../options.ts";
import { assertKeySize } from "../plan/key_size.ts";
import type { ScanResult } from "../plan/scan_result.ts";
import type { CallOptions, Entry, Timestamp } from "../types.ts";
import { checkCommitWait } from "./begin_options.ts";
import type { Reader, ReadScanOptions } from "./snapshot/reader.ts";
import type { TransactionStateName } from "./state.ts";
import { runStatement } from "./transaction_statement.ts";
import type {
  InsertOptions,
  LockOptions,
  ReadLockOptions,
  Savepoint,
  StatementOptions,
  Transaction,
} from "./transaction_api.ts";
import type { CommitResult, TransactionCore } from "./transaction_core.ts";
import { lockKeys, type LockRequest } from "./transaction_locks.ts";
import { assertKey, deleteKey, insertKey, putKey } from "./transaction_writes.ts";
import { TransactionReader } from "./transaction_reader.ts";

/** The transaction as its user sees it: all keys, as bytes. */
export function faceOf(core: TransactionCore): Transaction {
  return new TransactionView<ByteKeys, ByteValues>(core, ROOT_CODING);
}

/** A transaction through codecs; see `transaction_api.ts` for what each call promises. */
class TransactionView<K extends KeyCodec<unknown>, V extends Codec<unknown>> implements Transaction<K, V> {
  readonly #core: TransactionCore;
  readonly #coding: Coding<K, V>;
  readonly #reader: TransactionReader<K, V>;

  constructor(core: TransactionCore, coding: Coding<K, V>) {
    this.#core = core;
    this.#coding = coding;
    this.#reader = new TransactionReader(core, coding);
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

  get commitTs(): Timestamp | undefined {
    const { state } = this.#core;
    return state.name === "committed" ? state.commitTs : undefined;
  }

  get isReadOnly(): boolean {
    return this.#core.isReadOnly;
  }

  get memoryBytes(): number {
    return this.#core.buffer.memoryBytes;
  }

  get sizeBytes(): number {
    return this.#core.buffer.sizeBytes;
  }

  get keyCount(): number {
    return this.#core.buffer.keyCount;
  }

  get(key: KeyIn<K>, options?: CallOptions): Promise<ValueOut<V> | undefined> {
    return this.#reader.get(key, options);
  }

  has(key: KeyIn<K>, options?: CallOptions): Promise<boolean> {
    return this.#reader.has(key, options);
  }

  batchGet(
    keys: Iterable<KeyIn<K>>,
    options?: CallOptions,
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    return this.#reader.batchGet(keys, options);
  }

  scan(range: RawRange<K>, options?: ReadScanOptions): ScanResult<Entry<KeyOut<K>, ValueOut<V>>> {
    return this.#reader.scan(range, options);
  }

  scanKeys(range: RawRange<K>, options?: ReadScanOptions): ScanResult<KeyOut<K>> {
    return this.#reader.scanKeys(range, options);
  }

  put(key: KeyIn<K>, value: ValueIn<V>): void {
    putKey(this.#core, this.#keyOf(key), this.#coding.encodeValue(value));
  }

  insert(key: KeyIn<K>, value: ValueIn<V>, options: InsertOptions = {}): void {
    checkNames("the options of the insert", options, INSERT_NAMES);
    const isLazy = checkBoolean("lazy", options.lazy ?? false);
    insertKey(this.#core, { key: this.#keyOf(key), value: this.#coding.encodeValue(value), isLazy });
  }

  delete(key: KeyIn<K>): void {
    deleteKey(this.#core, this.#keyOf(key));
  }

  assertExists(key: KeyIn<K>): void {
    assertKey(this.#core, this.#keyOf(key), "exists");
  }

  assertNotExists(key: KeyIn<K>): void {
    assertKey(this.#core, this.#keyOf(key), "not-exists");
  }

  lock(keys: Iterable<KeyIn<K>>, options: LockOptions = {}): Promise<void> {
    const name = "txn.lock";
    return this.#core.call({ name }, async () => {
      checkCallOptions(options, LOCK_NAMES);
      const isShared = checkBoolean("shared", options.shared ?? false);
      await this.#lock(name, { keys: this.#keysOf(keys), isShared, wants: "nothing", options });
    });
  }

  getForUpdate(key: KeyIn<K>, options: ReadLockOptions = {}): Promise<ValueOut<V> | undefined> {
    const name = "txn.getForUpdate";
    return this.#core.call({ name }, async () => {
      checkCallOptions(options, READ_LOCK_NAMES);
      const encoded = this.#keyOf(key);
      const locked = await this.#lock(name, { keys: [encoded], wants: "values", options });
      const value = locked.get(encoded)?.value;
      return value === undefined ? undefined : this.#coding.decodeValue(value);
    });
  }

  hasForUpdate(key: KeyIn<K>, options: ReadLockOptions = {}): Promise<boolean> {
    const name = "txn.hasForUpdate";
    return this.#core.call({ name }, async () => {
      checkCallOptions(options, READ_LOCK_NAMES);
      const encoded = this.#keyOf(key);
      const locked = await this.#lock(name, { keys: [encoded], wants: "existence", options });
      return locked.get(encoded)?.exists === true;
    });
  }

  batchGetForUpdate(
    keys: Iterable<KeyIn<K>>,
    options: ReadLockOptions = {},
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>> {
    const name = "txn.batchGetForUpdate";
    return this.#core.call({ name }, async () => {
      checkCallOptions(options, READ_LOCK_NAMES);
      const encoded = this.#keysOf(keys);
      const locked = await this.#lock(name, { keys: encoded, wants: "values", options });
      const found = new KeyMap<Uint8Array>();
      for (const key of encoded) {
        const value = locked.get(key)?.value;
        if (value !== undefined) found.set(key, value);
      }
      return this.#valuesOf(found);
    });
  }

  savepoint(): Savepoint {
    this.#core.assertActive("make a savepoint");
    return this.#core.buffer.checkpoint();
  }

  rollbackTo(savepoint: Savepoint): void {
    this.#core.assertActive("go back to a savepoint");
    this.#core.buffer.revert(savepoint);
  }

  statement<T>(
    body: (before: Reader<K, V>) => Promise<T> | T,
    options?: StatementOptions,
  ): Promise<T> {
    // It must be over before the commit, as every call must.
    const call = { name: "txn.statement", isUsers: true };
    const [core, coding] = [this.#core, this.#coding];
    return core.call(call, async () => {
      if (typeof body !== "function") throw new TypeError("Cannot run the statement: expected a function");
      return await runStatement(
        core,
        (before) => body(new TransactionReader<K, V>(core, coding, before)),
        options,
      );
    });
  }

  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs: ViewCodecs<K2, V2> = {},
  ): Transaction<K2, V2> {
    return new TransactionView(this.#core, subCoding<K2, V2>(this.#coding, prefix, codecs));
  }

  commitAfter(ts: Timestamp, options: { readonly timeoutMs?: number | undefined } = {}): void {
    this.#core.assertActive("set when it commits");
    checkNames("the options of the commit", options, WAIT_NAMES);
    this.#core.commitAfter(checkCommitWait({ untilTs: ts, timeoutMs: options.timeoutMs }), options.timeoutMs);
  }

  // The very promise of the end: whoever waits for that as well leaves nothing unhandled here.
  commit(options?: CallOptions): Promise<CommitResult> {
    try {
      checkCallOptions(options);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#core.commit(options);
  }

  async rollback(options?: CallOptions): Promise<void> {
    checkCallOptions(options);
    await this.#core.rollback(options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#core.dispose();
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
    const core = this.#core;
    return await core.run(
      name,
      call,
      (operation) => core.measured("lock", operation, () => lockKeys(core, request, operation)),
    );
  }

  #keyOf(key: KeyIn<K>): Uint8Array {
    const encoded = this.#coding.encodeKey(key);
    assertKeySize(this.#core.txn.session.settings, encoded);
    return encoded;
  }

  #valuesOf(found: KeyMap<Uint8Array>): ReadonlyKeyMap<ValueOut<V>, KeyOut<K>> {
    return this.#coding.decodeMap(found, (value) => this.#coding.decodeValue(value));
  }

  #keysOf(keys: Iterable<KeyIn<K>>): Uint8Array[] {
    return Array.from(iterable(keys, "keys"), (key) => this.#keyOf(key));
  }
}

const WAIT_NAMES: ReadonlySet<string> = new Set(["timeoutMs"]);
const INSERT_NAMES: ReadonlySet<string> = new Set(["lazy"]);
const LOCK_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "waitMs", "shared"]);
const READ_LOCK_NAMES: ReadonlySet<string> = new Set([...CALL_NAMES, "waitMs", "onlyIfExists"]);

// SPDX-License-Identifier: Apache-2.0
// What users see of a transaction. The implementation is in `transaction.ts`.

import type { ReadonlyKeyMap } from "../bytes/key_map.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import type { Codec, KeyCodec } from "../codec/codec.ts";
import type { ByteKeys, ByteValues, KeyIn, KeyOut, ValueIn, ValueOut, ViewCodecs } from "../codec/coding.ts";
import type { CallOptions, Timestamp } from "../types.ts";
import type { BufferCheckpoint } from "./buffer/undo_log.ts";
import type { Reader } from "./snapshot/reader.ts";
import type { TransactionStateName } from "./state.ts";
import type { CommitResult } from "./transaction_core.ts";

/** Options of a call that locks keys. */
export interface LockOptions extends CallOptions {
  /**
   * How long locks of others are waited for, in milliseconds; 0: not at all, `Infinity`: as long as
   * the call may take. Beyond it the call fails with `lock-wait-timeout`.
   *
   * @default {Infinity}
   */
  readonly waitMs?: number | undefined;
  /**
   * Lets others lock the key in the same way, but not write it. Needs an exclusive lock before, and the
   * key cannot be written any more in this transaction. In an optimistic one it is as any other lock.
   *
   * @default {false}
   */
  readonly shared?: boolean | undefined;
}

/** Options of a read that locks. */
export interface ReadLockOptions extends CallOptions {
  /** As in {@linkcode LockOptions}. @default {Infinity} */
  readonly waitMs?: number | undefined;
  /**
   * Leaves keys without a value unlocked.
   *
   * @default {false}
   */
  readonly onlyIfExists?: boolean | undefined;
}

/** Options of {@linkcode Transaction.insert}. */
export interface InsertOptions {
  /**
   * Leaves it to the commit to find out whether the key exists, also in a pessimistic transaction, which
   * then does not lock it: that saves a request, but a key that was written since the transaction began
   * is a `write-conflict`. In an optimistic transaction it makes no difference.
   *
   * @default {false}
   */
  readonly lazy?: boolean | undefined;
}

/** Options of {@linkcode Transaction.statement}. */
export interface StatementOptions {
  /**
   * Works on current data instead of that of the start of the transaction: reads see everything that
   * was committed before the first of them, and keys that are written without a lock are locked at the
   * end. When a key that is locked was written after those reads, the body is run again, within the
   * transaction: its writes are undone, its locks stay. Locks that the last run did not ask for are
   * given back, and all of them when the statement fails. Pessimistic transactions only.
   *
   * @default {false}
   */
  readonly current?: boolean | undefined;
  /**
   * How often the body is run at most; then it fails with the last `write-conflict`.
   *
   * @default {256} as in TiDB
   */
  readonly maxRuns?: number | undefined;
  /** How long the locks at the end are waited for; see {@linkcode LockOptions}. @default {Infinity} */
  readonly waitMs?: number | undefined;
}

/** A place in the writes of a transaction that they can go back to. */
export type Savepoint = BufferCheckpoint;

/**
 * A transaction: reads of one moment, and writes that all become visible at once, or never.
 *
 * Writes are synchronous: they are kept in memory until the commit. Reads and locks are awaited;
 * the commit refuses to go on while one of them runs. A read sees the transaction's own writes.
 *
 * Two transactions that write the same key do not both commit: the later one fails with
 * `write-conflict`. What was only read may change meanwhile; lock it where that matters. When a
 * transaction is over, every further call fails with `misuse`, and says how it ended.
 */
export interface Transaction<K extends KeyCodec<unknown> = ByteKeys, V extends Codec<unknown> = ByteValues>
  extends Reader<K, V>, AsyncDisposable {
  /**
   * The timestamp that it reads at, and by which stores know it. (An attempt that `pessimisticAfter`
   * made lock ahead reads at that later moment.)
   */
  readonly startTs: Timestamp;
  /** From when on its writes are visible; undefined until it is committed, and if there were none. */
  readonly commitTs: Timestamp | undefined;
  /** Whether it locks keys before it is committed. */
  readonly mode: "optimistic" | "pessimistic";
  /** Where it is in its life. */
  readonly state: TransactionStateName;
  /** Whether it has written and locked nothing so far: there would be nothing to commit. */
  readonly isReadOnly: boolean;
  /** Bytes of memory that its writes take, fewer once it is over; see `onMemoryChange`. */
  readonly memoryBytes: number;
  /** Bytes of all keys and values that it has written. */
  readonly sizeBytes: number;
  /** Keys that it has written or locked. */
  readonly keyCount: number;

  /**
   * Writes a value, over any that is there. An empty value is a `RangeError`, also one that a codec
   * has made. A key that was inserted here before stays an insert, with the new value.
   */
  put(key: KeyIn<K>, value: ValueIn<V>): void;
  /**
   * Writes a value for a key that must not exist. If it does, the commit, or a lock of the key, fails
   * with `key-exists`; a key that this transaction has written fails at once. Over a delete of its own
   * it is a put.
   */
  insert(key: KeyIn<K>, value: ValueIn<V>, options?: InsertOptions): void;
  /**
   * Removes a key, whether it is there or not. Of a key that was inserted here only the check stays
   * that it did not exist.
   */
  delete(key: KeyIn<K>): void;
  /**
   * Makes the commit fail with `assertion-failed` if a key that is written here does not exist before.
   * What contradicts it is a `misuse` at once: the other assertion, or an insert.
   */
  assertExists(key: KeyIn<K>): void;
  /** Makes the commit fail with `assertion-failed` if a key that is written here exists before; see there. */
  assertNotExists(key: KeyIn<K>): void;

  /**
   * Locks keys: nobody else commits a write of them before this transaction is over. Costs one request
   * for each region in a pessimistic transaction, and nothing in an optimistic one, where a conflict
   * shows at the commit.
   */
  lock(keys: Iterable<KeyIn<K>>, options?: LockOptions): Promise<void>;
  /**
   * Locks a key and reads its newest value in one step. In a pessimistic transaction that may be newer
   * than what {@linkcode Reader.get} sees.
   */
  getForUpdate(key: KeyIn<K>, options?: ReadLockOptions): Promise<ValueOut<V> | undefined>;
  /** Locks a key and tells whether it has a value, which does not travel. */
  hasForUpdate(key: KeyIn<K>, options?: ReadLockOptions): Promise<boolean>;
  /** As {@linkcode Transaction.getForUpdate}, for many keys: all of them are locked, or none. */
  batchGetForUpdate(
    keys: Iterable<KeyIn<K>>,
    options?: ReadLockOptions,
  ): Promise<ReadonlyKeyMap<ValueOut<V>, KeyOut<K>>>;

  /** Marks a place in the writes. */
  savepoint(): Savepoint;
  /** Undoes every write after the place; locks stay. */
  rollbackTo(savepoint: Savepoint): void;
  /**
   * Runs a part of the transaction whose writes are undone if it fails. Locks stay, and are released
   * with the transaction. Statements may begin in another one, but have to be awaited one by one.
   *
   * The body gets a reader that sees the transaction as the statement has found it, without the writes of
   * the statement itself; it ends with the statement.
   *
   * With `current`, a pessimistic transaction goes on where it would fail with a conflict otherwise: just
   * the statement is run again.
   *
   * @example Copies that are not copied again
   * ```ts
   * import assert from "node:assert/strict";
   * await client.transaction(async (txn) => {
   *   txn.put("item/1", "a");
   *   await txn.statement(async (before) => {
   *     for await (const { key, value } of before.scan({ prefix: "item/" })) {
   *       txn.put(new Uint8Array([...key, 0x78]), value);
   *     }
   *   });
   *   assert.equal((await txn.scan({ prefix: "item/" }).toArray()).length, 2);
   * });
   * ```
   *
   * @example A statement on current data
   * ```ts
   * import assert from "node:assert/strict";
   * import { codec } from "@tikv/client";
   * await client.transaction(async (txn) => {
   *   const counts = txn.sub("count/", { key: codec.utf8, value: codec.uint64 });
   *   await txn.statement(async () => counts.put("all", (await counts.get("all") ?? 0n) + 1n), { current: true });
   * }, { mode: "pessimistic" });
   * const counts = (await client.snapshot()).sub("count/", { key: codec.utf8, value: codec.uint64 });
   * assert.equal(await counts.get("all"), 1n);
   * ```
   */
  statement<T>(
    body: (before: Reader<K, V>) => Promise<T> | T,
    options?: StatementOptions,
  ): Promise<T>;

  /**
   * A view of the keys that begin with `prefix`, with codecs of its own. It is the same transaction.
   *
   * @example Typed keys and values
   * ```ts
   * import assert from "node:assert/strict";
   * import { codec } from "@tikv/client";
   * await client.transaction((txn) => {
   *   const ages = txn.sub("age/", { key: codec.utf8, value: codec.uint64 });
   *   ages.put("ada", 36n);
   * });
   * const snapshot = await client.snapshot();
   * assert.equal(await snapshot.has("age/ada"), true);
   * ```
   */
  sub<K2 extends KeyCodec<unknown> = K, V2 extends Codec<unknown> = V>(
    prefix: KeyInput,
    codecs?: ViewCodecs<K2, V2>,
  ): Transaction<K2, V2>;

  /**
   * Makes the commit wait until its timestamp is above one that came from elsewhere, as the option
   * `commitWait` does. Of several timestamps the largest counts, and of several limits the last.
   */
  commitAfter(ts: Timestamp, options?: { readonly timeoutMs?: number | undefined }): void;
  /**
   * Commits. It resolves when the writes are visible to everybody who begins afterwards. Called again
   * it is the same commit.
   *
   * It fails with `undetermined` when the answer that decides was lost, also by an abort; with any
   * other error the transaction is rolled back. In `client.transaction()` it is called when the body
   * is done.
   */
  commit(options?: CallOptions): Promise<CommitResult>;
  /** Forgets the writes and releases the locks. Called again it is the same rollback. */
  rollback(options?: CallOptions): Promise<void>;
}

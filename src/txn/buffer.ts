// SPDX-License-Identifier: Apache-2.0

import { ALL_KEYS, type KeyRange } from "../bytes/key_range.ts";
import { assertFits, type BufferLimits, toBufferLimits } from "./buffer_limits.ts";
import { applyFlagChanges, type FlagChange, type KeyFlags, PERSISTENT_FLAGS } from "./key_flags.ts";
import { SortedEntries } from "./sorted_entries.ts";
import { type BufferCheckpoint, UndoLog, type UndoRecord } from "./undo_log.ts";

/** What a transaction wants to do with one key. The bytes are the buffer's own: do not change them. */
export type PendingWrite =
  | { readonly kind: "value"; readonly value: Uint8Array }
  | { readonly kind: "tombstone" }
  | { readonly kind: "lock-only" };

/** One key of the buffer. The bytes are the buffer's own: do not change them. */
export interface BufferEntry {
  /** The key. */
  readonly key: Uint8Array;
  /** Its flags, see `KEY_FLAG`. */
  readonly flags: KeyFlags;
  /** What happens to it; `"lock-only"` if the buffer has flags of it and nothing else. */
  readonly write: PendingWrite;
}

/** How {@linkcode WriteBuffer.entries} walks. */
export interface BufferWalkOptions {
  /** From the last key to the first. */
  readonly reverse?: boolean | undefined;
  /** Gives also the keys of which there are flags only. */
  readonly lockOnly?: boolean | undefined;
}

/**
 * The writes of a transaction that nobody else has seen, in the order of their keys.
 *
 * Every method is synchronous, and a write that does not fit changes nothing. Keys and values are
 * copied on their way in.
 */
export class WriteBuffer {
  readonly #limits: Readonly<Record<keyof BufferLimits, number>>;
  readonly #entries: SortedEntries<Entry> = new SortedEntries();
  readonly #log: UndoLog<Entry, StoredValue> = new UndoLog((record) => this.#undo(record));
  #sizeBytes = 0;
  #isDirty = false;

  /** Makes an empty buffer; a limit that is negative or not a number is a `RangeError`. */
  constructor(limits: BufferLimits = {}) {
    this.#limits = toBufferLimits(limits);
  }

  /** How many keys there are, lock-only ones and tombstones included. */
  get keyCount(): number {
    return this.#entries.size;
  }

  /** Bytes of all keys with their newest values. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** How many stages are open. */
  get depth(): number {
    return this.#log.depth;
  }

  /**
   * Whether anything was written outside of a stage or came out of a released one, or a flag was set
   * that outlives its stage. Going back to a checkpoint does not make it clean again.
   */
  get isDirty(): boolean {
    return this.#isDirty;
  }

  /** What happens to a key; `undefined` if the buffer does not know it. */
  get(key: Uint8Array): PendingWrite | undefined {
    const entry = this.#entries.find(key);
    return entry === undefined ? undefined : pendingWrite(entry.value);
  }

  /** The flags of a key; `undefined` if the buffer does not know it. */
  flags(key: Uint8Array): KeyFlags | undefined {
    return this.#entries.find(key)?.flags;
  }

  /**
   * Sets the value of a key, and then changes its flags.
   *
   * An empty value is a `RangeError`: transactional readers take it for a missing key.
   */
  put(key: Uint8Array, value: Uint8Array, changes: readonly FlagChange[] = []): void {
    if (value.length === 0) {
      throw new RangeError("Cannot put an empty value: readers take it for a missing key, expected a byte");
    }
    this.#write(key, value, changes);
  }

  /** Notes that a key is to be deleted, and then changes its flags. */
  delete(key: Uint8Array, changes: readonly FlagChange[] = []): void {
    this.#write(key, TOMBSTONE, changes);
  }

  /**
   * Changes the flags of a key; a key that is not known becomes lock-only, within the limits.
   *
   * Before a lock is asked for, a call without changes makes sure that there is room to note it.
   */
  updateFlags(key: Uint8Array, changes: readonly FlagChange[]): void {
    const known = this.#entries.find(key);
    if (known === undefined) this.#assertFits(key, undefined, undefined);
    const entry = known ?? this.#create(key);
    this.#setFlags(entry, applyFlagChanges(entry.flags, changes));
  }

  /** Opens a stage: the writes from here on can be undone together. Returns its handle. */
  stage(): number {
    return this.#log.stage();
  }

  /** Ends a stage and keeps its writes. Not the newest stage: `TikvError` of kind `"misuse"`. */
  release(handle: number): void {
    const hasChanges = this.#log.release(handle);
    if (hasChanges && this.depth === 0) this.#isDirty = true;
  }

  /**
   * Ends a stage and undoes its writes; keys that it added are forgotten.
   *
   * Flags of other keys stay as they are, and an added key stays as lock-only with its persistent
   * flags if it has some; it still counts then, so the buffer can be larger than its limit. Handle 0
   * and stages that are not open are ignored; a stage with open ones inside is a `TikvError` of kind
   * `"misuse"`.
   */
  cleanup(handle: number): void {
    this.#log.cleanup(handle);
  }

  /** Marks this place, to get back to it with {@linkcode WriteBuffer.revert}. */
  checkpoint(): BufferCheckpoint {
    return this.#log.checkpoint();
  }

  /**
   * Undoes every write after the checkpoint, as {@linkcode WriteBuffer.cleanup} does. The checkpoint
   * can be used again, later ones cannot.
   *
   * A checkpoint that the buffer is already past, of another buffer, or with a stage opened after it
   * that is still open, is a `TikvError` of kind `"misuse"`.
   */
  revert(checkpoint: BufferCheckpoint): void {
    this.#log.revert(checkpoint);
  }

  /**
   * The keys of a range, in order; tombstones are there, lock-only keys if asked for.
   *
   * The buffer may be written meanwhile: the walk goes on after the key it gave last and shows each
   * key as it is when its turn comes.
   */
  *entries(
    range: KeyRange = ALL_KEYS,
    options: BufferWalkOptions = {},
  ): Generator<BufferEntry, void, undefined> {
    const walk = options.reverse === true ? this.#entries.descending(range) : this.#entries.ascending(range);
    for (const { key, flags, value } of walk) {
      if (value === undefined && options.lockOnly !== true) continue;
      yield { key, flags, write: pendingWrite(value) };
    }
  }

  #write(key: Uint8Array, value: Uint8Array | typeof TOMBSTONE, changes: readonly FlagChange[]): void {
    const known = this.#entries.find(key);
    this.#assertFits(key, known, value);
    const entry = known ?? this.#create(key);
    this.#log.note(entry, false);
    this.#sizeBytes += sizeOf(value) - sizeOf(entry.value);
    entry.value = value === TOMBSTONE ? TOMBSTONE : value.slice();
    // A new value needs a check of its own, or none.
    this.#setFlags(entry, applyFlagChanges(entry.flags, ["no-constraint-check", ...changes]));
  }

  #create(key: Uint8Array): Entry {
    const entry: Entry = { key: key.slice(), flags: 0, value: undefined, notedAt: -1 };
    this.#entries.insert(entry);
    this.#sizeBytes += key.length;
    this.#log.note(entry, true);
    return entry;
  }

  #setFlags(entry: Entry, flags: KeyFlags): void {
    entry.flags = flags;
    if (this.depth === 0 || (flags & PERSISTENT_FLAGS) !== 0) this.#isDirty = true;
  }

  #assertFits(key: Uint8Array, known: Entry | undefined, value: StoredValue): void {
    assertFits(this.#limits, {
      keyCount: this.keyCount,
      sizeBytes: this.#sizeBytes,
      keyBytes: key.length,
      valueBytes: sizeOf(value),
      replacedBytes: known === undefined ? undefined : sizeOf(known.value),
    });
  }

  /** Returns whether a key stays that did not exist before. */
  #undo({ entry, isNew, value }: UndoRecord<Entry, StoredValue>): boolean {
    this.#sizeBytes += sizeOf(value) - sizeOf(entry.value);
    entry.value = value;
    if (!isNew) return false;
    entry.flags &= PERSISTENT_FLAGS;
    if (entry.flags !== 0) return true;
    this.#entries.remove(entry.key);
    this.#sizeBytes -= entry.key.length;
    return false;
  }
}

interface Entry {
  readonly key: Uint8Array;
  flags: KeyFlags;
  value: StoredValue;
  notedAt: number;
}

function pendingWrite(value: StoredValue): PendingWrite {
  if (value === undefined) return { kind: "lock-only" };
  return value === TOMBSTONE ? { kind: "tombstone" } : { kind: "value", value };
}

function sizeOf(value: StoredValue): number {
  return value instanceof Uint8Array ? value.length : 0;
}

const TOMBSTONE = Symbol("tombstone");
/** `undefined`: flags only. */
type StoredValue = Uint8Array | typeof TOMBSTONE | undefined;

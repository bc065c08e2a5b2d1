// SPDX-License-Identifier: Apache-2.0

import { ALL_KEYS, type KeyRange } from "../../bytes/key_range.ts";
import { TikvError } from "../../errors.ts";
import { assertFits, type BufferLimits, toBufferLimits } from "./buffer_limits.ts";
import { BufferSnapshot } from "./buffer_snapshot.ts";
import { type EntryStates, NO_VALUE } from "./entry_states.ts";
import { EntryStore } from "./entry_store.ts";
import {
  applyFlagChanges,
  type FlagChange,
  flagsAfterUndo,
  KEY_FLAG,
  type KeyFlags,
  PERSISTENT_FLAGS,
} from "./key_flags.ts";
import {
  type BufferEntry,
  type BufferView,
  type BufferWalkOptions,
  copyOf,
  type PendingWrite,
  pendingWriteOf,
} from "./pending_write.ts";
import { type BufferCheckpoint, UndoLog } from "./undo_log.ts";

export type { BufferEntry, BufferView, BufferWalkOptions, PendingWrite } from "./pending_write.ts";

/** Options of a {@linkcode WriteBuffer}. */
export interface WriteBufferOptions extends BufferLimits {
  /** Called with {@linkcode WriteBuffer.memoryBytes} whenever a write has changed it. */
  readonly onMemoryChange?: ((memoryBytes: number) => void) | undefined;
}

/** Keeps a buffer as it is until it is released. */
export interface BufferHold extends Disposable {
  /** Lets the buffer be written again; does nothing the second time. */
  release(): void;
}

/**
 * The writes of a transaction that nobody else has seen, in the order of their keys.
 *
 * Every method is synchronous, and a write that does not fit changes nothing. Keys and values are
 * copied on their way in; what comes out stays as it is, also when the key is written again.
 */
export class WriteBuffer implements BufferView {
  readonly #limits: Readonly<Record<keyof BufferLimits, number>>;
  readonly #onMemoryChange: ((memoryBytes: number) => void) | undefined;
  readonly #store: EntryStore = new EntryStore();
  readonly #log: UndoLog = new UndoLog(this.#store.states, (...undone) => this.#undo(...undone));
  #keyCount = 0;
  #sizeBytes = 0;
  #memoryBytes = 0;
  #isDirty = false;
  #hasValues = true;
  #holds = 0;

  /** Makes an empty buffer; a limit that is negative or not a number is a `RangeError`. */
  constructor(options: WriteBufferOptions = {}) {
    this.#limits = toBufferLimits(options);
    this.#onMemoryChange = options.onMemoryChange;
  }

  /** How many keys there are, lock-only ones and tombstones included. */
  get keyCount(): number {
    return this.#keyCount;
  }

  /** Bytes of all keys with their newest values. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes of memory that all this takes; 0 before the first write. */
  get memoryBytes(): number {
    return this.#store.capacityBytes + this.#log.capacityBytes;
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

  /** What happens to a key, with a copy of its value; `undefined` if the buffer does not know it. */
  get(key: Uint8Array): PendingWrite | undefined {
    this.#assertValues("read a value");
    const number = this.#store.find(key);
    if (number === 0 || !this.#store.states.isPresent(number)) return undefined;
    return copyOf(pendingWriteOf(this.#store, this.#store.states, number));
  }

  /** The flags of a key; `undefined` if the buffer does not know it. */
  flags(key: Uint8Array): KeyFlags | undefined {
    const { states } = this.#store;
    const number = this.#store.find(key);
    return number === 0 || !states.isPresent(number) ? undefined : states.flags(number);
  }

  /**
   * Sets the value of a key, and then changes its flags.
   *
   * An empty value is a `RangeError`: transactional readers take it for a missing key.
   */
  put(key: Uint8Array, value: Uint8Array, changes: readonly FlagChange[] = NO_CHANGES): void {
    if (value.length === 0) {
      throw new RangeError("Cannot put an empty value: readers take it for a missing key, expected a byte");
    }
    this.#write(key, value, changes);
  }

  /** Notes that a key is to be deleted, and then changes its flags. */
  delete(key: Uint8Array, changes: readonly FlagChange[] = NO_CHANGES): void {
    this.#write(key, undefined, changes);
  }

  /**
   * Changes the flags of a key; a key that is not known becomes lock-only, within the limits.
   *
   * Before a lock is asked for, a call without changes makes sure that there is room to note it.
   */
  updateFlags(key: Uint8Array, changes: readonly FlagChange[]): void {
    this.#assertFree("change flags");
    const { states } = this.#store;
    let number = this.#store.find(key);
    const isKnown = number !== 0 && states.isPresent(number);
    if (!isKnown) this.#assertFits(key, undefined, 0);
    const flags = applyFlagChanges(isKnown ? states.flags(number) : 0, changes);
    if (!isKnown && flags === 0) return;
    if (number === 0) number = this.#store.add(key);
    this.#log.note(number);
    this.#discount(number);
    this.#count(number, flags);
    this.#afterChange(flags);
  }

  /** Opens a stage: the writes from here on can be undone together. Returns its handle. */
  stage(): number {
    this.#assertFree("open a stage");
    return this.#log.stage();
  }

  /** Ends a stage and keeps its writes. Not the newest stage: `TikvError` of kind `"misuse"`. */
  release(handle: number): void {
    this.#assertFree("release a stage");
    const hasChanges = this.#log.release(handle);
    if (hasChanges && this.depth === 0) this.#isDirty = true;
  }

  /**
   * Ends a stage and undoes its writes; keys that it added are forgotten.
   *
   * Flags go back as well, except for the persistent ones: what is held in the cluster is held
   * whatever happens here, and a key that was added and has such a flag stays as lock-only. Handle 0
   * and stages that are not open are ignored; a stage with open ones inside is a `TikvError` of kind
   * `"misuse"`.
   */
  cleanup(handle: number): void {
    this.#assertFree("clean up a stage");
    this.#log.cleanup(handle);
    this.#reclaim();
  }

  /** Marks this place, to get back to it with {@linkcode WriteBuffer.revert}. */
  checkpoint(): BufferCheckpoint {
    this.#assertFree("make a checkpoint");
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
    this.#assertFree("revert to the checkpoint");
    this.#log.revert(checkpoint);
    this.#reclaim();
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
    const store = this.#store;
    const { states } = store;
    const hasLockOnly = options.lockOnly === true;
    for (const number of store.walk(range, options.reverse === true)) {
      this.#assertValues("read a value");
      if (states.length(number) === NO_VALUE && !(hasLockOnly && states.isPresent(number))) continue;
      const write = pendingWriteOf(store, states, number);
      yield { key: store.key(number), flags: states.flags(number), write };
    }
  }

  /**
   * The buffer as it was when the stage was opened, which by default is the outermost one: what a
   * statement reads that must not see its own writes.
   *
   * It holds while that stage is open; used later, or taken of a stage that is not open, it is a
   * `TikvError` of kind `"misuse"`.
   */
  snapshot(handle: number = 1): BufferSnapshot {
    return new BufferSnapshot(this.#store, this.#log, handle);
  }

  /** The keys that were written since the stage was opened, each once, with what happens to them now. */
  *changes(handle: number): Generator<BufferEntry, void, undefined> {
    const position = this.#log.startOf(handle);
    if (position === undefined) {
      throw new TikvError("misuse", `Cannot list the changes of stage ${handle}: it is not open`);
    }
    const store = this.#store;
    for (const number of this.#log.changedSince(position)) {
      if (store.states.length(number) === NO_VALUE) continue;
      const write = pendingWriteOf(store, store.states, number);
      yield { key: store.key(number), flags: store.states.flags(number), write };
    }
  }

  /**
   * What happens to a key, and what happened to it at each open stage and checkpoint with another
   * value, newest first.
   */
  *history(key: Uint8Array): Generator<PendingWrite, void, undefined> {
    this.#assertValues("read a value");
    const found = this.#store.find(key);
    if (found === 0) return;
    for (const { states, number } of this.#log.history(found)) {
      if (states.length(number) !== NO_VALUE) yield pendingWriteOf(this.#store, states, number);
    }
  }

  /** Refuses every change until it is released: whoever goes over the writes across waits holds them. */
  hold(): BufferHold {
    let isHeld = true;
    this.#holds++;
    const release = (): void => {
      if (isHeld) this.#holds--;
      isHeld = false;
    };
    return { release, [Symbol.dispose]: release };
  }

  /** Frees the values; keys and flags stay. From here on, writing or reading a value is a misuse. */
  discardValues(): void {
    this.#hasValues = false;
    this.#store.discardValues();
    this.#tellMemory();
  }

  #write(key: Uint8Array, value: Uint8Array | undefined, changes: readonly FlagChange[]): void {
    this.#assertFree("write");
    this.#assertValues("write a value");
    const store = this.#store;
    let number = store.find(key);
    const valueBytes = value === undefined ? 0 : value.length;
    this.#assertFits(key, number === 0 || !store.states.isPresent(number) ? undefined : number, valueBytes);
    if (number === 0) number = store.add(key);
    this.#log.note(number);
    // A new value needs a check of its own, or none.
    const before = store.states.flags(number) & ~CONSTRAINT_CHECK;
    const flags = changes.length === 0 ? before : applyFlagChanges(before, changes);
    this.#discount(number);
    store.setValue(number, value);
    this.#count(number, flags);
    this.#afterChange(flags);
  }

  /** Takes an entry out of the counts, before it is changed. */
  #discount(number: number): void {
    const { states } = this.#store;
    if (!states.isPresent(number)) return;
    this.#keyCount--;
    this.#sizeBytes -= this.#store.keyBytes(number) + states.valueBytes(number);
  }

  /** Counts an entry, with its new flags. */
  #count(number: number, flags: KeyFlags): void {
    const { states } = this.#store;
    states.setFlags(number, flags);
    if (!states.isPresent(number)) return this.#store.abandon(number);
    this.#keyCount++;
    this.#sizeBytes += this.#store.keyBytes(number) + states.valueBytes(number);
  }

  #undo(number: number, from: EntryStates, source: number): boolean {
    const then = from.flags(source);
    const hadValue = from.length(source) !== NO_VALUE;
    const flags = flagsAfterUndo(this.#store.states.flags(number), then, hadValue);
    this.#discount(number);
    this.#store.restore(number, from, source);
    this.#count(number, flags);
    return flags === then;
  }

  #afterChange(flags: KeyFlags): void {
    if (this.depth === 0 || (flags & PERSISTENT_FLAGS) !== 0) this.#isDirty = true;
    this.#reclaim();
  }

  #reclaim(): void {
    if (this.#hasValues && this.#store.isWasteful) this.#store.reclaim(this.#log);
    this.#tellMemory();
  }

  #tellMemory(): void {
    if (this.#onMemoryChange === undefined) return;
    const { memoryBytes } = this;
    if (memoryBytes === this.#memoryBytes) return;
    this.#memoryBytes = memoryBytes;
    this.#onMemoryChange(memoryBytes);
  }

  #assertFits(key: Uint8Array, known: number | undefined, valueBytes: number): void {
    assertFits(this.#limits, {
      keyCount: this.#keyCount,
      sizeBytes: this.#sizeBytes,
      keyBytes: key.length,
      valueBytes,
      replacedBytes: known === undefined ? undefined : this.#store.states.valueBytes(known),
    });
  }

  #assertFree(verb: string): void {
    if (this.#holds === 0) return;
    throw new TikvError("misuse", `Cannot ${verb}: the writes of the transaction are being committed`);
  }

  #assertValues(verb: string): void {
    if (this.#hasValues) return;
    throw new TikvError("misuse", `Cannot ${verb}: the buffer has no values any more, they are committed`);
  }
}

const NO_CHANGES: readonly FlagChange[] = [];
const CONSTRAINT_CHECK = KEY_FLAG.needConstraintCheckInPrewrite;

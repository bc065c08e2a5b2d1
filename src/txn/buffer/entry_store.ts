// SPDX-License-Identifier: Apache-2.0

import { compareBytes } from "../../bytes/compare.ts";
import type { KeyRange } from "../../bytes/key_range.ts";
import { ByteArena } from "./byte_arena.ts";
import { DELETED, EntryStates } from "./entry_states.ts";
import { type IndexPosition, KeyIndex } from "./key_index.ts";
import type { UndoLog } from "./undo_log.ts";

/**
 * Keys with their states and values, by number and in the order of keys.
 *
 * Bytes that were handed out are never written again: an overwritten value, and a key without a state,
 * stay where they are until more than half of everything is such waste; then the rest is copied to new
 * blocks, and every key gets a new number.
 */
export class EntryStore {
  readonly states: EntryStates = new EntryStates();
  #index: KeyIndex = new KeyIndex();
  #values: ByteArena = new ByteArena();
  #wasteBytes = 0;

  /** Bytes of everything, used or not. */
  get capacityBytes(): number {
    return this.#index.capacityBytes + this.#values.capacityBytes + this.states.capacityBytes;
  }

  /** The number of a key; 0 if there is none. A key may have a number and no state any more. */
  find(key: Uint8Array): number {
    return this.#index.find(key);
  }

  /** Gives a number to the key that {@linkcode EntryStore.find} just did not find. */
  add(key: Uint8Array): number {
    const number = this.#index.insert(key);
    this.states.reserve(number);
    return number;
  }

  /** The bytes of a key. */
  key(number: number): Uint8Array {
    return this.#index.key(number);
  }

  /** Length of a key. */
  keyBytes(number: number): number {
    return this.#index.keyLength(number);
  }

  /** The bytes of a value that some states have. */
  value(states: EntryStates, number: number): Uint8Array {
    return this.#values.view(states.address(number), states.length(number));
  }

  /** Copies a value in, or makes the key one that is to be deleted. */
  setValue(number: number, value: Uint8Array | undefined): void {
    this.#wasteBytes += this.states.valueBytes(number);
    if (value === undefined) this.states.setValue(number, 0, DELETED);
    else this.states.setValue(number, this.#values.add(value), value.length);
  }

  /** Puts a state back; what it replaces is waste then. */
  restore(number: number, from: EntryStates, source: number): void {
    this.#wasteBytes += this.states.valueBytes(number);
    this.states.setValue(number, from.address(source), from.length(source));
  }

  /** Notes that a key has no state any more. */
  abandon(number: number): void {
    this.#wasteBytes += this.keyBytes(number) + NUMBER_BYTES;
  }

  /** Frees all values; keys and flags stay. */
  discardValues(): void {
    this.#values = new ByteArena();
  }

  /**
   * The numbers of the keys in a range, in order or in reverse, also of those without a state.
   *
   * Keys may be added meanwhile: the walk goes on behind the key that it gave last.
   */
  *walk(range: KeyRange, isReverse: boolean): Generator<number, void, undefined> {
    let index = this.#index;
    let revision = index.revision;
    let position = isReverse ? lastBefore(index, range.end) : index.seek(range.start);
    while (position !== 0) {
      const number = index.at(position);
      if (isReverse) {
        if (index.compare(number, 0, range.start) < 0) return;
      } else if (range.end.length > 0 && index.compare(number, 0, range.end) >= 0) return;
      yield number;
      if (index === this.#index && revision === index.revision) {
        position = isReverse ? index.before(position) : index.after(position);
        continue;
      }
      const key = index.key(number);
      index = this.#index;
      revision = index.revision;
      position = isReverse ? index.seekBefore(key) : firstAfter(index, key);
    }
  }

  /** Whether it is time for {@linkcode EntryStore.reclaim}. */
  get isWasteful(): boolean {
    return this.#wasteBytes > WASTE_BYTES && this.#wasteBytes * 2 > this.capacityBytes;
  }

  /** Gets rid of the waste. Every number changes; what the log needs stays. */
  reclaim(log: UndoLog): void {
    const [old, oldValues, states] = [this.#index, this.#values, new EntryStates()];
    const values = new ByteArena();
    const move = (from: EntryStates, source: number, to: EntryStates, target: number): void => {
      const length = from.length(source);
      const address = length > 0 ? values.add(oldValues.view(from.address(source), length)) : 0;
      to.setValue(target, address, length);
    };
    const index = new KeyIndex();
    const numbers = new Int32Array(old.count + 1);
    const isRecorded = new Uint8Array(old.count + 1);
    for (const number of log.recorded()) isRecorded[number] = 1;
    for (let at = old.first(); at !== 0; at = old.after(at)) {
      const number = old.at(at);
      if (isRecorded[number] === 0 && !this.states.isPresent(number)) continue;
      const key = old.key(number);
      index.find(key);
      const renamed = index.insert(key);
      numbers[number] = renamed;
      states.reserve(renamed);
      states.setFlags(renamed, this.states.flags(number));
      move(this.states, number, states, renamed);
    }
    log.renumber(numbers, (records, record) => move(records, record, records, record));
    this.states.take(states);
    this.#index = index;
    this.#values = values;
    this.#wasteBytes = 0;
  }
}

function lastBefore(index: KeyIndex, end: Uint8Array): IndexPosition {
  return end.length === 0 ? index.last() : index.seekBefore(end);
}

function firstAfter(index: KeyIndex, key: Uint8Array): IndexPosition {
  const position = index.seek(key);
  return position !== 0 && compareBytes(index.key(index.at(position)), key) === 0
    ? index.after(position)
    : position;
}

/** Less waste than this is not worth the copying. */
const WASTE_BYTES = 64 * 1024;
/** About what the arrays have for one key. */
const NUMBER_BYTES = 32;

// SPDX-License-Identifier: Apache-2.0

import type { KeyFlags } from "./key_flags.ts";

/** In place of the length of a value: there is none, only flags or nothing at all. */
export const NO_VALUE = -1;
/** In place of the length of a value: the key is to be deleted. */
export const DELETED = -2;

/** What is stored with a key, by number: where its value is, and its flags. In typed arrays. */
export class EntryStates {
  #addresses: Float64Array<ArrayBuffer> = NO_FLOAT64;
  #lengths: Int32Array<ArrayBuffer> = NO_INT32;
  #flags: Uint16Array<ArrayBuffer> = NO_UINT16;

  /** Bytes of the arrays. */
  get capacityBytes(): number {
    return this.#addresses.byteLength + this.#lengths.byteLength + this.#flags.byteLength;
  }

  /** Makes room for this number; a number that was never set has no value and no flags. */
  reserve(number: number): void {
    const used = this.#lengths.length;
    if (number < used) return;
    const length = Math.max(FIRST_ENTRIES, Math.ceil(used * 1.5), number + 1);
    const [addresses, lengths, flags] = [this.#addresses, this.#lengths, this.#flags];
    this.#addresses = new Float64Array(length);
    this.#addresses.set(addresses);
    this.#lengths = new Int32Array(length);
    this.#lengths.set(lengths);
    this.#lengths.fill(NO_VALUE, used);
    this.#flags = new Uint16Array(length);
    this.#flags.set(flags);
  }

  /** Where the value is; of no meaning when there is none. */
  address(number: number): number {
    return this.#addresses[number] as number;
  }

  /** Length of the value, {@linkcode NO_VALUE} or {@linkcode DELETED}. */
  length(number: number): number {
    return this.#lengths[number] as number;
  }

  /** Bytes of the value, 0 if there is none. */
  valueBytes(number: number): number {
    const length = this.#lengths[number] as number;
    return length > 0 ? length : 0;
  }

  /** The flags. */
  flags(number: number): KeyFlags {
    return this.#flags[number] as number;
  }

  /** Whether there is anything: a value, a tombstone or a flag. */
  isPresent(number: number): boolean {
    return this.#lengths[number] !== NO_VALUE || this.#flags[number] !== 0;
  }

  /** Sets where the value is. */
  setValue(number: number, address: number, length: number): void {
    this.#addresses[number] = address;
    this.#lengths[number] = length;
  }

  /** Sets the flags. */
  setFlags(number: number, flags: KeyFlags): void {
    this.#flags[number] = flags;
  }

  /** Takes over what other states have of a number. */
  copy(number: number, from: EntryStates, source: number): void {
    this.setValue(number, from.address(source), from.length(source));
    this.setFlags(number, from.flags(source));
  }

  /** Becomes what other states are, which are of no use any more. */
  take(from: EntryStates): void {
    this.#addresses = from.#addresses;
    this.#lengths = from.#lengths;
    this.#flags = from.#flags;
  }
}

const FIRST_ENTRIES = 16;
const NO_FLOAT64: Float64Array<ArrayBuffer> = new Float64Array(0);
const NO_INT32: Int32Array<ArrayBuffer> = new Int32Array(0);
const NO_UINT16: Uint16Array<ArrayBuffer> = new Uint16Array(0);

// SPDX-License-Identifier: Apache-2.0

/**
 * Many short byte strings in few large blocks.
 *
 * A `Uint8Array` of its own costs a runtime some 100 to 200 bytes, whatever its length; here a string
 * costs its own bytes. An address is a plain number: the block above the lowest 20 bits, the offset in them.
 */
export class ByteArena {
  #blocks: Uint8Array<ArrayBuffer>[] = [];
  // The block that is being filled, from `#at` to its end; strings too long for blocks have their own.
  #open = -1;
  #at = 0;
  #end = 0;
  #capacity = 0;

  /** Bytes of all blocks. */
  get capacityBytes(): number {
    return this.#capacity;
  }

  /** Copies a string in, and returns its address. */
  add(bytes: Uint8Array): number {
    const length = bytes.length;
    if (length > this.#end - this.#at || this.#open < 0) {
      if (length >= OWN_BLOCK_BYTES) return this.#addBlock(bytes.slice()) * BLOCK_SPAN;
      this.#openBlock(length);
    }
    const at = this.#at;
    this.#at = at + length;
    copyInto(this.#blocks[this.#open] as Uint8Array, at, bytes);
    return this.#open * BLOCK_SPAN + at;
  }

  /** Overwrites a string with one that is not longer. */
  replace(address: number, bytes: Uint8Array): void {
    copyInto(this.#blockOf(address), address % BLOCK_SPAN, bytes);
  }

  /** The string itself, not a copy. */
  view(address: number, length: number): Uint8Array {
    const at = address % BLOCK_SPAN;
    return this.#blockOf(address).subarray(at, at + length);
  }

  /**
   * Compares the string, from its byte `from` on, with the same part of other bytes: in the order of
   * keys, negative if the string comes first.
   */
  compare(address: number, length: number, from: number, other: Uint8Array): number {
    const block = this.#blockOf(address);
    const start = address % BLOCK_SPAN;
    const end = length < other.length ? length : other.length;
    for (let i = from; i < end; i++) {
      const difference = (block[start + i] as number) - (other[i] as number);
      if (difference !== 0) return difference;
    }
    return length - other.length;
  }

  /** How many bytes at the start, of at most `limit`, the string shares with other bytes. */
  sharedPrefix(address: number, limit: number, other: Uint8Array): number {
    const block = this.#blockOf(address);
    const start = address % BLOCK_SPAN;
    const end = limit < other.length ? limit : other.length;
    let i = 0;
    while (i < end && block[start + i] === other[i]) i++;
    return i;
  }

  /** Forgets everything. */
  clear(): void {
    this.#blocks = [];
    this.#open = -1;
    this.#at = 0;
    this.#end = 0;
    this.#capacity = 0;
  }

  #blockOf(address: number): Uint8Array {
    return this.#blocks[Math.floor(address / BLOCK_SPAN)] as Uint8Array;
  }

  /** Blocks double, so that a few keys take little and many take few blocks. */
  #openBlock(atLeast: number): void {
    let size = Math.min(BLOCK_SPAN, Math.max(FIRST_BLOCK_BYTES, this.#end * 2));
    while (size < atLeast) size *= 2;
    this.#open = this.#addBlock(new Uint8Array(size));
    this.#at = 0;
    this.#end = size;
  }

  #addBlock(block: Uint8Array<ArrayBuffer>): number {
    this.#capacity += block.length;
    return this.#blocks.push(block) - 1;
  }
}

/** A call to the runtime's own copying costs more than some twenty bytes. */
function copyInto(target: Uint8Array, at: number, bytes: Uint8Array): void {
  const length = bytes.length;
  if (length > 24) target.set(bytes, at);
  else for (let i = 0; i < length; i++) target[at + i] = bytes[i] as number;
}

const BLOCK_SPAN = 1 << 20;
const FIRST_BLOCK_BYTES = 512;
// A string of this length would leave too much of the open block unused.
const OWN_BLOCK_BYTES = BLOCK_SPAN >> 2;

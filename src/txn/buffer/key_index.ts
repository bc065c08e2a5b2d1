// SPDX-License-Identifier: Apache-2.0

import { ByteArena } from "./byte_arena.ts";
import { KeyNodes, NODE_SLOTS } from "./key_nodes.ts";

/** Where a walk is; 0 is nowhere. It holds until the next insert. */
export type IndexPosition = number;

/**
 * Numbers keys 1, 2, 3 … in the order in which they come, and keeps them in the order of keys.
 *
 * A B+ tree in typed arrays: no object per key, so a million keys are a dozen objects for the garbage
 * collector. Keys are never removed; whoever does not want one any more says so in what it keeps by number.
 */
export class KeyIndex {
  readonly #keys = new ByteArena();
  #addresses: Uint32Array<ArrayBuffer> = new Uint32Array(0);
  #lengths: Uint16Array<ArrayBuffer> = new Uint16Array(0);
  #count = 0;
  readonly #leaves: KeyNodes = new KeyNodes(this, 0);
  readonly #inners: KeyNodes = new KeyNodes(this, 1);
  /** How many levels of inner nodes there are, and the node at the top. */
  #height = 0;
  #root = 0;
  #revision = 0;
  // The way of the last search, from the top down: inner nodes with the child that was taken.
  readonly #pathNodes: number[] = [];
  readonly #pathSlots: number[] = [];
  #leaf = 0;
  #slot = 0;

  /** How many keys there are. */
  get count(): number {
    return this.#count;
  }

  /** Changes with every insert: positions from before do not hold any more. */
  get revision(): number {
    return this.#revision;
  }

  /** Bytes of everything, used or not. */
  get capacityBytes(): number {
    return this.#keys.capacityBytes + this.#addresses.byteLength + this.#lengths.byteLength +
      this.#leaves.capacityBytes + this.#inners.capacityBytes;
  }

  /** The number of a key; 0 if it is not in the index. */
  find(key: Uint8Array): number {
    if (this.#count === 0) return 0;
    return this.#descend(key) ? this.#leaves.keyAt(this.#leaf, this.#slot) : 0;
  }

  /** Adds the key of the last {@linkcode KeyIndex.find}, which found nothing. Returns its number. */
  insert(key: Uint8Array): number {
    const number = ++this.#count;
    if (number >= this.#addresses.length) this.#grow();
    this.#addresses[number] = this.#keys.add(key);
    this.#lengths[number] = key.length;
    this.#revision++;
    if (number === 1) {
      this.#root = this.#leaf = this.#leaves.add();
      this.#slot = 0;
    }
    this.#insertIntoLeaf(number, key);
    return number;
  }

  /** The bytes of a key: the index's own, do not change them. */
  key(number: number): Uint8Array {
    return this.#keys.view(this.#addresses[number] as number, this.#lengths[number] as number);
  }

  /** Length of a key. */
  keyLength(number: number): number {
    return this.#lengths[number] as number;
  }

  /** Compares a key with other bytes, both from byte `from` on; negative if the key comes first. */
  compare(number: number, from: number, other: Uint8Array): number {
    return this.#keys.compare(
      this.#addresses[number] as number,
      this.#lengths[number] as number,
      from,
      other,
    );
  }

  /** How many bytes at the start, of at most `limit`, a key shares with other bytes. */
  sharedPrefix(number: number, limit: number, other: Uint8Array): number {
    const length = this.#lengths[number] as number;
    return this.#keys.sharedPrefix(this.#addresses[number] as number, length < limit ? length : limit, other);
  }

  /** The key at a position. */
  at(position: IndexPosition): number {
    return this.#leaves.keyAt(Math.floor(position / NODE_SLOTS), position % NODE_SLOTS);
  }

  /** The first key that is not before this one; 0 if there is none. */
  seek(key: Uint8Array): IndexPosition {
    if (this.#count === 0) return 0;
    this.#descend(key);
    if (this.#slot < this.#leaves.size(this.#leaf)) return this.#leaf * NODE_SLOTS + this.#slot;
    return this.#leaves.next(this.#leaf) * NODE_SLOTS;
  }

  /** The last key that is before this one; 0 if there is none. */
  seekBefore(key: Uint8Array): IndexPosition {
    if (this.#count === 0) return 0;
    this.#descend(key);
    return this.#before(this.#leaf, this.#slot);
  }

  /** The first key of all; 0 if there is none. */
  first(): IndexPosition {
    return this.#count === 0 ? 0 : FIRST_LEAF * NODE_SLOTS;
  }

  /** The last key of all; 0 if there is none. */
  last(): IndexPosition {
    if (this.#count === 0) return 0;
    let node = this.#root;
    for (let level = this.#height; level > 0; level--) {
      node = this.#inners.child(node, this.#inners.size(node) - 1);
    }
    return node * NODE_SLOTS + this.#leaves.size(node) - 1;
  }

  /** The position behind this one; 0 if there is none. */
  after(position: IndexPosition): IndexPosition {
    const leaf = Math.floor(position / NODE_SLOTS);
    if (position % NODE_SLOTS + 1 < this.#leaves.size(leaf)) return position + 1;
    return this.#leaves.next(leaf) * NODE_SLOTS;
  }

  /** The position before this one; 0 if there is none. */
  before(position: IndexPosition): IndexPosition {
    return this.#before(Math.floor(position / NODE_SLOTS), position % NODE_SLOTS);
  }

  #before(leaf: number, slot: number): IndexPosition {
    if (slot > 0) return leaf * NODE_SLOTS + slot - 1;
    const previous = this.#leaves.previous(leaf);
    return previous === 0 ? 0 : previous * NODE_SLOTS + this.#leaves.size(previous) - 1;
  }

  /** Goes to where a key is or would be; tells whether it is there. */
  #descend(key: Uint8Array): boolean {
    const inners = this.#inners;
    let node = this.#root;
    for (let level = 0; level < this.#height; level++) {
      const slot = inners.lowerBound(node, key);
      const child = inners.isMatch ? slot : slot - 1;
      this.#pathNodes[level] = node;
      this.#pathSlots[level] = child;
      node = inners.child(node, child);
    }
    this.#leaf = node;
    this.#slot = this.#leaves.lowerBound(node, key);
    return this.#leaves.isMatch;
  }

  #insertIntoLeaf(number: number, key: Uint8Array): void {
    const leaves = this.#leaves;
    const leaf = this.#leaf;
    if (leaves.size(leaf) < NODE_SLOTS) {
      leaves.insert(leaf, this.#slot, { number, key, child: 0 });
      return;
    }
    const right = leaves.split(leaf, this.#slot);
    const left = leaves.size(leaf);
    const goesRight = this.#slot > left || left === NODE_SLOTS;
    if (goesRight) leaves.insert(right, this.#slot - left, { number, key, child: 0 });
    else leaves.insert(leaf, this.#slot, { number, key, child: 0 });
    this.#addChild(leaves.keyAt(right, 0), right);
  }

  /** Puts a new node to the right of the one that was split, level by level as far as that splits too. */
  #addChild(firstNumber: number, firstNode: number): void {
    const inners = this.#inners;
    let number = firstNumber;
    let child = firstNode;
    for (let level = this.#height - 1; level >= 0; level--) {
      const node = this.#pathNodes[level] as number;
      const slot = (this.#pathSlots[level] as number) + 1;
      const entry = { number, key: this.key(number), child };
      if (inners.size(node) < NODE_SLOTS) {
        inners.insert(node, slot, entry);
        return;
      }
      const right = inners.split(node, slot);
      const left = inners.size(node);
      if (slot > left || left === NODE_SLOTS) inners.insert(right, slot - left, entry);
      else inners.insert(node, slot, entry);
      number = inners.keyAt(right, 0);
      child = right;
    }
    const root = inners.add();
    const old = this.#root;
    // What separates the first child from what is before it does not matter: there is nothing.
    inners.insert(root, 0, { number, key: this.key(number), child: old });
    inners.insert(root, 1, { number, key: this.key(number), child });
    this.#root = root;
    this.#height++;
  }

  #grow(): void {
    const length = Math.max(FIRST_KEYS, Math.ceil(this.#addresses.length * 1.5));
    const addresses = new Uint32Array(length);
    addresses.set(this.#addresses);
    this.#addresses = addresses;
    const lengths = new Uint16Array(length);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
  }
}

const FIRST_KEYS = 16;
// A split moves keys to the right, so the first leaf stays the leftmost.
const FIRST_LEAF = 1;

// SPDX-License-Identifier: Apache-2.0

/**
 * How many keys a node has at most. Measured with 32, 64 and 128: the more the faster, by a tenth each,
 * and the more memory does a buffer with few keys take.
 */
export const NODE_SLOTS = 64;

/** Where nodes look up keys by their numbers. */
export interface NumberedKeys {
  /** The bytes of a key. */
  key(number: number): Uint8Array;
  /** Compares a key with other bytes, both from byte `from` on; negative if the key comes first. */
  compare(number: number, from: number, other: Uint8Array): number;
  /** How many bytes at the start, of at most `limit`, a key shares with other bytes. */
  sharedPrefix(number: number, limit: number, other: Uint8Array): number;
}

/** What goes into a slot. */
export interface SlotEntry {
  /** Number of the key: a leaf's own, or the first one below a child. */
  readonly number: number;
  /** Its bytes. */
  readonly key: Uint8Array;
  /** The node below; of no meaning in a leaf. */
  readonly child: number;
}

/**
 * All nodes of one kind of a B+ tree, in a few arrays; nodes are numbered from 1.
 *
 * Beside the numbers of its keys a node has the four bytes of each key that follow what all its keys
 * begin with. A search runs over these; it looks at a whole key, which is somewhere else in memory,
 * about once.
 */
export class KeyNodes {
  /** Whether the last {@linkcode KeyNodes.lowerBound} found the key itself. */
  isMatch = false;
  readonly #keys: NumberedKeys;
  // Inner nodes ignore the key of their first child: everything smaller is below it.
  readonly #from: 0 | 1;
  #count = 0;
  #numbers: Int32Array<ArrayBuffer> = NO_INT32;
  #digests: Uint32Array<ArrayBuffer> = NO_UINT32;
  // Leaves have neighbours instead of children.
  #children: Int32Array<ArrayBuffer> = NO_INT32;
  #sizes: Uint16Array<ArrayBuffer> = NO_UINT16;
  #prefixes: Uint16Array<ArrayBuffer> = NO_UINT16;
  #nexts: Int32Array<ArrayBuffer> = NO_INT32;
  #previouses: Int32Array<ArrayBuffer> = NO_INT32;

  constructor(keys: NumberedKeys, firstSlot: 0 | 1) {
    this.#keys = keys;
    this.#from = firstSlot;
  }

  /** Bytes of all arrays. */
  get capacityBytes(): number {
    return this.#numbers.byteLength * 2 + this.#children.byteLength + this.#sizes.byteLength * 2 +
      this.#nexts.byteLength * 2;
  }

  /** How many slots of a node are used. */
  size(node: number): number {
    return this.#sizes[node] as number;
  }

  /** Number of the key in a slot. */
  keyAt(node: number, slot: number): number {
    return this.#numbers[node * NODE_SLOTS + slot] as number;
  }

  /** The node below a slot. */
  child(node: number, slot: number): number {
    return this.#children[node * NODE_SLOTS + slot] as number;
  }

  /** The node to the right; 0 if there is none. */
  next(node: number): number {
    return this.#nexts[node] as number;
  }

  /** The node to the left; 0 if there is none. */
  previous(node: number): number {
    return this.#previouses[node] as number;
  }

  /** A new node without keys or neighbours. */
  add(): number {
    const node = ++this.#count;
    if (node >= this.#sizes.length) this.#grow();
    return node;
  }

  /** The first slot whose key is not before this one; the size if there is none. */
  lowerBound(node: number, key: Uint8Array): number {
    this.isMatch = false;
    const base = node * NODE_SLOTS;
    const digests = this.#digests;
    const end = this.#sizes[node] as number;
    const from = this.#from;
    if (end <= from) return from;
    const prefix = this.#prefixes[node] as number;
    if (prefix > 0) {
      const first = this.#numbers[base + from] as number;
      const shared = this.#keys.sharedPrefix(first, prefix, key);
      if (shared < prefix) return this.#keys.compare(first, shared, key) > 0 ? from : end;
    }
    const digest = digestOf(key, prefix);
    let low = base + from;
    let high = base + end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((digests[middle] as number) < digest) low = middle + 1;
      else high = middle;
    }
    if (low === base + end || digests[low] !== digest) return low - base;
    return this.#amongEqual(low, { end: base + end, digest, prefix, key }) - base;
  }

  /** The same among keys whose four bytes are those of the key: whole keys have to be compared. */
  #amongEqual(
    start: number,
    { end, digest, prefix, key }: {
      readonly end: number;
      readonly digest: number;
      readonly prefix: number;
      readonly key: Uint8Array;
    },
  ): number {
    const digests = this.#digests;
    const numbers = this.#numbers;
    let low = start;
    let high = start + 1;
    // Mostly one key only; otherwise the run is measured in growing steps.
    for (let step = 1; high < end && digests[high] === digest; step *= 2) {
      high = high + step < end ? high + step : end;
    }
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((digests[middle] as number) > digest) {
        high = middle;
        continue;
      }
      const order = this.#keys.compare(numbers[middle] as number, prefix, key);
      if (order === 0) {
        this.isMatch = true;
        return middle;
      }
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts a key into a slot of a node that has room, and moves those from there on by one. */
  insert(node: number, slot: number, { number, key, child }: SlotEntry): void {
    const base = node * NODE_SLOTS;
    const size = this.#sizes[node] as number;
    const from = this.#from;
    const isInner = from === 1;
    const numbers = this.#numbers;
    const digests = this.#digests;
    for (let i = base + size; i > base + slot; i--) {
      numbers[i] = numbers[i - 1] as number;
      digests[i] = digests[i - 1] as number;
    }
    numbers[base + slot] = number;
    if (isInner) {
      const children = this.#children;
      for (let i = base + size; i > base + slot; i--) children[i] = children[i - 1] as number;
      children[base + slot] = child;
    }
    this.#sizes[node] = size + 1;
    const prefix = this.#prefixes[node] as number;
    if (slot === from || slot === size) {
      // Only a new first or last key can have less in common with the others.
      const other = numbers[base + (slot === from ? size : from)] as number;
      const shared = size <= from ? key.length : this.#keys.sharedPrefix(other, prefix, key);
      if (size <= from || shared < prefix) {
        this.#prefixes[node] = shared;
        this.#digest(node, shared);
        return;
      }
    }
    digests[base + slot] = digestOf(key, prefix);
  }

  /**
   * Moves the upper half of a full node into a new one to its right, which is returned; nothing is
   * moved when the next key goes to the very end, so that keys that come in order fill every node.
   */
  split(node: number, slot: number): number {
    const right = this.add();
    const next = this.#nexts[node] as number;
    this.#nexts[right] = next;
    this.#previouses[right] = node;
    this.#nexts[node] = right;
    if (next !== 0) this.#previouses[next] = right;
    const kept = slot === NODE_SLOTS && next === 0 ? NODE_SLOTS : NODE_SLOTS / 2;
    const start = node * NODE_SLOTS + kept;
    const end = (node + 1) * NODE_SLOTS;
    this.#numbers.copyWithin(right * NODE_SLOTS, start, end);
    if (this.#from === 1) this.#children.copyWithin(right * NODE_SLOTS, start, end);
    this.#sizes[node] = kept;
    this.#sizes[right] = NODE_SLOTS - kept;
    this.#refresh(node);
    this.#refresh(right);
    return right;
  }

  /** Finds out what the keys of a node have in common. */
  #refresh(node: number): void {
    const base = node * NODE_SLOTS;
    const from = this.#from;
    const last = (this.#sizes[node] as number) - 1;
    if (last < from) return;
    const key = this.#keys.key(this.#numbers[base + last] as number);
    const shared = this.#keys.sharedPrefix(this.#numbers[base + from] as number, key.length, key);
    this.#prefixes[node] = shared;
    this.#digest(node, shared);
  }

  #digest(node: number, prefix: number): void {
    const base = node * NODE_SLOTS;
    const end = base + (this.#sizes[node] as number);
    for (let i = base + this.#from; i < end; i++) {
      this.#digests[i] = digestOf(this.#keys.key(this.#numbers[i] as number), prefix);
    }
  }

  #grow(): void {
    const nodes = Math.max(2, Math.ceil(this.#sizes.length * 1.5));
    this.#numbers = longer(this.#numbers, new Int32Array(nodes * NODE_SLOTS));
    this.#digests = longer(this.#digests, new Uint32Array(nodes * NODE_SLOTS));
    if (this.#from === 1) this.#children = longer(this.#children, new Int32Array(nodes * NODE_SLOTS));
    this.#sizes = longer(this.#sizes, new Uint16Array(nodes));
    this.#prefixes = longer(this.#prefixes, new Uint16Array(nodes));
    this.#nexts = longer(this.#nexts, new Int32Array(nodes));
    this.#previouses = longer(this.#previouses, new Int32Array(nodes));
  }
}

/** Four bytes as a number in their order; what is missing counts as zero, so equal is not yet the same. */
function digestOf(key: Uint8Array, from: number): number {
  const left = key.length - from;
  if (left >= 4) {
    return (((key[from] as number) << 24) | ((key[from + 1] as number) << 16) |
      ((key[from + 2] as number) << 8) | (key[from + 3] as number)) >>> 0;
  }
  let digest = 0;
  for (let i = 0; i < 4; i++) digest = digest * 256 + (i < left ? key[from + i] as number : 0);
  return digest;
}

function longer<T extends Int32Array | Uint32Array | Uint16Array>(old: T, empty: T): T {
  empty.set(old);
  return empty;
}

// What has no room yet needs none of its own: most buffers have few keys, and no inner nodes.
const NO_INT32: Int32Array<ArrayBuffer> = new Int32Array(0);
const NO_UINT32: Uint32Array<ArrayBuffer> = new Uint32Array(0);
const NO_UINT16: Uint16Array<ArrayBuffer> = new Uint16Array(0);

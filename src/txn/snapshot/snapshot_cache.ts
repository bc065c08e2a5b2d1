// SPDX-License-Identifier: Apache-2.0

import { contentOf } from "../../bytes/key_map.ts";

/** A value with the timestamp from which on it is visible. */
export interface Versioned {
  readonly value: Uint8Array;
  /** 0 when it was not asked for. */
  readonly commitTs: bigint;
}

/** What is known of a key; without a value it does not exist. */
interface CachedRead {
  readonly value: Uint8Array | undefined;
  readonly commitTs: bigint;
}

interface CachedEntry extends CachedRead {
  readonly size: number;
}

/**
 * What a snapshot has read, also that there was nothing. It never changes, because a snapshot does
 * not; what was read first goes first when it is full.
 */
export class SnapshotCache {
  readonly #limitBytes: number;
  /** By the content of the keys. */
  readonly #entries = new Map<string, CachedEntry>();
  #sizeBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes of keys and values, and what each entry takes besides, about. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** What is known of a key; with `needsCommitTs` only if that includes its timestamp. */
  get(key: Uint8Array, needsCommitTs: boolean): CachedRead | undefined {
    const found = this.#entries.get(contentOf(key));
    if (found === undefined || found.value === undefined) return found;
    if (needsCommitTs && found.commitTs === 0n) return undefined;
    // A copy: whoever gets it may write into it.
    return { value: found.value.slice(), commitTs: needsCommitTs ? found.commitTs : 0n };
  }

  /** Keeps what was read of a key. */
  set(key: Uint8Array, read: Versioned | undefined): void {
    const size = sizeOf(key, read?.value);
    // A single one must not push all others out.
    if (size > this.#limitBytes / 4) return;
    const text = contentOf(key);
    this.#remove(text);
    if (this.#sizeBytes + size > this.#limitBytes) this.#makeRoom(size);
    // A copy: the caller has the original, and small ones share their memory with a whole answer.
    this.#entries.set(text, { value: read?.value.slice(), commitTs: read?.commitTs ?? 0n, size });
    this.#sizeBytes += size;
  }

  clear(): void {
    this.#entries.clear();
    this.#sizeBytes = 0;
  }

  #makeRoom(size: number): void {
    for (const oldest of this.#entries.keys()) {
      if (this.#sizeBytes + size <= this.#limitBytes) break;
      this.#remove(oldest);
    }
  }

  #remove(text: string): void {
    const before = this.#entries.get(text);
    if (before === undefined) return;
    this.#entries.delete(text);
    this.#sizeBytes -= before.size;
  }
}

function sizeOf(key: Uint8Array, value: Uint8Array | undefined): number {
  // An array with its header, a map entry and its text.
  return key.length + (value?.length ?? 0) + OVERHEAD_BYTES;
}

const OVERHEAD_BYTES = 256;

// SPDX-License-Identifier: Apache-2.0

import type { SortedRange } from "../sorted_map.ts";
import { SortedMap } from "../sorted_map.ts";
import type { LockRecord, Version, Write } from "./records.ts";

/** One change of one column; undefined takes the record away. */
export type Change =
  | { readonly column: "lock"; readonly key: Uint8Array; readonly lock: LockRecord | undefined }
  | {
    readonly column: "write";
    readonly key: Uint8Array;
    readonly commitTs: bigint;
    readonly write: Write | undefined;
  }
  | {
    readonly column: "default";
    readonly key: Uint8Array;
    readonly startTs: bigint;
    readonly value: Uint8Array | undefined;
  };

const NO_VERSIONS: readonly Version[] = [];

/**
 * The three columns of all transactional data of the cluster. Keys are encoded as region bounds
 * are (memcomparable), so a region is a range of them.
 */
export class Tables {
  readonly locks: SortedMap<LockRecord> = new SortedMap();
  /** Versions of each key, oldest first; no list is empty. */
  readonly #versions = new SortedMap<Version[]>();
  /** Long values of each key by start timestamp. */
  readonly #values = new SortedMap<Map<bigint, Uint8Array>>();

  lock(key: Uint8Array): LockRecord | undefined {
    return this.locks.get(key);
  }

  /** All versions of a key, oldest first. */
  versions(key: Uint8Array): readonly Version[] {
    return this.#versions.get(key) ?? NO_VERSIONS;
  }

  /** The newest version that is not after `ts`. */
  seek(key: Uint8Array, ts: bigint): Version | undefined {
    const versions = this.#versions.get(key);
    return versions === undefined ? undefined : versions[countUpTo(versions, ts) - 1];
  }

  value(key: Uint8Array, startTs: bigint): Uint8Array | undefined {
    return this.#values.get(key)?.get(startTs);
  }

  /** Long values of a key, newest first. */
  values(key: Uint8Array): (readonly [bigint, Uint8Array])[] {
    return [...this.#values.get(key) ?? []].sort(([a], [b]) => (a < b ? 1 : -1));
  }

  /** Keys that have versions, in order. The tables must not change during the walk. */
  *versionedKeys(range: SortedRange, isReverse: boolean = false): Generator<Uint8Array, void> {
    const walk = isReverse ? this.#versions.descending(range) : this.#versions.ascending(range);
    for (const { key } of walk) yield key;
  }

  hasVersionsIn(range: SortedRange): boolean {
    return this.versionedKeys(range).next().done !== true;
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.column === "lock") this.#setLock(change.key, change.lock);
      else if (change.column === "write") this.#setWrite(change.key, change.commitTs, change.write);
      else this.#setValue(change.key, change.startTs, change.value);
    }
  }

  /** Takes everything in the range away, whatever its version. */
  deleteRange(range: SortedRange): void {
    this.locks.deleteRange(range);
    this.#versions.deleteRange(range);
    this.#values.deleteRange(range);
  }

  #setLock(key: Uint8Array, lock: LockRecord | undefined): void {
    if (lock === undefined) this.locks.delete(key);
    else this.locks.set(key, lock);
  }

  #setWrite(key: Uint8Array, commitTs: bigint, write: Write | undefined): void {
    const versions = this.#versions.get(key) ?? [];
    const index = countUpTo(versions, commitTs);
    const isThere = versions[index - 1]?.commitTs === commitTs;
    if (write === undefined) {
      if (isThere) versions.splice(index - 1, 1);
      if (versions.length === 0) this.#versions.delete(key);
      return;
    }
    versions.splice(isThere ? index - 1 : index, isThere ? 1 : 0, { commitTs, write });
    if (versions.length === 1) this.#versions.set(key, versions);
  }

  #setValue(key: Uint8Array, startTs: bigint, value: Uint8Array | undefined): void {
    const values = this.#values.get(key);
    if (value !== undefined) {
      if (values === undefined) this.#values.set(key, new Map([[startTs, value]]));
      else values.set(startTs, value);
      return;
    }
    values?.delete(startTs);
    if (values?.size === 0) this.#values.delete(key);
  }
}

/** How many versions have a commit timestamp that is not after `ts`. */
function countUpTo(versions: readonly Version[], ts: bigint): number {
  let low = 0;
  let high = versions.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const version = versions[middle];
    if (version !== undefined && version.commitTs <= ts) low = middle + 1;
    else high = middle;
  }
  return low;
}

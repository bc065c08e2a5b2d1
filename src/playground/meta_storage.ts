// SPDX-License-Identifier: Apache-2.0
// The etcd of PD, as far as clients see it: keys with revisions, and watches. There are no leases.

import { contains, keyAfter } from "../bytes/key_range.ts";
import type { SortedRange } from "./sorted_map.ts";
import { SortedMap } from "./sorted_map.ts";

/** A key as the store has it. */
export interface MetaEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly version: bigint;
}

/** A change to a key; without `entry` it was deleted. */
export interface MetaEvent {
  readonly key: Uint8Array;
  readonly revision: bigint;
  readonly entry: MetaEntry | undefined;
  readonly previous: MetaEntry | undefined;
}

type Watcher = (events: readonly MetaEvent[]) => void;

/** Keys with revisions. */
export class MetaStorage {
  readonly #entries = new SortedMap<MetaEntry>();
  readonly #history: MetaEvent[] = [];
  readonly #watchers = new Map<Watcher, SortedRange>();
  #revision = 1n;

  get revision(): bigint {
    return this.#revision;
  }

  /** The entries of a range in key order. */
  range(range: SortedRange): readonly MetaEntry[] {
    return [...this.#entries.ascending(range)].map(({ value }) => value);
  }

  get(key: Uint8Array): MetaEntry | undefined {
    return this.#entries.get(key);
  }

  put(key: Uint8Array, value: Uint8Array): MetaEvent {
    const previous = this.#entries.get(key);
    this.#revision += 1n;
    const entry: MetaEntry = {
      key: key.slice(),
      value: value.slice(),
      createRevision: previous?.createRevision ?? this.#revision,
      modRevision: this.#revision,
      version: (previous?.version ?? 0n) + 1n,
    };
    this.#entries.set(entry.key, entry);
    return this.#tell({ key: entry.key, revision: this.#revision, entry, previous });
  }

  /** Deletes the entries of a range, all in one revision. */
  delete(range: SortedRange): readonly MetaEvent[] {
    const found = this.range(range);
    if (found.length > 0) this.#revision += 1n;
    return found.map((previous) => {
      this.#entries.delete(previous.key);
      return this.#tell({ key: previous.key, revision: this.#revision, entry: undefined, previous });
    });
  }

  /**
   * Calls back with the changes of a range, first with those since `fromRevision` if that is not 0.
   *
   * @returns ends the watch
   */
  watch(range: SortedRange, fromRevision: bigint, watcher: Watcher): () => void {
    const missed = fromRevision === 0n
      ? []
      : this.#history.filter(({ key, revision }) => revision >= fromRevision && contains(range, key));
    if (missed.length > 0) watcher(missed);
    this.#watchers.set(watcher, range);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  #tell(event: MetaEvent): MetaEvent {
    this.#history.push(event);
    for (const [watcher, range] of [...this.#watchers]) if (contains(range, event.key)) watcher([event]);
    return event;
  }
}

/** The range of a request: one key, all keys with a prefix, or up to an end (etcd's `range_end`). */
export function metaRange(key: Uint8Array, rangeEnd: Uint8Array): SortedRange {
  if (rangeEnd.length === 0) return { start: key, end: keyAfter(key) };
  // A single zero byte stands for "all keys from here on".
  return { start: key, end: rangeEnd.length === 1 && rangeEnd[0] === 0 ? NO_KEY : rangeEnd };
}

const NO_KEY = new Uint8Array(0);

// SPDX-License-Identifier: Apache-2.0

import { ALL_KEYS, type KeyRange } from "../../bytes/key_range.ts";
import { TikvError } from "../../errors.ts";
import { NO_VALUE } from "./entry_states.ts";
import type { EntryStore } from "./entry_store.ts";
import {
  type BufferEntry,
  type BufferView,
  type BufferWalkOptions,
  copyOf,
  type PendingWrite,
  pendingWriteOf,
} from "./pending_write.ts";
import type { UndoLog } from "./undo_log.ts";

/**
 * A buffer as it was when one of its stages was opened; made by `WriteBuffer.snapshot()`.
 *
 * The buffer may be written meanwhile, also during a walk: that changes nothing here.
 */
export class BufferSnapshot implements BufferView {
  readonly #store: EntryStore;
  readonly #log: UndoLog;
  readonly #handle: number;
  readonly #position: number;

  /** Looks at the start of a stage, which must be open. */
  constructor(store: EntryStore, log: UndoLog, handle: number) {
    this.#store = store;
    this.#log = log;
    this.#handle = handle;
    this.#position = log.startOf(handle) ?? -1;
    this.#assertOpen();
  }

  /** What happened to a key; `undefined` if the buffer did not know it, or had only flags of it. */
  get(key: Uint8Array): PendingWrite | undefined {
    this.#assertOpen();
    const found = this.#store.find(key);
    if (found === 0) return undefined;
    const { states, number } = this.#log.asOf(found, this.#position);
    if (states.length(number) === NO_VALUE) return undefined;
    return copyOf(pendingWriteOf(this.#store, states, number));
  }

  /** The keys with values and tombstones, and lock-only ones if asked for. */
  *entries(
    range: KeyRange = ALL_KEYS,
    options: BufferWalkOptions = {},
  ): Generator<BufferEntry, void, undefined> {
    const hasLockOnly = options.lockOnly === true;
    this.#assertOpen();
    for (const found of this.#store.walk(range, options.reverse === true)) {
      this.#assertOpen();
      const { states, number } = this.#log.asOf(found, this.#position);
      if (states.length(number) === NO_VALUE && !(hasLockOnly && states.isPresent(number))) continue;
      const write = pendingWriteOf(this.#store, states, number);
      yield { key: this.#store.key(found), flags: states.flags(number), write };
    }
  }

  /** A stage that was ended and opened again has another start, or the same start with the same writes. */
  #assertOpen(): void {
    if (this.#log.startOf(this.#handle) === this.#position) return;
    throw new TikvError("misuse", `Cannot read the buffer as of stage ${this.#handle}: it is not open`);
  }
}

// SPDX-License-Identifier: Apache-2.0

import { copyBytes } from "../../bytes/concat.ts";
import type { KeyRange } from "../../bytes/key_range.ts";
import { DELETED, type EntryStates, NO_VALUE } from "./entry_states.ts";
import type { EntryStore } from "./entry_store.ts";
import type { KeyFlags } from "./key_flags.ts";

/** What a transaction wants to do with one key. */
export type PendingWrite =
  | { readonly kind: "value"; readonly value: Uint8Array }
  | { readonly kind: "tombstone" }
  | { readonly kind: "lock-only" };

/** One key of the buffer. The bytes are the buffer's own: do not change them. */
export interface BufferEntry {
  /** The key. */
  readonly key: Uint8Array;
  /** Its flags, see `KEY_FLAG`. */
  readonly flags: KeyFlags;
  /** What happens to it; `"lock-only"` if the buffer has flags of it and nothing else. */
  readonly write: PendingWrite;
}

/** How {@linkcode BufferView.entries} walks. */
export interface BufferWalkOptions {
  /** From the last key to the first. */
  readonly reverse?: boolean | undefined;
  /** Gives also the keys of which there are flags only. */
  readonly lockOnly?: boolean | undefined;
}

/** What can be read of a buffer: as it is, or as it was at the start of a statement. */
export interface BufferView {
  /** What happens to a key; `undefined` if the buffer does not know it. */
  get(key: Uint8Array): PendingWrite | undefined;
  /** The keys of a range, in order or in reverse. */
  entries(range?: KeyRange, options?: BufferWalkOptions): Iterable<BufferEntry>;
}

/** What some states say of a key. */
export function pendingWriteOf(store: EntryStore, states: EntryStates, number: number): PendingWrite {
  const length = states.length(number);
  if (length === NO_VALUE) return LOCK_ONLY;
  return length === DELETED ? TOMBSTONE : { kind: "value", value: store.value(states, number) };
}

/** The same with a value of its own, which whoever asked for it may change. */
export function copyOf(write: PendingWrite): PendingWrite {
  return write.kind === "value" ? { kind: "value", value: copyBytes(write.value) } : write;
}

const LOCK_ONLY: PendingWrite = Object.freeze({ kind: "lock-only" });
const TOMBSTONE: PendingWrite = Object.freeze({ kind: "tombstone" });

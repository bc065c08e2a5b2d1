// SPDX-License-Identifier: Apache-2.0

import { TikvError } from "../../errors.ts";

/** How much a buffer takes. Everything is unlimited by default, as in client-go. */
export interface BufferLimits {
  /** Bytes of one key with its value. */
  readonly maxEntryBytes?: number | undefined;
  /** Bytes of all keys with their values. */
  readonly maxTotalBytes?: number | undefined;
  /** Keys, lock-only ones and tombstones included. */
  readonly maxKeys?: number | undefined;
}

/** What a write would do to a buffer of this size. */
export interface PlannedWrite {
  /** Keys in the buffer before the write. */
  readonly keyCount: number;
  /** Bytes of the buffer before the write. */
  readonly sizeBytes: number;
  /** Length of the key. */
  readonly keyBytes: number;
  /** Length of the new value; 0 for a tombstone and for flags. */
  readonly valueBytes: number;
  /** Length of the value that it replaces; absent if the key is not in the buffer. */
  readonly replacedBytes: number | undefined;
}

/** Limits with every field; a limit that is negative or not a number is a `RangeError`. */
export function toBufferLimits(limits: BufferLimits): Readonly<Record<keyof BufferLimits, number>> {
  const { maxEntryBytes = Infinity, maxTotalBytes = Infinity, maxKeys = Infinity } = limits;
  const all = { maxEntryBytes, maxTotalBytes, maxKeys };
  for (const [name, limit] of Object.entries(all)) {
    if (!(limit >= 0)) throw new RangeError(`Cannot use ${name} ${limit}: expected 0 or more`);
  }
  return all;
}

/**
 * Refuses a write that does not fit, with a `TikvError` of kind `"too-large"`.
 *
 * Must be called before anything is changed. (client-go tells that a transaction became too large
 * after it has taken the write.)
 */
export function assertFits(
  { maxEntryBytes, maxTotalBytes, maxKeys }: Readonly<Record<keyof BufferLimits, number>>,
  { keyCount, sizeBytes, keyBytes, valueBytes, replacedBytes }: PlannedWrite,
): void {
  if (keyBytes > MAX_KEY_BYTES) throw tooLarge("the key", keyBytes, `${MAX_KEY_BYTES} bytes`);
  const entryBytes = keyBytes + valueBytes;
  if (entryBytes > maxEntryBytes) throw tooLarge("the entry", entryBytes, `${maxEntryBytes} bytes`);
  const isNew = replacedBytes === undefined;
  const growthBytes = isNew ? entryBytes : valueBytes - replacedBytes;
  // What makes a full buffer smaller, or leaves it as large as it is, always fits.
  if (growthBytes > 0 && sizeBytes + growthBytes > maxTotalBytes) {
    throw tooLarge("the transaction", sizeBytes + growthBytes, `${maxTotalBytes} bytes`);
  }
  if (isNew && keyCount >= maxKeys) throw tooLarge("the transaction", keyCount + 1, `${maxKeys} keys`);
}

function tooLarge(what: string, seen: number, limit: string): TikvError<"too-large"> {
  return new TikvError(
    "too-large",
    `Cannot buffer the write: ${what} would have ${seen} of at most ${limit}`,
  );
}

/** The longest key of client-go's buffer. The store's own limit can be lower; it depends on its settings. */
const MAX_KEY_BYTES = 65_535;

// SPDX-License-Identifier: Apache-2.0
// Looking things up among the versions of a key (`src/storage/mvcc/reader/reader.rs`).

import { mvccAbort } from "./mvcc_error.ts";
import type { LastChange, Version, Write } from "./records.ts";
import { isBeforeGcFence, MAX_TS } from "./records.ts";
import type { Tables } from "./tables.ts";

/** How a transaction ended on a key, as the write column tells. */
export type CommitRecord =
  | { readonly kind: "own"; readonly commitTs: bigint; readonly write: Write }
  /** Rolled back; the record of it is part of another transaction's. */
  | { readonly kind: "overlapped-rollback"; readonly commitTs: bigint }
  /** Not there. Another transaction may have committed at the very start timestamp. */
  | {
    readonly kind: "none";
    readonly overlapped: { readonly write: Write; readonly gcFence: bigint } | undefined;
  };

/** The newest `put` that is not after `ts` and not deleted; undefined when there is none. */
export function latestPut(
  tables: Tables,
  key: Uint8Array,
  ts: bigint,
  gcFenceLimit?: bigint,
): Version | undefined {
  let version = tables.seek(key, ts);
  while (version !== undefined) {
    const { commitTs, write } = version;
    if (gcFenceLimit !== undefined && !isBeforeGcFence(write, gcFenceLimit)) return undefined;
    if (write.kind === "put") return version;
    if (write.kind === "delete" || commitTs === 0n) return undefined;
    version = tables.seek(key, commitTs - 1n);
  }
  return undefined;
}

/** The value of a `put`, from the record or from the default column. */
export function valueOf(tables: Tables, key: Uint8Array, write: Write): Uint8Array {
  const value = write.shortValue ?? tables.value(key, write.startTs);
  if (value === undefined) throw mvccAbort("DefaultNotFound", { key });
  return value;
}

/** Looks for the record of a transaction on a key. */
export function commitRecordOf(tables: Tables, key: Uint8Array, startTs: bigint): CommitRecord {
  let seekTs = MAX_TS;
  let gcFence = 0n;
  for (;;) {
    const version = tables.seek(key, seekTs);
    if (version === undefined) break;
    const { commitTs, write } = version;
    if (write.startTs === startTs) return { kind: "own", commitTs, write };
    if (commitTs === startTs) {
      return write.hasOverlappedRollback
        ? { kind: "overlapped-rollback", commitTs }
        : { kind: "none", overlapped: { write, gcFence } };
    }
    if (write.kind === "put" || write.kind === "delete") gcFence = commitTs;
    if (commitTs < startTs || commitTs === 0n) break;
    seekTs = commitTs - 1n;
  }
  return { kind: "none", overlapped: undefined };
}

/** Where the last change is, seen from a record on top of the given one. */
export function lastChangeAfter(tables: Tables, key: Uint8Array, version: Version): LastChange {
  const { commitTs, write } = version;
  if (write.kind === "put" || write.kind === "delete") return { kind: "exists", ts: commitTs, versions: 1n };
  const { lastChange } = write;
  if (lastChange?.kind === "exists") return { ...lastChange, versions: lastChange.versions + 1n };
  if (lastChange?.kind === "not-exists") return lastChange;
  const found = latestPut(tables, key, commitTs);
  if (found === undefined) return { kind: "not-exists" };
  const between = tables.versions(key).filter((other) =>
    other.commitTs > found.commitTs && other.commitTs <= commitTs
  );
  return { kind: "exists", ts: found.commitTs, versions: BigInt(between.length) + 1n };
}

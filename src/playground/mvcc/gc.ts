// SPDX-License-Identifier: Apache-2.0
// Collecting versions that nobody may read any more (`actions/gc.rs`).

import type { SortedRange } from "../sorted_map.ts";
import type { Write } from "./records.ts";
import type { Change, Tables } from "./tables.ts";

/**
 * Removes what no snapshot at or after the safe point sees: of each key, everything below the
 * newest version that is not after it, and that version too if it deletes. Locks must have been
 * resolved before.
 *
 * @returns how many versions were removed
 */
export function collectGarbage(tables: Tables, range: SortedRange, safePoint: bigint): number {
  const changes: Change[] = [];
  let count = 0;
  for (const key of tables.versionedKeys(range)) {
    const remove = (commitTs: bigint, write: Write): void => {
      changes.push({ column: "write", key, commitTs, write: undefined });
      if (write.kind === "put" && write.shortValue === undefined) {
        changes.push({ column: "default", key, startTs: write.startTs, value: undefined });
      }
      count++;
    };
    let isCovered = false;
    let covering: { readonly commitTs: bigint; readonly write: Write } | undefined;
    for (const { commitTs, write } of [...tables.versions(key)].reverse()) {
      if (commitTs > safePoint) continue;
      if (isCovered || write.kind === "lock" || write.kind === "rollback") remove(commitTs, write);
      else {
        isCovered = true;
        covering = { commitTs, write };
      }
    }
    if (covering?.write.kind === "delete") remove(covering.commitTs, covering.write);
  }
  tables.apply(changes);
  return count;
}

// SPDX-License-Identifier: Apache-2.0
// Stores collect garbage when PD's safe point has moved. Here they do it at once.

import { prefixEnd } from "../bytes/key_range.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { compareBytes } from "../bytes/compare.ts";
import type { Cluster } from "./cluster.ts";
import { NULL_KEYSPACE } from "./gc_states.ts";
import type { SortedRange } from "./sorted_map.ts";

const EMPTY = new Uint8Array(0);

/**
 * Collects what the safe point of a keyspace allows. That of the null keyspace is for everything
 * outside the keyspaces that have one of their own.
 *
 * @param owners keyspaces that have their own
 */
export function collectKeyspace(
  cluster: Cluster,
  keyspaceId: number,
  safePoint: bigint,
  owners: readonly number[],
): void {
  const ranges = keyspaceId === NULL_KEYSPACE
    ? outside(owners.map((id) => rangeOf(cluster, id)))
    : [rangeOf(cluster, keyspaceId)];
  for (const range of ranges) cluster.mvcc.collectGarbage(range, safePoint);
}

function rangeOf(cluster: Cluster, id: number): SortedRange {
  const prefix = cluster.keyspacePrefix(id);
  return { start: encodeBytes(prefix), end: encodeBytes(prefixEnd(prefix)) };
}

function outside(ranges: readonly SortedRange[]): SortedRange[] {
  const sorted = [...ranges].sort((a, b) => compareBytes(a.start, b.start));
  let start: Uint8Array = EMPTY;
  const gaps: SortedRange[] = [];
  for (const range of sorted) {
    if (compareBytes(start, range.start) < 0) gaps.push({ start, end: range.start });
    start = range.end;
  }
  return [...gaps, { start, end: EMPTY }];
}

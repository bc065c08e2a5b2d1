// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DetectTable } from "../../../../src/playground/mvcc/deadlock.ts";
import type { WaitEdge } from "../../../../src/playground/mvcc/deadlock.ts";
import { latestPut } from "../../../../src/playground/mvcc/versions.ts";
import { makeWrite } from "../../../../src/playground/mvcc/records.ts";
import { Tables } from "../../../../src/playground/mvcc/tables.ts";
import { bytes } from "../gen_client.ts";

function edge(txn: number, waitFor: number, key: string = `${txn}-${waitFor}`): WaitEdge {
  return {
    txn: BigInt(txn),
    waitFor: BigInt(waitFor),
    key: bytes(key),
    keyHash: BigInt(key.length) * 1_000n + BigInt(key.charCodeAt(0)),
    resourceGroupTag: bytes(""),
  };
}

test("[TXN-120] an edge expires a second after it was last seen", () => {
  const table = new DetectTable(1_000);
  assert.equal(table.detect(edge(1, 2), 0), undefined);
  assert.notEqual(table.detect(edge(2, 1), 999), undefined);
  assert.equal(table.detect(edge(1, 2), 500), undefined);
  assert.notEqual(table.detect(edge(2, 1), 1_499), undefined);
  assert.equal(table.detect(edge(2, 1), 1_500), undefined);
});

test("[TXN-120] an edge of two keys stays until both are gone", () => {
  const table = new DetectTable(1_000);
  table.detect(edge(1, 2, "a"), 0);
  table.detect(edge(1, 2, "b"), 0);
  table.remove(1n, 2n, edge(1, 2, "a").keyHash);
  assert.equal(table.detect(edge(2, 1), 0)?.keyHash, edge(1, 2, "b").keyHash);
  table.remove(1n, 2n, edge(1, 2, "b").keyHash);
  assert.equal(table.detect(edge(2, 1), 0), undefined);
});

test("[TXN-120] an edge is refused exactly when it closes a circle, and the chain is that circle", () => {
  const pair = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 })).filter(([a, b]) =>
    a !== b
  );
  fc.assert(fc.property(fc.array(pair, { maxLength: 30 }), (pairs) => {
    const table = new DetectTable(1_000);
    const graph = new Map<number, Set<number>>();
    const reaches = (from: number, to: number, seen: Set<number> = new Set()): boolean => {
      if (from === to) return true;
      if (seen.has(from)) return false;
      seen.add(from);
      return [...graph.get(from) ?? []].some((next) => reaches(next, to, seen));
    };
    for (const [txn, waitFor] of pairs) {
      const found = table.detect(edge(txn, waitFor), 0);
      assert.equal(found !== undefined, reaches(waitFor, txn), `${txn} waits for ${waitFor}`);
      if (found === undefined) {
        graph.set(txn, (graph.get(txn) ?? new Set()).add(waitFor));
        continue;
      }
      const chain = found.waitChain.map((entry) => [Number(entry.txn), Number(entry.waitForTxn)] as const);
      assert.deepEqual(chain.at(-1), [txn, waitFor]);
      chain.forEach(([, to], index) => assert.equal(to, chain[(index + 1) % chain.length]?.[0]));
    }
  }));
});

test("a record whose successor may have been collected is not taken for the latest", () => {
  const tables = new Tables();
  const key = bytes("k");
  const write = makeWrite({ kind: "put", startTs: 10n, shortValue: bytes("old"), gcFence: 30n });
  tables.apply([{ column: "write", key, commitTs: 20n, write }]);
  assert.equal(latestPut(tables, key, 29n, 29n)?.commitTs, 20n);
  assert.equal(latestPut(tables, key, 30n, 30n), undefined);
  tables.apply([{ column: "write", key, commitTs: 20n, write: { ...write, gcFence: 0n } }]);
  assert.equal(latestPut(tables, key, 30n, 30n)?.commitTs, 20n);
});

// SPDX-License-Identifier: Apache-2.0
// Loads of transactions and snapshots. `bench/go/txn_load.go` is their twin.

import type { BeginOptions, Client, Timestamp } from "../mod.ts";
import { BATCH_GET_KEYS, type Call, KEY_COUNT, SCAN_ROWS, VALUE } from "./load.ts";

/** How a transaction is committed, by the last part of an operation's name: "txn1-1pc". */
const PATHS: Readonly<Record<string, BeginOptions>> = {
  "1pc": { commit: "auto" },
  "async": { commit: "async" },
  "2pc": { commit: "2pc" },
  "pessimistic": { mode: "pessimistic", commit: "auto" },
};

/** Whether an operation is one of those in this file. */
export function isTxnLoad(operation: string): boolean {
  return /^(txn|snapshot)/.test(operation);
}

/** The call of an operation; snapshots are new each time, so that nothing comes out of their caches. */
export function txnLoad(
  client: Client,
  operation: string,
  { keys, ts }: { readonly keys: readonly Uint8Array[]; readonly ts: Timestamp },
): Call {
  const key = (turn: number): Uint8Array => keys[turn % KEY_COUNT] ?? VALUE;
  const some = (turn: number, count: number): readonly Uint8Array[] => {
    const from = turn * count % (KEY_COUNT - count);
    return keys.slice(from, from + count);
  };
  switch (operation) {
    case "snapshotGet":
      return async (turn) => await (await client.snapshot({ ts })).get(key(turn));
    case "snapshotBatchGet":
      return async (turn) => await (await client.snapshot({ ts })).batchGet(some(turn, BATCH_GET_KEYS));
    case "snapshotScan":
      return async (turn) => {
        const snapshot = await client.snapshot({ ts });
        return await snapshot.scan({ start: key(turn) }, { limit: SCAN_ROWS, batchSize: SCAN_ROWS })
          .toArray();
      };
  }
  const [, count = "", path = ""] = /^txn(\d+)-(\w+)$/.exec(operation) ?? [];
  const options = PATHS[path];
  if (options === undefined) throw new RangeError(`Cannot run the load: no operation "${operation}"`);
  return (turn) => {
    const written = some(turn, Number(count));
    return client.transaction(async (txn) => {
      if (path === "pessimistic") await txn.lock(written);
      for (const one of written) txn.put(one, VALUE);
    }, options);
  };
}

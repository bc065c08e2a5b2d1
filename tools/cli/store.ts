// SPDX-License-Identifier: Apache-2.0
// Where the data commands read and write: raw data, or what transactions see.

import type { Client, Entry, PutOptions, RangeInput, ScanResult, Timestamp } from "../../mod.ts";
import { type CommandLine, textOf, UsageError } from "./options.ts";

/** How much of a range is read, and from which end. */
export interface ScanChoice {
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

/** What the commands need of a client. */
export interface DataStore {
  batchGet(keys: readonly Uint8Array[]): Promise<{ get(key: Uint8Array): Uint8Array | undefined }>;
  batchPut(entries: readonly (readonly [Uint8Array, Uint8Array])[], options: PutOptions): Promise<void>;
  batchDelete(keys: readonly Uint8Array[]): Promise<void>;
  deleteRange(range: RangeInput): Promise<void>;
  scan(range: RangeInput, choice: ScanChoice): Promise<ScanResult<Entry>>;
  scanKeys(range: RangeInput, choice: ScanChoice): Promise<ScanResult<Uint8Array>>;
}

/** Raw data, or with `--txn` the data of transactions, at `--ts` if that is given. */
export function storeOf(client: Client, line: CommandLine): DataStore {
  const columnFamily = textOf(line, "cf");
  if (line.values.txn !== true) {
    if (textOf(line, "ts") !== undefined) throw new UsageError("--ts goes with --txn only");
    const raw = columnFamily === undefined ? client.raw : client.raw.columnFamily(columnFamily);
    return {
      batchGet: (keys) => raw.batchGet(keys),
      batchPut: (entries, options) => raw.batchPut(entries, options),
      batchDelete: (keys) => raw.batchDelete(keys),
      deleteRange: (range) => raw.deleteRange(range),
      scan: (range, choice) => Promise.resolve(raw.scan(range, choice)),
      scanKeys: (range, choice) => Promise.resolve(raw.scanKeys(range, choice)),
    };
  }
  if (columnFamily !== undefined) throw new UsageError("--cf does not go with --txn");
  const ts = timestampOf(line);
  return {
    batchGet: async (keys) => await (await client.snapshot({ ts })).batchGet(keys),
    async batchPut(entries, { ttlSeconds }): Promise<void> {
      if (ttlSeconds !== undefined) throw new UsageError("--ttl does not go with --txn");
      refuseTs(ts);
      await client.transaction((txn) => {
        for (const [key, value] of entries) txn.put(key, value);
      });
    },
    async batchDelete(keys): Promise<void> {
      refuseTs(ts);
      await client.transaction((txn) => {
        for (const key of keys) txn.delete(key);
      });
    },
    async deleteRange(range): Promise<void> {
      refuseTs(ts);
      const snapshot = await client.snapshot();
      for await (const keys of snapshot.scanKeys(range).pages()) await this.batchDelete(keys);
    },
    scan: async (range, choice) => (await client.snapshot({ ts })).scan(range, choice),
    scanKeys: async (range, choice) => (await client.snapshot({ ts })).scanKeys(range, choice),
  };
}

function timestampOf(line: CommandLine): Timestamp | undefined {
  const text = textOf(line, "ts");
  if (text === undefined) return undefined;
  if (!/^\d{1,19}$/.test(text)) {
    throw new UsageError(`--ts takes a timestamp, as tso prints it, not "${text}"`);
  }
  return BigInt(text) as Timestamp;
}

function refuseTs(ts: Timestamp | undefined): void {
  if (ts !== undefined) throw new UsageError("--ts is for reading only");
}

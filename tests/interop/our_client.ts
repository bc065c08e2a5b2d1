// SPDX-License-Identifier: Apache-2.0
// This project's client, as the tests of transactions drive it.

import { connect, TikvError } from "../../mod.ts";
import type { AnyTikvError, Client, ConnectOptions, Snapshot, Timestamp, Transaction } from "../../mod.ts";
import {
  type BeginWith,
  type Committed,
  type Entries,
  type Found,
  type LockWith,
  Refused,
  type ScanWith,
  type SnapshotDriver,
  type TxnClientDriver,
  type TxnDriver,
} from "./txn_client.ts";

/** Connects this project's client. */
export async function connectOurs(pd: readonly string[], options: ConnectOptions): Promise<OurClient> {
  return new OurClient(await connect(pd, options));
}

/** This project's client. */
export class OurClient implements TxnClientDriver {
  readonly name = "this client";
  readonly client: Client;

  constructor(client: Client) {
    this.client = client;
  }

  timestamp(): Promise<bigint> {
    return told(this.client.pd.timestamp());
  }

  async begin(options: BeginWith = {}): Promise<OurTxn> {
    const { mode, commit = "2pc", causal, startTs, failsOnLock, strict } = options;
    return new OurTxn(
      await told(this.client.begin({
        mode,
        commit,
        causalConsistency: causal,
        startTs: startTs as Timestamp | undefined,
        onLock: failsOnLock === true ? "conflict" : "resolve",
        assertions: strict === true ? "strict" : "fast",
      })),
    );
  }

  snapshot(ts: bigint): SnapshotDriver {
    return readerOf(() => this.client.snapshot({ ts: ts as Timestamp }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
  }
}

/** A transaction of this project's client. */
export class OurTxn implements TxnDriver {
  readonly inner: Transaction;
  readonly get: TxnDriver["get"];
  readonly batchGet: TxnDriver["batchGet"];
  readonly scan: TxnDriver["scan"];

  constructor(inner: Transaction) {
    this.inner = inner;
    ({ get: this.get, batchGet: this.batchGet, scan: this.scan } = readerOf(() => Promise.resolve(inner)));
  }

  get startTs(): bigint {
    return this.inner.startTs;
  }

  put(key: string, value: string): Promise<void> {
    return told(() => this.inner.put(key, value));
  }

  insert(key: string, value: string): Promise<void> {
    return told(() => this.inner.insert(key, value));
  }

  insertLocked(key: string, value: string, { waitMs = Infinity }: LockWith = {}): Promise<void> {
    return told(this.inner.statement(async () => {
      this.inner.insert(key, value);
      await this.inner.lock([key], { waitMs });
    }));
  }

  delete(key: string): Promise<void> {
    return told(() => this.inner.delete(key));
  }

  assert(key: string, exists: boolean): Promise<void> {
    return told(() => exists ? this.inner.assertExists(key) : this.inner.assertNotExists(key));
  }

  async lock(
    keys: readonly string[],
    { waitMs = Infinity, onlyIfExists = false }: LockWith = {},
  ): Promise<Found> {
    return foundOf(await told(this.inner.batchGetForUpdate(keys, { waitMs, onlyIfExists })));
  }

  async commit(): Promise<Committed> {
    const { commitTs = 0n, path } = await told(this.inner.commit());
    return { commitTs, path };
  }

  rollback(): Promise<void> {
    return told(this.inner.rollback());
  }
}

function readerOf(open: () => Promise<Snapshot | Transaction>): SnapshotDriver {
  return {
    get: async (key: string): Promise<string | undefined> => {
      const value = await told(open().then((reader) => reader.get(key)));
      return value === undefined ? undefined : TEXT.decode(value);
    },
    batchGet: async (keys: readonly string[]): Promise<Found> =>
      foundOf(await told(open().then((reader) => reader.batchGet(keys)))),
    scan: async ({ start, end, limit = Infinity, reverse = false }: ScanWith = {}): Promise<Entries> => {
      const found = await told(
        open().then((reader) => reader.scan({ start, end }, { limit, reverse }).toArray()),
      );
      return found.map(({ key, value }) => [TEXT.decode(key), TEXT.decode(value)]);
    },
  };
}

/** Makes what the client fails with a {@linkcode Refused}. */
async function told<T>(work: Promise<T> | (() => T)): Promise<T> {
  try {
    return await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (!TikvError.is(error)) throw error;
    throw new Refused(error.kind, error.message, detailsOf(error));
  }
}

function detailsOf(error: AnyTikvError): Readonly<Record<string, unknown>> {
  if (error.kind === "deadlock") return { lockTs: error.lockTs, waitChain: error.waitChain };
  return error.kind === "write-conflict" ? { reason: error.reason } : {};
}

function foundOf(found: ReadonlyMapLike): Found {
  return Object.fromEntries([...found].map(([key, value]) => [TEXT.decode(key), TEXT.decode(value)]).sort());
}

type ReadonlyMapLike = Iterable<readonly [Uint8Array, Uint8Array]>;

const TEXT = new TextDecoder();

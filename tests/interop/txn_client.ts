// SPDX-License-Identifier: Apache-2.0
// What a test of transactions asks of a client, whoever wrote it. Keys and values are texts.

/** How a transaction begins. */
export interface BeginWith {
  readonly mode?: "optimistic" | "pessimistic";
  /** @default {"2pc"} */
  readonly commit?: "auto" | "1pc" | "async" | "2pc";
  readonly causal?: boolean;
  readonly startTs?: bigint;
  /** Fails with a conflict on a lock that is in the way of the commit, instead of waiting for it. */
  readonly failsOnLock?: boolean;
  /** Makes stores check every assertion. */
  readonly strict?: boolean;
}

/** A range, and how it is read. An absent bound is no bound. */
export interface ScanWith {
  readonly start?: string;
  readonly end?: string;
  readonly limit?: number;
  readonly reverse?: boolean;
}

export interface LockWith {
  /** @default {Infinity} */
  readonly waitMs?: number;
  readonly onlyIfExists?: boolean;
}

export type Entries = readonly (readonly [key: string, value: string])[];
export type Found = Readonly<Record<string, string>>;

export interface Committed {
  /** 0 when there was nothing to commit. */
  readonly commitTs: bigint;
  readonly path: "1pc" | "async" | "2pc" | "none";
}

/** Reads of one moment. */
export interface SnapshotDriver {
  get(key: string): Promise<string | undefined>;
  batchGet(keys: readonly string[]): Promise<Found>;
  scan(range?: ScanWith): Promise<Entries>;
}

/** A transaction. All of it is awaited, as some of it runs in another process. */
export interface TxnDriver extends SnapshotDriver {
  readonly startTs: bigint;
  put(key: string, value: string): Promise<void>;
  insert(key: string, value: string): Promise<void>;
  /** Inserts and locks; nothing is written when one of them fails. */
  insertLocked(key: string, value: string, options?: LockWith): Promise<void>;
  delete(key: string): Promise<void>;
  assert(key: string, exists: boolean): Promise<void>;
  /** Locks and returns what is there. */
  lock(keys: readonly string[], options?: LockWith): Promise<Found>;
  commit(): Promise<Committed>;
  rollback(): Promise<void>;
}

/** A client, which fails with {@linkcode Refused}. */
export interface TxnClientDriver extends AsyncDisposable {
  readonly name: string;
  timestamp(): Promise<bigint>;
  begin(options?: BeginWith): Promise<TxnDriver>;
  snapshot(ts: bigint): SnapshotDriver;
}

/** A call failed; the kind is in the words of this project whoever failed. */
export class Refused extends Error {
  readonly kind: string;
  /** What the error carries. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(kind: string, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(`${kind}: ${message}`);
    this.kind = kind;
    this.details = details;
  }
}

/** The kind of the error that a call fails with; `"none"` when it succeeds. */
export async function refusalOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "none";
  } catch (error) {
    if (error instanceof Refused) return error.kind;
    throw error;
  }
}

/** The error that a call fails with. */
export async function refused(work: Promise<unknown>): Promise<Refused> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
  throw new Error("Expected a refusal, the call succeeded");
}

/** Everything of a range that is committed. */
export async function contentOf(client: TxnClientDriver, range: ScanWith = {}): Promise<Entries> {
  return await client.snapshot(await client.timestamp()).scan(range);
}

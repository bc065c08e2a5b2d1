// SPDX-License-Identifier: Apache-2.0
// Transactions and snapshots that note down what they see and do.

import assert from "node:assert/strict";
import { utf8Decode } from "../../src/bytes/utf8.ts";
import { TikvError, UndeterminedError } from "../../src/errors.ts";
import type { BeginOptions, CommitInfo } from "../../src/txn/begin_options.ts";
import type { TransactionOptions } from "../../src/txn/begin.ts";
import type { Reader } from "../../src/txn/snapshot/reader.ts";
import type { SnapshotOptions } from "../../src/txn/snapshot/snapshot_options.ts";
import type { Transaction } from "../../src/txn/transaction_api.ts";
import type { History, TxnRecord } from "./history.ts";
import { type SimClient, type Simulation, Vanished } from "./simulation.ts";

/** Each transaction writes a key of its own next to its first one, which shows in the end what became of it. */
const RECEIPT = "~";

/** What others or the trouble may do to a transaction that does nothing wrong. */
const FAILURE_KINDS = [
  "write-conflict",
  "deadlock",
  "lock-wait-timeout",
  "txn-aborted",
  "timeout",
  "connection",
  "region-unavailable",
  "server-busy",
  "key-exists",
] as const;

type FailureKind = (typeof FAILURE_KINDS)[number];

const EXPECTED_KINDS: ReadonlySet<string> = new Set(FAILURE_KINDS);

/** How a transaction ended: also by what kind of error it has failed. */
export type Outcome = "committed" | "undetermined" | "vanished" | FailureKind;

/** Reads of one moment, noted down. */
export class RecordedReads {
  readonly record: TxnRecord;
  readonly reader: Reader;

  constructor(record: TxnRecord, reader: Reader) {
    this.record = record;
    this.reader = reader;
  }

  async get(key: string): Promise<string | undefined> {
    return this.#note(key, textOf(await this.reader.get(key)));
  }

  async batchGet(keys: readonly string[]): Promise<Map<string, string | undefined>> {
    const found = await this.reader.batchGet(keys);
    return new Map(keys.map((key) => [key, this.#note(key, textOf(found.get(key)))]));
  }

  /** Scans the range of the keys; notes also which of them it has not found. */
  async scan(keys: readonly string[], isReverse = false): Promise<Map<string, string | undefined>> {
    const sorted = [...keys].sort();
    const range = { start: sorted[0] ?? "", end: `${sorted.at(-1)}\0` };
    const found = new Map<string, string>();
    for await (const { key, value } of this.reader.scan(range, { reverse: isReverse, batchSize: 3 })) {
      const name = utf8Decode(key);
      if (!name.includes(RECEIPT)) found.set(name, utf8Decode(value));
    }
    const order = [...found.keys()];
    assert.deepEqual(isReverse ? order.reverse() : order, [...order].sort(), "a scan is in order");
    return new Map(sorted.map((key) => [key, this.#note(key, found.get(key))]));
  }

  /** One of the ways to read several keys. */
  read(keys: readonly string[], way: number): Promise<Map<string, string | undefined>> {
    switch (way % 4) {
      case 0:
        return this.batchGet(keys);
      case 1:
        return this.scan(keys);
      case 2:
        return this.scan(keys, true);
      default:
        return this.#oneByOne(keys);
    }
  }

  async #oneByOne(keys: readonly string[]): Promise<Map<string, string | undefined>> {
    const found = new Map<string, string | undefined>();
    for (const key of keys) found.set(key, await this.get(key));
    return found;
  }

  #note(key: string, value: string | undefined): string | undefined {
    const { writes, reads, startTs, readsLater } = this.record;
    if (writes.has(key)) assert.equal(value, writes.get(key), `its own write of ${key} is not read`);
    else reads.push({ key, value, at: readsLater ? 0 : startTs });
    return value;
  }
}

/** A transaction that is noted down. */
export class RecordedTxn extends RecordedReads {
  readonly txn: Transaction;

  constructor(record: TxnRecord, txn: Transaction) {
    super(record, txn);
    this.txn = txn;
  }

  /** The value is made unique, so that it tells who wrote it; see {@linkcode valueOf}. */
  put(key: string, value: string): void {
    this.#leaveReceipt(key);
    const unique = `${value}/${this.record.id}.${this.record.writes.size}`;
    this.txn.put(key, unique);
    this.record.writes.set(key, unique);
  }

  /** As `put()` of a key that must not be there. */
  insert(key: string, value: string): void {
    this.#leaveReceipt(key);
    const unique = `${value}/${this.record.id}.${this.record.writes.size}`;
    this.txn.insert(key, unique);
    // Over its own delete it is a write like others.
    if (!this.record.writes.has(key)) this.record.inserted.add(key);
    this.record.writes.set(key, unique);
  }

  /** Does something and takes its writes back. */
  async undone(work: () => Promise<void>): Promise<void> {
    const before = new Map(this.record.writes);
    // The receipt is no part of what is taken back.
    this.#leaveReceipt("k");
    const place = this.txn.savepoint();
    await work();
    this.txn.rollbackTo(place);
    this.record.writes.clear();
    for (const [key, value] of before) this.record.writes.set(key, value);
  }

  delete(key: string): void {
    this.#leaveReceipt(key);
    this.txn.delete(key);
    this.record.writes.set(key, undefined);
  }

  async lock(keys: readonly string[], waitMs = Infinity): Promise<void> {
    await this.txn.lock(keys, { waitMs });
    this.#leaveReceipt(keys[0] ?? "");
    for (const key of keys) this.record.locked.add(key);
  }

  async getForUpdate(key: string, waitMs = Infinity): Promise<string | undefined> {
    const value = textOf(await this.txn.getForUpdate(key, { waitMs }));
    this.#noteLocked(key, value);
    return value;
  }

  async batchGetForUpdate(
    keys: readonly string[],
    waitMs = Infinity,
  ): Promise<Map<string, string | undefined>> {
    const found = await this.txn.batchGetForUpdate(keys, { waitMs });
    const values = new Map(keys.map((key) => [key, textOf(found.get(key))]));
    for (const [key, value] of values) this.#noteLocked(key, value);
    return values;
  }

  #leaveReceipt(key: string): void {
    if (this.record.receipt !== undefined) return;
    this.record.receipt = `${key}${RECEIPT}${this.record.id}`;
    this.txn.put(this.record.receipt, "it is there");
  }

  #noteLocked(key: string, value: string | undefined): void {
    const { writes, reads, locked, startTs } = this.record;
    this.#leaveReceipt(key);
    locked.add(key);
    if (writes.has(key)) return assert.equal(value, writes.get(key), `its own write of ${key} is not read`);
    // An optimistic transaction reads its own moment; that it is still the newest shows at the commit.
    if (this.txn.mode === "optimistic") reads.push({ key, value, at: startTs });
    reads.push({ key, value, at: "newest" });
  }
}

/** The part of a value before what makes it unique. */
export function valueOf(unique: string | undefined): string | undefined {
  return unique?.slice(0, unique.lastIndexOf("/"));
}

/** Runs and commits a transaction, and notes down what it did and how it ended. */
export async function runTxn(
  sim: Simulation,
  history: History,
  { client, options = {}, body }: {
    readonly client: SimClient;
    readonly options?: BeginOptions | undefined;
    readonly body: (txn: RecordedTxn) => Promise<void>;
  },
): Promise<Outcome> {
  const what = `${options.mode ?? "optimistic"} ${options.commit ?? "auto"}`;
  let record: TxnRecord | undefined;
  try {
    const beganAt = sim.tick();
    const txn = await client.race(client.client.begin(options));
    const { causalConsistency: isCausal = false } = options;
    record = history.add({ what, beganAt, startTs: txn.startTs, isCausal });
    // Of a client that vanishes nobody knows how it ended.
    record.fate = "unknown";
    try {
      await client.race(body(new RecordedTxn(record, txn)));
    } catch (error) {
      if (error instanceof Vanished) throw error;
      record.fate = "failed";
      await client.race(txn.rollback());
      throw error;
    }
    record.commitCalledAt = sim.tick();
    try {
      const timeoutMs = sim.random.pick([400, 3_000, 10_000]);
      const { commitTs } = await client.race(txn.commit({ timeoutMs }));
      noteCommit(sim, record, commitTs);
      return "committed";
    } catch (error) {
      return await noteFailure(sim, { record, client, error });
    }
  } catch (error) {
    return endOf(error);
  }
}

/** As {@linkcode runTxn}, with the call that runs the body again. */
export async function runCall(
  sim: Simulation,
  history: History,
  { client, options = {}, body }: {
    readonly client: SimClient;
    readonly options?: TransactionOptions | undefined;
    readonly body: (txn: RecordedTxn) => Promise<void>;
  },
): Promise<Outcome> {
  const { commit = "auto" } = options;
  const attempts: TxnRecord[] = [];
  let beganAt = sim.tick();
  let info: CommitInfo | undefined;
  const running = client.client.transaction(async (txn) => {
    const what = `${txn.mode} ${commit} in a call`;
    // After a conflict a pessimistic one locks first what it has lost, and reads at that moment.
    const readsLater = txn.mode === "pessimistic" && attempts.length > 0;
    const record = history.add({ what, beganAt, startTs: txn.startTs, readsLater });
    for (const before of attempts) before.fate = "failed";
    record.fate = "unknown";
    attempts.push(record);
    await body(new RecordedTxn(record, txn));
    record.commitCalledAt = sim.tick();
    beganAt = sim.tick();
  }, { ...options, onCommit: (told) => info = told });
  try {
    try {
      await client.race(running);
    } catch (error) {
      const record = attempts.at(-1);
      if (record === undefined) throw error;
      return await noteFailure(sim, { record, client, error });
    }
    const record = attempts.at(-1);
    if (record !== undefined) noteCommit(sim, record, info?.commitTs);
    return "committed";
  } catch (error) {
    return endOf(error);
  }
}

/** Reads a snapshot, and notes down what it shows. */
export async function runSnapshot(
  sim: Simulation,
  history: History,
  { client, options = {}, body }: {
    readonly client: SimClient;
    readonly options?: SnapshotOptions | undefined;
    readonly body: (reads: RecordedReads) => Promise<void>;
  },
): Promise<Outcome> {
  try {
    // One of the past has not begun now.
    const isNow = options.ts === undefined && options.staleMs === undefined;
    const beganAt = isNow ? sim.tick() : 0;
    const snapshot = await client.race(client.client.snapshot(options));
    const record = history.add({ what: "snapshot", beganAt, startTs: snapshot.ts });
    await client.race(body(new RecordedReads(record, snapshot)));
    return "committed";
  } catch (error) {
    return endOf(error);
  }
}

/** Finds out, when all is quiet, what became of each transaction, and compares it with what was told. */
export async function settleFates(sim: Simulation, history: History): Promise<void> {
  // What is still on its way arrives, and the time of every lock is up.
  await sim.sleep(40_000);
  const { client } = await sim.addClient();
  const snapshot = await client.snapshot({ timeoutMs: 60_000 });
  for (const txn of history.txns) {
    // What wrote nothing has nothing to tell.
    if (txn.receipt === undefined) continue;
    const found = await snapshot.getVersioned(txn.receipt);
    const told = `#${txn.id} (${txn.what}) was told to be ${txn.fate} at ${txn.commitTs}`;
    if (txn.fate === "unknown") {
      txn.fate = found === undefined ? "failed" : "committed";
      txn.commitTs = found?.commitTs;
    } else if (txn.fate === "committed") {
      assert.equal(found?.commitTs, txn.commitTs, `${told}, and is not`);
    } else assert.equal(found, undefined, `${told}, and is there`);
  }
}

function noteCommit(sim: Simulation, record: TxnRecord, commitTs: bigint | undefined): void {
  record.fate = "committed";
  record.commitTs = commitTs;
  record.commitResolvedAt = sim.tick();
}

async function noteFailure(
  sim: Simulation,
  { record, client, error }: {
    readonly record: TxnRecord;
    readonly client: SimClient;
    readonly error: unknown;
  },
): Promise<Outcome> {
  if (error instanceof Vanished) throw error;
  if (error instanceof UndeterminedError) {
    try {
      const fate = await client.race(error.resolve({ timeoutMs: 30_000 }));
      if (fate.state === "committed") noteCommit(sim, record, fate.commitTs);
      else record.fate = fate.state === "rolled-back" ? "failed" : "unknown";
    } catch (reason) {
      if (endOf(reason) === "vanished") throw reason;
    }
    return "undetermined";
  }
  record.fate = "failed";
  return endOf(error);
}

/** The only failures are those that others or the trouble can lead to. */
function endOf(error: unknown): Outcome {
  if (error instanceof Vanished) return "vanished";
  if (TikvError.is(error) && EXPECTED_KINDS.has(error.kind)) return error.kind as FailureKind;
  throw error;
}

function textOf(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : utf8Decode(value);
}

// SPDX-License-Identifier: Apache-2.0
// The history of a seed, of transactions that meet, through one client. Nothing in it waits for
// somebody else, so that its answers do not depend on time.

import { SeededRandom } from "../../src/testing/seeded_random.ts";
import { until } from "../helpers/until.ts";
import { locksOf } from "./locks.ts";
import type { OurClient } from "./our_client.ts";
import {
  type BeginWith,
  type Entries,
  type Found,
  Refused,
  type ScanWith,
  type SnapshotDriver,
  type TxnClientDriver,
  type TxnDriver,
} from "./txn_client.ts";
import type { Answered } from "./workload.ts";

/** Whose history it is, and what else it needs. */
export interface HistoryOptions {
  readonly seed: number;
  readonly calls: number;
  /** Looks on, to tell when a transaction is over also behind its caller. */
  readonly observer: OurClient;
  split(key: string): Promise<void>;
  moveLeader(key: string): Promise<void>;
}

const KEYS = 18;
const SLOTS = 3;
const EVERYTHING: ScanWith = { start: "k", end: "l" };

/** Runs the history of a seed; the last lines are what each of its moments looks like in the end. */
export async function runTxnHistory(client: TxnClientDriver, options: HistoryOptions): Promise<Answered[]> {
  const history = new TxnHistory(client, options);
  for (let i = 0; i < options.calls; i++) await history.step();
  await history.finish();
  return history.answers;
}

/** A transaction that is open, and what is known of it. */
interface Open {
  readonly txn: TxnDriver;
  readonly isPessimistic: boolean;
  /** The keys that a pessimistic one may write. */
  readonly locked: Set<string>;
  readonly written: Set<string>;
  /** What was said about these: also by an insert. */
  readonly asserted: Set<string>;
  hasInsert: boolean;
}

function noteInsert(open: Open, key: string): void {
  open.written.add(key);
  open.asserted.add(key);
  open.hasInsert = true;
}

class TxnHistory {
  readonly answers: Answered[] = [];
  readonly #client: TxnClientDriver;
  readonly #options: HistoryOptions;
  readonly #random: SeededRandom;
  readonly #slots: (Open | undefined)[] = Array.from({ length: SLOTS }, () => undefined);
  readonly #moments: bigint[] = [];

  constructor(client: TxnClientDriver, options: HistoryOptions) {
    this.#client = client;
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
  }

  async step(): Promise<void> {
    const draw = this.#random.int(100);
    if (draw < 4) return await this.#options.split(this.#key());
    if (draw < 6) return await this.#options.moveLeader(this.#key());
    if (draw < 16) return await this.#look();
    const slot = this.#random.int(SLOTS);
    const open = this.#slots[slot];
    if (open === undefined) return await this.#begin(slot);
    if (draw < 24) return await this.#end(slot, open);
    if (draw < 45) return await this.#read(`t${slot}`, open.txn);
    if (open.isPessimistic) await this.#writeLocked(slot, open);
    else await this.#write(slot, open);
  }

  /** Commits what is open and looks at every moment once more. */
  async finish(): Promise<void> {
    for (const [slot, open] of this.#slots.entries()) {
      if (open !== undefined) await this.#end(slot, open);
    }
    this.#moments.push(await this.#client.timestamp());
    for (const [i, ts] of this.#moments.entries()) {
      await this.#tell(`content at moment ${i}`, async () => {
        return pairs(await this.#client.snapshot(ts).scan(EVERYTHING));
      });
    }
  }

  async #tell(call: string, work: () => Promise<string>): Promise<boolean> {
    try {
      this.answers.push({ call, answer: await work() });
      return true;
    } catch (error) {
      if (!(error instanceof Refused) || UNEXPECTED.has(error.kind)) {
        throw new Error(`Cannot do ${call} (call ${this.answers.length})`, { cause: error });
      }
      const reason = error.kind === "write-conflict" ? ` ${reasonOf(error)}` : "";
      this.answers.push({ call, answer: `${error.kind}${reason}` });
      return false;
    }
  }

  async #begin(slot: number): Promise<void> {
    const isPessimistic = this.#random.int(2) === 0;
    const commit = COMMITS[this.#random.int(COMMITS.length)] ?? "auto";
    const options: BeginWith = {
      mode: isPessimistic ? "pessimistic" : "optimistic",
      commit,
      causal: this.#random.int(4) === 0,
      strict: true,
      failsOnLock: true,
    };
    await this.#tell(`t${slot}: begin ${options.mode} ${commit}`, async () => {
      const txn = await this.#client.begin(options);
      this.#slots[slot] = {
        txn,
        isPessimistic,
        locked: new Set(),
        written: new Set(),
        asserted: new Set(),
        hasInsert: false,
      };
      return "begun";
    });
  }

  /** A moment of the past is looked at, or a new one is kept. */
  async #look(): Promise<void> {
    const draw = this.#random.int(this.#moments.length + 1);
    const ts = this.#moments[draw];
    if (ts === undefined) {
      const now = await this.#client.timestamp();
      this.#moments.push(now);
      // Once it is read, a commit with causal consistency cannot come before it any more.
      await this.#tell(
        `moment ${draw}: taken`,
        async () => pairs(await this.#client.snapshot(now).scan(EVERYTHING)),
      );
    } else await this.#read(`moment ${draw}`, this.#client.snapshot(ts));
  }

  async #read(who: string, reader: SnapshotDriver): Promise<void> {
    const draw = this.#random.int(3);
    if (draw === 0) {
      const key = this.#key();
      await this.#tell(`${who}: get ${key}`, async () => await reader.get(key) ?? "none");
    } else if (draw === 1) {
      const keys = this.#keys();
      await this.#tell(`${who}: batchGet ${keys.join(" ")}`, async () => found(await reader.batchGet(keys)));
    } else {
      const [start, end] = [this.#key(), this.#key()].sort() as [string, string];
      const range = { start, end, limit: 1 + this.#random.int(8), reverse: this.#random.int(2) === 0 };
      await this.#tell(`${who}: scan ${JSON.stringify(range)}`, async () => pairs(await reader.scan(range)));
    }
  }

  async #write(slot: number, open: Open): Promise<void> {
    const { txn, written } = open;
    const key = this.#ownKey(open), value = this.#value();
    const draw = this.#random.int(20);
    if (draw < 9) {
      written.add(key);
      await this.#tell(`t${slot}: put ${key} ${value}`, () => done(txn.put(key, value)));
    } else if (draw < 13) {
      written.add(key);
      await this.#tell(`t${slot}: delete ${key}`, () => done(txn.delete(key)));
    } else if (draw < 16) {
      const isInserted = await this.#tell(
        `t${slot}: insert ${key} ${value}`,
        () => done(txn.insert(key, value)),
      );
      if (isInserted) noteInsert(open, key);
    } else if (draw < 18) {
      await this.#tell(`t${slot}: lock ${key}`, async () => found(await txn.lock([key])));
    } else await this.#assert(slot, open);
  }

  async #writeLocked(slot: number, open: Open): Promise<void> {
    const { txn, locked, written } = open;
    const key = this.#ownKey(open), value = this.#value();
    const draw = this.#random.int(20);
    if (draw < 6) {
      const keys = this.#keys();
      const isLocked = await this.#tell(`t${slot}: lock ${keys.join(" ")}`, async () => {
        return found(await txn.lock(keys, { waitMs: 0 }));
      });
      if (isLocked) { for (const each of keys) locked.add(each); }
    } else if (draw < 9) {
      const isInserted = await this.#tell(`t${slot}: insert and lock ${key} ${value}`, () => {
        return done(txn.insertLocked(key, value, { waitMs: 0 }));
      });
      if (!isInserted) return;
      locked.add(key);
      noteInsert(open, key);
    } else if (draw < 11) await this.#assert(slot, open);
    else {
      if (!locked.has(key)) {
        const isLocked = await this.#tell(`t${slot}: lock ${key}`, async () => {
          return found(await txn.lock([key], { waitMs: 0 }));
        });
        if (!isLocked) return;
        locked.add(key);
      }
      written.add(key);
      if (draw < 17) await this.#tell(`t${slot}: put ${key} ${value}`, () => done(txn.put(key, value)));
      else await this.#tell(`t${slot}: delete ${key}`, () => done(txn.delete(key)));
    }
  }

  /** Says of a key that is written whether it exists in the cluster; half of that is wrong. */
  async #assert(slot: number, { txn, written, asserted }: Open): Promise<void> {
    const all = [...written];
    const key = all[this.#random.int(all.length + 1)];
    const exists = this.#random.int(2) === 0;
    // Two that contradict each other cancel each other out in client-go, and are refused here.
    if (key === undefined || asserted.has(key)) return;
    asserted.add(key);
    await this.#tell(`t${slot}: assert ${key} ${exists}`, () => done(txn.assert(key, exists)));
  }

  async #end(slot: number, { txn, isPessimistic, written, hasInsert }: Open): Promise<void> {
    this.#slots[slot] = undefined;
    // One that has only locked is committed by client-go, which leaves records of that. This client
    // takes the locks away: there is nothing to commit.
    const isCommitted = this.#random.int(5) > 0 && (!isPessimistic || written.size > 0);
    await this.#tell(`t${slot}: ${isCommitted ? "commit" : "rollback"}`, async () => {
      if (!isCommitted) return await done(txn.rollback());
      const { path, commitTs } = await txn.commit();
      return `${path}${commitTs === 0n ? "" : commitTs > txn.startTs ? " later" : " EARLIER"}`;
    });
    const last = this.answers.at(-1);
    if (
      last !== undefined && hasInsert && !isPessimistic && /^(key-exists|write-conflict)/.test(last.answer)
    ) {
      // Regions are asked at a time: which of the two comes first is chance.
      this.answers[this.answers.length - 1] = { ...last, answer: "key-exists or write-conflict" };
    }
    // Secondaries and clean-up go on behind the caller: who comes next must not depend on when.
    await until(async () => {
      return (await locksOf(this.#options.observer)).every(({ startTs }) => startTs !== txn.startTs);
    }, `the locks of ${this.answers.at(-1)?.call} are gone`);
  }

  #key(): string {
    return `k${String(this.#random.int(KEYS)).padStart(2, "0")}`;
  }

  /** Often one that the transaction has written already. */
  #ownKey({ written }: Open): string {
    const own = [...written];
    const draw = this.#random.int(3);
    return draw === 0 && own.length > 0 ? own[this.#random.int(own.length)] as string : this.#key();
  }

  /** Each once: client-go reads a key that a transaction has deleted as it was before, when asked twice. */
  #keys(): string[] {
    return [...new Set(Array.from({ length: 1 + this.#random.int(5) }, () => this.#key()))];
  }

  #value(): string {
    return `v${this.#random.int(1000)}`;
  }
}

const COMMITS = ["auto", "2pc", "async", "1pc"] as const;

/** What no history may come to. */
const UNEXPECTED: ReadonlySet<string> = new Set(["other", "server", "protocol", "timeout", "undetermined"]);

/** Both spell it in their own way. */
function reasonOf({ details }: Refused): string {
  return String(details["reason"]).replaceAll("-", "").toLowerCase();
}

async function done(work: Promise<void>): Promise<string> {
  await work;
  return "done";
}

function found(values: Found): string {
  return pairs(Object.entries(values));
}

function pairs(entries: Entries): string {
  return entries.map(([key, value]) => `${key}=${value}`).join(" ");
}

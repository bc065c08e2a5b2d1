// SPDX-License-Identifier: Apache-2.0
// What transactions have seen, written and been told, and whether that can be true of a database with
// snapshot isolation whose order is that of real time.

import assert from "node:assert/strict";

/** What one transaction did. A snapshot is one that writes nothing. */
export interface TxnRecord {
  readonly id: number;
  readonly what: string;
  /** Moments of the simulation, see `Simulation.tick()`. */
  readonly beganAt: number;
  readonly startTs: bigint;
  readonly reads: ReadRecord[];
  /** The last write of each key; undefined for a delete. */
  readonly writes: Map<string, string | undefined>;
  /** Keys of its writes that were not to be there before. */
  readonly inserted: Set<string>;
  /** Keys that it has locked, so that nobody writes them before it is over. */
  readonly locked: Set<string>;
  readonly isCausal: boolean;
  /** It does not read at its start, but at moments after that. */
  readonly readsLater: boolean;
  /** A key that nobody else writes; absent as long as there is nothing to commit. */
  receipt: string | undefined;
  fate: "failed" | "committed" | "unknown";
  commitTs: bigint | undefined;
  commitCalledAt: number | undefined;
  commitResolvedAt: number | undefined;
}

/** A value that was read; undefined for none. */
export interface ReadRecord {
  readonly key: string;
  readonly value: string | undefined;
  /**
   * The moment that was asked for; `newest` under a lock; a number for one moment after the start, the
   * same for all reads with this number.
   */
  readonly at: bigint | "newest" | number;
}

interface Version {
  readonly commitTs: bigint;
  readonly value: string | undefined;
  readonly by: TxnRecord;
}

/** All that was seen in a run. */
export class History {
  readonly txns: TxnRecord[] = [];

  add(
    record:
      & Pick<TxnRecord, "what" | "beganAt" | "startTs">
      & Partial<Pick<TxnRecord, "isCausal" | "readsLater">>,
  ): TxnRecord {
    const txn: TxnRecord = {
      isCausal: false,
      readsLater: false,
      ...record,
      id: this.txns.length,
      reads: [],
      writes: new Map(),
      inserted: new Set(),
      locked: new Set(),
      receipt: undefined,
      fate: "failed",
      commitTs: undefined,
      commitCalledAt: undefined,
      commitResolvedAt: undefined,
    };
    this.txns.push(txn);
    return txn;
  }

  get committed(): TxnRecord[] {
    return this.txns.filter(({ fate, commitTs }) => fate === "committed" && commitTs !== undefined);
  }

  /** Throws for the first thing that cannot be. */
  check(): void {
    const versions = this.#versions();
    for (const txn of this.txns) {
      for (const read of txn.reads) {
        if (typeof read.at !== "number") this.#checkRead(txn, read.at, { read, versions });
      }
      this.#checkMoments(txn, versions);
    }
    for (const txn of this.committed) this.#checkWriters(txn, versions);
    this.#checkRealTime();
  }

  #versions(): Map<string, Version[]> {
    const versions = new Map<string, Version[]>();
    for (const txn of this.committed) {
      for (const [key, value] of txn.writes) {
        if (isGoneAgain(txn, key)) continue;
        const list = versions.get(key) ?? [];
        list.push({ commitTs: txn.commitTs ?? 0n, value, by: txn });
        versions.set(key, list);
      }
    }
    for (const [key, list] of versions) {
      list.sort((a, b) => (a.commitTs < b.commitTs ? -1 : 1));
      list.forEach((version, index) => {
        assert.notEqual(
          list[index - 1]?.commitTs,
          version.commitTs,
          `two versions of ${key} at ${version.commitTs}`,
        );
      });
    }
    return versions;
  }

  #checkRead(
    txn: TxnRecord,
    at: bigint | "newest",
    { read: { key, value }, versions }: {
      readonly read: ReadRecord;
      readonly versions: Map<string, Version[]>;
    },
  ): void {
    const list = versions.get(key) ?? [];
    const own = txn.commitTs;
    // What was locked is the newest right before the transaction's own writes.
    if (at === "newest" && own === undefined) return;
    const expected = list.findLast(({ commitTs }) =>
      at === "newest" ? commitTs < (own ?? 0n) : commitTs <= at
    );
    const by = list.find((version) => version.value === value);
    assert.equal(
      value,
      expected?.value,
      `${nameOf(txn)} has read ${key} at ${at}: "${value}" of ${
        by === undefined ? "nobody who committed" : nameOf(by.by)
      } and not "${expected?.value}" of ${expected === undefined ? "nobody" : nameOf(expected.by)}`,
    );
  }

  /** Reads of one moment, whichever it was, are true at one. What was written then was still so at the commit. */
  #checkMoments(txn: TxnRecord, versions: Map<string, Version[]>): void {
    const moments = new Map<number, ReadRecord[]>();
    for (const read of txn.reads) {
      if (typeof read.at !== "number") continue;
      moments.set(read.at, [...moments.get(read.at) ?? [], read]);
      // What was locked after that may be newer.
      if (txn.writes.has(read.key) && !txn.locked.has(read.key)) {
        this.#checkRead(txn, "newest", { read, versions });
      }
    }
    for (const reads of moments.values()) {
      const later = reads.flatMap(({ key }) => versions.get(key) ?? []).map(({ commitTs }) => commitTs);
      const candidates = [txn.startTs, ...later.filter((ts) => ts > txn.startTs)];
      const isTrueAt = (ts: bigint): boolean =>
        reads.every(({ key, value }) =>
          versions.get(key)?.findLast(({ commitTs }) => commitTs <= ts)?.value === value
        );
      assert.ok(
        candidates.some(isTrueAt),
        `${nameOf(txn)} has read what is true at no moment: ${JSON.stringify(reads)}`,
      );
    }
  }

  /** Nobody commits a write of a key between the start and the commit of another one that writes it. */
  #checkWriters(txn: TxnRecord, versions: Map<string, Version[]>): void {
    const { commitTs = 0n } = txn;
    for (const key of txn.inserted) {
      const before = versions.get(key)?.findLast((version) => version.commitTs < commitTs);
      if (!txn.writes.has(key) || isGoneAgain(txn, key)) continue;
      assert.equal(before?.value, undefined, `${nameOf(txn)} has inserted ${key}, which was there`);
    }
    for (const key of new Set([...txn.writes.keys(), ...txn.locked])) {
      // Where the newest value was read under a lock, that read tells whether somebody came in between.
      if (txn.reads.some((read) => read.key === key && read.at === "newest")) continue;
      if (txn.locked.has(key) && txn.what.startsWith("pessimistic")) continue;
      // It has locked what it writes at some moment after its start.
      if (txn.readsLater || isGoneAgain(txn, key)) continue;
      const between = versions.get(key)?.find((version) =>
        version.by !== txn && version.commitTs > txn.startTs && version.commitTs < commitTs
      );
      assert.equal(
        between,
        undefined,
        `${nameOf(txn)} writes or locks ${key} over a version of ${between && nameOf(between.by)}`,
      );
    }
  }

  /** Whoever begins when a commit has resolved sees it, and is committed after it. */
  #checkRealTime(): void {
    const { committed } = this;
    const done = committed.filter(({ commitResolvedAt }) => commitResolvedAt !== undefined);
    for (const before of done) {
      const { commitTs = 0n, commitResolvedAt = Infinity } = before;
      for (const after of this.txns) {
        if (after.beganAt > commitResolvedAt) {
          assert.ok(
            after.startTs >= commitTs,
            `${nameOf(after)} began after ${nameOf(before)} was committed`,
          );
        }
        const { commitTs: next, commitCalledAt } = after;
        if (after.isCausal || next === undefined || commitCalledAt === undefined) continue;
        if (commitCalledAt > commitResolvedAt && after.writes.size > 0) {
          assert.ok(next > commitTs, `${nameOf(after)} is ordered before ${nameOf(before)}`);
        }
      }
    }
  }
}

/** What was inserted and then deleted is only checked: nothing is written. */
function isGoneAgain({ inserted, writes }: TxnRecord, key: string): boolean {
  return inserted.has(key) && writes.has(key) && writes.get(key) === undefined;
}

function nameOf({ id, what, startTs, commitTs, fate }: TxnRecord): string {
  return `#${id} (${what}, ${startTs} to ${commitTs ?? fate})`;
}

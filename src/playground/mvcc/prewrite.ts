// SPDX-License-Identifier: Apache-2.0
// The commands prewrite and flush (`src/storage/txn/commands/prewrite.rs` and `flush.rs`).

import { compareBytes } from "../../bytes/compare.ts";
import { concatBytes } from "../../bytes/concat.ts";
import { isPrimary } from "./lock_info.ts";
import type { Fault } from "./mvcc_error.ts";
import { faultOf, MvccError, otherAbort } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import { FlushedLater, prewriteKey } from "./prewrite_key.ts";
import type { PrewriteMutation, PrewriteProperties } from "./prewrite_types.ts";
import { writeOfLock } from "./records.ts";
import { commitRecordOf } from "./versions.ts";

/** A prewrite of some keys of a transaction. */
export interface PrewriteRequest {
  readonly props: PrewriteProperties;
  readonly mutations: readonly PrewriteMutation[];
  /** Undefined when it is no async commit. */
  readonly secondaries: readonly Uint8Array[] | undefined;
}

/** What came of a prewrite. Nothing is to be written when there are locks. */
export interface PrewriteResult {
  readonly locks: readonly Fault[];
  /** 0 when it is not, or not any more, an async commit. */
  readonly minCommitTs: bigint;
  /** 0 when it was not committed at once. */
  readonly onePcCommitTs: bigint;
}

/** With more keys than this, TiKV first looks whether there is anything at all in their range. */
const FORWARD_MIN_MUTATIONS = 12;

const ZERO_TS: Uint8Array = new Uint8Array(8).fill(0xff);

/** Checks and locks the keys of a transaction, or commits them in one phase. */
export function prewrite(txn: MvccTxn, request: PrewriteRequest): PrewriteResult {
  let { props, mutations } = request;
  if (props.mode.kind === "optimistic" && mutations.length > FORWARD_MIN_MUTATIONS) {
    mutations = [...mutations].sort((a, b) => compareBytes(a.key, b.key));
    if (!hasVersions(txn, mutations)) {
      props = { ...props, mode: { ...props.mode, skipsConstraintCheck: true } };
    }
  }
  const run = new PrewriteRun(txn, props, request.secondaries);
  const locks = run.all(mutations);
  if (locks.length > 0) {
    txn.clear();
    return { locks, minCommitTs: run.asyncCommitTs(), onePcCommitTs: 0n };
  }
  return { locks, minCommitTs: run.asyncCommitTs(), onePcCommitTs: run.commitOnePc() };
}

/** Writes the locks of one flush of a pipelined transaction. Returns locks that stand in the way. */
export function flush(
  txn: MvccTxn,
  props: PrewriteProperties,
  mutations: readonly PrewriteMutation[],
  generation: bigint,
): readonly Fault[] {
  if (generation === 0n) throw otherAbort("generation should be greater than 0 for Flush requests");
  const locks: Fault[] = [];
  let assertionFailure: MvccError | undefined;
  for (const mutation of mutations) {
    try {
      prewriteKey({ txn, props, secondaries: undefined, generation }, mutation);
    } catch (error) {
      if (error instanceof FlushedLater) continue;
      const fault = faultOf(error);
      if (isNewerConflict(fault) || fault.kind === "locked") {
        if (committedTs(txn, mutation.key) !== undefined) {
          txn.clear();
          return [];
        }
        if (fault.kind !== "locked") throw error;
        locks.push(fault);
      } else if (fault.kind === "assertion-failed") assertionFailure ??= error as MvccError;
      else throw error;
    }
  }
  if (assertionFailure !== undefined) throw assertionFailure;
  return locks;
}

/** One prewrite on its way through the keys. It may fall back from async or one-phase commit. */
class PrewriteRun {
  readonly #txn: MvccTxn;
  #props: PrewriteProperties;
  #secondaries: readonly Uint8Array[] | undefined;
  #triesOnePc: boolean;
  #minCommitTs = 0n;

  constructor(txn: MvccTxn, props: PrewriteProperties, secondaries: readonly Uint8Array[] | undefined) {
    this.#txn = txn;
    this.#props = props;
    this.#secondaries = secondaries;
    this.#triesOnePc = props.commit.kind === "1pc";
  }

  all(mutations: readonly PrewriteMutation[]): readonly Fault[] {
    const locks: Fault[] = [];
    let assertionFailure: MvccError | undefined;
    for (const mutation of mutations) {
      const secondaries = this.#secondariesFor(mutation.key);
      const needsTs = secondaries !== undefined || this.#triesOnePc;
      try {
        const context = { txn: this.#txn, props: this.#props, secondaries, generation: 0n };
        const minCommitTs = prewriteKey(context, mutation);
        if (!needsTs) continue;
        if (minCommitTs === 0n) this.#fallBack();
        else if (minCommitTs > this.#minCommitTs) this.#minCommitTs = minCommitTs;
      } catch (error) {
        const fault = faultOf(error);
        if (fault.kind === "assertion-failed") {
          assertionFailure ??= error as MvccError;
          continue;
        }
        const mayBeDone = isNewerConflict(fault) || fault.kind === "pessimistic-lock-not-found" ||
          fault.kind === "commit-ts-too-large" || fault.kind === "locked";
        if (!mayBeDone) throw error;
        // The request may be a late copy of one whose transaction has been committed since.
        const commitTs = committedTs(this.#txn, mutation.key);
        if (commitTs !== undefined) {
          this.#txn.clear();
          this.#minCommitTs = commitTs;
          return [];
        }
        if (fault.kind === "commit-ts-too-large") this.#fallBack();
        else if (fault.kind === "locked") locks.push(fault);
        else throw error;
      }
    }
    if (assertionFailure !== undefined) throw assertionFailure;
    return locks;
  }

  asyncCommitTs(): bigint {
    return this.#secondaries === undefined ? 0n : this.#minCommitTs;
  }

  /** Commits what is left of a one-phase commit. Returns its timestamp, or 0. */
  commitOnePc(): bigint {
    if (!this.#triesOnePc) return 0n;
    const commitTs = this.#minCommitTs;
    for (const { key, lock, hadPessimisticLock } of this.#txn.takeOnePcLocks()) {
      this.#txn.putWrite(key, commitTs, writeOfLock(lock));
      if (hadPessimisticLock) this.#txn.unlock(key, commitTs);
    }
    return commitTs;
  }

  #secondariesFor(key: Uint8Array): readonly Uint8Array[] | undefined {
    if (this.#secondaries === undefined) return undefined;
    return isPrimary(key, this.#props.primary) ? this.#secondaries : [];
  }

  /** Goes on as a plain two-phase commit. Locks of an async commit that were written stay what they are. */
  #fallBack(): void {
    this.#props = { ...this.#props, commit: { kind: "2pc" } };
    this.#secondaries = undefined;
    this.#triesOnePc = false;
    this.#minCommitTs = 0n;
    for (const { key, lock, hadPessimisticLock } of this.#txn.takeOnePcLocks()) {
      this.#txn.putLock(key, { ...lock, usesOnePc: false }, !hadPessimisticLock);
    }
  }
}

function isNewerConflict(fault: Fault): boolean {
  return fault.kind === "write-conflict" && fault.conflictCommitTs > fault.startTs;
}

/** When this transaction committed on the key; undefined when it did not. */
function committedTs(txn: MvccTxn, key: Uint8Array): bigint | undefined {
  const record = commitRecordOf(txn.tables, key, txn.startTs);
  return record.kind === "own" && record.write.kind !== "rollback" ? record.commitTs : undefined;
}

function hasVersions(txn: MvccTxn, sorted: readonly PrewriteMutation[]): boolean {
  const first = sorted[0];
  const last = sorted[sorted.length - 1];
  if (first === undefined || last === undefined) return false;
  return txn.tables.hasVersionsIn({ start: first.key, end: concatBytes(last.key, ZERO_TS) });
}

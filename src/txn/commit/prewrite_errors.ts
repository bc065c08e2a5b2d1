// SPDX-License-Identifier: Apache-2.0
// What the errors of keys in an answer to a prewrite mean.

import type { KeyError, LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import { equalBytes } from "../../bytes/compare.ts";
import { TikvError } from "../../errors.ts";
import { KeyExistsError } from "../../txn_errors.ts";
import { conflictWithLock, writeErrorOf } from "./committer_errors.ts";
import type { CommitMutation, CommitRun } from "./committer_run.ts";
import { singleLocksOf } from "../locks/lock.ts";

/** What follows from the errors of one answer. */
export interface PrewriteVerdict {
  /** Ends the commit. */
  readonly failure: TikvError | undefined;
  /** Ends it as well, but says less than any other failure, which may be the reason for it. */
  readonly assertion: TikvError | undefined;
  /** Have to be got out of the way; then the request is sent again. */
  readonly locks: readonly LockInfo[];
  /**
   * No request with these keys can commit the transaction any more, whether one that was lost or one
   * that is still on its way: what was found is there for good.
   */
  readonly isSettled: boolean;
}

/** Judges the errors of an answer. */
export function judge(run: CommitRun, errors: readonly KeyError[]): PrewriteVerdict {
  const { txn, isPessimistic, failsOnLock } = run.options;
  const locks: LockInfo[] = [];
  let assertion: TikvError | undefined;
  for (const error of errors) {
    if (error.locked === undefined) {
      const failure = failureOf(run, error);
      if (failure.kind !== "assertion-failed") {
        return { failure, assertion, locks, isSettled: isFinal(run, error) };
      }
      assertion ??= failure;
      continue;
    }
    for (const lock of singleLocksOf(error.locked)) {
      // Whoever began later will not be waited for: this transaction would find its write anyway.
      if (failsOnLock || (!isPessimistic && lock.lockVersion > txn.startTs)) {
        return { failure: conflictWithLock(txn, lock), assertion, locks, isSettled: false };
      }
      locks.push(lock);
    }
  }
  return { failure: undefined, assertion, locks, isSettled: locks.length === 0 };
}

function failureOf(run: CommitRun, error: KeyError): TikvError {
  const { txn } = run.options;
  const failure = writeErrorOf(error, { txn, method: "KvPrewrite" });
  if (!(failure instanceof KeyExistsError)) return failure;
  const mutation = mutationOf(run, failure.key);
  if (mutation?.op !== "insert" && mutation?.op !== "check-not-exists") {
    return new TikvError(
      "protocol",
      "Cannot use the reply to KvPrewrite: a key exists that was not to be inserted",
      { cause: failure },
    );
  }
  return new KeyExistsError(failure.message, {
    key: failure.key,
    value: mutation.value,
    context: failure.context,
  });
}

/**
 * A version that is too new, or that exists and should not, stays; and had the lost request been there
 * before, the store would know this transaction by the key and not complain. What the transaction only
 * checks is no such key: somebody may have written it since the lost request was there.
 */
function isFinal(run: CommitRun, { conflict, alreadyExist }: KeyError): boolean {
  if (alreadyExist !== undefined) return true;
  return conflict !== undefined && mutationOf(run, conflict.key)?.op !== "check-not-exists";
}

function mutationOf(run: CommitRun, key: Uint8Array): CommitMutation | undefined {
  return run.options.mutations.find((mutation) => equalBytes(mutation.key, key));
}

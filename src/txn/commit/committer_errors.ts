// SPDX-License-Identifier: Apache-2.0
// What a write fails with.

import type { KeyError, LockInfo } from "../../../gen/kvrpcpb_pb.ts";
import { shortKey } from "../../bytes/hex.ts";
import type { TikvError } from "../../errors.ts";
import { LockWaitTimeoutError, WriteConflictError } from "../../txn_errors.ts";
import type { Timestamp } from "../../types.ts";
import type { TxnIdentity } from "./committer_run.ts";
import { keyErrorOf } from "../locks/key_error.ts";

/** The error of a key, in an answer to a request of a transaction. */
export function writeErrorOf(error: KeyError, { txn, method }: {
  readonly txn: Pick<TxnIdentity, "session">;
  readonly method: string;
}): TikvError {
  return keyErrorOf(error, { method, revealKeys: txn.session.settings.revealKeys });
}

/** The lock of a transaction that is not waited for, as the conflict that it would be anyway. */
export function conflictWithLock({ session, startTs }: TxnIdentity, lock: LockInfo): WriteConflictError {
  const { lockVersion, key } = lock;
  const shown = shortKey(key, session.settings.revealKeys);
  return new WriteConflictError(
    `Cannot write key ${shown}: it is locked by the transaction that began at ${lockVersion}`,
    {
      key,
      startTs,
      conflictTs: lockVersion as Timestamp,
      conflictCommitTs: 0n as Timestamp,
      reason: "optimistic",
    },
  );
}

/** A lock that was not free in time. */
export function lockWaitError({ session }: TxnIdentity, lock: LockInfo, why: string): LockWaitTimeoutError {
  const { lockVersion, key } = lock;
  const shown = shortKey(key, session.settings.revealKeys);
  return new LockWaitTimeoutError(
    `Cannot lock key ${shown}: ${why}, it belongs to the transaction that began at ${lockVersion}`,
    { key, lockTs: lockVersion as Timestamp },
  );
}

// SPDX-License-Identifier: Apache-2.0
// What a transactional command fails with, and how TiKV tells it (`extract_key_error` in
// `src/storage/errors.rs`).

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { WaitForEntrySchema } from "../../../gen/deadlock_pb.ts";
import type { KeyErrorSchema, LockInfoSchema, MvccInfoSchema } from "../../../gen/kvrpcpb_pb.ts";
import type { Assertion } from "../../../gen/kvrpcpb_pb.ts";
import { WriteConflict_Reason } from "../../../gen/kvrpcpb_pb.ts";

/** A lock as the protocol shows it. */
export type LockInfoInit = MessageInitShape<typeof LockInfoSchema>;

/** A key error as the protocol shows it. */
export type KeyErrorInit = MessageInitShape<typeof KeyErrorSchema>;

/** One edge of the wait-for graph as the protocol shows it. */
export type WaitForEntryInit = MessageInitShape<typeof WaitForEntrySchema>;

/** What went wrong. Keys are as clients know them. */
export type Fault =
  | { readonly kind: "locked"; readonly lock: LockInfoInit }
  | {
    readonly kind: "write-conflict";
    readonly startTs: bigint;
    readonly conflictStartTs: bigint;
    readonly conflictCommitTs: bigint;
    readonly key: Uint8Array;
    readonly primary: Uint8Array;
    readonly reason: WriteConflict_Reason;
  }
  | { readonly kind: "already-exists"; readonly key: Uint8Array; readonly existingStartTs: bigint }
  | {
    readonly kind: "lock-not-found";
    readonly startTs: bigint;
    readonly commitTs: bigint;
    readonly key: Uint8Array;
    readonly mvcc: MessageInitShape<typeof MvccInfoSchema> | undefined;
  }
  | { readonly kind: "txn-not-found"; readonly startTs: bigint; readonly key: Uint8Array }
  | {
    readonly kind: "deadlock";
    readonly startTs: bigint;
    readonly lockTs: bigint;
    readonly lockKey: Uint8Array;
    readonly keyHash: bigint;
    readonly waitChain: readonly WaitForEntryInit[];
  }
  | {
    readonly kind: "commit-ts-expired";
    readonly startTs: bigint;
    readonly commitTs: bigint;
    readonly key: Uint8Array;
    readonly minCommitTs: bigint;
    readonly mvcc: MessageInitShape<typeof MvccInfoSchema> | undefined;
  }
  | { readonly kind: "commit-ts-too-large"; readonly minCommitTs: bigint }
  | {
    readonly kind: "assertion-failed";
    readonly startTs: bigint;
    readonly key: Uint8Array;
    readonly assertion: Assertion;
    readonly existingStartTs: bigint;
    readonly existingCommitTs: bigint;
  }
  | { readonly kind: "primary-mismatch"; readonly lock: LockInfoInit }
  | {
    readonly kind: "committed";
    readonly startTs: bigint;
    readonly commitTs: bigint;
    readonly key: Uint8Array;
  }
  | {
    readonly kind: "pessimistic-lock-not-found";
    readonly startTs: bigint;
    readonly key: Uint8Array;
    readonly reason: string;
  }
  /** Everything that the protocol has no field for. */
  | { readonly kind: "abort"; readonly debug: string };

/** A command that failed. */
export class MvccError extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.kind === "abort" ? fault.debug : fault.kind);
    this.name = "MvccError";
    this.fault = fault;
  }
}

/** An error of the storage in Rust's debug form, which is what TiKV puts into `abort`. */
export function mvccAbort(variant: string, fields: Readonly<Record<string, DebugValue>>): MvccError {
  return new MvccError({ kind: "abort", debug: txnDebug(`Mvcc(Error(${debugOf(variant, fields)}))`) });
}

/** An error that TiKV has no kind for either. */
export function otherAbort(text: string): MvccError {
  return new MvccError({ kind: "abort", debug: txnDebug(`Mvcc(Error(Other("${text}")))`) });
}

export function invalidTso(startTs: bigint, commitTs: bigint): MvccError {
  const debug = debugOf("InvalidTxnTso", { start_ts: startTs, commit_ts: commitTs });
  return new MvccError({ kind: "abort", debug: txnDebug(debug) });
}

/** The key error of a fault. */
export function keyErrorOf(fault: Fault): KeyErrorInit {
  switch (fault.kind) {
    case "locked":
      return { locked: fault.lock };
    case "write-conflict": {
      const { startTs, conflictStartTs, conflictCommitTs, key, primary, reason } = fault;
      return {
        conflict: { startTs, conflictTs: conflictStartTs, conflictCommitTs, key, primary, reason },
        retryable: mvccDebug("WriteConflict", {
          start_ts: startTs,
          conflict_start_ts: conflictStartTs,
          conflict_commit_ts: conflictCommitTs,
          key,
          primary,
          reason: reasonName(reason),
        }),
      };
    }
    case "already-exists":
      return { alreadyExist: { key: fault.key } };
    case "lock-not-found": {
      const { startTs, commitTs, key, mvcc } = fault;
      return {
        txnLockNotFound: { key },
        retryable: mvccDebug("TxnLockNotFound", {
          start_ts: startTs,
          commit_ts: commitTs,
          key,
          mvcc_info: "None",
        }),
        ...debugInfo(key, mvcc),
      };
    }
    case "txn-not-found":
      return { txnNotFound: { startTs: fault.startTs, primaryKey: fault.key } };
    case "deadlock": {
      const { lockTs, lockKey, keyHash, waitChain } = fault;
      return { deadlock: { lockTs, lockKey, deadlockKeyHash: keyHash, waitChain: [...waitChain] } };
    }
    case "commit-ts-expired": {
      const { startTs, commitTs, key, minCommitTs, mvcc } = fault;
      return {
        commitTsExpired: { startTs, attemptedCommitTs: commitTs, key, minCommitTs },
        ...debugInfo(key, mvcc),
      };
    }
    case "commit-ts-too-large":
      return { commitTsTooLarge: { commitTs: fault.minCommitTs } };
    case "assertion-failed": {
      const { startTs, key, assertion, existingStartTs, existingCommitTs } = fault;
      return { assertionFailed: { startTs, key, assertion, existingStartTs, existingCommitTs } };
    }
    case "primary-mismatch":
      return { primaryMismatch: { lockInfo: fault.lock } };
    case "committed": {
      const { startTs, commitTs, key } = fault;
      return { abort: mvccDebug("Committed", { start_ts: startTs, commit_ts: commitTs, key }) };
    }
    case "pessimistic-lock-not-found": {
      const { startTs, key, reason } = fault;
      return { abort: mvccDebug("PessimisticLockNotFound", { start_ts: startTs, key, reason }) };
    }
    case "abort":
      return { abort: fault.debug };
  }
}

/** The fault of an error that the engine threw; anything else is thrown on. */
export function faultOf(error: unknown): Fault {
  if (error instanceof MvccError) return error.fault;
  throw error;
}

function reasonName(reason: WriteConflict_Reason): string {
  const found = Object.entries(WriteConflict_Reason).find(([, value]) => value === reason);
  return found?.[0] ?? String(reason);
}

type DebugValue = bigint | Uint8Array | string | boolean | undefined;

function mvccDebug(variant: string, fields: Readonly<Record<string, DebugValue>>): string {
  return txnDebug(`Mvcc(Error(${debugOf(variant, fields)}))`);
}

function txnDebug(inner: string): string {
  return `Error(Txn(Error(${inner})))`;
}

function debugOf(variant: string, fields: Readonly<Record<string, DebugValue>>): string {
  const shown = Object.entries(fields).map(([name, value]) => `${name}: ${debugValue(value)}`);
  return `${variant} { ${shown.join(", ")} }`;
}

function debugValue(value: DebugValue): string {
  if (typeof value === "bigint") return `TimeStamp(${value})`;
  if (value instanceof Uint8Array) return `[${[...value].join(", ")}]`;
  return String(value);
}

/** TiKV leaves the values out of what it shows of a key. */
function debugInfo(
  key: Uint8Array,
  mvcc: MessageInitShape<typeof MvccInfoSchema> | undefined,
): Pick<KeyErrorInit, "debugInfo"> {
  return mvcc === undefined ? {} : { debugInfo: { mvccInfo: [{ key, mvcc: { ...mvcc, values: [] } }] } };
}

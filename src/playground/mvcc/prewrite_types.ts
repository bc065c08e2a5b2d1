// SPDX-License-Identifier: Apache-2.0

/** What a prewrite does to a key. */
export type PrewriteOp = "put" | "delete" | "lock" | "shared-lock" | "insert" | "check-not-exists";

/** What a key of a pessimistic transaction must show. */
export type PessimisticAction = "skip" | "pessimistic-check" | "constraint-check";

/** What the client believes about a key. */
export type AssertionKind = "none" | "exist" | "not-exist";

/** One key of a prewrite. */
export interface PrewriteMutation {
  readonly op: PrewriteOp;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly assertion: AssertionKind;
  readonly action: PessimisticAction;
  /** The exact `for_update_ts` that the pessimistic lock must have. */
  readonly expectedForUpdateTs?: bigint | undefined;
}

/** How the transaction is to be committed. */
export type CommitPlan =
  | { readonly kind: "2pc" }
  | { readonly kind: "1pc" | "async"; readonly maxCommitTs: bigint };

/** How the transaction finds conflicts. */
export type TxnMode =
  | { readonly kind: "optimistic"; readonly skipsConstraintCheck: boolean }
  | { readonly kind: "pessimistic"; readonly forUpdateTs: bigint };

/** What all keys of a prewrite have in common. */
export interface PrewriteProperties {
  readonly startTs: bigint;
  readonly mode: TxnMode;
  readonly commit: CommitPlan;
  readonly primary: Uint8Array;
  readonly txnSize: bigint;
  readonly lockTtlMs: bigint;
  readonly minCommitTs: bigint;
  readonly isRetry: boolean;
  readonly assertionLevel: "off" | "fast" | "strict";
  readonly txnSource: bigint;
}

export function isPessimistic({ mode }: PrewriteProperties): boolean {
  return mode.kind === "pessimistic";
}

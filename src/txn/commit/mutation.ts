// SPDX-License-Identifier: Apache-2.0
// What a buffered write becomes in the commit, as a table.

import type { CommitMutation } from "./committer_run.ts";
import { hasFlag, KEY_FLAG, type KeyFlags } from "../buffer/key_flags.ts";
import type { PendingWrite } from "../buffer/pending_write.ts";

/** What is known of a key when its transaction is committed. */
export interface MutationFacts {
  readonly isPessimistic: boolean;
  readonly flags: KeyFlags;
  readonly write: PendingWrite;
  /** The lock that the transaction has, or will have, on the key besides its write. */
  readonly lock: "none" | "exclusive" | "shared";
  /** The caller does not want the write committed. */
  readonly isFiltered: boolean;
}

/**
 * What is done to the key; undefined for nothing.
 *
 * A key that is locked gets a lock in the commit at least, whatever becomes of its write: that releases
 * it, and fails if it was lost. client-go leaves the lock of a delete that is filtered out behind.
 */
export function opOf(facts: MutationFacts): CommitMutation["op"] | undefined {
  const { isPessimistic, flags, write, isFiltered } = facts;
  if (isFiltered || write.kind === "lock-only") return LOCK_OPS[facts.lock];
  const isPresumed = hasFlag(flags, KEY_FLAG.presumeNotExists);
  if (write.kind === "value") return isPresumed ? "insert" : "put";
  // What was inserted here is gone again: that it may be is all there is to find out.
  if (isPresumed && !isPessimistic) return "check-not-exists";
  return hasFlag(flags, KEY_FLAG.newlyInserted) ? LOCK_OPS[facts.lock] : "delete";
}

/** What the flags assert of a key; with both there is nothing that can be asserted. */
export function assertionOf(flags: KeyFlags): CommitMutation["assertion"] {
  const exists = hasFlag(flags, KEY_FLAG.assertExist);
  const isAbsent = hasFlag(flags, KEY_FLAG.assertNotExist);
  if (exists === isAbsent) return "none";
  return exists ? "exists" : "not-exists";
}

/** Whether the prewrite has to find the lock, or checks what no lock has checked. */
export function checkOf({ isPessimistic, flags, lock }: MutationFacts): CommitMutation["check"] {
  if (!isPessimistic) return "none";
  if (lock !== "none") return "lock";
  return hasFlag(flags, KEY_FLAG.needConstraintCheckInPrewrite) ? "constraint" : "none";
}

const LOCK_OPS = {
  "none": undefined,
  "exclusive": "lock",
  "shared": "shared-lock",
} as const satisfies Readonly<Record<MutationFacts["lock"], CommitMutation["op"] | undefined>>;

// SPDX-License-Identifier: Apache-2.0
// Locking as a transaction does it: in an optimistic one that is a note for the commit.

import type { Operation } from "../async/operation.ts";
import { compareBytes } from "../bytes/compare.ts";
import { KeyMap, KeySet } from "../bytes/key_map.ts";
import { TikvError } from "../errors.ts";
import { needsLock } from "./pessimistic/held_locks.ts";
import { hasFlag, KEY_FLAG } from "./buffer/key_flags.ts";
import type { LockedKey, LockTarget } from "./pessimistic/pessimistic_request.ts";
import type { TransactionCore } from "./transaction_core.ts";
import { readMany } from "./transaction_reads.ts";

/** What is locked, and what is to be known of it. */
export interface LockRequest {
  readonly keys: readonly Uint8Array[];
  readonly waitMs: number;
  readonly isShared: boolean;
  readonly wants: "nothing" | "existence" | "values";
  readonly onlyIfExists: boolean;
}

/** What is known of a key that was locked. */
export interface LockedValue {
  readonly exists: boolean;
  /** Undefined when it was not asked for, or there is none. */
  readonly value: Uint8Array | undefined;
}

/** Locks keys, and tells of them what was asked for. The transaction's own writes count. */
export async function lockKeys(
  core: TransactionCore,
  request: LockRequest,
  operation: Operation,
): Promise<KeyMap<LockedValue>> {
  const keys = [...new KeySet(request.keys)].sort(compareBytes);
  return core.settings.isPessimistic
    ? await lockNow(core, { ...request, keys }, operation)
    : await lockLater(core, { ...request, keys }, operation);
}

async function lockLater(
  core: TransactionCore,
  { keys, wants, onlyIfExists }: LockRequest,
  operation: Operation,
): Promise<KeyMap<LockedValue>> {
  const found = wants === "nothing" && !onlyIfExists
    ? new KeyMap<Uint8Array>()
    : await readMany(core, keys, { operation, writes: core.buffer });
  core.assertActive("lock keys");
  const locked = new KeyMap<LockedValue>();
  for (const key of keys) {
    const value = found.get(key);
    if (!onlyIfExists || value !== undefined) core.buffer.updateFlags(key, ["locked"]);
    locked.set(key, { exists: value !== undefined, value });
  }
  return locked;
}

async function lockNow(
  core: TransactionCore,
  { keys, waitMs, isShared, wants, onlyIfExists }: LockRequest,
  operation: Operation,
): Promise<KeyMap<LockedValue>> {
  const { buffer, locks, statement } = core;
  const targets: LockTarget[] = [];
  for (const key of keys) {
    if (!needsLock(locks.heldLock(key), isShared)) continue;
    if (isShared && isWritten(core, key)) {
      throw new TikvError("misuse", "Cannot lock the key in share mode: the transaction has written it");
    }
    // Room for what is to be noted of it is made sure of while there is no lock yet.
    if (!onlyIfExists) buffer.updateFlags(key, []);
    targets.push({ key, shouldNotExist: isInsert(core, key) });
  }
  const values = wants === "values" || onlyIfExists;
  // What is not there is not locked: that it was not there is as of a time then.
  if (onlyIfExists) await statement?.source(operation);
  const wishes = {
    forUpdateTs: statement?.readTs,
    waitMs,
    isShared,
    returnsValues: values,
    // What a later insert has to know; a lock that is held is not asked for again.
    checksExistence: !values,
    locksOnlyIfExists: onlyIfExists,
    isFair: core.settings.fairLocking,
  };
  let locked: readonly LockedKey[];
  try {
    locked = await locks.lock(targets, wishes, operation);
  } catch (error) {
    statement?.onLockFailure(error, targets);
    throw error;
  }
  statement?.onLocked(locked);
  const result = new KeyMap<LockedValue>();
  for (const { target, exists = false, value } of locked) result.set(target.key, { exists, value });
  // Those that were locked before. Nobody has written them since.
  const known = wants === "nothing" ? [] : keys.filter((key) => !result.has(key));
  if (known.length > 0) {
    const found = await readMany(core, known, { operation, writes: core.buffer, ts: locks.forUpdateTs });
    for (const key of known) {
      const value = found.get(key);
      result.set(key, { exists: value !== undefined, value });
    }
  }
  overlay(core, result);
  return result;
}

/** What the transaction has written itself is what it sees. */
function overlay({ buffer }: TransactionCore, result: KeyMap<LockedValue>): void {
  for (const key of result.keys()) {
    const pending = buffer.get(key);
    if (pending?.kind === "value") result.set(key, { exists: true, value: pending.value });
    else if (pending?.kind === "tombstone") result.set(key, { exists: false, value: undefined });
  }
}

function isWritten({ buffer }: TransactionCore, key: Uint8Array): boolean {
  const pending = buffer.get(key);
  return pending !== undefined && pending.kind !== "lock-only";
}

function isInsert({ buffer }: TransactionCore, key: Uint8Array): boolean {
  return hasFlag(buffer.flags(key) ?? 0, KEY_FLAG.presumeNotExists);
}

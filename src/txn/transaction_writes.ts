// SPDX-License-Identifier: Apache-2.0
// Writes as a transaction takes them: what contradicts an earlier one of its own is refused at once.

import { shortKey } from "../bytes/hex.ts";
import { TikvError } from "../errors.ts";
import { KeyExistsError } from "../txn_errors.ts";
import { type FlagChange, hasFlag, KEY_FLAG } from "./buffer/key_flags.ts";
import type { TransactionCore } from "./transaction_core.ts";

/** Writes a value over any that is there. An insert that came before stays one, with this value. */
export function putKey(core: TransactionCore, key: Uint8Array, value: Uint8Array): void {
  core.assertActive("put");
  core.locks.assertExclusive(key);
  core.buffer.put(key, value);
}

/** Removes a key. After an insert that leaves the check that the key does not exist, and no write. */
export function deleteKey(core: TransactionCore, key: Uint8Array): void {
  core.assertActive("delete");
  core.locks.assertExclusive(key);
  core.buffer.delete(key);
}

/** What is inserted. */
export interface Insert {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Leaves the check of a key that is not locked to the prewrite. */
  readonly isLazy: boolean;
}

/** Writes a value for a key that must not exist, here nor in the cluster. */
export function insertKey(core: TransactionCore, { key, value, isLazy }: Insert): void {
  core.assertActive("insert");
  core.locks.assertExclusive(key);
  const { buffer } = core;
  const pending = buffer.get(key);
  if (pending?.kind === "value") {
    throw new KeyExistsError("Cannot insert the key: this transaction has written it already", { key });
  }
  const flags = buffer.flags(key) ?? 0;
  // Over its own delete it is a put: what the cluster has of the key is gone by then.
  const isOverDelete = pending?.kind === "tombstone" && !hasFlag(flags, KEY_FLAG.presumeNotExists);
  if (isOverDelete) return buffer.put(key, value);
  if (hasFlag(flags, KEY_FLAG.assertExist)) throw contradiction(core, "insert", key, "exists");
  const held = core.locks.heldLock(key);
  if (held?.exists === true) {
    throw new KeyExistsError("Cannot insert the key: it exists, and is locked by this transaction", { key });
  }
  const changes: FlagChange[] = ["presume-not-exists", "newly-inserted"];
  if (isLazy && held === undefined) changes.push("need-constraint-check");
  buffer.put(key, value, changes);
}

/** Notes that a key exists before the transaction, or does not. */
export function assertKey(core: TransactionCore, key: Uint8Array, assertion: "exists" | "not-exists"): void {
  const name = assertion === "exists" ? "assertExists" : "assertNotExists";
  core.assertActive(name);
  const flags = core.buffer.flags(key) ?? 0;
  if (assertion === "not-exists") {
    if (hasFlag(flags, KEY_FLAG.assertExist)) throw contradiction(core, name, key, "exists");
    return core.buffer.updateFlags(key, ["assert-not-exist"]);
  }
  if (hasFlag(flags, KEY_FLAG.assertNotExist) || hasFlag(flags, KEY_FLAG.presumeNotExists)) {
    throw contradiction(core, name, key, "does not exist");
  }
  core.buffer.updateFlags(key, ["assert-exist"]);
}

/** One of the two cannot hold, so that the commit would fail whatever there is. */
function contradiction(
  { txn }: TransactionCore,
  call: string,
  key: Uint8Array,
  said: string,
): TikvError<"misuse"> {
  const shown = shortKey(key, txn.session.settings.revealKeys);
  return new TikvError("misuse", `Cannot ${call} key ${shown}: this transaction has said that it ${said}`);
}

// SPDX-License-Identifier: Apache-2.0

/** What is known of a key besides its value, one bit each; see {@linkcode KEY_FLAG}. */
export type KeyFlags = number;

/** The bits of {@linkcode KeyFlags}. */
export const KEY_FLAG = {
  /** An insert: the key must not exist. */
  presumeNotExists: 1 << 0,
  /** An older presumption that was unmarked and marked again inside a stage. */
  previousPresumeNotExists: 1 << 1,
  /** A lock call on a key that is locked already has to look at what is known of its existence. */
  needCheckExists: 1 << 2,
  /** The transaction holds a pessimistic lock on the key. */
  locked: 1 << 3,
  /** That lock is shared. */
  lockedInShareMode: 1 << 4,
  /** The key had a value when it was locked. */
  lockedValueExists: 1 << 5,
  /** The caller's note that a lock is still to be taken. */
  needLocked: 1 << 6,
  /** In the prewrite, but not in the commit. */
  prewriteOnly: 1 << 7,
  /** The caller's note that the commit has nothing to do for the key. */
  ignoredInCommit: 1 << 8,
  /** The caller's note that the value may be read. */
  readable: 1 << 9,
  /** This transaction made the key, so deleting it leaves nothing to delete. */
  newlyInserted: 1 << 10,
  /** The prewrite asserts that the key exists. With `assertNotExist`: the caller cannot tell. */
  assertExist: 1 << 11,
  /** The prewrite asserts that the key does not exist. */
  assertNotExist: 1 << 12,
  /** The prewrite has to check what no lock has checked so far. */
  needConstraintCheckInPrewrite: 1 << 13,
} as const satisfies Readonly<Record<string, KeyFlags>>;

/**
 * The flags that outlive a stage that is undone: the locks are held in the cluster, whatever
 * happens to the values here.
 */
export const PERSISTENT_FLAGS: KeyFlags = KEY_FLAG.locked | KEY_FLAG.lockedInShareMode |
  KEY_FLAG.lockedValueExists | KEY_FLAG.needConstraintCheckInPrewrite;

/** One change to the flags of a key; {@linkcode applyFlagChanges} has what each does. */
export type FlagChange =
  | "presume-not-exists"
  | "unmark-presume-not-exists"
  | "previous-presume-not-exists"
  | "exists-checked"
  | "locked"
  | "unlocked"
  | "locked-in-share-mode"
  | "not-locked-in-share-mode"
  | "locked-value-exists"
  | "locked-value-missing"
  | "need-locked"
  | "no-need-locked"
  | "prewrite-only"
  | "ignored-in-commit"
  | "readable"
  | "newly-inserted"
  | "assert-exist"
  | "assert-not-exist"
  | "assert-unknown"
  | "assert-none"
  | "need-constraint-check"
  | "no-constraint-check";

/** The flags after the changes, made in order. */
export function applyFlagChanges(flags: KeyFlags, changes: readonly FlagChange[]): KeyFlags {
  let changed = flags;
  for (const change of changes) {
    const { set = 0, clear = 0 }: Bits = CHANGES[change];
    changed = (changed & ~clear) | set;
  }
  return changed;
}

/**
 * The flags of a key that goes back to what it was `then`.
 *
 * What is held in the cluster stays; the rest goes back with the value. client-go never takes flags
 * back, so that a delete is lost when an insert after it, which set `newlyInserted`, is undone.
 */
export function flagsAfterUndo(now: KeyFlags, then: KeyFlags, hadValue: boolean): KeyFlags {
  const kept = (now & PERSISTENT_FLAGS) | (then & ~PERSISTENT_FLAGS);
  // The check that the older value owed is owed again, unless a lock has made it since.
  if (!hadValue || hasFlag(now, KEY_FLAG.locked)) return kept;
  return kept | (then & KEY_FLAG.needConstraintCheckInPrewrite);
}

/** Tells whether all bits of `flag` are there. */
export function hasFlag(flags: KeyFlags, flag: KeyFlags): boolean {
  return (flags & flag) === flag;
}

interface Bits {
  readonly set?: KeyFlags;
  readonly clear?: KeyFlags;
}

const ASSERTIONS: KeyFlags = KEY_FLAG.assertExist | KEY_FLAG.assertNotExist;
const PRESUMPTIONS: KeyFlags = KEY_FLAG.presumeNotExists | KEY_FLAG.needCheckExists;

const CHANGES = {
  "presume-not-exists": { set: PRESUMPTIONS },
  "unmark-presume-not-exists": { clear: PRESUMPTIONS | KEY_FLAG.previousPresumeNotExists },
  "previous-presume-not-exists": { set: KEY_FLAG.previousPresumeNotExists },
  "exists-checked": { clear: KEY_FLAG.needCheckExists },
  "locked": { set: KEY_FLAG.locked },
  "unlocked": { clear: KEY_FLAG.locked },
  "locked-in-share-mode": { set: KEY_FLAG.lockedInShareMode },
  "not-locked-in-share-mode": { clear: KEY_FLAG.lockedInShareMode },
  // What the lock found out needs no second check in the prewrite.
  "locked-value-exists": { set: KEY_FLAG.lockedValueExists, clear: KEY_FLAG.needConstraintCheckInPrewrite },
  "locked-value-missing": { clear: KEY_FLAG.lockedValueExists | KEY_FLAG.needConstraintCheckInPrewrite },
  "need-locked": { set: KEY_FLAG.needLocked },
  "no-need-locked": { clear: KEY_FLAG.needLocked },
  "prewrite-only": { set: KEY_FLAG.prewriteOnly },
  "ignored-in-commit": { set: KEY_FLAG.ignoredInCommit },
  "readable": { set: KEY_FLAG.readable },
  "newly-inserted": { set: KEY_FLAG.newlyInserted },
  "assert-exist": { set: KEY_FLAG.assertExist, clear: KEY_FLAG.assertNotExist },
  "assert-not-exist": { set: KEY_FLAG.assertNotExist, clear: KEY_FLAG.assertExist },
  "assert-unknown": { set: ASSERTIONS },
  "assert-none": { clear: ASSERTIONS },
  "need-constraint-check": { set: KEY_FLAG.needConstraintCheckInPrewrite },
  "no-constraint-check": { clear: KEY_FLAG.needConstraintCheckInPrewrite },
} as const satisfies Readonly<Record<FlagChange, Bits>>;

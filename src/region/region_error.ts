// SPDX-License-Identifier: Apache-2.0
// What the errors of a region mean, as data. Nothing else in the library interprets them.

import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { BackoffName } from "../async/backoff.ts";
import type { ErrorKind } from "../errors.ts";
import type { InvalidReason } from "./region.ts";

/** The errors that a store answers with instead of a result, told apart by what is done about them. */
export type RegionErrorName =
  | "undeterminedWrite"
  | "undeterminedRead"
  | "notLeaderHinted"
  | "notLeaderHintUnreachable"
  | "notLeaderHintUnknown"
  | "notLeader"
  | "diskFull"
  | "recoveryInProgress"
  | "isWitness"
  | "flashbackOnReplica"
  | "flashbackInProgress"
  | "flashbackNotPrepared"
  | "regionNotFoundOnReplica"
  | "regionNotFound"
  | "keyNotInRegion"
  | "epochNotMatchEmpty"
  | "epochNotMatchBehind"
  | "epochNotMatch"
  | "bucketVersionNotMatch"
  | "serverIsBusyDeadline"
  | "serverIsBusyForRead"
  | "serverIsBusyEstimated"
  | "serverIsBusy"
  | "staleCommand"
  | "storeNotMatch"
  | "raftEntryTooLarge"
  | "maxTimestampNotSynced"
  | "regionNotInitialized"
  | "readIndexNotReady"
  | "proposalInMergingMode"
  | "dataIsNotReady"
  | "deadlineExceeded"
  | "mismatchPeerId"
  | "invalidMaxTsUpdate"
  | "unknown";

/** What has to be known besides the error to tell the rows apart. */
export interface RegionErrorFacts {
  readonly isWrite: boolean;
  /** A transactional read, which may be sent to a follower after a replica took too long. */
  readonly isTimedRead: boolean;
  /** The request was one that a replica may answer from its own data. */
  readonly isReplicaRead: boolean;
  /** The request said for how long it is willing to wait. */
  readonly hasBusyThreshold: boolean;
  /** No request went to the leader so far. */
  readonly isLeaderUntried: boolean;
  /** The peer that a not-leader error names as the leader. */
  readonly hint: "none" | "usable" | "unreachable" | "unknown";
  /** What an epoch-not-match error tells of regions. */
  readonly epochs: "none" | "behind" | "newer";
}

/** What is remembered, apart from giving the region up. */
export type Effect =
  | "none"
  /** The replica is not asked again in this call. */
  | "flag-not-leader"
  /** As before, and the hinted peer is the leader from now on. */
  | "switch-leader"
  /** The leader may be asked although the region is given up. */
  | "leader-once"
  /** As before, and reads of followers are over. */
  | "leader-mode"
  /** The regions that the error carries are cached. */
  | "adopt-regions"
  | "adopt-buckets"
  /** The store said for how long it will be busy. */
  | "record-load"
  /** As before, and others are asked first by this call. */
  | "flag-busy"
  /** The second time in a row the leader may be one that has lost its group without knowing. */
  | "count-busy"
  /** The connections to the address are dropped, and PD is asked where the store is. */
  | "forget-address"
  /** The replica does not have all of what the read wants to see: it has to ask its leader the next time. */
  | "flag-behind"
  /** The replica took too long and is passed over; a follower may answer. */
  | "flag-deadline"
  | "warn";

/** One row of the table. */
export interface RegionErrorRow {
  readonly is: (error: RegionError, facts: RegionErrorFacts) => boolean;
  readonly effect: Effect;
  /** The region is given up for this reason. */
  readonly invalidates?: InvalidReason;
  /** What is waited for before the next attempt. */
  readonly backoff?: BackoffName;
  /** The wait is owed by the replica: another one can be asked at once. */
  readonly isOwed?: true;
  /**
   * `same`: this replica again; `next-replica`: the one that the selector picks; `relocate`: the
   * region has to be looked up again; `fatal`: trying again does not help.
   */
  readonly next: "same" | "next-replica" | "relocate" | "fatal";
  /** The error told where the keys are now: they can be looked up without a wait (BO-009). */
  readonly isSettled?: true;
  /** What the caller gets when this ends the call. */
  readonly kind: ErrorKind;
}

/** Finds the row of an error. */
export function classify(error: RegionError, facts: RegionErrorFacts): RegionErrorName {
  for (const name of NAMES) if (REGION_ERRORS[name].is(error, facts)) return name;
  return "unknown";
}

/**
 * The rows, in the order in which they are tried: client-go's `onRegionError`
 * (`internal/locate/region_request.go` at b75f6efa), except where a row says otherwise.
 */
export const REGION_ERRORS = {
  undeterminedWrite: {
    is: (e, f) => e.undeterminedResult !== undefined && f.isWrite,
    effect: "none",
    next: "fatal",
    kind: "undetermined",
  },
  undeterminedRead: {
    is: (e) => e.undeterminedResult !== undefined,
    effect: "none",
    next: "relocate",
    kind: "region-unavailable",
  },
  notLeaderHinted: {
    is: (e, f) => e.notLeader !== undefined && f.hint === "usable",
    effect: "switch-leader",
    next: "next-replica",
    kind: "region-unavailable",
  },
  // A group that hibernates elects a new leader only when a follower is asked: go there instead.
  notLeaderHintUnreachable: {
    is: (e, f) => e.notLeader !== undefined && f.hint === "unreachable",
    effect: "flag-not-leader",
    next: "next-replica",
    kind: "region-unavailable",
  },
  notLeaderHintUnknown: {
    is: (e, f) => e.notLeader !== undefined && f.hint === "unknown",
    effect: "flag-not-leader",
    invalidates: "store-not-found",
    next: "relocate",
    kind: "region-unavailable",
  },
  notLeader: {
    is: (e) => e.notLeader !== undefined,
    effect: "flag-not-leader",
    backoff: "regionScheduling",
    next: "next-replica",
    kind: "region-unavailable",
  },
  // client-go hands the region error on when the time is up; here it is an error like others.
  diskFull: {
    is: (e) => e.diskFull !== undefined,
    effect: "none",
    backoff: "tikvDiskFull",
    next: "same",
    kind: "server-busy",
  },
  recoveryInProgress: {
    is: (e) => e.RecoveryInProgress !== undefined,
    effect: "none",
    invalidates: "other",
    backoff: "regionRecoveryInProgress",
    next: "relocate",
    kind: "region-unavailable",
  },
  isWitness: {
    is: (e) => e.isWitness !== undefined,
    effect: "none",
    invalidates: "other",
    backoff: "isWitness",
    next: "relocate",
    kind: "region-unavailable",
  },
  flashbackOnReplica: {
    is: (e, f) => e.FlashbackInProgress !== undefined && f.isReplicaRead,
    effect: "leader-mode",
    next: "next-replica",
    kind: "region-unavailable",
  },
  flashbackInProgress: {
    is: (e) => e.FlashbackInProgress !== undefined,
    effect: "none",
    next: "fatal",
    kind: "region-unavailable",
  },
  flashbackNotPrepared: {
    is: (e) => e.FlashbackNotPrepared !== undefined,
    effect: "none",
    next: "fatal",
    kind: "server",
  },
  regionNotFoundOnReplica: {
    is: (e, f) => e.regionNotFound !== undefined && f.isLeaderUntried,
    effect: "leader-once",
    invalidates: "region-not-found",
    next: "next-replica",
    kind: "region-unavailable",
  },
  regionNotFound: {
    is: (e) => e.regionNotFound !== undefined,
    effect: "none",
    invalidates: "region-not-found",
    next: "relocate",
    kind: "region-unavailable",
  },
  keyNotInRegion: {
    is: (e) => e.keyNotInRegion !== undefined,
    effect: "warn",
    invalidates: "other",
    next: "relocate",
    kind: "region-unavailable",
  },
  epochNotMatchEmpty: {
    is: (e, f) => e.epochNotMatch !== undefined && f.epochs === "none",
    effect: "none",
    invalidates: "epoch-not-match",
    next: "relocate",
    kind: "region-unavailable",
  },
  epochNotMatchBehind: {
    is: (e, f) => e.epochNotMatch !== undefined && f.epochs === "behind",
    effect: "none",
    backoff: "regionMiss",
    next: "same",
    kind: "region-unavailable",
  },
  epochNotMatch: {
    is: (e) => e.epochNotMatch !== undefined,
    effect: "adopt-regions",
    next: "relocate",
    isSettled: true,
    kind: "region-unavailable",
  },
  bucketVersionNotMatch: {
    is: (e) => e.bucketVersionNotMatch !== undefined,
    effect: "adopt-buckets",
    next: "relocate",
    kind: "region-unavailable",
  },
  serverIsBusyDeadline: {
    is: (e, f) => e.serverIsBusy !== undefined && f.isTimedRead && says(e.serverIsBusy.reason, TEXTS.busy),
    effect: "flag-deadline",
    next: "next-replica",
    kind: "server-busy",
  },
  // The read itself asked to be refused: whoever is asked next, or the same without that limit, owes
  // nothing. client-go waits for two seconds.
  serverIsBusyForRead: {
    is: (e, f) => e.serverIsBusy !== undefined && e.serverIsBusy.estimatedWaitMs > 0 && f.hasBusyThreshold,
    effect: "flag-busy",
    next: "next-replica",
    kind: "server-busy",
  },
  serverIsBusyEstimated: {
    is: (e) => e.serverIsBusy !== undefined && e.serverIsBusy.estimatedWaitMs > 0,
    effect: "record-load",
    backoff: "tikvServerBusy",
    isOwed: true,
    next: "next-replica",
    kind: "server-busy",
  },
  serverIsBusy: {
    is: (e) => e.serverIsBusy !== undefined,
    effect: "count-busy",
    backoff: "tikvServerBusy",
    isOwed: true,
    next: "next-replica",
    kind: "server-busy",
  },
  // client-go does not wait here and asks the same leader up to ten times at once.
  staleCommand: {
    is: (e) => e.staleCommand !== undefined,
    effect: "none",
    backoff: "staleCommand",
    next: "next-replica",
    kind: "region-unavailable",
  },
  storeNotMatch: {
    is: (e) => e.storeNotMatch !== undefined,
    effect: "forget-address",
    invalidates: "store-not-found",
    next: "relocate",
    kind: "region-unavailable",
  },
  raftEntryTooLarge: {
    is: (e) => e.raftEntryTooLarge !== undefined,
    effect: "none",
    next: "fatal",
    kind: "too-large",
  },
  maxTimestampNotSynced: {
    is: (e) => e.maxTimestampNotSynced !== undefined,
    effect: "none",
    backoff: "maxTsNotSynced",
    next: "same",
    kind: "region-unavailable",
  },
  regionNotInitialized: {
    is: (e) => e.regionNotInitialized !== undefined,
    effect: "none",
    backoff: "regionNotInitialized",
    next: "same",
    kind: "region-unavailable",
  },
  readIndexNotReady: {
    is: (e) => e.readIndexNotReady !== undefined,
    effect: "none",
    backoff: "regionScheduling",
    next: "same",
    kind: "region-unavailable",
  },
  proposalInMergingMode: {
    is: (e) => e.proposalInMergingMode !== undefined,
    effect: "none",
    backoff: "regionScheduling",
    next: "same",
    kind: "region-unavailable",
  },
  dataIsNotReady: {
    is: (e) => e.dataIsNotReady !== undefined,
    effect: "flag-behind",
    next: "next-replica",
    kind: "region-unavailable",
  },
  deadlineExceeded: {
    is: (e, f) => f.isTimedRead && says(e.message, TEXTS.deadline),
    effect: "flag-deadline",
    next: "next-replica",
    kind: "timeout",
  },
  mismatchPeerId: {
    is: (e) => e.mismatchPeerId !== undefined,
    effect: "none",
    invalidates: "other",
    next: "relocate",
    kind: "region-unavailable",
  },
  invalidMaxTsUpdate: {
    is: (e) => says(e.message, TEXTS.maxTs),
    effect: "none",
    next: "fatal",
    kind: "server",
  },
  unknown: {
    is: () => true,
    effect: "none",
    next: "next-replica",
    kind: "region-unavailable",
  },
} satisfies Record<RegionErrorName, RegionErrorRow> as Readonly<Record<RegionErrorName, RegionErrorRow>>;

/** Texts of errors for which TiKV has no field (`client-go`, `isDeadlineExceeded`, `isInvalidMaxTsUpdate`). */
const TEXTS = {
  busy: "deadline is exceeded",
  deadline: "Deadline is exceeded",
  maxTs: "invalid max_ts update",
};

function says(text: string, words: string): boolean {
  return text.includes(words);
}

const NAMES = Object.keys(REGION_ERRORS) as RegionErrorName[];

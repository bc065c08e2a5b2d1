// SPDX-License-Identifier: Apache-2.0
// The hot messages as plain objects: named and typed as the generated ones, without their context.
// In requests a field that is absent has its default.

import type { Error as RegionError } from "../../../gen/errorpb_pb.ts";
import type {
  Assertion,
  AssertionLevel,
  CommitRole,
  KeyError,
  Op,
  PessimisticLockKeyResultType,
  PessimisticLockWakeUpMode,
  PrewriteRequest_PessimisticAction,
} from "../../../gen/kvrpcpb_pb.ts";

/** A pair in a request. */
export interface KvPairBody {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A pair in a reply. */
export interface KvPairReply {
  error: KeyError | undefined;
  key: Uint8Array;
  value: Uint8Array;
  commitTs: bigint;
}

/** What every reply of a region can carry instead of its answer. */
export interface RegionReply {
  regionError: RegionError | undefined;
}

/** A raw write's reply. */
export interface RawReply extends RegionReply {
  error: string;
}

/** A reply with measurements; `execDetailsOf()` in `wire_txn.ts` decodes them when they are wanted. */
export interface DetailedReply extends RegionReply {
  execDetailsV2Bytes: Uint8Array | undefined;
}

export interface RawGetBody {
  readonly key: Uint8Array;
  readonly cf?: string | undefined;
}

export interface RawGetReply extends RawReply {
  value: Uint8Array;
  notFound: boolean;
}

export interface RawPutBody {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly cf?: string | undefined;
  readonly ttl?: bigint | undefined;
  readonly forCas?: boolean | undefined;
}

export interface RawDeleteBody {
  readonly key: Uint8Array;
  readonly cf?: string | undefined;
  readonly forCas?: boolean | undefined;
}

export interface RawBatchGetBody {
  readonly keys: readonly Uint8Array[];
  readonly cf?: string | undefined;
}

export interface RawBatchGetReply extends RegionReply {
  pairs: KvPairReply[];
}

export interface RawBatchPutBody {
  readonly pairs: readonly KvPairBody[];
  readonly cf?: string | undefined;
  readonly ttl?: bigint | undefined;
  readonly forCas?: boolean | undefined;
  readonly ttls?: readonly bigint[] | undefined;
}

export interface RawBatchDeleteBody {
  readonly keys: readonly Uint8Array[];
  readonly cf?: string | undefined;
  readonly forCas?: boolean | undefined;
}

export interface RawScanBody {
  readonly startKey: Uint8Array;
  readonly limit: number;
  readonly keyOnly?: boolean | undefined;
  readonly cf?: string | undefined;
  readonly reverse?: boolean | undefined;
  readonly endKey?: Uint8Array | undefined;
}

export interface RawScanReply extends RegionReply {
  kvs: KvPairReply[];
}

export interface GetBody {
  readonly key: Uint8Array;
  readonly version: bigint;
  readonly needCommitTs?: boolean | undefined;
}

export interface GetReply extends DetailedReply {
  error: KeyError | undefined;
  value: Uint8Array;
  notFound: boolean;
  commitTs: bigint;
}

export interface BatchGetBody {
  readonly keys: readonly Uint8Array[];
  readonly version: bigint;
  readonly needCommitTs?: boolean | undefined;
}

export interface BatchGetReply extends DetailedReply {
  pairs: KvPairReply[];
  error: KeyError | undefined;
}

export interface ScanBody {
  readonly startKey: Uint8Array;
  readonly limit: number;
  readonly version: bigint;
  readonly keyOnly?: boolean | undefined;
  readonly reverse?: boolean | undefined;
  readonly endKey?: Uint8Array | undefined;
  readonly sampleStep?: number | undefined;
}

export interface ScanReply extends RegionReply {
  pairs: KvPairReply[];
  error: KeyError | undefined;
}

export interface MutationBody {
  readonly op: Op;
  readonly key: Uint8Array;
  readonly value?: Uint8Array | undefined;
  readonly assertion?: Assertion | undefined;
}

export interface ForUpdateTsConstraintBody {
  readonly index: number;
  readonly expectedForUpdateTs: bigint;
}

export interface PrewriteBody {
  readonly mutations: readonly MutationBody[];
  readonly primaryLock: Uint8Array;
  readonly startVersion: bigint;
  readonly lockTtl?: bigint | undefined;
  readonly skipConstraintCheck?: boolean | undefined;
  readonly pessimisticActions?: readonly PrewriteRequest_PessimisticAction[] | undefined;
  readonly txnSize?: bigint | undefined;
  readonly forUpdateTs?: bigint | undefined;
  readonly minCommitTs?: bigint | undefined;
  readonly useAsyncCommit?: boolean | undefined;
  readonly secondaries?: readonly Uint8Array[] | undefined;
  readonly tryOnePc?: boolean | undefined;
  readonly maxCommitTs?: bigint | undefined;
  readonly assertionLevel?: AssertionLevel | undefined;
  readonly forUpdateTsConstraints?: readonly ForUpdateTsConstraintBody[] | undefined;
  readonly txnFileChunks?: readonly bigint[] | undefined;
}

export interface PrewriteReply extends DetailedReply {
  errors: KeyError[];
  minCommitTs: bigint;
  onePcCommitTs: bigint;
}

export interface CommitBody {
  readonly startVersion: bigint;
  readonly keys: readonly Uint8Array[];
  readonly commitVersion: bigint;
  readonly commitRole?: CommitRole | undefined;
  readonly primaryKey?: Uint8Array | undefined;
  readonly useAsyncCommit?: boolean | undefined;
  readonly isTxnFile?: boolean | undefined;
}

export interface CommitReply extends DetailedReply {
  error: KeyError | undefined;
  commitVersion: bigint;
}

export interface PessimisticLockBody {
  readonly mutations: readonly MutationBody[];
  readonly primaryLock: Uint8Array;
  readonly startVersion: bigint;
  readonly lockTtl?: bigint | undefined;
  readonly forUpdateTs?: bigint | undefined;
  readonly isFirstLock?: boolean | undefined;
  readonly waitTimeout?: bigint | undefined;
  readonly force?: boolean | undefined;
  readonly returnValues?: boolean | undefined;
  readonly minCommitTs?: bigint | undefined;
  readonly checkExistence?: boolean | undefined;
  readonly lockOnlyIfExists?: boolean | undefined;
  readonly wakeUpMode?: PessimisticLockWakeUpMode | undefined;
}

export interface PessimisticLockKeyResultReply {
  type: PessimisticLockKeyResultType;
  value: Uint8Array;
  existence: boolean;
  lockedWithConflictTs: bigint;
  skipResolvingLock: boolean;
}

export interface PessimisticLockReply extends DetailedReply {
  errors: KeyError[];
  commitTs: bigint;
  value: Uint8Array;
  values: Uint8Array[];
  notFounds: boolean[];
  results: PessimisticLockKeyResultReply[];
}

// SPDX-License-Identifier: Apache-2.0

/** The sizes at which a commit goes another way. Tests make them small. */
export interface CommitLimits {
  /** Bytes after which a request is full; only its last key may reach beyond them. */
  readonly batchBytes: number;
  /** Keys of an async commit: its primary lists all of them. */
  readonly asyncMaxKeys: number;
  /** Bytes of all of those keys. */
  readonly asyncMaxKeyBytes: number;
  /** How far ahead of the present a store may choose the timestamp of a commit, in milliseconds. */
  readonly safeWindowMs: number;
  /** Keys in one region from which on it is split before it is written to. */
  readonly preSplitKeys: number;
  /** Bytes of keys and values between two of those splits. */
  readonly preSplitBytes: number;
  /** Bytes of a transaction that takes so long to commit that its primary is kept alive meanwhile. */
  readonly keepAliveBytes: number;
}

/** The values of client-go (`config/client.go`, `kv/kv.go` and `txnkv/transaction/2pc.go`). */
export const COMMIT_LIMITS: CommitLimits = Object.freeze({
  batchBytes: 16 * 1024,
  asyncMaxKeys: 256,
  asyncMaxKeyBytes: 4 * 1024,
  safeWindowMs: 2_000,
  preSplitKeys: 100_000,
  preSplitBytes: 32 * 1024 * 1024,
  keepAliveBytes: 32 * 1024 * 1024,
});

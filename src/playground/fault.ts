// SPDX-License-Identifier: Apache-2.0

import type { FaultEffect, FaultTarget, RegionErrorInit } from "./faults.ts";

const GRPC_UNAVAILABLE = 14;

/** What a call can meet. Each function makes an effect for `cluster.faults.add()`. */
export const fault = {
  /** The call arrives later. */
  delay: (ms: number): FaultEffect => ({ type: "delay", ms }),

  /** The request is lost: it is neither executed nor answered. */
  dropRequest: (): FaultEffect => ({ type: "drop-request" }),

  /** The request is executed, its answer is lost. */
  dropReply: (): FaultEffect => ({ type: "drop-reply" }),

  /** The connection breaks. The request was not executed unless `isExecuted`. */
  cutStream: (options: { readonly isExecuted?: boolean } = {}): FaultEffect => ({
    type: "cut",
    isExecuted: options.isExecuted ?? false,
  }),

  /** The request is executed twice; on a batch stream it is also answered twice. */
  duplicate: (): FaultEffect => ({ type: "duplicate" }),

  /** The call ends with a gRPC status. A command of a batch ends its whole stream with it. */
  grpcStatus: (
    code: number = GRPC_UNAVAILABLE,
    message: string = "injected fault",
    options: { readonly isExecuted?: boolean } = {},
  ): FaultEffect => ({ type: "status", code, message, isExecuted: options.isExecuted ?? false }),

  /** The answer cannot be decoded. */
  corrupt: (): FaultEffect => ({ type: "corrupt" }),

  /** The answer is at least this large: unknown fields are added to it. */
  pad: (bytes: number): FaultEffect => ({ type: "pad", bytes }),

  /** The answer to a command of a batch carries an id that nobody asked for. */
  unknownId: (): FaultEffect => ({ type: "unknown-id" }),

  /** The command fails with this text in `error`, as TiKV does for what has no code. */
  requestError: (message: string): FaultEffect => ({ type: "request-error", message }),

  /** PD answers with an error in the header; `code` is a `pdpb.ErrorType`. */
  pdError: (code: number, message: string = "injected fault"): FaultEffect => ({
    type: "pd-error",
    code,
    message,
  }),

  /** The store answers with this region error, whatever it is. */
  regionError: (error: RegionErrorInit): FaultEffect => ({ type: "region-error", error }),

  /** `epoch_not_match`; without regions it only says that the epoch is wrong. */
  epochNotMatch: (
    currentRegions: NonNullable<NonNullable<RegionErrorInit["epochNotMatch"]>["currentRegions"]> = [],
  ): FaultEffect => regionError("epoch not match", () => ({ epochNotMatch: { currentRegions } })),

  /** `not_leader`, with the peer that leads instead if given. */
  notLeader: (leader?: { readonly id: bigint; readonly storeId: bigint }): FaultEffect =>
    regionError("peer is not leader", ({ regionId }) => ({
      notLeader: leader === undefined ? { regionId: regionId ?? 0n } : { regionId: regionId ?? 0n, leader },
    })),

  regionNotFound: (): FaultEffect =>
    regionError("region not found", ({ regionId }) => ({ regionNotFound: { regionId: regionId ?? 0n } })),

  keyNotInRegion: (): FaultEffect =>
    regionError("key is not in region", ({ regionId, keys }) => ({
      keyNotInRegion: { regionId: regionId ?? 0n, key: keys[0] ?? new Uint8Array(0) },
    })),

  serverIsBusy: (
    options: { readonly reason?: string; readonly estimatedWaitMs?: number; readonly backoffMs?: bigint } =
      {},
  ): FaultEffect =>
    regionError("server is busy", () => ({
      serverIsBusy: {
        reason: options.reason ?? "injected fault",
        estimatedWaitMs: options.estimatedWaitMs ?? 0,
        backoffMs: options.backoffMs ?? 0n,
      },
    })),

  staleCommand: (): FaultEffect => regionError("stale command", () => ({ staleCommand: {} })),

  storeNotMatch: (actualStoreId: bigint = 0n): FaultEffect =>
    regionError("store not match", ({ storeId }) => ({
      storeNotMatch: { requestStoreId: storeId ?? 0n, actualStoreId },
    })),

  raftEntryTooLarge: (entrySize: bigint = 9_000_000n): FaultEffect =>
    regionError("raft entry is too large", ({ regionId }) => ({
      raftEntryTooLarge: { regionId: regionId ?? 0n, entrySize },
    })),

  maxTimestampNotSynced: (): FaultEffect =>
    regionError("max timestamp is not synced", () => ({ maxTimestampNotSynced: {} })),

  readIndexNotReady: (): FaultEffect =>
    regionError("read index not ready", ({ regionId }) => ({
      readIndexNotReady: { regionId: regionId ?? 0n, reason: "injected fault" },
    })),

  proposalInMergingMode: (): FaultEffect =>
    regionError(
      "peer in merging mode",
      ({ regionId }) => ({ proposalInMergingMode: { regionId: regionId ?? 0n } }),
    ),

  dataIsNotReady: (): FaultEffect =>
    regionError("data is not ready", ({ regionId }) => ({ dataIsNotReady: { regionId: regionId ?? 0n } })),

  regionNotInitialized: (): FaultEffect =>
    regionError(
      "region not initialized",
      ({ regionId }) => ({ regionNotInitialized: { regionId: regionId ?? 0n } }),
    ),

  diskFull: (): FaultEffect =>
    regionError("disk full", ({ storeId }) => ({
      diskFull: { storeId: storeId === undefined ? [] : [storeId], reason: "injected fault" },
    })),

  recoveryInProgress: (): FaultEffect =>
    regionError("region is in the recovery progress", ({ regionId }) => ({
      RecoveryInProgress: { regionId: regionId ?? 0n },
    })),

  flashbackInProgress: (flashbackStartTs: bigint = 1n): FaultEffect =>
    regionError("region is in the flashback progress", ({ regionId }) => ({
      FlashbackInProgress: { regionId: regionId ?? 0n, flashbackStartTs },
    })),

  flashbackNotPrepared: (): FaultEffect =>
    regionError("region not prepared the flashback", ({ regionId }) => ({
      FlashbackNotPrepared: { regionId: regionId ?? 0n },
    })),

  isWitness: (): FaultEffect =>
    regionError("peer is a witness", ({ regionId }) => ({ isWitness: { regionId: regionId ?? 0n } })),

  mismatchPeerId: (storePeerId: bigint = 0n): FaultEffect =>
    regionError("mismatch peer id", () => ({ mismatchPeerId: { requestPeerId: 0n, storePeerId } })),

  bucketVersionNotMatch: (version: bigint = 1n, keys: Uint8Array[] = []): FaultEffect =>
    regionError("bucket version not match", () => ({ bucketVersionNotMatch: { version, keys } })),

  undeterminedResult: (): FaultEffect =>
    regionError("undetermined result", () => ({ undeterminedResult: { message: "injected fault" } })),
} as const;

function regionError(message: string, fields: (target: FaultTarget) => RegionErrorInit): FaultEffect {
  return { type: "region-error", error: (target) => ({ ...fields(target), message }) };
}

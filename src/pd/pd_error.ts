// SPDX-License-Identifier: Apache-2.0
// What PD's refusals mean. Two tables (error types, gRPC codes) and one list of texts, for the
// few answers to which PD gives no code. Nothing else in the library interprets them.

import { ErrorType } from "../../gen/pdpb_pb.ts";
import type { ErrorKind } from "../errors.ts";
import { TikvError } from "../errors.ts";
import { GRPC, RpcError } from "../rpc/grpc_status.ts";

/**
 * What to do about a failed attempt: give up, wait and ask the same member, or find out who leads
 * PD and ask that one.
 */
export type PdAction = "fail" | "wait" | "follow";

/** The part of PD's answers that says whether they are one. */
export interface PdRefusal {
  /** A number of `pdpb.ErrorType`, perhaps one that is not known yet. */
  readonly type: number;
  readonly message: string;
}

/** The names of PD's error types. */
export type PdErrorCode = keyof typeof ErrorType;

/** PD answered, and the answer is a refusal. */
export class PdError extends TikvError {
  /** PD's name of the refusal, such as `"REGION_NOT_FOUND"`. */
  readonly code: PdErrorCode;
  readonly #action: PdAction;

  constructor(code: PdErrorCode, message: string) {
    const row = ROWS[code];
    super(row.kind, message);
    this.name = "PdError";
    this.code = code;
    this.#action = row.action;
  }

  /** What to do about it. */
  get action(): PdAction {
    return this.#action;
  }
}

interface PdRow {
  readonly kind: ErrorKind;
  readonly action: PdAction;
}

/** PD's error types, `pdpb.ErrorType`. */
const ROWS: Readonly<Record<PdErrorCode, PdRow>> = {
  OK: { kind: "server", action: "fail" },
  UNKNOWN: { kind: "server", action: "fail" },
  // The cluster has no first store yet: a race at its start, which ends by itself.
  NOT_BOOTSTRAPPED: { kind: "region-unavailable", action: "wait" },
  STORE_TOMBSTONE: { kind: "server", action: "fail" },
  ALREADY_BOOTSTRAPPED: { kind: "server", action: "fail" },
  INCOMPATIBLE_VERSION: { kind: "unsupported", action: "fail" },
  // Only members that follow say so; the leader answers without a region.
  REGION_NOT_FOUND: { kind: "region-unavailable", action: "fail" },
  GLOBAL_CONFIG_NOT_FOUND: { kind: "server", action: "fail" },
  DUPLICATED_ENTRY: { kind: "server", action: "fail" },
  ENTRY_NOT_FOUND: { kind: "server", action: "fail" },
  INVALID_VALUE: { kind: "misuse", action: "fail" },
  DATA_COMPACTED: { kind: "server", action: "fail" },
  // A region of the range is being split or moved and its new borders have not been reported.
  REGIONS_NOT_CONTAIN_ALL_KEY_RANGE: { kind: "region-unavailable", action: "wait" },
};

/** What the status of a call says; for statuses of PD itself, not for those the transport made up. */
const ACTION_OF_CODE: Readonly<Record<number, PdAction>> = {
  [GRPC.CANCELLED]: "follow",
  [GRPC.DEADLINE_EXCEEDED]: "follow",
  // PD's rate limiter.
  [GRPC.RESOURCE_EXHAUSTED]: "wait",
  [GRPC.ABORTED]: "follow",
  [GRPC.INTERNAL]: "follow",
  // "not leader", "server not started" (`pkg/errs/errno.go` of PD at a186e0cc).
  [GRPC.UNAVAILABLE]: "follow",
};

/**
 * Texts that PD sends without a code that tells them from other errors (`client/errs/errno.go` of
 * PD at a186e0cc keeps the same list). All of their words have to be there.
 */
const TEXTS: Readonly<
  Record<"leader-changed" | "store-not-found" | "keyspace-not-found", readonly string[][]>
> = {
  // PD-035, PD-036. The last one comes from a load balancer or DNS that is behind.
  "leader-changed": [
    ["no leader"],
    ["not leader"],
    ["is not served"],
    ["not primary"],
    ["retry timeout"],
    ["mismatch callee id"],
    // A member that is being stopped; newer ones say so with a code.
    ["not started"],
  ],
  // Trap 48.
  "store-not-found": [["invalid store ID", "not found"]],
  // Before 2024 PD sent this with the type UNKNOWN.
  "keyspace-not-found": [["keyspace does not exist"]],
};

/** Tells whether an error of PD is one of those that only their text gives away. */
export function isPdText(error: unknown, about: keyof typeof TEXTS): boolean {
  const text = uncodedText(error);
  return TEXTS[about].some((words) => words.every((word) => text.includes(word)));
}

/** Tells whether PD gave an error no code that says more than that something went wrong. */
export function isUncoded(error: unknown): boolean {
  return uncodedText(error) !== "";
}

/** The text of an error that has no code which says more; empty when it has one. */
function uncodedText(error: unknown): string {
  if (error instanceof PdError) return error.code === "UNKNOWN" ? error.message : "";
  if (!(error instanceof RpcError) || error.origin !== "peer") return "";
  return error.code === GRPC.UNKNOWN ? error.message : "";
}

const CODE_OF_TYPE: ReadonlyMap<number, PdErrorCode> = new Map(
  (Object.keys(ROWS) as PdErrorCode[]).map((code) => [ErrorType[code], code]),
);

/** The error for an answer that carries a refusal; undefined when it carries none. */
export function errorOfRefusal(
  refusal: PdRefusal | undefined,
  about: { readonly method: string; readonly address: string },
): PdError | undefined {
  if (refusal === undefined || refusal.type === ErrorType.OK) return undefined;
  // A type that is not known yet is as good as PD's own "UNKNOWN".
  const code = CODE_OF_TYPE.get(refusal.type) ?? "UNKNOWN";
  const said = refusal.message === "" ? code : `${code}: ${refusal.message}`;
  return new PdError(code, `Cannot call ${about.method} at ${about.address}: PD answered ${said}`);
}

/** What to do about an error of one attempt. */
export function actionOf(error: unknown): PdAction {
  if (isPdText(error, "leader-changed")) return "follow";
  if (error instanceof PdError) return error.action;
  if (error instanceof RpcError) {
    if (error.origin === "peer") return ACTION_OF_CODE[error.code] ?? "fail";
    return error.kind === "connection" || error.kind === "timeout" ? "follow" : "fail";
  }
  // "connection" is also what a member that knows no leader yet is.
  return isUnreachable(error) ? "follow" : "fail";
}

/** Tells whether nothing was heard of the member that was called. */
export function isUnreachable(error: unknown): boolean {
  if (error instanceof RpcError && error.origin === "peer") return false;
  return TikvError.is(error) && (error.kind === "connection" || error.kind === "timeout");
}

/** Tells whether a write whose attempt failed like this may have been done all the same. */
export function mayHaveHappened(error: unknown): boolean {
  if (!(error instanceof RpcError)) return false;
  if (error.origin !== "peer") return error.isMaybeExecuted;
  return error.code in ACTION_OF_CODE && !REFUSED_UNREAD.has(error.code);
}

/** PD answers with these before it looks at the request. */
const REFUSED_UNREAD: ReadonlySet<number> = new Set<number>([GRPC.UNAVAILABLE, GRPC.RESOURCE_EXHAUSTED]);

/** Gives a mismatch of clusters, which PD reports as a failed precondition, its own kind. */
export function withPdKind(error: unknown): unknown {
  if (!(error instanceof RpcError) || error.origin !== "peer" || error.code !== GRPC.FAILED_PRECONDITION) {
    return error;
  }
  return new TikvError("cluster-mismatch", `${error.message}: the address belongs to another cluster`, {
    cause: error,
    context: error.context,
  });
}

/** Tells whether PD is too old for a call. */
export function isUnimplemented(error: unknown): boolean {
  return error instanceof RpcError && error.origin === "peer" && error.code === GRPC.UNIMPLEMENTED;
}

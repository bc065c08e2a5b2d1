// SPDX-License-Identifier: Apache-2.0

import { Assertion } from "../../../gen/kvrpcpb_pb.ts";
import { rawKey } from "./lock_info.ts";
import { MvccError } from "./mvcc_error.ts";
import type { MvccTxn } from "./mvcc_txn.ts";
import type { PrewriteMutation, PrewriteProperties } from "./prewrite_types.ts";
import type { Version } from "./records.ts";
import { MAX_TS } from "./records.ts";
import { latestPut } from "./versions.ts";

/** What the check of a key has found so far. */
export interface AssertionInput {
  /** The newest version, when it was looked for. */
  readonly newest: Version | undefined;
  readonly isLoaded: boolean;
  /** Makes the check for conflicts that was skipped: a conflict explains more than a failed assertion. */
  readonly checkNewer: () => void;
}

/** Throws when what the client believes about the key is wrong. */
export function checkAssertion(
  txn: MvccTxn,
  { startTs, assertionLevel }: PrewriteProperties,
  { assertion, key }: PrewriteMutation,
  { newest, isLoaded, checkNewer }: AssertionInput,
): void {
  if (assertion === "none" || assertionLevel === "off") return;
  if (assertionLevel !== "strict" && !isLoaded) return;
  const isCollected = newest?.write.gcFence !== undefined && newest.write.gcFence !== 0n;
  let version = isCollected ? undefined : newest;
  const isData = version === undefined || version.write.kind === "put" || version.write.kind === "delete";
  if (!isLoaded || !isData) version = latestPut(txn.tables, key, version?.commitTs ?? MAX_TS, startTs);
  const exists = version !== undefined && version.write.kind === "put";
  if (assertion === "exist" ? exists : !exists) return;
  checkNewer();
  throw new MvccError({
    kind: "assertion-failed",
    startTs,
    key: rawKey(key),
    assertion: assertion === "exist" ? Assertion.Exist : Assertion.NotExist,
    existingStartTs: version?.write.startTs ?? 0n,
    existingCommitTs: version?.commitTs ?? 0n,
  });
}

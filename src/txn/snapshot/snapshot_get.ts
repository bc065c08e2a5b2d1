// SPDX-License-Identifier: Apache-2.0
// One key at one timestamp, asked for until no lock is in the way.

import type { Operation } from "../../async/operation.ts";
import { TikvError } from "../../errors.ts";
import { sendToKey } from "../../plan/dispatch.ts";
import type { RegionRequest } from "../../region/request.ts";
import { STALE } from "../../region/stale.ts";
import { type BodyOf, COMMANDS, type ReplyOf } from "../../rpc/commands.ts";
import { locksInError } from "../locks/key_error.ts";
import type { Versioned } from "./snapshot_cache.ts";
import { LockedRead } from "./snapshot_locks.ts";
import type { SnapshotReads } from "./snapshot_reads.ts";

/** The value of a key; undefined if there is none. */
export async function getFromStore(
  reads: SnapshotReads,
  key: Uint8Array,
  { operation, needsCommitTs }: { readonly operation: Operation; readonly needsCommitTs: boolean },
): Promise<Versioned | undefined> {
  const { sender } = reads.parts.session.routing;
  const body = { key, version: reads.ts, needCommitTs: needsCommitTs };
  const { known } = reads;
  const hasDetails = reads.settings.details !== undefined;
  let locked: LockedRead | undefined;
  try {
    for (;;) {
      const hasMetLock = locked !== undefined;
      const turn = { isFirst: !hasMetLock, known, keys: 1, hasMetLock };
      const request = sender.request(COMMANDS.KvGet, body, reads.requestOptions(turn));
      const reply = hasDetails
        ? await reads.counted("KvGet", operation, () => send(reads, key, { request, operation }))
        : await send(reads, key, { request, operation });
      if (reply.error === undefined) {
        // No value is empty; there are stores that do not set the flag.
        if (reply.notFound || reply.value.length === 0) return undefined;
        return versionedOf(reply, needsCommitTs);
      }
      const locks = locksInError(reply.error);
      if (locks.length === 0) throw reads.errorOf("KvGet", reply.error);
      locked ??= new LockedRead(reads, { known, isLite: true, needsCleanUp: needsCommitTs });
      await locked.settle(locks, operation);
    }
  } finally {
    locked?.done();
  }
}

/** A value with the facts that were asked for; throws where the store did not send them. */
export function versionedOf(
  { value, commitTs }: { readonly value: Uint8Array; readonly commitTs: bigint },
  needsCommitTs: boolean,
): Versioned {
  if (!needsCommitTs) return { value, commitTs: 0n };
  if (commitTs !== 0n) return { value, commitTs };
  throw new TikvError("unsupported", "Cannot tell when the value was committed: the store does not say");
}

async function send(
  { parts }: SnapshotReads,
  key: Uint8Array,
  { request, operation }: {
    readonly request: RegionRequest<BodyOf<"KvGet">, ReplyOf<"KvGet">>;
    readonly operation: Operation;
  },
): Promise<ReplyOf<"KvGet">> {
  const { routing } = parts.session;
  // The first try is written out: a cached region that is right costs no further promise.
  const region = routing.regions.peek(key);
  const first = region === undefined ? STALE : await routing.sender.send(region, request, operation);
  return first === STALE ? await sendToKey(routing, key, { request, operation }) : first;
}

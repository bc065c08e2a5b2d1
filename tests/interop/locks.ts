// SPDX-License-Identifier: Apache-2.0

import { Op } from "../../gen/kvrpcpb_pb.ts";
import { Kv } from "../../src/plan/mod.ts";
import type { OurClient } from "./our_client.ts";

/** A lock that a store has. */
export interface SeenLock {
  readonly key: string;
  readonly primary: string;
  readonly kind: "put" | "delete" | "lock" | "pessimistic" | "other";
  readonly startTs: bigint;
  readonly isAsyncCommit: boolean;
}

/** Every lock in the cluster, in the order of their keys. */
export async function locksOf({ client }: OurClient): Promise<readonly SeenLock[]> {
  // Stores take note of the timestamp: one of the future would spoil the commits that follow.
  const maxVersion = await client.pd.timestamp();
  const replies = await client.plan(Kv.kvScanLock, { maxVersion })
    .toRegionsOf({}, ({ start, end }) => ({ startKey: start, endKey: end })).retryRegionErrors().run();
  return replies.flatMap(({ locks }) => locks).map((lock) => ({
    key: TEXT.decode(lock.key),
    primary: TEXT.decode(lock.primaryLock),
    kind: KINDS[lock.lockType] ?? "other",
    startTs: lock.lockVersion,
    isAsyncCommit: lock.useAsyncCommit,
  })).sort((a, b) => a.key < b.key ? -1 : 1);
}

const KINDS: Readonly<Record<number, SeenLock["kind"]>> = {
  [Op.Put]: "put",
  [Op.Del]: "delete",
  [Op.Lock]: "lock",
  [Op.PessimisticLock]: "pessimistic",
};
const TEXT = new TextDecoder();

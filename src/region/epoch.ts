// SPDX-License-Identifier: Apache-2.0

import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import { v1Codec } from "../codec/keyspace.ts";
import { readRegion } from "../pd/region.ts";
import type { Region } from "./region.ts";
import type { RegionErrorFacts } from "./region_error.ts";
import type { SenderOptions } from "./request.ts";

/** Tells what an epoch-not-match error says about the region that the request was sent to. */
export function epochsOf(region: Region, error: RegionError): RegionErrorFacts["epochs"] {
  const regions = error.epochNotMatch?.currentRegions ?? [];
  if (regions.length === 0) return "none";
  const same = regions.find(({ id }) => id === region.id)?.regionEpoch;
  const isBehind = same !== undefined && (same.confVer < region.confVer || same.version < region.version);
  return isBehind ? "behind" : "newer";
}

/** What is adopted from whom. */
export interface Adoption {
  readonly region: Region;
  /** With borders in the caller's keys. */
  readonly error: RegionError;
  /** The store that told: it leads, as far as anybody knows. */
  readonly storeId: bigint;
  readonly operation: Operation;
}

/**
 * Caches the regions that an epoch-not-match error tells of. That spares a question to PD, which
 * may be behind the store.
 */
export async function adoptRegions(
  { loader, regions }: Pick<SenderOptions, "loader" | "regions">,
  { region, error, storeId, operation }: Adoption,
): Promise<void> {
  const metas = (error.epochNotMatch?.currentRegions ?? []).flatMap((wire) =>
    readRegion({ region: wire, downPeers: [], pendingPeers: [] }, DECODED) ?? []
  );
  if (!metas.some((meta) => region.isSameVersion(meta))) regions.invalidate(region, "epoch-not-match");
  for (const meta of metas) {
    if (region.isSameVersion(meta)) continue;
    try {
      const next = await loader.build(meta, operation.deadline);
      const leader = next.indexOfPeer({ storeId });
      if (leader >= 0) next.setLeader(leader);
      next.updateBuckets(region.buckets);
      regions.insert(next);
    } catch (cause) {
      // Its stores could not be looked up now; PD is asked for the region when it is needed.
      if (operation.deadline.isOver()) throw cause;
    }
  }
}

// The borders went through the codec of the keyspace with the rest of the reply.
const DECODED = v1Codec("raw");

// SPDX-License-Identifier: Apache-2.0
// What this layer takes from PD, by structure, so that tests can stand in for it.

import type { PdMeta } from "../pd/meta.ts";

export type { PdPeer as PeerMeta, PdRegion as RegionMeta, PdStore as StoreMeta } from "../pd/region.ts";
export type { PdMetaCall as MetaOptions } from "../pd/meta.ts";

/** Where regions and stores are looked up. */
export type MetaSource = Pick<
  PdMeta,
  "regionByKey" | "previousRegion" | "regionById" | "batchScanRegions" | "store" | "stores"
>;

/** Borders that cut a region into pieces of about the same size. */
export interface BucketsMeta {
  readonly version: bigint;
  readonly keys: readonly Uint8Array[];
}

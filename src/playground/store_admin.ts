// SPDX-License-Identifier: Apache-2.0
// The commands of a store that are about regions and the store itself.

import { create } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HealthFeedbackSchema } from "../../gen/kvrpcpb_pb.ts";
import {
  GetHealthFeedbackResponseSchema,
  SplitRegionResponseSchema,
  StoreSafeTSResponseSchema,
} from "../../gen/kvrpcpb_pb.ts";
import { IsAliveResponseSchema } from "../../gen/mpp_pb.ts";
import { Tikv } from "../../gen/tikvpb_pb.ts";
import { compareBytes } from "../bytes/compare.ts";
import { ALL_KEYS } from "../bytes/key_range.ts";
import { encodeBytes } from "../bytes/memcomparable.ts";
import { checkKeyInRegion, peerMessage, regionMessage, RegionRefusal } from "./region_check.ts";
import { peerOn } from "./regions.ts";
import { storeSafeTs } from "./replicas.ts";
import type { StoreCommand, StoreScope } from "./store_command.ts";
import { storeCommand } from "./store_command.ts";

/** The commands that are not about data. */
export const ADMIN_COMMANDS: readonly StoreCommand[] = [
  storeCommand(Tikv.method.splitRegion, undefined, (scope, request) => {
    const { cluster, storeId } = scope;
    const regionId = request.context?.regionId ?? 0n;
    const region = cluster.regions.byId(regionId);
    if (region === undefined || peerOn(region, storeId) === undefined) {
      throw new RegionRefusal({ message: `region ${regionId} not found`, regionNotFound: { regionId } });
    }
    if (region.leader?.storeId !== storeId) {
      const leader = region.leader === undefined ? {} : { leader: peerMessage(region.leader) };
      throw new RegionRefusal({ message: `peer is not leader`, notLeader: { regionId, ...leader } });
    }
    const wanted = request.splitKey.length > 0 ? [request.splitKey] : request.splitKeys;
    const keys = wanted.map((key) => request.isRawKv ? cluster.rules.encodeRawKey(key) : encodeBytes(key));
    if (keys.length === 0) throw new RegionRefusal({ message: "no split key is specified" });
    for (const key of keys) {
      if (key.length === 0) throw new RegionRefusal({ message: "split key should not be empty" });
      checkKeyInRegion(region, key);
    }
    if (request.context?.regionEpoch?.version !== region.version) {
      throw new RegionRefusal({
        message: `EpochNotMatch epoch changed, retry later`,
        epochNotMatch: { currentRegions: [regionMessage(region)] },
      });
    }
    const inside = keys.filter((key) => compareBytes(key, region.start) !== 0);
    if (inside.length === 0) throw new RegionRefusal({ message: "no valid key found for split" });
    const parts = cluster.regions.split(regionId, inside).map(regionMessage);
    const [left, right] = parts;
    return create(
      SplitRegionResponseSchema,
      parts.length === 2 && left !== undefined && right !== undefined
        ? { left, right, regions: parts }
        : { regions: parts },
    );
  }),

  storeCommand(
    Tikv.method.getHealthFeedback,
    "GetHealthFeedback",
    (scope) => create(GetHealthFeedbackResponseSchema, { healthFeedback: healthFeedback(scope) }),
  ),

  storeCommand(Tikv.method.getStoreSafeTS, undefined, ({ cluster, storeId }, { keyRange }) => {
    const range = keyRange === undefined ? ALL_KEYS : { start: keyRange.startKey, end: keyRange.endKey };
    return create(StoreSafeTSResponseSchema, { safeTs: storeSafeTs(cluster, storeId, range) });
  }),

  storeCommand(Tikv.method.isAlive, undefined, () => create(IsAliveResponseSchema, { available: true })),
];

/** What a store says about its own speed. */
export function healthFeedback(
  { cluster, storeId }: StoreScope,
): MessageInitShape<typeof HealthFeedbackSchema> {
  const store = cluster.stores.get(storeId);
  if (store === undefined) return { storeId };
  store.feedbackCount += 1n;
  return { storeId, feedbackSeqNo: store.feedbackCount, slowScore: store.slowScore };
}

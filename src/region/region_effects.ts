// SPDX-License-Identifier: Apache-2.0

import type { Error as RegionError } from "../../gen/errorpb_pb.ts";
import type { Operation } from "../async/operation.ts";
import { adoptRegions } from "./epoch.ts";
import type { Region } from "./region.ts";
import type { Effect } from "./region_error.ts";
import type { Replica, ReplicaSelector } from "./replica.ts";
import type { SenderOptions } from "./request.ts";

/** An error of a region, and where it was met. */
export interface ErrorSite {
  readonly region: Region;
  readonly operation: Operation;
  readonly error: RegionError;
  readonly replica: Replica;
  readonly proxy: Replica | undefined;
  readonly selector: ReplicaSelector;
}

/** Remembers what an error tells, apart from giving the region up. */
export async function applyEffect(effect: Effect, options: SenderOptions, site: ErrorSite): Promise<void> {
  const { regions, stores, client, settings } = options;
  const { region, operation, error, replica, proxy, selector } = site;
  const { store } = replica.peer;
  switch (effect) {
    case "none":
      return;
    case "flag-not-leader":
      replica.isNotLeader = true;
      return;
    case "switch-leader": {
      const leader = error.notLeader?.leader;
      if (leader === undefined) return;
      replica.isNotLeader = true;
      const index = region.indexOfPeer(leader);
      regions.updateLeader(region, index);
      selector.onLeaderKnown(index);
      return;
    }
    case "leader-once":
    case "leader-mode":
      selector.onLeaderOnly();
      return;
    case "adopt-regions":
      await adoptRegions(options, { region, error, storeId: replica.peer.storeId, operation });
      return;
    case "adopt-buckets":
      region.updateBuckets(error.bucketVersionNotMatch);
      return;
    case "record-load":
    case "flag-busy":
      store.recordBusy(error.serverIsBusy?.estimatedWaitMs ?? 0, settings.environment.clock.now());
      if (effect === "flag-busy") replica.isBusy = true;
      return;
    case "flag-behind":
      replica.isBehind = true;
      return;
    case "count-busy":
      stores.markSlow(store);
      selector.onDoubt(replica);
      return;
    case "forget-address":
      client.closeAddress((proxy ?? replica).peer.store.address);
      stores.markNeedsCheck(store);
      return;
    case "flag-deadline":
      replica.isTimedOut = true;
      return;
    case "warn":
      settings.observe({
        type: "warning",
        message: `Region ${region.id} does not have a key that it was asked for`,
        cause: settings.revealKeys === true ? error.message : undefined,
      });
      return;
  }
}

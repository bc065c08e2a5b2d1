// SPDX-License-Identifier: Apache-2.0

import type { Operation } from "../async/operation.ts";
import { TikvError } from "../errors.ts";
import type { Pd } from "../pd/pd_client.ts";
import type { RegionCache } from "../region/region_cache.ts";
import type { RegionSplitter } from "../txn/txn_session.ts";

/** Splits regions through PD, and takes what the cache has of the old ones away. */
export function createRegionSplitter({ pd, regions }: {
  readonly pd: Pick<Pd, "split" | "operator">;
  readonly regions: Pick<RegionCache, "peek" | "invalidate">;
}): RegionSplitter {
  return {
    async split(keys, operation): Promise<void> {
      const { deadline } = operation;
      deadline.throwIfOver("split regions");
      const call = { timeoutMs: Math.max(1, deadline.remainingMs()), signal: deadline.signal };
      const { regionIds } = await pd.split(keys, { ...call, scatter: true });
      for (const key of keys) {
        const region = regions.peek(key);
        if (region !== undefined) regions.invalidate(region, "epoch-not-match");
      }
      for (const id of regionIds) await untilScattered(pd, id, operation);
    },
  };
}

async function untilScattered(pd: Pick<Pd, "operator">, id: bigint, operation: Operation): Promise<void> {
  for (;;) {
    const { deadline } = operation;
    deadline.throwIfOver("wait until regions are on different stores");
    const call = { timeoutMs: Math.max(1, deadline.remainingMs()), signal: deadline.signal };
    const current = await pd.operator(id, call);
    if (current === undefined || current.description !== "scatter-region" || current.status !== "running") {
      return;
    }
    const cause = new TikvError("timeout", `Region ${id} is still being moved`);
    await operation.backoffs.wait("regionMiss", cause, { regionId: id });
  }
}

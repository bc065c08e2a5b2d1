// SPDX-License-Identifier: Apache-2.0

import { Background } from "../async/background.ts";
import { Deadline } from "../async/deadline.ts";
import type { Pd } from "../pd/pd_client.ts";
import type { Routing } from "../plan/dispatch.ts";
import type { RegionCache } from "../region/region_cache.ts";
import type { Settings } from "../settings.ts";
import { Latches } from "../txn/commit/latches.ts";
import { LockClock } from "../txn/locks/lock_clock.ts";
import { LockResolver } from "../txn/locks/lock_resolver.ts";
import { SafePoint } from "../txn/snapshot/safe_point.ts";
import { SafeTs, type SafeTsOptions } from "../txn/snapshot/safe_ts.ts";
import type { SnapshotParts } from "../txn/snapshot/snapshot_reads.ts";
import { StaleTime } from "../txn/snapshot/stale_time.ts";
import type { TxnSession } from "../txn/txn_session.ts";
import { createRegionSplitter } from "./region_splitter.ts";

/** How stores are asked up to which timestamp they have everything. */
export type SafeTsStores = Pick<SafeTsOptions, "stores" | "ask">;

/** What transactions and snapshots of a client are built on. */
export interface TxnLayers extends SnapshotParts {
  readonly session: TxnSession;
  /** Waits for what goes on in the background, but not for long. */
  finish(): Promise<void>;
}

/** Makes what transactions share, on requests whose keys are those of transactions. */
export function createTxnLayers({ settings, pd, routing, stores, closing, onUse }: {
  readonly settings: Settings;
  readonly pd: Pd;
  readonly routing: Routing & { readonly regions: RegionCache };
  readonly stores: SafeTsStores;
  readonly closing: AbortSignal;
  readonly onUse: () => void;
}): TxnLayers {
  const { environment, observe } = settings;
  const clock = new LockClock({ timestamp: (operation) => pd.timestampWithin(operation) }, observe);
  const background = new Background((name, cause) => {
    observe({
      type: "warning",
      message: `Cannot finish "${name}": whoever meets the locks resolves them`,
      cause,
    });
  });
  const load: ConstructorParameters<typeof SafePoint>[0]["load"] = (operation) =>
    pd.txnSafePointWithin(operation);
  const safeTs = new SafeTs({ ...stores, background, environment, observe });
  return {
    session: {
      routing,
      settings,
      closing,
      onUse,
      oracle: clock,
      background,
      latches: settings.localLatches === 0 ? undefined : new Latches(settings.localLatches),
      splitter: createRegionSplitter({ pd, regions: routing.regions }),
    },
    clock,
    staleTime: new StaleTime({ clock, safeTs, background, environment, observe }),
    locks: new LockResolver({ routing, settings, clock, background }),
    safePoint: new SafePoint({ load, background, environment, observe }),
    finish: () => background.close(Deadline.after(environment.clock, FINISH_MS)),
  };
}

/** Time for commits of secondaries when the client is closed; what is left is resolved by others. */
const FINISH_MS = 3_000;

// SPDX-License-Identifier: Apache-2.0
// A playground for transactions, with clients whose parts a test can reach.

import { assemble, type ClientParts } from "../../../src/client/parts.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Playground, type PlaygroundOptions } from "../../../src/playground/mod.ts";
import type { ClientOptions } from "../../../src/client_options.ts";
import { resolveSettings } from "../../../src/settings.ts";
import { ManualClock } from "../../../src/testing/mod.ts";
import { Transactions } from "../../../src/txn/begin.ts";

export interface World extends AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;
  open(options?: ClientOptions): Promise<{ parts: ClientParts; txns: Transactions }>;
}

export async function startWorld(options: PlaygroundOptions = {}): Promise<World> {
  const clock = new ManualClock();
  const cluster = await Playground.start({ stores: 3, mode: "txn", clock, seed: 1, ...options });
  const opened: ClientParts[] = [];
  return {
    cluster,
    clock,
    async open(own = {}): Promise<{ parts: ClientParts; txns: Transactions }> {
      const { pd, transport, environment } = cluster.connectOptions();
      const settings = resolveSettings({ environment, ...own });
      const deadline = Deadline.after(clock, 10_000);
      const parts = await clock.run(assemble({ endpoints: pd, settings, transport }, deadline));
      opened.push(parts);
      return { parts, txns: new Transactions(parts.txn(), {}) };
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const parts of opened) await clock.run(parts.close());
      await cluster.close();
    },
  };
}

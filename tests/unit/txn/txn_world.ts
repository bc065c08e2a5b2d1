// SPDX-License-Identifier: Apache-2.0
// A playground for transactions, with clients whose parts a test can reach.

import { assemble, type ClientParts } from "../../../src/client/parts.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { Operation } from "../../../src/async/operation.ts";
import { utf8Decode } from "../../../src/bytes/utf8.ts";
import { sendToKey } from "../../../src/plan/dispatch.ts";
import { Playground, type PlaygroundOptions } from "../../../src/playground/mod.ts";
import type { ClientOptions } from "../../../src/client_options.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
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

/** The keys of a world that are locked, in their order, as a client of it sees them. */
export async function lockedKeys({ clock }: Pick<World, "clock">, parts: ClientParts): Promise<string[]> {
  const { session } = parts.txn();
  const { routing, settings } = session;
  const { environment, observe: observer } = settings;
  const deadline = Deadline.after(clock, 60_000);
  const operation = new Operation("test", { deadline, environment, observer });
  const keys: string[] = [];
  let start: Uint8Array = new Uint8Array(0);
  do {
    const region = await clock.run(routing.regions.locate(start, operation));
    const request = routing.sender.request(COMMANDS.KvScanLock, {
      maxVersion: 0x7fff_ffff_ffff_ffffn,
      startKey: region.start,
      endKey: region.end,
      limit: 1_000,
    });
    const reply = await clock.run(sendToKey(routing, region.start, { request, operation }));
    keys.push(...reply.locks.map(({ key }) => utf8Decode(key)));
    start = region.end;
  } while (start.length > 0);
  return keys;
}

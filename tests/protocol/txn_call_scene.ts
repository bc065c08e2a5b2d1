// SPDX-License-Identifier: Apache-2.0
// A whole client on a playground whose clock a test moves, and what was sent.

import { type Client, connect, type ConnectOptions, type InterceptedCall, Kv } from "../../mod.ts";
import { Playground, type PlaygroundOptions } from "../../src/playground/mod.ts";
import { ManualClock } from "../../src/testing/mod.ts";

/** What a test works on. */
export interface CallScene extends AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;
  readonly client: Client;
  /** Attempts of requests to stores, in order. */
  readonly calls: InterceptedCall[];
  /** Settles a promise by moving the clock as far as it takes. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Connects one more client. */
  open(options?: ConnectOptions): Promise<Client>;
  /** The newest value of a key, read by a client of its own. */
  valueOf(key: string): Promise<string | undefined>;
  /** The keys that are locked, in order. */
  lockedKeys(): Promise<string[]>;
}

export async function startScene(
  options: ConnectOptions = {},
  ofCluster: PlaygroundOptions = {},
): Promise<CallScene> {
  const clock = new ManualClock();
  const cluster = await Playground.start({ stores: 3, mode: "txn", clock, seed: 1, ...ofCluster });
  const calls: InterceptedCall[] = [];
  const opened: Client[] = [];
  const open = async (own: ConnectOptions = {}): Promise<Client> => {
    const client = await clock.run(connect(cluster, own));
    opened.push(client);
    return client;
  };
  const client = await open({
    ...options,
    interceptors: [(call, next) => {
      calls.push(call);
      return next(call);
    }, ...options.interceptors ?? []],
  });
  const reader = await open();
  return {
    cluster,
    clock,
    client,
    calls,
    open,
    run: (promise) => clock.run(promise),
    async valueOf(key): Promise<string | undefined> {
      const snapshot = await clock.run(reader.snapshot());
      const value = await clock.run(snapshot.get(key, { timeoutMs: 60_000 }));
      return value === undefined ? undefined : new TextDecoder().decode(value);
    },
    async lockedKeys(): Promise<string[]> {
      const plan = reader.plan(Kv.kvScanLock, { maxVersion: 0x7fff_ffff_ffff_ffffn, limit: 1_000 });
      const replies = await clock.run(
        plan.toRegionsOf({}, ({ start, end }) => ({ startKey: start, endKey: end })).retryRegionErrors()
          .run(),
      );
      return replies.flatMap(({ locks }) => locks.map(({ key }) => new TextDecoder().decode(key))).sort();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const one of opened) await clock.run(one.close());
      await cluster.close();
    },
  };
}

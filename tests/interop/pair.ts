// SPDX-License-Identifier: Apache-2.0
// A playground on ports with both clients of it: client-go in its process, this project's in this one.

import type { Interceptor } from "../../mod.ts";
import { Playground } from "../../src/playground/mod.ts";
import { GoClient } from "./go_client.ts";
import { connectOurs, type OurClient } from "./our_client.ts";
import { writeIdentities } from "./tls_files.ts";

/** A kind of cluster. */
export interface PairOptions {
  readonly api: "v1" | "v2";
  readonly withTls?: boolean;
  /** Keys at which regions begin. */
  readonly splitKeys?: readonly string[];
}

/** A cluster and its clients. */
export interface Pair extends AsyncDisposable {
  readonly cluster: Playground;
  readonly ours: OurClient;
  readonly go: GoClient;
  /** Another client of this project. */
  connectOurs(interceptors?: readonly Interceptor[]): Promise<OurClient>;
  /** Another process with client-go. */
  startGo(): Promise<GoClient>;
  split(key: string): Promise<void>;
  moveLeader(key: string): Promise<void>;
  /** The region of a key. */
  regionOf(key: string): bigint;
  losePessimisticLocks(key: string): void;
}

/** Starts a playground and connects both. */
export async function startPair(program: string, options: PairOptions): Promise<Pair> {
  const { api, withTls = false, splitKeys = [] } = options;
  const keyspace = api === "v2" ? KEYSPACE : undefined;
  const inKeyspace = keyspace === undefined ? {} : { keyspace };
  const opened: AsyncDisposable[] = [];
  const use = <T extends AsyncDisposable>(one: T): T => {
    opened.unshift(one);
    return one;
  };
  const close = async (): Promise<void> => {
    for (const one of opened.splice(0)) await one[Symbol.asyncDispose]();
  };
  try {
    const tls = withTls ? await writeIdentities() : undefined;
    if (tls !== undefined) use(tls);
    const cluster = use(
      await Playground.start({
        stores: 3,
        apiVersion: api,
        mode: "txn",
        keyspaces: keyspace === undefined ? [] : [keyspace],
        ports: { tls: tls?.server },
      }),
    );
    for (const key of splitKeys) await cluster.split(key, inKeyspace);
    const pd = cluster.pdAddresses;
    const clientOptions = {
      apiVersion: api === "v2" ? 2 : 1,
      mode: "txn",
      tls: tls?.client,
      ...inKeyspace,
    } as const;
    const openOurs = async (interceptors: readonly Interceptor[] = []): Promise<OurClient> => {
      return use(await connectOurs(pd, { ...clientOptions, interceptors }));
    };
    const startGo = async (): Promise<GoClient> => {
      return use(await GoClient.start(program, { pd, api, tls: tls?.folder, ...inKeyspace }));
    };
    const [go, ours] = await Promise.all([startGo(), openOurs()]);
    return {
      cluster,
      ours,
      go,
      connectOurs: openOurs,
      startGo,
      split: (key) => cluster.split(key, inKeyspace),
      moveLeader: (key) => cluster.moveLeader(key, undefined, inKeyspace),
      regionOf: (key) => cluster.regionOf(key, inKeyspace).id,
      losePessimisticLocks: (key) => cluster.losePessimisticLocks(key, inKeyspace),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A keyspace besides the one that a client takes without being told. */
const KEYSPACE = "orders";

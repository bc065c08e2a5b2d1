// SPDX-License-Identifier: Apache-2.0
// What the suites of this folder run on, and how they say what a cluster cannot do. A suite never
// asks which cluster it has: it names what it needs.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Client, ConnectOptions, KeyInput } from "../../mod.ts";
import { assertNoTimers, countingEnvironment } from "../helpers/leaks.ts";

/** What not every cluster can do, and what is meant by it. */
export const CAPABILITIES = {
  "ttl": "entries can have a TTL",
  "plain-v1": "clients use API version 1 without TTL",
  "no-ttl": "stores of API version 1 without TTL refuse one",
  "strict-api":
    "requests of other API versions, of keys of another mode and of unknown column families are refused",
  "size-limits": "keys and entries above the limits of TiKV are refused",
  "cluster-checks": "stores refuse requests for another cluster",
  "peer-checks": "a store asks which of its peers is meant, of which term, and not for changes of peers",
  "followers": "regions have more replicas than one",
  "stored-keys": "errors tell of keys in the form in which the store keeps them",
  "split-checks": "a split at a key outside the region is refused with the region",
  "range-checks": "a range that is deleted must be in the region",
  "pair-errors": "a batch of reads tells of each key that is not in the region by itself",
  "column-families": "there is more than one column family",
  "atomic": "compare-and-swap is linearizable",
  "checksum": "the stores digest ranges as TiKV does",
  "coprocessor": "coprocessor requests are answered, if only by an error",
  "keyspaces": "keyspaces can be made",
  "prefixes": "raw keys and those of transactions are told apart by their first byte",
  "no-prefixes": "keys have no prefixes",
  "transactions": "requests of transactions are served",
  "memory-locks": "a commit whose timestamp a store chooses is isolated from who reads meanwhile",
  "secondary-checks": "a key of an async commit that was found missing stays so",
  "lock-records": "what was only locked when it was committed is a conflict as well",
  "commit-ts": "reads tell when a value was committed",
  "no-commit-ts": "reads do not tell when a value was committed",
  "reverse-snapshots": "scans from the end read at their timestamp",
  "shared-locks": "keys can be locked in share mode",
  "gc": "the safe point of garbage collection can be moved",
  "new-pd": "PD has the calls of version 8.5: scans of many ranges, GC states, keyspaces by id",
  "split": "regions can be split",
  "merge": "regions can be merged",
  "leaders": "leaders can be moved",
  "leaderless": "regions can be left without a leader",
  "stores": "stores can be stopped, started and moved to other addresses",
  "faults": "single calls can be made to fail",
  "own-cluster": "nobody else uses the cluster, and it begins empty",
} as const;

/** Name of something that not every cluster can do. */
export type Capability = keyof typeof CAPABILITIES;

/** Changes to a cluster while it is used. Each is there if the capability is. */
export interface ClusterControl {
  split?(key: KeyInput): Promise<void>;
  merge?(key: KeyInput): Promise<void>;
  moveLeader?(key: KeyInput): Promise<void>;
  dropLeader?(key: KeyInput): Promise<void>;
  storeIds?(): readonly bigint[];
  stopStore?(id: bigint): Promise<void>;
  startStore?(id: bigint): Promise<void>;
  readdressStore?(id: bigint): Promise<void>;
  createKeyspace?(name: string): Promise<void>;
  /** Makes calls of a method fail; the rule ends with the cluster. */
  fail?(method: string, how: FaultName, options?: { readonly times?: number; readonly skip?: number }): void;
  /** How often a method was called. */
  calls?(method: string): number;
}

/** The faults that suites use. */
export type FaultName =
  | "drop-request"
  | "drop-reply"
  | "cut"
  | "cut-executed"
  | "epoch-not-match"
  | "pad"
  | "corrupt";

/** A cluster that runs. */
export interface OpenCluster {
  readonly control: ClusterControl;
  /** What `connect()` is called with. */
  readonly target: Parameters<typeof import("../../mod.ts").connect>[0];
  /** Options without which the cluster cannot be reached. */
  readonly options: ConnectOptions;
  /** What a client has left on the network after it was closed. */
  leftovers(): readonly string[];
  close(): Promise<void>;
}

/** A kind of cluster that suites can run on. */
export interface Backend {
  readonly name: string;
  /** Whose keys are in it; the suites are those of this mode. */
  readonly mode: "raw" | "txn";
  /** What it cannot do, with the reason. Everything else it can. */
  readonly lacks: Readonly<Partial<Record<Capability, string>>>;
  /** Starts, or finds, a cluster for one test. */
  open(): Promise<OpenCluster>;
}

/** What a test of a suite gets. */
export interface Scene {
  readonly client: Client;
  readonly control: Required<ClusterControl>;
  /** Keys of the test begin with it, so that tests do not meet on a cluster that stays. */
  readonly prefix: string;
  readonly cluster: OpenCluster;
  /** Another client of the same cluster; closed with the test. */
  connect(options?: ConnectOptions): Promise<Client>;
}

/** Options of {@linkcode contract}. */
export interface ContractOptions {
  readonly needs?: readonly Capability[];
  readonly client?: ConnectOptions;
}

/** What was left out, by the reason. */
const skipped = new Map<string, string[]>();
let nextPrefix = 0;
const run = Math.floor(performance.timeOrigin + performance.now()).toString(36);

/** Registers a test on a backend, or counts it as skipped when the backend lacks what it needs. */
export function contract(
  backend: Backend,
  name: string,
  options: ContractOptions,
  body: (scene: Scene) => Promise<void>,
): void {
  const missing = (options.needs ?? []).find((capability) => backend.lacks[capability] !== undefined);
  const title = `${name} (${backend.name})`;
  if (missing !== undefined) {
    const reason = `${backend.name} lacks "${missing}": ${backend.lacks[missing]}`;
    skipped.set(reason, [...skipped.get(reason) ?? [], name]);
    test(title, { skip: true }, () => {});
    return;
  }
  test(title, () => playScene(backend, options, body));
}

/** Registers the test that prints what was skipped; last in each file. */
export function reportSkipped(): void {
  test("what these clusters cannot do is said", () => {
    for (const [reason, names] of skipped) console.log(`skipped ${names.length}: ${reason}`);
    assert.ok([...skipped.keys()].every((reason) => !reason.endsWith("undefined")));
  });
}

async function playScene(
  backend: Backend,
  options: ContractOptions,
  body: (scene: Scene) => Promise<void>,
): Promise<void> {
  const { connect } = await import("../../mod.ts");
  const cluster = await backend.open();
  const clients: Client[] = [];
  const environment = countingEnvironment(cluster.options.environment);
  const open = async (extra: ConnectOptions = {}): Promise<Client> => {
    const client = await connect(cluster.target, { ...cluster.options, environment, ...extra });
    clients.push(client);
    return client;
  };
  try {
    const client = await open(options.client);
    const prefix = `t${run}${nextPrefix++}/`;
    // What is not there was not asked for: `needs` has been checked.
    const control = cluster.control as Required<ClusterControl>;
    await body({ client, control, prefix, cluster, connect: open });
    await Promise.all(clients.map((each) => each.close()));
    await assertNoTimers(environment);
    assert.deepEqual(cluster.leftovers(), []);
  } finally {
    await Promise.all(clients.map((each) => each.close()));
    await cluster.close();
  }
}

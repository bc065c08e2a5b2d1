// SPDX-License-Identifier: Apache-2.0

import type { Clock, Environment } from "../async/clock.ts";
import { systemEnvironment } from "../async/clock.ts";
import type { KeyInput } from "../bytes/utf8.ts";
import type { MemoryNetwork } from "../rpc/memory.ts";
import { SeededRandom } from "../testing/seeded_random.ts";
import type { ApiVersion } from "./api_version.ts";
import type { ClusterLimits, ClusterMode } from "./cluster.ts";

/** Certificates for the ports of a playground: PEM text. */
export interface PlaygroundTls {
  /** Certificate chain of the servers. */
  readonly cert: string | Uint8Array;
  /** Key of the certificate. */
  readonly key: string | Uint8Array;
  /** Issuer of the clients' certificates; with it, clients must have one. */
  readonly ca?: string | Uint8Array | undefined;
}

/** Where a playground listens, besides in memory. */
export interface PlaygroundPorts {
  /**
   * Port of the first member of PD; further members take the ports behind it.
   *
   * @default {0} free ports
   */
  readonly pdPort?: number | undefined;
  /**
   * Port of the first store; further stores take the ports behind it.
   *
   * @default {0} free ports
   */
  readonly storePort?: number | undefined;
  /**
   * The address to bind.
   *
   * @default {"127.0.0.1"}
   */
  readonly host?: string | undefined;
  /** The name or address under which clients reach the ports; the bound address by default. */
  readonly advertiseHost?: string | undefined;
  /** Makes every port speak TLS. */
  readonly tls?: PlaygroundTls | undefined;
}

/** Options of `Playground.start()`. */
export interface PlaygroundOptions {
  /**
   * Number of stores.
   *
   * @default {1}
   */
  readonly stores?: number | undefined;
  /**
   * Replicas of each region.
   *
   * @default {3} or the number of stores when that is less
   */
  readonly replicas?: number | undefined;
  /**
   * Number of members of PD.
   *
   * @default {1}
   */
  readonly pdMembers?: 1 | 3 | undefined;
  /**
   * The API version of the stores.
   *
   * @default {"v1"}
   */
  readonly apiVersion?: ApiVersion | undefined;
  /**
   * What the cluster is used for, which decides how `split()`, `splitKeys` and other actions read keys.
   * In V1 raw data has regions that begin at just that key, and transactions cannot read those.
   *
   * @default what is used first; keys that come before are taken for those of transactions, whose
   * regions raw data can live with
   */
  readonly mode?: ClusterMode | undefined;
  /** Keyspaces besides `DEFAULT`; API V2 only. */
  readonly keyspaces?: readonly string[] | undefined;
  /** Keys at which regions begin from the start; in V2 in the default keyspace. */
  readonly splitKeys?: readonly KeyInput[] | undefined;
  /** Time and chance. By default those of the system. */
  readonly environment?: Environment | undefined;
  /** Another clock in an otherwise default environment. */
  readonly clock?: Clock | undefined;
  /** Makes chance repeatable in an otherwise default environment. */
  readonly seed?: number | undefined;
  /** The network in memory to listen on; a new one by default. */
  readonly network?: MemoryNetwork | undefined;
  /** Listens on real ports as well, for other processes. */
  readonly ports?: PlaygroundPorts | undefined;
  /** Sizes beyond which stores refuse; TiKV's defaults for what is absent. */
  readonly limits?: Partial<ClusterLimits> | undefined;
  /** The id of the cluster. */
  readonly clusterId?: bigint | undefined;
}

/** TiKV's own defaults. */
const DEFAULT_LIMITS: ClusterLimits = { maxKeyBytes: 8 * 1024, maxEntryBytes: 8 * 1024 * 1024 };

/** Real ids are large too, so that nobody takes one for a number of 32 bits. */
const DEFAULT_CLUSTER_ID = 7_400_000_000_000_000_001n;

const MAX_STORES = 100;

/** Options with every default filled in. */
export interface PlaygroundPlan {
  readonly stores: number;
  readonly replicas: number;
  readonly pdMembers: 1 | 3;
  readonly apiVersion: ApiVersion;
  readonly mode: ClusterMode | undefined;
  readonly keyspaces: readonly string[];
  readonly splitKeys: readonly KeyInput[];
  readonly environment: Environment;
  readonly network: MemoryNetwork | undefined;
  readonly ports: PlaygroundPorts | undefined;
  readonly limits: ClusterLimits;
  readonly clusterId: bigint;
}

/** Checks options and fills in what is absent. */
export function planOf(options: PlaygroundOptions): PlaygroundPlan {
  const { apiVersion = "v1", mode, pdMembers = 1, keyspaces = [] } = options;
  const stores = whole("stores", options.stores ?? 1, { min: 1, max: MAX_STORES });
  const replicas = whole("replicas", options.replicas ?? Math.min(3, stores), { min: 1, max: stores });
  if (apiVersion !== "v1" && apiVersion !== "v1ttl" && apiVersion !== "v2") {
    throw new RangeError(`Cannot start a playground: unknown apiVersion "${String(apiVersion)}"`);
  }
  if (pdMembers !== 1 && pdMembers !== 3) {
    throw new RangeError(`Cannot start a playground: pdMembers is ${String(pdMembers)}, wanted 1 or 3`);
  }
  if (mode === "txn" && apiVersion === "v1ttl") {
    throw new RangeError(`Cannot start a playground: API version "v1ttl" has no transactions`);
  }
  if (keyspaces.length > 0 && apiVersion !== "v2") {
    throw new RangeError(`Cannot start a playground: keyspaces need API version "v2"`);
  }
  const base = options.environment ?? systemEnvironment;
  return {
    stores,
    replicas,
    pdMembers,
    apiVersion,
    mode,
    keyspaces,
    splitKeys: options.splitKeys ?? [],
    environment: {
      clock: options.clock ?? base.clock,
      random: options.seed === undefined ? base.random : new SeededRandom(options.seed),
    },
    network: options.network,
    ports: options.ports,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    clusterId: options.clusterId ?? DEFAULT_CLUSTER_ID,
  };
}

function whole(name: string, value: number, bounds: { readonly min: number; readonly max: number }): number {
  if (Number.isInteger(value) && value >= bounds.min && value <= bounds.max) return value;
  throw new RangeError(
    `Cannot start a playground: ${name} is ${value}, wanted ${bounds.min} to ${bounds.max}`,
  );
}

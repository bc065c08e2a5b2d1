// SPDX-License-Identifier: Apache-2.0

import type { Transport as ConnectTransport } from "@connectrpc/connect";
import type { Environment } from "./async/clock.ts";
import type { Observer } from "./observe/events.ts";
import type { LoggerLike } from "./observe/logger.ts";
import type { TracerLike } from "./observe/tracer.ts";
import type { Interceptor } from "./observe/interceptor.ts";

/**
 * How the cluster lays out its data: `1`, `"v1ttl"` (version 1 with `enable-ttl`), or `2` (with
 * keyspaces). It must be what the stores are configured with (`storage.api-version`).
 */
export type ApiVersion = 1 | "v1ttl" | 2;

/** Certificates as PEM, in text or bytes. Reading files is up to the caller. */
export interface TlsMaterial {
  /** Authorities that may have signed the servers' certificates. Default: those of the runtime. */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's certificate; needs `key`. */
  readonly cert?: string | Uint8Array | undefined;
  /** The client's private key; needs `cert`. */
  readonly key?: string | Uint8Array | undefined;
}

/** How connections are secured. */
export interface TlsOptions extends TlsMaterial {
  /** Name that the servers' certificates must have, instead of the host that is dialled. */
  readonly serverName?: string | undefined;
  /**
   * Gives the material for each new connection, instead of the fields above: certificates that
   * rotate, the authorities among them, are then picked up without a restart.
   */
  readonly reload?: (() => TlsMaterial | Promise<TlsMaterial>) | undefined;
}

/** Where an address of the cluster is really dialled. */
export interface DialTarget {
  /** Name or address, IPv6 without brackets. */
  readonly host: string;
  /** Port, from 1 to 65535. */
  readonly port: number;
  /** Name that the server's certificate must have; default: `host`. */
  readonly serverName?: string | undefined;
}

/**
 * Translates an address that PD hands out (`host:port`) into one that can be reached from here.
 * `undefined` leaves it as it is.
 */
export type ResolveAddress = (
  address: string,
  about: { readonly kind: "pd" | "store" },
) => string | DialTarget | undefined | Promise<string | DialTarget | undefined>;

/** Options of a client, without the network that it uses. */
export interface ClientOptions {
  /**
   * What the stores are configured with.
   *
   * @default {1} or 2 when a keyspace is named
   */
  readonly apiVersion?: ApiVersion | undefined;
  /**
   * Name of the keyspace, with `apiVersion: 2` only.
   *
   * @default {"DEFAULT"} the keyspace that every V2 cluster has
   */
  readonly keyspace?: string | undefined;
  /**
   * What the data is. In API version 1, raw data and transactions share their keys: each writes over
   * the other, and regions that were cut for one cannot be read by the other. Whichever is used first
   * is therefore the only one, and the other fails with `unsupported`; `"mixed"` allows both, for
   * clusters where somebody keeps the keys apart. It also says whose keys `client.pd` is about: raw
   * ones when both are allowed and neither is used yet, or `"mixed"`.
   *
   * @default what is used first; in API version 2, where keys do not meet, both
   */
  readonly mode?: "raw" | "txn" | "mixed" | undefined;
  /**
   * Time for one call with all its retries, unless the call says otherwise.
   *
   * @default {20000} the retry budget of a raw call in client-go (`rawkvMaxBackoff`)
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Time for one request to one store, after which another replica or connection is tried. Far
   * below `timeoutMs`, so that a store that hangs does not use it up.
   *
   * @default {5000} client-go waits 30 s (`ReadTimeoutShort`), longer than its whole budget
   */
  readonly attemptTimeoutMs?: number | undefined;
  /**
   * Time for one request that walks a whole region: delete range, checksum, coprocessor.
   *
   * @default {60000} `ReadTimeoutMedium` of client-go
   */
  readonly longAttemptTimeoutMs?: number | undefined;
  /**
   * Time for {@linkcode connect}, and for opening a connection later.
   *
   * @default {10000} twice client-go's dial timeout (5 s): two members may be tried
   */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * Time for one request to PD, after which another member is tried.
   *
   * @default {3000} `pd-server-timeout`
   */
  readonly pdTimeoutMs?: number | undefined;
  /** Secures all connections; `https://` addresses turn TLS on with the runtime's authorities. */
  readonly tls?: TlsOptions | undefined;
  /** Addresses that PD hands out → addresses that can be reached from here, both `host:port`. */
  readonly addressMap?: Readonly<Record<string, string>> | ReadonlyMap<string, string> | undefined;
  /** Translates addresses that `addressMap` does not have. */
  readonly resolveAddress?: ResolveAddress | undefined;
  /**
   * Connections to one store; the next one is used when one is full, so that batches stay whole.
   *
   * @default {4} `grpc-connection-count`
   */
  readonly connectionsPerStore?: number | undefined;
  /**
   * Commands in one batch on the wire; 0 sends every command alone.
   *
   * @default {128} `max-batch-size`
   */
  readonly maxBatchSize?: number | undefined;
  /**
   * Requests to one store that may be unanswered at a time; more wait for their turn.
   *
   * @default {16384} bounds the memory of a store that stalls; far above what saturates one
   */
  readonly maxInFlightRequests?: number | undefined;
  /**
   * Parts of one call (regions, or pieces of a region) that are sent at a time.
   *
   * @default {32} keeps a large batch from pushing all other calls aside; client-go has no limit
   */
  readonly maxConcurrentParts?: number | undefined;
  /**
   * Memory for the region cache; the least recently used regions go first.
   *
   * @default {67108864} 64 MiB, some hundred thousand regions
   */
  readonly regionCacheBytes?: number | undefined;
  /**
   * How long a cached region is used without having been asked for.
   *
   * @default {600000} `region-cache-ttl`
   */
  readonly regionCacheTtlMs?: number | undefined;
  /**
   * How long a store that does not answer may take to show that it is alive.
   *
   * @default {1000} `store-liveness-timeout`
   */
  readonly storeLivenessTimeoutMs?: number | undefined;
  /**
   * How often the addresses and states of stores are read again from PD.
   *
   * @default {60000} `stores-refresh-interval`
   */
  readonly storesRefreshMs?: number | undefined;
  /**
   * Silence on a connection with calls in flight after which it is pinged.
   *
   * @default {10000} `grpc-keepalive-time`
   */
  readonly keepAliveMs?: number | undefined;
  /**
   * Time for the answer to a ping, after which the connection is given up.
   *
   * @default {3000} `grpc-keepalive-timeout`
   */
  readonly keepAliveTimeoutMs?: number | undefined;
  /**
   * How long a connection without calls stays open.
   *
   * @default {180000} client-go closes idle connections after 3 min
   */
  readonly idleCloseMs?: number | undefined;
  /**
   * The largest answer that is taken; a larger one is refused before it is buffered.
   *
   * @default {67108864} 64 MiB: eight of TiKV's largest entries; client-go has no limit
   */
  readonly maxResponseBytes?: number | undefined;
  /**
   * The largest key, checked before sending.
   *
   * @default {8192} `storage.max-key-size` of TiKV, which counts the 4 bytes of a keyspace too
   */
  readonly maxKeyBytes?: number | undefined;
  /**
   * The largest key with its value, checked before sending.
   *
   * @default {8388608} `raftstore.raft-entry-max-size` of TiKV
   */
  readonly maxEntryBytes?: number | undefined;
  /**
   * About how many bytes one page of a scan should have; the number of keys per request follows.
   *
   * @default {1048576} 1 MiB: large enough to hide the round trip, small enough to wait for
   */
  readonly scanPageBytes?: number | undefined;
  /**
   * Where this client is, in the labels that stores have, such as `{ zone: "a" }`: reads that ask for
   * the `"closest"` replicas go to stores with the same.
   *
   * @default none
   */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /**
   * Slots in which this client remembers its newest commits by key: optimistic transactions that it has
   * at the same time then wait for each other at the commit, first come, first served, and one that comes
   * too late fails with `write-conflict` before anything is sent. Worth it where many transactions of
   * one process write the same keys; of other processes it knows nothing, and stores check as always. A
   * slot remembers up to 16 keys, for about two minutes.
   *
   * @default {0} none, as `txn-local-latches` of client-go
   */
  readonly localLatches?: number | undefined;
  /** Wrap each attempt of each request to a store. */
  readonly interceptors?: readonly Interceptor[] | undefined;
  /**
   * An OpenTelemetry tracer, or what looks like one. Each call is a span, such as `txn.get`, and so is each
   * page of a scan; `transaction` is one with all of its attempts in it. Keys and values are in none.
   */
  readonly tracer?: TracerLike | undefined;
  /** Gets to know what the client does. */
  readonly observe?: Observer | undefined;
  /** Is told the events as log lines: `console`, pino and `@std/log` loggers fit. */
  readonly logger?: LoggerLike | undefined;
  /**
   * Shows keys in messages in full instead of their length and first bytes.
   *
   * @default {false} keys are the caller's data
   */
  readonly revealKeys?: boolean | undefined;
  /** Refuses a cluster with another id. */
  readonly expectClusterId?: bigint | undefined;
  /**
   * Carries the calls to PD, for example gRPC-web through a proxy: one transport for all members, or
   * one for each address (`host:port`).
   */
  readonly controlTransport?: ConnectTransport | ((address: string) => ConnectTransport) | undefined;
  /** Clock and chance, for tests and embedded clusters. @default the system's */
  readonly environment?: Environment | undefined;
}

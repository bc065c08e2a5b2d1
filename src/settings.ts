// SPDX-License-Identifier: Apache-2.0

import type { Transport as ConnectTransport } from "@connectrpc/connect";
import { type Environment, systemEnvironment } from "./async/clock.ts";
import { nameOf } from "./bytes/utf8.ts";
import type { ClientOptions, ResolveAddress, TlsOptions } from "./client_options.ts";
import { guardObserver, type Observer } from "./observe/events.ts";
import type { Interceptor } from "./observe/interceptor.ts";
import { loggingObserver } from "./observe/logger.ts";
import type { TracerLike } from "./observe/tracer.ts";
import {
  checkBoolean,
  checkFunction,
  checkLabels,
  checkMethods,
  checkNames,
  checkNumber,
  checkTimeout,
  type NumberRule,
} from "./options.ts";

export type {
  ApiVersion,
  ClientOptions,
  DialTarget,
  ResolveAddress,
  TlsMaterial,
  TlsOptions,
} from "./client_options.ts";

/** {@linkcode ClientOptions} checked, completed and frozen: what every layer reads. */
export interface Settings extends Readonly<Record<NumberSetting, number>> {
  readonly apiVersion: "v1" | "v1ttl" | "v2";
  readonly mode: "raw" | "txn" | "mixed" | undefined;
  /** Set when, and only when, the API version is 2. */
  readonly keyspace: string | undefined;
  readonly tls: TlsOptions | undefined;
  readonly addressMap: ReadonlyMap<string, string>;
  readonly resolveAddress: ResolveAddress | undefined;
  readonly labels: ReadonlyMap<string, string>;
  readonly interceptors: readonly Interceptor[];
  readonly tracer: TracerLike | undefined;
  /** Never throws, whatever was given as `observe` and `logger`. */
  readonly observe: Observer;
  readonly revealKeys: boolean;
  readonly expectClusterId: bigint | undefined;
  readonly controlTransport: ConnectTransport | ((address: string) => ConnectTransport) | undefined;
  readonly environment: Environment;
}

/** Checks options and fills in the defaults; see {@linkcode ClientOptions} for each. */
export function resolveSettings(options: ClientOptions = {}): Settings {
  checkNames("the options", options, OPTION_NAMES);
  const numbers = Object.fromEntries(
    Object.entries(NUMBERS).map(([name, rule]) => {
      const value = options[name as NumberSetting];
      if (value === undefined) return [name, rule.value];
      return [name, name.endsWith("Ms") ? checkTimeout(name, value) : checkNumber(name, value, rule)];
    }),
  ) as Record<NumberSetting, number>;
  checkFunction("resolveAddress", options.resolveAddress);
  checkFunction("observe", options.observe);
  checkMethods("logger", options.logger, ["debug", "info", "warn", "error"]);
  checkMethods("tracer", options.tracer, ["startSpan"]);
  if (typeof options.controlTransport !== "function") {
    checkMethods("controlTransport", options.controlTransport, ["unary", "stream"]);
  }
  return Object.freeze({
    ...numbers,
    ...checkApi(options.apiVersion, options.keyspace),
    mode: checkMode(options.mode),
    tls: checkTls(options.tls),
    addressMap: checkAddressMap(options.addressMap),
    resolveAddress: options.resolveAddress,
    labels: checkLabels("labels", options.labels),
    interceptors: checkInterceptors(options.interceptors),
    tracer: options.tracer,
    observe: observerOf(options),
    revealKeys: options.revealKeys === undefined ? false : checkBoolean("revealKeys", options.revealKeys),
    expectClusterId: checkClusterId(options.expectClusterId),
    controlTransport: options.controlTransport,
    environment: options.environment ?? systemEnvironment,
  });
}

function checkApi(
  version: unknown,
  keyspace: unknown,
): Pick<Settings, "apiVersion" | "keyspace"> {
  if (keyspace !== undefined && typeof keyspace !== "string") {
    throw new TypeError(`Cannot use ${nameOf(keyspace)} as "keyspace": expected a string`);
  }
  if (keyspace === "") {
    throw new RangeError('Cannot use an empty "keyspace": expected a name, or none for "DEFAULT"');
  }
  if (version === 2 || (version === undefined && keyspace !== undefined)) {
    return { apiVersion: "v2", keyspace: keyspace ?? "DEFAULT" };
  }
  if (keyspace !== undefined) {
    throw new TypeError(
      'Cannot use "keyspace" without API version 2: expected "apiVersion" to be 2 or absent',
    );
  }
  if (version === undefined || version === 1) return { apiVersion: "v1", keyspace: undefined };
  if (version === "v1ttl") return { apiVersion: "v1ttl", keyspace: undefined };
  const shown = typeof version === "string" ? `"${version}"` : String(version);
  const message = `Cannot use ${shown} as "apiVersion": expected 1, "v1ttl" or 2`;
  throw typeof version === "string" || typeof version === "number"
    ? new RangeError(message)
    : new TypeError(message);
}

function checkMode(mode: unknown): Settings["mode"] {
  if (mode === undefined || mode === "raw" || mode === "txn" || mode === "mixed") return mode;
  const wanted = 'expected "raw", "txn" or "mixed"';
  if (typeof mode === "string") throw new RangeError(`Cannot use "${mode}" as "mode": ${wanted}`);
  throw new TypeError(`Cannot use ${nameOf(mode)} as "mode": ${wanted}`);
}

function checkTls(tls: TlsOptions | undefined): TlsOptions | undefined {
  if (tls === undefined) return undefined;
  checkNames("the TLS options", tls, TLS_NAMES);
  checkFunction("tls.reload", tls.reload);
  for (const name of ["ca", "cert", "key"] as const) {
    const value: unknown = tls[name];
    if (value !== undefined && typeof value !== "string" && !(value instanceof Uint8Array)) {
      throw new TypeError(`Cannot use ${nameOf(value)} as "tls.${name}": expected PEM text or bytes`);
    }
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    throw new TypeError('Cannot use one of "tls.cert" and "tls.key": expected both or none');
  }
  if (tls.serverName !== undefined && typeof tls.serverName !== "string") {
    throw new TypeError(`Cannot use ${nameOf(tls.serverName)} as "tls.serverName": expected a string`);
  }
  return Object.freeze({ ...tls });
}

function checkAddressMap(map: ClientOptions["addressMap"]): ReadonlyMap<string, string> {
  if (map === undefined) return new Map();
  if (typeof map !== "object" || map === null) {
    throw new TypeError(`Cannot use ${nameOf(map)} as "addressMap": expected an object or a Map`);
  }
  const entries = new Map<string, string>(map instanceof Map ? map : Object.entries(map));
  for (const [from, to] of entries) {
    for (const address of [from, to]) {
      if (typeof address !== "string") {
        throw new TypeError(`Cannot use ${nameOf(address)} in "addressMap": expected strings`);
      }
      if (!HOST_AND_PORT.test(address)) {
        throw new RangeError(`Cannot use "${address}" in "addressMap": expected "host:port"`);
      }
    }
  }
  return entries;
}

function checkInterceptors(interceptors: readonly Interceptor[] | undefined): readonly Interceptor[] {
  if (interceptors === undefined) return [];
  if (!Array.isArray(interceptors)) {
    throw new TypeError(`Cannot use ${nameOf(interceptors)} as "interceptors": expected an array`);
  }
  for (const interceptor of interceptors) {
    if (typeof interceptor !== "function") {
      throw new TypeError(`Cannot use ${nameOf(interceptor)} in "interceptors": expected functions`);
    }
  }
  return Object.freeze([...interceptors]);
}

function checkClusterId(id: bigint | undefined): bigint | undefined {
  if (id === undefined || typeof id === "bigint") return id;
  throw new TypeError(`Cannot use ${nameOf(id)} as "expectClusterId": expected a bigint`);
}

function observerOf({ observe, logger }: ClientOptions): Observer {
  if (logger === undefined) return guardObserver(observe);
  const log = guardObserver(loggingObserver(logger));
  if (observe === undefined) return log;
  const tell = guardObserver(observe);
  return (event) => {
    log(event);
    tell(event);
  };
}

const HOST_AND_PORT = /^(\[[0-9a-fA-F:.]+\]|[^\s:/@[\]]+):\d{1,5}$/;

type NumberSetting = {
  [N in keyof ClientOptions]-?: number extends ClientOptions[N] ? N : never;
}[keyof ClientOptions];

const COUNT = { min: 1, max: Number.MAX_SAFE_INTEGER, isWhole: true };
const TIME = { min: 0, max: Infinity };

/** Defaults and bounds; the reasons stand at the fields of `ClientOptions`. */
const NUMBERS = {
  timeoutMs: { ...TIME, value: 20_000 },
  attemptTimeoutMs: { ...TIME, value: 5_000 },
  longAttemptTimeoutMs: { ...TIME, value: 60_000 },
  connectTimeoutMs: { ...TIME, value: 10_000 },
  pdTimeoutMs: { ...TIME, value: 3_000 },
  connectionsPerStore: { ...COUNT, max: 256, value: 4 },
  // Ids of one batch stream are plain numbers and its frame has to stay far below 4 GiB.
  maxBatchSize: { min: 0, max: 4096, isWhole: true, value: 128 },
  maxInFlightRequests: { ...COUNT, value: 16_384 },
  maxConcurrentParts: { ...COUNT, value: 32 },
  regionCacheBytes: { ...COUNT, value: 64 * 1024 * 1024 },
  regionCacheTtlMs: { ...TIME, value: 600_000 },
  storeLivenessTimeoutMs: { ...TIME, value: 1_000 },
  storesRefreshMs: { ...TIME, value: 60_000 },
  keepAliveMs: { ...TIME, value: 10_000 },
  keepAliveTimeoutMs: { ...TIME, value: 3_000 },
  idleCloseMs: { ...TIME, value: 180_000 },
  // A gRPC frame cannot announce more than 32 bits.
  maxResponseBytes: { ...COUNT, max: 0xffff_ffff, value: 64 * 1024 * 1024 },
  maxKeyBytes: { ...COUNT, value: 8 * 1024 },
  maxEntryBytes: { ...COUNT, value: 8 * 1024 * 1024 },
  scanPageBytes: { ...COUNT, value: 1024 * 1024 },
  localLatches: { ...COUNT, min: 0, max: 2 ** 20, value: 0 },
} satisfies Record<NumberSetting, NumberRule & { readonly value: number }>;

const OTHER_NAMES = [
  "apiVersion",
  "keyspace",
  "mode",
  "tls",
  "addressMap",
  "resolveAddress",
  "labels",
  "interceptors",
  "tracer",
  "observe",
  "logger",
  "revealKeys",
  "expectClusterId",
  "controlTransport",
  "environment",
] as const satisfies readonly Exclude<keyof ClientOptions, NumberSetting>[];

const OPTION_NAMES: ReadonlySet<string> = new Set([...Object.keys(NUMBERS), ...OTHER_NAMES]);
const TLS_NAMES: ReadonlySet<string> = new Set(["ca", "cert", "key", "serverName", "reload"]);

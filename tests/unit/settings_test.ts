// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { systemEnvironment } from "../../src/async/clock.ts";
import type { ClientEvent } from "../../src/observe/events.ts";
import { type ClientOptions, resolveSettings } from "../../src/settings.ts";

test("[CFG-001] [CFG-002] [CFG-009] [CFG-012] [CFG-014] [CFG-017] [CFG-022] [CFG-026] resolveSettings() fills in the defaults of TiKV and client-go", () => {
  const { observe, environment, addressMap, ...rest } = resolveSettings();
  assert.equal(typeof observe, "function");
  assert.equal(environment, systemEnvironment);
  assert.equal(addressMap.size, 0);
  assert.deepEqual(rest, {
    timeoutMs: 20_000,
    attemptTimeoutMs: 5_000,
    longAttemptTimeoutMs: 60_000,
    connectTimeoutMs: 10_000,
    pdTimeoutMs: 3_000,
    connectionsPerStore: 4,
    maxBatchSize: 128,
    maxInFlightRequests: 16_384,
    maxConcurrentParts: 32,
    regionCacheBytes: 67_108_864,
    regionCacheTtlMs: 600_000,
    storeLivenessTimeoutMs: 1_000,
    storesRefreshMs: 60_000,
    keepAliveMs: 10_000,
    keepAliveTimeoutMs: 3_000,
    idleCloseMs: 180_000,
    maxResponseBytes: 67_108_864,
    maxKeyBytes: 8_192,
    maxEntryBytes: 8_388_608,
    scanPageBytes: 1_048_576,
    localLatches: 0,
    apiVersion: "v1",
    mode: undefined,
    keyspace: undefined,
    labels: new Map(),
    tls: undefined,
    resolveAddress: undefined,
    interceptors: [],
    tracer: undefined,
    revealKeys: false,
    expectClusterId: undefined,
    controlTransport: undefined,
  });
});

test("[CFG-035] resolveSettings() freezes what it returns and does not keep the caller's objects", () => {
  const interceptors = [async () => await undefined];
  const addressMap = { "a:1": "b:2" };
  const settings = resolveSettings({ interceptors, addressMap });
  assert.ok(Object.isFrozen(settings));
  interceptors.pop();
  delete (addressMap as Record<string, string>)["a:1"];
  assert.equal(settings.interceptors.length, 1);
  assert.equal(settings.addressMap.get("a:1"), "b:2");
});

test("[KS-001] [RAW-022] resolveSettings() takes each API version, and a keyspace with version 2 only", () => {
  const api = (options: ClientOptions): unknown[] => {
    const { apiVersion, keyspace } = resolveSettings(options);
    return [apiVersion, keyspace];
  };
  assert.deepEqual(api({ apiVersion: 1 }), ["v1", undefined]);
  assert.deepEqual(api({ apiVersion: "v1ttl" }), ["v1ttl", undefined]);
  assert.deepEqual(api({ apiVersion: 2 }), ["v2", "DEFAULT"]);
  assert.deepEqual(api({ apiVersion: 2, keyspace: "orders" }), ["v2", "orders"]);
  assert.deepEqual(api({ keyspace: "orders" }), ["v2", "orders"]);
});

test("resolveSettings() refuses bad input with the class that says whose mistake it is", () => {
  for (const [index, [options, expected]] of BAD_OPTIONS.entries()) {
    assert.throws(() => resolveSettings(options as ClientOptions), expected, `row ${index}`);
  }
});

test("resolveSettings() names the nearest option for one that is unknown", () => {
  const messageOf = (options: object): string => {
    try {
      resolveSettings(options);
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  };
  assert.match(messageOf({ timeout: 5 }), /unknown option "timeout", did you mean "timeoutMs"/);
  assert.match(messageOf({ keySpace: "a" }), /did you mean "keyspace"/);
  assert.match(messageOf({ tls: { servername: "a" } }), /did you mean "serverName"/);
  assert.doesNotMatch(messageOf({ zzzzzzzzzzzz: 1 }), /did you mean/);
});

test("observe and logger both get every event, and neither can throw into the client", () => {
  const seen: string[] = [];
  const { observe } = resolveSettings({
    observe: (event) => {
      seen.push(event.type);
      throw new Error("the observer is broken");
    },
    logger: {
      debug: () => seen.push("debug"),
      info: () => seen.push("info"),
      warn: () => {
        seen.push("warn");
        throw new Error("the logger is broken");
      },
      error: () => seen.push("error"),
    },
  });
  const events: ClientEvent[] = [
    { type: "warning", message: "odd" },
    { type: "pd-leader", address: "pd:2379" },
    { type: "rpc", method: "RawGet", address: "s:1", durationMs: 1, isError: false },
  ];
  for (const event of events) observe(event);
  assert.deepEqual(seen, ["warn", "warning", "info", "pd-leader", "rpc"]);
});

test("logger takes the console as it is", () => {
  assert.doesNotThrow(() => resolveSettings({ logger: console }));
});

const BAD_OPTIONS: readonly [options: unknown, expected: ErrorConstructor][] = [
  [{ unknown: 1 }, TypeError],
  [[], TypeError],
  ["http://pd:2379", TypeError],
  [{ timeoutMs: "5" }, TypeError],
  [{ timeoutMs: 0 }, RangeError],
  [{ timeoutMs: -1 }, RangeError],
  [{ timeoutMs: NaN }, RangeError],
  [{ timeoutMs: Infinity }, RangeError],
  [{ connectTimeoutMs: -5 }, RangeError],
  [{ connectionsPerStore: 0 }, RangeError],
  [{ connectionsPerStore: 1.5 }, RangeError],
  [{ connectionsPerStore: 4n }, TypeError],
  [{ maxBatchSize: -1 }, RangeError],
  [{ maxBatchSize: NaN }, RangeError],
  [{ maxResponseBytes: 2 ** 32 }, RangeError],
  [{ maxKeyBytes: 0 }, RangeError],
  [{ apiVersion: 3 }, RangeError],
  [{ apiVersion: "v3" }, RangeError],
  [{ apiVersion: true }, TypeError],
  [{ apiVersion: 1, keyspace: "orders" }, TypeError],
  [{ apiVersion: 2, keyspace: 7 }, TypeError],
  [{ apiVersion: 2, keyspace: "" }, RangeError],
  [{ tls: true }, TypeError],
  [{ tls: { ca: 5 } }, TypeError],
  [{ tls: { cert: "pem" } }, TypeError],
  [{ tls: { reload: "pem" } }, TypeError],
  [{ addressMap: "a:1" }, TypeError],
  [{ addressMap: { "a:1": 5 } }, TypeError],
  [{ addressMap: { "a": "b:1" } }, RangeError],
  [{ addressMap: { "a:1": "http://b:1" } }, RangeError],
  [{ resolveAddress: {} }, TypeError],
  [{ observe: console }, TypeError],
  [{ logger: {} }, TypeError],
  [{ tracer: {} }, TypeError],
  [{ labels: "zone" }, TypeError],
  [{ labels: ["zone"] }, TypeError],
  [{ labels: { zone: 1 } }, TypeError],
  [{ interceptors: () => {} }, TypeError],
  [{ interceptors: [1] }, TypeError],
  [{ expectClusterId: 5 }, TypeError],
  [{ controlTransport: {} }, TypeError],
  [{ revealKeys: 1 }, TypeError],
];

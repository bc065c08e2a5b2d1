// SPDX-License-Identifier: Apache-2.0
// Requests to the region of "k" in a scripted world.

import assert from "node:assert/strict";
import type { Operation } from "../../../src/async/operation.ts";
import { type ErrorKind, TikvError } from "../../../src/errors.ts";
import type { Region } from "../../../src/region/region.ts";
import type { ReadRoute } from "../../../src/region/replica.ts";
import { type RegionRequest, type RequestOptions, STALE } from "../../../src/region/send.ts";
import { type Command, COMMANDS } from "../../../src/rpc/commands.ts";
import { bytes, regionError, type StoreStep, type World } from "./region_world.ts";

export type Any = Command<unknown, unknown>;

export const GET = COMMANDS.RawGet as unknown as Any;
export const PUT = COMMANDS.RawPut as unknown as Any;
export const CAS = COMMANDS.RawCompareAndSwap as unknown as Any;
export const TXN_GET = COMMANDS.KvGet as unknown as Any;

/** A way to pick replicas; usually all alike. */
export function routeOf(route: Partial<ReadRoute> = {}): ReadRoute {
  return {
    mode: "mixed",
    isStale: false,
    labels: new Map(),
    storeIds: new Set(),
    busyThresholdMs: 0,
    ...route,
  };
}

export function request(
  world: World,
  command: Any = GET,
  options?: RequestOptions,
): RegionRequest<unknown, unknown> {
  return world.sender.request(command, { key: bytes("k"), value: bytes("v"), version: 1n }, options);
}

export interface Sent {
  readonly region: Region;
  readonly result: unknown;
}

/** Sends one request to the region of "k", whose stores answer by the script. */
export async function send(
  world: World,
  script: StoreStep[],
  command?: Any,
  timeoutMs?: number,
  options?: RequestOptions,
): Promise<Sent> {
  const region = await world.locate("k");
  world.net.script.push(...script);
  const operation = world.operation(timeoutMs);
  const result = await world.clock.run(
    world.sender.send(region, request(world, command, options), operation).catch((error: unknown) =>
      operation.fail(error)
    ),
  );
  return { region, result };
}

/** Looks the region up again as long as it has moved on. */
export async function sendThrough(
  world: World,
  again: RegionRequest<unknown, unknown>,
  operation: Operation,
): Promise<unknown> {
  for (;;) {
    const region = await world.regions.locate(bytes("k"), operation);
    const reply = await world.sender.send(region, again, operation);
    if (reply !== STALE) return reply;
  }
}

export function assertKind(result: unknown, kind: ErrorKind): void {
  assert.ok(TikvError.is(result), `expected an error, got ${String(result)}`);
  assert.equal(result.kind, kind, String(result));
}

export const OK = { ok: true };
export const notLeader = (storeId: bigint): StoreStep =>
  regionError({ notLeader: { regionId: 1n, leader: { id: 10n + storeId, storeId } } });

// SPDX-License-Identifier: Apache-2.0

/**
 * Plans: requests that the client has no method for, sent to the regions of a range, the regions of
 * keys, or all stores, with the routing and retries of the client. Keys are those of the caller: the
 * client adds and takes off what the API version needs.
 *
 * @example The digest of a range, region by region
 * ```ts
 * import assert from "node:assert/strict";
 * import { Kv } from "@tikv/client/plan";
 *
 * await client.raw.batchPut([["user/1", "Ada"], ["user/2", "Bob"]]);
 * const total = await client.plan(Kv.rawChecksum, { algorithm: 0 })
 *   .toRegionsOf({ prefix: "user/" }, ({ start, end }) => ({ ranges: [{ startKey: start, endKey: end }] }))
 *   .retryRegionErrors()
 *   .concurrency(16)
 *   .merge(0n, (total, reply) => total + reply.totalKvs)
 *   .run({ timeoutMs: 5_000 });
 * assert.equal(total, 2n);
 * ```
 *
 * @experimental
 * @module
 */

export type { Command, CommandName, Commands } from "../rpc/commands.ts";
export type { KvCommands, KvName } from "./kv.ts";
export { Kv } from "./kv.ts";
export type { Plan, PlanStart } from "./plan.ts";
export { ScanResult } from "./scan_result.ts";

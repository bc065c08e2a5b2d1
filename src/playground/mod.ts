// SPDX-License-Identifier: Apache-2.0

/**
 * A TiKV cluster inside the process, for tests and for trying things out: PD, stores, regions and
 * faults, speaking the real protocol in memory and on ports. Data lives in memory only.
 *
 * @example Start a cluster of three stores and split it
 * ```ts
 * import { Playground } from "@tikv/client/playground";
 * import assert from "node:assert/strict";
 *
 * await using cluster = await Playground.start({ stores: 3 });
 * await cluster.split("m");
 * assert.equal(cluster.regions().length, 2);
 * ```
 *
 * @module
 */

export { Playground } from "./playground.ts";
export type { KeyOptions, PlaygroundConnectOptions } from "./playground.ts";
export type { PlaygroundOptions, PlaygroundPorts, PlaygroundTls } from "./options.ts";
export { fault } from "./fault.ts";
export type {
  FaultEffect,
  FaultMatch,
  FaultPlan,
  FaultRule,
  Faults,
  FaultTarget,
  RegionErrorInit,
} from "./faults.ts";
export type { ApiVersion } from "./api_version.ts";
export type { CallCounts, ClusterLimits, ClusterMode, MemberState, StoreState } from "./cluster.ts";
export type { Keyspace } from "./keyspaces.ts";
export type { Peer, PeerRole, Region } from "./regions.ts";
export type { KeyInput } from "../bytes/utf8.ts";
export { MemoryNetwork } from "../rpc/memory.ts";
export type { LinkState, MemoryLink, MemoryNetworkOptions } from "../rpc/memory.ts";
export { ManualClock } from "../testing/manual_clock.ts";
export { SeededRandom } from "../testing/seeded_random.ts";

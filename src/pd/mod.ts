// SPDX-License-Identifier: Apache-2.0

/**
 * The client of the placement driver (PD) alone, for tools that look at a cluster or change how
 * its data is laid out.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { Pd } from "@tikv/client/pd";
 *
 * const pd = await Pd.connect("http://127.0.0.1:2379");
 * for await (const region of pd.regions({})) assert.ok(region.peers.length > 0);
 * await pd.close();
 * ```
 *
 * @module
 */

export { Pd } from "./pd_client.ts";
export type { PdRegionsOptions, PdScatterOptions, PdSplitOptions } from "./pd_client.ts";
export type { PdConnectionOptions, PdOptions } from "./options.ts";
export type { ControlTransport } from "./pd_channel.ts";
export type { PdClusterInfo, PdConfigChange, PdConfigItem } from "./cluster_state.ts";
export { PdConfig } from "./config.ts";
export type { PdConfigLoadOptions } from "./config.ts";
export { PdKeyspaces } from "./keyspaces.ts";
export type { PdKeyspace, PdKeyspaceState } from "./keyspace_calls.ts";
export type { PdMember } from "./members.ts";
export type { PdOperator, PdScatter, PdSplit } from "./meta.ts";
export type { PdPeer, PdRegion, PdStore } from "./region.ts";
export type { CallOptions, RegionId, StoreId, Timestamp } from "../types.ts";
export type { BoundsInput, KeyRange, PrefixInput, RangeInput } from "../bytes/key_range.ts";
export type { KeyInput } from "../bytes/utf8.ts";
export { v1Codec, v1TtlCodec, v2Codec } from "../codec/keyspace.ts";
export type { ApiKeyCodec, ApiVersion, KeyMode } from "../codec/keyspace.ts";

// SPDX-License-Identifier: Apache-2.0
// What PD keeps for the whole cluster besides regions and stores.

import { EventType, PD, ServiceMode } from "../../gen/pdpb_pb.ts";
import { type Timestamp, timestampOf } from "../types.ts";
import { errorOfRefusal, isUnimplemented } from "./pd_error.ts";
import type { PdCall, PdLink } from "./pd_link.ts";
import type { Tso } from "./tso.ts";

/** What must not be read any more. */
export interface SnapshotBound {
  /** Snapshots before it must not be read. */
  readonly ts: Timestamp;
  /**
   * It is the one of garbage collection itself, which removes what is before it from this moment on;
   * else it is the one that stands a while before that.
   */
  readonly isCollecting: boolean;
}

/** How PD's services are deployed. */
export interface PdClusterInfo {
  /** `"pd"`: PD does everything. `"api"`: timestamps and more come from services of their own. */
  readonly serviceModes: readonly ("pd" | "api" | "unknown")[];
  /** Where the timestamp service listens, if it is one of its own. */
  readonly tsoUrls: readonly string[];
}

/** One entry of the global configuration. */
export interface PdConfigItem {
  /** Without the path. */
  readonly name: string;
  /** As it was stored. */
  readonly value: Uint8Array;
}

/** A change of the global configuration; without a value it is removed. */
export interface PdConfigChange {
  /** Without the path. */
  readonly name: string;
  /** What it becomes. */
  readonly value?: Uint8Array | undefined;
}

/** Calls about the state of the cluster. */
export class ClusterState {
  readonly #link: PdLink;
  readonly #tso: Tso;
  #hasMinTs = true;
  #hasGcStates = true;

  constructor(link: PdLink, tso: Tso) {
    this.#link = link;
    this.#tso = tso;
  }

  /**
   * A timestamp that no service which hands them out is behind of. PD-040: where PD hands them out
   * itself, also a PD that does not have the call, it is an ordinary one.
   */
  async minTimestamp(call: PdCall): Promise<Timestamp> {
    if (this.#hasMinTs) {
      try {
        const { timestamp } = await this.#link.call(PD.method.getMinTS, { header: this.#link.header }, call);
        // PD answers so when it could not make one (`server/grpc_service.go` at a186e0cc).
        if (timestamp !== undefined && timestamp.physical > 0n) {
          return timestampOf(timestamp.physical, timestamp.logical);
        }
      } catch (error) {
        if (!isUnimplemented(error)) throw error;
        this.#hasMinTs = false;
      }
    }
    return await this.#tso.timestamp(call.deadline, call.operation);
  }

  /**
   * The timestamp before which snapshots of a keyspace must not be read any more. A PD that does not
   * know it knows the one that garbage is collected up to: what is before that may be gone already,
   * and what is between the two need not be all there for long.
   */
  async txnSafePoint(keyspaceId: number, call: PdCall): Promise<SnapshotBound> {
    const { header } = this.#link;
    if (this.#hasGcStates) {
      try {
        const keyspaceScope = { keyspace: { case: "keyspaceId", value: keyspaceId } } as const;
        const request = { header, keyspaceScope, excludeGcBarriers: true };
        const { gcState } = await this.#link.call(PD.method.getGCState, request, call);
        return { ts: (gcState?.txnSafePoint ?? 0n) as Timestamp, isCollecting: false };
      } catch (error) {
        if (!isUnimplemented(error)) throw error;
        this.#hasGcStates = false;
      }
    }
    const { safePoint } = await this.#link.call(PD.method.getGCSafePoint, { header }, call);
    return { ts: safePoint as Timestamp, isCollecting: true };
  }

  /** The timestamp that an outside coordinator left; 0 when none did. */
  async externalTimestamp(call: PdCall): Promise<Timestamp> {
    const reply = await this.#link.call(PD.method.getExternalTimestamp, { header: this.#link.header }, call);
    return reply.timestamp as Timestamp;
  }

  /** Leaves a timestamp. PD refuses one before the present one, or after its own time. */
  async setExternalTimestamp(timestamp: Timestamp, call: PdCall): Promise<void> {
    const request = { header: this.#link.header, timestamp };
    await this.#link.call(PD.method.setExternalTimestamp, request, { ...call, isWrite: true });
  }

  /** How PD's services are deployed. PD-014: a PD that cannot tell does everything itself. */
  async clusterInfo(call: PdCall): Promise<PdClusterInfo> {
    try {
      const reply = await this.#link.call(PD.method.getClusterInfo, {}, call);
      return {
        serviceModes: reply.serviceModes.map((mode) => MODES[mode] ?? "unknown"),
        tsoUrls: reply.tsoUrls,
      };
    } catch (error) {
      if (!isUnimplemented(error)) throw error;
      return { serviceModes: ["pd"], tsoUrls: [] };
    }
  }

  /** Entries under a path: those named, or all. What is not there is left out. */
  async loadConfig(
    names: readonly string[] | undefined,
    path: string,
    call: PdCall,
  ): Promise<{ items: PdConfigItem[]; revision: bigint }> {
    const request = { names: [...names ?? []], configPath: path };
    const reply = await this.#link.call(PD.method.loadGlobalConfig, request, call);
    const items: PdConfigItem[] = [];
    for (const item of reply.items) {
      const error = errorOfRefusal(item.error, { method: "LoadGlobalConfig", address: "PD" });
      if (error?.code === "GLOBAL_CONFIG_NOT_FOUND") continue;
      if (error !== undefined) throw error;
      // PD names an entry of a whole path by its full key.
      const name = item.name.slice(item.name.startsWith(`${path}/`) ? path.length + 1 : 0);
      items.push({
        name,
        value: item.payload.length > 0 ? item.payload.slice() : new TextEncoder().encode(item.value),
      });
    }
    return { items, revision: reply.revision };
  }

  /** Changes entries under a path, all or none. */
  async storeConfig(changes: readonly PdConfigChange[], path: string, call: PdCall): Promise<void> {
    const request = {
      configPath: path,
      changes: changes.map(({ name, value }) =>
        value === undefined ? { name, kind: EventType.DELETE } : { name, kind: EventType.PUT, payload: value }
      ),
    };
    await this.#link.call(PD.method.storeGlobalConfig, request, { ...call, isWrite: true });
  }
}

const MODES: Readonly<Record<number, PdClusterInfo["serviceModes"][number]>> = {
  [ServiceMode.UNKNOWN_SVC_MODE]: "unknown",
  [ServiceMode.PD_SVC_MODE]: "pd",
  [ServiceMode.API_SVC_MODE]: "api",
};

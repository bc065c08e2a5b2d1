// SPDX-License-Identifier: Apache-2.0
// What PD refuses, as a table. Here the real servers have the real PD, so each row is a judgement.

import assert from "node:assert/strict";
import type { DescMethodUnary } from "@bufbuild/protobuf";
import { Keyspace } from "../../gen/keyspacepb_pb.ts";
import { MetaStorage } from "../../gen/meta_storagepb_pb.ts";
import { ErrorType, PD } from "../../gen/pdpb_pb.ts";
import { utf8Encode } from "../../src/bytes/utf8.ts";
import { GRPC, RpcError } from "../../src/rpc/grpc_status.ts";
import { type Backend, type Capability, contract } from "./backend.ts";
import { type DirectCalls, directCalls } from "./direct_calls.ts";

type Method = DescMethodUnary;

/** How PD refuses: the call fails, or the header of its answer says why, or it answers with less. */
type Refusal =
  | { readonly grpc: number; readonly text: RegExp }
  | { readonly type: number; readonly text: RegExp }
  | { readonly reply: Record<string, unknown> };

interface Row {
  readonly what: string;
  readonly method: Method;
  readonly needs?: readonly Capability[];
  readonly request: object;
  readonly is: Refusal;
}

const UNKNOWN_ID = 987_654_321n;
const FAR_TS = 1n << 62n;
const EMPTY = new Uint8Array();
const WORKER = utf8Encode("gc_worker");

const pd = PD.method;
const meta = MetaStorage.method;
const NEW: readonly Capability[] = ["new-pd"];

const ROWS: readonly Row[] = [
  {
    what: "a store that is not there",
    method: pd.getStore,
    request: { storeId: UNKNOWN_ID },
    is: { type: ErrorType.UNKNOWN, text: /invalid store ID 987654321, not found/ },
  },
  {
    what: "a region that is not there, by an answer without one",
    method: pd.getRegionByID,
    request: { regionId: UNKNOWN_ID },
    is: { reply: { region: undefined, leader: undefined } },
  },
  {
    what: "the region before the first, by an answer without one",
    method: pd.getPrevRegion,
    request: { regionKey: EMPTY },
    is: { reply: { region: undefined, leader: undefined } },
  },
  {
    what: "to split at no key",
    method: pd.splitRegions,
    request: { splitKeys: [] },
    is: { reply: { finishedPercentage: 0n, regionsId: [] } },
  },
  {
    what: "to split at no key and scatter",
    method: pd.splitAndScatterRegions,
    request: { splitKeys: [] },
    is: { grpc: GRPC.UNKNOWN, text: /empty region/ },
  },
  {
    what: "to scatter one region that is not there",
    method: pd.scatterRegion,
    request: { regionsId: [UNKNOWN_ID] },
    is: { grpc: GRPC.UNKNOWN, text: /region not found/ },
  },
  {
    what: "to scatter regions of which none is there",
    method: pd.scatterRegion,
    request: { regionsId: [UNKNOWN_ID, UNKNOWN_ID + 1n] },
    is: { grpc: GRPC.UNKNOWN, text: /empty region/ },
  },
  {
    what: "to scatter a region that is not there in the old form",
    method: pd.scatterRegion,
    request: { regionId: UNKNOWN_ID },
    is: { type: ErrorType.REGION_NOT_FOUND, text: /not found/ },
  },
  {
    what: "the operator of a region that is not there",
    method: pd.getOperator,
    request: { regionId: UNKNOWN_ID },
    is: { type: ErrorType.REGION_NOT_FOUND, text: /Not Found/ },
  },
  {
    what: "an external timestamp in the future",
    method: pd.setExternalTimestamp,
    request: { timestamp: FAR_TS },
    is: { type: ErrorType.INVALID_VALUE, text: /should not be larger than global ts/ },
  },
  {
    what: "an external timestamp that is no step forward",
    method: pd.setExternalTimestamp,
    request: { timestamp: 0n },
    is: { type: ErrorType.INVALID_VALUE, text: /should be larger than current external timestamp/ },
  },
  {
    what: "to bootstrap a second time",
    method: pd.bootstrap,
    request: { store: { id: 1n, address: "nowhere:1" }, region: { id: 2n } },
    is: { type: ErrorType.ALREADY_BOOTSTRAPPED, text: /already bootstrapped/ },
  },
  {
    what: "a safe point of a service without a name",
    method: pd.updateServiceGCSafePoint,
    request: { serviceId: EMPTY, TTL: 100n, safePoint: 1000n },
    is: { grpc: GRPC.UNKNOWN, text: /empty/ },
  },
  {
    what: "to let the safe point of the collector expire",
    method: pd.updateServiceGCSafePoint,
    request: { serviceId: WORKER, TTL: 10n, safePoint: 1000n },
    is: { grpc: GRPC.UNKNOWN, text: /must be infinity/ },
  },
  {
    what: "to remove the safe point of the collector",
    method: pd.updateServiceGCSafePoint,
    request: { serviceId: WORKER, TTL: -1n, safePoint: 1000n },
    is: { grpc: GRPC.UNKNOWN, text: /gc_worker/ },
  },
  {
    what: "a keyspace that is not there",
    method: Keyspace.method.loadKeyspace,
    request: { name: "nowhere" },
    is: { type: ErrorType.ENTRY_NOT_FOUND, text: /keyspace does not exist/ },
  },
  {
    what: "a keyspace that is not there, by its id",
    method: Keyspace.method.loadKeyspaceByID,
    needs: NEW,
    request: { keyspace: { case: "id", value: 424_242 } },
    is: { type: ErrorType.ENTRY_NOT_FOUND, text: /keyspace does not exist/ },
  },
  {
    what: "another state of a keyspace that is not there",
    method: Keyspace.method.updateKeyspaceState,
    request: { keyspace: { case: "id", value: 424_242 }, state: 1 },
    is: { type: ErrorType.ENTRY_NOT_FOUND, text: /keyspace does not exist/ },
  },
  {
    what: "another state of the default keyspace",
    method: Keyspace.method.updateKeyspaceState,
    request: { keyspace: { case: "id", value: 0 }, state: 1 },
    is: { type: ErrorType.UNKNOWN, text: /keyspace/ },
  },
  {
    what: "to read without a key",
    method: meta.get,
    request: { key: EMPTY },
    is: { type: 1, text: /key is not provided/ },
  },
  {
    what: "to write without a key",
    method: meta.put,
    request: { key: EMPTY, value: EMPTY },
    is: { type: 1, text: /key is not provided/ },
  },
  {
    what: "to delete without a key",
    method: meta.delete,
    request: { key: EMPTY },
    is: { type: 1, text: /key is not provided/ },
  },
  {
    what: "to write with a lease that was not granted",
    method: meta.put,
    request: { key: utf8Encode("/strictness"), value: EMPTY, lease: 77n },
    is: { type: 1, text: /requested lease not found/ },
  },
  {
    what: "to read of the future",
    method: meta.get,
    request: { key: utf8Encode("/strictness"), revision: 1n << 50n },
    is: { type: 1, text: /required revision is a future revision/ },
  },
  {
    what: "configuration that is not there, entry by entry",
    method: pd.loadGlobalConfig,
    request: { names: ["nowhere"], configPath: "/global/config/strictness" },
    is: {
      reply: {
        revision: 0n,
        items: [{
          $typeName: "pdpb.GlobalConfigItem",
          name: "nowhere",
          value: "",
          kind: 0,
          payload: EMPTY,
          error: {
            $typeName: "pdpb.Error",
            type: ErrorType.GLOBAL_CONFIG_NOT_FOUND,
            message: "key nowhere not found",
          },
        }],
      },
    },
  },
];

/** The calls that name the cluster which they mean, and are refused by every other. */
const OF_A_CLUSTER: readonly {
  readonly methods: readonly Method[];
  readonly needs?: readonly Capability[];
}[] = [
  {
    methods: [
      pd.allocID,
      pd.bootstrap,
      pd.getAllStores,
      pd.getClusterConfig,
      pd.getExternalTimestamp,
      pd.getGCSafePoint,
      pd.getMinTS,
      pd.getOperator,
      pd.getPrevRegion,
      pd.getRegion,
      pd.getRegionByID,
      pd.getStore,
      pd.isBootstrapped,
      pd.scanRegions,
      pd.scatterRegion,
      pd.setExternalTimestamp,
      pd.splitAndScatterRegions,
      pd.splitRegions,
      pd.updateGCSafePoint,
      pd.updateServiceGCSafePoint,
      Keyspace.method.getAllKeyspaces,
      Keyspace.method.loadKeyspace,
      Keyspace.method.updateKeyspaceState,
    ],
  },
  {
    needs: NEW,
    methods: [
      pd.advanceGCSafePoint,
      pd.advanceTxnSafePoint,
      pd.batchScanRegions,
      pd.deleteGCBarrier,
      pd.deleteGlobalGCBarrier,
      pd.getAllKeyspacesGCStates,
      pd.getGCState,
      pd.setGCBarrier,
      pd.setGlobalGCBarrier,
      Keyspace.method.loadKeyspaceByID,
    ],
  },
];

/** The calls that any PD answers, whichever cluster is meant. */
const OF_ANY_CLUSTER: readonly Method[] = [
  pd.getMembers,
  pd.getClusterInfo,
  pd.isSnapshotRecovering,
  pd.loadGlobalConfig,
  pd.storeGlobalConfig,
];

async function withCalls(
  scene: { readonly cluster: Parameters<typeof directCalls>[0] },
  body: (calls: DirectCalls) => Promise<void>,
): Promise<void> {
  const calls = await directCalls(scene.cluster);
  try {
    await body(calls);
  } finally {
    await calls.close();
  }
}

function hasCode(code: number, text: RegExp, what: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof RpcError, `${what}: ${error}`);
    assert.equal(error.code, code, what);
    assert.match(error.message, text, what);
    return true;
  };
}

/** Both wrong ids: that of another cluster, and none. */
function wrongIds({ clusterId }: DirectCalls): readonly bigint[] {
  return [clusterId + 1n, 0n];
}

/** Registers the tables for a backend. */
export function strictnessPdSuite(backend: Backend): void {
  for (const { what, method, needs = [], request, is } of ROWS) {
    contract(backend, `PD refuses ${what}`, { needs }, async (scene) => {
      await withCalls(scene, async (calls) => {
        const sent = { header: { clusterId: calls.clusterId }, ...request } as never;
        const asked = calls.unary(calls.pdAddress, method, sent);
        if ("grpc" in is) return await assert.rejects(asked, hasCode(is.grpc, is.text, what));
        const reply = await asked as unknown as Record<string, unknown>;
        if ("reply" in is) {
          const seen = Object.fromEntries(Object.keys(is.reply).map((name) => [name, reply[name]]));
          return assert.deepEqual(seen, is.reply);
        }
        const { error } = reply["header"] as { error?: { type: number; message: string } };
        assert.equal(error?.type, is.type);
        assert.match(error?.message ?? "", is.text);
      });
    });
  }

  for (const { methods, needs = [] } of OF_A_CLUSTER) {
    const name = needs.length === 0
      ? "PD refuses every call for another cluster"
      : "PD refuses also the later calls for another cluster";
    contract(backend, name, { needs }, async (scene) => {
      await withCalls(scene, async (calls) => {
        for (const method of methods) {
          for (const clusterId of wrongIds(calls)) {
            const sent = { header: { clusterId } } as never;
            const isRefused = hasCode(
              GRPC.FAILED_PRECONDITION,
              new RegExp(`mismatch cluster id, need ${calls.clusterId} but got ${clusterId}`),
              method.name,
            );
            await assert.rejects(calls.unary(calls.pdAddress, method, sent), isRefused);
          }
        }
      });
    });
  }

  contract(backend, "PD answers what it must tell to find the cluster to everybody", {}, async (scene) => {
    await withCalls(scene, async (calls) => {
      for (const method of OF_ANY_CLUSTER) {
        for (const clusterId of wrongIds(calls)) {
          await calls.unary(calls.pdAddress, method, { header: { clusterId } } as never);
        }
      }
    });
  });

  contract(
    backend,
    "PD ends a stream of timestamps for another cluster, and one that asks for none",
    {},
    async (scene) => {
      await withCalls(scene, async (calls) => {
        for (const clusterId of wrongIds(calls)) {
          const isRefused = hasCode(GRPC.FAILED_PRECONDITION, /mismatch cluster id/, "Tso");
          await assert.rejects(
            calls.first(calls.pdAddress, pd.tso, { header: { clusterId }, count: 1 }),
            isRefused,
          );
        }
        const header = { clusterId: calls.clusterId };
        const isRefused = hasCode(GRPC.UNKNOWN, /tso count should be positive/, "Tso");
        await assert.rejects(calls.first(calls.pdAddress, pd.tso, { header, count: 0 }), isRefused);
        assert.equal((await calls.first(calls.pdAddress, pd.tso, { header, count: 3 })).count, 3);
      });
    },
  );

  contract(
    backend,
    "PD tells of one id without a count, and of more with it",
    { needs: NEW },
    async (scene) => {
      await withCalls(scene, async (calls) => {
        const header = { clusterId: calls.clusterId };
        assert.equal((await calls.unary(calls.pdAddress, pd.allocID, { header })).count, 0);
        assert.equal((await calls.unary(calls.pdAddress, pd.allocID, { header, count: 3 })).count, 3);
      });
    },
  );
}

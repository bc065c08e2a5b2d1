// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { type Context, ContextSchema, ResourceControlContextSchema } from "../../../gen/kvrpcpb_pb.ts";
import {
  type ContextFields,
  encodeContext,
  encodeFields,
  encodeRegionContext,
} from "../../../src/rpc/context.ts";
import { arbitraryMessage, plain } from "../../helpers/arbitrary_message.ts";

// Fields of the message that no caller of this client sets.
const UNUSED = ["term", "appliedIndex", "traceContext", "sourceStmt", "keyspaceIdentity"];

const NEGATIVE = -1;

const REGION = {
  regionId: 2n ** 60n,
  confVer: 5n,
  version: 6n,
  peer: { id: 7n, storeId: 8n, role: "voter" },
  apiVersion: 0,
} as const;

test("[RPC-029] a region's context is what the generated code reads back", () => {
  const bytes = encodeRegionContext({
    ...REGION,
    peer: { id: 7n, storeId: 8n, role: "learner", isWitness: true },
    apiVersion: 2,
    keyspaceId: 0,
    keyspaceName: "orders",
    clusterId: 2n ** 63n,
  });
  const expected = create(ContextSchema, {
    regionId: 2n ** 60n,
    regionEpoch: { confVer: 5n, version: 6n },
    peer: { id: 7n, storeId: 8n, role: 1, isWitness: true },
    apiVersion: 2,
    // 0 is the default keyspace, so it has to be there.
    keyspace: { case: "keyspaceId", value: 0 },
    keyspaceName: "orders",
    clusterId: 2n ** 63n,
  });
  assert.deepEqual(plain(fromBinary(ContextSchema, bytes)), plain(expected));
});

test("[RPC-029] the role of a peer has the wire's number", () => {
  const roles = ["voter", "learner", "incoming-voter", "demoting-voter"] as const;
  for (const [number, role] of roles.entries()) {
    const bytes = encodeRegionContext({ ...REGION, peer: { id: 1n, storeId: 1n, role } });
    assert.equal(fromBinary(ContextSchema, bytes).peer?.role, number);
  }
  assert.equal(fromBinary(ContextSchema, encodeRegionContext(REGION)).keyspace.case, undefined);
});

test("[RPC-029] every field that a request can add is read back by the generated code", () => {
  const names = ["regionId", "regionEpoch", "peer", "apiVersion", "keyspaceId", "keyspaceName", "clusterId"];
  const messages = arbitraryMessage(ContextSchema, {
    without: [...UNUSED, ...names, "resourceControlContext"],
  });
  const control = fc.option(fc.record({ name: fc.string(), priority: fc.nat() }), { nil: undefined });
  fc.assert(fc.property(messages, control, (message, control) => {
    const any = message as Context;
    const wanted = create(ContextSchema, {
      ...any,
      // No enum of ours is negative, and 32 bits are enough for a duration.
      priority: any.priority === NEGATIVE ? 0 : any.priority,
      isolationLevel: any.isolationLevel === NEGATIVE ? 0 : any.isolationLevel,
      diskFullOpt: any.diskFullOpt === NEGATIVE ? 0 : any.diskFullOpt,
      requestOrigin: any.requestOrigin === NEGATIVE ? 0 : any.requestOrigin,
      maxExecutionDurationMs: BigInt.asUintN(32, any.maxExecutionDurationMs),
      ...(control === undefined ? {} : {
        resourceControlContext: create(ResourceControlContextSchema, {
          resourceGroupName: control.name,
          overridePriority: BigInt(control.priority),
        }),
      }),
    });
    const fields = {
      ...wanted,
      maxExecutionDurationMs: Number(wanted.maxExecutionDurationMs),
      resourceGroup: control?.name,
      overridePriority: control?.priority,
    } as ContextFields;
    assert.deepEqual(plain(fromBinary(ContextSchema, encodeFields(fields))), plain(wanted));
  }));
});

test("what a request adds is put behind the part that is kept, which stays as it is", () => {
  const kept = encodeRegionContext(REGION);
  const before = kept.slice();
  const bytes = encodeContext(kept, { isRetryRequest: true, maxExecutionDurationMs: 5000 });
  const context = fromBinary(ContextSchema, bytes);
  assert.deepEqual([context.regionId, context.isRetryRequest, context.maxExecutionDurationMs], [
    2n ** 60n,
    true,
    5000n,
  ]);
  assert.deepEqual(kept, before);
  assert.deepEqual(encodeContext(REGION, { isRetryRequest: true, maxExecutionDurationMs: 5000 }), bytes);
});

test("a request that adds nothing uses the kept part itself", () => {
  const kept = encodeRegionContext(REGION);
  assert.equal(encodeContext(kept), kept);
  assert.equal(encodeContext(kept, { isRetryRequest: false, requestSource: "" }), kept);
});

test("encodeFields() gives bytes that later ones do not change", () => {
  const first = encodeFields({ requestSource: "a" });
  for (let index = 0; index < 5000; index++) encodeFields({ requestSource: "bb" });
  assert.equal(fromBinary(ContextSchema, first).requestSource, "a");
});

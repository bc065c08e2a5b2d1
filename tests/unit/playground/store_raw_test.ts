// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import { bytes, contextFor, leaderAddress, text, unary } from "./gen_client.ts";

test("a raw pair that was put is read back", async () => {
  await using cluster = await Playground.start({ stores: 3, clock: new ManualClock() });
  const { transport } = cluster.connectOptions();
  const region = cluster.regionOf("k");
  const address = leaderAddress(cluster, region);
  const context = contextFor(region);
  await unary(transport, address, Tikv.method.rawPut, { context, key: bytes("k"), value: bytes("v") });
  const reply = await unary(transport, address, Tikv.method.rawGet, { context, key: bytes("k") });
  assert.equal(text(reply.value), "v");
  assert.equal(reply.notFound, false);
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TikvError } from "../../../src/errors.ts";
import { STALE } from "../../../src/region/send.ts";
import { COMMANDS } from "../../../src/rpc/commands.ts";
import type { ResourceTagger } from "../../../src/rpc/context.ts";
import { text } from "../raw/fake_store.ts";
import { bytes, failure, inWorld, regionError } from "./region_world.ts";
import { type Any, GET, OK, PUT, request, send, TXN_GET } from "./sending.ts";

describe("RegionSender.send()", () => {
  it(
    "[REG-052] [KS-002] trap 37: says in the context where it goes, for how long, and to which cluster",
    inWorld(async (world) => {
      const { result } = await send(world, []);
      assert.deepEqual(result, OK);
      const [call] = world.net.calls;
      assert.ok(call !== undefined);
      assert.equal(call.address, "store-1:20160");
      assert.equal(call.context.regionId, 1n);
      assert.equal(call.context.regionEpoch?.version, 1n);
      assert.equal(call.context.regionEpoch?.confVer, 1n);
      assert.equal(call.context.peer?.id, 11n);
      assert.equal(call.context.peer?.storeId, 1n);
      assert.equal(call.context.clusterId, 99n);
      assert.equal(call.context.apiVersion, 0);
      assert.deepEqual(call.context.keyspace, { case: "keyspaceId", value: 0xffff_ffff });
      assert.equal(call.context.isRetryRequest, false);
      assert.equal(call.context.maxExecutionDurationMs, 5_000n);
      assert.equal(call.options.attempt, 1);
      assert.equal(call.options.operation, "test");
      assert.equal(call.options.regionId, 1n);
      assert.deepEqual(world.retries, []);
    }),
  );

  it(
    "[REG-051] the time of an attempt is at most what the operation has left",
    inWorld(async (world) => {
      await send(world, [], GET, 1_200);
      await send(world, [], COMMANDS.RawChecksum as unknown as Any, 200_000);
      const [short, long] = world.net.calls;
      assert.equal(short?.context.maxExecutionDurationMs, 1_200n);
      assert.equal(short?.options.deadline.remainingMs(), 1_200);
      assert.equal(long?.context.maxExecutionDurationMs, 60_000n);
    }),
  );

  it(
    "[T-57] [TXN-153] the limit of the first attempt is told to the store, and is not that of the next one",
    inWorld(async (world) => {
      const script = [failure("timeout"), regionError({ serverIsBusy: {} }), () => OK];
      const { result } = await send(world, script, TXN_GET, 60_000, { firstAttemptTimeoutMs: 80 });
      assert.deepEqual(result, OK);
      const limits = world.net.calls.map(({ context }) => context.maxExecutionDurationMs);
      assert.deepEqual(limits, [80n, 5_000n, 5_000n]);
      await send(world, [], TXN_GET, 50, { firstAttemptTimeoutMs: 80 });
      assert.equal(world.net.calls.at(-1)?.context.maxExecutionDurationMs, 50n);
    }),
  );

  it(
    "[TXN-017] [TXN-155] a function makes the tag of each request, and its mistakes cost only the tag",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const seen: unknown[] = [];
      const taggers: readonly ResourceTagger[] = [
        (tagged) => {
          seen.push(tagged);
          return bytes(tagged.method);
        },
        () => {
          throw new Error("no tag today");
        },
        () => undefined,
        () => "text" as unknown as Uint8Array,
      ];
      for (const resourceGroupTag of [bytes("fixed"), ...taggers]) {
        const context = { priority: 2, resourceGroupTag };
        const tagged = world.sender.request(COMMANDS.RawGet, { key: bytes("k"), cf: "" }, { context });
        await world.clock.run(world.sender.send(region, tagged, world.operation()));
      }
      const sent = world.net.calls.map(({ context }) => [context.priority, text(context.resourceGroupTag)]);
      assert.deepEqual(sent, [[2, "fixed"], [2, "RawGet"], [2, ""], [2, ""], [2, ""]]);
      assert.deepEqual(seen, [{ method: "RawGet", request: { key: bytes("k"), cf: "" } }]);
      assert.equal(world.events.filter(({ type }) => type === "warning").length, 1);
    }),
  );

  it(
    "[REG-052] trap 53: is_retry_request is set from the second time that a request goes out",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const again = request(world);
      world.net.script.push(regionError({ epochNotMatch: {} }));
      const operation = world.operation();
      assert.equal(await world.clock.run(world.sender.send(region, again, operation)), STALE);
      const next = await world.locate("k");
      await world.clock.run(world.sender.send(next, again, operation));
      await world.clock.run(world.sender.send(next, request(world), operation));
      assert.deepEqual(world.net.calls.map(({ context }) => context.isRetryRequest), [false, true, false]);
      assert.deepEqual(world.net.calls.map(({ options }) => options.attempt), [1, 2, 3]);
    }),
  );

  it(
    "an outdated region is not asked",
    inWorld(async (world) => {
      const region = await world.locate("k");
      world.regions.invalidate(region, "other");
      const result = await world.clock.run(world.sender.send(region, request(world), world.operation()));
      assert.equal(result, STALE);
      assert.deepEqual(world.net.calls, []);
      assert.deepEqual(world.retries, ["regionMiss"]);
    }),
  );

  it(
    "a region whose leader is on a removed store is given up",
    inWorld(async (world) => {
      const region = await world.locate("k");
      world.meta.storeList.delete(1n);
      world.stores.markNeedsCheck(region.leader.store);
      await world.clock.advance(0);
      region.leader.storeEpoch = region.leader.store.epoch;
      const result = await world.clock.run(world.sender.send(region, request(world), world.operation()));
      assert.equal(result, STALE);
      assert.deepEqual(world.invalidated, ["store-not-found"]);
    }),
  );

  it(
    "the deadline and an abort before sending send nothing",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const over = world.operation(0);
      await assert.rejects(world.sender.send(region, request(world), over), (error) => {
        return TikvError.is(error) && error.kind === "timeout";
      });
      const aborted = world.operation(1_000, AbortSignal.abort("left"));
      await assert.rejects(
        world.sender.send(region, request(world, PUT), aborted),
        (error) => error === "left",
      );
      assert.equal(aborted.isMaybeExecuted, false);
      assert.deepEqual(world.net.calls, []);
    }),
  );
});

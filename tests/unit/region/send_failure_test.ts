// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { STALE } from "../../../src/region/send.ts";
import { failure, inWorld, regionError } from "./region_world.ts";
import { assertKind, CAS, notLeader, OK, PUT, request, send, sendThrough, TXN_GET } from "./sending.ts";

describe("Attempts without an answer", () => {
  it(
    "[REG-057] trap 5: a dead leader's store is probed, given up and passed over",
    inWorld(async (world) => {
      world.liveness.set("store-1:20160", "unreachable");
      const { region, result } = await send(world, [failure()]);
      assert.deepEqual(result, OK);
      assert.deepEqual(world.probes, ["store-1:20160"]);
      assert.deepEqual(world.retries, ["tikvRPC"]);
      assert.notEqual(region.leader.storeId, 1n);
      assert.equal(region.peers[0]?.store.epoch, 1);
    }),
  );

  it(
    "[REG-057] a lost connection to a store that lives is tried again there",
    inWorld(async (world) => {
      const { result } = await send(world, [failure(), failure("server", { code: 2 })]);
      assert.deepEqual(result, OK);
      assert.deepEqual(world.net.asked, [1n, 1n, 1n]);
      assert.deepEqual(world.retries, ["tikvRPC", "tikvRPC"]);
    }),
  );

  it(
    "[REG-057] a connection that the other side cancelled is closed, but no newer one",
    inWorld(async (world) => {
      await send(world, [failure("connection", { code: 1 })]);
      assert.deepEqual(world.net.closed, [{ address: "store-1:20160", version: 7 }]);
    }),
  );

  it(
    "[REG-056] all stores dead: the region is given up, and later calls wait for them to come back",
    inWorld(async (world) => {
      for (const id of [1, 2, 3]) world.liveness.set(`store-${id}:20160`, "unreachable");
      const { result } = await send(world, [failure(), failure(), failure()]);
      assert.equal(result, STALE);
      assert.deepEqual(world.invalidated, ["other"]);
      const operation = world.operation();
      const call = sendThrough(world, request(world), operation);
      await world.clock.advance(5_000);
      for (const id of [1, 2, 3]) world.liveness.set(`store-${id}:20160`, "reachable");
      assert.deepEqual(await world.clock.run(call, 2_000), OK);
    }),
  );

  it(
    "TLS that fails is final",
    inWorld(async (world) => {
      const { result } = await send(world, [failure("tls")]);
      assertKind(result, "tls");
      assert.deepEqual(world.probes, []);
    }),
  );

  it(
    "a refusal by status is final, one that may pass is not",
    inWorld(async (world) => {
      assertKind((await send(world, [failure("server", { code: 3 })])).result, "server");
      assert.deepEqual((await send(world, [failure("server", { code: 13 })])).result, OK);
    }),
  );

  it(
    "[REG-055] the caller's abort is final and rejects with its reason",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const controller = new AbortController();
      const reason = new Error("left");
      world.net.script.push(() => {
        controller.abort(reason);
        throw reason;
      });
      const operation = world.operation(20_000, controller.signal);
      await assert.rejects(world.sender.send(region, request(world), operation), (error) => error === reason);
      assert.deepEqual(world.probes, []);
      assert.deepEqual(world.retries, []);
      assert.equal(region.isValid, true);
    }),
  );

  it(
    "[REG-055] a write that is aborted in flight is undetermined",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const controller = new AbortController();
      world.net.script.push(() => {
        controller.abort("left");
        throw "left";
      });
      const operation = world.operation(20_000, controller.signal);
      const error = await world.sender.send(region, request(world, PUT), operation).catch((e: unknown) =>
        operation.fail(e)
      );
      assertKind(error, "undetermined");
    }),
  );

  it(
    "a write whose answer was lost is sent again, and its doubt ends with an answer",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const operation = world.operation();
      world.net.script.push(failure());
      assert.deepEqual(await world.clock.run(world.sender.send(region, request(world, PUT), operation)), OK);
      assert.equal(operation.isMaybeExecuted, false);
      assert.deepEqual(world.net.calls.map(({ context }) => context.isRetryRequest), [false, true]);
    }),
  );

  it(
    "the doubt about a write outlives a move of its region, and ends with the first answer after it",
    inWorld(async (world) => {
      const region = await world.locate("k");
      const operation = world.operation();
      const write = request(world, PUT);
      world.net.script.push(failure(), regionError({ epochNotMatch: {} }));
      assert.equal(await world.clock.run(world.sender.send(region, write, operation)), STALE);
      assert.equal(operation.isMaybeExecuted, true);
      assert.deepEqual(await world.clock.run(sendThrough(world, write, operation)), OK);
      assert.equal(operation.isMaybeExecuted, false);
    }),
  );

  it(
    "a write whose answer was lost and that never gets another is undetermined",
    inWorld(async (world) => {
      for (const isMaybeExecuted of [true, false]) {
        world.net.usual = failure("connection", { isMaybeExecuted });
        const operation = world.operation();
        const call = sendThrough(world, request(world, PUT), operation).catch((error: unknown) =>
          operation.fail(error)
        );
        assertKind(await world.clock.run(call), isMaybeExecuted ? "undetermined" : "connection");
      }
    }),
  );

  it(
    "a compare-and-swap whose answer was lost is never sent again",
    inWorld(async (world) => {
      const { result } = await send(world, [failure()], CAS);
      assertKind(result, "undetermined");
      assert.equal(world.net.calls.length, 1);
      const safe = await send(world, [failure("connection", { isMaybeExecuted: false })], CAS);
      assert.deepEqual(safe.result, OK);
      const refused = await send(world, [notLeader(2n)], CAS);
      assert.deepEqual(refused.result, OK);
    }),
  );

  it(
    "[REG-070] [REG-077] a transactional read that took too long goes to a follower at once",
    inWorld(async (world) => {
      const { region, result } = await send(world, [failure("timeout")], TXN_GET);
      assert.deepEqual(result, OK);
      assert.deepEqual(world.net.calls.map(({ context }) => context.replicaRead), [false, true]);
      assert.deepEqual(world.probes, []);
      assert.equal(region.leader.storeId, 1n, "it was no answer of a leader");
    }),
  );

  it(
    "[REG-072] reads that took too long everywhere leave the region as it is",
    inWorld(async (world) => {
      const { region, result } = await send(world, Array(3).fill(failure("timeout")), TXN_GET);
      assert.equal(result, STALE);
      assert.equal(region.isValid, true);
    }),
  );

  it(
    "a leader that takes requests and never answers is checked at another peer",
    inWorld(async (world) => {
      const { region, result } = await send(world, [failure("timeout"), failure("timeout"), notLeader(2n)]);
      assert.deepEqual(result, OK);
      assert.equal(region.leader.storeId, 2n);
    }),
  );

  it(
    "[REG-070] with forwarding another store passes requests on to a leader that cannot be reached",
    inWorld(async (world) => {
      world.liveness.set("store-1:20160", "unreachable");
      const { region, result } = await send(world, [failure()]);
      assert.deepEqual(result, OK);
      const last = world.net.calls.at(-1);
      assert.equal(last?.address, "store-2:20160");
      assert.equal(last?.options.forwardedHost, "store-1:20160");
      assert.equal(last?.context.peer?.storeId, 1n);
      assert.equal(region.peers[0]?.store.epoch, 0, "it stays the target");
      assert.equal(region.proxyIndex, 1);
      await send(world, []);
      assert.equal(world.net.calls.at(-1)?.address, "store-2:20160", "the way that worked is taken again");
    }, { enableForwarding: true }),
  );

  it(
    "[REG-070] with forwarding and nobody to pass requests on the leader's store is given up",
    inWorld(async (world) => {
      for (const id of [1, 2, 3]) world.liveness.set(`store-${id}:20160`, "unreachable");
      const { region, result } = await send(world, [failure(), failure(), failure()]);
      assert.equal(result, STALE);
      assert.equal(region.peers[0]?.store.epoch, 1);
      assert.equal(region.reload, "on-access");
    }, { enableForwarding: true }),
  );
});

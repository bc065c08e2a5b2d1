// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorSchema } from "../../../gen/errorpb_pb.ts";
import { ErrorType, PD } from "../../../gen/pdpb_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import type { FaultTarget } from "../../../src/playground/mod.ts";
import { fault, ManualClock, Playground, SeededRandom } from "../../../src/playground/mod.ts";
import { Faults } from "../../../src/playground/faults.ts";
import { Health } from "../../../gen/grpc/health/v1/health_pb.ts";
import { bytes, contextFor, leaderAddress, openStream, unary } from "./gen_client.ts";

function target(changes: Partial<FaultTarget> = {}): () => FaultTarget {
  return () => ({
    method: "RawGet",
    storeId: 1n,
    member: undefined,
    regionId: 2n,
    keys: [bytes("k")],
    ...changes,
  });
}

function newFaults(): Faults {
  return new Faults(new SeededRandom(1));
}

test("a rule hits what it matches and nothing else", () => {
  const rows = [
    [{}, {}, true],
    [{ method: "RawGet" }, {}, true],
    [{ method: ["RawPut", "RawGet"] }, {}, true],
    [{ method: "RawPut" }, {}, false],
    [{ storeId: 1n }, {}, true],
    [{ storeId: 2n }, {}, false],
    [{ storeId: 1n }, { storeId: undefined, member: "pd-1" }, false],
    [{ member: "pd-1" }, { member: "pd-1" }, true],
    [{ regionId: 3n }, {}, false],
    [{ key: "k" }, {}, true],
    [{ key: "x" }, {}, false],
    [{ key: "k" }, { keys: [bytes("r\0\0\x01k")] }, true],
  ] as const;
  for (const [match, changes, isHit] of rows) {
    const faults = newFaults();
    faults.add(match, fault.dropReply());
    assert.equal(faults.plan(target(changes)) !== undefined, isHit, JSON.stringify(Object.keys(match)));
  }
});

test("a rule counts its hits, skips, and is spent", () => {
  const faults = newFaults();
  const rule = faults.add({ skip: 1, times: 2 }, fault.dropReply());
  const hits = [1, 2, 3, 4].map(() => faults.plan(target()) !== undefined);
  assert.deepEqual(hits, [false, true, true, false]);
  assert.deepEqual([rule.hits, rule.isActive], [2, false]);
});

test("a rule ends when it is disposed of", () => {
  const faults = newFaults();
  {
    using rule = faults.add({}, fault.dropReply());
    assert.equal(rule.isActive, true);
    assert.notEqual(faults.plan(target()), undefined);
  }
  assert.equal(faults.plan(target()), undefined);
});

test("chance hits about its share of the calls, the same for the same seed", () => {
  const run = () => {
    const faults = newFaults();
    const rule = faults.add({ probability: 0.3 }, fault.dropReply());
    for (let i = 0; i < 1_000; i++) faults.plan(target());
    return rule.hits;
  };
  assert.equal(run(), run());
  assert.equal(run() > 250 && run() < 350, true);
});

test("delays add up with the first other effect", () => {
  const faults = newFaults();
  faults.add({}, fault.delay(5));
  const first = faults.add({}, fault.staleCommand());
  const second = faults.add({}, fault.dropReply());
  faults.add({}, fault.delay(7));
  const plan = faults.plan(target());
  assert.equal(plan?.delayMs, 12);
  assert.equal(plan?.effect?.type, "region-error");
  assert.deepEqual([first.hits, second.hits], [1, 0]);
});

test("every region error of the protocol has a fault that makes it", () => {
  const made = new Set<string>();
  for (const make of Object.values(fault) as (() => unknown)[]) {
    const effect = make();
    if (typeof effect !== "object" || effect === null || !("error" in effect)) continue;
    const { error } = effect as { error: unknown };
    if (typeof error !== "function") continue;
    for (const [name, value] of Object.entries(create(ErrorSchema, error(target()())))) {
      if (typeof value === "object" && value !== null) made.add(name);
    }
  }
  const wanted = ErrorSchema.fields.filter(({ fieldKind }) => fieldKind === "message").map(({ localName }) =>
    localName
  );
  assert.deepEqual([...made].sort(), wanted.sort());
});

test("unary calls meet faults: errors of regions, requests and gRPC, corrupt and lost answers", async () => {
  await using cluster = await Playground.start({ clock: new ManualClock() });
  const { transport } = cluster.connectOptions();
  const region = cluster.regionOf("k");
  const call = () => {
    const request = { context: contextFor(region), key: bytes("k"), value: bytes("v") };
    return unary(transport, leaderAddress(cluster, region), Tikv.method.rawPut, request);
  };
  const once = (effect: Parameters<typeof cluster.faults.add>[1]) =>
    cluster.faults.add({ method: "RawPut", times: 1 }, effect);
  once(fault.notLeader({ id: 5n, storeId: 9n }));
  assert.equal((await call()).regionError?.notLeader?.leader?.storeId, 9n);
  once(fault.requestError("out of luck"));
  assert.equal((await call()).error, "out of luck");
  once(fault.grpcStatus(13, "inside"));
  await assert.rejects(call(), { code: 13, message: /inside/ });
  once(fault.corrupt());
  await assert.rejects(call(), /premature EOF|invalid/i);
  once(fault.cutStream());
  await assert.rejects(call(), { origin: "transport", isMaybeExecuted: true });
  assert.equal((await call()).error, "");
  assert.equal(cluster.calls.get("RawPut"), 6);
});

test("streams of PD and health checks meet faults too", async () => {
  const clock = new ManualClock();
  await using cluster = await Playground.start({ clock });
  const { transport } = cluster.connectOptions();
  const header = { clusterId: cluster.clusterId };
  const pd = "pd-1.playground:2379";
  cluster.faults.add({ method: "Tso", times: 1 }, fault.dropReply());
  const tso = openStream(transport, pd, PD.method.tso);
  tso.send({ header, count: 5 });
  tso.send({ header, count: 1 });
  assert.equal((await tso.until(1))[0]?.timestamp?.logical, 6n);
  cluster.faults.add({ method: "Tso", times: 1 }, fault.cutStream());
  tso.send({ header, count: 1 });
  assert.equal((await tso.closed).origin, "transport");
  cluster.faults.add({ method: "QueryRegion", times: 1 }, fault.pdError(ErrorType.NOT_BOOTSTRAPPED));
  const query = openStream(transport, pd, PD.method.queryRegion);
  query.send({ header, keys: [bytes("k")] });
  assert.equal((await query.until(1))[0]?.header?.error?.type, ErrorType.NOT_BOOTSTRAPPED);
  cluster.faults.add({ method: "Check", storeId: 1n }, fault.grpcStatus(14, "not now"));
  await assert.rejects(unary(transport, "store-1.playground:20160", Health.method.check, {}), { code: 14 });
});

test("calls to PD meet faults, of one member if wanted", async () => {
  await using cluster = await Playground.start({ clock: new ManualClock(), pdMembers: 3 });
  const { transport } = cluster.connectOptions();
  using _rule = cluster.faults.add(
    { method: "GetMembers", member: "pd-2" },
    fault.pdError(ErrorType.NOT_BOOTSTRAPPED, "not yet"),
  );
  const members = (address: string) => unary(transport, address, PD.method.getMembers, {});
  assert.equal((await members("pd-2.playground:2379")).header?.error?.message, "not yet");
  assert.equal((await members("pd-1.playground:2379")).header?.error, undefined);
});

// SPDX-License-Identifier: Apache-2.0
// What holds for every call of the PD client: it ends within its time, by its signal, and with the
// client, and leaves nothing behind.

import assert from "node:assert/strict";
import test from "node:test";
import type { Pd } from "../../src/pd/pd_client.ts";
import type { MetaSource } from "../../src/region/meta.ts";
import type { CallOptions, Timestamp } from "../../src/types.ts";
import { pdSetup } from "../helpers/pd_setup.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

type Call = (pd: Pd, options: CallOptions) => Promise<unknown>;

async function drain(iterable: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of iterable) count++;
  return count;
}

const CALLS: Readonly<Record<string, Call>> = {
  "timestamp": (pd, options) => pd.timestamp(options),
  "minTimestamp": (pd, options) => pd.minTimestamp(options),
  "externalTimestamp": (pd, options) => pd.externalTimestamp(options),
  "members": (pd, options) => pd.members(options),
  "clusterInfo": (pd, options) => pd.clusterInfo(options),
  "region": (pd, options) => pd.region("k", options),
  "previousRegion": (pd, options) => pd.previousRegion("k", options),
  "regionById": (pd, options) => pd.regionById(1n, options),
  "regions": (pd, options) => drain(pd.regions({}, options)),
  "store": (pd, options) => pd.store(1n, options),
  "stores": (pd, options) => pd.stores(options),
  "operator": (pd, options) => pd.operator(1n, options),
  "keyspaces.get": (pd, options) => pd.keyspaces.get("a", options),
  "keyspaces.getById": (pd, options) => pd.keyspaces.getById(1, options),
  "keyspaces.getEnabled": (pd, options) => pd.keyspaces.getEnabled("a", options),
  "keyspaces.list": (pd, options) => drain(pd.keyspaces.list(options)),
  "config.load": (pd, options) => pd.config.load("/global/config", options),
};

const WRITES: Readonly<Record<string, Call>> = {
  "setExternalTimestamp": (pd, options) => pd.setExternalTimestamp(1n as Timestamp, options),
  "split": (pd, options) => pd.split(["k"], options),
  "split with scatter": (pd, options) => pd.split(["k"], { ...options, scatter: true }),
  "scatter": (pd, options) => pd.scatter([1n], options),
  "keyspaces.setState": (pd, options) => pd.keyspaces.setState(1, "disabled", options),
  "config.store": (pd, options) => pd.config.store("/global/config", [{ name: "a" }], options),
};

const ALL = { ...CALLS, ...WRITES };

for (const [name, call] of Object.entries(ALL)) {
  test(`${name}() ends within its time when nobody answers`, async () => {
    const { clock, network, pd } = await pdSetup({ addresses: ["pd-1:2379", "pd-2:2379"] });
    for (const state of ["silent", "refusing"] as const) {
      for (const address of ["pd-1:2379", "pd-2:2379"]) {
        network.setLink(address, state);
        network.cut(address);
      }
      for (const timeoutMs of [1, 700, 3_000, 9_000]) {
        const before = clock.now();
        const error = await clock.run(
          call(pd, { timeoutMs }).then(() => assert.fail("it answered"), (error) => error),
        );
        // A call that was sent and not answered may have been done; one that was refused was not.
        const kinds = name in WRITES && state === "silent" ? ["undetermined"] : ["timeout", "connection"];
        assert.ok(kinds.includes(error.kind), `${state}, ${timeoutMs} ms: ${error}`);
        assert.ok(clock.now() - before <= timeoutMs, `${state}: ${clock.now() - before} of ${timeoutMs} ms`);
        assert.equal(error.context.operation, `pd.${name.split(" ")[0]}`);
      }
    }
    await pd.close();
    await clock.advance(0);
    assert.equal(clock.pendingTimers, 0);
    assert.equal(network.openCalls("pd-1:2379") + network.openCalls("pd-2:2379"), 0);
  });

  test(`${name}() rejects with the reason of its signal, before and during the call`, async () => {
    const { clock, network, pd } = await pdSetup();
    const reason = new Error("enough");
    await assert.rejects(call(pd, { signal: AbortSignal.abort(reason) }), (error) => error === reason);
    for (const state of ["silent", "refusing"] as const) {
      network.setLink("pd-1:2379", state);
      network.cut("pd-1:2379");
      const controller = new AbortController();
      const pending = call(pd, { signal: controller.signal }).then(
        () => assert.fail("it answered"),
        (error) => error,
      );
      await clock.advance(600);
      controller.abort(reason);
      const error = await pending;
      if (name in WRITES && state === "silent") {
        assert.equal(error.kind, "undetermined");
        assert.equal(error.cause, reason);
      } else {
        assert.equal(error, reason, state);
      }
    }
    await pd.close();
    await clock.advance(0);
    assert.equal(clock.pendingTimers, 0);
    assert.equal(network.openCalls("pd-1:2379"), 0);
  });

  test(`${name}() ends with the client`, async () => {
    const { clock, network, pd } = await pdSetup();
    network.setLink("pd-1:2379", "refusing");
    network.cut("pd-1:2379");
    const pending = rejectsKind(call(pd, {}), "closed");
    await clock.advance(300);
    await pd.close();
    await pending;
    await rejectsKind(call(pd, {}), "closed");
    await clock.advance(0);
    assert.equal(clock.pendingTimers, 0);
  });

  test(`${name}() refuses options that are none`, async () => {
    const { cluster, pd } = await pdSetup();
    const seen = cluster.calls.length;
    for (const timeoutMs of [0, -1, NaN, Infinity]) {
      await assert.rejects(async () => await call(pd, { timeoutMs }), RangeError);
    }
    await assert.rejects(async () => await call(pd, { timeoutMs: "1" as unknown as number }), TypeError);
    await assert.rejects(async () => await call(pd, { signal: {} as AbortSignal }), TypeError);
    await assert.rejects(async () => await call(pd, { timeout: 1 } as CallOptions), TypeError);
    assert.equal(cluster.calls.length, seen);
    await pd.close();
  });
}

test("a signal that is aborted after the call has no effect, and keeps no listener", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const keyspace = { keyspace: { case: "id", value: 1 }, name: "a" };
  const region = { region: { id: 1n }, leader: { id: 2n, storeId: 1n } };
  cluster.on["LoadKeyspace"] = cluster.on["LoadKeyspaceByID"] = cluster.on["UpdateKeyspaceState"] = () => ({
    keyspace,
  });
  cluster.on["GetRegion"] = () => region;
  const controller = new AbortController();
  let listeners = 0;
  const { signal } = controller;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...all: Parameters<typeof add>) => {
    listeners++;
    add(...all);
  };
  signal.removeEventListener = (...all: Parameters<typeof remove>) => {
    listeners--;
    remove(...all);
  };
  for (const [name, call] of Object.entries(ALL)) {
    await clock.run(call(pd, { signal }));
    assert.equal(listeners, 0, name);
  }
  controller.abort(new Error("late"));
  await pd.close();
  assert.equal(clock.pendingTimers, 0);
});

test("ids and keys of a wrong type are refused", async () => {
  const { pd } = await pdSetup();
  await assert.rejects(pd.store(1 as unknown as bigint), TypeError);
  await assert.rejects(pd.store(-1n), RangeError);
  await assert.rejects(pd.regionById(2n ** 64n), RangeError);
  await assert.rejects(pd.scatter([1 as unknown as bigint]), TypeError);
  await assert.rejects(pd.region(1 as unknown as string), TypeError);
  await assert.rejects(pd.split([1 as unknown as string]), TypeError);
  await assert.rejects(pd.setExternalTimestamp(1 as unknown as Timestamp), TypeError);
  assert.throws(() => pd.regions({ prefx: "a" } as Parameters<Pd["regions"]>[0]), TypeError);
  assert.deepEqual(await pd.split([]), { finishedPercentage: 100, regionIds: [] });
  await pd.close();
});

test("meta() fits what the region cache asks for", async () => {
  const { pd } = await pdSetup();
  const source: MetaSource = pd.meta();
  assert.equal(typeof source.regionByKey, "function");
  await pd.close();
});

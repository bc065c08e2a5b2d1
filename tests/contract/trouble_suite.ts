// SPDX-License-Identifier: Apache-2.0
// What callers get when something is wrong: the error of the right kind, within the time that was
// given, with nothing left behind and a client that can be used further.

import assert from "node:assert/strict";
import { type Raw, type RawView, TikvError } from "../../mod.ts";
import { until } from "../helpers/until.ts";
import { type Backend, contract, type FaultName } from "./backend.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const TEXT = new TextDecoder();

async function stillWorks(raw: Raw): Promise<void> {
  await raw.put("still", "works");
  assert.equal(TEXT.decode(await raw.get("still")), "works");
}

/** Registers the tests of failures. */
export function troubleSuite(backend: Backend): void {
  contract(backend, "[RAW-002] close() ends what is under way and everything that comes later", {
    needs: ["faults"],
  }, async ({ client, prefix, control, connect }) => {
    const other = await connect();
    const raw = other.raw.sub(prefix);
    await raw.put("k", "v");
    control.fail("RawGet", "drop-request", { times: 1 });
    const before = control.calls("RawGet");
    const pending = rejectsKind(raw.get("k"), "closed");
    const scan = raw.scan({});
    await until(() => control.calls("RawGet") > before, "the request arrives");
    await other.close();
    await other.close();
    await pending;
    await rejectsKind(raw.get("k"), "closed");
    await rejectsKind(raw.put("k", "v"), "closed");
    await rejectsKind(raw.batchGet(["k"]), "closed");
    await rejectsKind(scan.toArray(), "closed");
    await rejectsKind(other.pd.timestamp(), "closed");
    await rejectsKind(other.health(), "closed");
    assert.equal(other.isClosed, true);
    await stillWorks(client.raw.sub(prefix));
  });

  contract(backend, "[RAW-002] close() ends a call that waits for its next attempt", {
    needs: ["leaderless", "faults"],
  }, async ({ prefix, control, connect }) => {
    const other = await connect();
    await control.dropLeader(prefix);
    const before = control.calls("RawGet");
    const pending = rejectsKind(other.raw.get(prefix), "closed");
    await until(() => control.calls("RawGet") > before, "the first attempt arrives");
    await other.close();
    await pending;
  });

  contract(
    backend,
    "[RAW-003] a cluster has one id, and a client can insist on it",
    {},
    async ({ client, connect }) => {
      const same = await connect({ expectClusterId: client.clusterId });
      assert.equal(same.clusterId, client.clusterId);
      assert.equal(client.pd.clusterId, client.clusterId);
      await rejectsKind(connect({ expectClusterId: client.clusterId + 1n }), "cluster-mismatch");
    },
  );

  contract(backend, "an aborted signal ends a call with its own reason: before and during", {
    needs: ["faults"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const reason = new Error("the caller went away");
    const is = (error: unknown): boolean => error === reason;
    await assert.rejects(raw.get("k", { signal: AbortSignal.abort(reason) }), is);
    await assert.rejects(raw.scan({}, { signal: AbortSignal.abort(reason) }).toArray(), is);
    const stop = new AbortController();
    control.fail("RawGet", "drop-request", { times: 1 });
    const before = control.calls("RawGet");
    const pending = raw.get("k", { signal: stop.signal });
    await until(() => control.calls("RawGet") > before, "the request arrives");
    stop.abort(reason);
    await assert.rejects(pending, is);
    const done = new AbortController();
    await raw.put("k", "v", { signal: done.signal });
    done.abort(reason);
    await stillWorks(raw);
  });

  contract(backend, "a write that was aborted in flight is undetermined, with the reason as its cause", {
    needs: ["faults"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.get("k");
    const reason = new Error("the caller went away");
    const stop = new AbortController();
    control.fail("RawPut", "drop-reply", { times: 1 });
    const before = control.calls("RawPut");
    const pending = raw.put("k", "v", { signal: stop.signal });
    await until(() => control.calls("RawPut") > before, "the request arrives");
    stop.abort(reason);
    const error = await rejectsKind(pending, "undetermined");
    assert.equal(error.cause, reason);
    assert.equal(TEXT.decode(await raw.get("k")), "v", "it did happen");
    await stillWorks(raw);
  });

  contract(backend, "a deadline ends a read with a timeout, a write with undetermined", {
    needs: ["faults"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.get("k");
    control.fail("RawGet", "drop-reply", { times: 1 });
    const error = await rejectsKind(raw.get("k", { timeoutMs: 30 }), "timeout");
    assert.equal(error.context.operation, "raw.get");
    control.fail("RawPut", "drop-reply", { times: 1 });
    await rejectsKind(raw.put("k", "v", { timeoutMs: 30 }), "undetermined");
    control.fail("RawBatchPut", "drop-reply", { times: 1 });
    await rejectsKind(raw.batchPut([["k", "v"]], { timeoutMs: 30 }), "undetermined");
    control.fail("RawPut", "drop-reply", { times: 1 });
    await rejectsKind(raw.with({ timeoutMs: 30 }).put("k", "v"), "undetermined");
    await stillWorks(raw);
  });

  for (const how of ["cut", "cut-executed"] as const satisfies readonly FaultName[]) {
    contract(backend, `reads and puts are sent again when the connection breaks (${how})`, {
      needs: ["faults"],
    }, async ({ client, prefix, control }) => {
      const raw = client.raw.sub(prefix);
      await raw.put("k", "1");
      control.fail("RawGet", how, { times: 1 });
      assert.equal(TEXT.decode(await raw.get("k")), "1");
      control.fail("RawPut", how, { times: 1 });
      await raw.put("k", "2");
      assert.equal(TEXT.decode(await raw.get("k")), "2");
      control.fail("RawBatchPut", how, { times: 1 });
      await raw.batchPut([["k", "3"]]);
      control.fail("RawScan", how, { times: 1 });
      assert.equal((await raw.scan({}).toArray()).length, 1);
    });
  }

  contract(backend, "[RAW-016] a swap whose answer was lost is undetermined and is not sent again", {
    needs: ["faults", "atomic"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix).atomic();
    await raw.get("k");
    control.fail("RawCompareAndSwap", "cut-executed", { times: 1 });
    const before = control.calls("RawCompareAndSwap");
    await rejectsKind(raw.compareAndSwap("k", { expect: null, value: "1" }), "undetermined");
    assert.equal(control.calls("RawCompareAndSwap"), before + 1);
    assert.equal(TEXT.decode(await raw.get("k")), "1");
    control.fail("RawCompareAndSwap", "epoch-not-match", { times: 2 });
    const { swapped } = await raw.compareAndSwap("k", { expect: "1", value: "2" });
    assert.equal(swapped, true, "an answer that says that nothing happened is no doubt");
  });

  contract(backend, "[RAW-017] an atomic write whose answer was lost is not sent again, a plain one is", {
    needs: ["faults", "atomic"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const writes = {
      RawPut: (view) => view.put("k", "v"),
      RawBatchPut: (view) => view.batchPut([["k", "v"]]),
      RawDelete: (view) => view.delete("k"),
      RawBatchDelete: (view) => view.batchDelete(["k"]),
    } satisfies Record<string, (view: RawView) => Promise<void>>;
    await raw.get("k");
    for (const [method, write] of Object.entries(writes)) {
      control.fail(method, "cut-executed", { times: 1 });
      const before = control.calls(method);
      await rejectsKind(write(raw.atomic()), "undetermined");
      assert.equal(control.calls(method), before + 1, method);
      control.fail(method, "cut-executed", { times: 1 });
      await write(raw);
      assert.equal(control.calls(method), before + 3, method);
    }
  });

  contract(backend, "a region that never gets a leader ends each call within its deadline", {
    needs: ["leaders", "leaderless"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.put("k", "v");
    await control.dropLeader(`${prefix}k`);
    const options = { timeoutMs: 150 };
    const calls: (() => Promise<unknown>)[] = [
      () => raw.get("k", options),
      () => raw.put("k", "v", options),
      () => raw.batchGet(["k"], options),
      () => raw.scan({}, options).toArray(),
      () => raw.deleteRange({}, options),
    ];
    for (const call of calls) {
      const error = await rejectsKind(call(), "region-unavailable", "timeout", "undetermined");
      assert.equal(error.retry === "call" || error.kind === "undetermined", true);
      assert.ok((error.context.attempts ?? 0) > 0);
    }
    await control.moveLeader(`${prefix}k`);
    await stillWorks(raw);
  });

  contract(backend, "an answer above the limit is too large, and others go on", {
    needs: ["faults"],
    client: { maxResponseBytes: 1_000_000 },
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.put("k", "v");
    control.fail("RawGet", "pad", { times: 1 });
    await rejectsKind(raw.get("k"), "too-large");
    await stillWorks(raw);
  });

  contract(backend, "an answer that cannot be decoded is a protocol error, or is asked for again", {
    needs: ["faults"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    await raw.put("k", "v");
    control.fail("RawGet", "corrupt", { times: 1 });
    const value = await raw.get("k").catch((error) => error as unknown);
    if (TikvError.is(value)) assert.equal(value.kind, "protocol");
    else assert.equal(TEXT.decode(value as Uint8Array), "v");
    await stillWorks(raw);
  });

  contract(backend, "a batch that fails in one region fails as a whole, and waits for the rest", {
    needs: ["split", "leaders", "leaderless"],
  }, async ({ client, prefix, control }) => {
    const raw = client.raw.sub(prefix);
    const names = Array.from({ length: 40 }, (_, i) => `k${String(i).padStart(2, "0")}`);
    await control.split(`${prefix}k20`);
    await raw.batchPut(names.map((name): [string, string] => [name, name]));
    await control.dropLeader(`${prefix}k30`);
    await rejectsKind(raw.batchGet(names, { timeoutMs: 200 }), "region-unavailable", "timeout");
    await control.moveLeader(`${prefix}k30`);
    assert.equal((await raw.batchGet(names)).size, 40);
  });

  contract(
    backend,
    "[RAW-001] health() tells what answers, warmUp() loads regions",
    {},
    async ({ client, prefix }) => {
      await client.raw.put(prefix, "v");
      const warm = await client.warmUp({ ranges: [{ prefix }] });
      assert.ok(warm.regions >= 1);
      assert.ok(warm.stores >= 1);
      const health = await client.health();
      assert.equal(health.pd.isReachable, true);
      assert.ok(health.stores.length > 0);
      assert.ok(health.stores.every((store) => store.liveness !== "unreachable"));
      assert.ok(health.cachedRegions >= 1);
    },
  );

  contract(
    backend,
    "[RAW-024] health() is truthful about a store that is down",
    { needs: ["stores"] },
    async (scene) => {
      const { client, control } = scene;
      const [id] = control.storeIds();
      assert.ok(id !== undefined);
      await control.stopStore(id);
      const health = await client.health();
      const down = health.stores.filter((store) => store.liveness !== "reachable");
      assert.deepEqual(down.map((store) => store.id), [id]);
      await control.startStore(id);
    },
  );

  contract(backend, "[RAW-025] retries, connections and requests can be observed, without keys", {
    needs: ["split"],
  }, async ({ prefix, control, connect }) => {
    const events: string[] = [];
    const spans: string[] = [];
    const seen: string[] = [];
    const observed = await connect({
      observe: (event) =>
        events.push(JSON.stringify(event, (_, value) => typeof value === "bigint" ? `${value}` : value)),
      tracer: {
        startSpan: (name) => {
          spans.push(name);
          return { setAttribute: () => undefined, end: () => spans.push("end") };
        },
      },
      interceptors: [async (call, next) => {
        seen.push(`${call.operation} ${call.method} ${call.attempt}`);
        return await next(call);
      }],
    });
    const raw = observed.raw.sub(prefix);
    await raw.put("very-secret-key", "v");
    await control.split(`${prefix}s`);
    await raw.get("very-secret-key");
    assert.deepEqual(spans, ["raw.put", "end", "raw.get", "end"]);
    assert.ok(seen.includes("raw.put RawPut 1"), seen.join());
    assert.ok(seen.some((line) => line.startsWith("raw.get RawGet")), seen.join());
    assert.ok(events.some((line) => line.includes('"region-load"')), events.join("\n"));
    assert.ok(!events.join().includes("secret"));
  });
}

// SPDX-License-Identifier: Apache-2.0
// Foreign code inside a call - interceptors, tracers - cannot hang it, fail it or hide its outcome.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, type ConnectOptions } from "../../mod.ts";
import { fault, Playground } from "../../src/playground/mod.ts";
import { hasKind } from "../helpers/has_kind.ts";

async function withClient(
  options: ConnectOptions,
  work: (client: Awaited<ReturnType<typeof connect>>, cluster: Playground) => Promise<void>,
): Promise<void> {
  const cluster = await Playground.start({ stores: 1 });
  const client = await connect(cluster, options);
  try {
    await work(client, cluster);
  } finally {
    await client.close();
    await cluster.close();
  }
}

const never: ConnectOptions = { interceptors: [() => new Promise<never>(() => {})] };

test("[RPC-021] an interceptor that never settles cannot keep a call beyond its time", async () => {
  await withClient(never, async (client) => {
    await assert.rejects(client.raw.get("k", { timeoutMs: 50 }), hasKind("timeout"));
    await assert.rejects(client.raw.put("k", "v", { timeoutMs: 50 }), hasKind("undetermined"));
  });
});

test("[RPC-021] an abort and a close end a call inside an interceptor", async () => {
  await withClient(never, async (client) => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const aborted = client.raw.get("k", { signal: controller.signal });
    const closed = client.raw.get("k");
    const seen = Promise.all([
      assert.rejects(aborted, (error) => error === reason),
      assert.rejects(closed, hasKind("closed")),
    ]);
    controller.abort(reason);
    await client.close();
    await seen;
  });
});

test("[RPC-021] an interceptor that returns nothing is told so", async () => {
  await withClient({ interceptors: [() => Promise.resolve(undefined)] }, async (client) => {
    await assert.rejects(client.raw.get("k"), hasKind("misuse"));
  });
});

test("a tracer that throws fails no call", async () => {
  const fail = (): never => {
    throw new Error("the tracer is broken");
  };
  const broken = { setAttribute: fail, recordException: fail, setStatus: fail, end: fail };
  for (const startSpan of [fail, () => broken]) {
    await withClient({ tracer: { startSpan } }, async (client) => {
      await client.raw.put("k", "v");
      assert.equal(new TextDecoder().decode(await client.raw.get("k")), "v");
    });
  }
});

test("[RAW-011] deleteRange() refuses a bound that is named but undefined", async () => {
  await withClient({}, async (client) => {
    await client.raw.put("k", "v");
    await assert.rejects(client.raw.deleteRange({ start: undefined, end: undefined }), TypeError);
    assert.ok(await client.raw.has("k"));
    await client.raw.deleteRange({});
    assert.ok(!await client.raw.has("k"));
  });
});

test("[RAW-017] deleteRange() next to compare-and-swap is sent once", async () => {
  await withClient({}, async (client, cluster) => {
    cluster.faults.add({ method: "RawDeleteRange", times: 1 }, fault.cutStream({ isExecuted: true }));
    await assert.rejects(client.raw.atomic().deleteRange({ prefix: "k" }), hasKind("undetermined"));
    cluster.faults.add({ method: "RawDeleteRange", times: 1 }, fault.cutStream({ isExecuted: true }));
    await client.raw.deleteRange({ prefix: "k" });
  });
});

test("a batch that cannot be read is said to be unreadable", async () => {
  await withClient({}, async (client, cluster) => {
    await client.raw.put("k", "v");
    cluster.faults.add({ method: "RawGet", times: 1 }, fault.corrupt());
    await assert.rejects(client.raw.get("k"), (error) => {
      assert.doesNotMatch(String(error), /the caller cancelled/);
      return hasKind("protocol")(error);
    });
  });
});

test("faults.add() refuses rules that cannot mean what they say", async () => {
  await withClient({}, (_, cluster) => {
    const add = (match: object, effect: unknown = fault.dropReply()): void => {
      cluster.faults.add(match, effect as ReturnType<typeof fault.dropReply>);
    };
    assert.throws(() => add({ metod: "RawGet" }), TypeError);
    assert.throws(() => add({ times: -1 }), RangeError);
    assert.throws(() => add({ probability: 5 }), RangeError);
    assert.throws(() => add({ method: "RawGet" }, null), TypeError);
    return Promise.resolve();
  });
});

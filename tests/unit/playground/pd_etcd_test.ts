// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadline } from "../../../src/async/deadline.ts";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import { bytes, text } from "./gen_client.ts";

const clock = new ManualClock();

/** One field of bytes. */
function field(number: number, value: Uint8Array): number[] {
  return [number << 3 | 2, value.length, ...value];
}

async function call(cluster: Playground, method: string, ...fields: number[][]): Promise<string> {
  const { transport, pd: [address = ""] } = cluster.connectOptions();
  const path = `/etcdserverpb.${method}`;
  const options = { deadline: Deadline.never(clock) };
  const reply = await transport.unary({ address, kind: "pd" }, path, Uint8Array.from(fields.flat()), options);
  return text(reply.message);
}

test("etcd's list of members names every member of PD and its address", async () => {
  await using cluster = await Playground.start({ pdMembers: 3, clock });
  const members = await call(cluster, "Cluster/MemberList");
  for (const { name, url } of cluster.members()) assert.ok(members.includes(name) && members.includes(url));
});

test("keys of etcd are kept, and found one by one or by range", async () => {
  await using cluster = await Playground.start({ clock });
  for (const key of ["/a/1", "/a/2", "/b"]) {
    await call(cluster, "KV/Put", field(1, bytes(key)), field(2, bytes(`value${key}`)));
  }
  const one = await call(cluster, "KV/Range", field(1, bytes("/a/1")));
  assert.ok(one.includes("value/a/1") && !one.includes("value/a/2"));
  const some = await call(cluster, "KV/Range", field(1, bytes("/a/")), field(2, bytes("/a0")));
  assert.ok(some.includes("value/a/2") && !some.includes("value/b"));
  const all = await call(cluster, "KV/Range", field(1, bytes("/a/2")), field(2, new Uint8Array(1)));
  assert.ok(all.includes("value/b") && !all.includes("value/a/1"));
  await assert.rejects(call(cluster, "KV/Txn"), { code: 12 });
});

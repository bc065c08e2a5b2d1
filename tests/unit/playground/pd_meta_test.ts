// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { MetaStorage, WatchRequestSchema, WatchResponseSchema } from "../../../gen/meta_storagepb_pb.ts";
import { EventType, PD } from "../../../gen/pdpb_pb.ts";
import { Deadline } from "../../../src/async/deadline.ts";
import { ManualClock, Playground } from "../../../src/playground/mod.ts";
import { bytes, text, unary } from "./gen_client.ts";

const ADDRESS = "pd-1.playground:2379";
const NULL_KEYSPACE = { keyspace: { case: "keyspaceId", value: 0xffff_ffff } };

interface Caller extends AsyncDisposable {
  readonly cluster: Playground;
  readonly clock: ManualClock;
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request?: Record<string, unknown>,
  ): Promise<MessageShape<O>>;
}

async function start(): Promise<Caller> {
  const clock = new ManualClock();
  const cluster = await Playground.start({ clock });
  const { transport } = cluster.connectOptions();
  return {
    cluster,
    clock,
    call: async (method, request = {}) => {
      const init = { header: { clusterId: cluster.clusterId }, ...request } as unknown as MessageInitShape<
        typeof method.input
      >;
      return await unary(transport, ADDRESS, method, init);
    },
    [Symbol.asyncDispose]: () => cluster.close(),
  };
}

test("[PD-077] meta storage keeps revisions, previous values and ranges", async () => {
  await using caller = await start();
  const { put, get, delete: remove } = MetaStorage.method;
  const first = await caller.call(put, { key: bytes("/a/1"), value: bytes("x"), prevKv: true });
  assert.equal(first.prevKv, undefined);
  const second = await caller.call(put, { key: bytes("/a/1"), value: bytes("y"), prevKv: true });
  assert.equal(text(second.prevKv?.value ?? bytes("")), "x");
  await caller.call(put, { key: bytes("/a/2"), value: bytes("z") });
  await caller.call(put, { key: bytes("/b"), value: bytes("z") });
  const one = await caller.call(get, { key: bytes("/a/1") });
  // PD shows of an entry the key and the value only.
  assert.deepEqual(one.kvs.map((kv) => [text(kv.value), kv.version, kv.modRevision]), [["y", 0n, 0n]]);
  const range = await caller.call(get, { key: bytes("/a/"), rangeEnd: bytes("/a0"), limit: 1n });
  assert.deepEqual([range.count, range.more, range.kvs.length], [2n, true, 1]);
  // It deletes one key, whatever end is given, and does not count.
  const gone = await caller.call(remove, { key: bytes("/a/1"), rangeEnd: bytes("/a0"), prevKv: true });
  assert.deepEqual([gone.deleted, gone.prevKvs.map(({ value }) => text(value))], [0n, ["y"]]);
  assert.equal((await caller.call(get, { key: bytes("/"), rangeEnd: bytes("\0") })).count, 2n);
});

test("[PD-077] a watch gets what it missed, then each change, until it is cancelled", async () => {
  await using caller = await start();
  const { put, watch } = MetaStorage.method;
  const { header } = await caller.call(put, { key: bytes("/w/1"), value: bytes("a") });
  const seen: string[] = [];
  const path = `/${watch.parent.typeName}/${watch.name}`;
  const { transport } = caller.cluster.connectOptions();
  const stream = transport.stream({ address: ADDRESS, kind: "pd" }, path, {
    onMessage: (message) => {
      for (const { type, kv } of fromBinary(WatchResponseSchema, message).events) {
        seen.push(`${type === 0 ? "put" : "delete"} ${text(kv?.key ?? bytes(""))}`);
      }
    },
    onClose: () => {},
  }, { deadline: Deadline.never(caller.clock) });
  stream.send(toBinary(
    WatchRequestSchema,
    create(WatchRequestSchema, {
      header: { clusterId: caller.cluster.clusterId },
      key: bytes("/w/"),
      rangeEnd: bytes("/w0"),
      startRevision: header?.revision ?? 0n,
    }),
  ));
  stream.end();
  await caller.call(put, { key: bytes("/other"), value: bytes("a") });
  await caller.call(put, { key: bytes("/w/2"), value: bytes("a") });
  await caller.call(MetaStorage.method.delete, { key: bytes("/w/1") });
  await caller.clock.advance(0);
  assert.deepEqual(seen, ["put /w/1", "put /w/2", "delete /w/1"]);
  stream.cancel(new Error("done"));
  await caller.clock.advance(0);
  await caller.call(put, { key: bytes("/w/3"), value: bytes("a") });
  await caller.clock.advance(0);
  assert.equal(seen.length, 3);
});

test("[PD-078] global configuration is loaded by name or as a whole, and refuses foreign paths", async () => {
  await using caller = await start();
  const { storeGlobalConfig, loadGlobalConfig } = PD.method;
  const changes = [{ name: "a", value: "1" }, { name: "b", payload: bytes("2") }];
  await caller.call(storeGlobalConfig, { changes, configPath: "/global/config" });
  const byName = await caller.call(loadGlobalConfig, { names: ["b", "x"] });
  assert.deepEqual(byName.items.map(({ name, value, error }) => [name, value, error !== undefined]), [
    ["b", "", false],
    ["x", "", true],
  ]);
  await caller.call(storeGlobalConfig, { changes: [{ name: "b", kind: EventType.DELETE }] });
  const all = await caller.call(loadGlobalConfig, { configPath: "/global/config/" });
  assert.deepEqual(all.items.map(({ name, payload }) => [name, text(payload)]), [["/global/config/a", "1"]]);
  await assert.rejects(caller.call(loadGlobalConfig, { configPath: "elsewhere" }), { code: 3 });
});

test("[PD-070] [PD-073] a barrier holds the transaction safe point back until it expires", async () => {
  await using caller = await start();
  const { setGCBarrier, deleteGCBarrier, getGCState, advanceTxnSafePoint, advanceGCSafePoint } = PD.method;
  const keyspaceScope = NULL_KEYSPACE;
  const advance = (target: bigint) => caller.call(advanceTxnSafePoint, { keyspaceScope, target });
  const set = (barrierId: string, barrierTs: bigint, ttlSeconds: bigint) =>
    caller.call(setGCBarrier, { keyspaceScope, barrierId, barrierTs, ttlSeconds });
  assert.equal((await set("backup", 50n, 60n)).newBarrierInfo?.ttlSeconds, 60n);
  assert.match((await set("gc_worker", 50n, 60n)).header?.error?.message ?? "", /reserved/);
  const held = await advance(80n);
  assert.deepEqual([held.oldTxnSafePoint, held.newTxnSafePoint], [0n, 50n]);
  assert.match(held.blockerDescription, /backup/);
  assert.match(
    (await set("late", 40n, 60n)).header?.error?.message ?? "",
    /already behind the txn safe point 50/,
  );
  assert.match((await advance(10n)).header?.error?.message ?? "", /smaller value/);
  const state = await caller.call(getGCState, { keyspaceScope });
  assert.deepEqual(state.gcState?.gcBarriers.map(({ barrierId }) => barrierId), ["backup"]);
  await caller.clock.advance(60_000);
  assert.equal((await advance(80n)).newTxnSafePoint, 80n);
  const tooFar = await caller.call(advanceGCSafePoint, { keyspaceScope, target: 81n });
  assert.match(tooFar.header?.error?.message ?? "", /exceeds txn safe point/);
  assert.equal((await caller.call(advanceGCSafePoint, { keyspaceScope, target: 80n })).newGcSafePoint, 80n);
  assert.equal(
    (await caller.call(deleteGCBarrier, { keyspaceScope, barrierId: "backup" })).deletedBarrierInfo,
    undefined,
  );
});

test("[PD-071] a global barrier holds every keyspace back", async () => {
  await using caller = await start();
  const { setGlobalGCBarrier, deleteGlobalGCBarrier, advanceTxnSafePoint, getAllKeyspacesGCStates } =
    PD.method;
  await caller.call(setGlobalGCBarrier, { barrierId: "all", barrierTs: 5n, ttlSeconds: 9n });
  const advance = async () =>
    (await caller.call(advanceTxnSafePoint, { keyspaceScope: NULL_KEYSPACE, target: 9n })).newTxnSafePoint;
  assert.equal(await advance(), 5n);
  assert.equal((await caller.call(getAllKeyspacesGCStates)).globalGcBarriers.length, 1);
  assert.equal(
    (await caller.call(deleteGlobalGCBarrier, { barrierId: "all" })).deletedBarrierInfo?.barrierTs,
    5n,
  );
  assert.equal(await advance(), 9n);
});

test("[PD-074] the old safe points answer from the same state", async () => {
  await using caller = await start();
  const { updateServiceGCSafePoint, updateGCSafePoint, getGCSafePoint } = PD.method;
  const service = async (id: string, safePoint: bigint, ttl: bigint) =>
    (await caller.call(updateServiceGCSafePoint, { serviceId: bytes(id), safePoint, TTL: ttl })).minSafePoint;
  assert.equal(await service("br", 30n, 100n), 0n);
  assert.equal(await service("gc_worker", 40n, 0x7fff_ffff_ffff_ffffn), 30n);
  assert.equal((await caller.call(updateGCSafePoint, { safePoint: 20n })).newSafePoint, 20n);
  assert.equal((await caller.call(updateGCSafePoint, { safePoint: 10n })).newSafePoint, 20n);
  assert.equal((await caller.call(getGCSafePoint)).safePoint, 20n);
});

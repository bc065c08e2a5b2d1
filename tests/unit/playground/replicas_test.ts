// SPDX-License-Identifier: Apache-2.0
// Reads that come to a store that does not lead, as TiKV answers them.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Context, GetResponse } from "../../../gen/kvrpcpb_pb.ts";
import { Tikv } from "../../../gen/tikvpb_pb.ts";
import type { Peer } from "../../../src/playground/mod.ts";
import { bytes, contextFor, text, unary } from "./gen_client.ts";
import { at, faultName, TxnBench } from "./mvcc/txn_bench.ts";

const { method } = Tikv;
const LATEST = 0xffff_ffff_ffff_ffffn;

type Fields = Omit<Partial<Context>, "$typeName">;

/** A region on three stores with a value, and reads of it at any of its peers. */
class Bench {
  readonly txn: TxnBench;

  private constructor(txn: TxnBench) {
    this.txn = txn;
  }

  static async start(): Promise<Bench> {
    const txn = await TxnBench.start();
    await txn.put({ k: "1" }, at(10), at(11));
    return new Bench(txn);
  }

  /** The followers of the region. */
  get followers(): readonly Peer[] {
    const region = this.txn.cluster.regionOf("k");
    return region.peers.filter(({ id }) => id !== region.leader?.id);
  }

  get leader(): Peer {
    const { leader } = this.txn.cluster.regionOf("k");
    assert.ok(leader !== undefined);
    return leader;
  }

  /** The newest timestamp, which moves with the clock. */
  now(): bigint {
    return at(this.txn.clock.wallNow());
  }

  addressOf({ storeId }: Peer): string {
    return this.txn.cluster.stores().find(({ id }) => id === storeId)?.address ?? "";
  }

  async get(peer: Peer, version: bigint, fields: Fields = {}): Promise<GetResponse> {
    const region = this.txn.cluster.regionOf("k");
    const context = contextFor({ ...region, leader: peer }, fields);
    const { transport } = this.txn.cluster.connectOptions();
    return await unary(transport, this.addressOf(peer), method.kvGet, { context, key: bytes("k"), version });
  }

  async storeSafeTs(peer: Peer, keyRange?: { startKey: Uint8Array; endKey: Uint8Array }): Promise<bigint> {
    const { transport } = this.txn.cluster.connectOptions();
    const request = keyRange === undefined ? {} : { keyRange };
    return (await unary(transport, this.addressOf(peer), method.getStoreSafeTS, request)).safeTs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.txn[Symbol.asyncDispose]();
  }
}

/** Whether a promise has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  return await Promise.race([promise, Promise.resolve(pending)]) !== pending;
}

function first<T>(list: readonly T[]): T {
  const [one] = list;
  assert.ok(one !== undefined);
  return one;
}

test("[TXN-150] a follower answers a replica read, and no other", async () => {
  await using bench = await Bench.start();
  const follower = first(bench.followers);
  const plain = await bench.get(follower, at(20));
  assert.equal(plain.regionError?.notLeader?.leader?.id, bench.leader.id);
  for (const version of [at(20), bench.now() + 5n, LATEST]) {
    assert.equal(text((await bench.get(follower, version, { replicaRead: true })).value), "1");
  }
});

test("[TXN-150] a replica that is behind answers when it has what the leader had", async () => {
  await using bench = await Bench.start();
  const { clock, cluster } = bench.txn;
  const follower = first(bench.followers);
  cluster.lagStore(follower.storeId, 700);
  await clock.advance(1);
  const reading = bench.get(follower, LATEST, { replicaRead: true, maxExecutionDurationMs: 5_000n });
  await clock.advance(690);
  assert.equal(await isSettled(reading), false);
  await clock.advance(110);
  assert.equal(text((await reading).value), "1");
});

test("[TXN-150] a replica that stands still gives up when the client does", async () => {
  await using bench = await Bench.start();
  const { clock, cluster } = bench.txn;
  const follower = first(bench.followers);
  cluster.lagStore(follower.storeId, Infinity);
  await clock.advance(1);
  const reading = bench.get(follower, LATEST, { replicaRead: true, maxExecutionDurationMs: 1_000n });
  await clock.advance(999);
  assert.equal(await isSettled(reading), false);
  await clock.advance(1);
  assert.equal((await reading).regionError?.serverIsBusy?.reason, "deadline is exceeded");
  const patient = bench.get(follower, LATEST, { replicaRead: true });
  await clock.advance(1_000);
  cluster.lagStore(follower.storeId, 0);
  await clock.advance(100);
  assert.equal(text((await patient).value), "1");
});

test("[TXN-150] what a replica is certain to have it answers at once, behind or not", async () => {
  await using bench = await Bench.start();
  const { clock, cluster } = bench.txn;
  const follower = first(bench.followers);
  const before = bench.now();
  await clock.advance(1_000);
  cluster.lagStore(follower.storeId, Infinity);
  await clock.advance(1_000);
  assert.equal(text((await bench.get(follower, before, { replicaRead: true })).value), "1");
});

test("[TXN-150] without a leader a replica read is refused, and a stale read is not", async () => {
  await using bench = await Bench.start();
  const { cluster } = bench.txn;
  const follower = first(bench.followers);
  await cluster.dropLeader("k");
  const safeTs = await bench.storeSafeTs(follower);
  assert.ok(safeTs > at(11));
  const refused = await bench.get(follower, LATEST, { replicaRead: true });
  assert.deepEqual([refused.regionError?.notLeader?.regionId, refused.regionError?.notLeader?.leader], [
    cluster.regionOf("k").id,
    undefined,
  ]);
  assert.equal(text((await bench.get(follower, safeTs, { staleRead: true })).value), "1");
  const late = await bench.get(follower, safeTs + 1n, { staleRead: true });
  assert.equal(late.regionError?.dataIsNotReady?.safeTs, safeTs, "nobody gets on with it");
});

test("[TXN-150] while its leader does not answer a replica waits, and goes on with the next one", async () => {
  await using bench = await Bench.start();
  const { clock, cluster } = bench.txn;
  const [follower, other] = bench.followers;
  assert.ok(follower !== undefined && other !== undefined);
  await cluster.stopStore(bench.leader.storeId, { electsLeaders: false });
  const reading = bench.get(follower, LATEST, { replicaRead: true, maxExecutionDurationMs: 5_000n });
  await clock.advance(500);
  assert.equal(await isSettled(reading), false);
  await cluster.moveLeader("k", other.storeId);
  await clock.advance(100);
  assert.equal(text((await reading).value), "1");
});

test("[TXN-150] a follower whose disk is full cannot follow", async () => {
  await using bench = await Bench.start();
  const follower = first(bench.followers);
  bench.txn.cluster.fillDisk(follower.storeId);
  const refused = await bench.get(follower, LATEST, { replicaRead: true });
  assert.deepEqual(refused.regionError?.diskFull?.storeId, [follower.storeId]);
  assert.equal(text((await bench.get(bench.leader, LATEST)).value), "1");
});

test("[TXN-151] a follower refuses a stale read of what may still change, its leader never does", async () => {
  await using bench = await Bench.start();
  const follower = first(bench.followers);
  await bench.txn.prewrite({ z: "1" }, at(15));
  const refused = await bench.get(follower, at(20), { staleRead: true });
  assert.deepEqual(
    [refused.regionError?.dataIsNotReady?.safeTs, refused.regionError?.dataIsNotReady?.peerId],
    [at(15) - 1n, follower.id],
  );
  assert.equal(text((await bench.get(follower, at(14), { staleRead: true })).value), "1");
  assert.ok(
    (await bench.get(follower, LATEST, { staleRead: true })).regionError?.dataIsNotReady !== undefined,
  );
  for (const version of [at(20), LATEST]) {
    assert.equal(text((await bench.get(bench.leader, version, { staleRead: true })).value), "1");
  }
});

test("[TXN-151] [T-56] a stale read can meet a lock that is older than what the replica has everything of", async () => {
  await using bench = await Bench.start();
  const follower = first(bench.followers);
  const safeTs = await bench.storeSafeTs(follower);
  await bench.txn.prewrite({ k: "2" }, at(30));
  const { error } = await bench.get(follower, safeTs, { staleRead: true });
  assert.equal(faultName(error), "locked");
});

test("[TXN-151] what was read at a replica stays true: later commits are later than all that it may show", async () => {
  await using bench = await Bench.start();
  const safeTs = await bench.storeSafeTs(first(bench.followers));
  const { minCommitTs } = await bench.txn.prewrite({ k: "2" }, at(30), { useAsyncCommit: true });
  assert.ok(minCommitTs > safeTs);
});

test("[TXN-151] a replica that is behind has everything up to a time that is as far behind", async () => {
  await using bench = await Bench.start();
  const { clock, cluster } = bench.txn;
  const follower = first(bench.followers);
  const then = bench.now();
  cluster.lagStore(follower.storeId, 2_000);
  await clock.advance(5_000);
  const stale = (peer: Peer, ms: number) => bench.get(peer, at(clock.wallNow() - ms), { staleRead: true });
  assert.equal(text((await stale(follower, 2_001)).value), "1");
  assert.ok((await stale(follower, 1_999)).regionError?.dataIsNotReady !== undefined);
  assert.equal(text((await stale(bench.followers[1] ?? follower, 1)).value), "1", "others are not");
  cluster.lagStore(follower.storeId, Infinity);
  await clock.advance(5_000);
  assert.ok((await stale(follower, 4_999)).regionError?.dataIsNotReady !== undefined);
  assert.ok(await bench.storeSafeTs(follower) >= then);
  assert.ok(await bench.storeSafeTs(follower) < await bench.storeSafeTs(bench.followers[1] ?? follower));
  // As a leader it is not behind.
  await cluster.moveLeader("k", follower.storeId);
  assert.equal(text((await stale(follower, 0)).value), "1");
});

test("[TXN-011] [KV-007] a store tells the least of its regions, of those with keys of a range", async () => {
  await using bench = await Bench.start();
  const { cluster } = bench.txn;
  await cluster.split("m");
  await bench.txn.prewrite({ z: "1" }, at(15));
  const { leader } = bench;
  assert.equal(await bench.storeSafeTs(leader), at(15) - 1n);
  const left = { startKey: bytes(""), endKey: cluster.encodeKey("m") };
  assert.ok(await bench.storeSafeTs(leader, left) > at(15));
  const right = { startKey: cluster.encodeKey("m"), endKey: bytes("") };
  assert.equal(await bench.storeSafeTs(leader, right), at(15) - 1n);
  const empty = await cluster.addStore({ isEmpty: true });
  assert.equal(await bench.storeSafeTs({ id: 0n, storeId: empty, role: "voter" }), 0n);
});

test("[TXN-152] [REG-039] a busy store refuses reads that do not want to wait for so long, and no others", async () => {
  await using bench = await Bench.start();
  const { leader } = bench;
  bench.txn.cluster.setBusy(leader.storeId, 300);
  const refused = await bench.get(leader, at(20), { busyThresholdMs: 299 });
  assert.deepEqual(
    [refused.regionError?.serverIsBusy?.estimatedWaitMs, refused.regionError?.serverIsBusy?.reason],
    [300, "estimated wait time exceeds threshold"],
  );
  for (const busyThresholdMs of [0, 300, 301]) {
    assert.equal(text((await bench.get(leader, at(20), { busyThresholdMs })).value), "1");
  }
  const context = { busyThresholdMs: 1 };
  assert.equal((await bench.txn.prewrite({ k: "2" }, at(30), {}, context)).regionError, undefined);
  bench.txn.cluster.setBusy(leader.storeId, 0);
  assert.equal((await bench.get(leader, at(20), context)).regionError, undefined);
});

test("[REG-042] stores carry the labels that they are given", async () => {
  await using bench = await Bench.start();
  const { cluster } = bench.txn;
  cluster.labelStore(2n, { zone: "b" });
  const { transport, pd } = cluster.connectOptions();
  const { PD } = await import("../../../gen/pdpb_pb.ts");
  const reply = await unary(transport, pd[0] ?? "", PD.method.getStore, {
    header: { clusterId: cluster.clusterId },
    storeId: 2n,
  });
  assert.deepEqual(reply.store?.labels.map(({ key, value }) => [key, value]), [["zone", "b"]]);
});

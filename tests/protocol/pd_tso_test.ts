// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import { SeededRandom } from "../../src/testing/seeded_random.ts";
import { logicalOf, physicalMsOf, type Timestamp } from "../../src/types.ts";
import { pdSetup } from "../helpers/pd_setup.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const TWO = ["pd-1:2379", "pd-2:2379"];

function assertIncreasing(timestamps: readonly Timestamp[]): void {
  timestamps.forEach((timestamp, index) => {
    const previous = timestamps[index - 1];
    if (previous !== undefined) assert.ok(timestamp > previous, `${timestamp} after ${previous}`);
  });
}

test("[PD-031] callers that wait at the same time share one request", async () => {
  const { clock, cluster, pd } = await pdSetup();
  const got = await clock.run(Promise.all(Array.from({ length: 100 }, () => pd.timestamp())));
  assert.deepEqual(cluster.tsoCounts, [100]);
  assertIncreasing(got);
  await pd.close();
});

test("[PD-032] [ORA-001] [TRAP-24] the answer is the last of the batch", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.onTso = () => ({ timestamp: { physical: 1_234_567n, logical: 10n } });
  const got = await clock.run(Promise.all([pd.timestamp(), pd.timestamp(), pd.timestamp()]));
  assert.deepEqual(got, [8n, 9n, 10n].map((logical) => (1_234_567n << 18n) + logical));
  assert.equal(physicalMsOf(got[0]), 1_234_567);
  assert.equal(logicalOf(got[0]), 8);
  await pd.close();
});

test("[PD-032] suffix bits of the answer stay the same within the batch", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.onTso = () => ({ timestamp: { physical: 5n, logical: 27n, suffixBits: 2 } });
  const got = await clock.run(Promise.all([pd.timestamp(), pd.timestamp(), pd.timestamp()]));
  assert.deepEqual(got.map(logicalOf), [19, 23, 27]);
  await pd.close();
});

test("[PD-031] callers that come while a request is under way share the next, 10 000 at most", async () => {
  const { clock, network, cluster, pd } = await pdSetup();
  await clock.run(pd.timestamp());
  network.setLink("pd-1:2379", "silent");
  const first = pd.timestamp();
  await clock.advance(0);
  const rest = Array.from({ length: 10_500 }, () => pd.timestamp());
  await clock.advance(10);
  network.setLink("pd-1:2379", "up");
  assertIncreasing(await clock.run(Promise.all([first, ...rest])));
  assert.deepEqual(cluster.tsoCounts, [1, 1, 10_000, 500]);
  assert.equal(cluster.tsoStreams, 1);
  await pd.close();
});

test("[PD-003] tsoBatchWaitMs lets the first caller wait for others", async () => {
  const { clock, cluster, pd } = await pdSetup({ pd: { tsoBatchWaitMs: 5 } });
  const first = pd.timestamp();
  await clock.advance(4);
  const second = pd.timestamp();
  assertIncreasing(await clock.run(Promise.all([first, second])));
  assert.deepEqual(cluster.tsoCounts, [2]);
  await pd.close();
  await assert.rejects(pdSetup({ pd: { tsoBatchWaitMs: 11 } }), RangeError);
});

test("[PD-032] a wrong count fails its batch only, with a protocol error", async () => {
  const { clock, cluster, pd } = await pdSetup();
  let answers = 0;
  cluster.onTso = () => ++answers === 1 ? { count: 1, timestamp: { physical: 5n, logical: 9n } } : undefined;
  const [a, b] = [pd.timestamp(), pd.timestamp()];
  a.catch(() => {});
  b.catch(() => {});
  await clock.advance(0);
  await rejectsKind(clock.run(a), "protocol");
  await rejectsKind(clock.run(b), "protocol");
  assert.ok(await clock.run(pd.timestamp()) > 0n);
  // What else comes on a stream that lost count cannot be trusted.
  assert.equal(cluster.tsoStreams, 2);
  await pd.close();
});

test("[PD-032] counters that cannot be are a protocol error", async () => {
  const { clock, cluster, pd } = await pdSetup();
  for (
    const timestamp of [{ physical: 1n, logical: 0x40000n }, { physical: 0n, logical: 5n }, {
      physical: 1n,
      logical: 0n,
    }]
  ) {
    cluster.onTso = () => ({ timestamp });
    const both = Promise.all([pd.timestamp(), pd.timestamp()]);
    await rejectsKind(clock.run(both), "protocol");
  }
  await pd.close();
});

test("[PD-039] [TRAP-24] a timestamp that goes backwards is never handed out", async () => {
  const { clock, cluster, pd, events } = await pdSetup();
  const first = await clock.run(pd.timestamp());
  const physical = BigInt(physicalMsOf(first));
  let answers = 0;
  cluster.onTso = () => ++answers <= 2 ? { timestamp: { physical: physical - 1n, logical: 9n } } : undefined;
  const second = await clock.run(pd.timestamp());
  assert.ok(second > first);
  assert.equal(answers, 3);
  assert.equal(events.filter(({ type }) => type === "warning").length, 2);
  // The very same one, and a batch that begins with it, are as bad.
  answers = 0;
  cluster.onTso = (count) =>
    ++answers === 1 ? { timestamp: { physical, logical: BigInt(logicalOf(second) + count - 1) } } : undefined;
  assertIncreasing([second, ...await clock.run(Promise.all([pd.timestamp(), pd.timestamp()]))]);
  assert.equal(answers, 2);
  cluster.onTso = () => ({ timestamp: { physical: 1n, logical: 9n } });
  const error = await rejectsKind(clock.run(pd.timestamp()), "protocol");
  assert.match(error.message, /backwards/);
  await pd.close();
});

test("[PD-035] a stream that breaks is opened again, and who waits is asked for anew", async () => {
  const ends = [
    "cut",
    "end",
    { grpc: GRPC.UNKNOWN, text: "generate timestamp failed, requested pd is not leader of cluster" },
    { grpc: GRPC.UNAVAILABLE, text: "server not started" },
    { grpc: GRPC.UNKNOWN, text: "mismatch callee id" },
    { grpc: GRPC.UNKNOWN, text: "server not started" },
    { grpc: GRPC.UNKNOWN, text: "generate timestamp failed, maximum number of retries exceeded" },
    { refuse: "NOT_BOOTSTRAPPED" },
  ] as const;
  for (const end of ends) {
    const { clock, network, cluster, pd } = await pdSetup();
    let answers = 0;
    cluster.onTso = () => {
      if (++answers > 2) return undefined;
      if (end !== "cut") return end;
      network.cut("pd-1:2379");
      return "silent";
    };
    assertIncreasing(await clock.run(Promise.all([pd.timestamp(), pd.timestamp()])));
    assert.deepEqual(cluster.tsoCounts, [2, 2, 2], JSON.stringify(end));
    await pd.close();
    assert.equal(clock.pendingTimers, 0);
  }
});

test("[PD-035] the wrong cluster and a refused call end the wait at once", async () => {
  const rows = [
    [{ grpc: GRPC.FAILED_PRECONDITION, text: "mismatch cluster id" }, "cluster-mismatch"],
    [{ header: { clusterId: 8n }, timestamp: { physical: 1n, logical: 1n } }, "cluster-mismatch"],
    [{ grpc: GRPC.PERMISSION_DENIED }, "server"],
    [{ grpc: GRPC.UNIMPLEMENTED }, "unsupported"],
  ] as const;
  const { clock, cluster, pd } = await pdSetup();
  for (const [answer, kind] of rows) {
    cluster.onTso = () => answer;
    const before = clock.now();
    await rejectsKind(clock.run(pd.timestamp()), kind);
    assert.equal(clock.now(), before);
  }
  await pd.close();
});

test("[PD-036] timestamps come from the new leader at once after a change, and go on increasing", async () => {
  const { clock, cluster, pd } = await pdSetup({ addresses: TWO });
  const got = [await clock.run(pd.timestamp())];
  cluster.leader = "pd-2:2379";
  const before = clock.now();
  got.push(await clock.run(pd.timestamp()));
  assert.equal(clock.now(), before);
  cluster.leader = "pd-1:2379";
  // The client hears of it while nobody waits: the stream to the old one is given up.
  await clock.run(pd.members());
  got.push(await clock.run(pd.timestamp()));
  assert.equal(cluster.tsoStreams, 3);
  assert.deepEqual(cluster.tsoCounts, [1, 1, 1, 1], "only the first change cost a request");
  assertIncreasing(got);
  await pd.close();
});

test("[PD-034] a batch that is not answered in time breaks the stream, and is asked for at the new leader", async () => {
  const { clock, network, cluster, pd } = await pdSetup({ addresses: TWO });
  await clock.run(pd.timestamp());
  network.setLink("pd-1:2379", "silent");
  const pending = pd.timestamp();
  await clock.advance(1_000);
  cluster.leader = "pd-2:2379";
  const before = clock.now();
  await clock.run(pending);
  assert.equal(clock.now() - before, 2_000, "pdTimeoutMs after it was sent");
  await pd.close();
});

test("[TRAP-25] each caller ends by its own time and signal, and takes nothing from the others", async () => {
  const { clock, network, cluster, pd } = await pdSetup({ pd: { pdTimeoutMs: 3_000 } });
  await clock.run(pd.timestamp());
  network.setLink("pd-1:2379", "silent");
  const controller = new AbortController();
  const reason = new Error("enough");
  const short = rejectsKind(pd.timestamp({ timeoutMs: 100 }), "timeout");
  const aborted = assert.rejects(pd.timestamp({ signal: controller.signal }), (error) => error === reason);
  const patient = pd.timestamp({ timeoutMs: 10_000 });
  await clock.advance(50);
  controller.abort(reason);
  await aborted;
  await clock.advance(50);
  await short;
  network.setLink("pd-1:2379", "up");
  assert.ok(await clock.run(patient) > 0n);
  assert.deepEqual(cluster.tsoCounts, [1, 3], "one request served all three");
  await assert.rejects(pd.timestamp({ signal: AbortSignal.abort(reason) }), (error) => error === reason);
  await pd.close();
  assert.equal(clock.pendingTimers, 0);
});

test("a timeout of a timestamp tells what went wrong meanwhile", async () => {
  const { clock, network, pd } = await pdSetup();
  network.isolate("pd-1:2379");
  const before = clock.now();
  const error = await rejectsKind(clock.run(pd.timestamp({ timeoutMs: 5_000 })), "timeout");
  assert.equal(clock.now() - before, 5_000);
  assert.match(String((error.cause as Error).message), /connection refused/);
  assert.equal(error.context.operation, "pd.timestamp");
  await pd.close();
});

test("an idle stream is kept, and one that ended while idle is replaced without an error", async () => {
  const { clock, network, cluster, pd } = await pdSetup();
  await clock.run(pd.timestamp());
  await clock.advance(300_000);
  await clock.run(pd.timestamp());
  assert.equal(cluster.tsoStreams, 1);
  network.cut("pd-1:2379");
  await clock.advance(1_000);
  const before = clock.now();
  await clock.run(pd.timestamp());
  assert.equal(clock.now(), before);
  assert.equal(cluster.tsoStreams, 2);
  await pd.close();
});

test("[PD-040] [ORA-011] [TXN-005] minTimestamp() asks PD, and takes an ordinary timestamp from one that cannot tell", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["GetMinTS"] = () => ({ timestamp: { physical: 9n, logical: 3n } });
  assert.equal(await clock.run(pd.minTimestamp()), (9n << 18n) + 3n);
  cluster.on["GetMinTS"] = () => ({ timestamp: { physical: 0n, logical: 0n } });
  assert.ok(await clock.run(pd.minTimestamp()) > 1n << 18n);
  cluster.on["GetMinTS"] = () => ({ grpc: GRPC.UNIMPLEMENTED, text: "unknown method GetMinTS" });
  const asked = cluster.callsOf("GetMinTS").length;
  await clock.run(pd.minTimestamp());
  await clock.run(pd.minTimestamp());
  assert.equal(cluster.callsOf("GetMinTS").length, asked + 1);
  await pd.close();
});

test("timestamps increase through any order of breaks, leader changes and silences", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = new SeededRandom(seed);
    const { clock, network, cluster, pd } = await pdSetup({ addresses: TWO });
    const got: Timestamp[] = [];
    const ends: Promise<void>[] = [];
    for (let step = 0; step < 40; step++) {
      const timeoutMs = 200 + random.int(8_000);
      // In the order in which they were asked for: of two calls the earlier one has the smaller one
      // unless it had to be asked for again.
      ends.push(pd.timestamp({ timeoutMs }).then((timestamp) => void got.push(timestamp), () => {}));
      const action = random.int(8);
      if (action === 0) cluster.leader = random.pick(TWO);
      if (action === 1) network.cut(random.pick(TWO));
      if (action === 2) network.setLink(random.pick(TWO), "silent");
      if (action === 3) network.setLink(random.pick(TWO), "refusing");
      if (action >= 4) { for (const address of TWO) network.setLink(address, "up"); }
      await clock.advance(random.int(400));
    }
    for (const address of TWO) network.setLink(address, "up");
    await clock.run(Promise.all(ends));
    try {
      assertIncreasing(got);
      assert.ok(got.length > 10, `only ${got.length} timestamps`);
      await clock.run(pd.timestamp());
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    await pd.close();
    assert.equal(clock.pendingTimers, 0, `seed ${seed}`);
  }
});

// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { Pd } from "../../src/pd/pd_client.ts";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import { pdNetwork, pdSetup } from "../helpers/pd_setup.ts";
import { ScriptedPd } from "../helpers/scripted_pd.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const THREE = ["pd-1:2379", "pd-2:2379", "pd-3:2379"];

test("[PD-006] connect() finds the leader from any one member", async () => {
  const { clock, cluster, options } = pdNetwork({ addresses: THREE });
  cluster.leader = "pd-3:2379";
  const pd = await clock.run(Pd.connect("pd-1:2379", options));
  assert.equal(pd.clusterId, 7n);
  await clock.run(pd.stores());
  assert.equal(cluster.callsOf("GetAllStores")[0]?.address, "pd-3:2379");
  await pd.close();
});

test("[PD-006] connect() works while other members are unreachable, refusing or silent", async () => {
  const { clock, network, cluster, options } = pdNetwork({ addresses: THREE });
  network.setLink("pd-1:2379", "silent");
  network.setLink("pd-2:2379", "refusing");
  cluster.leader = "pd-3:2379";
  const before = clock.now();
  const pd = await clock.run(Pd.connect(THREE, options));
  assert.equal(clock.now() - before, 500, "a silent member is waited for only for a short time");
  await pd.close();
  assert.equal(clock.pendingTimers, 0);
});

test("[PD-007] connect() refuses addresses of two clusters", async () => {
  const { clock, network, options } = pdNetwork();
  const other = new ScriptedPd(network, { addresses: ["other:2379"], clusterId: 8n });
  assert.equal(other.clusterId, 8n);
  const error = await rejectsKind(
    clock.run(Pd.connect(["pd-1:2379", "other:2379"], options)),
    "cluster-mismatch",
  );
  assert.match(error.message, /pd-1:2379 belongs to 7.*other:2379 belongs to 8/);
  assert.equal(clock.pendingTimers, 0);
});

test("[PD-007] connect() refuses a cluster with another id than the expected one", async () => {
  const { clock, options } = pdNetwork();
  const connecting = Pd.connect("pd-1:2379", { ...options, expectClusterId: 9n });
  await rejectsKind(clock.run(connecting), "cluster-mismatch");
});

test("[PD-007] a member that belongs to another cluster later on is not believed", async () => {
  const { clock, network, cluster, pd } = await pdSetup({ addresses: ["pd-1:2379", "pd-2:2379"] });
  cluster.on["GetMembers"] = ({ address }) =>
    address === "pd-2:2379"
      ? {
        ...cluster.membersAnswer(),
        header: { clusterId: 99n },
        leader: { memberId: 2n, clientUrls: ["http://pd-2:2379"] },
      }
      : undefined;
  network.isolate("pd-1:2379");
  await rejectsKind(clock.run(pd.stores({ timeoutMs: 5_000 })), "connection");
  assert.deepEqual(cluster.callsOf("GetAllStores"), []);
  network.setLink("pd-1:2379", "up");
  await clock.run(pd.stores());
  await pd.close();
});

test("connect() waits for a cluster that is being started", async () => {
  const { clock, network, cluster, options } = pdNetwork();
  network.setLink("pd-1:2379", "refusing");
  const connecting = Pd.connect("pd-1:2379", options);
  await clock.advance(600);
  network.setLink("pd-1:2379", "up");
  cluster.leader = undefined;
  await clock.advance(1_500);
  cluster.leader = "pd-1:2379";
  const pd = await clock.run(connecting);
  assert.ok(cluster.callsOf("GetMembers").length > 1);
  await pd.close();
});

test("calls wait for a cluster that is being bootstrapped", async () => {
  const { clock, cluster, pd } = await pdSetup();
  let answers = 0;
  cluster.on["GetAllStores"] = () => ++answers < 4 ? { refuse: "NOT_BOOTSTRAPPED" } : undefined;
  assert.deepEqual(await clock.run(pd.stores()), []);
  assert.equal(answers, 4);
  answers = -1_000;
  const error = await rejectsKind(clock.run(pd.stores({ timeoutMs: 4_000 })), "connection");
  assert.match(error.message, /NOT_BOOTSTRAPPED/);
  await pd.close();
});

test("connect() says for each address what is wrong, within its time", async () => {
  const { clock, network, options } = pdNetwork({ addresses: ["pd-1:2379", "pd-2:2379"] });
  network.setLink("pd-1:2379", "silent");
  network.setLink("pd-2:2379", "refusing");
  const before = clock.now();
  const connecting = Pd.connect(["pd-1:2379", "pd-2:2379"], { ...options, connectTimeoutMs: 2_000 });
  const error = await rejectsKind(clock.run(connecting), "timeout");
  assert.match(error.message, /"pd-1:2379": .*"pd-2:2379": .*connection refused/);
  assert.equal(clock.now() - before, 2_000);
  assert.equal(error.context.operation, "connect");
  assert.equal(clock.pendingTimers, 0);
});

test("connect() rejects with the reason of its signal before and while it connects", async () => {
  const { clock, network, options } = pdNetwork();
  network.setLink("pd-1:2379", "silent");
  const reason = new Error("enough");
  const aborted = Pd.connect("pd-1:2379", { ...options, signal: AbortSignal.abort(reason) });
  await assert.rejects(aborted, (error) => error === reason);
  const controller = new AbortController();
  const connecting = Pd.connect("pd-1:2379", { ...options, signal: controller.signal });
  await clock.advance(100);
  controller.abort(reason);
  await assert.rejects(connecting, (error) => error === reason);
  await clock.advance(0);
  assert.equal(clock.pendingTimers, 0);
  assert.equal(network.openCalls("pd-1:2379"), 0);
});

test("connect() to something that is not PD fails at once and says so", async () => {
  const { clock, network, options } = pdNetwork();
  network.listen("store:20160", () => undefined);
  const before = clock.now();
  const error = await rejectsKind(clock.run(Pd.connect("store:20160", options)), "unsupported");
  assert.match(error.message, /address of a store/);
  assert.equal(clock.now(), before);
});

test("connect() to members that serve with TLS only fails at once and says so", async () => {
  const { clock, cluster, options } = pdNetwork();
  cluster.on["GetMembers"] = () => cluster.membersAnswer("https");
  const error = await rejectsKind(clock.run(Pd.connect("http://pd-1:2379", options)), "tls");
  assert.match(error.message, /https:\/\/pd-1:2379: it serves with TLS/);
  const pd = await clock.run(Pd.connect("https://pd-1:2379", options));
  await pd.close();
});

test("[PD-001] connect() refuses TLS options together with http:// addresses", async () => {
  const { options } = pdNetwork();
  await assert.rejects(Pd.connect("http://pd-1:2379", { ...options, tls: {} }), TypeError);
});

test("[PD-006] the members are read again every minute, and on demand once for all who ask", async () => {
  const { clock, cluster, pd, events } = await pdSetup({ addresses: THREE });
  const asked = () => cluster.callsOf("GetMembers").length;
  const before = asked();
  cluster.leader = "pd-2:2379";
  await clock.advance(60_000);
  assert.equal(asked() - before, 3);
  await clock.run(pd.stores());
  assert.equal(cluster.callsOf("GetAllStores").at(-1)?.address, "pd-2:2379");
  assert.deepEqual(events.filter(({ type }) => type === "pd-leader"), [
    { type: "pd-leader", address: "pd-1:2379" },
    { type: "pd-leader", address: "pd-2:2379" },
  ]);
  const now = asked();
  await clock.run(Promise.all([pd.members(), pd.members(), pd.members()]));
  assert.equal(asked() - now, 3);
  await pd.close();
  assert.equal(clock.pendingTimers, 0);
});

test("[PD-020] members() tells who is in PD", async () => {
  const { clock, pd } = await pdSetup({ addresses: ["pd-1:2379", "pd-2:2379"] });
  const members = await clock.run(pd.members());
  assert.deepEqual(members, [
    {
      id: 1n,
      name: "pd-1",
      clientUrls: ["http://pd-1:2379"],
      peerUrls: ["http://pd-1:2380"],
      isLeader: true,
      version: "v8.5.0",
    },
    {
      id: 2n,
      name: "pd-2",
      clientUrls: ["http://pd-2:2379"],
      peerUrls: ["http://pd-2:2380"],
      isLeader: false,
      version: "v8.5.0",
    },
  ]);
  await pd.close();
});

test("[PD-020] close() ends waiting calls with `closed`, refuses new ones, and leaves nothing", async () => {
  const { clock, network, cluster, pd } = await pdSetup();
  cluster.on["GetAllStores"] = () => "silent";
  cluster.onTso = () => "silent";
  cluster.on["GetRegion"] = () => ({ grpc: GRPC.UNAVAILABLE });
  const pending = [pd.stores(), pd.timestamp(), pd.region("k")];
  const results = Promise.allSettled(pending);
  await clock.advance(900);
  await pd.close();
  await pd.close();
  for (const result of await results) {
    assert.equal(result.status, "rejected");
    assert.equal(result.reason?.kind, "closed", String(result.reason));
  }
  await rejectsKind(pd.stores(), "closed");
  await rejectsKind(pd.timestamp(), "closed");
  assert.equal(pd.isClosed, true);
  await clock.advance(0);
  assert.equal(clock.pendingTimers, 0);
  assert.equal(network.openCalls("pd-1:2379"), 0);
});

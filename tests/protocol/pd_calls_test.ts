// SPDX-License-Identifier: Apache-2.0

import assert from "node:assert/strict";
import test from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { createConnectTransport } from "../../src/rpc/connect_transport.ts";
import { GRPC } from "../../src/rpc/grpc_status.ts";
import { pdSetup } from "../helpers/pd_setup.ts";
import type { Answer } from "../helpers/scripted_pd.ts";
import { rejectsKind } from "../helpers/has_kind.ts";

const TWO = ["pd-1:2379", "pd-2:2379"];
const THREE = [...TWO, "pd-3:2379"];

test("a call follows the leader at once when its member says that it does not lead", async () => {
  const { clock, cluster, pd } = await pdSetup({ addresses: TWO });
  cluster.leader = "pd-2:2379";
  const before = clock.now();
  await clock.run(pd.stores());
  assert.deepEqual(cluster.callsOf("GetAllStores").map(({ address }) => address), TWO);
  assert.equal(clock.now(), before);
  await pd.close();
});

test("a call follows the leader at once when its member died, also when that one does not answer at all", async () => {
  for (const state of ["refusing", "silent"] as const) {
    const { clock, network, cluster, pd } = await pdSetup({ addresses: THREE });
    network.setLink("pd-1:2379", state);
    network.cut("pd-1:2379");
    cluster.leader = "pd-2:2379";
    const before = clock.now();
    await clock.run(pd.stores());
    assert.equal(cluster.callsOf("GetAllStores").at(-1)?.address, "pd-2:2379");
    assert.equal(clock.now() - before, state === "silent" ? 3_000 : 0);
    await pd.close();
    assert.equal(clock.pendingTimers, 0);
  }
});

test("[PD-006] an answer that still names the dead leader gives way to one that names another", async () => {
  const { clock, network, cluster, pd } = await pdSetup({ addresses: THREE });
  network.isolate("pd-1:2379");
  const stale = cluster.membersAnswer();
  cluster.leader = "pd-3:2379";
  cluster.on["GetMembers"] = ({ address }) => address === "pd-2:2379" ? stale : undefined;
  const before = clock.now();
  await clock.run(pd.stores());
  assert.equal(cluster.callsOf("GetAllStores").at(-1)?.address, "pd-3:2379");
  assert.equal(clock.now(), before);
  await pd.close();
});

test("[BO-010] a call waits by pdRPC while nobody leads, and succeeds when somebody does", async () => {
  const { clock, cluster, pd, events } = await pdSetup({ addresses: TWO });
  cluster.leader = undefined;
  const pending = pd.stores();
  await clock.advance(3_000);
  cluster.leader = "pd-2:2379";
  await clock.run(pending);
  const waits = events.filter((event) => event.type === "retry");
  assert.ok(waits.length >= 3, `${waits.length} waits`);
  assert.ok(waits.every((wait) => wait.reason === "pdRPC" && wait.operation === "pd.stores"));
  await pd.close();
});

test("[PD-013] each refusal of PD has its own end", async () => {
  const rows: [Answer, string, number][] = [
    [{ refuse: "UNKNOWN", text: "something" }, "server", 1],
    [{ refuse: "INVALID_VALUE" }, "misuse", 1],
    [{ refuse: "INCOMPATIBLE_VERSION" }, "unsupported", 1],
    [{ refuse: "DUPLICATED_ENTRY" }, "server", 1],
    [{ refuse: "DATA_COMPACTED" }, "server", 1],
    [{ refuse: "ALREADY_BOOTSTRAPPED" }, "server", 1],
    [{ refuse: "NOT_BOOTSTRAPPED" }, "connection", 2],
    [{ refuse: "REGIONS_NOT_CONTAIN_ALL_KEY_RANGE" }, "connection", 2],
    [{ grpc: GRPC.UNKNOWN, text: "something" }, "server", 1],
    [{ grpc: GRPC.UNKNOWN, text: "no leader" }, "connection", 2],
    [{ grpc: GRPC.UNKNOWN, text: "the keyspace is not served by it" }, "connection", 2],
    [{ grpc: GRPC.UNKNOWN, text: "mismatch callee id" }, "connection", 2],
    [{ grpc: GRPC.UNAVAILABLE, text: "server not started" }, "connection", 2],
    [{ grpc: GRPC.RESOURCE_EXHAUSTED, text: "rate limit exceeded" }, "connection", 2],
    [{ grpc: GRPC.FAILED_PRECONDITION, text: "mismatch cluster id" }, "cluster-mismatch", 1],
    [{ grpc: GRPC.UNIMPLEMENTED }, "unsupported", 1],
    [{ grpc: GRPC.PERMISSION_DENIED }, "server", 1],
  ];
  const { clock, cluster, pd } = await pdSetup();
  for (const [answer, kind, least] of rows) {
    cluster.calls.length = 0;
    cluster.on["GetAllStores"] = () => answer;
    const before = clock.now();
    const pending = pd.stores({ timeoutMs: 2_000 });
    const error = await clock.run(pending.then(() => undefined, (error) => error));
    const label = JSON.stringify(answer);
    assert.equal(error?.kind, kind, `${label}: ${error}`);
    const calls = cluster.callsOf("GetAllStores").length;
    assert.ok(least === 1 ? calls === 1 : calls >= 2, `${label}: ${calls} calls`);
    assert.ok(clock.now() - before <= 2_000);
  }
  await pd.close();
});

test("an error tells the operation, its attempts, what it waited for and the last cause", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["GetAllStores"] = () => ({ grpc: GRPC.UNAVAILABLE, text: "server not started" });
  const error = await rejectsKind(clock.run(pd.stores({ timeoutMs: 3_000 })), "connection");
  assert.equal(error.context.operation, "pd.stores");
  assert.equal(error.context.attempts, cluster.callsOf("GetAllStores").length);
  assert.equal(error.context.causes?.[0]?.reason, "pdRPC");
  assert.match(error.message, /server not started/);
  assert.equal(error.retry, "call");
  await pd.close();
});

test("a write whose answer was lost is undetermined when its time is up", async () => {
  const { clock, cluster, pd } = await pdSetup();
  cluster.on["StoreGlobalConfig"] = () => "silent";
  const storing = pd.config.store("/global/config", [{ name: "a", value: Uint8Array.of(1) }], {
    timeoutMs: 4_000,
  });
  await rejectsKind(clock.run(storing), "undetermined");
  for (const code of [GRPC.PERMISSION_DENIED, GRPC.UNKNOWN]) {
    cluster.on["StoreGlobalConfig"] = () => ({ grpc: code, text: "refused" });
    await rejectsKind(clock.run(pd.config.store("/global/config", [{ name: "a" }])), "server");
  }
  await pd.close();
});

test("a write that was lost once is sent again, and is no error when that succeeds", async () => {
  const { clock, cluster, pd } = await pdSetup();
  let calls = 0;
  cluster.on["StoreGlobalConfig"] = () => ++calls === 1 ? "silent" : undefined;
  await clock.run(pd.config.store("/global/config", [{ name: "a", value: Uint8Array.of(1) }]));
  assert.equal(calls, 2);
  await pd.close();
});

test("[PD-012] with allowFollowers region calls go to followers, and to the leader once when one fails", async () => {
  const { clock, cluster, pd } = await pdSetup({ addresses: THREE, pd: { allowFollowers: true } });
  const region = { region: { id: 4n }, leader: { id: 5n, storeId: 1n } };
  cluster.on["GetRegion"] = ({ address }) =>
    address === "pd-2:2379" ? { refuse: "REGION_NOT_FOUND" } : region;
  for (let n = 0; n < 4; n++) assert.equal((await clock.run(pd.region("k")))?.id, 4n);
  assert.deepEqual(
    cluster.callsOf("GetRegion").map((
      { address, metadata },
    ) => [address, metadata["pd-allow-follower-handle"]]),
    [
      ["pd-2:2379", ""],
      ["pd-1:2379", undefined],
      // The one without the region is left alone for a while.
      ["pd-3:2379", ""],
      ["pd-3:2379", ""],
      ["pd-3:2379", ""],
    ],
  );
  await clock.run(pd.stores());
  assert.equal(cluster.callsOf("GetAllStores")[0]?.address, "pd-1:2379");
  await clock.advance(10_000);
  await clock.run(pd.region("k"));
  await clock.run(pd.region("k"));
  assert.equal(cluster.callsOf("GetRegion").slice(5).some(({ address }) => address === "pd-2:2379"), true);
  const meta = pd.meta();
  const { Deadline } = await import("../../src/async/deadline.ts");
  await clock.run(meta.regionByKey(Uint8Array.of(1), { deadline: Deadline.never(clock), leaderOnly: true }));
  assert.equal(cluster.callsOf("GetRegion").at(-1)?.address, "pd-1:2379");
  await pd.close();
});

test("[PD-011] with allowForwarding calls go through a follower until the leader can be reached again", async () => {
  const { clock, network, cluster, pd } = await pdSetup({ addresses: TWO, pd: { allowForwarding: true } });
  network.isolate("pd-1:2379");
  await clock.run(pd.stores());
  await clock.run(pd.timestamp());
  const [call] = cluster.callsOf("GetAllStores");
  assert.equal(call?.address, "pd-2:2379");
  assert.equal(call?.metadata["pd-forwarded-host"], "http://pd-1:2379");
  network.setLink("pd-1:2379", "up");
  await clock.advance(1_000);
  await clock.run(pd.stores());
  assert.equal(cluster.callsOf("GetAllStores").at(-1)?.address, "pd-1:2379");
  network.isolate("pd-1:2379");
  await clock.run(pd.stores());
  await pd.close();
  assert.equal(clock.pendingTimers, 0);
});

test("without allowForwarding nothing goes through a follower", async () => {
  const { clock, network, cluster, pd } = await pdSetup({ addresses: TWO });
  network.isolate("pd-1:2379");
  await rejectsKind(clock.run(pd.stores({ timeoutMs: 2_000 })), "connection");
  assert.deepEqual(cluster.callsOf("GetAllStores"), []);
  await pd.close();
});

test("[PD-004] each request carries the cluster's id and the name of the caller", async () => {
  const { clock, cluster, pd } = await pdSetup();
  await clock.run(pd.stores());
  const { header } = cluster.callsOf("GetAllStores")[0]?.request;
  assert.equal(header.clusterId, 7n);
  assert.equal(header.senderId, 0n);
  assert.equal(header.callerId, "tikv-client-js");
  await pd.close();
});

test("controlTransport carries unary calls and timestamps instead of the network", async () => {
  const { clock, network, cluster, options, pd: unused } = await pdSetup({ addresses: TWO });
  await unused.close();
  const asked: string[] = [];
  const { Pd } = await import("../../src/pd/pd_client.ts");
  const seam = network.transport();
  const pd = await clock.run(Pd.connect("pd-1:2379", {
    ...options,
    transport: {
      connect: () => assert.fail("connect past the control transport"),
      closeAddress: () => {},
      close: () => Promise.resolve(),
      unary: () => assert.fail("unary call past the control transport"),
      stream: () => assert.fail("stream past the control transport"),
    },
    controlTransport: (address) => {
      asked.push(address);
      return createConnectTransport(seam, () => ({ address, kind: "pd" }), { clock });
    },
  }));
  const [a, b] = await clock.run(Promise.all([pd.timestamp(), pd.timestamp()]));
  assert.ok(b > a);
  assert.deepEqual(cluster.tsoCounts, [2]);
  cluster.leader = "pd-2:2379";
  await clock.run(pd.stores());
  assert.ok(await clock.run(pd.timestamp()) > b);
  assert.deepEqual([...new Set(asked)].sort(), TWO);
  await pd.close();
  await clock.advance(0);
  assert.equal(network.openCalls("pd-1:2379") + network.openCalls("pd-2:2379"), 0);
});

test("errors of a foreign control transport become errors of this library", async () => {
  const { clock, options, network } = await pdSetup();
  const { Pd } = await import("../../src/pd/pd_client.ts");
  const seam = createConnectTransport(network.transport(), () => ({ address: "pd-1:2379", kind: "pd" }), {
    clock,
  });
  let code: number | undefined;
  const pd = await clock.run(Pd.connect("pd-1:2379", {
    ...options,
    controlTransport: {
      ...seam,
      unary: (method, ...rest) => {
        if (code === undefined || method.name !== "GetAllStores") return seam.unary(method, ...rest);
        return Promise.reject(new ConnectError("scripted", code));
      },
    },
  }));
  const rows = [[1, "connection"], [14, "connection"], [12, "unsupported"], [13, "connection"], [
    3,
    "server",
  ]] as const;
  for (const [status, kind] of rows) {
    code = status;
    await rejectsKind(clock.run(pd.stores({ timeoutMs: 1_000 })), kind);
  }
  await pd.close();
});

// SPDX-License-Identifier: Apache-2.0

import type { ApiVersion, ConnectOptions } from "../../mod.ts";
import { fault, Playground, type PlaygroundTls } from "../../src/playground/mod.ts";
import { createAuthority } from "../helpers/certificates.ts";
import type { Backend, Capability, ClusterControl, FaultName, OpenCluster } from "./backend.ts";

/** Options of {@linkcode playgroundBackend}. */
export interface PlaygroundBackendOptions {
  readonly apiVersion: ApiVersion;
  /** Whose keys are in it. @default {"raw"} */
  readonly mode?: "raw" | "txn";
  /** Over sockets instead of in memory. */
  readonly hasPorts?: boolean;
  /** The sockets speak TLS, and clients need a certificate. */
  readonly hasTls?: boolean;
}

/** The embedded cluster, one for each test. */
export function playgroundBackend(
  { apiVersion, mode = "raw", hasPorts = false, hasTls = false }: PlaygroundBackendOptions,
): Backend {
  const version = apiVersion === 1 ? "v1" : apiVersion === 2 ? "v2" : apiVersion;
  const tls = hasTls ? mutualTls() : undefined;
  return {
    name: `playground ${version}${mode === "txn" ? " txn" : ""}${hasPorts ? " on ports" : ""}${
      hasTls ? " over TLS" : ""
    }`,
    mode,
    lacks: LACKS[version],
    async open(): Promise<OpenCluster> {
      const cluster = await Playground.start({
        stores: 3,
        apiVersion: version,
        mode,
        ...(hasPorts ? { ports: { tls: tls?.servers } } : {}),
      });
      return {
        control: controlOf(cluster),
        target: hasPorts ? cluster.pdAddresses : cluster,
        options: { apiVersion, mode: mode === "txn" ? mode : undefined, tls: tls?.clients },
        leftovers: () => hasPorts ? [] : openCallsOf(cluster),
        close: () => cluster.close(),
      };
    },
  };
}

/** Certificates of one authority for both sides. */
function mutualTls(): { readonly servers: PlaygroundTls; readonly clients: ConnectOptions["tls"] } {
  const authority = createAuthority();
  const ca = authority.cert;
  return {
    servers: { ca, ...authority.issue({ ips: ["127.0.0.1"] }) },
    clients: { ca, ...authority.issue() },
  };
}

const NO_KEYSPACES = "there are keyspaces in API version 2 only";
const NO_FAMILIES = "API version 2 has no column families";
const NO_PREFIXES = "keys have prefixes in API version 2 only";
const HAS_TTL = "the stores keep a TTL";

const TELLS_COMMIT_TS = "reads tell when a value was committed";

const LACKS: Readonly<Record<"v1" | "v1ttl" | "v2", Partial<Record<Capability, string>>>> = {
  "v1": {
    "ttl": "plain API version 1 keeps no TTL",
    "keyspaces": NO_KEYSPACES,
    "prefixes": NO_PREFIXES,
    "no-commit-ts": TELLS_COMMIT_TS,
  },
  "v1ttl": {
    "plain-v1": HAS_TTL,
    "no-ttl": HAS_TTL,
    "keyspaces": NO_KEYSPACES,
    "prefixes": NO_PREFIXES,
    "transactions": "there are none beside a TTL in API version 1",
  },
  "v2": {
    "plain-v1": HAS_TTL,
    "no-ttl": HAS_TTL,
    "column-families": NO_FAMILIES,
    "no-prefixes": "keys have prefixes in API version 2",
    "no-commit-ts": TELLS_COMMIT_TS,
  },
};

function controlOf(cluster: Playground): ClusterControl {
  return {
    split: (key) => cluster.split(key),
    merge: (key) => cluster.merge(key),
    moveLeader: (key) => cluster.moveLeader(key),
    dropLeader: (key) => cluster.dropLeader(key),
    storeIds: () => cluster.stores().map(({ id }) => id),
    stopStore: (id) => cluster.stopStore(id),
    startStore: (id) => cluster.startStore(id),
    readdressStore: (id) => cluster.readdressStore(id),
    createKeyspace: (name) => {
      cluster.createKeyspace(name);
      return Promise.resolve();
    },
    fail: (method, how, options = {}) => {
      cluster.faults.add({ method, ...options }, FAULTS[how]);
    },
    calls: (method) => cluster.calls.get(method),
  };
}

const FAULTS: Readonly<Record<FaultName, ReturnType<typeof fault.dropReply>>> = {
  "drop-request": fault.dropRequest(),
  "drop-reply": fault.dropReply(),
  "cut": fault.cutStream(),
  "cut-executed": fault.cutStream({ isExecuted: true }),
  "epoch-not-match": fault.epochNotMatch(),
  "pad": fault.pad(2 * 1024 * 1024),
  "corrupt": fault.corrupt(),
};

function openCallsOf(cluster: Playground): string[] {
  const addresses = [...cluster.pdAddresses, ...cluster.stores().map(({ address }) => address)];
  return addresses.flatMap((address) => {
    const open = cluster.network.openCalls(address);
    return open === 0 ? [] : [`${open} calls to ${address}`];
  });
}

// SPDX-License-Identifier: Apache-2.0
// The suites on a cluster that somebody else started, named by TIKV_PD_ADDRS. More variables:
// TIKV_API_VERSION (1, v1ttl or 2), TIKV_MODE (raw or txn: in version 1 a cluster has keys of one
// kind only), TIKV_KEYSPACE, TIKV_TLS_CA, TIKV_TLS_CERT, TIKV_TLS_KEY (paths of
// PEM files), TIKV_SERVER_PROFILE (a name of server_profiles.ts) and TIKV_LACKS (more capabilities that
// it does not have, separated by commas), TIKV_HAS (what tests may
// do to it although it is not theirs: keyspaces, leaders, gc).

import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import type { ApiVersion, ConnectOptions } from "../../mod.ts";
import { type Backend, CAPABILITIES, type Capability, reportSkipped } from "./backend.ts";
import { clusterControl } from "./cluster_control.ts";
import { SERVER_PROFILES } from "./server_profiles.ts";
import { runSuites } from "./suites.ts";

const {
  TIKV_PD_ADDRS: addresses,
  TIKV_API_VERSION: version = "1",
  TIKV_MODE: dataMode = "raw",
  TIKV_KEYSPACE: keyspace,
  TIKV_SERVER_PROFILE: profile,
  TIKV_LACKS: lacks = "",
  TIKV_HAS: grants = "",
} = process.env;

const OUTSIDE = "the cluster is not ours to break";
const BASE: Readonly<Partial<Record<Capability, string>>> = {
  "merge": OUTSIDE,
  "leaders": OUTSIDE,
  "leaderless": OUTSIDE,
  "stores": OUTSIDE,
  "gc": OUTSIDE,
  "faults": "faults are made in the embedded cluster only",
  "own-cluster": "others may use the cluster",
  "keyspaces": "keyspaces are made by an administrator",
};

function apiVersionOf(text: string): ApiVersion {
  if (text === "1" || text === "v1") return 1;
  if (text === "2" || text === "v2") return 2;
  if (text === "v1ttl") return "v1ttl";
  throw new RangeError(`Cannot use TIKV_API_VERSION "${text}": expected 1, v1ttl or 2`);
}

function modeOf(text: string): "raw" | "txn" {
  if (text === "raw" || text === "txn") return text;
  throw new RangeError(`Cannot use TIKV_MODE "${text}": expected raw or txn`);
}

function profileOf(name: string | undefined): Readonly<Partial<Record<Capability, string>>> {
  if (name === undefined || name === "") return {};
  const found = SERVER_PROFILES[name];
  if (found !== undefined) return found;
  const known = Object.keys(SERVER_PROFILES).join(", ");
  throw new RangeError(`Cannot use TIKV_SERVER_PROFILE "${name}": expected one of ${known}`);
}

function tlsOf(): ConnectOptions["tls"] {
  const { TIKV_TLS_CA: ca, TIKV_TLS_CERT: cert, TIKV_TLS_KEY: key } = process.env;
  const read = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : readFileSync(path, "utf8");
  return ca === undefined ? undefined : { ca: read(ca), cert: read(cert), key: read(key) };
}

function clusterBackend(target: string): Backend {
  const apiVersion = apiVersionOf(version);
  const mode = modeOf(dataMode);
  const options: ConnectOptions = {
    apiVersion,
    keyspace,
    mode: mode === "txn" ? mode : undefined,
    tls: tlsOf(),
    logger: undefined,
  };
  const reasons: Partial<Record<Capability, string>> = { ...BASE, ...profileOf(profile) };
  if (apiVersion === 1) reasons["ttl"] = "plain API version 1 keeps no TTL";
  else reasons["no-ttl"] = reasons["plain-v1"] = "the stores keep a TTL";
  if (apiVersion === 2) {
    reasons["column-families"] = "API version 2 has no column families";
    reasons["no-prefixes"] = "keys have prefixes in API version 2";
  } else {
    reasons["prefixes"] = "keys have prefixes in API version 2 only";
  }
  if (reasons["commit-ts"] === undefined) reasons["no-commit-ts"] = "reads tell when a value was committed";
  if (apiVersion === "v1ttl") reasons["transactions"] = "there are none beside a TTL in API version 1";
  for (const name of capabilitiesOf("TIKV_LACKS", lacks)) reasons[name] ??= "TIKV_LACKS says so";
  for (const name of capabilitiesOf("TIKV_HAS", grants)) {
    if (name !== "keyspaces" && name !== "leaders" && name !== "gc") {
      throw new RangeError(`Cannot have "${name}" (TIKV_HAS): expected keyspaces, leaders or gc`);
    }
    if (name !== "keyspaces" || apiVersion === 2) delete reasons[name];
  }
  return {
    name: `cluster at ${target}`,
    mode,
    lacks: reasons,
    open: () =>
      Promise.resolve({
        control: clusterControl(target.split(","), options),
        target: target.split(","),
        options,
        leftovers: () => [],
        close: () => Promise.resolve(),
      }),
  };
}

function capabilitiesOf(variable: string, list: string): Capability[] {
  return list.split(",").map((part) => part.trim()).filter((part) => part !== "").map((name) => {
    if (name in CAPABILITIES) return name as Capability;
    throw new RangeError(`Cannot use "${name}" (${variable}): no such capability`);
  });
}

if (addresses === undefined || addresses === "") {
  test("the contract on a real cluster", { skip: true }, () => {});
  console.log("skipped: the contract on a real cluster, because TIKV_PD_ADDRS is not set");
} else {
  runSuites(clusterBackend(addresses));
  reportSkipped();
}

// SPDX-License-Identifier: Apache-2.0
// `tikv doctor`: what PD says, what is dialled, what answered, and what is wrong.

import { lookup } from "node:dns/promises";
import { connect as connectTcp } from "node:net";
import { connect, type ConnectOptions, TikvError } from "../../mod.ts";
import { Pd } from "../../src/pd/mod.ts";
import type { CommandLine } from "./options.ts";
import { connectOptionsOf, pdAddressesOf } from "./options.ts";
import { json, table } from "./output.ts";

/** One thing that was looked at. */
interface Finding {
  readonly what: string;
  /** As the cluster or the user gave it. */
  readonly says: string;
  /** As it is dialled from here. */
  readonly dialled: string;
  readonly answer: string;
  readonly isGood: boolean;
  /** What to do about it. */
  readonly advice?: string | undefined;
}

const PROBE_LIMIT_MS = 3_000;
const PROBE_KEY = "tikv-doctor/probe";

/** Looks at everything; returns whether all is well. */
export async function doctor(line: CommandLine): Promise<boolean> {
  const options = await connectOptionsOf(line);
  const findings: Finding[] = [];
  const seeds = pdAddressesOf(line);
  for (const seed of seeds) findings.push(await probe("PD as given", hostAndPort(seed), options));
  let pd: Pd | undefined;
  try {
    pd = await Pd.connect(seeds, pdOptionsOf(options));
    await lookAtCluster(pd, options, findings);
  } catch (error) {
    findings.push({ what: "PD", says: seeds.join(","), dialled: "", ...judge(error) });
  } finally {
    await pd?.close();
  }
  if (findings.every((finding) => finding.isGood)) findings.push(await lookAtData(seeds, options));
  print(findings, line);
  return findings.every((finding) => finding.isGood);
}

function pdOptionsOf(options: ConnectOptions): Parameters<typeof Pd.connect>[1] {
  const { tls, addressMap, timeoutMs, connectTimeoutMs } = options;
  return { tls, addressMap, timeoutMs, connectTimeoutMs };
}

// What was found stays found when a later step fails.
async function lookAtCluster(pd: Pd, options: ConnectOptions, findings: Finding[]): Promise<void> {
  const good = (what: string, says: string): void => {
    findings.push({ what, says, dialled: "", answer: "ok", isGood: true });
  };
  good("cluster id", String(pd.clusterId));
  for (const member of await pd.members()) {
    for (const url of member.clientUrls) {
      const what = `PD ${member.name}${member.isLeader ? " (leader)" : ""}`;
      findings.push(await probe(what, hostAndPort(url), options));
    }
  }
  good("timestamp", String(await pd.timestamp()));
  const stores = (await pd.stores()).filter((store) => store.state !== "tombstone");
  if (stores.length === 0) {
    findings.push({
      what: "stores",
      says: "none",
      dialled: "",
      answer: "",
      isGood: false,
      advice: "start a store",
    });
  }
  for (const store of stores) {
    findings.push(
      await probe(`store ${store.id} (${store.state}, ${store.version})`, store.address, options),
    );
  }
}

/** Resolves and dials one address the way the client would, without speaking to it. */
async function probe(what: string, address: string, options: ConnectOptions): Promise<Finding> {
  const mapped = mappedOf(address, options);
  const dialled = mapped ?? address;
  const { host, port } = parts(dialled);
  const says = address;
  try {
    await lookup(host);
  } catch {
    const advice =
      `"${host}" does not resolve from here: give --address-map ${address}=HOST:PORT, or run where it does`;
    return { what, says, dialled, answer: "name does not resolve", isGood: false, advice };
  }
  const refused = await dial(host, port);
  if (refused === undefined) return { what, says, dialled, answer: "accepts connections", isGood: true };
  const advice = mapped === undefined
    ? "is the process running, and does this network reach it? --address-map dials another address for it"
    : "is the address on the right of --address-map right?";
  return { what, says, dialled, answer: refused, isGood: false, advice };
}

function mappedOf(address: string, options: ConnectOptions): string | undefined {
  const map = options.addressMap;
  if (map === undefined) return undefined;
  return map instanceof Map ? map.get(address) : (map as Record<string, string>)[address];
}

function dial(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    const end = (answer: string | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(`no answer in ${PROBE_LIMIT_MS} ms`), PROBE_LIMIT_MS);
    socket.once("connect", () => end(undefined));
    socket.once("error", (error: Error & { code?: string }) => end(error.code ?? error.message));
  });
}

/** One whole read through the client: region cache, store connection, API version. */
async function lookAtData(seeds: readonly string[], options: ConnectOptions): Promise<Finding> {
  const what = `read (API version ${options.apiVersion ?? 1})`;
  try {
    const client = await connect([...seeds], options);
    try {
      await client.raw.get(PROBE_KEY);
    } finally {
      await client.close();
    }
    return { what, says: "", dialled: "", answer: "ok", isGood: true };
  } catch (error) {
    return { what, says: "", dialled: "", ...judge(error) };
  }
}

const ADVICE: Readonly<Partial<Record<TikvError["kind"], string>>> = {
  "tls": "compare the name in the certificate with the address that is dialled (--server-name), and --tls-ca",
  "unsupported": "does --api-version fit storage.api-version of the stores (v1, v1ttl, v2)?",
  "mixed-mode": "raw and transactional data, or API versions, share this cluster: use API version 2",
  "cluster-mismatch": "the addresses of --pd belong to different clusters",
  "keyspace-not-found": "create the keyspace in PD, or give the name of another with --keyspace",
  "connection": "nothing that answers is reachable: see the rows above",
  "timeout": "nothing answered in time: see the rows above, or raise --timeout-ms",
};

function judge(error: unknown): Pick<Finding, "answer" | "isGood" | "advice"> {
  const answer = error instanceof Error ? error.message : String(error);
  return { answer, isGood: false, advice: TikvError.is(error) ? ADVICE[error.kind] : undefined };
}

function hostAndPort(url: string): string {
  return url.replace(/^[a-z]+:\/\//i, "").replace(/\/.*$/, "");
}

function parts(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(address.slice(at + 1)) };
}

function print(findings: readonly Finding[], line: CommandLine): void {
  if (line.isJson) {
    for (const finding of findings) console.log(json(finding));
    return;
  }
  const rows = findings.map((
    one,
  ) => [one.isGood ? "ok" : "BAD", one.what, one.says, one.dialled, one.answer]);
  console.log(table(["", "what", "says", "dialled", "answer"], rows));
  for (const finding of findings) {
    if (finding.advice !== undefined) console.log(`\n${finding.what}: ${finding.advice}`);
  }
}

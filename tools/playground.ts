// SPDX-License-Identifier: Apache-2.0
// `deno task playground`: a cluster in memory on real ports, for any TiKV client.

import { readFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs } from "node:util";
import type { ApiVersion, PlaygroundOptions, PlaygroundTls } from "../src/playground/mod.ts";
import { Playground } from "../src/playground/mod.ts";
import { suggestion } from "./cli/options.ts";

const HELP = `deno task playground [options]

Starts PD and TiKV stores in this process, on ports that any TiKV client can use.
Data lives in memory only and is gone when the process ends.

  --stores N             number of stores (default 1)
  --pd-members N         1 or 3 members of PD (default 1)
  --pd-port PORT         port of the first PD member, 0 for a free one (default 2379)
  --store-port PORT      port of the first store, 0 for free ones (default 0)
  --host ADDRESS         address to bind (default 127.0.0.1)
  --advertise-host NAME  name or address that clients are told to use (default: the bound one)
  --api-version VERSION  v1, v1ttl or v2 (default v1)
  --mode MODE            raw or txn: how a v1 cluster encodes region bounds (default: as what is used first)
  --keyspace NAME        a keyspace besides DEFAULT; may be repeated (v2 only)
  --split KEY            a key at which a region begins; may be repeated
  --seed N               makes chance repeatable
  --tls-cert FILE        PEM certificate of the ports, needs --tls-key
  --tls-key FILE         PEM key of the certificate
  --tls-ca FILE          PEM issuer of the clients' certificates; with it clients must have one
  --help                 this text`;

const OPTIONS = {
  "stores": { type: "string" },
  "pd-members": { type: "string" },
  "pd-port": { type: "string" },
  "store-port": { type: "string" },
  "host": { type: "string" },
  "advertise-host": { type: "string" },
  "api-version": { type: "string" },
  "mode": { type: "string" },
  "keyspace": { type: "string", multiple: true },
  "split": { type: "string", multiple: true },
  "seed": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  "tls-ca": { type: "string" },
  "help": { type: "boolean" },
} as const;

/** The port of PD that every tool tries first. */
const DEFAULT_PD_PORT = 2379;

/** What a mistake on the command line ends with. */
const EXIT_USAGE = 2;

/** Something to tell the user, without a stack. */
class UsageError extends Error {}

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

function parse(args: readonly string[]): Values {
  for (const arg of args) {
    if (!arg.startsWith("--")) continue;
    const name = arg.slice(2).split("=", 1)[0] ?? "";
    if (name === "" || name in OPTIONS) continue;
    throw new UsageError(`unknown option "--${name}"${suggestion(name, Object.keys(OPTIONS), "--")}`);
  }
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function whole(
  values: Values,
  name: "stores" | "pd-members" | "pd-port" | "store-port" | "seed",
): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new UsageError(`--${name} is "${text}", wanted a whole number`);
  const value = Number(text);
  if (name.endsWith("-port") && value > 65_535) {
    throw new UsageError(`--${name} is ${value}, wanted 0 to 65535`);
  }
  return value;
}

function oneOf<T extends string>(
  name: string,
  value: string | undefined,
  allowed: readonly T[],
): T | undefined {
  if (value === undefined) return undefined;
  const found = allowed.find((one) => one === value);
  if (found !== undefined) return found;
  throw new UsageError(`--${name} is "${value}", wanted ${allowed.join(", ")}${suggestion(value, allowed)}`);
}

async function read(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new UsageError(
      `--${name}: cannot read "${path}": ${error instanceof Error ? error.message : error}`,
    );
  }
}

async function tlsOf(values: Values): Promise<PlaygroundTls | undefined> {
  const { "tls-cert": cert, "tls-key": key, "tls-ca": ca } = values;
  if (cert === undefined && key === undefined && ca === undefined) return undefined;
  if (cert === undefined || key === undefined) throw new UsageError("TLS needs --tls-cert and --tls-key");
  return {
    cert: await read("tls-cert", cert),
    key: await read("tls-key", key),
    ca: ca === undefined ? undefined : await read("tls-ca", ca),
  };
}

async function optionsOf(values: Values): Promise<PlaygroundOptions> {
  const members = whole(values, "pd-members");
  if (members !== undefined && members !== 1 && members !== 3) {
    throw new UsageError(`--pd-members is ${members}, wanted 1 or 3`);
  }
  return {
    stores: whole(values, "stores"),
    pdMembers: members,
    apiVersion: oneOf<ApiVersion>("api-version", values["api-version"], ["v1", "v1ttl", "v2"]),
    mode: oneOf("mode", values.mode, ["raw", "txn"] as const),
    keyspaces: values.keyspace,
    splitKeys: values.split,
    seed: whole(values, "seed"),
    ports: {
      pdPort: whole(values, "pd-port") ?? DEFAULT_PD_PORT,
      storePort: whole(values, "store-port"),
      host: values.host,
      advertiseHost: values["advertise-host"],
      tls: await tlsOf(values),
    },
  };
}

function describe(cluster: Playground, isTls: boolean): string {
  const pd = cluster.pdAddresses;
  const [first = ""] = pd;
  const url = `${isTls ? "https" : "http"}://${first}`;
  const version = { v1: "", v1ttl: 'apiVersion: "v1ttl"', v2: "apiVersion: 2" }[cluster.apiVersion];
  const connectOptions = [version, isTls ? "tls: { ca, cert, key }" : ""].filter((part) => part !== "");
  const lines = [
    `TiKV playground: ${cluster.stores().length} store(s), API ${cluster.apiVersion}, in memory only`,
    "",
    ...pd.map((address, index) => `  pd-${index + 1}     ${address}`),
    ...cluster.stores().map(({ id, address }) => `  store-${id}  ${address}`),
    "",
    "TypeScript:",
    `  import { connect } from "@tikv/client";`,
    `  const client = await connect("${url}"${
      connectOptions.length === 0 ? "" : `, { ${connectOptions.join(", ")} }`
    });`,
    "Go:",
    ...goLines(cluster, isTls).map((line) => `  ${line}`),
    "",
    "All data is gone when this process ends. Ctrl-C stops it.",
  ];
  return lines.join("\n");
}

/** How client-go connects: for transactions, for raw data, or both where that is open. */
function goLines(cluster: Playground, isTls: boolean): string[] {
  const isV2 = cluster.apiVersion === "v2";
  const { mode } = cluster.connectOptions();
  const pd = `[]string{${cluster.pdAddresses.map((one) => `"${one}"`).join(", ")}}`;
  const rawOptions = [
    isV2 ? ", rawkv.WithAPIVersion(kvrpcpb.APIVersion_V2)" : "",
    isTls ? ", rawkv.WithSecurity(config.NewSecurity(ca, cert, key, nil))" : "",
  ].join("");
  // Its client of transactions takes certificates from the process's configuration.
  const txnOptions = isV2 ? ", txnkv.WithAPIVersion(kvrpcpb.APIVersion_V2)" : "";
  const lines: string[] = [];
  if (mode !== "raw" && cluster.apiVersion !== "v1ttl") {
    lines.push(`client, err := txnkv.NewClient(${pd}${txnOptions})`);
  }
  if (mode !== "txn") lines.push(`client, err := rawkv.NewClientWithOpts(ctx, ${pd}${rawOptions})`);
  return lines;
}

/** Resolves with the name of the first signal that asks the process to stop. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve(signal));
  });
}

async function main(args: readonly string[]): Promise<number> {
  const values = parse(args);
  if (values.help === true) {
    console.log(HELP);
    return 0;
  }
  const options = await optionsOf(values);
  const stopped = stopSignal();
  let cluster: Playground;
  try {
    cluster = await Playground.start(options);
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  }
  console.log(describe(cluster, options.ports?.tls !== undefined));
  const signal = await stopped;
  console.log(`${signal}: stopping`);
  await cluster.close();
  return 0;
}

if (import.meta.main) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\nTry "deno task playground --help".`);
    process.exitCode = EXIT_USAGE;
  }
}

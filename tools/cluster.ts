// SPDX-License-Identifier: Apache-2.0
// `deno task cluster up|down|smoke`: a cluster of the latest TiKV and PD by `tiup playground`, for
// machines where tiup is installed. `smoke` starts one, runs the contract suite on it, stops it.

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Pd } from "../src/pd/mod.ts";
import { CACHE_DIR, runtimeBinary } from "./runtimes.ts";

const ROOT = join(import.meta.dirname ?? ".", "..");
const STATE = join(CACHE_DIR, "cluster");
const START_LIMIT_MS = 300_000;
const STOP_LIMIT_MS = 60_000;
const POLL_MS = 500;
const ASK_LIMIT_MS = 2_000;

const HELP =
  `deno task cluster up|down|smoke [--api-version v1|v1ttl|v2] [--mode raw|txn] [--stores 3] [--version nightly]

up     starts a cluster with tiup playground and prints TIKV_PD_ADDRS
down   stops it
smoke  up, the contract suite of the mode in Deno, Bun and Node, down
TLS: --tls-ca FILE --tls-cert FILE --tls-key FILE secure PD and the stores with these files`;

const API_VERSIONS: Readonly<Record<string, string>> = {
  "v1": "[storage]\napi-version = 1\n",
  "v1ttl": "[storage]\napi-version = 1\nenable-ttl = true\n",
  "v2": "[storage]\napi-version = 2\nenable-ttl = true\n",
};

interface Options {
  readonly apiVersion: string;
  /** Whose keys are in it; in v1 a cluster has keys of one kind only. */
  readonly mode: string;
  readonly stores: number;
  readonly version: string;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string } | undefined;
}

interface Running {
  readonly pid: number;
  readonly pdAddress: string;
  readonly options: Options;
}

class UsageError extends Error {}

async function hasTiup(): Promise<boolean> {
  try {
    return (await new Deno.Command("tiup", { args: ["--version"], stdout: "null", stderr: "null" }).output())
      .success;
  } catch {
    return false;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

async function configFiles(options: Options): Promise<{ kv: string; pd: string }> {
  await mkdir(STATE, { recursive: true });
  const kv = join(STATE, "tikv.toml");
  const pd = join(STATE, "pd.toml");
  const { tls } = options;
  const files = (prefix: string): string =>
    tls === undefined ? "" : `[security]\n${prefix}ca-path = "${tls.ca}"\n` +
      `${prefix}cert-path = "${tls.cert}"\n${prefix}key-path = "${tls.key}"\n`;
  await writeFile(kv, (API_VERSIONS[options.apiVersion] ?? "") + files(""));
  await writeFile(pd, files("").replaceAll("ca-path", "cacert-path"));
  return { kv, pd };
}

async function up(options: Options): Promise<Running> {
  if (!await hasTiup()) {
    throw new UsageError("tiup is not installed: see its documentation, or use `deno task playground`");
  }
  const previous = await readState();
  if (previous !== undefined) {
    throw new UsageError(`a cluster runs already at ${previous.pdAddress}: stop it first`);
  }
  const { kv, pd } = await configFiles(options);
  const port = await freePort();
  const args = [
    "playground",
    options.version,
    "--mode=tikv-slim",
    "--host=127.0.0.1",
    `--kv=${options.stores}`,
    "--pd=1",
    `--pd.port=${port}`,
    `--kv.config=${kv}`,
    `--pd.config=${pd}`,
    "--without-monitor",
  ];
  const log = join(STATE, "tiup.log");
  const child = new Deno.Command("bash", {
    args: ["-c", 'exec tiup "${@:1}" >"$0" 2>&1 </dev/null', log, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  child.unref();
  const running: Running = { pid: child.pid, pdAddress: `127.0.0.1:${port}`, options };
  await writeFile(join(STATE, "state.json"), JSON.stringify(running));
  const deadline = Date.now() + START_LIMIT_MS;
  while (!await serves(running)) {
    if (Date.now() > deadline) {
      await down();
      throw new Error(`the cluster does not serve after ${START_LIMIT_MS / 1000} s, see ${log}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return running;
}

/** Asks PD whether all stores are up. */
async function serves({ pdAddress, options }: Running): Promise<boolean> {
  let pd: Pd | undefined;
  try {
    const tls = options.tls === undefined ? undefined : {
      ca: await readFile(options.tls.ca),
      cert: await readFile(options.tls.cert),
      key: await readFile(options.tls.key),
    };
    pd = await Pd.connect(pdAddress, { tls, connectTimeoutMs: ASK_LIMIT_MS, timeoutMs: ASK_LIMIT_MS });
    return (await pd.stores()).filter((store) => store.state === "up").length >= options.stores;
  } catch {
    return false; // not listening yet; the caller has the time limit
  } finally {
    await pd?.close();
  }
}

async function readState(): Promise<Running | undefined> {
  try {
    return JSON.parse(await readFile(join(STATE, "state.json"), "utf8"));
  } catch {
    return undefined; // no cluster was started from here
  }
}

function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch {
    return false;
  }
}

async function down(): Promise<void> {
  const running = await readState();
  if (running === undefined) return;
  if (isAlive(running.pid)) Deno.kill(running.pid, "SIGINT");
  const deadline = Date.now() + STOP_LIMIT_MS;
  while (isAlive(running.pid) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  if (isAlive(running.pid)) Deno.kill(running.pid, "SIGKILL");
  await rm(join(STATE, "state.json"), { force: true });
}

/** The environment with which the contract suite finds the cluster. */
async function environmentOf({ pdAddress, options }: Running): Promise<Record<string, string>> {
  const env: Record<string, string> = {
    TIKV_PD_ADDRS: pdAddress,
    TIKV_API_VERSION: options.apiVersion,
    TIKV_MODE: options.mode,
  };
  if (options.tls !== undefined) {
    env["TIKV_TLS_CA"] = await Deno.realPath(options.tls.ca);
    env["TIKV_TLS_CERT"] = await Deno.realPath(options.tls.cert);
    env["TIKV_TLS_KEY"] = await Deno.realPath(options.tls.key);
  }
  return env;
}

async function smoke(options: Options): Promise<boolean> {
  const running = await up(options);
  try {
    const env = await environmentOf(running);
    let isGood = true;
    for (const runtime of ["deno", "bun", "node"] as const) {
      const file = "tests/contract/cluster_test.ts";
      const args = {
        deno: ["test", "-A", "--no-check", file],
        bun: ["test", `./${file}`],
        node: ["--test", file],
      };
      console.log(`== contract suite in ${runtime}`);
      const command = new Deno.Command(await runtimeBinary(runtime), {
        args: args[runtime],
        cwd: ROOT,
        env,
        stdin: "null",
      });
      isGood = (await command.spawn().status).success && isGood;
    }
    return isGood;
  } finally {
    await down();
  }
}

function optionsOf(values: Readonly<Record<string, string | undefined>>): Options {
  const apiVersion = values["api-version"] ?? "v1";
  if (!Object.hasOwn(API_VERSIONS, apiVersion)) {
    throw new UsageError(`--api-version is "${apiVersion}", want ${Object.keys(API_VERSIONS).join(", ")}`);
  }
  const mode = values["mode"] ?? "raw";
  if (mode !== "raw" && mode !== "txn") throw new UsageError(`--mode is "${mode}", want raw or txn`);
  const stores = Number(values["stores"] ?? "3");
  if (!Number.isInteger(stores) || stores < 1) {
    throw new UsageError(`--stores is "${values["stores"]}", want a count`);
  }
  const { "tls-ca": ca, "tls-cert": cert, "tls-key": key } = values;
  const given = [ca, cert, key].filter((one) => one !== undefined).length;
  if (given !== 0 && given !== 3) throw new UsageError("TLS needs all of --tls-ca, --tls-cert and --tls-key");
  const tls = ca === undefined || cert === undefined || key === undefined ? undefined : { ca, cert, key };
  return { apiVersion, mode, stores, version: values["version"] ?? "nightly", tls };
}

async function main(): Promise<number> {
  try {
    const { values, positionals } = parseArgs({
      args: Deno.args,
      allowPositionals: true,
      options: {
        "api-version": { type: "string" },
        "mode": { type: "string" },
        "stores": { type: "string" },
        "version": { type: "string" },
        "tls-ca": { type: "string" },
        "tls-cert": { type: "string" },
        "tls-key": { type: "string" },
      },
    });
    const options = optionsOf(values);
    switch (positionals[0]) {
      case "up": {
        const running = await up(options);
        for (const [name, value] of Object.entries(await environmentOf(running))) {
          console.log(`${name}=${value}`);
        }
        return 0;
      }
      case "down":
        await down();
        return 0;
      case "smoke":
        return await smoke(options) ? 0 : 1;
      default:
        console.error(HELP);
        return 2;
    }
  } catch (error) {
    console.error(`Cannot run the cluster: ${error instanceof Error ? error.message : error}`);
    return error instanceof UsageError || error instanceof TypeError ? 2 : 1;
  }
}

Deno.exit(await main());

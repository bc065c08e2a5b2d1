// SPDX-License-Identifier: Apache-2.0
// Starts a real placement driver and a store that speaks TiKV's protocol, where the project's
// neighbour folder with their sources is at hand. See docs/development.md.

import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

const SCRIPT = join(import.meta.dirname ?? ".", "..", "..", "shared", "servers", "cluster");

/** Ports that the script uses above the first: peer port, stores, and status at +99. */
const PORTS_USED = [0, 1, 2, 3, 4, 99] as const;

/** What came of starting the servers. */
export type StartedCluster =
  | { readonly state: "absent"; readonly reason: string }
  | { readonly state: "failed"; readonly reason: string }
  | { readonly state: "running"; readonly pdAddresses: string; readonly stop: () => Promise<void> };

/** Builds (once) and starts the servers with their data in `folder`. */
export async function startCluster(
  folder: string,
  env: Record<string, string> = {},
): Promise<StartedCluster> {
  if (!existsSync(SCRIPT)) {
    return { state: "absent", reason: "the servers' folder is not beside the project" };
  }
  if (!await hasGo()) return { state: "absent", reason: "Go is not installed" };
  const port = await freePorts();
  // Three stores, and on each a replica of every region.
  const started = await script(["start", folder, String(port), "3", "3"], env);
  if (started.code !== 0) {
    await script(["stop", folder], env);
    return { state: "failed", reason: started.output };
  }
  const pdAddresses = /TIKV_PD_ADDRS=(\S+)/.exec(started.output)?.[1];
  const stop = async (): Promise<void> => {
    await script(["stop", folder], env);
  };
  if (pdAddresses === undefined) {
    await stop();
    return { state: "failed", reason: `no TIKV_PD_ADDRS in the script's answer: ${started.output}` };
  }
  const problem = await limitSchedulers(pdAddresses);
  if (problem === undefined) return { state: "running", pdAddresses, stop };
  await stop();
  return { state: "failed", reason: problem };
}

/**
 * Keeps PD from moving leaders and regions on its own: what moves is up to the tests. Its schedulers
 * begin seconds later and cannot be paused before, but they keep to these limits.
 */
async function limitSchedulers(pdAddresses: string): Promise<string | undefined> {
  const url = `http://${pdAddresses}/pd/api/v1/config`;
  const limits = Object.fromEntries(LIMITED_SCHEDULES.map((name) => [`${name}-schedule-limit`, 0]));
  const reply = await fetch(url, { method: "POST", body: JSON.stringify(limits) });
  const told = await reply.text();
  return reply.ok ? undefined : `the schedulers of PD cannot be limited: ${told}`;
}

const LIMITED_SCHEDULES = ["leader", "region", "hot-region", "merge"] as const;

/** Tells whether the Go toolchain is there. */
export async function hasGo(): Promise<boolean> {
  try {
    return (await new Deno.Command("go", { args: ["version"], stdout: "null", stderr: "null" }).output())
      .success;
  } catch {
    return false;
  }
}

async function script(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; output: string }> {
  // The servers inherit the script's output, so it goes to a file: a pipe would stay open with them.
  const log = await Deno.makeTempFile({ prefix: "tikv-servers-" });
  const child = new Deno.Command("bash", {
    args: ["-c", 'exec "$0" "${@:2}" >"$1" 2>&1 </dev/null', SCRIPT, log, ...args],
    env,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const { code } = await child.status;
  const output = await Deno.readTextFile(log);
  await Deno.remove(log);
  return { code, output };
}

/** Finds a port above which all the ports that the script takes are free. */
async function freePorts(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 20_000);
    if ((await Promise.all(PORTS_USED.map((offset) => isFree(port + offset)))).every(Boolean)) return port;
  }
  throw new Error("Cannot start the servers: no free range of ports found");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

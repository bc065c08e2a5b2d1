// SPDX-License-Identifier: Apache-2.0
// Builds the Go programs that judge and measure (client-go is a Go library). The binary is kept
// under the hash of its sources, so that only a change builds again. Runs in every runtime.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { CACHE_DIR } from "./runtimes.ts";

const ROOT = join(CACHE_DIR, "..");

/** The first build compiles the protocol's Go package, which takes minutes on two cores. */
const BUILD_LIMIT_MS = 15 * 60_000;

/** A program that can be run, or why there is none. */
export type GoProgram =
  | { readonly state: "built"; readonly path: string }
  | { readonly state: "absent"; readonly reason: string };

/** Builds the Go module in a folder of the project; `absent` only where Go is not installed. */
export async function goProgram(folder: string): Promise<GoProgram> {
  const version = await runGo(["version"], ROOT).catch(() => undefined);
  if (version === undefined) return { state: "absent", reason: "Go is not installed" };
  const source = join(ROOT, folder);
  const name = `${basename(dirname(source))}-${await sourceHash(source, version)}`;
  const path = join(CACHE_DIR, "go", process.platform === "win32" ? `${name}.exe` : name);
  if (!existsSync(path)) await build(source, path);
  return { state: "built", path };
}

async function sourceHash(source: string, version: string): Promise<string> {
  const hash = createHash("sha256").update(version);
  for (const file of (await readdir(source)).sort()) {
    if (/\.(go|mod|sum)$/.test(file)) hash.update(`\n${file}\n`).update(await readFile(join(source, file)));
  }
  return hash.digest("hex").slice(0, 16);
}

// Two runs may build at once: each writes its own file, and the rename is atomic.
async function build(source: string, path: string): Promise<void> {
  const part = `${path}.${process.pid}.part`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await runGo(["build", "-o", part, "."], source);
    await rename(part, path);
  } finally {
    await rm(part, { force: true });
  }
}

async function runGo(args: readonly string[], cwd: string): Promise<string> {
  const { stdout } = await promisify(execFile)("go", [...args], { cwd, timeout: BUILD_LIMIT_MS });
  return stdout.trim();
}

// SPDX-License-Identifier: Apache-2.0
// The manifests must agree: deno.json (read by Deno and `deno publish`), jsr.json (read by
// `jsr publish`), package.json (what `npm install` and `bun install` need) and src/version.ts.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** What this check reads of a manifest. */
export interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly exports?: Readonly<Record<string, string>>;
  readonly imports?: Readonly<Record<string, string>>;
  readonly private?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly scripts?: Readonly<Record<string, string>>;
}

/** The only packages that the library may need at run time. */
const ALLOWED = new Set(["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"]);

/** Lists what disagrees between the manifests. */
export function manifestProblems(deno: Manifest, jsr: Manifest, npm: Manifest): string[] {
  const problems: string[] = [];
  for (const field of ["name", "version", "license", "exports", "imports"] as const) {
    const want = JSON.stringify(deno[field]);
    const seen = JSON.stringify(jsr[field]);
    if (want === undefined) problems.push(`deno.json has no "${field}"`);
    else if (want !== seen) problems.push(`"${field}" differs: deno.json has ${want}, jsr.json has ${seen}`);
  }
  if (npm.private !== true) problems.push("package.json is not private: it must never be published");
  for (const [name, specifier] of Object.entries(deno.imports ?? {})) {
    if (!ALLOWED.has(name)) problems.push(`"${name}" is not one of the packages that run time may need`);
    const pinned = npm.dependencies?.[name];
    if (specifier !== `npm:${name}@${pinned}`) {
      problems.push(`"${name}" differs: deno.json has ${specifier}, package.json has ${pinned}`);
    }
  }
  for (const name of Object.keys(npm.dependencies ?? {})) {
    if (deno.imports?.[name] === undefined) {
      problems.push(`package.json needs "${name}", which deno.json does not`);
    }
  }
  for (const script of Object.keys(npm.scripts ?? {})) {
    if (/install|prepare/.test(script)) problems.push(`package.json has the install script "${script}"`);
  }
  return problems;
}

async function readManifest(root: string, file: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(root, file), "utf8"));
}

async function main(): Promise<void> {
  const root = join(import.meta.dirname ?? ".", "..");
  const deno = await readManifest(root, "deno.json");
  const problems = manifestProblems(
    deno,
    await readManifest(root, "jsr.json"),
    await readManifest(root, "package.json"),
  );
  for (const [name, path] of Object.entries(deno.exports ?? {})) {
    if (!existsSync(join(root, path))) problems.push(`the entry "${name}" has no file "${path}"`);
  }
  if (!existsSync(join(root, "LICENSE"))) problems.push("there is no LICENSE");
  const version = /VERSION(?:: string)? = "([^"]+)"/.exec(
    await readFile(join(root, "src/version.ts"), "utf8"),
  )?.[1];
  if (version !== deno.version) {
    problems.push(`src/version.ts has "${version}", deno.json has "${deno.version}"`);
  }
  const changelog = await readFile(join(root, "CHANGELOG.md"), "utf8");
  if (!changelog.includes(`## ${deno.version}`)) {
    problems.push(`CHANGELOG.md has no part "## ${deno.version}"`);
  }
  for (const problem of problems) console.error(`manifests: ${problem}`);
  if (problems.length > 0) Deno.exit(1);
}

if (import.meta.main) await main();

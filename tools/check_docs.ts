// SPDX-License-Identifier: Apache-2.0
// Runs every example: the `@example` blocks of the public entries and the ```ts blocks of README.md
// and docs/. An example that uses `client` or `cluster` without making it gets one on a playground.
// Also counts exported symbols without documentation.

import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { CACHE_DIR } from "./runtimes.ts";

const ROOT = join(import.meta.dirname ?? ".", "..");
const OUT = join(CACHE_DIR, "examples");

/** One runnable block of a document. */
export interface Example {
  /** Such as `README.md:12`. */
  readonly source: string;
  readonly code: string;
}

/** Address that documents use for a cluster; examples get the playground's port instead. */
const DOCUMENTED_ADDRESS = /127\.0\.0\.1:2379/g;

/** Finds the blocks marked `ts`. A block marked `ts ignore` is not run. */
export function markdownExamples(source: string, text: string): Example[] {
  const examples: Example[] = [];
  for (const match of text.matchAll(/^```ts[ \t]*\n([\s\S]*?)^```/gm)) {
    const line = text.slice(0, match.index).split("\n").length;
    examples.push({ source: `${source}:${line}`, code: match[1] ?? "" });
  }
  return examples;
}

/** Finds the blocks inside JSDoc comments. */
export function jsdocExamples(source: string, text: string): Example[] {
  const examples: Example[] = [];
  for (const comment of text.matchAll(/^[ \t]*\/\*\*[\s\S]*?\*\//gm)) {
    const line = text.slice(0, comment.index).split("\n").length;
    const stripped = comment[0].replace(/^[ \t]*\/?\*+[ ]?\/?/gm, "");
    for (const example of markdownExamples(source, stripped)) {
      const inner = Number(example.source.slice(example.source.lastIndexOf(":") + 1));
      examples.push({ source: `${source}:${line + inner - 1}`, code: example.code });
    }
  }
  return examples;
}

const DECLARES = (name: string): RegExp =>
  new RegExp(`(?:const|let|using|function)\\s+(?:\\{[^}]*\\b)?${name}\\b`);
const USES = (name: string): RegExp => new RegExp(`(?<![.\\w"'/-])${name}\\b(?!:)`);

/** Makes a module of an example, with imports on top and the playground that it needs. */
export function moduleOf(example: Example): string {
  const imports: string[] = [];
  const body = example.code.replace(/^import[\s\S]*?;\n/gm, (statement) => {
    imports.push(statement);
    return "";
  });
  const needsPorts = DOCUMENTED_ADDRESS.test(body);
  DOCUMENTED_ADDRESS.lastIndex = 0;
  const needs = (name: string): boolean => USES(name).test(body) && !DECLARES(name).test(body);
  const needsClient = needs("client");
  const needsCluster = needs("cluster") || needsClient || needsPorts;
  const has = (name: string): boolean =>
    imports.some((statement) => new RegExp(`\\b${name}\\b`).test(statement));
  const lines: string[] = [...imports];
  if (needsCluster && !has("Playground")) lines.push('import { Playground } from "@tikv/client/playground";');
  if (needsClient && !has("connect")) lines.push('import { connect } from "@tikv/client";');
  if (USES("assert").test(body) && !has("assert")) lines.push('import assert from "node:assert/strict";');
  lines.push("export async function run(): Promise<void> {");
  if (needsCluster) {
    const options = needsPorts ? "{ stores: 3, ports: {} }" : "{ stores: 3 }";
    lines.push(`await using cluster = await Playground.start(${options});`);
  }
  if (needsClient) lines.push("await using client = await connect(cluster);");
  const address = needsPorts ? "${cluster.pdAddresses[0]}" : "";
  lines.push(
    needsPorts
      ? body.replace(
        /(["'`])([^"'`]*?)127\.0\.0\.1:2379([^"'`]*?)\1/g,
        (_, _quote, before, after) => `\`${before}${address}${after}\``,
      )
      : body,
  );
  lines.push("}");
  return lines.join("\n");
}

async function filesBelow(folder: string, suffix: string): Promise<string[]> {
  const entries = await readdir(join(ROOT, folder), { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile() && entry.name.endsWith(suffix))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name))).sort();
}

async function allExamples(): Promise<Example[]> {
  const examples: Example[] = [];
  const documents = ["README.md", "CONTRIBUTING.md", ...await filesBelow("docs", ".md")];
  for (const file of documents) {
    examples.push(...markdownExamples(file, await readFile(join(ROOT, file), "utf8")));
  }
  const sources = ["mod.ts", "gen/mod.ts", ...await filesBelow("src", ".ts")];
  for (const file of sources) examples.push(...jsdocExamples(file, await readFile(join(ROOT, file), "utf8")));
  return examples;
}

async function runExamples(examples: readonly Example[]): Promise<boolean> {
  await rm(OUT, { recursive: true, force: true });
  await mkdir(OUT, { recursive: true });
  const { exports, imports, compilerOptions } = JSON.parse(await readFile(join(ROOT, "deno.json"), "utf8"));
  const map: Record<string, string> = { ...imports };
  for (const [name, path] of Object.entries(exports as Record<string, string>)) {
    map[`@tikv/client${name.slice(1)}`] = `../../${path.slice(2)}`;
  }
  // Examples may declare what they do not use: they show it.
  const options = { ...compilerOptions, noUnusedLocals: false };
  const config = { nodeModulesDir: "none", lock: false, imports: map, compilerOptions: options };
  await writeFile(join(OUT, "deno.json"), JSON.stringify(config));
  const cases: string[] = ['import { test } from "node:test";'];
  for (const [index, example] of examples.entries()) {
    await writeFile(join(OUT, `example_${index}.ts`), moduleOf(example));
    cases.push(`import { run as run${index} } from "./example_${index}.ts";`);
    cases.push(`test(${JSON.stringify(example.source)}, run${index});`);
  }
  await writeFile(join(OUT, "examples_test.ts"), cases.join("\n"));
  const args = ["test", "-A", "--config", join(OUT, "deno.json"), join(OUT, "examples_test.ts")];
  const status = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdin: "null" }).spawn().status;
  return status.success;
}

interface DocNode {
  readonly name: string;
  readonly kind?: string;
  readonly jsDoc?: { readonly doc?: string };
  readonly declarations?: readonly { readonly kind: string; readonly jsDoc?: { readonly doc?: string } }[];
}

/** Lists the exported names of an entry that have no documentation. */
async function undocumented(entry: string): Promise<string[]> {
  const args = ["doc", "--json", "--quiet", entry];
  const output = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdin: "null" }).output();
  if (!output.success) return [`${entry}: ${new TextDecoder().decode(output.stderr)}`];
  const parsed = JSON.parse(new TextDecoder().decode(output.stdout));
  const nodes: DocNode[] = Array.isArray(parsed.nodes)
    ? parsed.nodes
    : Object.values(parsed.nodes as Record<string, { symbols?: DocNode[] }>).flatMap((file) =>
      file.symbols ?? []
    );
  const names: string[] = [];
  for (const node of nodes) {
    const declarations = node.declarations ?? [{ kind: node.kind ?? "", ...node }];
    const hasDoc = declarations.some((one) => (one.jsDoc?.doc ?? "") !== "");
    const kinds = declarations.map((one) => one.kind);
    if (!hasDoc && !kinds.includes("moduleDoc") && !kinds.includes("import")) names.push(node.name);
  }
  return names;
}

async function main(): Promise<void> {
  let isGood = true;
  const { exports } = JSON.parse(await readFile(join(ROOT, "deno.json"), "utf8"));
  for (const [name, path] of Object.entries(exports as Record<string, string>)) {
    if (name === "./proto") continue; // generated from definitions that carry no text
    const missing = await undocumented(path);
    if (missing.length > 0) {
      isGood = false;
      console.error(`documentation: "${name}" exports without a docstring: ${missing.join(", ")}`);
    }
    const text = await readFile(join(ROOT, path), "utf8");
    if (!/@module/.test(text) || !/```ts/.test(text)) {
      isGood = false;
      console.error(`documentation: "${path}" has no @module text with an example`);
    }
  }
  const examples = await allExamples();
  if (!await runExamples(examples)) isGood = false;
  console.log(`documentation: ${examples.length} examples ran`);
  if (!isGood) Deno.exit(1);
}

if (import.meta.main) await main();

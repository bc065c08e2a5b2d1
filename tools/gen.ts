// SPDX-License-Identifier: Apache-2.0
// Generates gen/ from proto/, and proto/ from the pinned Go module.
//
//   deno run -A tools/gen.ts                 proto/ and gen/ anew, at the version that is pinned
//   deno run -A tools/gen.ts --pin VERSION   moves the pin first
//   deno run -A tools/gen.ts --check         regenerates beside them and names what differs

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { DefinitionError, entryModule } from "./gen_entry.ts";

const ROOT = join(import.meta.dirname ?? ".", "..");
const GO_MODULE = join(ROOT, "tools", "proto");
const PLUGIN = join(ROOT, "node_modules", "@bufbuild", "protoc-gen-es", "bin", "protoc-gen-es");
const PLUGIN_OPTIONS = "target=ts,import_extension=ts,erasable_syntax=true";
const KVPROTO = "github.com/pingcap/kvproto";
const LICENSE_LINE = "// SPDX-License-Identifier: Apache-2.0\n";

/** Written by hand: not part of the Go module, so extraction neither writes nor removes them. */
const HAND_WRITTEN: readonly string[] = ["README.md", "grpc/health/v1/health.proto"];

type Files = ReadonlyMap<string, string>;

/** Runs a command to its end and returns what it wrote to its standard output. */
async function run(
  command: string,
  args: readonly string[],
  input?: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const child = new Deno.Command(command, {
    args: [...args],
    cwd: GO_MODULE,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const written = writer.write(input ?? new Uint8Array()).then(() => writer.close()).catch(() => {
    // A command that does not read its input ends with its own status, which is checked below.
  });
  const { success, stdout, stderr } = await child.output();
  await written;
  if (!success) {
    throw new DefinitionError(
      `Cannot run "${command} ${args.join(" ")}":\n${new TextDecoder().decode(stderr)}`,
    );
  }
  return stdout;
}

async function hasGo(): Promise<boolean> {
  try {
    await run("go", ["version"]);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Returns the text files below a folder by their path inside it; a missing folder is empty. */
async function readTree(folder: string): Promise<Files> {
  const files = new Map<string, string>();
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(relative(folder, path).replaceAll("\\", "/"), await readFile(path, "utf8"));
  }
  return files;
}

async function writeTree(folder: string, files: Files): Promise<void> {
  for (const [name, text] of files) {
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

/** Takes the definitions out of the pinned Go module. */
async function extractDefinitions(): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), "tikv-proto-"));
  try {
    await run("go", ["run", ".", "extract", folder]);
    return await readTree(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Compiles definitions and returns the generated modules, the entry among them. */
async function generateModules(definitions: Files): Promise<Files> {
  const folder = await mkdtemp(join(tmpdir(), "tikv-gen-"));
  try {
    await writeTree(folder, definitions);
    const set = fromBinary(FileDescriptorSetSchema, await run("go", ["run", ".", "compile", folder]));
    const modules = await runPlugin(set.file);
    modules.set("mod.ts", entryModule(set.file.map(({ name }) => name), definitions.get("PIN") ?? ""));
    return modules;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function runPlugin(files: FileDescriptorProto[]): Promise<Map<string, string>> {
  const request = create(CodeGeneratorRequestSchema, {
    parameter: PLUGIN_OPTIONS,
    fileToGenerate: files.map((file) => file.name),
    protoFile: files,
  });
  const input = toBinary(CodeGeneratorRequestSchema, request);
  const output = await run(Deno.execPath(), ["run", "--allow-all", PLUGIN], input);
  const response = fromBinary(CodeGeneratorResponseSchema, output);
  if (response.error !== "") throw new DefinitionError(`Cannot generate: ${response.error}`);
  return new Map(response.file.map((file) => [file.name, LICENSE_LINE + withSentences(file.content)]));
}

/** Gives each exported type a first sentence: the generator writes only a tag, which is no documentation. */
function withSentences(code: string): string {
  return code.replaceAll(
    /^\/\*\*\n( \* @generated from (message|enum|service) (\S+)\n)/gm,
    (_, tag, kind, name) => {
      return `/**\n * The ${kind} \`${name}\`.\n *\n${tag}`;
    },
  );
}

/** Names each path whose text differs between two trees. */
function differences(folder: string, expected: Files, actual: Files): string[] {
  const lines: string[] = [];
  for (const name of [...new Set([...expected.keys(), ...actual.keys()])].sort()) {
    if (expected.get(name) === actual.get(name)) continue;
    const what = !actual.has(name) ? "is missing" : !expected.has(name) ? "should not exist" : "differs";
    lines.push(`${folder}/${name} ${what}`);
  }
  return lines;
}

async function definitionsAnew(): Promise<Files> {
  const definitions = new Map(await extractDefinitions());
  const kept = await readTree(join(ROOT, "proto"));
  for (const name of HAND_WRITTEN) {
    const text = kept.get(name);
    if (text === undefined) {
      throw new DefinitionError(`Cannot find "proto/${name}", which is written by hand`);
    }
    definitions.set(name, text);
  }
  return definitions;
}

async function check(): Promise<number> {
  if (!await hasGo()) {
    console.log(
      "gen: skipped, because Go is not installed: gen/ and proto/ were not compared with their source",
    );
    return 0;
  }
  const definitions = await definitionsAnew();
  const modules = await generateModules(definitions);
  const found = [
    ...differences("proto", definitions, await readTree(join(ROOT, "proto"))),
    ...differences("gen", modules, await readTree(join(ROOT, "gen"))),
  ];
  for (const line of found) console.error(`gen: ${line}`);
  if (found.length > 0) console.error('gen: run "deno run -A tools/gen.ts" and commit the result');
  else console.log(`gen: ${definitions.size} definitions and ${modules.size} modules equal their source`);
  return found.length > 0 ? 1 : 0;
}

async function generate(): Promise<number> {
  const definitions = await definitionsAnew();
  const modules = await generateModules(definitions);
  for (const [folder, files] of [["proto", definitions], ["gen", modules]] as const) {
    const before = await readTree(join(ROOT, folder));
    await writeTree(join(ROOT, folder), files);
    for (const name of before.keys()) if (!files.has(name)) await rm(join(ROOT, folder, name));
    console.log(`gen: wrote ${files.size} files to ${folder}/`);
  }
  return 0;
}

async function movePin(version: string): Promise<void> {
  await run("go", ["get", `${KVPROTO}@${version}`]);
  await run("go", ["mod", "tidy"]);
}

async function main(args: readonly string[]): Promise<number> {
  const [mode, version] = args;
  try {
    if (mode === undefined) return await generate();
    if (mode === "--check" && args.length === 1) return await check();
    if (mode === "--pin" && version !== undefined && args.length === 2) {
      await movePin(version);
      return await generate();
    }
    console.error('gen: want no argument, "--check" or "--pin VERSION"');
    return 2;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) console.error("gen: Go is not installed");
    else if (error instanceof DefinitionError) console.error(`gen: ${error.message}`);
    else throw error;
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));

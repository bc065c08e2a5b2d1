// SPDX-License-Identifier: Apache-2.0
// `deno task test`: everything that the gate does, in one command. `--only a,b` runs some steps,
// `--list` names them. It ends with one line that adds up every suite.

import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hasGo, startCluster } from "./real_cluster.ts";
import { parseJunit } from "./junit.ts";
import { CACHE_DIR, runtimeBinary, type RuntimeName, SCRIPT_ARGUMENTS } from "./runtimes.ts";

const ROOT = join(import.meta.dirname ?? ".", "..");
const RUNTIMES: readonly RuntimeName[] = ["deno", "bun", "node"];

/** Longest time for one step; what hangs is ended and counted as failed. */
const STEP_LIMIT_MS = 20 * 60_000;

/** What a step found. */
interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

interface Step {
  readonly name: string;
  readonly run: () => Promise<Outcome>;
}

/** Every test that ran, for the parity check: name → how often it passed. */
const passedTests: Record<string, number> = {};
const reports = join(CACHE_DIR, "reports");

/** What clusters could not do, as the contract suites tell it → how many tests were left out for it. */
const lacks = new Map<string, number>();

/** Runs a program with its output passed through; resolves to its exit code. */
async function run(
  program: string,
  args: readonly string[],
  options: { env?: Record<string, string>; quiet?: boolean; onOutput?: (text: string) => void } = {},
): Promise<number> {
  const quiet = options.quiet ?? false;
  const child = new Deno.Command(program, {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env },
    stdin: "null",
    stdout: quiet ? "piped" : "inherit",
    stderr: quiet ? "piped" : "inherit",
  }).spawn();
  const limit = setTimeout(() => {
    console.error(`\n${program} ${args.join(" ")}: ended after ${STEP_LIMIT_MS / 60_000} minutes`);
    child.kill("SIGKILL");
  }, STEP_LIMIT_MS);
  try {
    if (!quiet) return (await child.status).code;
    const output = await child.output();
    const decoder = new TextDecoder();
    const text = decoder.decode(output.stdout) + decoder.decode(output.stderr);
    if (output.success) options.onOutput?.(text);
    else {
      console.error(text);
    }
    return output.code;
  } finally {
    clearTimeout(limit);
  }
}

/** A step that is one command: it passes or fails as a whole. */
function command(name: string, args: readonly string[]): Step {
  return {
    name,
    run: async () => {
      const code = await run(Deno.execPath(), args, { quiet: true });
      return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
    },
  };
}

/** The arguments with which each runtime runs test folders and writes a JUnit report. */
function testArguments(runtime: RuntimeName, folders: readonly string[], report: string): string[] {
  switch (runtime) {
    case "deno":
      // With "--quiet" nothing is heard of what the tests print.
      return ["test", "-A", "--no-check", `--junit-path=${report}`, ...folders];
    case "bun":
      return [
        "test",
        "--timeout=120000",
        "--reporter=junit",
        `--reporter-outfile=${report}`,
        ...folders.map((f) => `./${f}`),
      ];
    default:
      return [
        "--test",
        "--test-isolation=none",
        "--no-warnings",
        "--test-reporter=junit",
        `--test-reporter-destination=${report}`,
        ...folders.map((folder) => folder.endsWith(".ts") ? folder : `${folder}/**/*_test.ts`),
      ];
  }
}

/** Adds up what the suites say in lines as `skipped 4: cluster at … lacks "stores": reason`. */
function countLacks(output: string): void {
  for (const [, count, lack] of output.matchAll(/^skipped (\d+): .+ lacks (".+)$/gm)) {
    if (lack !== undefined) lacks.set(lack, (lacks.get(lack) ?? 0) + Number(count));
  }
}

/** Runs test folders in one runtime and counts the tests one by one. */
async function suite(
  name: string,
  runtime: RuntimeName,
  options: { readonly folders: readonly string[]; readonly env?: Record<string, string> },
): Promise<Outcome> {
  const folders = options.folders.filter((folder) => existsSync(join(ROOT, folder)));
  if (folders.length === 0) return { passed: 0, failed: 0, skipped: 0 };
  const report = join(reports, `${name.replace(/\W+/g, "-")}.xml`);
  await mkdir(reports, { recursive: true });
  await rm(report, { force: true });
  const code = await run(await runtimeBinary(runtime), testArguments(runtime, folders, report), {
    quiet: true,
    onOutput: countLacks,
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const outcome: Outcome = { passed: 0, failed: 0, skipped: 0 };
  const xml = existsSync(report) ? await readFile(report, "utf8") : "";
  for (const result of parseJunit(xml)) {
    outcome[result.status]++;
    if (result.status === "passed") passedTests[result.name] = (passedTests[result.name] ?? 0) + 1;
    if (result.status === "failed") {
      console.error(`  FAILED ${result.name}\n${result.message.slice(0, 2_000)}`);
    }
  }
  if (code !== 0 && outcome.failed === 0) {
    console.error(`  FAILED ${name}: the runner ended with code ${code}`);
    outcome.failed++;
  }
  if (outcome.passed === 0 && outcome.failed === 0) {
    console.error(`  FAILED ${name}: no test ran`);
    outcome.failed++;
  }
  return outcome;
}

function suiteStep(name: string, runtime: RuntimeName, folders: readonly string[]): Step {
  const full = `${name} (${runtime})`;
  return { name: full, run: () => suite(full, runtime, { folders }) };
}

/** Compares the generated code with its source, which only Go can read. */
function generatedStep(): Step {
  const step = command("generated code", ["run", "-A", "tools/gen.ts", "--check"]);
  return {
    name: step.name,
    run: async () => {
      if (await hasGo()) return await step.run();
      console.log("  skipped: Go is not installed");
      return { passed: 0, failed: 0, skipped: 1 };
    },
  };
}

/** One cluster, and who uses it. */
interface RealServers {
  readonly title: string;
  /** The API version of the stores. */
  readonly stores: string;
  /** The API versions in which clients use it, with the kind of their keys, one after the other. */
  readonly clients: readonly { readonly version: string; readonly mode: "raw" | "txn" }[];
}

const REAL_SERVERS: readonly RealServers[] = [
  {
    title: "API version 1",
    stores: "1",
    clients: [{ version: "1", mode: "raw" }, { version: "v1ttl", mode: "raw" }],
  },
  // Borders of regions that are raw keys are none for transactions, so these have a cluster of their own.
  { title: "API version 1, transactions", stores: "1", clients: [{ version: "1", mode: "txn" }] },
  {
    title: "API version 2",
    stores: "2",
    clients: [{ version: "2", mode: "raw" }, { version: "2", mode: "txn" }],
  },
];

/** The contract suite on servers that others wrote; skipped, and counted, where they are not at hand. */
function realServerSteps(): Step[] {
  return REAL_SERVERS.map((servers) => {
    const name = `contract on real servers, ${servers.title}`;
    return { name, run: () => onRealServers(servers) };
  });
}

async function onRealServers({ stores, clients }: RealServers): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), "tikv-real-"));
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  try {
    const started = await startCluster(folder, { TIKV_API_VERSION: stores });
    if (started.state === "absent") {
      console.log(`  skipped: ${started.reason}`);
      return { passed: 0, failed: 0, skipped: 1 };
    }
    if (started.state === "failed") {
      console.error(`  FAILED to start the servers: ${started.reason}`);
      return { passed: 0, failed: 1, skipped: 0 };
    }
    try {
      for (const { version, mode } of clients) {
        for (const runtime of RUNTIMES) {
          const name = `contract on real servers, client ${version} ${mode} (${runtime})`;
          const outcome = await suite(name, runtime, {
            folders: [
              "tests/contract/cluster_test.ts",
              ...mode === "txn" ? ["tests/model/cluster_test.ts"] : [],
            ],
            env: {
              TIKV_PD_ADDRS: started.pdAddresses,
              TIKV_API_VERSION: version,
              TIKV_MODE: mode,
              TIKV_SERVER_PROFILE: "unistore",
              TIKV_HAS: "keyspaces,leaders,gc",
            },
          });
          print(name, outcome, 0);
          add(total, outcome);
        }
      }
      if (clients.some(({ version }) => version === "v1ttl")) {
        const name = "the same history through client-go, on real servers (deno)";
        const outcome = await suite(name, "deno", {
          folders: ["tests/interop/differential_test.ts"],
          env: { TIKV_PD_ADDRS: started.pdAddresses },
        });
        print(name, outcome, 0);
        add(total, outcome);
      }
    } finally {
      await started.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return total;
}

/** The demo, which checks what it does, in each runtime; the oldest Node as well. */
function demoStep(runtime: RuntimeName): Step {
  return {
    name: `demo (${runtime})`,
    run: async () => {
      const args = [...SCRIPT_ARGUMENTS[runtime], "tools/demo.ts", "src/rpc"];
      const code = await run(await runtimeBinary(runtime), args, { quiet: true });
      return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
    },
  };
}

function parityStep(): Step {
  return {
    name: "parity",
    run: async () => {
      const file = join(reports, "passed.json");
      await mkdir(reports, { recursive: true });
      await writeFile(file, JSON.stringify(passedTests));
      const code = await run(Deno.execPath(), ["run", "-A", "tools/check_parity.ts", "--ran", file]);
      return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
    },
  };
}

const SOURCES = ["mod.ts", "src/", "gen/mod.ts", "tests/", "tools/", "bench/"];

/** In order. Those in a list of their own run at the same time: they mostly wait. */
const STEPS: readonly (Step | readonly Step[])[] = [
  command("format", ["fmt", "--check"]),
  command("lint", ["lint"]),
  command("types", ["check", "--quiet", ...SOURCES.filter((path) => existsSync(join(ROOT, path)))]),
  command("manifests", ["run", "-A", "tools/check_manifests.ts"]),
  generatedStep(),
  command("publish dry run", ["publish", "--dry-run", "--allow-dirty", "--quiet"]),
  command("documentation", ["run", "-A", "tools/check_docs.ts"]),
  suiteStep("tools", "deno", ["tests/tools"]),
  ...RUNTIMES.map((runtime) => suiteStep("unit", runtime, ["tests/unit", "tests/protocol", "tests/types"])),
  ...RUNTIMES.map((runtime) => suiteStep("model", runtime, ["tests/model"])),
  ...RUNTIMES.map((runtime) => suiteStep("runtime", runtime, ["tests/runtime"])),
  RUNTIMES.map((runtime) =>
    suiteStep("contract on the playground", runtime, [
      "tests/contract/playground_test.ts",
      "tests/contract/ports_test.ts",
      "tests/contract/connect_test.ts",
      "tests/contract/guard_test.ts",
    ])
  ),
  ...RUNTIMES.map((runtime) => suiteStep("interop with client-go", runtime, ["tests/interop"])),
  ...(["deno", "bun", "node", "node22"] as const).map(demoStep),
  ...realServerSteps(),
  parityStep(),
];

function add(total: Outcome, outcome: Outcome): void {
  total.passed += outcome.passed;
  total.failed += outcome.failed;
  total.skipped += outcome.skipped;
}

function print(name: string, outcome: Outcome, ms: number): void {
  const seconds = ms === 0 ? "" : `  ${(ms / 1000).toFixed(1)} s`;
  console.log(
    `${name}: ${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped} skipped${seconds}`,
  );
}

async function runStep(step: Step): Promise<Outcome> {
  const start = Date.now();
  console.log(`== ${step.name}`);
  let outcome: Outcome;
  try {
    outcome = await step.run();
  } catch (error) {
    console.error(error);
    outcome = { passed: 0, failed: 1, skipped: 0 };
  }
  print(step.name, outcome, Date.now() - start);
  return outcome;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { only: { type: "string" }, list: { type: "boolean" } },
  });
  if (values.list === true) {
    for (const step of STEPS.flat()) console.log(step.name);
    return 0;
  }
  const only = values.only?.split(",").map((name) => name.trim());
  const groups = STEPS.map((group) => "name" in group ? [group] : group)
    .map((group) => group.filter(({ name }) => only?.some((start) => name.startsWith(start)) ?? true));
  if (groups.every((group) => group.length === 0)) {
    console.error(`Cannot run "${values.only}": no such step, see --list`);
    return 2;
  }
  const total: Outcome = { passed: 0, failed: 0, skipped: 0 };
  for (const group of groups) {
    await Promise.all(group.map(async (step) => add(total, await runStep(step))));
  }
  for (const [lack, count] of [...lacks].sort()) console.log(`skipped ${count}: some cluster lacks ${lack}`);
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed === 0 ? 0 : 1;
}

Deno.exit(await main());

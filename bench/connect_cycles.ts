// SPDX-License-Identifier: Apache-2.0
// Connects, reads one key and closes, again and again: open files and heap must stay where they
// are. Runs in every runtime:
//
//   deno run -A --v8-flags=--expose-gc bench/connect_cycles.ts
//   bun bench/connect_cycles.ts
//   node --expose-gc bench/connect_cycles.ts
//
// `--cycles N` (10 000), `--pd host:port` for a cluster that runs already.

import { type ChildProcess, spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { connect } from "../mod.ts";
import { goProgram } from "../tools/go_program.ts";
import { runtimeName } from "./load.ts";

/** What is open after so many cycles. */
interface Checkpoint {
  readonly cycles: number;
  /** Open files, sockets among them; undefined where the system does not tell. */
  readonly files: number | undefined;
  readonly heapMb: number;
  readonly rssMb: number;
}

const REPORTS = 10;

/** Sockets of the runtime itself may come and go. */
const FILES_SLACK = 8;
const HEAP_GROWTH = 1.5;
const HEAP_SLACK_MB = 8;

const { values: options } = parseArgs({
  args: process.argv.slice(2),
  options: { cycles: { type: "string", default: "10000" }, pd: { type: "string" } },
});
const cycles = Number(options.cycles);
const server = options.pd === undefined ? await startStub() : undefined;
try {
  const checkpoints = await runCycles(options.pd ?? server?.address ?? "");
  const problem = growthOf(checkpoints);
  if (problem !== undefined) {
    console.error(problem);
    process.exitCode = 1;
  }
} finally {
  server?.child.kill();
}

async function runCycles(pd: string): Promise<Checkpoint[]> {
  const checkpoints: Checkpoint[] = [];
  const every = Math.max(1, Math.floor(cycles / REPORTS));
  const start = performance.now();
  for (let done = 1; done <= cycles; done++) {
    const client = await connect(pd);
    await client.raw.get("key");
    await client.close();
    if (done % every !== 0) continue;
    const checkpoint = await measure(done);
    checkpoints.push(checkpoint);
    const ms = (performance.now() - start) / done;
    console.log(JSON.stringify({ runtime: runtimeName(), ...checkpoint, msPerCycle: Number(ms.toFixed(2)) }));
  }
  return checkpoints;
}

async function measure(done: number): Promise<Checkpoint> {
  // Sockets are gone one turn of the event loop after their close.
  await new Promise((resolve) => setTimeout(resolve, 50));
  collectGarbage();
  const { heapUsed, rss } = process.memoryUsage();
  return { cycles: done, files: await openFiles(), heapMb: inMb(heapUsed), rssMb: inMb(rss) };
}

function growthOf(checkpoints: readonly Checkpoint[]): string | undefined {
  const first = checkpoints[0], last = checkpoints.at(-1);
  if (first === undefined || last === undefined) return undefined;
  if (first.files !== undefined && last.files !== undefined && last.files > first.files + FILES_SLACK) {
    return `Open files grew from ${first.files} to ${last.files}`;
  }
  if (last.heapMb > first.heapMb * HEAP_GROWTH + HEAP_SLACK_MB) {
    return `The heap grew from ${first.heapMb} to ${last.heapMb} MB`;
  }
  return undefined;
}

async function openFiles(): Promise<number | undefined> {
  try {
    return (await readdir("/proc/self/fd")).length;
  } catch {
    return undefined;
  }
}

function collectGarbage(): void {
  const scope = globalThis as { gc?: () => void; Bun?: { gc(isSync: boolean): void } };
  if (scope.Bun !== undefined) scope.Bun.gc(true);
  else scope.gc?.();
}

function inMb(bytes: number): number {
  return Number((bytes / 2 ** 20).toFixed(1));
}

async function startStub(): Promise<{ readonly child: ChildProcess; readonly address: string }> {
  const program = await goProgram("bench/go");
  if (program.state === "absent") throw new Error(`Cannot start the stub server: ${program.reason}`);
  const child = spawn(program.path, ["serve"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /^serving (\S+)$/.exec(line)?.[1];
    if (address !== undefined) return { child, address };
  }
  throw new Error("Cannot start the stub server: it ended at once");
}

// SPDX-License-Identifier: Apache-2.0
// Programs of the benchmark: the server on one processor, a client on another, where the machine
// can pin them.

import { TextLineStream } from "./lines.ts";
import type { Phase, Result } from "./load.ts";

const SERVER_CPU = "1";
const CLIENT_CPU = "0";

/** Longest wait for a phase beyond the time that it takes by itself. */
const PATIENCE_MS = 30_000;

/** A running server. */
export interface BenchServer {
  readonly address: string;
  close(): Promise<void>;
}

/** Starts a cluster that says where it serves on its first line. */
export async function startServer(program: string, args: readonly string[]): Promise<BenchServer> {
  const child = spawn(program, args, { cpu: SERVER_CPU, env: { GOMAXPROCS: "1" }, stdin: "null" });
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
    .getReader();
  const { value = "" } = await lines.read();
  const address = /^serving (\S+)$/.exec(value)?.[1];
  if (address === undefined) throw new Error(`Cannot start the server: it said "${value}"`);
  return {
    address,
    async close(): Promise<void> {
      child.kill("SIGTERM");
      await lines.cancel();
      await child.status;
    },
  };
}

/** A client that is told phases on its standard input and answers each with one line. */
export class BenchProcess {
  readonly name: string;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;

  constructor(
    name: string,
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.#child = spawn(program, args, { cpu: CLIENT_CPU, env, stdin: "piped" });
    this.#input = this.#child.stdin.getWriter();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())
      .getReader();
  }

  /** Runs one phase. */
  async run(phase: Phase): Promise<Result> {
    const { operation, callers, seconds } = phase;
    await this.#input.write(new TextEncoder().encode(`${operation} ${callers} ${seconds}\n`));
    const late = setTimeout(() => this.#child.kill("SIGKILL"), seconds * 2_000 + PATIENCE_MS);
    try {
      const { value } = await this.#lines.read();
      if (value === undefined) {
        throw new Error(`Cannot measure ${operation} at ${callers} callers: ${this.name} ended`);
      }
      return JSON.parse(value) as Result;
    } finally {
      clearTimeout(late);
    }
  }

  /** Ends the program by the end of its input. */
  async close(): Promise<void> {
    const late = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE_MS);
    try {
      await this.#input.close().catch(() => undefined);
      await this.#lines.cancel();
      await this.#child.status;
    } finally {
      clearTimeout(late);
    }
  }
}

interface SpawnOptions {
  readonly cpu: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: "null" | "piped";
}

let canPin: boolean | undefined;

function spawn(program: string, args: readonly string[], options: SpawnOptions): Deno.ChildProcess {
  canPin ??= navigator.hardwareConcurrency > 1 && hasTaskset();
  const [file, ...rest] = canPin ? ["taskset", "-c", options.cpu, program, ...args] : [program, ...args];
  return new Deno.Command(file ?? program, {
    args: rest,
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env },
    stdin: options.stdin,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

function hasTaskset(): boolean {
  try {
    return new Deno.Command("taskset", { args: ["-c", "0,1", "true"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

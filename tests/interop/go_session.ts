// SPDX-License-Identifier: Apache-2.0
// One run of the Go program: its lines in, and the changes to the cluster that it asks for carried
// out on the playground.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A line of the program: one JSON object. */
export type Line = Readonly<Record<string, unknown>>;

/** What the program may ask to be done to the cluster, by name; the argument is the whole line. */
export type Actions = Readonly<Record<string, (request: Line) => Promise<void> | void>>;

/** What a run of the program left. */
export interface SessionResult {
  /** Every line that was not a request. */
  readonly lines: readonly Line[];
  readonly exitCode: number | null;
  /** What it wrote to the standard error, for messages. */
  readonly stderr: string;
}

/** How a run is bounded. */
export interface SessionOptions {
  readonly actions: Actions;
  /** The program is ended after this time. */
  readonly limitMs: number;
}

/** Runs the program to its end. */
export async function runGoSession(
  path: string,
  args: readonly string[],
  options: SessionOptions,
): Promise<SessionResult> {
  const child = spawn(path, [...args], {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: options.limitMs,
    killSignal: "SIGKILL",
  });
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text);
  const lines: Line[] = [];
  for await (const text of createInterface({ input: child.stdout, crlfDelay: Infinity })) {
    const line = JSON.parse(text) as Line;
    if (typeof line["do"] !== "string") lines.push(line);
    else child.stdin.write(`${JSON.stringify(await perform(line["do"], line, options.actions))}\n`);
  }
  return { lines, exitCode: await exited, stderr };
}

async function perform(name: string, request: Line, actions: Actions): Promise<Line> {
  const action = actions[name];
  if (action === undefined) return { ok: false, unsupported: true };
  try {
    await action(request);
    return { ok: true };
  } catch (error) {
    return { ok: false, error: String(error) };
  }
}

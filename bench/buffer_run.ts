// SPDX-License-Identifier: Apache-2.0
// `deno task bench --buffer`: the write buffer of a transaction in three runtimes, next to client-go's.

import { runtimeBinary, type RuntimeName } from "../tools/runtimes.ts";
import { startServer } from "./bench_process.ts";
import { aligned } from "./table.ts";

interface BufferResult {
  readonly runtime: string;
  readonly order: string;
  readonly keys: number;
  readonly insertsPerSecond: number;
  readonly getsPerSecond: number;
  readonly walkedPerSecond: number;
  readonly overheadBytesPerKey: number;
}

const FLAGS: Readonly<Record<string, readonly string[]>> = {
  deno: ["run", "-A", "--no-check", "--v8-flags=--expose-gc"],
  bun: ["run"],
  node: ["--expose-gc", "--no-warnings"],
};

/** Measures one client after the other, and prints a table by the order of the keys. */
export async function runBuffers(go: string, runtimes: readonly RuntimeName[]): Promise<void> {
  // client-go has its buffer in a transaction only, and that in a cluster.
  const server = await startServer(go, ["serve"]);
  const results: BufferResult[] = [];
  try {
    results.push(...await resultsOf(go, ["buffer", "--pd", server.address]));
  } finally {
    await server.close();
  }
  for (const runtime of runtimes) {
    const args = [...FLAGS[runtime] ?? [], "bench/txn_buffer_bench.ts"];
    results.push(...await resultsOf(await runtimeBinary(runtime), args));
  }
  console.log(tableOf(results));
}

async function resultsOf(program: string, args: readonly string[]): Promise<BufferResult[]> {
  const { success, stdout } = await new Deno.Command(program, {
    args: [...args],
    env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", GOMAXPROCS: "1" },
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`Cannot measure the buffer: ${program} failed`);
  return new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line) as BufferResult);
}

function tableOf(results: readonly BufferResult[]): string {
  const us = (perSecond: number): string => (1e6 / perSecond).toFixed(2);
  const rows = [[
    "order",
    "client",
    "insert µs",
    "of client-go",
    "get µs",
    "walk µs",
    "bytes beside key and value",
  ]];
  for (const order of new Set(results.map((result) => result.order))) {
    const ofOrder = results.filter((result) => result.order === order);
    const reference = ofOrder.find(({ runtime }) => runtime === "client-go");
    for (
      const { runtime, insertsPerSecond, getsPerSecond, walkedPerSecond, overheadBytesPerKey } of ofOrder
    ) {
      const ratio = reference === undefined ? "" : (reference.insertsPerSecond / insertsPerSecond).toFixed(2);
      rows.push([
        order,
        runtime,
        us(insertsPerSecond),
        ratio,
        us(getsPerSecond),
        us(walkedPerSecond),
        String(overheadBytesPerKey),
      ]);
    }
  }
  return aligned(rows);
}

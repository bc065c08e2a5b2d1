// SPDX-License-Identifier: Apache-2.0
// `deno task bench`: this client in three runtimes next to client-go, against one stub server, in
// interleaved rounds; prints a table of medians. See bench/README.md.

import { parseArgs } from "node:util";
import { goProgram } from "../tools/go_program.ts";
import { runtimeBinary, type RuntimeName } from "../tools/runtimes.ts";
import { BenchProcess, startServer } from "./bench_process.ts";
import type { Phase, Result } from "./load.ts";
import { runBuffers } from "./buffer_run.ts";
import { table } from "./table.ts";

const { values: options } = parseArgs({
  args: Deno.args,
  options: {
    quick: { type: "boolean", default: false },
    full: { type: "boolean", default: false },
    txn: { type: "boolean", default: false },
    buffer: { type: "boolean", default: false },
    runtimes: { type: "string", default: "deno,bun,node" },
    operations: { type: "string" },
    callers: { type: "string" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "0.5" },
    json: { type: "boolean", default: false },
    playground: { type: "boolean", default: false },
    pd: { type: "string" },
  },
});

const ALL_CALLERS = [1, 16, 256, 2048] as const;
const ALL_OPERATIONS = ["get", "put", "batchGet", "scan"] as const;

const TXN_OPERATIONS = [
  "snapshotGet",
  "snapshotBatchGet",
  "snapshotScan",
  ...["1pc", "async", "2pc", "pessimistic"].flatMap((path) => [`txn1-${path}`, `txn10-${path}`]),
] as const;

/** All callers for `get`, 256 for the rest; `--quick` is the line that the goal is set for. */
function phases(): Phase[] {
  const seconds = Number(options.seconds);
  const all = options.txn ? TXN_OPERATIONS : ALL_OPERATIONS;
  const operations = options.operations?.split(",") ?? (options.quick ? ["get"] : [...all]);
  const chosen = options.callers?.split(",").map(Number);
  return operations.flatMap((operation) => {
    const callers = chosen ?? (options.quick || (operation !== "get" && !options.full) ? [256] : ALL_CALLERS);
    return callers.map((count) => ({ operation, callers: count, seconds }));
  });
}

const isStub = options.pd === undefined && !options.playground;

const RUN_FLAGS: Readonly<Record<string, readonly string[]>> = {
  deno: ["run", "-A", "--no-check"],
  bun: ["run"],
};

async function startClients(go: string, pd: string): Promise<BenchProcess[]> {
  const clients = [
    new BenchProcess("client-go", go, ["load", "--operation", "-", "--pd", pd], { GOMAXPROCS: "1" }),
  ];
  for (const runtime of options.runtimes.split(",") as RuntimeName[]) {
    const binary = await runtimeBinary(runtime);
    const flags = RUN_FLAGS[runtime] ?? ["--no-warnings"];
    // The ceiling knows the region of the stub only.
    for (const kind of isStub ? ["public", "bare"] : ["public"]) {
      const args = [...flags, "bench/raw_bench.ts", "--client", kind, "--pd", pd];
      clients.push(new BenchProcess(`${kind} ${runtime}`, binary, args));
    }
  }
  return clients;
}

const go = await goProgram("bench/go");
if (go.state === "absent") {
  console.error(
    `Cannot run the benchmark: ${go.reason}, and both the server and the reference are Go programs`,
  );
  Deno.exit(1);
}
if (options.buffer) {
  await runBuffers(go.path, options.runtimes.split(",") as RuntimeName[]);
  Deno.exit(0);
}
const server = options.pd !== undefined
  ? undefined
  : options.playground
  ? await startServer(Deno.execPath(), ["run", "-A", "--no-check", "bench/playground_server.ts"])
  : await startServer(go.path, ["serve"]);
const clients = await startClients(go.path, server?.address ?? options.pd ?? "");
const results: Result[] = [];
try {
  for (const phase of phases()) {
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const client of clients) {
        if (client.name.startsWith("bare") && phase.operation !== "get") continue;
        results.push(await client.run(phase));
      }
    }
  }
} finally {
  await Promise.all(clients.map((client) => client.close()));
  await server?.close();
}
if (options.json) { for (const result of results) console.log(JSON.stringify(result)); }
else console.log(table(results));

// SPDX-License-Identifier: Apache-2.0
// `deno task tikv`: a command line for a TiKV cluster. Runs in Deno, Bun and Node.

import process from "node:process";
import { connect, TikvError } from "../mod.ts";
import { Pd, v1Codec, v2Codec } from "../src/pd/mod.ts";
import { PD_COMMANDS } from "./cli/cluster.ts";
import { DATA_COMMANDS } from "./cli/data.ts";
import { doctor } from "./cli/doctor.ts";
import {
  type CommandLine,
  connectOptionsOf,
  parseCommandLine,
  pdAddressesOf,
  suggestion,
  UsageError,
} from "./cli/options.ts";

const HELP = `tikv --pd HOST:PORT[,HOST:PORT] COMMAND

  get KEY…                 print values
  put KEY VALUE            write; VALUE - reads standard input; --ttl SECONDS
  delete KEY…              remove; or --prefix P, or --start S --end E, with --yes
  scan                     list; --prefix P, or --start S --end E; --limit 100, --reverse, --keys-only
  ttl KEY                  seconds that a key has left
  cas KEY VALUE            compare and swap; --expect OLD or --absent; --ttl SECONDS
  dump                     print a range as lines of JSON; --prefix P, or --start S --end E
  load FILE                write such lines; - reads standard input
  regions                  list regions; --prefix P, or --start S --end E; --limit 100
  stores                   list stores
  tso                      print a timestamp
  doctor                   what PD says, what is dialled, what answered, what is wrong

  --txn reads and writes what transactions see, and not raw data; --ts TS reads an older moment

  --api-version v1|v1ttl|v2 (v1)     --keyspace NAME      --cf NAME
  --keys utf8|hex|escaped (escaped)  --values utf8|hex|escaped (escaped)
  --tls-ca FILE --tls-cert FILE --tls-key FILE --server-name NAME
  --address-map ADVERTISED=DIALLED   --timeout-ms MS      --json

  TIKV_PD_ADDRS stands for --pd.
  Exit codes: 0 done, 1 not found or not swapped, 2 wrong usage, 3 failed, 4 undetermined: a write
  was sent and its answer was lost.`;

const FAILED = 3;
const UNDETERMINED = 4;

async function runData(line: CommandLine): Promise<number> {
  const command = DATA_COMMANDS[line.command];
  if (command === undefined) throw new UsageError("no such command");
  const client = await connect(pdAddressesOf(line), await connectOptionsOf(line));
  try {
    return await command(client, line);
  } finally {
    await client.close();
  }
}

async function runPd(line: CommandLine): Promise<number> {
  const { apiVersion, keyspace, tls, addressMap, timeoutMs, connectTimeoutMs } = await connectOptionsOf(line);
  const pd = await Pd.connect(pdAddressesOf(line), { tls, addressMap, timeoutMs, connectTimeoutMs });
  try {
    const mode = line.values.txn === true ? "txn" : "raw";
    const isV2 = apiVersion === 2 || keyspace !== undefined;
    const keys = isV2
      ? v2Codec(mode, (await pd.keyspaces.getEnabled(keyspace ?? "DEFAULT")).id)
      : v1Codec(mode);
    await PD_COMMANDS[line.command]?.(pd.with({ keys }), line);
    return 0;
  } finally {
    await pd.close();
  }
}

async function run(args: readonly string[]): Promise<number> {
  const line = parseCommandLine(args);
  if (line.command === "help") {
    console.log(HELP);
    return 0;
  }
  if (line.command === "doctor") return await doctor(line) ? 0 : FAILED;
  if (Object.hasOwn(DATA_COMMANDS, line.command)) return await runData(line);
  if (Object.hasOwn(PD_COMMANDS, line.command)) return await runPd(line);
  const known = [...Object.keys(DATA_COMMANDS), ...Object.keys(PD_COMMANDS), "doctor", "help"];
  throw new UsageError(`unknown command "${line.command}"${suggestion(line.command, known)}`);
}

/** Runs one command line and returns its exit code; for the program below and for tests. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    return await run(args);
  } catch (error) {
    if (error instanceof UsageError || error instanceof TypeError || error instanceof RangeError) {
      console.error(`tikv: ${error.message}\nSee tikv --help`);
      return 2;
    }
    console.error(`tikv: ${error instanceof Error ? error.message : error}`);
    if (!TikvError.is(error)) return FAILED;
    for (const { reason, count, waitedMs } of error.context.causes ?? []) {
      console.error(`  waited ${count} times for ${reason}, ${Math.round(waitedMs)} ms in all`);
    }
    return error.kind === "undetermined" ? UNDETERMINED : FAILED;
  }
}

// Node 22 has no `import.meta.main`.
if (process.argv[1]?.endsWith("tikv.ts") === true) {
  process.exitCode = await main(process.argv.slice(2).filter((argument) => argument !== "--"));
}

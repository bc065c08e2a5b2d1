// SPDX-License-Identifier: Apache-2.0
// The options of the command line and what they mean for `connect()`.

import { readFile } from "node:fs/promises";
import process from "node:process";
import { parseArgs, type ParseArgsConfig } from "node:util";
import type { ApiVersion, ConnectOptions } from "../../mod.ts";
import { nearestName } from "../../src/options.ts";
import { type Encoding, ENCODINGS } from "./output.ts";

/** A mistake on the command line; the program ends with code 2. */
export class UsageError extends Error {}

/** Options that every command takes. */
const GLOBAL = {
  "pd": { type: "string" },
  "api-version": { type: "string" },
  "keyspace": { type: "string" },
  "tls-ca": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  "server-name": { type: "string" },
  "address-map": { type: "string", multiple: true },
  "timeout-ms": { type: "string" },
  "keys": { type: "string" },
  "values": { type: "string" },
  "cf": { type: "string" },
  "txn": { type: "boolean" },
  "ts": { type: "string" },
  "json": { type: "boolean" },
  "help": { type: "boolean", short: "h" },
  // Of single commands.
  "ttl": { type: "string" },
  "prefix": { type: "string" },
  "start": { type: "string" },
  "end": { type: "string" },
  "limit": { type: "string" },
  "reverse": { type: "boolean" },
  "keys-only": { type: "boolean" },
  "expect": { type: "string" },
  "absent": { type: "boolean" },
  "yes": { type: "boolean" },
} as const satisfies ParseArgsConfig["options"];

/** Name of an option of the command line. */
export type OptionName = keyof typeof GLOBAL;

/** A command line that was understood. */
export interface CommandLine {
  readonly command: string;
  readonly operands: readonly string[];
  readonly values: Readonly<Partial<Record<OptionName, string | boolean | string[]>>>;
  readonly keys: Encoding;
  readonly valuesAs: Encoding;
  readonly isJson: boolean;
}

/** Reads the arguments; throws {@linkcode UsageError} with the nearest known name for a wrong one. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  for (const argument of args) {
    if (argument === "--") break;
    const name = /^--([^=]+)/.exec(argument)?.[1];
    if (name !== undefined && !Object.hasOwn(GLOBAL, name)) {
      throw new UsageError(`unknown option "--${name}"${suggestion(name, Object.keys(GLOBAL), "--")}`);
    }
  }
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], options: GLOBAL, allowPositionals: true });
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause));
  }
  const [command = "help", ...operands] = parsed.positionals;
  const line: CommandLine = {
    command: parsed.values.help === true ? "help" : command,
    operands,
    values: parsed.values as CommandLine["values"],
    keys: encodingOf("keys", parsed.values.keys),
    valuesAs: encodingOf("values", parsed.values.values),
    isJson: parsed.values.json === true,
  };
  for (const name of NUMBERS) numberOf(line, name);
  return line;
}

/** Options that are numbers; checked before anything is dialled. */
const NUMBERS = ["timeout-ms", "ttl", "limit"] as const satisfies readonly OptionName[];

function encodingOf(name: string, value: string | undefined): Encoding {
  if (value === undefined) return "escaped";
  const found = ENCODINGS.find((encoding) => encoding === value);
  if (found === undefined) throw new UsageError(`--${name} is "${value}", want ${ENCODINGS.join(", ")}`);
  return found;
}

/** A text option, or undefined. */
export function textOf(line: CommandLine, name: OptionName): string | undefined {
  const value = line.values[name];
  return typeof value === "string" ? value : undefined;
}

/** A number option, checked. */
export function numberOf(line: CommandLine, name: OptionName): number | undefined {
  const text = textOf(line, name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) {
    throw new UsageError(`--${name} is "${text}", want a number that is not negative`);
  }
  return value;
}

/** The addresses of PD: `--pd`, or `TIKV_PD_ADDRS`. */
export function pdAddressesOf(line: CommandLine): string[] {
  const text = textOf(line, "pd") ?? process.env["TIKV_PD_ADDRS"];
  if (text === undefined || text === "") throw new UsageError("no PD address: give --pd HOST:PORT");
  return text.split(",").map((address) => address.trim()).filter((address) => address !== "");
}

/** The options for `connect()`. */
export async function connectOptionsOf(line: CommandLine): Promise<ConnectOptions> {
  const [ca, cert, key] = await Promise.all([
    fileOf(line, "tls-ca"),
    fileOf(line, "tls-cert"),
    fileOf(line, "tls-key"),
  ]);
  const serverName = textOf(line, "server-name");
  const hasTls = ca !== undefined || cert !== undefined || key !== undefined || serverName !== undefined;
  const map = (line.values["address-map"] as string[] | undefined)?.map((pair) => pair.split("="));
  return {
    apiVersion: apiVersionOf(line),
    keyspace: textOf(line, "keyspace"),
    timeoutMs: numberOf(line, "timeout-ms"),
    connectTimeoutMs: numberOf(line, "timeout-ms"),
    revealKeys: true,
    tls: hasTls ? { ca, cert, key, serverName } : undefined,
    addressMap: map === undefined ? undefined : Object.fromEntries(map),
  };
}

function apiVersionOf(line: CommandLine): ApiVersion | undefined {
  const text = textOf(line, "api-version")?.toLowerCase();
  switch (text) {
    case undefined:
      return undefined;
    case "1":
    case "v1":
      return 1;
    case "v1ttl":
      return "v1ttl";
    case "2":
    case "v2":
      return 2;
    default:
      throw new UsageError(`--api-version is "${text}", want v1, v1ttl or v2`);
  }
}

async function fileOf(line: CommandLine, name: OptionName): Promise<string | undefined> {
  const path = textOf(line, name);
  if (path === undefined) return undefined;
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new UsageError(
      `--${name}: cannot read "${path}": ${cause instanceof Error ? cause.message : cause}`,
    );
  }
}

/** `, did you mean …?` when a known name is near; empty otherwise. */
export function suggestion(name: string, known: readonly string[], prefix = ""): string {
  const near = nearestName(name, new Set(known));
  return near === undefined ? "" : `, did you mean "${prefix}${near}"?`;
}

// SPDX-License-Identifier: Apache-2.0
// The commands that read and write keys.

import { createReadStream } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import type { Client, PutOptions } from "../../mod.ts";
import { type CommandLine, numberOf, textOf, UsageError } from "./options.ts";
import { json, parseBytes, showBytes, table } from "./output.ts";
import { rangeOf } from "./range.ts";
import { storeOf } from "./store.ts";

/** What a command ends with: 0 done, 1 not there (see the help for the others). */
export type ExitCode = 0 | 1;

const SCAN_LIMIT = 100;
const LOAD_CHUNK = 512;

/** A data command: gets the client and the command line, prints, and returns the exit code. */
export type DataCommand = (client: Client, line: CommandLine) => Promise<ExitCode>;

function keyOf(line: CommandLine, text: string | undefined): Uint8Array {
  if (text === undefined) throw new UsageError(`${line.command} needs a KEY`);
  return parseBytes(text, line.keys);
}

function ttlOf(line: CommandLine): PutOptions {
  return { ttlSeconds: numberOf(line, "ttl") };
}

async function stdin(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(new Uint8Array(chunk));
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

async function get(client: Client, line: CommandLine): Promise<ExitCode> {
  const keys = line.operands.map((text) => keyOf(line, text));
  if (keys.length === 0) throw new UsageError("get needs a KEY");
  const found = await storeOf(client, line).batchGet(keys);
  for (const key of keys) {
    const value = found.get(key);
    const shown = value === undefined ? undefined : showBytes(value, line.valuesAs);
    if (line.isJson) console.log(json({ key: showBytes(key, line.keys), value: shown ?? null }));
    else if (keys.length === 1) shown === undefined ? console.error("not found") : console.log(shown);
    else console.log(`${showBytes(key, line.keys)}\t${shown ?? "(not found)"}`);
  }
  return keys.every((key) => found.get(key) !== undefined) ? 0 : 1;
}

async function put(client: Client, line: CommandLine): Promise<ExitCode> {
  const [keyText, valueText] = line.operands;
  if (valueText === undefined) {
    throw new UsageError("put needs a KEY and a VALUE (- reads it from standard input)");
  }
  const value = valueText === "-" ? await stdin() : parseBytes(valueText, line.valuesAs);
  await storeOf(client, line).batchPut([[keyOf(line, keyText), value]], ttlOf(line));
  return 0;
}

async function remove(client: Client, line: CommandLine): Promise<ExitCode> {
  const range = rangeOf(line);
  if (range === undefined) {
    if (line.operands.length === 0) {
      throw new UsageError("delete needs a KEY, --prefix, or --start and --end");
    }
    await storeOf(client, line).batchDelete(line.operands.map((text) => keyOf(line, text)));
    return 0;
  }
  if (line.values.yes !== true) throw new UsageError("deleting a range cannot be undone: say --yes");
  await storeOf(client, line).deleteRange(range);
  return 0;
}

async function scan(client: Client, line: CommandLine): Promise<ExitCode> {
  const limit = numberOf(line, "limit") ?? SCAN_LIMIT;
  const options = { limit, reverse: line.values.reverse === true };
  const range = rangeOf(line) ?? {};
  const store = storeOf(client, line);
  const rows: [key: string, value: string | undefined][] = [];
  if (line.values["keys-only"] === true) {
    for await (const key of await store.scanKeys(range, options)) {
      rows.push([showBytes(key, line.keys), undefined]);
    }
  } else {
    for await (const { key, value } of await store.scan(range, options)) {
      rows.push([showBytes(key, line.keys), showBytes(value, line.valuesAs)]);
    }
  }
  if (line.isJson) { for (const [key, value] of rows) console.log(json({ key, value })); }
  else if (line.values["keys-only"] === true) { for (const [key] of rows) console.log(key); }
  else console.log(table(["key", "value"], rows));
  if (rows.length === limit && !line.isJson) console.error(`(stopped at ${limit} rows: see --limit)`);
  return 0;
}

function refuseTxn(line: CommandLine): void {
  if (line.values.txn === true) throw new UsageError(`${line.command} is for raw data: leave --txn out`);
}

async function ttl(client: Client, line: CommandLine): Promise<ExitCode> {
  refuseTxn(line);
  const left = await client.raw.ttl(keyOf(line, line.operands[0]));
  if (line.isJson) console.log(json({ ttlSeconds: left === Infinity ? "never" : left ?? null }));
  else if (left === undefined) console.error("not found");
  else console.log(left === Infinity ? "never expires" : `${left} s`);
  return left === undefined ? 1 : 0;
}

async function cas(client: Client, line: CommandLine): Promise<ExitCode> {
  const [keyText, valueText] = line.operands;
  const expectText = textOf(line, "expect");
  if (valueText === undefined) throw new UsageError("cas needs a KEY and a VALUE");
  if ((expectText === undefined) === (line.values.absent !== true)) {
    throw new UsageError("cas needs --expect VALUE or --absent");
  }
  const expect = expectText === undefined ? null : parseBytes(expectText, line.valuesAs);
  const swap = { expect, value: parseBytes(valueText, line.valuesAs), ...ttlOf(line) };
  refuseTxn(line);
  const columnFamily = textOf(line, "cf");
  const raw = columnFamily === undefined ? client.raw : client.raw.columnFamily(columnFamily);
  const { swapped, previous } = await raw.atomic().compareAndSwap(keyOf(line, keyText), swap);
  const shown = previous === undefined ? undefined : showBytes(previous, line.valuesAs);
  if (line.isJson) console.log(json({ swapped, previous: shown ?? null }));
  else console.log(`${swapped ? "swapped" : "not swapped"}, before: ${shown ?? "(no value)"}`);
  return swapped ? 0 : 1;
}

async function dump(client: Client, line: CommandLine): Promise<ExitCode> {
  const limit = numberOf(line, "limit");
  const options = limit === undefined ? {} : { limit };
  for await (const { key, value } of await storeOf(client, line).scan(rangeOf(line) ?? {}, options)) {
    console.log(json({ key: showBytes(key, "escaped"), value: showBytes(value, "escaped") }));
  }
  return 0;
}

/** Reads one line of a dump, or says which line is none. */
function parseDumpLine(text: string, at: number): [Uint8Array, Uint8Array] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  const { key, value } = (typeof parsed === "object" && parsed !== null ? parsed : {}) as Record<
    string,
    unknown
  >;
  if (typeof key !== "string" || typeof value !== "string") {
    throw new UsageError(`line ${at} is not {"key": …, "value": …}`);
  }
  return [parseBytes(key, "escaped"), parseBytes(value, "escaped")];
}

async function load(client: Client, line: CommandLine): Promise<ExitCode> {
  const [file] = line.operands;
  if (file === undefined) {
    throw new UsageError("load needs a FILE of lines as dump writes them (- reads standard input)");
  }
  const store = storeOf(client, line);
  const lines = createInterface({
    input: file === "-" ? process.stdin : createReadStream(file),
    crlfDelay: Infinity,
  });
  let chunk: [Uint8Array, Uint8Array][] = [];
  let loaded = 0;
  let at = 0;
  const flush = async (): Promise<void> => {
    await store.batchPut(chunk, ttlOf(line));
    loaded += chunk.length;
    chunk = [];
    if (process.stderr.isTTY === true) process.stderr.write(`\r${loaded} rows`);
  };
  for await (const text of lines) {
    at++;
    if (text.trim() === "") continue;
    chunk.push(parseDumpLine(text, at));
    if (chunk.length === LOAD_CHUNK) await flush();
  }
  if (chunk.length > 0) await flush();
  if (process.stderr.isTTY === true) process.stderr.write("\r\x1b[2K");
  if (line.isJson) console.log(json({ loaded }));
  else console.log(`${loaded} rows loaded`);
  return 0;
}

/** Every data command by its name. */
export const DATA_COMMANDS: Readonly<Record<string, DataCommand>> = {
  get,
  put,
  delete: remove,
  scan,
  ttl,
  cas,
  load,
  dump,
};

// SPDX-License-Identifier: Apache-2.0
// What the demo loads: the lines of real files, one row each.

import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join, relative } from "node:path";

/** A file that cannot be loaded; its message says why. */
export class LoadError extends Error {}

/** One line of a file, or one record of a `.csv`. */
export interface Row {
  /** `file:line`, the line padded so that keys sort as the lines stand. */
  readonly key: string;
  readonly value: Uint8Array;
}

/** Folders that hold nothing a user wrote. */
const SKIPPED: ReadonlySet<string> = new Set([".git", "node_modules", ".cache", "coverage", "target"]);

/** A file with a zero byte near its start is taken for binary, as git does. */
const BINARY_PROBE_BYTES = 8_000;

const NEWLINE = 0x0a;
const QUOTE = 0x22;

/** The rows of every text file below `path`, in key order. Throws when there is nothing to load. */
export async function rowsOf(path: string): Promise<Row[]> {
  const isFolder = await isDirectory(path);
  const files = isFolder ? await filesBelow(path) : [path];
  const rows: Row[] = [];
  for (const file of files) {
    const content = new Uint8Array(await readFile(file));
    if (content.subarray(0, BINARY_PROBE_BYTES).includes(0)) continue;
    const name = isFolder ? relative(path, file) : basename(file);
    rows.push(...rowsOfFile(name, content));
  }
  if (rows.length === 0) throw new LoadError(`Cannot load "${path}": it has no line of text`);
  return rows.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw new LoadError(`Cannot load "${path}": there is no such file or folder, or it cannot be read`, {
      cause,
    });
  }
}

/** Cuts one file into rows; a `.csv` record may span lines inside quotes, a `.jsonl` line must be JSON. */
export function rowsOfFile(name: string, content: Uint8Array): Row[] {
  const kind = extname(name);
  const pieces = split(content, kind === ".csv");
  const decoder = new TextDecoder();
  return pieces.map((value, index) => {
    if (kind === ".jsonl") checkJson(name, index + 1, decoder.decode(value));
    return { key: `${name}:${String(index + 1).padStart(7, "0")}`, value };
  });
}

function split(content: Uint8Array, hasQuotes: boolean): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let start = 0;
  let isQuoted = false;
  for (let at = 0; at < content.length; at++) {
    if (hasQuotes && content[at] === QUOTE) isQuoted = !isQuoted;
    else if (content[at] === NEWLINE && !isQuoted) {
      pieces.push(content.subarray(start, at));
      start = at + 1;
    }
  }
  if (start < content.length) pieces.push(content.subarray(start));
  return pieces;
}

function checkJson(name: string, line: number, text: string): void {
  if (text.trim() === "") return;
  try {
    JSON.parse(text);
  } catch (cause) {
    throw new LoadError(`Cannot load "${name}": line ${line} is not JSON`, { cause });
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name)) files.push(...await filesBelow(path));
    } else if (entry.isFile()) files.push(path);
  }
  return files;
}

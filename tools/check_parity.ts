// SPDX-License-Identifier: Apache-2.0
// docs/parity.md has a row per feature of client-go. A row that says "done" must be pinned by tests
// whose names carry its ID and that passed in this run.

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";

const ROOT = join(import.meta.dirname ?? ".", "..");
const FILE = join(ROOT, "docs", "parity.md");

/** How far a feature has come. */
const STATUSES = ["done", "partly", "planned", "excluded"] as const;
type Status = typeof STATUSES[number];

/** One row of the table. */
export interface ParityRow {
  readonly id: string;
  readonly what: string;
  readonly status: Status;
  readonly note: string;
  readonly tests: number;
}

const ROW = /^\| ([A-Z]+-\d{3}) \| (.*?) \| (\w+) \| (.*?) \| (\d+) \|$/;

/** Reads the rows of the table; a line that looks like a row but is none is an error. */
export function parseParity(text: string): ParityRow[] {
  const rows: ParityRow[] = [];
  for (const line of text.split("\n")) {
    if (!/^\| [A-Z]+-\d/.test(line)) continue;
    const match = ROW.exec(line);
    const status = match?.[3];
    if (match === null || !isStatus(status)) throw new Error(`Cannot read the parity row: ${line}`);
    rows.push({
      id: match[1] ?? "",
      what: match[2] ?? "",
      status,
      note: match[4] ?? "",
      tests: Number(match[5]),
    });
  }
  return rows;
}

function isStatus(text: string | undefined): text is Status {
  return (STATUSES as readonly (string | undefined)[]).includes(text);
}

/** The IDs in the brackets of a test's name: `[RAW-001, RAW-002] …` or `[RAW-001] [KS-002] …`. */
export function idsOf(name: string): string[] {
  const ids: string[] = [];
  for (const [, group = ""] of name.matchAll(/\[([^\]]*)\]/g)) {
    ids.push(...(group.match(/\b[A-Z]+-\d{3}\b/g) ?? []));
  }
  return ids;
}

/** Counts, for each ID, the tests in the sources whose names carry it. */
async function testsPerId(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const entries = await readdir(join(ROOT, "tests"), { withFileTypes: true, recursive: true });
  for (const entry of entries) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const path = join(entry.parentPath, entry.name);
    if (relative(ROOT, path).includes("node_modules")) continue;
    const isServer = relative(ROOT, path).replaceAll("\\", "/").startsWith("tests/unit/playground/");
    const text = await readFile(path, "utf8");
    for (const [, group = ""] of text.matchAll(/["'`]\s*((?:\[[^\]\n]*\]\s*)+)/g)) {
      for (const id of new Set(idsOf(group))) {
        // The embedded cluster's own tests say nothing about the client.
        if (!isServer || id.startsWith("TST-")) counts.set(id, (counts.get(id) ?? 0) + 1);
        else if (!counts.has(id)) counts.set(id, 0);
      }
    }
  }
  return counts;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: { write: { type: "boolean" }, ran: { type: "string" } },
  });
  const text = await readFile(FILE, "utf8");
  const rows = parseParity(text);
  const counts = await testsPerId();
  if (values.write === true) {
    const updated = text.split("\n").map((line) => {
      const match = ROW.exec(line);
      if (match === null) return line;
      const [, id = "", what, status, note] = match;
      return `| ${id} | ${what} | ${status} | ${note} | ${counts.get(id) ?? 0} |`;
    });
    await writeFile(FILE, updated.join("\n"));
    console.log(`parity: ${rows.length} rows written`);
    return;
  }
  const problems: string[] = [];
  const known = new Set(rows.map((row) => row.id));
  for (const id of counts.keys()) {
    if (!known.has(id)) problems.push(`${id}: tests name it, the table has no such row`);
  }
  if (known.size !== rows.length) problems.push("an ID stands in the table twice");
  const passed = values.ran === undefined
    ? undefined
    : Object.keys(JSON.parse(await readFile(values.ran, "utf8")) as Record<string, number>);
  const passedIds = passed === undefined ? undefined : new Set(passed.flatMap(idsOf));
  for (const row of rows) {
    const count = counts.get(row.id) ?? 0;
    // More tests than counted are no false claim; `--write` brings the table up to date.
    if (row.tests > count) {
      problems.push(`${row.id}: the table counts ${row.tests} tests, there are ${count}`);
    }
    if ((row.status === "done" || row.status === "partly") && count === 0) {
      problems.push(`${row.id}: "${row.status}" without a test`);
    }
    if (row.status === "done" && passedIds !== undefined && !passedIds.has(row.id)) {
      problems.push(`${row.id}: "done", but no test that names it passed in this run`);
    }
    if ((row.status === "excluded" || row.status === "partly") && row.note === "") {
      problems.push(`${row.id}: "${row.status}" without a reason`);
    }
  }
  for (const problem of problems) console.error(`parity: ${problem}`);
  const tally = STATUSES.map((status) => `${rows.filter((row) => row.status === status).length} ${status}`);
  console.log(`parity: ${rows.length} features: ${tally.join(", ")}`);
  if (problems.length > 0) Deno.exit(1);
}

if (import.meta.main) await main();

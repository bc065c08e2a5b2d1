// SPDX-License-Identifier: Apache-2.0
// Results as a Markdown table: the median of the rounds, and what it is of client-go's.

import type { Result } from "./load.ts";

const REFERENCE = "client-go";

/** One table over all results, in the order in which they were measured. */
export function table(results: readonly Result[]): string {
  const rows = [[
    "operation",
    "callers",
    "client",
    "CPU µs/op (min–max)",
    "of client-go",
    "ops/s",
    "of client-go",
    "p50 µs",
    "p99 µs",
    "RSS MB",
  ]];
  for (const [phase, ofPhase] of grouped(results, (result) => `${result.operation} ${result.callers}`)) {
    const byClient = grouped(ofPhase, (result) => `${result.client} ${result.runtime}`);
    const reference = ofPhase.filter((result) => result.client === REFERENCE);
    const [operation = "", callers = ""] = phase.split(" ");
    for (const [client, rounds] of byClient) {
      rows.push([operation, callers, client, ...columns(rounds, reference)]);
    }
  }
  return aligned(rows);
}

function columns(rounds: readonly Result[], reference: readonly Result[]): string[] {
  const cpu = rounds.map((round) => round.cpuUsPerOp);
  const ratio = (pick: (result: Result) => number): string =>
    reference.length === 0 ? "" : (median(rounds.map(pick)) / median(reference.map(pick))).toFixed(2);
  return [
    `${short(median(cpu))} (${short(Math.min(...cpu))}–${short(Math.max(...cpu))})`,
    ratio((round) => round.cpuUsPerOp),
    Math.round(median(rounds.map((round) => round.opsPerSecond))).toLocaleString("en-US"),
    ratio((round) => round.opsPerSecond),
    Math.round(median(rounds.map((round) => round.p50Us))).toString(),
    Math.round(median(rounds.map((round) => round.p99Us))).toString(),
    Math.round(median(rounds.map((round) => round.rssMb))).toString(),
  ];
}

function short(value: number): string {
  return value < 10 ? value.toFixed(2) : value.toFixed(1);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2;
}

function grouped<T>(items: readonly T[], name: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(name(item));
    if (group === undefined) groups.set(name(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** Rows as a Markdown table; the first one is the head. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...body.map(line)].join(
    "\n",
  );
}

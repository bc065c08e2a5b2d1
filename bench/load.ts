// SPDX-License-Identifier: Apache-2.0
// The load that both clients are put under, and how it is measured: as many callers as asked for,
// each with one call at a time, for some seconds. `bench/go/load.go` is its twin.

import process from "node:process";

/** One result; the same fields as the lines of the Go program. */
export interface Result {
  readonly client: string;
  readonly runtime: string;
  readonly operation: string;
  readonly callers: number;
  readonly operations: number;
  readonly seconds: number;
  readonly opsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** User and system time of the whole process, per operation. */
  readonly cpuUsPerOp: number;
  readonly rssMb: number;
}

/** What is measured. */
export interface Phase {
  readonly operation: string;
  readonly callers: number;
  readonly seconds: number;
}

/** One operation; `turn` picks the keys. */
export type Call = (turn: number) => Promise<unknown>;

export const KEY_COUNT = 16_384;
export const BATCH_GET_KEYS = 16;
export const SCAN_ROWS = 100;
export const VALUE: Uint8Array = new Uint8Array(100).fill(0x76);

/** One call in so many is timed: the clock is not free. */
const LATENCY_SAMPLING = 8;

/** Share of the time that is spent before, so that compilers and connections are warm. */
const WARM_UP = 0.25;

/** The 23-byte keys of the figures that the goal was set with. */
export function benchKeys(): Uint8Array[] {
  const encoder = new TextEncoder();
  return Array.from(
    { length: KEY_COUNT },
    (_, i) => encoder.encode(`bench-key-${String(i).padStart(13, "0")}`),
  );
}

/** Name and version of what runs this file. */
export function runtimeName(): string {
  if ("Deno" in globalThis) return "deno";
  return "Bun" in globalThis ? "bun" : "node";
}

/** Warms up, then measures a phase. */
export async function measure(client: string, call: Call, phase: Phase): Promise<Result> {
  await runPhase(call, phase.callers, phase.seconds * WARM_UP);
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  const { operations, samples } = await runPhase(call, phase.callers, phase.seconds);
  const seconds = (performance.now() - start) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  samples.sort((a, b) => a - b);
  return {
    client,
    runtime: runtimeName(),
    operation: phase.operation,
    callers: phase.callers,
    operations,
    seconds,
    opsPerSecond: operations / seconds,
    p50Us: quantile(samples, 0.5),
    p99Us: quantile(samples, 0.99),
    cpuUsPerOp: (cpu.user + cpu.system) / operations,
    rssMb: process.memoryUsage().rss / 2 ** 20,
  };
}

interface Counted {
  readonly operations: number;
  /** Some latencies, in microseconds. */
  readonly samples: number[];
}

async function runPhase(call: Call, callers: number, seconds: number): Promise<Counted> {
  const samples: number[] = [];
  let operations = 0;
  let isOver = false;
  const timer = setTimeout(() => isOver = true, seconds * 1000);
  const caller = async (first: number): Promise<void> => {
    let calls = 0;
    for (; !isOver; calls++) {
      if (calls % LATENCY_SAMPLING !== 0) {
        await call(first + calls);
        continue;
      }
      const start = performance.now();
      await call(first + calls);
      samples.push((performance.now() - start) * 1000);
    }
    operations += calls;
  };
  try {
    await Promise.all(Array.from({ length: callers }, (_, i) => caller(i * 61)));
  } finally {
    clearTimeout(timer);
  }
  return { operations, samples };
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.floor(q * (sorted.length - 1))] ?? 0;
}
